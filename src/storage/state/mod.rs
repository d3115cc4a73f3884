//! Stored entity states.
