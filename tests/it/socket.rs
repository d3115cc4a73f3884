//! Bad input over a real socket: what the framing of HTTP itself can be made to do. Bodies and headers that are well framed are
//! judged at the router (`http_edge`, `fuzz`).
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;
use crate::server::wire::{Connection, request};

fn started(settings: &[&str]) -> (TempDir, Server) {
    let home = tempfile::tempdir().unwrap();
    let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let server = Server::start(&home.path().join("data"), &settings);
    let made = server.ask("POST", "/api/stock/variants", "", r#"{"id":"1","onHand":100}"#);
    assert_eq!(made.status, 201, "{}", made.text());
    (home, server)
}

fn seen(server: &Server) -> [Value; 2] {
    ["/api/stock/variants/1", "/api/stock/reservations"].map(|path| server.get(path))
}

/// Bytes as they are sent, and the beginning of what comes back: the status, and the code if there is a problem body.
#[test]
fn bad_bytes_get_what_the_contract_says_and_change_nothing() {
    let (_home, server) = started(&[]);
    let before = seen(&server);
    let hold = r#"{"variantId":"1","quantity":1}"#;
    let post = |headers: &str, body: &str| {
        format!("POST /api/stock/reservations HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}")
    };
    let json = "content-type: application/json\r\n";
    let long = "x".repeat(40_000);
    let big = " ".repeat(64 * 1024 + 1);
    let table = [
        ("not HTTP at all", "hello\r\n\r\n".to_owned(), 400, ""),
        ("a newer HTTP", "GET / HTTP/3.0\r\n\r\n".to_owned(), 400, ""),
        (
            "TLS on a plain port",
            "\x16\x03\x01\x02\r\n\r\n".to_owned(),
            400,
            "",
        ),
        (
            "a head beyond its limit",
            format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            431,
            "",
        ),
        (
            "an address beyond its limit",
            format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            431,
            "",
        ),
        (
            "too many headers",
            format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
                "a: b\r\n".repeat(120)
            ),
            431,
            "",
        ),
        (
            "a length that is no number",
            post(&format!("{json}content-length: ten\r\n"), hold),
            400,
            "",
        ),
        (
            "two lengths",
            post(
                &format!("{json}content-length: 3\r\ncontent-length: 30\r\n"),
                hold,
            ),
            400,
            "",
        ),
        (
            "a chunk that is no chunk",
            post(&format!("{json}transfer-encoding: chunked\r\n"), "zz\r\nx\r\n"),
            400,
            "malformed-request",
        ),
        (
            "a body above 64 KiB",
            post(&format!("{json}content-length: {}\r\n", big.len()), &big),
            413,
            "body-too-large",
        ),
        (
            "a body that says it is above",
            post(&format!("{json}content-length: 99999999999\r\n"), ""),
            413,
            "body-too-large",
        ),
        (
            "chunks above 64 KiB",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                &format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len()),
            ),
            413,
            "body-too-large",
        ),
        (
            "another type",
            post(
                &format!("content-type: text/plain\r\ncontent-length: {}\r\n", hold.len()),
                hold,
            ),
            415,
            "unsupported-media-type",
        ),
        (
            "no type",
            post(&format!("content-length: {}\r\n", hold.len()), hold),
            415,
            "unsupported-media-type",
        ),
        ("no body", post(json, ""), 400, "malformed-json"),
        (
            "an unknown route",
            "GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            404,
            "route-not-found",
        ),
        (
            "another method",
            "DELETE /api/stock/variants HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
            "method-not-allowed",
        ),
        (
            "OPTIONS",
            "OPTIONS /api/stock/variants HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
            "method-not-allowed",
        ),
        (
            "a method nobody knows",
            "BREW /api/stock/variants HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
            "method-not-allowed",
        ),
        (
            "a host of its own",
            "GET http://elsewhere/nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            421,
            "misdirected-request",
        ),
        (
            "a name that was made to lead here",
            "GET /api/stock/variants HTTP/1.1\r\nhost: evil.example:3000\r\n\r\n".to_owned(),
            421,
            "misdirected-request",
        ),
        (
            "a page of another site",
            "POST /api/stock/variants/1/pause HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\n\r\n"
                .to_owned(),
            403,
            "cross-site-request",
        ),
        (
            "a page of another port in an old browser",
            "POST /api/admin/drain HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost:8080\r\n\r\n".to_owned(),
            403,
            "cross-site-request",
        ),
    ];
    for (name, bytes, status, code) in table {
        let mut connection = server.connect();
        // What the server does not want to read it may close on; its answer came first.
        let _ = connection.write(&bytes);
        let answer = connection
            .read()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        if !code.is_empty() {
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{name}"
            );
            assert_eq!(answer.json()["code"], code, "{name}: {}", answer.text());
        }
    }
    assert_eq!(seen(&server), before, "nothing of it changed anything");
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn the_ways_of_http_are_kept() {
    let (_home, server) = started(&[]);

    // HTTP/1.0 gets its answer and the end of the connection.
    let mut old = server.connect();
    old.write("GET /api/stock/variants/1 HTTP/1.0\r\n\r\n").unwrap();
    let answer = old.read().unwrap();
    assert_eq!((answer.status, answer.version), (200, 0));
    assert_eq!(old.rest(), b"");

    let mut last = server.connect();
    last.write("GET /api/stock/variants/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(last.read().unwrap().header("connection"), "close");
    assert_eq!(last.rest(), b"");

    // HEAD is GET without its body, and the connection goes on.
    let mut head = server.connect();
    head.write("HEAD /api/stock/variants/1 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let answer = head.read_framed(false).unwrap();
    assert_eq!((answer.status, answer.header("etag")), (200, "\"1\""));
    assert_eq!(
        head.exchange(&request("GET", "/api/stock/variants/1", "", ""))
            .unwrap()
            .status,
        200
    );

    // A hundred requests in one write are answered one by one, in their order.
    let mut pipe = server.connect();
    let hold = |index: u32| {
        let body = json!({"variantId": "1", "quantity": 1, "customerId": index.to_string()}).to_string();
        request("POST", "/api/stock/reservations", "", &body)
    };
    pipe.write((0..100).flat_map(hold).collect::<Vec<_>>()).unwrap();
    for index in 0..100 {
        let answer = pipe.read().unwrap();
        assert_eq!(
            (answer.status, &answer.json()["customerId"]),
            (201, &json!(index.to_string())),
            "{}",
            answer.text()
        );
    }
    assert_eq!(server.get("/api/stock/variants/1")["held"], 100);

    // A client that closes its side is taken for one that hung up: it may get its answer or not, and the connection ends.
    let mut half = server.connect();
    half.write(request("GET", "/api/stock/variants/1", "", ""))
        .unwrap();
    half.end_writing();
    let rest = half.rest();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
}

/// Connects, sends a piece and hears what the server makes of the silence after it.
fn silence_after(address: SocketAddr, piece: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(address).unwrap();
    connection.write(piece).unwrap();
    connection.rest()
}

#[test]
fn who_sends_too_slowly_is_let_go() {
    let (_home, server) = started(&[
        "server.header_read_timeout=200ms",
        "server.request_deadline=200ms",
    ]);
    let before = seen(&server);
    let whole = request(
        "POST",
        "/api/stock/reservations",
        "",
        r#"{"variantId":"1","quantity":1}"#,
    );
    let head = whole.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    // Nothing, half a head, half a body: each ends without an answer of success, and nothing is held.
    assert_eq!(silence_after(server.api(), b""), b"");
    for piece in [&whole[..20], &whole[..head], &whole[..head + 5]] {
        let told = String::from_utf8(silence_after(server.api(), piece)).unwrap();
        assert!(told.is_empty() || !told.starts_with("HTTP/1.1 2"), "{told}");
    }
    // Who hangs up in the middle of a body has asked for nothing.
    let mut gone = server.connect();
    gone.write(&whole[..head + 5]).unwrap();
    drop(gone);
    assert_eq!(seen(&server), before);
    // One slow sender holds nobody else up.
    let mut slow = server.connect();
    slow.write(&whole[..20]).unwrap();
    assert_eq!(server.ask("GET", "/api/stock/variants/1", "", "").status, 200);
}
