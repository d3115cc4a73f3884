//! The types that members of bodies have. Each knows its limits and says them when a value does not fit.
use super::body::too_many;
use crate::domain::ids::{
    CartId, CustomerId, ID_BYTES_MAX, InvalidId, OrderId, ReservationId, SessionId, VariantId,
};
use crate::domain::money::Currency;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A whole number within limits that are part of its type. Written as an integer: `2.0` and `1e3` are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: i64, const MAX: i64>(pub i64);

impl<const MIN: i64, const MAX: i64> Whole<MIN, MAX> {
    /// The number as the domain counts units of one hold.
    ///
    /// # Panics
    /// When `MAX` or `MIN` does not fit in 32 bits, which is a fault in the type that names them.
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).expect("the type's limits fit in u32")
    }

    /// The number as the domain counts stock.
    ///
    /// # Panics
    /// When `MIN` is negative, which is a fault in the type that names it.
    pub fn as_u64(self) -> u64 {
        u64::try_from(self.0).expect("the type's limits are not negative")
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WholeVisitor::<MIN, MAX>)
    }
}

struct WholeVisitor<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> Visitor<'_> for WholeVisitor<MIN, MAX> {
    type Value = Whole<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        if (MIN..=MAX).contains(&number) {
            return Ok(Whole(number));
        }
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

/// The most units of one hold.
pub const QUANTITY_MAX: i64 = 1_000_000_000;
/// The most units of a stock level.
pub const UNITS_MAX: i64 = 1_000_000_000_000;
const _: () = assert!(
    UNITS_MAX as u64 == crate::domain::variant::MAX_UNITS,
    "the edge refuses what the domain would"
);
/// A month: no hold is longer, whatever the policy.
pub const SECONDS_MAX: i64 = 31 * 24 * 60 * 60;

/// Units asked for.
pub type Quantity = Whole<1, QUANTITY_MAX>;
/// Units there, or a threshold; none is fine.
pub type Units = Whole<0, UNITS_MAX>;
/// A change of stock in either direction.
pub type Delta = Whole<{ -UNITS_MAX }, UNITS_MAX>;
/// A length of time.
pub type Seconds = Whole<1, SECONDS_MAX>;
/// An amount of money in minor units.
pub type Amount = Whole<0, 1_000_000_000_000_000>;

/// An id that a caller chose.
pub trait TextId: Sized {
    /// Checks length and characters.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn parse(text: &str) -> Result<Self, InvalidId>;
}

macro_rules! text_ids {
    ($($name:ident)*) => {
        $(impl TextId for $name {
            fn parse(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        })*
    };
}

text_ids!(VariantId CustomerId SessionId CartId OrderId);

/// The text of an id of ours that a caller sends back. Whether such a thing exists is not a question of form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle(pub String);

impl TextId for Handle {
    fn parse(text: &str) -> Result<Self, InvalidId> {
        VariantId::parse(text).map(|_| Self(text.to_owned()))
    }
}

/// An id: a text, or a plain JSON integer that means its decimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<T>(pub T);

/// Names a variant.
pub type VariantRef = Id<VariantId>;
/// Names a customer of the shop.
pub type CustomerRef = Id<CustomerId>;
/// Names a guest's session.
pub type SessionRef = Id<SessionId>;
/// Names a cart.
pub type CartRef = Id<CartId>;
/// Names an order of the shop.
pub type OrderRef = Id<OrderId>;
/// Names something by an id whose form is not judged.
pub type HandleRef = Id<Handle>;

/// What an id must be, in words; query and path parameters say the same.
pub(super) const ID_EXPECTED: &str = "an id of 1 to 128 bytes without control characters";
const _: () = assert!(ID_BYTES_MAX == 128, "ID_EXPECTED says so");

impl<'de, T: TextId> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor(PhantomData)).map(Id)
    }
}

struct IdVisitor<T>(PhantomData<T>);

impl<T: TextId> Visitor<'_> for IdVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ID_EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// A reservation of ours where only ours will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationRef(pub ReservationId);

impl<'de> Deserialize<'de> for ReservationRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ours;

        impl Visitor<'_> for Ours {
            type Value = ReservationRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a reservation, as this service gave it")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReservationRef, E> {
                let id = text.parse().map(ReservationRef);
                id.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Ours)
    }
}

/// A text of 1 to `MAX` bytes without control characters, trimmed of nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<const MAX: usize>(pub String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::<MAX>)
    }
}

struct TextVisitor<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for TextVisitor<MAX> {
    type Value = Text<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of 1 to {MAX} bytes without control characters")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() || text.len() > MAX || text.chars().any(char::is_control) {
            return Err(E::invalid_value(Unexpected::Str(text), &self));
        }
        Ok(Text(text.to_owned()))
    }
}

/// A code, a category or the like.
pub type Label = Text<128>;
/// A name, a reason or the like.
pub type Line = Text<256>;
/// A tag.
pub type Tag = Text<64>;

