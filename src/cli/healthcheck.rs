//! `holdfast healthcheck`: one plain GET of `/readyz` on the operations listener; what a container's HEALTHCHECK runs.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ConfigOptions, Exit, Failure, Output};

/// How long the whole question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest response head that is read, bytes.
const HEAD_MAX: usize = 16 * 1024;

/// The most header lines that are read.
const HEADERS_MAX: usize = 64;

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct HealthcheckOptions {
    /// Whom to ask [default: /readyz on server.ops_listen of the configuration]
    #[arg(long, value_name = "URL", value_parser = Target::read)]
    url: Option<Target>,
    #[command(flatten)]
    config: ConfigOptions,
}

pub(super) fn run(options: &HealthcheckOptions, output: Output) -> Result<(), Failure> {
    let target = match &options.url {
        Some(target) => target.clone(),
        None => Target::of_listener(options.config.load([])?.config.server.ops_listen),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, target.status()).await });
    let url = target.url();
    let status = asked
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {PATIENCE:?}"),
            ))
        })
        .map_err(|error| Failure::new(Exit::Unreachable, format!("cannot reach {url}: {error}")))?;
    let ready = status == 200;
    let word = || {
        if ready {
            "ready\n".to_owned()
        } else {
            format!("not ready ({status})\n")
        }
    };
    output.data(word, &json!({ "url": url, "status": status, "ready": ready }))?;
    if ready {
        Ok(())
    } else {
        Err(Failure::failed(format!("{url} answered {status}")))
    }
}

/// A plain HTTP address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// Host and port, as they stand in a URL.
    authority: String,
    path: String,
}

impl Target {
    fn read(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or("wanted http://ADDRESS:PORT[/PATH]")?;
        let (authority, path) = rest
            .find('/')
            .map_or((rest, "/readyz"), |slash| rest.split_at(slash));
        let port = authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || authority.starts_with(':') || !matches!(port, Some(Ok(_))) {
            return Err("wanted http://ADDRESS:PORT[/PATH]".to_owned());
        }
        let path = if path == "/" { "/readyz" } else { path };
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The probe of a listener on this machine; one that listens everywhere is asked on loopback.
    fn of_listener(mut address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        Self {
            authority: address.to_string(),
            path: "/readyz".to_owned(),
        }
    }

    fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// Asks and returns the status of the answer.
    async fn status(&self) -> io::Result<u16> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.path, self.authority
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        loop {
            if let Some(status) = status_of(&head)? {
                return Ok(status);
            }
            if head.len() >= HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the answer is not HTTP",
                ));
            }
        }
    }
}

/// The status of a response head; `None` while it is incomplete.
fn status_of(head: &[u8]) -> io::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the answer is not HTTP: {error}"),
        )
    })?;
    Ok(parsed.is_complete().then_some(response.code).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let target = |url| Target::read(url).map(|target| target.url());
        assert_eq!(
            target("http://127.0.0.1:3001"),
            Ok("http://127.0.0.1:3001/readyz".to_owned())
        );
        assert_eq!(
            target("http://127.0.0.1:3001/"),
            Ok("http://127.0.0.1:3001/readyz".to_owned())
        );
        assert_eq!(
            target("http://[::1]:3001/livez"),
            Ok("http://[::1]:3001/livez".to_owned())
        );
        assert_eq!(
            target("http://shop:3001"),
            Ok("http://shop:3001/readyz".to_owned())
        );
        for wrong in [
            "https://shop:3001",
            "shop:3001",
            "http://shop",
            "http://:3001",
            "http://a b:1",
            "http://a:1/\r\n",
        ] {
            assert!(target(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_listener_everywhere_is_asked_on_loopback() {
        let asked = |address: &str| Target::of_listener(address.parse().unwrap()).authority;
        assert_eq!(asked("0.0.0.0:3001"), "127.0.0.1:3001");
        assert_eq!(asked("[::]:3001"), "[::1]:3001");
        assert_eq!(asked("10.1.2.3:3001"), "10.1.2.3:3001");
    }

    #[test]
    fn a_head_in_pieces_is_waited_for() {
        assert_eq!(status_of(b"HTTP/1.1 503 Service").unwrap(), None);
        assert_eq!(
            status_of(b"HTTP/1.1 503 Service Unavailable\r\nServer: x\r\n\r\n").unwrap(),
            Some(503)
        );
        assert!(status_of(b"SSH-2.0-x\r\n").is_err());
    }
}
