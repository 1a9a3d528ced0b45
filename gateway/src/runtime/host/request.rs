//! A request of a step as it may leave, over whichever interface it was made.
//!
//! Owns the order of the checks, and what every request gets: secrets and the trace. Does not connect (`egress`),
//! and does not know how an interface tells of a refusal: `http` and `outgoing` do. Invariants: the permission for
//! exactly this URL is asked for before anything else of it is read; a secret is put in after its permission for
//! exactly this host; and no more is ever made of headers than a server takes.

use http::{HeaderMap, Method};

use crate::circuit::{self, Key, Permit};
use crate::config::Secrets;
use crate::egress::{self, BadTarget, Target, headers, secrets};
use crate::model::{Denial, PermissionKind};
use crate::runtime::denials::Denials;
use crate::telemetry::{Sampled, TraceContext};

/// Why an address is denied whatever the permissions say.
pub const CLOSED: &str = "its address is not public, and the operator has not opened it";

/// Who says what may be done: the permissions of a module, or those that an operator gives to jobs.
pub trait Permits: Sync {
    /// Whether this may be done; `resource` is in normal form.
    ///
    /// # Errors
    /// The permission that it would need.
    fn check(&self, kind: PermissionKind, resource: &str) -> Result<(), Denial>;
}

impl Permits for Denials {
    fn check(&self, kind: PermissionKind, resource: &str) -> Result<(), Denial> {
        Self::check(self, kind, resource)
    }
}

/// What the requests of one execution, or of a step without one, are held against.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// What may be done.
    pub permits: &'a dyn Permits,
    /// `None` where names stay as they are, since nothing is sent.
    pub secrets: Option<&'a Secrets>,
    /// What is passed on where nothing is traced here.
    pub trace_context: &'a TraceContext,
    /// The span of the call that sends it.
    pub trace: Option<&'a Sampled>,
}

/// What may be sent, but for its body.
#[derive(Debug)]
pub struct Prepared {
    /// The method.
    pub method: Method,
    /// Whom, and for what.
    pub target: Target,
    /// Secrets are in them.
    pub headers: HeaderMap,
    kind: PermissionKind,
}

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The method.
    #[error(transparent)]
    Method(headers::Error),
    /// The URL.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// No permission covers the URL, or a secret at its host.
    #[error("{0}")]
    Denied(Denial),
    /// Its name is no secret's.
    #[error("there is no secret {0}")]
    NoSecret(String),
    /// The gateway compares this header with something.
    #[error("the header {0} can't have a secret")]
    SecretInHeader(String),
    /// The headers.
    #[error(transparent)]
    Headers(headers::Error),
    /// A body.
    #[error(transparent)]
    TooLarge(#[from] secrets::TooLarge),
}

impl Refused {
    /// As a span has it: the name of the error in `sluice:step`.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "permission-denied",
            Self::NoSecret(_) => "not-found",
            Self::TooLarge(_) | Self::Headers(headers::Error::TooMany | headers::Error::TooLarge) => "limit-exceeded",
            Self::Method(_) | Self::Target(_) | Self::SecretInHeader(_) | Self::Headers(_) => "invalid-argument",
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Prepared {
    /// What is denied where its host turns out to be closed.
    #[must_use]
    pub fn denial(&self) -> Denial {
        Denial::of(self.kind, self.target.resource())
    }
}

impl Gate<'_> {
    /// The request, once it is known that it may be sent.
    ///
    /// # Errors
    /// Why it may not.
    pub fn prepare<'a>(
        &self,
        method: &str,
        url: &str,
        given: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Prepared, Refused> {
        let method = egress::method(method).map_err(Refused::Method)?;
        let target = Target::parse(url)?;
        let kind = egress::permission_kind(&method);
        self.permits.check(kind, target.resource())?;
        let mut headers = self.headers(given, &target)?;
        // Many frameworks take such a request for a write.
        if kind == PermissionKind::HttpRead && headers::overrides_method(&headers) {
            self.permits.check(PermissionKind::HttpWrite, target.resource())?;
        }
        self.trace_context.send(self.trace, &mut headers);
        Ok(Prepared { method, target, headers, kind })
    }

    /// The text with the secrets that it names, each of which the module may use at this host; `None` where it
    /// names none.
    ///
    /// # Errors
    /// One of them may not be used, or there is no such one.
    pub fn fill(&self, text: &[u8], target: &Target, bytes_max: usize) -> Result<Option<Vec<u8>>, Refused> {
        for name in secrets::names(text) {
            self.permits.check(PermissionKind::SecretUse, &format!("{name}@{}", target.host()))?;
            if self.secrets.is_some_and(|secrets| !secrets.has(name)) {
                return Err(Refused::NoSecret(name.to_owned()));
            }
        }
        match self.secrets {
            Some(secrets) => Ok(secrets::put_in(secrets, text, bytes_max)?),
            None => Ok(None),
        }
    }

    fn headers<'a>(
        &self,
        given: impl Iterator<Item = (&'a str, &'a [u8])>,
        target: &Target,
    ) -> Result<HeaderMap, Refused> {
        let mut filled = Vec::new();
        let mut bytes_left = headers::BYTES_MAX;
        for (name, value) in given {
            // Before anything is made of it: a guest may pass as many as it has memory for, and a short name may
            // stand for a long value.
            if filled.len() == headers::HEADERS_MAX {
                return Err(Refused::Headers(headers::Error::TooMany));
            }
            if !headers::may_hold_secret(name) && !secrets::names(value).is_empty() {
                return Err(Refused::SecretInHeader(name.to_owned()));
            }
            let secret = self.fill(value, target, bytes_left).map_err(|refused| match refused {
                Refused::TooLarge(_) => Refused::Headers(headers::Error::TooLarge),
                other => other,
            })?;
            bytes_left = bytes_left.saturating_sub(secret.as_ref().map_or(value.len(), Vec::len));
            filled.push((name, value, secret));
        }
        let list = filled.iter().map(|(name, plain, secret)| (*name, secret.as_deref().unwrap_or(plain)));
        let mut headers = headers::outgoing(list, target).map_err(Refused::Headers)?;
        for (name, _, secret) in &filled {
            if let Some(secret) = secret {
                hide(&mut headers, name, secret);
            }
        }
        Ok(headers)
    }
}

/// The circuit of a target.
#[must_use]
pub fn origin_of(target: &Target) -> Key {
    Key::origin(target.url().scheme(), target.host(), target.port())
}

/// Tells a circuit how an exchange went: with which status, or with what else.
pub fn settle(permit: Permit, went: Result<u16, &egress::Error>) {
    match went {
        Ok(status) if circuit::is_failing(status) => permit.failed(),
        Ok(_) => permit.succeeded(),
        Err(error) if error.is_of_the_other_side() => permit.failed(),
        // The request was not sent, or its answer was more than is taken.
        Err(_) => drop(permit),
    }
}

/// Keeps a value out of what is printed, and out of HTTP/2's tables.
fn hide(headers: &mut HeaderMap, name: &str, bytes: &[u8]) {
    let Ok(http::header::Entry::Occupied(mut values)) = headers.try_entry(name) else { return };
    values.iter_mut().filter(|value| value.as_bytes() == bytes).for_each(|value| value.set_sensitive(true));
}
