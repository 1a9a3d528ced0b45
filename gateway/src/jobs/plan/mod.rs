//! What comes next in a run.
//!
//! Owns the rules: which steps start when, what an attempt's end means, how a run ends. Does not own clocks, I/O, templates
//! or rows: times and the random fraction come with an event, and whoever applies it does what the actions say.
//! Invariants: a step completes at most once; a step starts when no live step can still lead to it; a plan that is built
//! again from its stored steps goes on to the same end.

mod apply;
mod graph;
mod routing;
mod state;

#[cfg(test)]
mod tests;

pub use apply::{Action, Event, apply};
pub use graph::Graph;
pub use state::{Changes, Plan, Rest};
