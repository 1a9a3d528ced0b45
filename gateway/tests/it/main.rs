//! The integration tests: one binary, over real sockets, with real guests; each
//! binary more would be linked against the whole gateway again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy.toml knows only functions that are tests themselves"
)]

mod structure;
mod support;
mod telemetry;
