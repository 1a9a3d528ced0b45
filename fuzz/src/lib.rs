//! The gateway's own source files that are fuzzed.
//!
//! Owns nothing but their list. Invariant: none of them needs another part of the gateway, so that what
//! is built with coverage is small.

pub mod database;
#[path = "../../gateway/src/model/permission/mod.rs"]
pub mod permission;
#[path = "../../gateway/src/egress/target.rs"]
pub mod target;
