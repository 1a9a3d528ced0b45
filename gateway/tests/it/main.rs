//! The integration tests: one binary, because each one more is linked against the whole gateway again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test code, and clippy's exemption knows only functions that are marked as tests"
)]

mod structure;
