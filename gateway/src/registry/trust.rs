//! Whether a module's signature is what the operator asks for.
//!
//! Owns the rule, at upload and at load. Does not own keys (`config`) nor cryptography
//! (`model`). Invariant: what passes is unsigned where that is allowed, stored unchecked
//! where the operator turned checks off, or signed by a key that was trusted when it came.

use std::sync::Arc;

use jiff::Timestamp;

use super::Upload;
use crate::config::{SignatureMode, Signatures, Untrusted};
use crate::error::Code;
use crate::model::{Module, Signature, SignatureValue, SignedModule};
use crate::telemetry::{Metrics, SecurityAlert};

/// The operator's rule. Cheap to clone.
#[derive(Clone)]
pub struct Trust(Arc<Parts>);

struct Parts {
    signatures: Signatures,
    metrics: Metrics,
}

/// A signature as it comes with an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedSignature {
    /// Which key it should be checked with.
    pub key_id: String,
    /// Its bytes.
    pub value: SignatureValue,
}

/// Why a module is not taken, or not run. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed.
    #[error("this gateway takes and runs signed modules only, and this one has no signature")]
    Unsigned,
    /// Nobody here knows the key.
    #[error("this gateway knows no signing key `{key_id}`")]
    UnknownKey {
        /// What it was named by.
        key_id: String,
    },
    /// The key is known, and may not have signed this.
    #[error("the signing key `{key_id}` is not trusted: {reason}")]
    Untrusted {
        /// The key.
        key_id: String,
        /// What is wrong with it.
        reason: Untrusted,
    },
    /// The signature is of other bytes, of another name or version, or by another key.
    #[error("the signature is not one of the key `{key_id}` over this name, version and these bytes")]
    Mismatch {
        /// The key.
        key_id: String,
    },
}

impl Refusal {
    /// The contract's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unsigned => Code::SignatureRequired,
            Self::UnknownKey { .. } => Code::UnknownKey,
            Self::Untrusted { .. } | Self::Mismatch { .. } => Code::InvalidSignature,
        }
    }
}

impl Trust {
    /// The rule of a configuration.
    #[must_use]
    pub fn new(signatures: Signatures, metrics: Metrics) -> Self {
        Self(Arc::new(Parts { signatures, metrics }))
    }

    /// The signature to store of an upload that comes `now`.
    pub(super) fn check_upload(&self, upload: &Upload, now: Timestamp) -> Result<Option<Signature>, Refusal> {
        let Some(UploadedSignature { key_id, value }) = &upload.signature else {
            return self.unsigned().map(|()| None);
        };
        let signature = |verified_at| Some(Signature { key_id: key_id.clone(), value: *value, verified_at });
        if self.mode() == SignatureMode::Off {
            return Ok(signature(None));
        }
        let sha256 = upload.component.digest();
        let module = SignedModule { name: &upload.name, version: &upload.version, sha256 };
        self.check(&module, (key_id, value), now)?;
        Ok(signature(Some(now)))
    }

    /// Whether a stored module may run: the configuration may be another one since it came.
    /// A refusal is logged and counted, so ask once.
    pub(super) fn check_stored(&self, module: &Module) -> Result<(), Refusal> {
        let checked = match &module.signature {
            None => self.unsigned(),
            Some(_) if self.mode() == SignatureMode::Off => Ok(()),
            Some(signature) => {
                let signed = SignedModule { name: &module.name, version: &module.version, sha256: module.sha256 };
                // A window says when a key may sign: what came within it stays good after its end.
                let came_at = signature.verified_at.unwrap_or(module.created_at);
                self.check(&signed, (&signature.key_id, &signature.value), came_at)
            }
        };
        if let Err(refusal) = &checked {
            self.0.metrics.security_alert(SecurityAlert::Signature, module.sha256);
            tracing::error!(
                module = %module.name, version = %module.version, id = %module.id, code = %refusal.code(), %refusal,
                "a stored module is not signed as the configuration asks; it is not run"
            );
        }
        checked
    }

    fn mode(&self) -> SignatureMode {
        self.0.signatures.mode
    }

    fn unsigned(&self) -> Result<(), Refusal> {
        match self.mode() {
            SignatureMode::Required => Err(Refusal::Unsigned),
            SignatureMode::Off | SignatureMode::Optional => Ok(()),
        }
    }

    fn check(
        &self,
        module: &SignedModule<'_>,
        (key_id, value): (&str, &SignatureValue),
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let key = self.0.signatures.key(key_id);
        let key_id = || key_id.to_owned();
        let key = key.ok_or_else(|| Refusal::UnknownKey { key_id: key_id() })?;
        key.trusted_at(at).map_err(|reason| Refusal::Untrusted { key_id: key_id(), reason })?;
        if key.public_key.verifies(module, value) { Ok(()) } else { Err(Refusal::Mismatch { key_id: key_id() }) }
    }
}
