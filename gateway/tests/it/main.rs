//! The integration tests: one binary, over real sockets, with real guests; each
//! binary more would be linked against the whole gateway again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test code, and clippy's exemption knows only functions that are marked as tests"
)]

mod structure;
mod support;
mod telemetry;
