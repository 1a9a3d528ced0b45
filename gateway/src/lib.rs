//! Sluice: an HTTP function gateway on the WebAssembly component model.
//!
//! In reading order: the vocabulary, what can be decided, what is kept, what
//! runs, who may ask for it and how. `ARCHITECTURE.md` walks one request
//! through all of it.

pub mod clock;
pub mod error;
pub mod model;

pub mod config;
pub mod telemetry;
pub mod tls;

pub mod blob;
pub mod circuit;
pub mod database;
pub mod egress;
pub mod store;

pub mod registry;
pub mod runtime;

pub mod execution;

pub mod jobs;
pub mod steps;

pub mod api;
pub mod http;

pub mod app;
pub mod author;
pub mod cli;
