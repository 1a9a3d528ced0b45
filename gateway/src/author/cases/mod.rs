//! The cases of a step: read, run in the gateway's own runtime, compared, and told for machines.

mod answers;
mod case;
mod compare;
mod json;
mod junit;
mod number;
mod run;
mod shape;

pub use case::{Case, Error, Expect, File, Status, files};
pub use compare::Difference;
pub use json::{Error as JsonError, Json};
pub use junit::junit;
pub use number::Number;
pub use run::{Report, Runner};
