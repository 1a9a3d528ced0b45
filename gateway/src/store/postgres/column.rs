//! How our types are written into columns, and read back.
//!
//! Owns the conversions. Invariant: what can't be read back is an error that
//! says why, never a default.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use tokio_postgres::Row;

use super::connect::Failure;
use crate::model::job::Payload;
use crate::model::{Digest, JsonText};

/// JSON text.
pub(super) fn json_of(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Corrupt(error.into()))
}

/// What JSON text in a column says.
pub(super) fn json<T: DeserializeOwned>(row: &Row, index: usize) -> Result<T, Failure> {
    parse(row.try_get(index)?)
}

/// The same where there may be none.
pub(super) fn json_or_none<T: DeserializeOwned>(row: &Row, index: usize) -> Result<Option<T>, Failure> {
    row.try_get::<_, Option<&str>>(index)?.map(parse).transpose()
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Corrupt(error.into()))
}

/// A text that is one of ours: a name, a version, a word of a list.
pub(super) fn word<T: DeserializeOwned>(row: &Row, index: usize) -> Result<T, Failure> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        row.try_get::<_, &str>(index)?.into_deserializer();
    T::deserialize(text).map_err(|error| Failure::Corrupt(error.into()))
}

/// A count. The database's integers are signed: what is over their range is written
/// as their maximum, 292 000 years of microseconds.
pub(super) fn count_of(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count in a column.
pub(super) fn count(row: &Row, index: usize) -> Result<u64, Failure> {
    to_count(row.try_get(index)?)
}

/// The same where there may be none.
pub(super) fn count_or_none(row: &Row, index: usize) -> Result<Option<u64>, Failure> {
    row.try_get::<_, Option<i64>>(index)?.map(to_count).transpose()
}

fn to_count(number: i64) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|error| Failure::Corrupt(error.into()))
}

/// Microseconds since 1970 in a column.
pub(super) fn micros(row: &Row, index: usize) -> Result<Timestamp, Failure> {
    Timestamp::from_microsecond(row.try_get(index)?).map_err(|error| Failure::Corrupt(error.into()))
}

/// The same where there may be none.
pub(super) fn micros_or_none(row: &Row, index: usize) -> Result<Option<Timestamp>, Failure> {
    let micros = row.try_get::<_, Option<i64>>(index)?;
    micros.map(Timestamp::from_microsecond).transpose().map_err(|error| Failure::Corrupt(error.into()))
}

/// The first microsecond that is not before `at`: bounds may be finer than what is stored.
pub(super) fn ceiling_micros(at: Timestamp) -> i64 {
    let micros = at.as_microsecond();
    let is_later = Timestamp::from_microsecond(micros).is_ok_and(|floor| floor < at);
    if is_later { micros.saturating_add(1) } else { micros }
}

/// A count that is a small one by our own making.
pub(super) fn small(number: i64) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|error| Failure::Corrupt(error.into()))
}

/// JSON text as it is, checked when it was stored.
pub(super) fn json_text(row: &Row, index: usize) -> Result<JsonText, Failure> {
    JsonText::parse(row.try_get(index)?).map_err(|error| Failure::Corrupt(error.into()))
}

/// Payloads' three columns each: digest and size where it is a blob, else the text.
pub(super) struct Columns<'a> {
    pub(super) digests: Vec<Option<&'a [u8]>>,
    pub(super) sizes: Vec<Option<i64>>,
    pub(super) texts: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(payloads: impl Iterator<Item = Option<&'a Payload>>) -> Self {
        let mut columns = Self { digests: Vec::new(), sizes: Vec::new(), texts: Vec::new() };
        for payload in payloads {
            let (digest, size, text) = match payload {
                None => (None, None, None),
                Some(Payload::Inline(text)) => (None, None, Some(text.as_str())),
                Some(Payload::Blob { digest, size_bytes }) => {
                    (Some(digest.as_bytes().as_slice()), Some(count_of(*size_bytes)), None)
                }
            };
            columns.digests.push(digest);
            columns.sizes.push(size);
            columns.texts.push(text);
        }
        columns
    }
}

/// Reads one back, from `first` on.
pub(super) fn payload(row: &Row, first: usize) -> Result<Option<Payload>, Failure> {
    if row.try_get::<_, Option<&[u8]>>(first)?.is_some() {
        let digest = Digest::from_bytes(hash(row, first)?);
        return Ok(Some(Payload::Blob { digest, size_bytes: count(row, first + 1)? }));
    }
    let text = row.try_get::<_, Option<&str>>(first + 2)?.map(|_| json_text(row, first + 2)).transpose()?;
    Ok(text.map(Payload::Inline))
}

/// 32 bytes in a column.
pub(super) fn hash(row: &Row, index: usize) -> Result<[u8; 32], Failure> {
    <[u8; 32]>::try_from(row.try_get::<_, &[u8]>(index)?).map_err(|error| Failure::Corrupt(error.into()))
}

/// Text as the database can hold it. For what has a U+0000 by our own mistake only:
/// one bad text must not keep a batch of records out.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
