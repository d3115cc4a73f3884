//! Path and query parameters: none unknown, none twice, each with its limits.
use super::member::{ID_EXPECTED, TextId};
use crate::http::problem::{Code, Problem};
use axum::extract::Query;
use axum::http::Uri;

/// The page size without `limit`.
pub const LIMIT_DEFAULT: u32 = 50;
/// The largest page.
pub const LIMIT_MAX: u32 = 500;
/// The longest cursor; ours are shorter.
pub const CURSOR_BYTES_MAX: usize = 1024;

/// The query of an address. A handler takes what it knows and calls [`Params::finish`], which refuses the rest.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Splits and decodes a query.
    ///
    /// # Errors
    /// `malformed-request` when the address holds none that can be read.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(Code::MalformedRequest).detail(error.body_text()))?;
        Ok(Self(pairs.0))
    }

    /// Takes a parameter's text.
    ///
    /// # Errors
    /// `invalid-parameter` when it is given twice.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(given, _)| given == name) {
            return Err(Problem::invalid_parameter(name, "to be given once"));
        }
        Ok(Some(value))
    }

    /// Takes an id.
    ///
    /// # Errors
    /// `invalid-parameter` when it is not one.
    pub fn id<T: TextId>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        self.text(name)?.map(|text| id(name, &text)).transpose()
    }

    /// Takes one of a few words.
    ///
    /// # Errors
    /// `invalid-parameter` when it is another.
    pub fn word<T>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem>
    where
        T: Copy,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Problem::invalid_parameter(name, format!("one of {}", known.join(", ")))
        })
    }

    /// Takes `limit` and `cursor`.
    ///
    /// # Errors
    /// `invalid-parameter` when either is out of range.
    pub fn page(&mut self) -> Result<Page, Problem> {
        let limit = self.limit()?;
        let cursor = self
            .text("cursor")?
            .map(|text| Cursor::parse(&text))
            .transpose()?;
        Ok(Page { limit, cursor })
    }

    /// Takes `limit`.
    ///
    /// # Errors
    /// `invalid-parameter` when it is out of range.
    pub fn limit(&mut self) -> Result<u32, Problem> {
        let Some(text) = self.text("limit")? else {
            return Ok(LIMIT_DEFAULT);
        };
        limit(&text).ok_or_else(|| {
            Problem::invalid_parameter("limit", format!("a whole number from 1 to {LIMIT_MAX}"))
        })
    }

    /// Refuses whatever nobody took: a typo must not silently widen a list.
    ///
    /// # Errors
    /// `invalid-parameter` with its name.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(ID_CHARS_SHOWN).collect();
                Err(Problem::invalid_parameter(name, "no such parameter"))
            }
        }
    }
}

/// How much of an unknown name is repeated.
const ID_CHARS_SHOWN: usize = 100;

/// Reads an id from a path or a query.
///
/// # Errors
/// `invalid-parameter` when it is not one.
pub fn id<T: TextId>(name: &str, text: &str) -> Result<T, Problem> {
    T::parse(text).map_err(|_| Problem::invalid_parameter(name, ID_EXPECTED))
}

fn limit(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number = plain.then(|| text.parse().ok()).flatten()?;
    (number <= LIMIT_MAX).then_some(number)
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many items at most.
    pub limit: u32,
    /// After which item; the list's start without.
    pub cursor: Option<Cursor>,
}

impl Page {
    /// The sort key behind which the page begins, in a shop whose log is of `epoch`; `read` knows its form.
    ///
    /// # Errors
    /// `cursor-too-old` when the shop was put back since the cursor was given out, [`Cursor::refused`] when no list gave
    /// it out.
    pub fn after<T>(&self, epoch: u64, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Problem> {
        let key = self.cursor.as_ref().map(|cursor| cursor.key(epoch, read));
        key.transpose()
    }
}

/// Where a list goes on: the app's own sort key, opaque to callers, behind the epoch it was read in. A restore begins a new
/// epoch: what stood before the key may be gone then, and a page behind it would look whole with a hole in it.
///
/// It travels as lower-case hexadecimal: eight bytes of epoch, most significant first, then the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch of the log that the list was read from.
    pub epoch: u64,
    /// The sort key of the last item of the page before.
    pub key: Vec<u8>,
}

