//! Ids: the callers' opaque texts, and ours, which carry where they live.
//!
//! ```text
//! rsv_ 48 bits created (ms) | 0111 | 12 bits slot | 10 | 32 bits variant ordinal | 30 bits salt      (UUIDv7, RFC 9562)
//! ```
//! The slot is a frozen hash, so that any node of a cluster can route an id without an index; a golden test freezes it.
use super::time::Timestamp;
use std::{fmt, str::FromStr, sync::Arc};

/// The longest id a caller may choose, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// No characters.
    #[error("must not be empty")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("must be at most {ID_BYTES_MAX} bytes")]
    TooLong,
    /// A control character, which would break log lines and cursors.
    #[error("must not contain control characters")]
    Control,
    /// Not one of ours.
    #[error("is not an id made by this service")]
    Foreign,
}

/// Bits as hexadecimal digits, lower case and of a fixed number: written digit by digit, since the general formatting
/// of numbers costs more than the rest of an answer's head.
#[derive(Clone, Copy)]
pub struct Hex<const DIGITS: usize>([u8; DIGITS]);

impl<const DIGITS: usize> Hex<DIGITS> {
    /// The low `4 * DIGITS` bits.
    pub const fn new(bits: u128) -> Self {
        let mut digits = [0; DIGITS];
        let mut place = 0;
        while place < DIGITS {
            digits[DIGITS - 1 - place] = b"0123456789abcdef"[(bits >> (4 * place)) as usize & 0xf];
            place += 1;
        }
        Self(digits)
    }

    /// The digits as text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters.
            ///
            /// # Errors
            /// [`InvalidId`] says what is wrong with the text.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check_text(text).map(|()| Self(Arc::from(text)))
            }

            /// The caller's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The merchant (tenant).
    StoreId
);
text_id!(
    /// The sellable unit, as its shop names it.
    VariantId
);
text_id!(
    /// A shopper known to the shop.
    CustomerId
);
text_id!(
    /// A shopper's browser session.
    SessionId
);
text_id!(
    /// A cart: the shop's own, or one of ours.
    CartId
);
text_id!(
    /// An order: the shop's own, or one of ours.
    OrderId
);

/// The text of an id made here: a prefix and the 32 hexadecimal digits of a UUIDv7 whose rand_a is the slot.
fn made(prefix: &str, created_at: Timestamp, slot: Slot, random: u64) -> Arc<str> {
    let created = (created_at.as_millis() as u128 & 0xffff_ffff_ffff) << 80;
    let high = created | (0x7 << 76) | (u128::from(slot.0) << 64);
    let bits = high | (0b10 << 62) | (u128::from(random) & 0x3fff_ffff_ffff_ffff);
    spelled(prefix, bits)
}

fn spelled(prefix: &str, bits: u128) -> Arc<str> {
    let mut text = String::with_capacity(prefix.len() + 32);
    text.push_str(prefix);
    text.push_str(Hex::<32>::new(bits).as_str());
    Arc::from(text)
}

/// The bits of an id made here, if `text` is one.
fn made_bits(prefix: &str, text: &str) -> Option<u128> {
    let hex = text.strip_prefix(prefix)?;
    let canonical = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let bits = canonical.then(|| u128::from_str_radix(hex, 16).ok()).flatten()?;
    ((bits >> 76) & 0xf == 0x7 && (bits >> 62) & 0b11 == 0b10).then_some(bits)
}

macro_rules! made_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// How ids made here begin.
            pub const PREFIX: &'static str = $prefix;

            /// An id made here; `random` contributes its low 62 bits.
            pub fn made(created_at: Timestamp, slot: Slot, random: u64) -> Self {
                Self(made($prefix, created_at, slot, random))
            }

            /// The 128 bits of an id made here; `None` for a shop's own.
            pub fn bits(&self) -> Option<u128> {
                made_bits($prefix, &self.0)
            }

            /// The id with these bits.
            pub fn from_bits(bits: u128) -> Option<Self> {
                let text = spelled($prefix, bits);
                made_bits($prefix, &text).map(|_| Self(text))
            }

            /// Where it lives in a cluster; `None` for a shop's own id.
            pub fn slot(&self) -> Option<Slot> {
                self.bits().map(|bits| Slot(((bits >> 64) & 0xfff) as u16))
            }
        }
    };
}

