//! A real server as a child process: started on free ports, asked over real sockets, stopped or killed.
pub(crate) mod wire;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use wire::{Answer, Connection, request};

/// `holdfast serve` on a data directory; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    api: SocketAddr,
    ops: SocketAddr,
    log: PathBuf,
}

/// A server that has been started and may not listen yet.
pub(crate) struct Starting {
    child: Child,
    log: PathBuf,
}

/// A server that ended instead of listening.
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Starting {
    /// Starts `holdfast serve` with more arguments; its log lines go to a file beside the data directory.
    pub(crate) fn spawn(data_dir: &Path, arguments: &[&str]) -> Self {
        let log = data_dir.with_extension("log");
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .env_clear()
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--set",
                "server.ops_listen=127.0.0.1:0",
            ])
            .args(["--set", "disk.reserve=1MiB"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits until it listens, or has ended.
    pub(crate) fn listen(mut self) -> Result<Server, Refused> {
        let mut line = String::new();
        let mut output = BufReader::new(self.child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        if let Some((api, ops)) = addresses(&line) {
            let Self { child, log } = self;
            return Ok(Server { child, api, ops, log });
        }
        Err(Refused {
            status: self.child.wait().unwrap(),
            log: std::fs::read_to_string(&self.log).unwrap(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL; waits for its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `listening api=http://A ops=http://B`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (api, ops) = line.trim().strip_prefix("listening api=")?.split_once(" ops=")?;
    let address = |url: &str| url.strip_prefix("http://")?.parse().ok();
    Some((address(api)?, address(ops)?))
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let started = Starting::spawn(data_dir, arguments).listen();
        started.unwrap_or_else(|refused| panic!("{}: {}", refused.status, refused.log))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    pub(crate) fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// Its log lines so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.api).unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> Answer {
        self.connect()
            .exchange(&request(method, path, key, body))
            .unwrap()
    }

    /// What a GET shows.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "", "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> String {
        let mut connection = Connection::open(self.ops).unwrap();
        let text = connection
            .exchange(&request("GET", "/metrics", "", ""))
            .unwrap()
            .text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL; waits for its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; its status and all it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.log())
    }
}

impl Drop for Server {
    /// A test that failed leaves no process behind; one that has ended cannot be killed, which is as good.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
