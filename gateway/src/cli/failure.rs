//! How a command fails: the exit code, and the words on standard error.
//!
//! Owns the mapping from an error to an exit code and the advice for what the
//! operating system refused. Does not own the words of a gateway's problem
//! (`problem`). Invariant: a reader who left early is no failure.

use std::io;
use std::process::ExitCode;

use super::client;
use super::output::{self, Out};

/// Arguments that clap can't tell to be wrong. Exit code 2, like clap's own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// A signal ended the command. Exit code 130, as shells have it.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// The answer is no, and was printed. Exit code 1, without more words.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no")]
pub(super) struct Denied;

/// What to do next, beneath an error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Advised {
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it; lines.
    pub(super) advice: Vec<String>,
}

impl Advised {
    /// An error with one line of advice.
    pub(super) fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { message: message.into(), advice: vec![advice.into()] }
    }

    /// An error with its causes beneath it.
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        Self { message: error.to_string(), advice: causes(error) }
    }
}

/// What led to an error, the nearest first.
pub(super) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect()
}

/// Tells the user, and what the process should exit with.
pub(super) fn report(error: &anyhow::Error, out: Out) -> ExitCode {
    if let Some(output::Error::Closed) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    if error.is::<Interrupted>() {
        return ExitCode::from(130);
    }
    if error.is::<Denied>() {
        return ExitCode::from(1);
    }
    if let Some(client::Error::Refused(refusal)) = error.downcast_ref() {
        // A script that asked for JSON gets the problem as it came; that it can't be
        // written any more changes nothing.
        let _ = out.when_json(&refusal.body);
        out.error(&refusal.problem.headline(), &refusal.lines());
        return ExitCode::from(1);
    }
    out.error(&sentence(error), &advice(error));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// The chain of causes as one sentence, without what a cause repeats.
pub(super) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn advice(error: &anyhow::Error) -> Vec<String> {
    if let Some(advised) = error.downcast_ref::<Advised>() {
        return advised.advice.clone();
    }
    if let Some(error) = error.downcast_ref::<client::Error>() {
        return error.advice();
    }
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let advice = match kind {
        Some(io::ErrorKind::AddrInUse) => {
            "another program, or another gateway, listens there: stop it, or choose another address with --listen"
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            "this machine has no such address: choose another with --listen, 127.0.0.1:8080 for this machine only"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "check who owns it, or choose another place; ports below 1024 need a privilege"
        }
        Some(io::ErrorKind::StorageFull) => "make room, or choose another place",
        Some(_) | None => return Vec::new(),
    };
    vec![advice.to_owned()]
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_that_the_error_repeats_is_told_once() {
        let cause = io::Error::new(io::ErrorKind::AddrInUse, "address in use");
        let error =
            anyhow::Error::new(cause).context("listening on 127.0.0.1:8080: address in use").context("no start");
        assert_eq!(sentence(&error), "no start: listening on 127.0.0.1:8080: address in use");
    }

    #[test]
    fn a_port_in_use_is_answered_with_the_flag_that_changes_it() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::AddrInUse)).context("no start").unwrap_err();
        assert!(advice(&error)[0].contains("--listen"));
    }

    #[test]
    fn exit_codes_tell_usage_from_failure_from_an_early_reader() {
        let code = |error: anyhow::Error| format!("{:?}", report(&error, Out::for_tests()));
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Usage("--yes is needed".to_owned()).into()), expected(2));
        assert_eq!(code(anyhow::anyhow!("no")), expected(1));
        assert_eq!(code(Denied.into()), expected(1));
        assert_eq!(code(Interrupted.into()), expected(130));
        assert_eq!(code(output::Error::Closed.into()), expected(0));
        assert_eq!(code(anyhow::Error::new(output::Error::Closed).context("printing")), expected(0));
    }
}
