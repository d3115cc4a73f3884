//! The server under test as a child process: started on free ports and a directory of its own, stopped politely, removed without a trace.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

use super::BenchArgs;
use super::disk::Directory;
use super::round::Usage;
use super::run::BenchError;
use super::schedule::real;

/// How long a server may take to say that it listens.
const START_SECONDS: u64 = 30;
/// How long a server may take to stop after SIGTERM before it is killed.
const STOP_SECONDS: u64 = 20;
/// Clock ticks a second in `/proc/<pid>/stat`: fixed by the kernel's interface on every platform we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The child could not be started.
    #[error("cannot start the server: {0}")]
    Start(#[from] std::io::Error),
    /// The child ended or fell silent before it listened.
    #[error("the server did not say that it listens{0}")]
    NotListening(String),
    /// A URL is not of the form `http://ADDRESS:PORT`.
    #[error("`{0}` is not of the form http://ADDRESS:PORT")]
    Url(String),
}

/// A running child server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Its public listener.
    pub(super) api: SocketAddr,
    /// Its operations listener.
    pub(super) ops: SocketAddr,
    /// Removed after the child has ended.
    _directory: Option<Directory>,
}

impl Server {
    /// Starts `holdfast <arguments>` on the given processors and waits until it prints `listening api=URL ops=URL`.
    ///
    /// # Errors
    /// [`ServerError`]; a child that started is ended again.
    pub(super) async fn start(
        arguments: Vec<String>,
        directory: Option<Directory>,
        cpus: Option<CpuSet>,
    ) -> Result<Server, ServerError> {
        let mut child = spawn(arguments, cpus)?;
        let output = child.stdout.take().expect("stdout is piped");
        let guard = Ending(Some(child));
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            let found = lines.find_map(|line| addresses(&line));
            tell.send(found).ok();
            // Keep reading: a child whose pipe is full or closed would stop.
            lines.for_each(drop);
        });
        let waited = tokio::time::timeout(Duration::from_secs(START_SECONDS), told).await;
        let silent = || ServerError::NotListening(format!(" within {START_SECONDS} s"));
        let ended = || ServerError::NotListening(": it ended; its messages are above".to_owned());
        let (api, ops) = waited.map_err(|_| silent())?.ok().flatten().ok_or_else(ended)?;
        Ok(Server {
            child: guard.keep(),
            api,
            ops,
            _directory: directory,
        })
    }

    /// Starts the server under test in a new temporary directory.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(super) async fn own(args: &BenchArgs, run: &str, cpus: Option<CpuSet>) -> Result<Server, BenchError> {
        let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = Directory::new(&parent, run)?;
        Ok(Server::in_directory(args, directory, cpus).await?)
    }

    /// Starts the server under test in a directory of its own.
    ///
    /// # Errors
    /// [`ServerError`]; a child that started is ended again.
    pub(super) async fn in_directory(
        args: &BenchArgs,
        directory: Directory,
        cpus: Option<CpuSet>,
    ) -> Result<Server, ServerError> {
        let data = directory.path().join("data").to_string_lossy().into_owned();
        let mut arguments: Vec<String> = [
            "serve",
            "--data-dir",
            &data,
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--set",
            "log.level=warn",
            // The largest real baskets have several hundred lines.
            "--set",
            "policy.lines_per_cart=500",
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(journal) = args.journal {
            arguments.extend(["--set".to_owned(), format!("journal.backend={}", journal.name())]);
        }
        Server::start(arguments, Some(directory), cpus).await
    }

    /// What the process has used since it started.
    pub(super) fn usage(&self) -> Usage {
        usage_of(self.child.id())
    }

    /// SIGTERM, then patience, then SIGKILL. True when the server ended by itself with exit code 0.
    pub(super) async fn stop(mut self) -> bool {
        terminate(&self.child);
        let ended = async {
            loop {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return status.success();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(STOP_SECONDS), ended)
            .await
            .unwrap_or(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends the child unless it is kept.
struct Ending(Option<Child>);

impl Ending {
    fn keep(mut self) -> Child {
        self.0.take().expect("kept once")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Both calls fail only when the child has already gone, which is what they are for.
fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, Signal::TERM).ok();
    }
}

/// Starts the child from a thread that already runs on the wanted processors: a child inherits them before its first instruction.
fn spawn(arguments: Vec<String>, cpus: Option<CpuSet>) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let starter = std::thread::spawn(move || {
        if let Some(cpus) = cpus {
            rustix::thread::sched_setaffinity(None, &cpus)?;
        }
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    });
    starter
        .join()
        .map_err(|_| std::io::Error::other("the starting thread panicked"))?
}

/// `listening api=http://A ops=http://B`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("listening ")?.split_whitespace();
    let api = words.next()?.strip_prefix("api=")?;
    let ops = words.next()?.strip_prefix("ops=")?;
    Some((address_of(api).ok()?, address_of(ops).ok()?))
}

/// The socket address in a URL of the form `http://ADDRESS:PORT`; names are not looked up, except `localhost`.
///
/// # Errors
/// [`ServerError::Url`].
pub(super) fn address_of(url: &str) -> Result<SocketAddr, ServerError> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let numeric = authority.map(|authority| authority.replace("localhost:", "127.0.0.1:"));
    numeric
        .and_then(|authority| authority.parse().ok())
        .ok_or_else(|| ServerError::Url(url.to_owned()))
}

/// What a process has used so far; zeros where `/proc` does not say.
fn usage_of(pid: u32) -> Usage {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let labelled = |text: &str, label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let stat = read("stat");
    Usage {
        cpu_seconds: cpu_ticks(&stat).map_or(0.0, |ticks| real(ticks) / real(TICKS_PER_SECOND)),
        rss_bytes: labelled(&read("status"), "VmRSS:") * 1024,
        written_bytes: labelled(&read("io"), "write_bytes:"),
        syncs: None,
    }
}

/// User and system time in `/proc/<pid>/stat`; the command's name (2nd field) may hold spaces, so fields count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_line_is_understood() {
        let line = "listening api=http://127.0.0.1:4000 ops=http://127.0.0.1:4001";
        let (api, ops) = addresses(line).unwrap();
        assert_eq!((api.port(), ops.port()), (4000, 4001));
        assert_eq!(addresses("listening soon"), None);
    }

    #[test]
    fn a_url_without_a_port_or_with_https_is_refused() {
        assert_eq!(
            address_of("http://localhost:3000/").unwrap(),
            "127.0.0.1:3000".parse().unwrap()
        );
        assert!(address_of("http://127.0.0.1").is_err());
        assert!(address_of("https://127.0.0.1:3000").is_err());
    }

    #[test]
    fn processor_time_is_read_past_an_odd_name() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(42));
    }
}
