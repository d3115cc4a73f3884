//! Format version 1, frozen.
//!
//! The compatibility rule: once a release has written it, what is here never changes, for bytes like these lie on disks.
//! No member is added, removed or moved, no enum gets a further word in between or at its end. A change of the domain gets
//! a `v2` beside this module; `encode_*` then writes 2, `decode_*` reads both, and `tests/golden/record-v1.txt` keeps
//! showing that 1 is still understood. Bytes of a version that a build does not know are refused by that number
//! ([`FormatError::UnknownVersion`](super::FormatError::UnknownVersion)); nothing is guessed.
//! Until 0.1.0 is released this is the version that grows: a change here changes the golden bytes in the same commit.
//!
//! The layout is bincode 2 with its standard configuration, field after field as declared here: integers are varints
//! (one byte below 251), signed ones zigzag, enums a varint index, options a byte 0 or 1, lists and texts a varint
//! length and then the items. Ids of 128 bits are 16 bytes, big-endian. Lengths of time of a policy are seconds where they
//! are whole ones ([`Span`]), and moments of a cart are counted from an earlier one beside them ([`Since`]).
//!
//! Types borrow the texts: encoding reads them out of the domain value, decoding points into the bytes. Only
//! [`Mirror::restore`] allocates, and only what it has checked.
pub(super) mod bulk;
pub(super) mod cart;
pub(super) mod event;
pub(super) mod hold;
pub(super) mod order;
pub(super) mod policy;
pub(super) mod refusal;
pub(super) mod told;
pub(super) mod turn;
pub(super) mod variant;

use super::FormatError;
use crate::domain::{
    ids::{BulkId, CartId, OrderId, ReservationId},
    key::KeyMark,
    time::Timestamp,
};
use bincode::{
    BorrowDecode, Encode,
    de::BorrowDecoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

/// A frozen image of a domain type.
pub(super) trait Mirror<'a>: Sized {
    /// What it is the image of.
    type Domain: 'a;

    /// The image of a value.
    fn of(domain: &'a Self::Domain) -> Self;

    /// The value, checked: the bytes may say anything.
    fn restore(self) -> Result<Self::Domain, FormatError>;
}

/// Images in a row. Encoding makes them one at a time out of the domain's own slice, so that the hot path keeps none.
pub(super) enum List<'a, M: Mirror<'a>> {
    /// To be encoded.
    Of(&'a [M::Domain]),
    /// Decoded, or made beforehand.
    Made(Vec<M>),
}

/// Room made in advance for a list; a length that lies costs no more than this before the bytes run out.
const LIST_ROOM: u64 = 16;

impl<'a, M: Mirror<'a>> List<'a, M> {
    pub(super) fn restore<C: FromIterator<M::Domain>>(self) -> Result<C, FormatError> {
        match self {
            Self::Of(items) => items.iter().map(|item| M::of(item).restore()).collect(),
            Self::Made(items) => items.into_iter().map(M::restore).collect(),
        }
    }
}

impl<'a, M: Mirror<'a> + Encode> Encode for List<'a, M> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Of(items) => {
                (items.len() as u64).encode(encoder)?;
                items.iter().try_for_each(|item| M::of(item).encode(encoder))
            }
            Self::Made(items) => {
                (items.len() as u64).encode(encoder)?;
                items.iter().try_for_each(|item| item.encode(encoder))
            }
        }
    }
}

impl<'de: 'a, 'a, C, M: Mirror<'a> + BorrowDecode<'de, C>> BorrowDecode<'de, C> for List<'a, M> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = u64::borrow_decode(decoder)?;
        let room = usize::try_from(len.min(LIST_ROOM)).expect("a small number");
        let mut items = Vec::with_capacity(room);
        for _ in 0..len {
            // An image can be hundreds of times as long as its bytes: it counts against the limit as memory.
            decoder.claim_bytes_read(size_of::<M>())?;
            items.push(M::borrow_decode(decoder)?);
        }
        Ok(Self::Made(items))
    }
}

/// A plain enum's image: the words in their frozen order.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $domain:ident { $($word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, bincode::Encode, bincode::BorrowDecode)]
        pub(in crate::storage::dto) enum $name {
            $($word),+
        }

        impl From<$domain> for $name {
            fn from(domain: $domain) -> Self {
                match domain {
                    $($domain::$word => Self::$word),+
                }
            }
        }

        impl From<$name> for $domain {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$word => Self::$word),+
                }
            }
        }
    };
}
pub(super) use words;

/// More units than this in one figure cannot have been counted; sums of several stay within 64 bits.
const UNITS_BOUND: u64 = 1 << 60;

