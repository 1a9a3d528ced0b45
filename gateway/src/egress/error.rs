//! Why an exchange has no answer.
//!
//! Owns what a failure of the client means. Invariant: the words hold neither addresses nor what was sent.

use super::resolver;

/// Any error of others, for the log.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL's address, or all of its host's, are closed to steps.
    #[error("no address of the host is public")]
    Closed,
    /// The time is over.
    #[error("there was no whole answer in time")]
    TimedOut,
    /// The answer is larger than it may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(u64),
    /// The request is larger than it may be.
    #[error("the request has more than {0} bytes")]
    RequestTooLarge(u64),
    /// The request says another length than its body has.
    #[error("the header `content-length` is not the length of the body")]
    Length,
    /// The other side, or the way to it.
    #[error("{what}")]
    Failed {
        /// In which part.
        what: &'static str,
        /// For the operator.
        #[source]
        source: Cause,
    },
}

/// Where a connection was given up.
#[derive(Debug, thiserror::Error)]
#[error("the host was not connected to in time")]
pub(super) struct ConnectTimeout;

/// What a body that a step streams is wrong about. The client hands it back among its causes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum BadBody {
    #[error("the request has more than {0} bytes")]
    TooLarge(u64),
    #[error("the body has another length than was said")]
    Length,
}

impl Error {
    pub(super) fn failed(what: &'static str, source: impl Into<Cause>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    /// What a failure before the head of the answer means.
    pub(super) fn of_client(error: hyper_util::client::legacy::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            match meaning(this) {
                Some(Meaning::Is(known)) => return known,
                Some(Meaning::Failed(what)) => return Self::failed(what, error),
                None => {}
            }
            cause = match this.downcast_ref::<std::io::Error>() {
                // One that was made of another error has that error's source, and not the error.
                Some(io) if io.get_ref().is_some() => io.get_ref().map(|inner| inner as _),
                _ => this.source(),
            };
        }
        let what = if error.is_connect() { "the host can't be connected to" } else { "the host closed the connection" };
        Self::failed(what, error)
    }

    /// What a failure after it means.
    pub(super) fn of_body(error: hyper::Error) -> Self {
        Self::failed("the answer broke off", error)
    }
}

enum Meaning {
    Is(Error),
    Failed(&'static str),
}

/// What one of the causes of a failure says on its own.
fn meaning(cause: &(dyn std::error::Error + 'static)) -> Option<Meaning> {
    if let Some(names) = cause.downcast_ref::<resolver::Error>() {
        return Some(match names {
            resolver::Error::Closed => Meaning::Is(Error::Closed),
            resolver::Error::Unknown => Meaning::Failed("there is no such host"),
            resolver::Error::Failed(_) => Meaning::Failed("the host's name can't be looked up"),
        });
    }
    if let Some(body) = cause.downcast_ref::<BadBody>() {
        return Some(Meaning::Is(match body {
            BadBody::TooLarge(most) => Error::RequestTooLarge(*most),
            BadBody::Length => Error::Length,
        }));
    }
    if cause.is::<ConnectTimeout>() {
        return Some(Meaning::Failed("the host was not connected to in time"));
    }
    if cause.is::<rustls::Error>() {
        return Some(Meaning::Failed("TLS with the host failed"));
    }
    let http = cause.downcast_ref::<hyper::Error>()?;
    if http.is_parse_too_large() {
        Some(Meaning::Failed("the head of the answer is too large"))
    } else if http.is_parse() {
        Some(Meaning::Failed("the answer is not HTTP"))
    } else {
        None
    }
}
