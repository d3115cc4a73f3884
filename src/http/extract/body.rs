//! JSON bodies, read strictly.
//!
//! A good body is parsed once, straight into its struct. Only a refused one is read again, slowly, to name the member and
//! what was expected there: the happy path pays nothing for good messages.
use crate::http::problem::{Code, Problem};
use axum::http::{HeaderMap, header};
use serde::de::{
    DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer,
};
use serde::{Deserialize, de};
use std::fmt;
use std::marker::PhantomData;

/// The most characters of a reader's message that go into a problem: a message may quote what it read.
const DETAIL_CHARS_MAX: usize = 300;

/// A JSON object and nothing else: derived structs would take an array of their members in order, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Reads a member that may be set to null on purpose: absent is `None`, null is `Some(None)`.
///
/// # Errors
/// Those of `T`.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Refuses a body that does not say it is JSON. A charset parameter is allowed; JSON is UTF-8 whatever it says.
///
/// # Errors
/// `unsupported-media-type`.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType))
}

/// Reads a body.
///
/// # Errors
/// `malformed-json` when the bytes are not JSON, `invalid-member` when they are but mean nothing here.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    match serde_json::from_slice::<Object<T>>(bytes) {
        Ok(Object(body)) => Ok(body),
        Err(_) => Err(diagnose::<T>(bytes)),
    }
}

/// Reads refused bytes once more to say why.
fn diagnose<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    if let Err(error) = std::str::from_utf8(bytes) {
        return malformed(format!("not UTF-8 after {} bytes", error.valid_up_to()));
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return malformed(error.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) else {
        return malformed("more than one JSON value".into());
    };
    let path = error.path().to_string();
    let message = without_position(&error.inner().to_string());
    if !error.inner().is_data() && !message.starts_with("number out of range") {
        return malformed(error.inner().to_string());
    }
    invalid(&path, &message)
}

fn malformed(detail: String) -> Problem {
    Problem::new(Code::MalformedJson).detail(detail)
}

/// Turns the reader's path and message into the member and what was expected. The wording of serde is relied on here and
/// nowhere else; the tests below hold it.
fn invalid(path: &str, message: &str) -> Problem {
    if let Some(name) = quoted_after(message, "missing field ") {
        return Problem::invalid_member(join(path, name), "a value; it is required");
    }
    if let Some(name) = quoted_after(message, "duplicate field ") {
        return Problem::invalid_member(join(path, name), "to be given once");
    }
    let member = if path == "." { "body" } else { path };
    if message.starts_with("unknown field ") {
        let known = message.split_once(", expected ");
        let expected = known.map_or("no member at all".to_owned(), |(_, known)| {
            format!("no such member, but {known}")
        });
        return Problem::invalid_member(shortened(member), expected);
    }
    if message.starts_with("unknown variant ")
        && let Some((_, known)) = message.split_once(", expected ")
    {
        return Problem::invalid_member(shortened(member), known);
    }
    if message.starts_with("number out of range") {
        return Problem::invalid_member(shortened(member), "a number in range");
    }
    let expected = message
        .rsplit_once("expected ")
        .map_or(message, |(_, expected)| expected);
    Problem::invalid_member(shortened(member), expected).detail(shortened(&format!("{member}: {message}")))
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.strip_prefix('`')?.strip_suffix('`')
}

