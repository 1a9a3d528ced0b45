//! Ending a statement from another thread.
//!
//! Owns whether it was asked for. Invariant: a connection is interrupted only while the statement that is
//! to end is on it, never when it serves another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, InterruptHandle};

/// Of one statement.
#[derive(Default)]
pub(super) struct Cancellation {
    is_asked: AtomicBool,
    running: Mutex<Option<InterruptHandle>>,
}

/// Asks for it when it is dropped.
pub(super) struct Guard(Arc<Cancellation>);

impl Cancellation {
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// From here to [`Self::leave`] the connection is interrupted.
    pub(super) fn enter(&self, connection: &Connection) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
    }

    pub(super) fn leave(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Guard {
    pub(super) fn new(cancellation: &Arc<Cancellation>) -> Self {
        Self(Arc::clone(cancellation))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.is_asked.store(true, Ordering::Release);
        if let Some(running) = &*self.0.running.lock().unwrap_or_else(PoisonError::into_inner) {
            running.interrupt();
        }
    }
}
