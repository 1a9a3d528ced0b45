//! Who asks: an execution, from its first statement to its end.
//!
//! Owns what tells one caller from another, and where it has been. Does not hold connections: between two statements
//! others may have them. Invariant: when a caller is gone, what it left on connections is being cleaned.

use std::sync::atomic::{AtomicU64, Ordering};

use super::postgres::Connections;

/// One of this process's callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallerId(u64);

/// An execution, or whoever else may find what its own queries left on a connection: locks of a session. What anybody
/// else must not find is cleaned before, at the latest when this is dropped.
#[derive(Debug)]
pub struct Caller {
    id: CallerId,
    been_at: Vec<Connections>,
}

impl Caller {
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Only that each has another.
        Self { id: CallerId(LAST.fetch_add(1, Ordering::Relaxed)), been_at: Vec::new() }
    }

    /// It begins a statement there.
    pub(super) fn visit(&mut self, connections: &Connections) -> CallerId {
        if !self.been_at.iter().any(|known| known.is_same(connections)) {
            self.been_at.push(connections.clone());
        }
        self.id
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        for connections in &self.been_at {
            connections.leave(self.id);
        }
    }
}
