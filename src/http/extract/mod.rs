//! Translate in: bytes, address and headers become typed values, or a problem that names what is wrong.
//!
//! | file | what it reads |
//! |---|---|
//! | [`ask`] | a whole request that changes something: body and key |
//! | [`body`] | a JSON object, strictly, with its raw bytes kept for the key's fingerprint |
//! | [`bodies`] | the bodies of the contract, and what they mean to the domain |
//! | [`member`] | the types that members have: ids, whole numbers, texts, lists |
//! | [`query`] | path and query parameters, none unknown, none twice |
//! | [`header`] | Idempotency-Key, If-Match |
//! | [`upload`] | a list too large for memory, laid down as it arrives |
//! | [`shape`] | (reads nothing) what the OpenAPI document says of members: their limits |
//!
//! Deliberately absent: defaults that depend on policy, and any judgement about stock.
pub mod ask;
pub mod bodies;
pub mod body;
pub mod header;
pub mod member;
pub mod query;
pub mod shape;
pub(crate) mod upload;
