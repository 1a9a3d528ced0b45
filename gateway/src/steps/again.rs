//! Whether a failure is worth another attempt: one table for all kinds of steps.
//!
//! Invariant: the same kind of failure is treated the same, whichever step met it.

use std::time::Duration;

use crate::error::Code;
use crate::jobs::runner::Again;
use crate::{database, egress};

/// A server may ask to be left alone for long, but not for ever.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Of an execution that ended with this code of the contract, or a module that could not be started.
///
/// A trap, or a bound that was reached, comes of what the module does with the same input. Time and this machine
/// are other ones at the next attempt.
pub(super) const fn of_code(code: Code) -> Again {
    match code {
        Code::TimedOut
        | Code::Overloaded
        | Code::CircuitOpen
        | Code::Internal
        | Code::RequestTimeout
        | Code::RateLimited
        | Code::IdempotencyConflict => Again::Policy,
        Code::BadRequest
        | Code::UnknownField
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::NoSuchFunction
        | Code::MethodNotAllowed
        | Code::VersionExists
        | Code::InUse
        | Code::RunEnded
        | Code::TooLarge
        | Code::UnsupportedMediaType
        | Code::IdempotencyMismatch
        | Code::InvalidJob
        | Code::InvalidModule
        | Code::InvalidSignature
        | Code::SignatureRequired
        | Code::UnknownKey
        | Code::InvalidData
        | Code::HeadersTooLarge
        | Code::Integrity
        | Code::StepFailed
        | Code::Trap
        | Code::BadOutput
        | Code::FuelExhausted
        | Code::MemoryExceeded
        | Code::OutputTooLarge
        | Code::StackExhausted => Again::Never,
    }
}

/// Of a step that says itself whether it is.
pub(super) fn of_guest(retryable: bool, retry_after_ms: Option<u32>) -> Again {
    match (retryable, retry_after_ms) {
        (false, _) => Again::Never,
        (true, None) => Again::Policy,
        (true, Some(ms)) => Again::NotBefore(Duration::from_millis(ms.into())),
    }
}

/// Of an answer with a status that is no success.
pub(super) fn of_status(status: u16, retry_after: Option<Duration>) -> Again {
    // Too early, too slow, too often, or the server's own fault.
    let is_retried = matches!(status, 408 | 425 | 429) || status >= 500;
    match (is_retried, retry_after) {
        (false, _) => Again::Never,
        (true, None) => Again::Policy,
        (true, Some(after)) => Again::NotBefore(after.min(RETRY_AFTER_MAX)),
    }
}

/// Of a request without an answer: the code, and whether.
pub(super) fn of_egress(error: &egress::Error) -> (&'static str, Again) {
    match error {
        egress::Error::Closed => (super::permissions::DENIED, Again::Never),
        egress::Error::TimedOut(_) => (Code::TimedOut.as_str(), Again::Policy),
        egress::Error::TooLarge(_) => (Code::OutputTooLarge.as_str(), Again::Never),
        egress::Error::RequestTooLarge(_) => (Code::TooLarge.as_str(), Again::Never),
        egress::Error::Failed { .. } if error.is_of_the_other_side() => (CONNECTION_FAILED, Again::Policy),
        egress::Error::Length | egress::Error::Failed { .. } => (Code::BadRequest.as_str(), Again::Never),
    }
}

/// Of a statement without an answer.
pub(super) fn of_database(error: &database::Error) -> (&'static str, Again) {
    match error {
        database::Error::Unknown => (Code::NotFound.as_str(), Again::Never),
        database::Error::ReadOnly => (super::permissions::DENIED, Again::Never),
        database::Error::Invalid(_) => (Code::BadRequest.as_str(), Again::Never),
        database::Error::TooLarge(_) => (Code::TooLarge.as_str(), Again::Never),
        database::Error::TimedOut => (Code::TimedOut.as_str(), Again::Policy),
        database::Error::Failed { is_transient: false, .. } => (DATABASE_ERROR, Again::Never),
        database::Error::Failed { .. } if error.is_unavailable() => (CONNECTION_FAILED, Again::Policy),
        database::Error::Failed { .. } => (DATABASE_ERROR, Again::Policy),
    }
}

/// The other side, or the way to it.
pub(super) const CONNECTION_FAILED: &str = "connection-failed";

