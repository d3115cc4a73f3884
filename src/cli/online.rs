//! A running server, asked over HTTP: what every command shares that goes to one.
//!
//! One blocking client (`ureq`, without TLS, proxies and redirects), because a command asks one question after the other;
//! the load generator has its own, which counts in nanoseconds. The key of `auth.admin_key` comes from the environment,
//! never from the command line, where every process could read it. A server that cannot be reached is exit code 6; what a
//! server refuses is told in its own words.
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::http::{Request, Response, header, request};
use ureq::{Agent, Body, SendBody};

use super::{Exit, Failure};
use crate::http::extract::header::IDEMPOTENCY_KEY;

/// Where the key is taken from.
const KEY_VARIABLE: &str = "HOLDFAST__AUTH__ADMIN_KEY";

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may show no sign of life; [`Server::patient`] asks for more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read into memory, bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// The port of the public listener, unless it is configured.
const API: &str = "http://127.0.0.1:3000";

/// The port of the operations listener, unless it is configured.
const OPS: &str = "http://127.0.0.1:3001";

/// Which server.
#[derive(Clone, Debug, Args)]
pub struct AtServer {
    /// Server to ask
    #[arg(long, value_name = "URL", value_parser = Address::read, default_value = API)]
    pub url: Address,
}

impl AtServer {
    /// Whether it is another than the one that is asked without a word.
    pub fn is_elsewhere(&self) -> bool {
        self.url.to_string() != API
    }
}

/// Which operations listener.
#[derive(Clone, Debug, Args)]
pub struct AtOps {
    /// Its operations listener
    #[arg(long, value_name = "URL", value_parser = Address::read, default_value = OPS)]
    pub ops_url: Address,
}

/// A running server, or the data directory of one that does not run: never both.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Server to ask [default: http://127.0.0.1:3000]
    #[arg(long, value_name = "URL", value_parser = Address::read, conflicts_with = "data_dir")]
    pub url: Option<Address>,
    /// Data directory to read instead, which no server uses
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Place {
    /// The server, unless a data directory was named.
    pub fn server(&self) -> Result<Server, Failure> {
        let default = || Address::read(API).expect("the default is an address");
        Server::at(&self.url.clone().unwrap_or_else(default))
    }
}

/// A plain HTTP address. TLS ends at a proxy, so that a key needs a network it can be trusted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host and port, as they stand in a URL.
    authority: String,
    /// Without a slash at its end; often empty.
    path: String,
}

impl Address {
    /// Reads `http://HOST:PORT[/PATH]`.
    pub fn read(url: &str) -> Result<Self, String> {
        let wanted = "wanted http://ADDRESS:PORT[/PATH]";
        let rest = url.strip_prefix("http://").ok_or(wanted)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let port = authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        let visible = url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte));
        if !visible || authority.starts_with(':') || !matches!(port, Some(Ok(_))) {
            return Err(wanted.to_owned());
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// A listener on this machine; one that listens everywhere is asked on loopback.
    pub fn of_listener(mut address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        Self {
            authority: address.to_string(),
            path: String::new(),
        }
    }

    /// The path that was given, if one was.
    pub fn path(&self) -> Option<&str> {
        (!self.path.is_empty()).then_some(self.path.as_str())
    }

    /// The address itself, without its path.
    pub fn root(&self) -> Self {
        Self {
            authority: self.authority.clone(),
            path: String::new(),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "http://{}{}", self.authority, self.path)
    }
}

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Server {
    address: Address,
    agent: Agent,
    key: Option<String>,
    /// The idempotency key of what is sent, if it has one.
    intent: Option<String>,
    patience: Duration,
}

impl Server {
    /// The server at `address`, with the key of the environment. Nothing is sent yet.
    pub fn at(address: &Address) -> Result<Self, Failure> {
        let key = match std::env::var(KEY_VARIABLE) {
            Ok(key) => Some(key).filter(|key| !key.is_empty()),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failure::new(Exit::Usage, format!("{KEY_VARIABLE} is not UTF-8")));
            }
        };
        Ok(Self {
            address: address.clone(),
            agent: agent(PATIENCE),
            key,
            intent: None,
            patience: PATIENCE,
        })
    }

    /// With another patience: how long the server may show no sign of life.
    pub fn patient(self, patience: Duration) -> Self {
        Self {
            agent: agent(patience),
            patience,
            ..self
        }
    }

    /// With an idempotency key: whatever is sent again under it is done once.
    pub fn under_key(self, key: &str) -> Self {
        Self {
            intent: Some(key.to_owned()),
            ..self
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for a resource; `path` begins with a slash and may have a query.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, None, SendBody::none())
    }

    /// Sends an object.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let bytes = body.to_string().into_bytes();
        self.send(
            "POST",
            path,
            Some("application/json"),
            SendBody::from_owned_reader(std::io::Cursor::new(bytes)),
        )
    }

    /// Asks for something to be removed.
    pub fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.send("DELETE", path, None, SendBody::none())
    }

    /// Sends a stream of bytes, however many there are, once the server wants them: one that refuses at a look at the
    /// request's head closes the connection, and whoever was still sending would see a broken pipe instead of the reason.
    pub fn upload(
        &self,
        path: &str,
        content_type: &str,
        body: impl Read + 'static,
    ) -> Result<Answer, Failure> {
        let request = self
            .request("POST", path, Some(content_type))
            .header(header::EXPECT, "100-continue");
        self.run(path, request, SendBody::from_owned_reader(body))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: SendBody<'_>,
    ) -> Result<Answer, Failure> {
        self.run(path, self.request(method, path, content_type), body)
    }

    /// The head of a request.
    fn request(&self, method: &str, path: &str, content_type: Option<&str>) -> request::Builder {
        let mut request = Request::builder().method(method).uri(self.url(path));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(intent) = &self.intent {
            request = request.header(IDEMPOTENCY_KEY, intent);
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        request
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    fn run(&self, path: &str, request: request::Builder, body: SendBody<'_>) -> Result<Answer, Failure> {
        let url = self.url(path);
        let request = request
            .body(body)
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot ask for {url}: {error}")))?;
        match self.agent.run(request) {
            Ok(response) => Ok(Answer { url, response }),
            Err(error) => Err(self.unreachable(&url, &error)),
        }
    }

    fn unreachable(&self, url: &str, error: &ureq::Error) -> Failure {
        let why = if matches!(error, ureq::Error::Timeout(_)) {
            format!("no answer within {} s", self.patience.as_secs())
        } else {
            error.to_string()
        };
        Failure::new(Exit::Unreachable, format!("cannot reach {url}: {why}"))
    }
}

fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_PATIENCE.min(patience)))
        .timeout_per_read(Some(patience))
        .timeout_per_write(Some(patience));
    config.build().new_agent()
}

