//! Signatures of modules: what is signed, by which key, and whether it holds.
//!
//! Owns the signed message and the written forms of keys and signatures. Does not own
//! which keys are trusted (`config`) nor when a signature is looked at (`registry`).
//! Invariant: a [`PublicKey`] is a point of the curve that is not of small order, and a
//! signature holds only as `verify_strict` has it: nobody else can make a second one of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes,
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Digest, ModuleName};

/// Separates these signatures from whatever else a key may have signed.
const DOMAIN: &str = "sluice-module-v1";

/// What begins a key in PEM.
const PEM_START: &str = "-----BEGIN ";

/// Who signed a module's bytes, and when that was checked.
///
/// Shown without the signature's own bytes; a store keeps [`StoredSignature`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Signature {
    /// The id of the key in the configuration.
    pub key_id: String,
    /// The signature's bytes, for the check at load.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    pub value: SignatureValue,
    /// When the signature was checked; `null` where it was only stored.
    #[schema(required = true)]
    pub verified_at: Option<Timestamp>,
}

/// All of a [`Signature`], which is read back as one.
#[derive(Debug, Serialize)]
pub struct StoredSignature<'a> {
    key_id: &'a str,
    value: &'a SignatureValue,
    verified_at: Option<Timestamp>,
}

impl Signature {
    /// The form to be kept.
    #[must_use]
    pub fn stored(&self) -> StoredSignature<'_> {
        StoredSignature { key_id: &self.key_id, value: &self.value, verified_at: self.verified_at }
    }
}

/// What a signature of a module is about.
#[derive(Debug, Clone, Copy)]
pub struct SignedModule<'a> {
    /// Its name.
    pub name: &'a ModuleName,
    /// Its version.
    pub version: &'a Version,
    /// The digest of its bytes.
    pub sha256: Digest,
}

impl SignedModule<'_> {
    /// The bytes that are signed: the contract's four lines.
    ///
    /// Neither a name nor a version can have a line feed, so no two modules share a message.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{DOMAIN}\n{}\n{}\n{}\n", self.name, self.version, self.sha256)
    }
}

/// The 64 bytes of a signature, written in base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureValue([u8; 64]);

impl SignatureValue {
    /// A signature that was made elsewhere; not checked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SignatureValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for SignatureValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no signature.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a signature is base64 of 64 bytes")]
pub struct ParseSignatureError;

impl FromStr for SignatureValue {
    type Err = ParseSignatureError;

    /// White space around the text is left out: files and shells add a line feed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| ParseSignatureError)?;
        bytes.try_into().map(Self).map_err(|_| ParseSignatureError)
    }
}

impl Serialize for SignatureValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SignatureValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// Neither of the forms.
    #[error("expected base64 of 32 bytes, or a PEM with `-----BEGIN PUBLIC KEY-----`")]
    Form,
    /// A PEM of something else, or a damaged one.
    #[error("the PEM does not hold an ed25519 public key")]
    NotPublic,
    /// A PEM of something else, or a damaged one.
    #[error("the PEM does not hold an ed25519 private key (`-----BEGIN PRIVATE KEY-----`, PKCS #8, not encrypted)")]
    NotPrivate,
    /// 32 bytes that nobody can have the private key of.
    #[error("these 32 bytes are no point of the curve")]
    NoPoint,
    /// Everybody can sign for it.
    #[error("this key is of small order: it takes signatures that anybody can make")]
    SmallOrder,
}

/// A key that signatures are checked with.
#[derive(Clone, PartialEq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// A key of 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, ParseKeyError> {
        Self::checked(VerifyingKey::from_bytes(bytes).map_err(|_| ParseKeyError::NoPoint)?)
    }

    /// Whether `signature` is this key's, of exactly this module.
    #[must_use]
    pub fn verifies(&self, module: &SignedModule<'_>, signature: &SignatureValue) -> bool {
        self.verifies_message(module.message().as_bytes(), signature)
    }

    /// The key as PEM (`SubjectPublicKeyInfo`), as `openssl pkey -pubin` reads it.
    ///
    /// # Errors
    /// Never for a key that exists.
    pub fn to_pem(&self) -> Result<String, ParseKeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|_| ParseKeyError::NotPublic)
    }

    fn verifies_message(&self, message: &[u8], signature: &SignatureValue) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }

    fn checked(key: VerifyingKey) -> Result<Self, ParseKeyError> {
        if key.is_weak() { Err(ParseKeyError::SmallOrder) } else { Ok(Self(key)) }
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.starts_with(PEM_START) {
            return Self::checked(VerifyingKey::from_public_key_pem(text).map_err(|_| ParseKeyError::NotPublic)?);
        }
        let bytes = STANDARD.decode(text).map_err(|_| ParseKeyError::Form)?;
        Self::from_bytes(&bytes.try_into().map_err(|_| ParseKeyError::Form)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that modules are signed with. Wiped from memory when it is dropped, and never shown.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key of a PKCS #8 PEM, as [`Self::to_pem`] and `openssl genpkey` write it.
    pub fn from_pem(text: &str) -> Result<Self, ParseKeyError> {
        SigningKey::from_pkcs8_pem(text.trim()).map(Self).map_err(|_| ParseKeyError::NotPrivate)
    }

    /// The key as PKCS #8 PEM. Whoever reads it can sign.
    ///
    /// # Errors
    /// Never for a key that exists.
    pub fn to_pem(&self) -> Result<impl AsRef<str> + use<>, ParseKeyError> {
        // Without the public key beside it: not every OpenSSL reads that form.
        let key = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        key.to_pkcs8_pem(LineEnding::LF).map_err(|_| ParseKeyError::NotPrivate)
    }

    /// What its signatures are checked with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a module.
    #[must_use]
    pub fn sign(&self, module: &SignedModule<'_>) -> SignatureValue {
        SignatureValue(self.0.sign(module.message().as_bytes()).to_bytes())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(***)")
    }
}

#[cfg(test)]
mod tests;
