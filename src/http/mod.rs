//! Translate in, translate out.
