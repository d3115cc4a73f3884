//! Where entities lie in the stored rows, and how a whole variant is put together from them.
//!
//! ```text
//! Entity  1 | ordinal u32           number u64 | head        a variant without its reservations
//!         2 | ordinal u32 | owner   purchases                what one shopper bought of it; owner: kind u8, text
//!         3 | store                 policy
//!         4 | bulk id 16            bulk                     while it is not finished
//!         5 | ordinal u32           name                     store and id of a variant that was deleted
//!         6 | cart id 16            number u64 | cart        until it is forgotten
//!         7 | order id 16           number u64 | order
//! Hold    ordinal u32 | id 16       hold                     while its variant keeps it
//! Ledger  ordinal u32 | seq u64     ledger entry
//! Statistics  store                 statistics
//! Meta    "next-ordinal"            u32                      above every ordinal ever given out
//!         "decided-at"              i64                      the latest moment a record was decided at, ms
//!         "gate"                    gate                     the rules that hold, and the release that brought them
//! ```
//! All numbers big-endian: the keys sort. `number` is the last record in the head and its reservations, in the cart, in the
//! order. A cart's or order's id is the bits of one made here, so that their rows lie in the order of creation. What a
//! deleted variant keeps for ever is its ledger and its name, by which its ended reservations are shown.
use super::{
    agents::StoredAgent,
    dto::{self, FormatError},
    state::{Family, Rows, StateError, StateStore},
};
use crate::domain::{
    ids::{BulkId, ReservationId, StoreId, VariantId, VariantOrdinal},
    variant::{Head, Hold, LedgerEntry, Owner, Purchases, Variant},
};
use std::iter::Peekable;

pub(super) const HEAD: u8 = 1;
pub(super) const PURCHASES: u8 = 2;
pub(super) const POLICY: u8 = 3;
pub(super) const BULK: u8 = 4;
pub(super) const DEPARTED: u8 = 5;
pub(super) const CART: u8 = 6;
pub(super) const ORDER: u8 = 7;

pub(super) const NEXT_ORDINAL: &[u8] = b"next-ordinal";
pub(super) const DECIDED_AT: &[u8] = b"decided-at";
pub(super) const GATE: &[u8] = b"gate";

/// Why an entity could not be read from its rows.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The rows could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row is whole but says what cannot be.
    #[error("a row of {family:?} cannot be read: {reason}")]
    Content {
        /// The family of the row.
        family: Family,
        /// What is wrong with it.
        reason: String,
    },
}

impl RowError {
    pub(super) fn content(family: Family, reason: impl ToString) -> Self {
        Self::Content {
            family,
            reason: reason.to_string(),
        }
    }
}

pub(super) fn head_key(ordinal: VariantOrdinal) -> Vec<u8> {
    entity(HEAD, &ordinal.0.to_be_bytes())
}

pub(super) fn purchases_key(ordinal: VariantOrdinal, owner: &Owner) -> Vec<u8> {
    let (kind, text) = match owner {
        Owner::Customer(id) => (1, id.as_str()),
        Owner::Session(id) => (2, id.as_str()),
        Owner::Cart(id) => (3, id.as_str()),
    };
    let mut key = purchases_prefix(ordinal.0);
    key.push(kind);
    key.extend_from_slice(text.as_bytes());
    key
}

pub(super) fn purchases_prefix(ordinal: u32) -> Vec<u8> {
    entity(PURCHASES, &ordinal.to_be_bytes())
}

pub(super) fn policy_key(store: &StoreId) -> Vec<u8> {
    entity(POLICY, store.as_str().as_bytes())
}

pub(super) fn bulk_key(id: BulkId) -> Vec<u8> {
    entity(BULK, &id.0.to_be_bytes())
}

pub(super) fn departed_key(ordinal: VariantOrdinal) -> Vec<u8> {
    entity(DEPARTED, &ordinal.0.to_be_bytes())
}

pub(super) fn agent_key<A: StoredAgent>(bits: u128) -> Vec<u8> {
    entity(A::KIND, &bits.to_be_bytes())
}

pub(super) fn hold_key(id: ReservationId) -> Vec<u8> {
    [&id.variant().0.to_be_bytes()[..], &id.as_u128().to_be_bytes()].concat()
}

pub(super) fn ledger_key(ordinal: VariantOrdinal, seq: u64) -> Vec<u8> {
    [&ordinal.0.to_be_bytes()[..], &seq.to_be_bytes()].concat()
}

fn entity(kind: u8, id: &[u8]) -> Vec<u8> {
    [&[kind], id].concat()
}

