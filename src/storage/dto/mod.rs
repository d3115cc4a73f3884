//! Bytes for what is stored, and back: the payload of a record and the rows of the state store.
//!
//! ```text
//! byte 0            the rest
//! format version    the value in that version's layout, to the last byte
//! ```
//! Checksum, kind, length and number are the journal's and the snapshot's, outside of this. The version is first, so
//! that any build can tell what it does not know; [`v1`] states the compatibility rule.
//!
//! The domain derives nothing for this: each type has a frozen mirror, and what was read is checked again on its way
//! into the domain. A decoder takes any bytes: it never panics, never makes a value that the domain holds impossible
//! (whatever the domain subtracts or adds up fits), and needs memory within a stated limit. The laws of variants, carts and
//! orders are left to the caller, who knows whom to tell.
mod v1;

use crate::{
    domain::{
        bulk::Bulk,
        cart::Cart,
        ids::{InvalidId, StoreId, VariantId},
        order::Order,
        policy::Policy,
        rules::Gate,
        variant::{Head, Hold, LedgerEntry, Owner, Purchases, Variant},
    },
    storage::record::{Fact, Turn},
};
use bincode::{BorrowDecode, Encode, config, enc::write::Writer, error::EncodeError};
use v1::Mirror;

/// The version written today.
pub const FORMAT_VERSION: u8 = 1;

/// What a record payload or row may take, in bytes, and in memory while it is read: over 50,000 events in one turn.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// What a whole variant may take, in bytes, and in memory while it is read: over a million reservations.
pub const VARIANT_BYTES_MAX: usize = 1 << 30;

