//! Standard Webhooks: who signed a body, and when.
//!
//! Owns secrets, signing and verification. Does not own where secrets are kept, nor clocks.
//! Invariant: a body is verified before anything reads it.
//!
//! Not the crate `standardwebhooks`: its only release is of March 2024, and it reads the clock itself.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::Sha256;

/// The reference clients write padding and take texts without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The specification's tolerance, either way.
const TOLERANCE_SECONDS: i64 = 5 * 60;
/// Ids are UUIDs and the like; it becomes an idempotency key.
const ID_LENGTH_MAX: usize = 255;
/// Rotation needs two or three; each costs a comparison with each secret.
const SIGNATURES_MAX: usize = 16;

/// The key of a hook or a notification. Zeroized when dropped.
pub struct Secret(SecretBox<[u8]>);

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct NotSecret;

impl Secret {
    /// Reads `whsec_…`.
    pub fn parse(text: &str) -> Result<Self, NotSecret> {
        let encoded = text.strip_prefix("whsec_").ok_or(NotSecret)?;
        let bytes = SecretBox::new(BASE64.decode(encoded).map_err(|_| NotSecret)?.into_boxed_slice());
        if (24..=64).contains(&bytes.expose_secret().len()) { Ok(Self(bytes)) } else { Err(NotSecret) }
    }

    fn mac(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(mac)
    }
}

/// A request that a secret's owner sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub at: Timestamp,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header is missing, comes twice, or is not of its form.
    #[error("send `{0}` once, as Standard Webhooks has it")]
    Header(&'static str),
    /// The time is more than five minutes away.
    #[error("`webhook-timestamp` is more than five minutes from now")]
    Time,
    /// No secret made any of the signatures.
    #[error("no signature in `webhook-signature` is of a secret of this hook")]
    Signature,
}

/// The value of `webhook-signature`.
#[must_use]
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mac = secret.mac(id, timestamp, body).map(|mac| mac.finalize().into_bytes());
    format!("v1,{}", BASE64.encode(mac.unwrap_or_default()))
}

/// Checks a request: one of the signatures has to be of one of the secrets.
pub fn verify(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
    let id = one(headers, "webhook-id")?;
    if id.is_empty() || id.len() > ID_LENGTH_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused::Header("webhook-id"));
    }
    let written = one(headers, "webhook-timestamp")?;
    let seconds: i64 = written.parse().map_err(|_| Refused::Header("webhook-timestamp"))?;
    // What is signed is the text: only the one form of a number is taken.
    let at = Timestamp::from_second(seconds).ok().filter(|_| seconds.to_string() == written);
    let at = at.ok_or(Refused::Header("webhook-timestamp"))?;
    if now.as_second().abs_diff(seconds) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(Refused::Time);
    }
    let signatures: Vec<_> = one(headers, "webhook-signature")?.split(' ').filter(|one| !one.is_empty()).collect();
    if signatures.is_empty() || signatures.len() > SIGNATURES_MAX {
        return Err(Refused::Header("webhook-signature"));
    }
    let given = signatures.iter().filter_map(|one| one.strip_prefix("v1,")).filter_map(|one| BASE64.decode(one).ok());
    let is_signed = given.into_iter().any(|given| {
        let macs = secrets.iter().filter_map(|secret| secret.mac(id, seconds, body));
        // `verify_slice` compares in constant time.
        macs.into_iter().any(|mac| mac.verify_slice(&given).is_ok())
    });
    if is_signed { Ok(Verified { id: id.to_owned(), at }) } else { Err(Refused::Signature) }
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refused::Header(name)),
        _ => Err(Refused::Header(name)),
    }
}

#[cfg(test)]
mod tests;