/// A currency code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrencyCode(pub Currency);

impl<'de> Deserialize<'de> for CurrencyCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Letters;

        impl Visitor<'_> for Letters {
            type Value = Currency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ISO 4217 code of three capital letters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
                Currency::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Letters).map(CurrencyCode)
    }
}

/// A moment: RFC 3339 with any offset. A number is refused: its unit would be a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub crate::domain::time::Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;

        impl Visitor<'_> for Rfc3339 {
            type Value = Instant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment such as 2026-11-21T08:30:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Instant, E> {
                let moment = crate::http::time::read(text).map(Instant);
                moment.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Rfc3339)
    }
}

/// A list of `MIN` to `MAX` elements; a longer one is refused while it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MIN: usize, const MAX: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de> for List<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor::<T, MIN, MAX>(PhantomData))
    }
}

struct ListVisitor<T, const MIN: usize, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Visitor<'de> for ListVisitor<T, MIN, MAX> {
    type Value = List<T, MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MIN} to {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == MAX {
                return Err(too_many(MAX, "elements"));
            }
            elements.push(element);
        }
        if elements.len() < MIN {
            return Err(de::Error::invalid_length(elements.len(), &self));
        }
        Ok(List(elements))
    }
}

/// The most attributes of a variant.
pub const ATTRIBUTES_MAX: usize = 32;
/// The longest name of an attribute, bytes.
pub const ATTRIBUTE_NAME_MAX: usize = 64;
/// The longest value of an attribute, bytes.
pub const ATTRIBUTE_VALUE_MAX: usize = 256;

/// Names and values of a variant's attributes, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((Text(name), Text(value))) =
                    map.next_entry::<Text<ATTRIBUTE_NAME_MAX>, Text<ATTRIBUTE_VALUE_MAX>>()?
                {
                    if pairs.len() == ATTRIBUTES_MAX {
                        return Err(too_many(ATTRIBUTES_MAX, "attributes"));
                    }
                    if pairs.insert(name, value).is_some() {
                        return Err(de::Error::custom("the same name twice, expected each name once"));
                    }
                }
                Ok(Attributes(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(json: &str) -> Option<String> {
        serde_json::from_str::<Id<VariantId>>(json)
            .ok()
            .map(|id| id.0.as_str().to_owned())
    }

    #[test]
    fn an_id_is_a_text_or_a_plain_integer() {
        assert_eq!(id("\"a b\"").as_deref(), Some("a b"));
        assert_eq!(id("123").as_deref(), Some("123"));
        assert_eq!(id("0").as_deref(), Some("0"));
        assert_eq!(
            id("18446744073709551615").as_deref(),
            Some("18446744073709551615")
        );
        for refused in [
            "-1",
            "-0",
            "1.0",
            "1e3",
            "18446744073709551616",
            "null",
            "true",
            "[]",
            "{}",
            "\"\"",
            "\"a\\n\"",
        ] {
            assert_eq!(id(refused), None, "{refused}");
        }
        assert_eq!(
            id(&format!("\"{}\"", "x".repeat(128))).map(|id| id.len()),
            Some(128)
        );
        assert_eq!(id(&format!("\"{}\"", "x".repeat(129))), None);
    }

    #[test]
    fn whole_numbers_know_their_edges() {
        let read = |json: &str| {
            serde_json::from_str::<Whole<-2, 3>>(json)
                .ok()
                .map(|whole| whole.0)
        };
        assert_eq!(
            [read("-3"), read("-2"), read("3"), read("4")],
            [None, Some(-2), Some(3), None]
        );
        for refused in ["-0", "1.0", "1e0", "\"1\"", "true", "null", "9223372036854775808"] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }

    #[test]
    fn texts_moments_currencies_and_attributes_know_their_form() {
        assert!(serde_json::from_str::<Text<3>>("\"abc\"").is_ok());
        for refused in ["\"\"", "\"abcd\"", "\"a\\u0007\"", "1"] {
            assert!(serde_json::from_str::<Text<3>>(refused).is_err(), "{refused}");
        }
        let moment: Instant = serde_json::from_str("\"2026-11-21T10:30:00+02:00\"").unwrap();
        assert_eq!(moment.0.as_millis(), 1_795_249_800_000);
        for refused in ["\"2026-11-21\"", "1795249800000", "\"1969-01-01T00:00:00Z\""] {
            assert!(serde_json::from_str::<Instant>(refused).is_err(), "{refused}");
        }
        for refused in ["\"usd\"", "\"US\"", "\"USDT\"", "840"] {
            assert!(
                serde_json::from_str::<CurrencyCode>(refused).is_err(),
                "{refused}"
            );
        }
        assert!(serde_json::from_str::<Attributes>(r#"{"a":"1","b":"2"}"#).is_ok());
        assert!(serde_json::from_str::<Attributes>(r#"{"a":"1","a":"2"}"#).is_err());
    }
}
