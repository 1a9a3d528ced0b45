//! The data plane: accepting, bounding and answering requests.
//!
//! Owns sockets, the bounds on what arrives, request ids, authentication and
//! the rendering of problems. Does not own resources of the control plane
//! (`api`): the composition root passes them in as the service for everything
//! that isn't an invocation. Invariant: every answer that leaves has an
//! `x-request-id`, and every refusal of ours is a problem.

pub mod auth;
pub mod body;
pub mod hooks;
pub mod invoke;
pub mod listener;
pub mod media_type;
pub mod problem;
pub mod rate_limit;
pub mod request_id;
pub mod response;
pub mod service;

mod activity;
mod connection;
mod peer;
mod router;
mod socket;

pub use connection::Service;
pub use peer::Peer;
pub use problem::{Problem, Suspect};
pub use request_id::RequestId;
pub use response::Body;