made_id!(CartId, "cart_");
made_id!(OrderId, "ord_");

fn check_text(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::Control);
    }
    Ok(())
}

/// A variant's dense number, logged at its creation and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantOrdinal(pub u32);

/// One of 4,096 places of a cluster; today all of them are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a variant: FNV-1a (64 bit) over store, a zero byte and id, folded to 12 bits. Frozen.
    pub fn of_variant(store: &StoreId, variant: &VariantId) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = store.0.bytes().chain([0]).chain(variant.0.bytes());
        let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        let folded = hash ^ (hash >> 32);
        Self(((folded ^ (folded >> 12) ^ (folded >> 24)) & 0xfff) as u16)
    }

    /// The slot of a new cart: the hash of its creation key, or random bits without one. Any 12 bits are a slot.
    pub const fn of_cart(hash: u64) -> Self {
        Self((hash & 0xfff) as u16)
    }

    /// The number, below 4,096.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A reservation's id: a UUIDv7 that carries slot and variant ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(u128);

impl ReservationId {
    /// Lays out an id. `salt` contributes its low 30 bits; the caller draws it at random and makes it unique within the
    /// variant.
    pub const fn new(created_at: Timestamp, slot: Slot, variant: VariantOrdinal, salt: u32) -> Self {
        let created = (created_at.as_millis() as u128 & 0xffff_ffff_ffff) << 80;
        let high = created | (0x7 << 76) | ((slot.0 as u128) << 64);
        Self(high | (0b10 << 62) | ((variant.0 as u128) << 30) | (salt as u128 & 0x3fff_ffff))
    }

    /// Sorts before every id, as the start of a range.
    pub const FIRST: Self = Self(0);

    /// The id with these bits, if version and variant of the UUID fit.
    pub const fn from_u128(bits: u128) -> Option<Self> {
        if (bits >> 76) & 0xf == 0x7 && (bits >> 62) & 0b11 == 0b10 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The bits, for storage; their order is the order of creation.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The id of the reservation made at `created_at` in this one's place: another of the same variant, derived because the
    /// domain draws nothing at random, so that it is the same whenever it is asked for again.
    #[must_use]
    pub const fn successor(self, created_at: Timestamp) -> Self {
        // A step of a full-period generator over the 30 bits of salt.
        let salt = (self.0 & 0x3fff_ffff) as u32;
        let next = salt.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        Self::new(created_at, self.slot(), self.variant(), next)
    }

    /// When the reservation was granted.
    pub const fn created_at(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as i64)
    }

    /// Whose units it holds.
    pub const fn variant(self) -> VariantOrdinal {
        VariantOrdinal(((self.0 >> 30) & 0xffff_ffff) as u32)
    }

    /// Where it lives in a cluster.
    pub const fn slot(self) -> Slot {
        Slot(((self.0 >> 64) & 0xfff) as u16)
    }
}

impl ReservationId {
    /// How every one begins.
    pub const PREFIX: &'static str = "rsv_";

    /// What follows [`ReservationId::PREFIX`].
    pub const fn digits(self) -> Hex<32> {
        Hex::new(self.0)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        f.write_str(self.digits().as_str())
    }
}

impl FromStr for ReservationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = text.strip_prefix(Self::PREFIX).ok_or(InvalidId::Foreign)?;
        let canonical = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = canonical.then(|| u128::from_str_radix(hex, 16).ok()).flatten();
        bits.and_then(Self::from_u128).ok_or(InvalidId::Foreign)
    }
}