fn join(path: &str, name: &str) -> String {
    if path == "." {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn without_position(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
        .to_owned()
}

fn shortened(text: &str) -> String {
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

/// Refuses a list or map that is longer than it may be, while it is read.
pub(super) fn too_many<E: de::Error>(max: usize, what: &str) -> E {
    E::custom(format_args!("too many, expected at most {max} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::member::{List, Whole};
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read")]
        on_hand: Whole<1, 10>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        lines: Option<List<Object<Inner>, 1, 2>>,
        #[serde(default, deserialize_with = "nullable")]
        limit: Option<Option<Whole<0, 5>>>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        word: Option<Word>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        none: Option<Nothing>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        On,
        Off,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read")]
        id: Whole<1, 10>,
    }

    fn refusal(text: &str) -> (u16, String) {
        let problem = parse::<Outer>(text.as_bytes()).expect_err(text);
        let body = serde_json::to_value(problem.body("r")).unwrap();
        let place = if body["code"] == "malformed-json" {
            json!("-")
        } else {
            body["member"].clone()
        };
        let expected = body["expected"].as_str().unwrap_or_default();
        (
            problem.code().status().as_u16(),
            format!("{}: {expected}", place.as_str().unwrap()),
        )
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in [
            "",
            " ",
            "{",
            "nul",
            "{'onHand':1}",
            "{\"onHand\":NaN}",
            "{\"onHand\":01}",
            "{\"onHand\":1}x",
            "\u{feff}{}",
        ] {
            assert_eq!(refusal(text).0, 400, "{text}");
        }
        assert_eq!(
            parse::<Outer>(b"{\"onHand\":1,\"\xff\":1}").unwrap_err().code(),
            Code::MalformedJson
        );
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(refusal(&format!("{{\"onHand\":{deep}}}")).0, 422);
    }

    #[test]
    fn what_is_json_but_wrong_names_the_member_and_what_was_expected() {
        for (text, expected) in [
            ("[1]", "body: an object"),
            ("null", "body: an object"),
            ("{}", "onHand: a value; it is required"),
            (r#"{"onHand":0}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":-1}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":1.5}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":1.0}"#, "onHand: a whole number from 1 to 10"),
            (
                r#"{"onHand":99999999999999999999}"#,
                "onHand: a whole number from 1 to 10",
            ),
            (r#"{"onHand":1e999}"#, "onHand: a number in range"),
            (r#"{"onHand":"1"}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":null}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":[1]}"#, "onHand: a whole number from 1 to 10"),
            (r#"{"onHand":1,"onHand":2}"#, "onHand: to be given once"),
            (
                r#"{"onHand":1,"onhand":2}"#,
                "onhand: no such member, but one of `onHand`, `lines`, `limit`, `word`, `none`",
            ),
            (r#"{"onHand":1,"word":"On"}"#, "word: `on` or `off`"),
            (r#"{"onHand":1,"none":{"x":1}}"#, "none.x: no member at all"),
            (r#"{"onHand":1,"lines":[]}"#, "lines: 1 to 2 elements"),
            (
                r#"{"onHand":1,"lines":[{"id":1},{"id":1},{"id":1}]}"#,
                "lines: at most 2 elements",
            ),
            (
                r#"{"onHand":1,"lines":[{"id":1},{"id":0}]}"#,
                "lines[1].id: a whole number from 1 to 10",
            ),
            (
                r#"{"onHand":1,"lines":[{}]}"#,
                "lines[0].id: a value; it is required",
            ),
            (r#"{"onHand":1,"lines":[[1]]}"#, "lines[0]: an object"),
        ] {
            assert_eq!(refusal(text), (422, expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn null_and_absent_differ_where_both_mean_something() {
        assert_eq!(parse::<Outer>(br#"{"onHand":1}"#).unwrap().limit, None);
        assert_eq!(
            parse::<Outer>(br#"{"onHand":1,"limit":null}"#).unwrap().limit,
            Some(None)
        );
        assert_eq!(
            parse::<Outer>(br#"{"onHand":1,"limit":5}"#).unwrap().limit,
            Some(Some(Whole(5)))
        );
    }

    #[test]
    fn a_long_quote_is_cut() {
        let text = format!(r#"{{"onHand":"{}"}}"#, "é".repeat(20_000));
        let problem = parse::<Outer>(text.as_bytes()).unwrap_err();
        let body = serde_json::to_value(problem.body("r")).unwrap();
        assert_eq!(body["detail"].as_str().unwrap().chars().count(), DETAIL_CHARS_MAX);
        assert_eq!(body["expected"], "a whole number from 1 to 10");
    }
}
