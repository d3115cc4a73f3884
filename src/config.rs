//! Every limit by name.
