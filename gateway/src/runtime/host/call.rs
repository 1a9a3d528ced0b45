//! One host call: counted, and in executions that are traced a span.
//!
//! Owns how many an execution may make, over all interfaces. Invariants: a call that is too many has no span; a
//! span holds neither what a guest passed nor what it was told, only the call's name and the kind of its error;
//! and without a trace it is one branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;
use crate::telemetry::Sampled;

/// Host calls of one execution that get a span: more than a person reads, and few
/// enough that a step in a loop doesn't push others' spans out of the exporter's
/// queue, which holds 2 048.
const HOST_CALL_SPANS_MAX: u32 = 128;

/// The calls that an execution may still make. A clone is the same.
#[derive(Debug, Clone)]
pub(in crate::runtime) struct HostCalls(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    left: AtomicU32,
    max: u32,
    spans_left: AtomicU32,
}

/// An execution has made all its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution may make {0} host calls")]
pub(super) struct TooMany(u32);

impl HostCalls {
    pub(in crate::runtime) fn new(max: u32) -> Self {
        Self(Arc::new(Counts { left: AtomicU32::new(max), max, spans_left: AtomicU32::new(HOST_CALL_SPANS_MAX) }))
    }

    /// Counts a call; its span, where the execution has a `trace`. `name` is the interface and the function,
    /// such as `http.send`.
    pub(super) fn begin(&self, trace: Option<&Sampled>, name: &'static str) -> Result<Option<Sampled>, TooMany> {
        if !take(&self.0.left) {
            return Err(TooMany(self.0.max));
        }
        Ok(trace.filter(|_| take(&self.0.spans_left)).map(|trace| trace.child(name)))
    }
}

/// One of what is left. An execution makes its calls one after the other: nothing else is ordered by this.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A call that is being answered; its span ends when it is dropped.
pub(super) struct HostCall(Option<Sampled>);

impl HostCall {
    /// `name` is the interface and the function, such as `http.send`.
    ///
    /// # Errors
    /// What a guest is told that has made all its calls.
    pub(super) fn begin(state: &mut State, name: &'static str) -> Result<Self, HostError> {
        let span = state.host_calls.begin(state.call.trace.as_ref(), name);
        Ok(Self(span.map_err(|too_many| HostError::LimitExceeded(too_many.to_string()))?))
    }

    /// The call's span, in executions that are traced.
    pub(super) const fn trace(&self) -> Option<&Sampled> {
        self.0.as_ref()
    }

    /// The answer, as it is; an error is one of the span too.
    pub(super) fn end<T>(self, answer: Result<T, HostError>) -> Result<T, HostError> {
        if let (Some(trace), Err(error)) = (&self.0, &answer) {
            trace.record_error(kind(error));
        }
        answer
    }
}

/// The error's name in the interface; its text may repeat what the guest passed.
const fn kind(error: &HostError) -> &'static str {
    match error {
        HostError::PermissionDenied(_) => "permission-denied",
        HostError::InvalidArgument(_) => "invalid-argument",
        HostError::NotFound(_) => "not-found",
        HostError::LimitExceeded(_) => "limit-exceeded",
        HostError::TimedOut(_) => "timed-out",
        HostError::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_over_all_who_share_them() {
        let (calls, other) = (HostCalls::new(2), HostCalls::new(2));
        assert!(calls.begin(None, "http.send").is_ok());
        assert!(calls.clone().begin(None, "outgoing-handler.handle").is_ok());
        assert_eq!(calls.begin(None, "http.send").unwrap_err(), TooMany(2));
        assert!(other.begin(None, "http.send").is_ok());
    }
}
