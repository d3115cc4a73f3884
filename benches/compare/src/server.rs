//! Servers as child processes: on the servers' cores, in a directory of the run, ended with it whatever ends it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::cores::Cores;
use crate::trouble::Trouble;

/// How long a server may take until it answers.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to end before it is killed.
const END_MAX: Duration = Duration::from_secs(10);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a server is told to end. Its directory is thrown away, so nothing has to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At once.
    Kill,
    /// At once, but it has children of its own to end (PostgreSQL: immediate shutdown).
    Quit,
}

/// Who it runs as: user and group.
pub(crate) type User = Option<(u32, u32)>;

/// A running child.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Option<Child>,
    end: End,
}

impl Server {
    /// Starts a program. Its standard output goes to the given place, its messages to the log.
    ///
    /// `setpriv` has the kernel end it when this process is killed, and `taskset` puts it on the servers' cores; both become the program.
    /// The kernel watches the thread that starts the child: it is the main one.
    pub(crate) fn start(
        cores: &Cores,
        program: &Path,
        arguments: &[&str],
        place: &Path,
        user: User,
        end: End,
        output: Stdio,
    ) -> Result<Self, Trouble> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.with_extension("log"))
            .map_err(Trouble::system("open a log"))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "taskset", "-c", &cores.servers_text()])
            .arg(program)
            .args(arguments)
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            // Ctrl-C is for us; we end the children.
            .process_group(0);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        let child = command
            .spawn()
            .map_err(Trouble::system(format!("start {name}")))?;
        Ok(Self {
            name,
            child: Some(child),
            end,
        })
    }

    /// Waits until the child has ended.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Trouble> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(status) = self.look()? {
                self.child = None;
                return Ok(status);
            }
        }
    }

    fn look(&mut self) -> Result<Option<ExitStatus>, Trouble> {
        let child = self.child.as_mut().expect("asked before it was ended");
        child.try_wait().map_err(Trouble::system("look at a child"))
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&mut self, is_ready: impl AsyncFn() -> bool) -> Result<(), Trouble> {
        let name = self.name.clone();
        let ready = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if let Some(status) = self.look()? {
                    return Err(Trouble::Server(format!("{name} ended: {status}")));
                }
                if is_ready().await {
                    return Ok(());
                }
            }
        };
        let late = || Trouble::Server(format!("{name} did not answer within {START_MAX:?}"));
        tokio::time::timeout(START_MAX, ready).await.map_err(|_| late())?
    }

    /// Starts a program that says where it listens, `listening [api=]http://ADDRESS ...`, and waits for it.
    pub(crate) async fn listening(
        cores: &Cores,
        program: &Path,
        arguments: &[&str],
        place: &Path,
    ) -> Result<(Self, SocketAddr), Trouble> {
        let mut server = Self::start(cores, program, arguments, place, None, End::Kill, Stdio::piped())?;
        let output = server.child.as_mut().and_then(|child| child.stdout.take());
        let output = output.expect("it is piped");
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            tell.send(lines.find_map(|line| address_in(&line))).ok();
            // Keep reading: a child whose pipe is full or closed would stop.
            lines.for_each(drop);
        });
        let waited = tokio::time::timeout(START_MAX, told).await;
        let silent = || {
            let log = std::fs::read_to_string(place.with_extension("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            Trouble::Server(format!("{} did not say where it listens: {last:?}", server.name))
        };
        let address = waited.ok().and_then(Result::ok).flatten().ok_or_else(silent)?;
        Ok((server, address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if self.end == End::Kill {
            child.kill().ok();
            child.wait().ok();
            return;
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::QUIT).ok();
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(child.wait()).ok());
        if let (Err(_), Some(pid)) = (told.recv_timeout(END_MAX), pid) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let first = line.strip_prefix("listening ")?.split_whitespace().next()?;
    let url = first.strip_prefix("api=").unwrap_or(first);
    url.strip_prefix("http://")?.parse().ok()
}

/// A port of the loopback that nobody has at this moment.
pub(crate) fn free_port() -> Result<u16, Trouble> {
    let found = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(found.map_err(Trouble::system("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_line_is_understood() {
        let address = "127.0.0.1:4000".parse().ok();
        assert_eq!(
            address_in("listening api=http://127.0.0.1:4000 ops=http://127.0.0.1:4001"),
            address
        );
        assert_eq!(address_in("listening http://127.0.0.1:4000"), address);
        assert_eq!(address_in("listening soon"), None);
    }
}
