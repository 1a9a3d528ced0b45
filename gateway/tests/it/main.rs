//! The integration tests: one binary, over real sockets, with real guests; each
//! binary more would be linked against the whole gateway again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy.toml knows only functions that are tests themselves"
)]

mod admission;
mod audit;
mod bad_components;
mod bad_uploads;
mod changes;
mod command_line;
mod compile_bounds;
mod conformance;
mod crash;
mod database_mysql;
mod database_sqlite;
mod denials;
mod executions;
mod hooks;
mod host;
mod host_db;
mod host_http;
mod invoke;
mod isolation;
mod jobs_api;
mod jobs_chaos;
mod keys;
mod large_modules;
mod limits;
mod loading;
mod log_lines;
mod metrics;
mod migrate;
mod modules;
mod neighbours;
mod object_store;
mod openapi;
mod outcomes;
mod permissions;
mod postgres;
mod process;
mod rate_limits;
mod raw_http;
mod restart;
mod roles;
mod secrets;
mod signatures;
mod standard_webhooks;
mod steps;
mod structure;
mod support;
mod telemetry;
mod traces;
mod wasi_http;
