//! Headers with a meaning of their own.
use crate::http::problem::{Code, Problem};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The header that names one intent through all its retries.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set on an answer that repeats an earlier one.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// What a guest shows to act on its cart.
pub const CART_TOKEN: HeaderName = HeaderName::from_static("cart-token");
/// The longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// The most digits of a version in an entity tag: so many always fit.
pub const VERSION_DIGITS_MAX: usize = 19;

/// Reads the idempotency key.
///
/// # Errors
/// `invalid-header` unless it is one value of 1 to 255 visible ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refused = || Problem::invalid_header("Idempotency-Key", "1 to 255 visible ASCII characters, once");
    let Some(value) = single(headers, &IDEMPOTENCY_KEY).map_err(|Repeated| refused())? else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| refused())?;
    let fits = (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(Some(text)).ok_or_else(refused)
}

/// Reads what a guest shows as its cart's token. A header that cannot be one, or came twice, is as good as a wrong one.
///
/// # Errors
/// `cart-token-invalid`.
pub fn cart_token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refused = || Problem::new(Code::CartTokenInvalid);
    let value = single(headers, &CART_TOKEN).map_err(|Repeated| refused())?;
    value
        .map(|value| value.to_str().map_err(|_| refused()))
        .transpose()
}

/// The version that a caller means to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    Any,
    /// This one.
    Version(u64),
}

/// Reads If-Match where it is optional.
///
/// # Errors
/// `invalid-header` unless it is `*` or one strong tag of ours. A weak tag never matches (RFC 9110, 13.1.1), so it is
/// refused as what it is instead of being called stale.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Expected>, Problem> {
    let refused = || Problem::invalid_header("If-Match", "one strong entity tag such as \"17\", or *");
    let Some(value) = single(headers, &header::IF_MATCH).map_err(|Repeated| refused())? else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| refused())?.trim();
    if text == "*" {
        return Ok(Some(Expected::Any));
    }
    let digits = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(refused)?;
    let plain =
        (1..=VERSION_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let version = plain.then(|| digits.parse().ok()).flatten();
    version
        .map(|version| Some(Expected::Version(version)))
        .ok_or_else(refused)
}

/// A version as an entity tag.
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits between quotes")
}

struct Repeated;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(Repeated)
    } else {
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&[u8]]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    #[test]
    fn keys_know_their_edges() {
        let read =
            |values: &[&[u8]]| idempotency_key(&with(IDEMPOTENCY_KEY, values)).map(|key| key.map(str::len));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[&[b'k'; 255]]).unwrap(), Some(255));
        for refused in [
            &[&b""[..]][..],
            &[&[b'k'; 256]],
            &[b"a b"],
            &["é".as_bytes()],
            &[b"a", b"a"],
        ] {
            assert!(read(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn only_strong_tags_of_ours_match() {
        let read = |values: &[&[u8]]| if_match(&with(header::IF_MATCH, values)).ok();
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(&[b"*"]), Some(Some(Expected::Any)));
        assert_eq!(read(&[b"\"17\""]), Some(Some(Expected::Version(17))));
        let longest = format!("\"{}\"", "9".repeat(VERSION_DIGITS_MAX));
        assert!(read(&[longest.as_bytes()]).is_some());
        for refused in [
            &b"W/\"17\""[..],
            b"17",
            b"\"\"",
            b"\"x\"",
            b"\"1\", \"2\"",
            b"\"-1\"",
            b"\"99999999999999999999\"",
        ] {
            assert_eq!(read(&[refused]), None, "{refused:?}");
        }
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
    }
}