/// What a database said.
const DATABASE_ERROR: &str = "database-error";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::egress::{Failure, Wait};

    fn egress_failed(at: Failure) -> egress::Error {
        egress::Error::Failed { at, source: "the cause".into() }
    }

    fn database_failed(is_transient: bool, is_unavailable: bool) -> database::Error {
        let source = is_unavailable.then(|| "the cause".into());
        database::Error::Failed { what: "it failed".to_owned(), is_transient, source }
    }

    /// What may happen, and what each kind of step says of it.
    fn as_each_kind_has_it(what: &str) -> Vec<Again> {
        let waits = [Wait::Connection, Wait::Head, Wait::Body].map(|wait| of_egress(&egress::Error::TimedOut(wait)).1);
        let lost = [Failure::NoSuchHost, Failure::Names, Failure::Connect, Failure::ConnectTime, Failure::Tls]
            .into_iter()
            .chain([Failure::Closed, Failure::NotHttp, Failure::Answer])
            .map(|at| of_egress(&egress_failed(at)).1);
        match what {
            "a time that is over" => waits
                .into_iter()
                .chain([of_database(&database::Error::TimedOut).1, of_code(Code::TimedOut), of_status(408, None)])
                .collect(),
            "no connection" => lost.chain([of_database(&database_failed(true, true)).1]).collect(),
            "the other side says it is its own fault or the time's" => [500, 502, 503, 504, 599, 425, 429]
                .map(|status| of_status(status, None))
                .into_iter()
                .chain([of_database(&database_failed(true, false)).1, of_guest(true, None)])
                .collect(),
            "denied" => vec![
                of_egress(&egress::Error::Closed).1,
                of_database(&database::Error::ReadOnly).1,
                of_code(Code::Forbidden),
                of_status(403, None),
            ],
            "not there" => {
                vec![of_database(&database::Error::Unknown).1, of_code(Code::NotFound), of_status(404, None)]
            }
            "malformed" => vec![
                of_egress(&egress::Error::Length).1,
                of_egress(&egress_failed(Failure::Url)).1,
                of_database(&database::Error::Invalid("x".to_owned())).1,
                of_code(Code::BadRequest),
                of_status(400, None),
                of_status(422, None),
                of_guest(false, None),
            ],
            "too much" => vec![
                of_egress(&egress::Error::TooLarge(1)).1,
                of_egress(&egress::Error::RequestTooLarge(1)).1,
                of_database(&database::Error::TooLarge("x".to_owned())).1,
                of_code(Code::OutputTooLarge),
                of_code(Code::MemoryExceeded),
                of_code(Code::FuelExhausted),
                of_status(413, None),
            ],
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn p51_the_same_failure_is_tried_again_by_every_kind_of_step_or_by_none() {
        for (what, again) in [
            ("a time that is over", Again::Policy),
            ("no connection", Again::Policy),
            ("the other side says it is its own fault or the time's", Again::Policy),
            ("denied", Again::Never),
            ("not there", Again::Never),
            ("malformed", Again::Never),
            ("too much", Again::Never),
        ] {
            let all = as_each_kind_has_it(what);
            assert!(all.iter().all(|one| *one == again), "{what}: {all:?}");
        }
        for code in [Code::Trap, Code::BadOutput, Code::StackExhausted, Code::InvalidData, Code::InvalidSignature] {
            assert_eq!(of_code(code), Again::Never, "{code}");
        }
    }

    proptest! {
        /// Who says when, is waited for by every kind, and who is not asked again is not waited for.
        #[test]
        fn p51_who_says_when_is_not_asked_before(status in 400_u16..600, ms in 0_u32..200_000_000) {
            let after = Duration::from_millis(ms.into());
            let is_retried = of_status(status, None) == Again::Policy;
            let of_http = of_status(status, Some(after));
            prop_assert_eq!(of_guest(true, Some(ms)), Again::NotBefore(after));
            prop_assert_eq!(of_guest(false, Some(ms)), Again::Never);
            if is_retried {
                prop_assert_eq!(of_http, Again::NotBefore(after.min(RETRY_AFTER_MAX)));
            } else {
                prop_assert_eq!(of_http, Again::Never);
            }
        }
    }
}
