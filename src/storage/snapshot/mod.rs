//! The portable snapshot file.