/// Why bytes are not what they should be: damage, or the work of another build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is not even a version.
    #[error("no bytes at all")]
    Empty,
    /// Written by a build that knows more.
    #[error(
        "format version {found} is unknown to this build, which reads version {FORMAT_VERSION}: use the newer holdfast"
    )]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// The layout does not fit.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The value ends before the bytes do.
    #[error("{extra} bytes after the end of the value")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// An id is none.
    #[error("an id {0}")]
    Id(#[from] InvalidId),
    /// The layout fits, but no such value can be.
    #[error("impossible: {0}")]
    Invalid(&'static str),
}

/// A record's payload. The hot path: one allocation.
///
/// # Panics
/// On a variant's turn without events: a record that says nothing is a bug, and one that could not be read back.
pub fn encode_turn(turn: &Turn) -> Vec<u8> {
    if let Fact::Variant(fact) = &turn.fact {
        assert!(!fact.events.is_empty(), "a variant's turn has events");
    }
    let bytes = encode(&v1::turn::Turn::of(turn));
    debug_assert_eq!(decode_turn(&bytes).as_ref(), Ok(turn), "it reads back as it was");
    bytes
}

/// Reads a record's payload.
///
/// # Errors
/// [`FormatError`] when the bytes are not one turn of a version known here.
pub fn decode_turn(bytes: &[u8]) -> Result<Turn, FormatError> {
    decode::<v1::turn::Turn<'_>, ROW_BYTES_MAX>(bytes)
}

/// A variant with its holds and purchases, for one that sleeps and for portable snapshots.
pub fn encode_variant(variant: &Variant) -> Vec<u8> {
    encode(&v1::variant::Variant::of(variant))
}

/// Reads a whole variant. Its laws are not judged here.
///
/// # Errors
/// [`FormatError`] when the bytes are not one variant of a version known here.
pub fn decode_variant(bytes: &[u8]) -> Result<Variant, FormatError> {
    decode::<v1::variant::Variant<'_>, VARIANT_BYTES_MAX>(bytes)
}

/// The row of a variant without its holds.
pub fn encode_head(head: &Head) -> Vec<u8> {
    encode(&v1::variant::Head::of(head))
}

/// Reads the row of a variant.
///
/// # Errors
/// [`FormatError`] when the bytes are not one head of a version known here.
pub fn decode_head(bytes: &[u8]) -> Result<Head, FormatError> {
    decode::<v1::variant::Head<'_>, ROW_BYTES_MAX>(bytes)
}

/// The row of a deleted variant: whose it was, and the shop's id.
pub fn encode_name(store: &StoreId, id: &VariantId) -> Vec<u8> {
    encode(&v1::variant::Name::of_both(store, id))
}

/// Reads the row of a deleted variant.
///
/// # Errors
/// [`FormatError`] when the bytes are not one name of a version known here.
pub fn decode_name(bytes: &[u8]) -> Result<(StoreId, VariantId), FormatError> {
    decode::<v1::variant::Name<'_>, ROW_BYTES_MAX>(bytes)
}

/// The row of a reservation, live or ended.
pub fn encode_hold(hold: &Hold) -> Vec<u8> {
    encode(&v1::hold::Hold::of(hold))
}

/// Reads the row of a reservation.
///
/// # Errors
/// [`FormatError`] when the bytes are not one reservation of a version known here.
pub fn decode_hold(bytes: &[u8]) -> Result<Hold, FormatError> {
    decode::<v1::hold::Hold<'_>, ROW_BYTES_MAX>(bytes)
}

/// The row of what one owner bought of one variant.
pub fn encode_purchases(owner: &Owner, purchases: &Purchases) -> Vec<u8> {
    encode(&v1::hold::Bought::of_both(owner, purchases))
}

/// Reads the row of what one owner bought.
///
/// # Errors
/// [`FormatError`] when the bytes are not one such row of a version known here.
pub fn decode_purchases(bytes: &[u8]) -> Result<(Owner, Purchases), FormatError> {
    decode::<v1::hold::Bought<'_>, ROW_BYTES_MAX>(bytes)
}

/// The row of a store's policy.
pub fn encode_policy(policy: &Policy) -> Vec<u8> {
    encode(&v1::policy::Policy::of(policy))
}

/// Reads the row of a store's policy.
///
/// # Errors
/// [`FormatError`] when the bytes are not one policy of a version known here.
pub fn decode_policy(bytes: &[u8]) -> Result<Policy, FormatError> {
    decode::<v1::policy::Policy, ROW_BYTES_MAX>(bytes)
}

/// The row of a bulk coordinator.
pub fn encode_bulk(bulk: &Bulk) -> Vec<u8> {
    encode(&v1::bulk::Bulk::of(bulk))
}

/// Reads the row of a bulk coordinator.
///
/// # Errors
/// [`FormatError`] when the bytes are not one coordinator of a version known here.
pub fn decode_bulk(bytes: &[u8]) -> Result<Bulk, FormatError> {
    decode::<v1::bulk::Bulk<'_>, ROW_BYTES_MAX>(bytes)
}

/// The row of the rules that hold.
pub fn encode_gate(gate: &Gate) -> Vec<u8> {
    encode(&v1::turn::Gate::of(gate))
}

/// Reads the row of the rules that hold; whether they are known here is not judged.
///
/// # Errors
/// [`FormatError`] when the bytes are not one such row of a version known here.
pub fn decode_gate(bytes: &[u8]) -> Result<Gate, FormatError> {
    decode::<v1::turn::Gate<'_>, ROW_BYTES_MAX>(bytes)
}

/// A cart, for its row, for one that sleeps and for portable snapshots.
pub fn encode_cart(cart: &Cart) -> Vec<u8> {
    encode(&v1::cart::Cart::of(cart))
}

/// Reads a cart. Its laws are not judged here.
///
/// # Errors
/// [`FormatError`] when the bytes are not one cart of a version known here.
pub fn decode_cart(bytes: &[u8]) -> Result<Cart, FormatError> {
    decode::<v1::cart::Cart<'_>, ROW_BYTES_MAX>(bytes)
}

/// An order, for its row, for one that sleeps and for portable snapshots.
pub fn encode_order(order: &Order) -> Vec<u8> {
    encode(&v1::order::Order::of(order))
}

/// Reads an order. Its laws are not judged here.
///
/// # Errors
/// [`FormatError`] when the bytes are not one order of a version known here.
pub fn decode_order(bytes: &[u8]) -> Result<Order, FormatError> {
    decode::<v1::order::Order<'_>, ROW_BYTES_MAX>(bytes)
}

/// A line of the stock ledger.
pub fn encode_ledger_entry(entry: &LedgerEntry) -> Vec<u8> {
    encode(&v1::event::LedgerEntry::of(entry))
}

/// Reads a line of the stock ledger.
///
/// # Errors
/// [`FormatError`] when the bytes are not one line of a version known here.
pub fn decode_ledger_entry(bytes: &[u8]) -> Result<LedgerEntry, FormatError> {
    decode::<v1::event::LedgerEntry<'_>, ROW_BYTES_MAX>(bytes)
}

/// Room for the record of one hold with a key and ids of usual length.
const USUAL_BYTES: usize = 160;

struct Growing(Vec<u8>);

impl Writer for Growing {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn encode(mirror: &impl Encode) -> Vec<u8> {
    let mut bytes = Growing(Vec::with_capacity(USUAL_BYTES));
    bytes.0.push(FORMAT_VERSION);
    bincode::encode_into_writer(mirror, &mut bytes, config::standard())
        .expect("memory takes all bytes and no mirror refuses to be encoded");
    bytes.0
}

fn decode<'a, M, const BYTES_MAX: usize>(bytes: &'a [u8]) -> Result<M::Domain, FormatError>
where
    M: Mirror<'a> + BorrowDecode<'a, ()>,
{
    let (version, body) = bytes.split_first().ok_or(FormatError::Empty)?;
    if *version != FORMAT_VERSION {
        return Err(FormatError::UnknownVersion { found: *version });
    }
    let config = config::standard().with_limit::<BYTES_MAX>();
    let (mirror, read) = bincode::borrow_decode_from_slice::<M, _>(body, config)
        .map_err(|error| FormatError::Malformed(error.to_string()))?;
    if read < body.len() {
        let extra = body.len() - read;
        return Err(FormatError::TrailingBytes { extra });
    }
    mirror.restore()
}
