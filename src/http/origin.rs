//! What a browser may be talked into where no credentials are asked for: a page of another origin changes nothing, and the
//! service answers to this machine's own names only. With a key configured neither is judged: no browser sends the key by
//! itself.
//!
//! Browsers say where a request comes from (`Sec-Fetch-Site`; `Origin` where that is too old), and no page can keep them
//! from it. Who says neither is no browser: curl and a shop's back end pass. A page whose name was made to lead to this
//! machine (DNS rebinding) counts as the same origin, but its name stands in Host.
//!
//! Deliberately absent: answers to CORS preflights. Nothing here is meant to be called by a page of another origin.
use super::problem::{Code, Problem};
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::IpAddr;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a change that a page of another origin asks for.
///
/// # Errors
/// `cross-site-request`.
pub(super) fn refuse_cross_site(request: &Request) -> Result<(), Problem> {
    if request.method().is_safe() || is_own_page(request) {
        return Ok(());
    }
    Err(Problem::new(Code::CrossSiteRequest))
}

/// Refuses a request to a name that is not this machine's.
///
/// # Errors
/// `misdirected-request`.
pub(super) fn refuse_foreign_name(request: &Request) -> Result<(), Problem> {
    let asked = request.uri().authority().map(Authority::as_str);
    let hosts = request.headers().get_all(header::HOST).iter();
    let hosts = hosts.map(|host| host.to_str().unwrap_or_default());
    match asked.into_iter().chain(hosts).find(|name| !is_loopback(name)) {
        None => Ok(()),
        Some(_) => Err(Problem::new(Code::MisdirectedRequest)),
    }
}

/// Whether a request comes from a page of this service, or from no page at all. `none` is an address that a person typed.
fn is_own_page(request: &Request) -> bool {
    let headers = request.headers();
    if let Some(site) = only(headers, &SEC_FETCH_SITE) {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    if !headers.contains_key(SEC_FETCH_SITE) && !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let origin = only(headers, &header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let authority = origin.and_then(|origin| origin.split_once("://"));
    let host = only(headers, &header::HOST).and_then(|host| host.to_str().ok());
    match (authority, host) {
        (Some((_, authority)), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a name with or without a port leads to this machine and nowhere else. Any port: a tunnel has its own.
fn is_loopback(name: &str) -> bool {
    let Ok(authority) = name.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>();
    // RFC 6761: localhost and every name below it are this machine's.
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().method(method).uri("/api/x");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_pages_of_this_service_change_something() {
        let passes = |method: &str, headers: &[(&str, &str)]| {
            refuse_cross_site(&request(
                method,
                &[&[("host", "127.0.0.1:3000")], headers].concat(),
            ))
            .is_ok()
        };
        for own in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://admin.shop"),
            ],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://127.0.0.1:3000")],
            &[("origin", "HTTP://127.0.0.1:3000")],
        ] {
            assert!(passes("POST", own), "{own:?}");
        }
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://127.0.0.1:3000"),
            ],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[
                ("origin", "http://127.0.0.1:3000"),
                ("origin", "http://evil.example"),
            ],
        ] {
            for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
                assert!(!passes(method, foreign), "{method} {foreign:?}");
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert!(passes(method, foreign), "{method} {foreign:?}");
            }
        }
    }

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for own in [
            "localhost",
            "LocalHost:3000",
            "127.0.0.1",
            "127.0.0.1:3000",
            "127.8.8.8:1",
            "[::1]",
            "[::1]:3000",
        ] {
            assert!(
                refuse_foreign_name(&request("GET", &[("host", own)])).is_ok(),
                "{own}"
            );
        }
        assert!(refuse_foreign_name(&request("GET", &[])).is_ok(), "no browser");
        for foreign in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.4:3000",
            "0.0.0.0:3000",
            "[::]:3000",
            "",
            "a b",
            "evil.example@x",
        ] {
            assert!(
                refuse_foreign_name(&request("GET", &[("host", foreign)])).is_err(),
                "{foreign}"
            );
        }
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert!(refuse_foreign_name(&request("GET", &twice)).is_err());
        let absolute = Request::get("http://evil.example/api/x").header("host", "localhost");
        assert!(refuse_foreign_name(&absolute.body(Body::empty()).unwrap()).is_err());
    }
}
