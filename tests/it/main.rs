//! The integration tests: one binary, one module per topic.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests: by a panic that says where"
)]

mod bench;
mod cli;
