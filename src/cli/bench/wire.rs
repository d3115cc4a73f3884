//! One keep-alive HTTP/1.1 connection, as cheap as we can make it: the generator shares the machine with the server it measures, so every
//! cycle it burns is taken from the figure.
//!
//! One request at a time (no pipelining), one write for it, reused buffers, no header map. Only answers framed by
//! `Content-Length` (or that have no body) are understood; that is all our server and the echo floor send.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of one answer; a bulk answer of 200 lines stays below 100 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// First size of the read buffer: one ordinary answer in one read.
const ANSWER_BYTES_USUAL: usize = 4 << 10;
/// Most headers of one answer.
const HEADERS_MAX: usize = 32;

/// Why an answer did not come. The request may have been carried out all the same.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The connection could not be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection failed while the request was under way.
    #[error("the connection failed: {0}")]
    Broken(#[from] std::io::Error),
    /// The server closed the connection before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The bytes were not an answer we understand.
    #[error("not an HTTP answer: {0}")]
    Malformed(String),
}

/// A complete answer; the body is borrowed from the connection's buffer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// HTTP status.
    pub(super) status: u16,
    /// `Retry-After` in seconds.
    pub(super) retry_after_seconds: Option<u32>,
    /// The body's bytes.
    pub(super) body: &'a [u8],
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    retry_after_seconds: Option<u32>,
    head_bytes: usize,
    body_bytes: usize,
    closes: bool,
}

/// A connection that is made when first needed and made anew after a loss.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

impl Connection {
    /// Not connected yet.
    pub(super) fn new(address: SocketAddr) -> Connection {
        Connection {
            address,
            stream: None,
            input: vec![0; ANSWER_BYTES_USUAL],
        }
    }

    /// Makes the connection if there is none, or the server has closed it while nothing was asked: servers do, after a
    /// while, and what is sent then has an unknown outcome.
    ///
    /// # Errors
    /// [`Lost::Connect`]; nothing was sent.
    pub(super) async fn connect(&mut self) -> Result<(), Lost> {
        if !self.stream.as_ref().is_some_and(is_open) {
            let connect = |source| Lost::Connect {
                address: self.address,
                source,
            };
            let stream = TcpStream::connect(self.address).await.map_err(connect)?;
            stream.set_nodelay(true).map_err(connect)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends one request and reads its answer. After an error the connection is gone and the next call makes a new one.
    ///
    /// # Errors
    /// [`Lost`]: after anything but `Connect` the outcome of the request is unknown.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Lost> {
        self.connect().await?;
        let mut stream = self.stream.take().expect("just connected");
        // Put back only after a complete answer: a failed or cancelled exchange leaves no half-read connection behind.
        stream.write_all(request).await?;
        let head = read_answer(&mut stream, &mut self.input).await?;
        if !head.closes {
            self.stream = Some(stream);
        }
        let body = &self.input[head.head_bytes..head.head_bytes + head.body_bytes];
        Ok(Answer {
            status: head.status,
            retry_after_seconds: head.retry_after_seconds,
            body,
        })
    }
}

/// Whether an idle connection is as it was left: nothing comes that nobody asked for.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

async fn read_answer(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Head, Lost> {
    let mut filled = 0;
    let mut head = None;
    loop {
        if filled == input.len() {
            if filled >= ANSWER_BYTES_MAX {
                return Err(Lost::Malformed(format!(
                    "an answer above {ANSWER_BYTES_MAX} bytes"
                )));
            }
            input.resize(filled * 2, 0);
        }
        let read = stream.read(&mut input[filled..]).await?;
        if read == 0 {
            return Err(Lost::Closed);
        }
        filled += read;
        if head.is_none() {
            head = parse_head(&input[..filled])?;
        }
        let Some(known) = head else { continue };
        let whole = known.head_bytes + known.body_bytes;
        if filled == whole {
            return Ok(known);
        }
        if filled > whole {
            return Err(Lost::Malformed("bytes after the answer".to_owned()));
        }
        if whole > ANSWER_BYTES_MAX {
            return Err(Lost::Malformed(format!("an answer of {whole} bytes")));
        }
    }
}

/// The head of an answer once it is complete, `None` before.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Lost> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(bytes)
        .map_err(|error| Lost::Malformed(error.to_string()))?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let status = response.code.expect("a complete head has a status");
    let mut head = Head {
        status,
        retry_after_seconds: None,
        head_bytes,
        body_bytes: 0,
        closes: false,
    };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = number(header.value)
                .ok_or_else(|| Lost::Malformed("a content-length that is no number".to_owned()))?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Lost::Malformed(
                "a chunked answer, which this client does not read".to_owned(),
            ));
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_seconds = number(header.value);
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(head))
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each connection's requests with the given pieces, one write each, then closes.
    async fn fake_server(connections: Vec<Vec<&'static [u8]>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for pieces in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut request = [0; 256];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                for piece in pieces {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_in_pieces_is_put_together() {
        let pieces: Vec<&[u8]> = vec![
            b"HTTP/1.1 20",
            b"1 Created\r\nContent-Le",
            b"ngth: 5\r\n\r",
            b"\nhe",
            b"llo",
        ];
        let mut connection = Connection::new(fake_server(vec![pieces]).await);
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!((answer.status, answer.body), (201, b"hello".as_slice()));
    }

    #[tokio::test]
    async fn a_large_answer_grows_the_buffer() {
        let body = vec![b'x'; 3 * ANSWER_BYTES_USUAL];
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let head: &'static [u8] = Box::leak(text.into_bytes().into_boxed_slice());
        let tail: &'static [u8] = Box::leak(body.into_boxed_slice());
        let mut connection = Connection::new(fake_server(vec![vec![head, tail]]).await);
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(answer.body.len(), 3 * ANSWER_BYTES_USUAL);
    }

    #[tokio::test]
    async fn a_lost_connection_is_reported_and_the_next_request_gets_a_new_one() {
        let cut: Vec<&[u8]> = vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal"];
        let good: Vec<&[u8]> = vec![b"HTTP/1.1 204 No Content\r\n\r\n"];
        let mut connection = Connection::new(fake_server(vec![cut, good]).await);
        let lost = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(lost, Err(Lost::Closed)), "{lost:?}");
        assert_eq!(
            connection
                .exchange(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .unwrap()
                .status,
            204
        );
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_idle_is_made_anew() {
        let good: Vec<&[u8]> = vec![b"HTTP/1.1 204 No Content\r\n\r\n"];
        let mut connection = Connection::new(fake_server(vec![good.clone(), good]).await);
        for _ in 0..2 {
            let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await;
            assert_eq!(answer.unwrap().status, 204);
            let idle = connection.stream.as_ref().unwrap();
            while is_open(idle) {
                idle.readable().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn retry_after_and_close_are_heard() {
        let busy: Vec<&[u8]> =
            vec![b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"];
        let good: Vec<&[u8]> = vec![b"HTTP/1.1 204 No Content\r\n\r\n"];
        let mut connection = Connection::new(fake_server(vec![busy, good]).await);
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!((answer.status, answer.retry_after_seconds), (503, Some(2)));
        assert_eq!(
            connection
                .exchange(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .unwrap()
                .status,
            204
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(matches!(
            parse_head(b"SSH-2.0-OpenSSH\r\n\r\n"),
            Err(Lost::Malformed(_))
        ));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(parse_head(chunked), Err(Lost::Malformed(_))));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nContent-").unwrap().is_none());
    }
}
