//! How our types are written into columns, and read back.
//!
//! Owns the conversions. Invariant: what can't be read back is an error that
//! says why, never a default.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use tokio_postgres::Row;

use super::connect::Failure;

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

/// 32 bytes in a column.
pub(super) fn hash(row: &Row, index: usize) -> Result<[u8; 32], Failure> {
    <[u8; 32]>::try_from(row.try_get::<_, &[u8]>(index)?).map_err(|error| Failure::Corrupt(error.into()))
}

/// Text as the database can hold it. For what has a U+0000 by our own mistake only:
/// one bad text must not keep a batch of records out.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
