//! Somebody who answers in the place of servers and databases, for the tests of a step.
//!
//! Owns the interface: what `sluice:step/http` and `db` ask, as the step asks it. Invariants: where one stands in,
//! nothing leaves the process, and it is asked for nothing that the module's permissions don't cover.

use super::bindings::sluice::step::http::{Request, Response};
use super::bindings::sluice::step::types::HostError;

/// Answers host calls.
pub trait StandIn: std::fmt::Debug + Send + Sync {
    /// Of `http.send`. The request is one that would be sent; no secret is put in.
    ///
    /// # Errors
    /// What the step is told.
    fn send(&self, request: Request) -> Result<Response, HostError>;

    /// Of `db.query`: an array of rows.
    ///
    /// # Errors
    /// What the step is told.
    fn query(&self, connection: &str, sql: &str, params: &str) -> Result<String, HostError>;

    /// Of `db.execute`: how many rows.
    ///
    /// # Errors
    /// What the step is told.
    fn execute(&self, connection: &str, sql: &str, params: &str) -> Result<u32, HostError>;
}
