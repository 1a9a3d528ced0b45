//! Tests of the gateway from outside, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy.toml knows only functions that are tests themselves"
)]

mod support;
mod telemetry;
