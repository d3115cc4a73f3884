//! The journal in rotating sled databases.
