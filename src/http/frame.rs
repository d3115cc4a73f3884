//! The frame around every route: one layer instead of six, because each costs a boxed future per request.
//!
//! It gives the request an id and a trace, refuses what a browser was talked into, bounds its time, catches a panic, renders problems, forbids caching of answers
//! about stock, and measures by route template. Nothing outside of it writes an error body.
use super::origin;
use super::problem::{Code, Problem};
use super::routes::stock_file::IMPORT;
use crate::config;
use crate::domain::ids::Hex;
use crate::telemetry::metrics::{Method, UNMATCHED_ROUTE, metrics};
use crate::telemetry::tracing::request_span;
use axum::extract::{MatchedPath, Request};
use axum::http::{self, HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

/// The request's id, accepted or minted, in requests, answers, problems and logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest request id that is accepted.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The routes whose work has no deadline.
const SNAPSHOTS: &str = "/api/admin/snapshots";

/// What the frame needs to know.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The longest a request may take, from its head to the head of its answer. A backstop: the body has a limit of its
    /// own, and the app answers by the caller's deadline.
    pub deadline: Duration,
    /// The same for imports.
    pub import_deadline: Duration,
    /// Whether requests to names that are not this machine's are refused: no credentials are asked for.
    pub own_names_only: bool,
}

impl Frame {
    /// The frame of a configuration: twice the caller's deadline, so that who knows more answers first.
    pub fn new(server: &config::Server) -> Self {
        Self {
            deadline: server.request_deadline.duration() * 2,
            import_deadline: server.import_deadline.duration(),
            own_names_only: false,
        }
    }

    /// A snapshot takes as long as the house is large, an import as long as its list; whoever asks for one waits.
    fn deadline_of(&self, route: &str) -> Duration {
        if route.starts_with(SNAPSHOTS) {
            Duration::MAX
        } else if route == IMPORT {
            self.import_deadline
        } else {
            self.deadline
        }
    }

    /// Refuses what a browser was talked into.
    fn admit(&self, request: &Request) -> Result<(), Problem> {
        // With a key configured there is nothing to talk a browser into: it never sends the key by itself.
        if self.own_names_only {
            origin::refuse_foreign_name(request)?;
            origin::refuse_cross_site(request)?;
        }
        Ok(())
    }
}

/// Puts the frame around a service.
#[derive(Clone, Debug)]
pub struct FrameLayer(Arc<Frame>);

impl FrameLayer {
    /// The layer of one listener.
    pub fn new(frame: Frame) -> Self {
        Self(Arc::new(frame))
    }
}

impl<S> Layer<S> for FrameLayer {
    type Service = Framed<S>;

    fn layer(&self, inner: S) -> Framed<S> {
        Framed {
            frame: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service inside the frame. A service of its own instead of a middleware function, which would box what comes after it
/// once more for each request.
#[derive(Clone, Debug)]
pub struct Framed<S> {
    frame: Arc<Frame>,
    inner: S,
}

impl<S> Service<Request> for Framed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = Asked::of(&request);
        let served = match self.frame.admit(&request) {
            Ok(()) => Ok((self.frame.deadline_of(asked.route()), self.inner.call(request))),
            Err(problem) => Err(problem),
        };
        Box::pin(async move { Ok(asked.answered(served).await) })
    }
}

/// What the frame keeps of a request.
struct Asked {
    ids: Ids,
    method: http::Method,
    path: Option<MatchedPath>,
    _in_flight: InFlight,
}

impl Asked {
    fn of(request: &Request) -> Self {
        Self {
            ids: Ids::of(request.headers()),
            method: request.method().clone(),
            path: request.extensions().get::<MatchedPath>().cloned(),
            _in_flight: InFlight::enter(),
        }
    }

    /// The template of its route.
    fn route(&self) -> &str {
        self.path.as_ref().map_or(UNMATCHED_ROUTE, MatchedPath::as_str)
    }

