//! The only readers of wall time.
