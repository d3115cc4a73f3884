//! Opens sled the safe way.
