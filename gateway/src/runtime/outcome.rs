//! What a step returned, checked.
//!
//! Owns the way from the guest's `outcome` to ours. Invariant: an [`Outcome`]
//! holds JSON that is JSON, and fits the output bound.

use super::bindings::sluice::step::types as wit;
use super::{Failure, Outcome, StepFailure};
use crate::error::{Code, FieldError};
use crate::model::JsonText;

/// What each entry of a list counts on top of its text: a list of empty strings
/// is not free.
const ENTRY_BYTES: u64 = 16;

/// Checks and sizes what the guest returned.
pub(super) fn check(outcome: wit::Outcome, output_bytes_max: u64) -> Result<Outcome, Failure> {
    let used = size(&outcome);
    if used > output_bytes_max {
        return Err(Failure {
            code: Code::OutputTooLarge,
            message: format!("the output has {used} bytes; {output_bytes_max} are allowed"),
            limit: Some(output_bytes_max),
            used: Some(used),
        });
    }
    match outcome {
        wit::Outcome::Completed(completed) => {
            let output = JsonText::parse(&completed.output).map_err(|error| Failure {
                code: Code::BadOutput,
                message: format!("the output is not JSON: {error}"),
                limit: None,
                used: None,
            })?;
            Ok(Outcome::Completed { output, next: completed.next })
        }
        wit::Outcome::Invalid(errors) => Ok(Outcome::Invalid(
            errors
                .into_iter()
                .map(|error| FieldError { path: error.path, code: error.code, message: error.message })
                .collect(),
        )),
        wit::Outcome::Failed(failure) => Ok(Outcome::Failed(StepFailure {
            code: failure.code,
            message: failure.message,
            retryable: failure.retryable,
            // It means nothing for a failure that another attempt can't mend.
            retry_after_ms: failure.retry_after_ms.filter(|_| failure.retryable),
            details: failure.details.as_deref().map(JsonText::parse_or_string),
        })),
    }
}

fn size(outcome: &wit::Outcome) -> u64 {
    match outcome {
        wit::Outcome::Completed(completed) => {
            let next = completed.next.as_ref().map_or(0, |next| next.iter().map(|id| entry(id)).sum());
            completed.output.len() as u64 + next
        }
        wit::Outcome::Invalid(errors) => {
            errors.iter().map(|error| entry(&error.path) + entry(&error.code) + entry(&error.message)).sum()
        }
        wit::Outcome::Failed(failure) => {
            let details = failure.details.as_ref().map_or(0, String::len);
            (failure.code.len() + failure.message.len() + details) as u64
        }
    }
}

fn entry(text: &str) -> u64 {
    text.len() as u64 + ENTRY_BYTES
}