/// What a server answered; its body has not been read yet.
#[derive(Debug)]
pub struct Answer {
    url: String,
    response: Response<Body>,
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// This answer if it is a success; otherwise why it is none, in the server's words.
    pub fn ok(self) -> Result<Self, Failure> {
        let status = self.status();
        if self.response.status().is_success() {
            return Ok(self);
        }
        let url = self.url.clone();
        let text = self.text().unwrap_or_default();
        Err(refusal(&url, status, &text))
    }

    /// Why it is no success: the problem's code, and the server's words.
    pub fn problem(self) -> Result<(String, Failure), Failure> {
        let (status, url) = (self.status(), self.url.clone());
        let text = self.text()?;
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        Ok((code, refusal(&url, status, &text)))
    }

    /// The whole body as text.
    pub fn text(mut self) -> Result<String, Failure> {
        let body = self.response.body_mut().with_config().limit(ANSWER_MAX);
        body.read_to_string().map_err(|error| lost(&self.url, &error))
    }

    /// The whole body of a success as JSON.
    pub fn json(self) -> Result<Value, Failure> {
        let answer = self.ok()?;
        let url = answer.url.clone();
        let text = answer.text()?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::failed(format!("{url} did not answer with JSON: {error}")))
    }

    /// The body as it comes, without a limit.
    pub fn into_reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }
}

/// A connection that broke in the middle of an answer.
fn lost(url: &str, error: &ureq::Error) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("the answer of {url} broke off: {error}"),
    )
}

/// A refusal as a person reads it. Problems carry a code and figures; whatever else answers may say anything.
fn refusal(url: &str, status: u16, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default();
    let Some(code) = problem["code"].as_str() else {
        return Failure::failed(format!(
            "{url} answered {status}, and not as a Holdfast server does"
        ));
    };
    let told = match member("detail") {
        "" => member("title"),
        detail => detail,
    };
    let failure = Failure::failed(format!("{told} ({code}, {status})"));
    if status == 401 {
        return failure.next(format!("export {KEY_VARIABLE}=..."));
    }
    failure
}

/// One part of a path, made safe: an id may contain anything.
pub fn segment(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

/// A path with those of the parameters that have a value.
pub fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))))
        .collect();
    if given.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", given.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let told = |url| Address::read(url).map(|address| address.to_string());
        for (url, wanted) in [
            ("http://127.0.0.1:3001", "http://127.0.0.1:3001"),
            ("http://127.0.0.1:3001/", "http://127.0.0.1:3001"),
            ("http://[::1]:3001/livez", "http://[::1]:3001/livez"),
            ("http://shop:80/stock/", "http://shop:80/stock"),
        ] {
            assert_eq!(told(url), Ok(wanted.to_owned()));
        }
        for wrong in [
            "https://shop:3001",
            "shop:3001",
            "http://shop",
            "http://:3001",
            "http://a b:1",
            "http://a:1/\r\n",
            "http://a:1/?x=1",
            "http://user:secret@a:1",
        ] {
            assert!(Address::read(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_listener_everywhere_is_asked_on_loopback() {
        let asked = |address: &str| Address::of_listener(address.parse().unwrap()).authority;
        assert_eq!(asked("0.0.0.0:3001"), "127.0.0.1:3001");
        assert_eq!(asked("[::]:3001"), "[::1]:3001");
        assert_eq!(asked("10.1.2.3:3001"), "10.1.2.3:3001");
    }

    #[test]
    fn ids_and_parameters_cannot_leave_their_place() {
        assert_eq!(segment("a/../b?c=d&e é"), "a%2F..%2Fb%3Fc%3Dd%26e%20%C3%A9");
        let limit = Some("50".to_owned());
        assert_eq!(
            with_query("/x", &[("limit", limit), ("status", None)]),
            "/x?limit=50"
        );
        assert_eq!(with_query("/x", &[("status", None)]), "/x");
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let problem = r#"{"code":"variant-not-found","title":"There is no such variant","status":404}"#;
        let failure = refusal("http://a:1/x", 404, problem);
        assert_eq!(
            failure.message,
            "There is no such variant (variant-not-found, 404)"
        );
        let failure = refusal("http://a:1/x", 502, "<html>");
        assert_eq!(
            failure.message,
            "http://a:1/x answered 502, and not as a Holdfast server does"
        );
        let failure = refusal("http://a:1/x", 401, r#"{"code":"unauthenticated","title":"No"}"#);
        assert!(failure.next.is_some());
    }
}
