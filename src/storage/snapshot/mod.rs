//! The portable snapshot file: the whole house at one position of the log, in one file that can be mailed, kept for
//! years, checked and restored elsewhere. The demo shop is one; so is what an operator restores at three in the morning.
//!
//! Entities are opaque here (`recovery::entries` says what they are): a kind, an id, the number of the last record in the state, and the state's own bytes, which
//! carry their own version. So carts and orders need new kinds and no new format. Neighbours: `state` makes and reads the
//! states, `journal` the records, `recovery` makes a house of them; the commands that write and restore live above. Deliberately absent: any knowledge of
//! what a state means, encryption, and reading by key (a snapshot is read from end to end).
//!
//! # Layout, format 1
//!
//! All integers are little endian.
//! ```text
//! prologue  24 B  | magic "HFSNAP\r\n" 8 | format u16 | zero u16 | manifest length u32 | CRC32C of the manifest u32
//!                 | CRC32C of the 20 bytes before u32 |
//! manifest        | JSON, UTF-8, filled up with spaces to its length |
//! block 0..n      | head 28 B | payload |
//!   head          | mark "HFBK" 4 | index u32 | content u8 | entity kind u8 | zero u16 | count u32 | unpacked length u32
//!                 | packed length u32 | CRC32C of the 24 bytes before and the payload u32 |
//!   payload       | one zstd frame of `count` entries; all entities before all records |
//!     entity      | number u64 | id length u16 | state length u32 | id | state |
//!     record      | number u64 | logged_at i64 (ms) | payload length u32 | payload |
//! end mark        | a block head with content 255 | 60 B, not compressed:
//!                 | entities u64 | records u64 | content bytes u64 | blocks before this one u32 | BLAKE3 32 |
//! ```
//! The file ends there; a byte more is damage. A block holds entities of one kind (content 1) or records (content 2). The
//! log tail is dense: each record's number follows the one before. The index inside the checksummed head finds swapped
//! blocks, the digest finds blocks of another file.
//!
//! **Digest.** BLAKE3 over the entries in file order, each as `content u8 | entity kind u8 | the entry as drawn above`
//! (kind 0 for records). Neither blocks nor compression nor the manifest enter, so the same content has the same digest
//! whenever, wherever and at whatever level it was written. The manifest repeats counts and digest for those who only
//! look; a reader compares them with the end mark.
//!
//! # Compatibility
//!
//! The prologue's layout and the manifest as JSON behind it stay as they are in every format to come, so that any
//! binary can say which version wrote a file that it cannot read. Members may be added to the manifest without a new
//! format; readers ignore those they do not know. Any other change is a new format number; every released format
//! stays readable, and a golden file in `snapshots/` shows it. The bytes of a file follow from its entries and manifest (and
//! the pinned zstd), so writing the same content twice gives the same file.
//!
//! # Trust
//!
//! Nothing is allocated by a length that has not been checked against a named limit; a frame that unpacks to more
//! than its block says is damage. A reader's entries are final only when its iterator has ended without an error,
//! since the digest comes last: whoever restores calls [`verify`] first.
mod error;
mod format;
mod manifest;
mod reader;
mod shelf;
mod writer;

pub use error::{Damage, Place, SnapshotError};
pub use format::{BLOCK_BYTES, ENTRY_BYTES_MAX, FORMAT, ID_BYTES_MAX};
pub use manifest::{About, Counts, Digest, Manifest, Stand};
pub use reader::{Part, SnapshotReader, verify};
pub use shelf::{Shelf, ShelfPage, Shelved, id_of};
pub use writer::{Sealed, SnapshotWriter};

/// What an entity is. The numbers are part of the format and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKind(pub u8);

impl EntityKind {
    /// A product variant with its live reservations.
    pub const VARIANT: Self = Self(1);
    /// A store's policy.
    pub const POLICY: Self = Self(2);
    /// A bulk coordinator.
    pub const BULK: Self = Self(3);
    /// A cart; its id is the 16 bytes of the id made for it, big-endian.
    pub const CART: Self = Self(4);
    /// An order; its id is the 16 bytes of the id made for it, big-endian.
    pub const ORDER: Self = Self(5);
    /// A reservation that has ended and is still answered for.
    pub const ENDED: Self = Self(6);
    /// An idempotency key.
    pub const KEY: Self = Self(7);
    /// A line of the stock ledger.
    pub const LEDGER: Self = Self(8);
    /// A product variant without its reservations, which are entries of their own: it may have a million.
    pub const HEAD: Self = Self(9);
    /// A reservation that its variant keeps.
    pub const HOLD: Self = Self(10);
    /// What one shopper bought of a variant.
    pub const PURCHASES: Self = Self(11);
    /// The name of a deleted variant.
    pub const DEPARTED: Self = Self(12);
    /// How the reservations of a store have gone.
    pub const STATISTICS: Self = Self(13);
    /// A small fact about the whole, by name.
    pub const META: Self = Self(14);

    /// The name that manifests and reports use; a kind of a later version is named by its number.
    pub fn name(self) -> String {
        let known = match self {
            Self::VARIANT | Self::HEAD => "variants",
            Self::POLICY => "policies",
            Self::BULK => "bulks",
            Self::CART => "carts",
            Self::ORDER => "orders",
            Self::ENDED => "endedReservations",
            Self::KEY => "keys",
            Self::LEDGER => "ledgerEntries",
            Self::HOLD => "reservations",
            Self::PURCHASES => "purchases",
            Self::DEPARTED => "departedVariants",
            Self::STATISTICS => "statistics",
            Self::META => "facts",
            Self(number) => return format!("kind{number}"),
        };
        known.to_owned()
    }
}

/// One stored entity state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntityKind,
    /// Which one; unique within its kind.
    pub id: Vec<u8>,
    /// The number of the last record in the state; replay skips records at or below it.
    pub number: u64,
    /// The state, in its own versioned encoding.
    pub state: Vec<u8>,
}

/// One record of the log tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// Its number, dense.
    pub number: u64,
    /// When it was logged, ms since the Unix epoch.
    pub logged_at: i64,
    /// The record, in its own versioned encoding.
    pub payload: Vec<u8>,
}

/// What a snapshot is made of, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A state.
    Entity(Entry),
    /// A record after the states.
    Record(TailRecord),
}

/// What a whole, sound snapshot file amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file.
    pub bytes: u64,
    /// Of the content, see the module's head.
    pub digest: Digest,
    /// Entries by kind.
    pub counts: Counts,
    /// Blocks without the end mark.
    pub blocks: u32,
}
