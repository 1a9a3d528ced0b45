//! What an operator should be woken for.
//!
//! Owns the kinds of alerts and who else is told of them. Does not own their counter (`metrics`)
//! nor what is done about them. Invariant: whoever raises an alert never waits for a listener.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::model::Digest;

/// What an operator should be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityAlert {
    /// Stored bytes did not have their digest.
    Integrity,
    /// A compiled artefact on disk did not have its HMAC.
    Artifact,
    /// A stored module is not signed as the configuration asks.
    Signature,
}

impl SecurityAlert {
    /// The word in the metric's label and in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Artifact => "artifact",
            Self::Signature => "signature",
        }
    }
}

/// Is told of each alert, with the digest of the component that it is about. Must not block.
pub type AlertListener = Box<dyn Fn(SecurityAlert, Digest) + Send + Sync>;

/// Who is told. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Alerts(Arc<OnceLock<AlertListener>>);

impl Alerts {
    /// The first listener stays.
    pub(super) fn connect(&self, listener: AlertListener) {
        let _ = self.0.set(listener);
    }

    pub(super) fn tell(&self, alert: SecurityAlert, digest: Digest) {
        if let Some(listener) = self.0.get() {
            listener(alert, digest);
        }
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alerts").field(&self.0.get().is_some()).finish()
    }
}
