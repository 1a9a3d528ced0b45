//! One host call: counted, and in executions that are traced a span.
//!
//! Invariant: a span holds neither what a guest passed nor what it was told, only
//! the call's name and the kind of its error; and without a trace it is one branch.

use crate::runtime::bindings::sluice::step::types::HostError;
use crate::runtime::state::State;
use crate::telemetry::Sampled;

/// A call that is being answered; its span ends when it is dropped.
pub(super) struct HostCall(Option<Sampled>);

impl HostCall {
    /// `name` is the interface and the function, such as `http.send`.
    ///
    /// # Errors
    /// What a guest is told that has made all its calls.
    pub(super) fn begin(state: &mut State, name: &'static str) -> Result<Self, HostError> {
        state.count_host_call().map_err(too_many)?;
        Ok(Self(state.trace_host_call(name)))
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

fn too_many(allowed: u32) -> HostError {
    HostError::LimitExceeded(format!("an execution may make {allowed} host calls"))
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