impl Cursor {
    /// The sort key, in a shop whose log is of `epoch`; `read` knows its form.
    ///
    /// # Errors
    /// As [`Page::after`].
    pub fn key<T>(&self, epoch: u64, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Problem> {
        if self.epoch != epoch {
            return Err(Problem::new(Code::CursorTooOld));
        }
        read(&self.key).ok_or_else(Self::refused)
    }

    /// What a cursor is answered that no list gave out.
    pub fn refused() -> Problem {
        Problem::invalid_parameter("cursor", "the nextCursor of an earlier answer")
    }

    /// Reads what an earlier answer gave out.
    ///
    /// # Errors
    /// [`Cursor::refused`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refused = Self::refused;
        if text.is_empty() || text.len() > CURSOR_BYTES_MAX || !text.len().is_multiple_of(2) {
            return Err(refused());
        }
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
            .collect();
        let bytes = bytes.ok_or_else(refused)?;
        let (epoch, key) = bytes.split_first_chunk().ok_or_else(refused)?;
        Ok(Self {
            epoch: u64::from_be_bytes(*epoch),
            key: key.to_vec(),
        })
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let epoch = self.epoch.to_be_bytes();
        let bytes = epoch.iter().chain(&self.key);
        bytes.into_iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::VariantId;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn pages_know_their_edges() {
        let limit = |query: &str| params(query).page().map(|page| page.limit).ok();
        assert_eq!(
            [limit(""), limit("limit=1"), limit("limit=500")],
            [Some(50), Some(1), Some(500)]
        );
        for refused in ["0", "501", "-1", "1.0", "", "%20", "+5", "99999999999", "1e2"] {
            assert_eq!(limit(&format!("limit={refused}")), None, "{refused}");
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let cursor = Cursor {
            epoch: 3,
            key: vec![0, 1, 0xab, 0xff],
        };
        assert_eq!(cursor.to_string(), "00000000000000030001abff");
        let page = params(&format!("cursor={cursor}")).page().unwrap();
        assert_eq!(page.cursor, Some(cursor));
        for refused in ["", "0", "zz", "AB", "0x", "00000000000003"] {
            assert!(params(&format!("cursor={refused}")).page().is_err(), "{refused}");
        }
    }

    #[test]
    fn a_cursor_is_good_for_the_epoch_it_was_given_out_in() {
        let page = params("cursor=000000000000000205").page().unwrap();
        let code = |epoch, read: fn(&[u8]) -> Option<u8>| page.after(epoch, read).map_err(|told| told.code());
        assert_eq!(code(2, |key| key.first().copied()), Ok(Some(5)));
        assert_eq!(code(2, |_| None), Err(Code::InvalidParameter));
        for other in [1, 3] {
            assert_eq!(code(other, |key| key.first().copied()), Err(Code::CursorTooOld));
        }
        let start = params("").page().unwrap();
        assert_eq!(start.after(3, |_| Some(())).unwrap(), None);
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        let mut given = params("variantId=a%20b&status=active");
        assert_eq!(
            given.id::<VariantId>("variantId").unwrap().unwrap().as_str(),
            "a b"
        );
        assert_eq!(given.word("status", &[("active", 1)]).unwrap(), Some(1));
        assert!(given.finish().is_ok());
        assert!(params("variantid=a").finish().is_err());
        assert!(params("a=1&a=2").text("a").is_err());
        assert!(params("status=live").word("status", &[("active", 1)]).is_err());
        assert!(params("variantId=").id::<VariantId>("variantId").is_err());
    }
}