pub(super) fn head_row(number: u64, head: &Head) -> Vec<u8> {
    numbered(number, &dto::encode_head(head))
}

pub(super) fn agent_row<A: StoredAgent>(number: u64, agent: &A) -> Vec<u8> {
    numbered(number, &agent.encode())
}

fn numbered(number: u64, state: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], state].concat()
}

fn read_head(row: &[u8]) -> Result<(u64, Head), RowError> {
    read_numbered(row, dto::decode_head)
}

fn read_numbered<T>(
    row: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<(u64, T), RowError> {
    let wrong = |error: FormatError| RowError::content(Family::Entity, error);
    let (number, state) = row.split_first_chunk().ok_or(wrong(FormatError::Empty))?;
    Ok((u64::from_be_bytes(*number), decode(state).map_err(wrong)?))
}

/// A cart or an order and the last record in it; `None` when there is none of this id.
pub(super) fn load_agent<A: StoredAgent>(
    state: &StateStore,
    bits: u128,
) -> Result<Option<(A, u64)>, RowError> {
    let row = state.get(Family::Entity, &agent_key::<A>(bits))?;
    row.map(|row| read_agent(&row)).transpose()
}

fn read_agent<A: StoredAgent>(row: &[u8]) -> Result<(A, u64), RowError> {
    read_numbered(row, A::decode).map(|(number, agent)| (agent, number))
}

/// Every stored cart, or every stored order, with its last record, in the order of their ids.
pub(super) fn agents<A: StoredAgent>(state: &StateStore) -> impl Iterator<Item = Result<(A, u64), RowError>> {
    let rows = state.scan(Family::Entity, &[A::KIND], Some(&[A::KIND + 1]), usize::MAX);
    rows.map(|entry| read_agent(&entry?.1))
}

/// A variant's head and the last record in it; `None` when there is no such variant.
pub(super) fn load_head(
    state: &StateStore,
    ordinal: VariantOrdinal,
) -> Result<Option<(u64, Head)>, RowError> {
    let row = state.get(Family::Entity, &head_key(ordinal))?;
    row.map(|row| read_head(&row)).transpose()
}

/// Store and id of a variant that was deleted; `None` when no such one was.
pub(super) fn load_departed(
    state: &StateStore,
    ordinal: VariantOrdinal,
) -> Result<Option<(StoreId, VariantId)>, RowError> {
    let row = state.get(Family::Entity, &departed_key(ordinal))?;
    let name = row.map(|row| dto::decode_name(&row)).transpose();
    name.map_err(|error| RowError::content(Family::Entity, error))
}

/// A whole variant and the last record in it; `None` when there is no such variant.
pub(super) fn load_variant(
    state: &StateStore,
    ordinal: VariantOrdinal,
) -> Result<Option<(Variant, u64)>, RowError> {
    match Variants::from(state, ordinal.0).next().transpose()? {
        Some((variant, number)) if variant.head().ordinal == ordinal => Ok(Some((variant, number))),
        Some(_) | None => Ok(None),
    }
}

/// A row, or why it could not be read.
type RowOr<E> = Result<(Vec<u8>, Vec<u8>), E>;

/// Rows of the store, whose errors are ours.
type StoredRows = std::iter::Map<Rows, fn(RowOr<StateError>) -> RowOr<RowError>>;

/// Every stored variant with its last record, in order of ordinals. Three scans side by side: a seek for each variant
/// would take longer than all of them.
pub(super) struct Variants<I: Iterator = StoredRows> {
    heads: I,
    holds: Peekable<I>,
    purchases: Peekable<I>,
}

impl Variants {
    pub(super) fn all(state: &StateStore) -> Self {
        Self::from(state, 0)
    }

    fn from(state: &StateStore, first: u32) -> Self {
        let ordinal = VariantOrdinal(first);
        let ours: fn(RowOr<StateError>) -> RowOr<RowError> = |row| row.map_err(RowError::from);
        let scan =
            |family, from: &[u8], to: Option<&[u8]>| state.scan(family, from, to, usize::MAX).map(ours);
        Self {
            heads: scan(Family::Entity, &head_key(ordinal), Some(&[PURCHASES])),
            holds: scan(Family::Hold, &first.to_be_bytes(), None).peekable(),
            purchases: scan(Family::Entity, &purchases_prefix(first), Some(&[POLICY])).peekable(),
        }
    }
}

impl<I: Iterator<Item = RowOr<E>>, E: From<RowError>> Variants<I> {
    /// From rows that lie elsewhere, each in the order of its keys.
    pub(super) fn of_rows(heads: I, holds: I, purchases: I) -> Self {
        Self {
            heads,
            holds: holds.peekable(),
            purchases: purchases.peekable(),
        }
    }

    /// Rows of variants that are not there, once the last variant has come.
    pub(super) fn has_orphans(&mut self) -> bool {
        self.holds.peek().is_some() || self.purchases.peek().is_some()
    }

    fn assemble(&mut self, number: u64, head: Head) -> Result<(Variant, u64), E> {
        let ordinal = head.ordinal.0.to_be_bytes();
        let mut holds: Vec<Hold> = Vec::new();
        while let Some(row) = next_of(&mut self.holds, Family::Hold, &ordinal)? {
            let hold = dto::decode_hold(&row).map_err(|error| RowError::content(Family::Hold, error))?;
            holds.push(hold);
        }
        let prefix = purchases_prefix(head.ordinal.0);
        let mut purchases: Vec<(Owner, Purchases)> = Vec::new();
        while let Some(row) = next_of(&mut self.purchases, Family::Entity, &prefix)? {
            let bought =
                dto::decode_purchases(&row).map_err(|error| RowError::content(Family::Entity, error))?;
            purchases.push(bought);
        }
        Ok((Variant::restore(head, holds, purchases), number))
    }
}

impl<I: Iterator<Item = RowOr<E>>, E: From<RowError>> Iterator for Variants<I> {
    type Item = Result<(Variant, u64), E>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.heads.next()? {
            Ok((_, row)) => row,
            Err(error) => return Some(Err(error)),
        };
        let head = read_head(&row).map_err(E::from);
        Some(head.and_then(|(number, head)| self.assemble(number, head)))
    }
}