/// A bulk coordinator's id: the hash of its idempotency key, or random without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u128);

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("blk_")?;
        f.write_str(Hex::<32>::new(self.0).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_and_layout_are_frozen() {
        let store = StoreId::parse("default").unwrap();
        let variant = VariantId::parse("123").unwrap();
        let slot = Slot::of_variant(&store, &variant);
        let id = ReservationId::new(
            Timestamp::from_millis(1_700_000_000_000),
            slot,
            VariantOrdinal(7),
            0x2aaa_aaaa,
        );
        assert_eq!(
            (slot.get(), id.to_string().as_str()),
            (3751, "rsv_018bcfe568007ea780000001eaaaaaaa")
        );
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for bits in [
            0,
            1,
            0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
            u128::MAX,
            1 << 127,
        ] {
            assert_eq!(Hex::<32>::new(bits).as_str(), format!("{bits:032x}"));
            assert_eq!(
                Hex::<16>::new(bits).as_str(),
                format!("{:016x}", bits & u128::from(u64::MAX))
            );
        }
    }

    #[test]
    fn an_id_gives_back_what_it_carries() {
        let slot = Slot(0xabc);
        let created = Timestamp::from_millis(1_800_000_000_123);
        let id = ReservationId::new(created, slot, VariantOrdinal(u32::MAX), u32::MAX);
        assert_eq!(
            (id.created_at(), id.slot(), id.variant()),
            (created, slot, VariantOrdinal(u32::MAX))
        );
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ReservationId::from_u128(id.as_u128()), Some(id));
        let later = Timestamp::from_millis(1_800_000_000_124);
        let next = id.successor(later);
        assert_eq!(
            (next.created_at(), next.slot(), next.variant()),
            (later, slot, id.variant())
        );
        assert!(next != id && next == id.successor(later) && id.successor(created) != id);
    }

    #[test]
    fn the_successor_is_another_reservation_of_the_same_variant() {
        let first = ReservationId::new(
            Timestamp::from_millis(5),
            Slot(0xabc),
            VariantOrdinal(7),
            u32::MAX,
        );
        let second = first.successor(Timestamp::from_millis(5));
        assert_ne!(first, second);
        assert_ne!(second, second.successor(Timestamp::from_millis(5)));
        let third = second.successor(Timestamp::from_millis(6));
        assert_eq!(
            (third.created_at(), third.slot(), third.variant()),
            (Timestamp::from_millis(6), Slot(0xabc), VariantOrdinal(7))
        );
    }

    #[test]
    fn made_cart_and_order_ids_are_frozen_and_told_from_a_shops_own() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let cart = CartId::made(at, Slot(0xabc), 0x2aaa_aaaa_aaaa_aaaa);
        assert_eq!(cart.as_str(), "cart_018bcfe568007abcaaaaaaaaaaaaaaaa");
        assert_eq!(cart.slot(), Some(Slot(0xabc)));
        assert_eq!(cart.bits().and_then(CartId::from_bits), Some(cart.clone()));
        let order = OrderId::made(at, Slot(1), u64::MAX);
        assert_eq!(order.as_str(), "ord_018bcfe568007001bfffffffffffffff");
        assert_eq!(Slot::of_cart(0xffff_f123), Slot(0x123));
        for foreign in [
            "c1",
            "cart_",
            "cart_12",
            "ord_018bcfe568007001bfffffffffffffff",
            // What the library would read as a number, and we would never write.
            "cart_+18bcfe568007abcaaaaaaaaaaaaaaa",
            "cart_018BCFE568007ABCAAAAAAAAAAAAAAAA",
            "cart_0018bcfe568007abcaaaaaaaaaaaaaaaa",
            // No UUIDv7: the version, the variant.
            "cart_018bcfe568006abcaaaaaaaaaaaaaaaa",
            "cart_018bcfe568007abc2aaaaaaaaaaaaaaa",
        ] {
            assert_eq!(CartId::parse(foreign).unwrap().bits(), None, "{foreign}");
        }
    }

    #[test]
    fn foreign_reservation_ids_are_refused() {
        let ok = ReservationId::new(Timestamp::from_millis(1), Slot(1), VariantOrdinal(1), 1).to_string();
        for text in [
            "",
            "rsv_",
            "rsv_12",
            "cart_00",
            &ok.to_uppercase(),
            &ok.replace("rsv_", ""),
            &format!("{ok}0"),
        ] {
            assert_eq!(text.parse::<ReservationId>(), Err(InvalidId::Foreign), "{text}");
        }
        assert_eq!(
            format!("rsv_{:032x}", 5).parse::<ReservationId>(),
            Err(InvalidId::Foreign),
            "no UUIDv7"
        );
    }

    #[test]
    fn text_ids_know_their_edges() {
        assert!(VariantId::parse(&"x".repeat(128)).is_ok());
        assert_eq!(VariantId::parse(&"x".repeat(129)), Err(InvalidId::TooLong));
        assert_eq!(VariantId::parse(""), Err(InvalidId::Empty));
        assert_eq!(VariantId::parse("a\nb"), Err(InvalidId::Control));
    }
}