/// A figure of units, checked, so that sums over what was read cannot overflow.
pub(super) fn units(figure: u64) -> Result<u64, FormatError> {
    if figure > UNITS_BOUND {
        return Err(FormatError::Invalid("a figure of units is out of range"));
    }
    Ok(figure)
}

/// A moment, as ms since the epoch.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(super) struct Moment(i64);

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at.as_millis())
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        Self::from_millis(moment.0)
    }
}

/// A moment, as ms since another one that is stored beside it: a small varint where a [`Moment`] takes nine bytes.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(super) struct Since(i64);

impl Since {
    pub(super) fn of(at: Timestamp, from: Timestamp) -> Self {
        Self(at.as_millis().wrapping_sub(from.as_millis()))
    }

    pub(super) fn after(self, from: Timestamp) -> Timestamp {
        Timestamp::from_millis(from.as_millis().wrapping_add(self.0))
    }
}

/// A length of time: twice the seconds if they are whole ones, else twice the ms and one more.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(super) struct Span(i128);

impl Span {
    const SECOND_MS: i64 = 1000;

    pub(super) fn of(ms: i64) -> Self {
        Self(if ms % Self::SECOND_MS == 0 {
            i128::from(ms / Self::SECOND_MS) * 2
        } else {
            i128::from(ms) * 2 + 1
        })
    }

    pub(super) fn ms(self) -> Result<i64, FormatError> {
        let half = i64::try_from(self.0.div_euclid(2)).ok();
        let ms = match self.0.rem_euclid(2) {
            0 => half.and_then(|seconds| seconds.checked_mul(Self::SECOND_MS)),
            _ => half,
        };
        ms.ok_or(FormatError::Invalid("a length of time is out of range"))
    }
}

/// What is left of an idempotency key: hash and fingerprint.
pub(super) type Key = ([u8; 16], [u8; 8]);

pub(super) fn key_of(mark: &KeyMark) -> Key {
    (mark.hash, mark.fingerprint)
}

pub(super) fn mark_of((hash, fingerprint): Key) -> KeyMark {
    KeyMark { hash, fingerprint }
}

/// 128 bits of an id. A varint would only add a byte.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(super) struct Bits([u8; 16]);

impl From<ReservationId> for Bits {
    fn from(id: ReservationId) -> Self {
        Self(id.as_u128().to_be_bytes())
    }
}

impl From<BulkId> for Bits {
    fn from(id: BulkId) -> Self {
        Self(id.0.to_be_bytes())
    }
}

impl From<Bits> for BulkId {
    fn from(bits: Bits) -> Self {
        Self(u128::from_be_bytes(bits.0))
    }
}

impl TryFrom<Bits> for ReservationId {
    type Error = FormatError;

    fn try_from(bits: Bits) -> Result<Self, FormatError> {
        Self::from_u128(u128::from_be_bytes(bits.0)).ok_or(FormatError::Invalid("not a reservation's id"))
    }
}

/// Carts that are stored were made here.
impl From<&CartId> for Bits {
    fn from(id: &CartId) -> Self {
        let bits = id.bits().expect("a cart that is logged has an id made here");
        Self(bits.to_be_bytes())
    }
}

impl TryFrom<Bits> for CartId {
    type Error = FormatError;

    fn try_from(bits: Bits) -> Result<Self, FormatError> {
        Self::from_bits(u128::from_be_bytes(bits.0)).ok_or(FormatError::Invalid("not a cart's id"))
    }
}

/// Orders that are stored were made here.
impl From<&OrderId> for Bits {
    fn from(id: &OrderId) -> Self {
        let bits = id.bits().expect("an order that is logged has an id made here");
        Self(bits.to_be_bytes())
    }
}

impl TryFrom<Bits> for OrderId {
    type Error = FormatError;

    fn try_from(bits: Bits) -> Result<Self, FormatError> {
        Self::from_bits(u128::from_be_bytes(bits.0)).ok_or(FormatError::Invalid("not an order's id"))
    }
}

/// The most lines, or things that happened to them, in one cart or order; callers may ask for a tenth of it.
const LINES_MAX: usize = 10_000;

/// A list of a cart or an order, checked to be no longer than any they make.
pub(super) fn bounded<T>(list: Vec<T>) -> Result<Vec<T>, FormatError> {
    if list.len() > LINES_MAX {
        return Err(FormatError::Invalid("more lines than a cart can have"));
    }
    Ok(list)
}

impl<'a> Mirror<'a> for &'a str {
    type Domain = String;

    fn of(domain: &'a String) -> Self {
        domain
    }

    fn restore(self) -> Result<String, FormatError> {
        Ok(self.to_owned())
    }
}
