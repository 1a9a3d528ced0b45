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
    TimedOut(Wait),
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
    #[error("{at}")]
    Failed {
        /// In which part.
        at: Failure,
        /// For the operator.
        #[source]
        source: Cause,
    },
}

/// What was waited for when the time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A turn at the host, or a connection to it.
    Connection,
    /// The head of the answer.
    Head,
    /// More of its body, or room for it.
    Body,
}

/// In which part an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The URL is none for the client.
    #[error("the URL can't be sent")]
    Url,
    /// Nobody knows the name.
    #[error("there is no such host")]
    NoSuchHost,
    /// The name servers don't answer.
    #[error("the host's name can't be looked up")]
    Names,
    /// Nobody listens there, or nothing leads there.
    #[error("the host can't be connected to")]
    Connect,
    /// The look-up, TCP and TLS took longer than any connection may.
    #[error("the host was not connected to in time")]
    ConnectTime,
    /// The certificate, or the handshake.
    #[error("TLS with the host failed")]
    Tls,
    /// Before there was an answer.
    #[error("the host closed the connection")]
    Closed,
    /// More headers than are taken.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
    /// What came back is malformed, or another protocol.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// In its body.
    #[error("the answer broke off")]
    Answer,
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
    /// Whether the other side, or the way to it, failed: not the request, and not a bound of this gateway.
    #[must_use]
    pub const fn is_of_the_other_side(&self) -> bool {
        match self {
            Self::Closed | Self::TooLarge(_) | Self::RequestTooLarge(_) | Self::Length => false,
            Self::TimedOut(_) => true,
            Self::Failed { at, .. } => match at {
                Failure::Url | Failure::HeadTooLarge => false,
                Failure::NoSuchHost
                | Failure::Names
                | Failure::Connect
                | Failure::ConnectTime
                | Failure::Tls
                | Failure::Closed
                | Failure::NotHttp
                | Failure::Answer => true,
            },
        }
    }

    pub(super) fn failed(at: Failure, source: impl Into<Cause>) -> Self {
        Self::Failed { at, source: source.into() }
    }

    /// What a failure before the head of the answer means.
    pub(super) fn of_client(error: hyper_util::client::legacy::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            match meaning(this) {
                Some(Meaning::Is(known)) => return known,
                Some(Meaning::Failed(at)) => return Self::failed(at, error),
                None => {}
            }
            cause = match this.downcast_ref::<std::io::Error>() {
                // One that was made of another error has that error's source, and not the error.
                Some(io) if io.get_ref().is_some() => io.get_ref().map(|inner| inner as _),
                _ => this.source(),
            };
        }
        let at = if error.is_connect() { Failure::Connect } else { Failure::Closed };
        Self::failed(at, error)
    }

    /// What a failure after it means.
    pub(super) fn of_body(error: hyper::Error) -> Self {
        Self::failed(Failure::Answer, error)
    }
}

enum Meaning {
    Is(Error),
    Failed(Failure),
}

/// What one of the causes of a failure says on its own.
fn meaning(cause: &(dyn std::error::Error + 'static)) -> Option<Meaning> {
    if let Some(names) = cause.downcast_ref::<resolver::Error>() {
        return Some(match names {
            resolver::Error::Closed => Meaning::Is(Error::Closed),
            resolver::Error::Unknown => Meaning::Failed(Failure::NoSuchHost),
            resolver::Error::Failed(_) => Meaning::Failed(Failure::Names),
        });
    }
    if let Some(body) = cause.downcast_ref::<BadBody>() {
        return Some(Meaning::Is(match body {
            BadBody::TooLarge(most) => Error::RequestTooLarge(*most),
            BadBody::Length => Error::Length,
        }));
    }
    if cause.is::<ConnectTimeout>() {
        return Some(Meaning::Failed(Failure::ConnectTime));
    }
    if cause.is::<rustls::Error>() {
        return Some(Meaning::Failed(Failure::Tls));
    }
    let http = cause.downcast_ref::<hyper::Error>()?;
    if http.is_parse_too_large() {
        Some(Meaning::Failed(Failure::HeadTooLarge))
    } else if http.is_parse() {
        Some(Meaning::Failed(Failure::NotHttp))
    } else {
        None
    }
}
