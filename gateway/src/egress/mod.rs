//! The one way out over HTTP.
//!
//! Owns what a URL is, which addresses are connected to, the pool of connections, and the operator's
//! secrets. Does not know executions or permissions. Invariant: nothing is connected to that [`Filter`]
//! does not allow.

mod address;
mod body;
mod client;
mod connector;
mod error;
pub mod headers;
mod hosts;
mod resolver;
pub mod secrets;
mod target;

pub use address::Filter;
pub use body::{RequestBody, ResponseBody};
pub use client::{Egress, OpenError, Request, Response, Times};
pub use error::Error;
pub use headers::method;
pub use target::{Error as BadTarget, Target};
