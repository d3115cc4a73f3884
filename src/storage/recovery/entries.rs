//! What the entries of a portable snapshot say: the table between them and the stored rows.
//!
//! ```text
//! kind         id                     number            state
//! VARIANT      ordinal u32            last record       variant, whole: small shops made elsewhere, such as the demo
//! HEAD         ordinal u32            last record       head                    HOLD and PURCHASES hold the rest of it
//! HOLD         ordinal u32 | id 16    of the rows       hold
//! PURCHASES    ordinal u32 | owner    of the rows       purchases
//! POLICY       store                  of the rows       policy
//! BULK         bulk id 16             of the rows       bulk
//! DEPARTED     ordinal u32            of the rows       name of a deleted variant
//! CART, ORDER  id 16                  last record       cart, order
//! STATISTICS   store                  of the rows       statistics
//! META         name                   of the rows       a row of the family Meta, the gate excepted: the manifest has it
//! LEDGER       ordinal u32 | seq u64  of the rows       ledger entry
//! ENDED        reservation id 16      of the rows       length u16 | store | hold
//! KEY          hash 16                its record        logged at u64 | key entry | payload
//! ```
//! All numbers big-endian but those inside states. Entities of one kind stand together, in the order of their ids.
use crate::domain::{ids::StoreId, variant::Hold};
use crate::storage::{
    dto,
    entity_rows::{self, RowError, store_of},
    keys::{KeyEntry, KeyHash},
    snapshot::{EntityKind, Entry},
    state::{Family, StoredEnded, StoredKey},
};

/// The kinds that are rows of [`Family::Entity`], with the first byte of their keys, in the order of a file.
pub(super) const ROWS: [(EntityKind, u8); 7] = [
    (EntityKind::POLICY, entity_rows::POLICY),
    (EntityKind::BULK, entity_rows::BULK),
    (EntityKind::DEPARTED, entity_rows::DEPARTED),
    (EntityKind::HEAD, entity_rows::HEAD),
    (EntityKind::PURCHASES, entity_rows::PURCHASES),
    (EntityKind::CART, entity_rows::CART),
    (EntityKind::ORDER, entity_rows::ORDER),
];

/// Whether a row of the kind begins with the number of the last record in it.
fn is_numbered(kind: EntityKind) -> bool {
    [EntityKind::HEAD, EntityKind::CART, EntityKind::ORDER].contains(&kind)
}

/// The entry of a row of [`Family::Entity`], its key without the first byte; `None` if it is too short to be one.
pub(super) fn of_row(kind: EntityKind, id: &[u8], row: &[u8], rows_number: u64) -> Option<Entry> {
    let (number, state) = if is_numbered(kind) {
        let (number, state) = row.split_first_chunk()?;
        (u64::from_be_bytes(*number), state)
    } else {
        (rows_number, row)
    };
    Some(Entry {
        kind,
        id: id.to_vec(),
        number,
        state: state.to_vec(),
    })
}

/// The key and the row of an entry whose kind is a row of [`Family::Entity`]; `None` for other kinds.
pub(super) fn to_row(entry: &Entry) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, first) = ROWS.iter().find(|(kind, _)| *kind == entry.kind)?;
    let key = [&[*first][..], &entry.id].concat();
    let number = entry.number.to_be_bytes();
    let row = match is_numbered(entry.kind) {
        true => [&number[..], &entry.state].concat(),
        false => entry.state.clone(),
    };
    Some((key, row))
}

/// The entry of an ended reservation of a store.
pub(super) fn of_ended(ended: &StoredEnded, store: &StoreId, rows_number: u64) -> Entry {
    let store = store.as_str().as_bytes();
    let length = u16::try_from(store.len()).expect("an id has at most 128 bytes");
    Entry {
        kind: EntityKind::ENDED,
        id: ended.id.to_vec(),
        number: rows_number,
        state: [&length.to_be_bytes()[..], store, &ended.row].concat(),
    }
}

/// Store, row and hold of an ended reservation.
pub(super) fn to_ended(entry: &Entry) -> Result<(StoreId, &[u8], Hold), String> {
    let split = entry.state.split_first_chunk::<2>().and_then(|(length, rest)| {
        let length = usize::from(u16::from_be_bytes(*length));
        rest.split_at_checked(length)
    });
    let (store, row) = split.ok_or("it has another length")?;
    let store = store_of(store, Family::Ended).map_err(|error: RowError| error.to_string())?;
    let hold = dto::decode_hold(row).map_err(|error| error.to_string())?;
    Ok((store, row, hold))
}

/// The entry of an idempotency key.
pub(super) fn of_key(key: &StoredKey) -> Entry {
    Entry {
        kind: EntityKind::KEY,
        id: key.hash.0.to_vec(),
        number: key.entry.number,
        state: [
            &key.logged_at_ms.to_be_bytes()[..],
            &key.entry.to_bytes(),
            &key.payload,
        ]
        .concat(),
    }
}

/// An idempotency key; `None` if the entry has another length.
pub(super) fn to_key(entry: &Entry) -> Option<StoredKey> {
    let (logged_at_ms, rest) = entry.state.split_first_chunk::<8>()?;
    let (key, payload) = rest.split_first_chunk::<{ KeyEntry::BYTES }>()?;
    Some(StoredKey {
        hash: KeyHash(entry.id.as_slice().try_into().ok()?),
        entry: KeyEntry::from_bytes(key)?,
        logged_at_ms: u64::from_be_bytes(*logged_at_ms),
        payload: payload.to_vec(),
    })
}
