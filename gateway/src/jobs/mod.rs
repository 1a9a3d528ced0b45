//! The job engine: what is defined, what comes next, who does it, and what is kept of it.
//!
//! Owns definitions, templates, the plan, the worker and the notifications. Does not own how a step is executed
//! (`steps`, behind [`runner::StepRunner`]) nor rows (`store`). Invariants: what a step returned and what comes next are
//! one transaction; a worker that lost a run changes nothing of it; what is recorded once is recorded for good.

pub mod definition;
pub mod schema;
pub mod template;

pub mod data;
pub mod plan;
pub mod retry;

pub mod cloudevent;
pub mod idempotency;
pub mod webhook;

mod committer;
mod delivery;
mod engine;
mod handle;
mod payloads;
mod revision;
mod revisions;
pub mod runner;
mod snapshot;
mod steady;
mod upkeep;
mod watchers;
mod worker;

pub use engine::{Parts, Service, open};
pub use handle::{Checked, Error, Handle, KnownJob, Start, Started};

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "values are made where they are passed")]
mod tests;