    /// Waits for the answer, and dresses it.
    async fn answered<F>(self, served: Result<(Duration, F), Problem>) -> Response
    where
        F: Future<Output = Result<Response, Infallible>>,
    {
        let (ids, route) = (&self.ids, self.route());
        let mut response = match served {
            Err(problem) => carrier(problem),
            Ok((deadline, served)) => {
                let served = catch_panic(served).instrument(self.span());
                match tokio::time::timeout(deadline, served).await {
                    Ok(Ok(Ok(response))) => response,
                    Ok(Err(Panicked)) => {
                        let (request_id, traceparent) = (ids.request_text(), ids.trace_text());
                        tracing::error!(request_id, traceparent, route, "a handler panicked");
                        carrier(Problem::new(Code::Internal))
                    }
                    Err(_) => carrier(late(&self.method)),
                }
            }
        };
        let problem = Problem::of_response(&mut response);
        if let Some(problem) = &problem {
            if problem.code() == Code::Internal {
                tracing::error!(
                    request_id = ids.request_text(),
                    traceparent = ids.trace_text(),
                    route,
                    "answered with a fault of ours"
                );
            }
            response = rendered(problem, ids, &response);
        }
        let served = metrics().requests.of(
            route,
            Method::from(self.method.as_str()),
            response.status().as_u16(),
        );
        served.increment(1);
        let headers = response.headers_mut();
        if route.starts_with("/api/") || problem.is_some() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let Ids { request, trace } = self.ids;
        headers.insert(X_REQUEST_ID, request);
        headers.insert(TRACEPARENT, trace);
        response
    }

    /// A span costs more than a sold-out answer, and at the usual level no line would be written inside it.
    fn span(&self) -> Span {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Span::none();
        }
        let (request_id, traceparent) = (self.ids.request_text(), self.ids.trace_text());
        request_span(request_id, traceparent, self.method.as_str(), self.route())
    }
}

/// A problem on its way to be rendered.
fn carrier(problem: Problem) -> Response {
    axum::response::IntoResponse::into_response(problem)
}

/// Renders a problem and keeps what the framework said with it: a 405 must name the methods that work.
fn rendered(problem: &Problem, ids: &Ids, plain: &Response) -> Response {
    let mut response = problem.render(ids.request_text(), ids.trace_text());
    if let Some(allow) = plain.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// No answer came in time. Whatever changes state may have been handed over, so its outcome is open.
fn late(method: &http::Method) -> Problem {
    if method.is_safe() {
        Problem::new(Code::Overloaded).detail("no answer within the request's deadline")
    } else {
        Problem::new(Code::OutcomeUnknown)
    }
}

/// Counts a request while it is served, even one whose caller hangs up.
struct InFlight;

impl InFlight {
    fn enter() -> Self {
        metrics().requests_in_flight.increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().requests_in_flight.decrement(1);
    }
}

struct Panicked;

/// Runs a future and turns a panic in it into a value; the hook has logged the message and place by then.
async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // After a panic the future is never polled again, so no broken state is seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// The request's id and trace, ready to be sent back.
struct Ids {
    request: HeaderValue,
    trace: HeaderValue,
}

impl Ids {
    fn of(headers: &HeaderMap) -> Self {
        let request = headers
            .get(X_REQUEST_ID)
            .filter(|value| sane_request_id(value))
            .cloned();
        let trace = headers
            .get(TRACEPARENT)
            .filter(|value| sane_traceparent(value.as_bytes()))
            .cloned();
        Self {
            request: request.unwrap_or_else(mint_request_id),
            trace: trace.unwrap_or_else(mint_traceparent),
        }
    }

    fn request_text(&self) -> &str {
        self.request.to_str().expect("visible ASCII, accepted or minted")
    }

    fn trace_text(&self) -> &str {
        self.trace.to_str().expect("visible ASCII, accepted or minted")
    }
}

fn sane_request_id(value: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Version 00 of W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero.
fn sane_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let given = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    value.len() == 55
        && value.starts_with(b"00-")
        && value[35] == b'-'
        && value[52] == b'-'
        && given(&value[3..35])
        && given(&value[36..52])
        && hex(&value[53..])
}

fn mint_request_id() -> HeaderValue {
    HeaderValue::try_from(Hex::<32>::new(fastrand::u128(..)).as_str()).expect("hexadecimal digits")
}

fn mint_traceparent() -> HeaderValue {
    let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
    let (trace, span) = (Hex::<32>::new(trace), Hex::<16>::new(span.into()));
    let mut text = String::with_capacity(55);
    for part in ["00-", trace.as_str(), "-", span.as_str(), "-00"] {
        text.push_str(part);
    }
    // Takes the text over, without a copy.
    HeaderValue::try_from(text).expect("hexadecimal digits and dashes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_trace_contexts_are_taken_over() {
        assert!(sane_traceparent(
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        for refused in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert!(!sane_traceparent(refused.as_bytes()), "{refused}");
        }
        assert!(sane_traceparent(mint_traceparent().as_bytes()));
        assert!(sane_request_id(&mint_request_id()));
    }
}
