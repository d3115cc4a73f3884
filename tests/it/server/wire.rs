//! A small blocking HTTP/1.1 client: one connection, every byte under the test's control.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No server of ours is silent this long; one that is hangs, and the test must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) version: u8,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON, not {:?}", self.text()))
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was received and not yet read.
    input: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub(crate) fn end_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and reads its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.write(request)?;
        self.read()
    }

    /// Reads one answer to anything but a HEAD.
    pub(crate) fn read(&mut self) -> io::Result<Answer> {
        self.read_framed(true)
    }

    /// Reads one answer; one to a HEAD has the length of a body and no body.
    pub(crate) fn read_framed(&mut self, has_body: bool) -> io::Result<Answer> {
        let (mut answer, head_bytes, length) = loop {
            if let Some(parsed) = parse(&self.input)? {
                break parsed;
            }
            self.more()?;
        };
        let whole = head_bytes + if has_body { length } else { 0 };
        while self.input.len() < whole {
            self.more()?;
        }
        answer.body = self.input[head_bytes..whole].to_vec();
        self.input.drain(..whole);
        Ok(answer)
    }

    /// Reads until the server closes; what came before that.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more().is_ok() {}
        std::mem::take(&mut self.input)
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let mut read = self.stream.read(&mut piece);
        // A process that is stopped and goes on again (a job control, a debugger) finds its waiting read ended.
        while matches!(&read, Err(error) if error.kind() == ErrorKind::Interrupted) {
            read = self.stream.read(&mut piece);
        }
        if let Err(error) = &read
            && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        {
            panic!("the server was silent for {PATIENCE:?}");
        }
        match read? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.input.extend_from_slice(&piece[..read]);
                Ok(())
            }
        }
    }
}

/// The head of an answer with its length in bytes and that of its body; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let answer = Answer {
        version: response.version.unwrap(),
        status: response.code.unwrap(),
        headers: response
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect(),
        body: Vec::new(),
    };
    assert_eq!(answer.header("transfer-encoding"), "", "every body has a length");
    let length = answer.header("content-length").parse().unwrap_or(0);
    Ok(Some((answer, head_bytes, length)))
}

/// The bytes of a request with a JSON body (none if it is empty) and an idempotency key (none if it is empty).
pub(crate) fn request(method: &str, path: &str, key: &str, body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    if !key.is_empty() {
        text.push_str(&format!("idempotency-key: {key}\r\n"));
    }
    if !body.is_empty() {
        // One value, or one on each line.
        let kind = if body.ends_with('\n') { "x-ndjson" } else { "json" };
        text.push_str(&format!("content-type: application/{kind}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}
