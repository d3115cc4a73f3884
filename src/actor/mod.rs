//! The ractor shells.