/// The next row if it belongs to the variant whose prefix this is.
fn next_of<E: From<RowError>>(
    rows: &mut Peekable<impl Iterator<Item = RowOr<E>>>,
    family: Family,
    prefix: &[u8],
) -> Result<Option<Vec<u8>>, E> {
    let Some(row) = rows.next_if(|row| row.as_ref().map_or(true, |(key, _)| is_not_after(key, prefix)))
    else {
        return Ok(None);
    };
    let (key, row) = row?;
    if key.starts_with(prefix) {
        return Ok(Some(row));
    }
    Err(RowError::content(family, "a row of a variant that is not stored").into())
}

fn is_not_after(key: &[u8], prefix: &[u8]) -> bool {
    key.starts_with(prefix) || key < prefix
}

/// Stored lines of a variant's ledger above line `after`, at most `limit`, in order.
///
/// # Errors
/// [`RowError`] when a row cannot be read.
pub fn ledger_rows(
    state: &StateStore,
    ordinal: VariantOrdinal,
    after: u64,
    limit: usize,
) -> Result<Vec<LedgerEntry>, RowError> {
    let (from, to) = (
        ledger_key(ordinal, after.saturating_add(1)),
        ledger_key(ordinal, u64::MAX),
    );
    let rows = state.scan(Family::Ledger, &from, Some(&to), limit);
    rows.map(|row| {
        let (_, row) = row?;
        dto::decode_ledger_entry(&row).map_err(|error| RowError::content(Family::Ledger, error))
    })
    .collect()
}

/// The stored policies.
pub(super) fn policies(
    state: &StateStore,
) -> impl Iterator<Item = Result<(StoreId, crate::domain::policy::Policy), RowError>> {
    let rows = state.scan(Family::Entity, &[POLICY], Some(&[BULK]), usize::MAX);
    rows.map(|entry| {
        let (key, row) = entry?;
        let wrong = |error: String| RowError::content(Family::Entity, error);
        let policy = dto::decode_policy(&row).map_err(|error| wrong(error.to_string()))?;
        Ok((store_of(&key[1..], Family::Entity)?, policy))
    })
}

/// The stored coordinators: those that are not finished.
pub(super) fn bulks(state: &StateStore) -> impl Iterator<Item = Result<crate::domain::bulk::Bulk, RowError>> {
    let rows = state.scan(Family::Entity, &[BULK], Some(&[BULK + 1]), usize::MAX);
    rows.map(|entry| {
        let (_, row) = entry?;
        dto::decode_bulk(&row).map_err(|error| RowError::content(Family::Entity, error))
    })
}

pub(super) fn store_of(key: &[u8], family: Family) -> Result<StoreId, RowError> {
    let text = std::str::from_utf8(key).map_err(|error| RowError::content(family, error))?;
    StoreId::parse(text).map_err(|error| RowError::content(family, error))
}
