//! An idempotency key as a record remembers it.

/// What is left of a key in the record of its effect: enough to find it again and to tell another request under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMark {
    /// Hash of store, caller and key.
    pub hash: [u8; 16],
    /// Hash of route and body.
    pub fingerprint: [u8; 8],
}
