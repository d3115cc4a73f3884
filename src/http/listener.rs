//! Connections: accepted up to a limit, served by hyper directly (axum's own loop exposes neither a header timeout nor a
//! connection limit), drained with a deadline.
use super::front::Front;
use crate::config;
use crate::telemetry::metrics::metrics;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

/// Limits of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once; more wait in the kernel's backlog.
    pub connections_max: u32,
    /// How long a head may take to arrive, the wait of a kept connection for its next request included.
    pub header_read_timeout: Duration,
    /// How long requests may go on after drain began.
    pub drain_deadline: Duration,
    /// Whether its connections are those the metric counts.
    pub public: bool,
}

/// Connections at once on the operations listener: scrapers and probes, not shoppers.
const OPERATIONS_CONNECTIONS_MAX: u32 = 64;

impl ListenerLimits {
    /// The limits of the public listener.
    pub fn public(server: &config::Server) -> Self {
        Self {
            // More seats than a semaphore of the kernel's could hand out anyway.
            connections_max: u32::try_from(server.connections_max).unwrap_or(u32::MAX >> 3),
            public: true,
            ..Self::operations(server)
        }
    }

    /// The limits of the operations listener.
    pub fn operations(server: &config::Server) -> Self {
        Self {
            connections_max: OPERATIONS_CONNECTIONS_MAX,
            header_read_timeout: server.header_read_timeout.duration(),
            drain_deadline: server.drain_deadline.duration(),
            public: false,
        }
    }
}

/// The largest head, bytes; a larger one is answered 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The pause after a failed accept, which is nearly always a lack of file descriptors: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Clean,
    /// The deadline passed first; connections were cut.
    Cut,
}

/// Serves until `stop` ends, then lets requests in flight finish within the drain deadline.
pub async fn serve(
    listener: TcpListener,
    front: impl Into<Front>,
    limits: ListenerLimits,
    stop: impl Future<Output = ()>,
) -> Drained {
    let seats = Arc::new(Semaphore::new(limits.connections_max as usize));
    let closing = watch::Sender::new(Closing::No);
    let (front, mut stop) = (front.into(), pin!(stop));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &seats) => accepted,
        };
        if let Some((stream, seat)) = accepted {
            tokio::spawn(converse(stream, front.clone(), limits, closing.subscribe(), seat));
        }
    }
    drop(listener);
    closing.send_replace(Closing::AfterThisRequest);
    let all_seats = seats.acquire_many(limits.connections_max);
    if tokio::time::timeout(limits.drain_deadline, all_seats)
        .await
        .is_ok()
    {
        return Drained::Clean;
    }
    closing.send_replace(Closing::Now);
    Drained::Cut
}

/// How a connection is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    AfterThisRequest,
    Now,
}

async fn accept(listener: &TcpListener, seats: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let seat = Arc::clone(seats)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, seat)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            crate::clock::pause(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection. Its errors are the peer's business (it hung up, it sent nonsense) and worth a debug line only.
async fn converse(
    stream: TcpStream,
    front: Front,
    limits: ListenerLimits,
    mut closing: watch::Receiver<Closing>,
    _seat: OwnedSemaphorePermit,
) {
    let _counted = limits.public.then(Counted::enter);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| front.now().oneshot(request));
    // `pipeline_flush` stays off: it holds back the automatic 400 and 431 for ever, because the bad head is still unread.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(HEAD_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            changed = closing.changed() => match (changed.is_ok(), *closing.borrow_and_update()) {
                (true, Closing::No) => {}
                (true, Closing::AfterThisRequest) => connection.as_mut().graceful_shutdown(),
                (true, Closing::Now) | (false, _) => return,
            }
        }
    }
}

/// Counts a connection while it is open.
struct Counted;

impl Counted {
    fn enter() -> Self {
        metrics().connections.increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics().connections.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    fn limits() -> ListenerLimits {
        ListenerLimits::public(&config::Config::default().server)
    }

    async fn open(
        router: Router,
        limits: ListenerLimits,
    ) -> (TcpStream, oneshot::Sender<()>, tokio::task::JoinHandle<Drained>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, limits, async { stopped.await.unwrap() }));
        (TcpStream::connect(address).await.unwrap(), stop, server)
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_before_the_listener_ends() {
        let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
        let gate = Arc::new(Semaphore::new(0));
        let handler = {
            let gate = Arc::clone(&gate);
            move || async move {
                entered.send(()).await.unwrap();
                gate.acquire().await.unwrap().forget();
                "done"
            }
        };
        let (mut client, stop, server) = open(Router::new().route("/", get(handler)), limits()).await;
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        has_entered.recv().await.unwrap();
        stop.send(()).unwrap();
        gate.add_permits(1);
        assert!(rest(client).await.ends_with("done"));
        assert_eq!(server.await.unwrap(), Drained::Clean);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_cut_at_the_deadline() {
        let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
        let handler = move || async move {
            entered.send(()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let limits = ListenerLimits {
            drain_deadline: Duration::from_millis(1),
            ..limits()
        };
        let (mut client, stop, server) = open(Router::new().route("/", get(handler)), limits).await;
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        has_entered.recv().await.unwrap();
        stop.send(()).unwrap();
        assert_eq!(server.await.unwrap(), Drained::Cut);
        assert_eq!(rest(client).await, "");
    }

    #[tokio::test]
    async fn a_head_with_too_many_fields_is_refused() {
        // hyper's own limit is 100 fields; setting one would cost an allocation per request.
        let (mut client, _stop, _server) = open(Router::new(), limits()).await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "field: x\r\n".repeat(100));
        client.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        client.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 431");
    }
}
