//! How our types are written into columns, and read back.
//!
//! Owns the conversions. Invariant: what can't be read back is an error that
//! says why, never a default.

use jiff::Timestamp;
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::model::job::Payload;
use crate::model::{AuditId, DeliveryId, Digest, ExecutionId, JsonText, KeyId, ModuleId, RunId};

/// A UUID as its 16 bytes.
pub(super) struct Id<T>(pub(super) T);

macro_rules! id_column {
    ($($id:ident)*) => {$(
        impl FromSql for Id<$id> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                uuid(value).map(|uuid| Self($id::from_uuid(uuid)))
            }
        }

        impl ToSql for Id<$id> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_uuid().as_bytes())))
            }
        }
    )*};
}

id_column!(ModuleId ExecutionId KeyId AuditId RunId DeliveryId);

fn uuid(value: ValueRef<'_>) -> FromSqlResult<Uuid> {
    Uuid::from_slice(value.as_blob()?).map_err(FromSqlError::other)
}

/// Microseconds since 1970.
pub(super) struct Micros(pub(super) Timestamp);

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_microsecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(self.0.as_microsecond())))
    }
}

/// A count. `SQLite`'s integers are signed: what is over their range is written as
/// their maximum, 292 000 years of microseconds.
pub(super) struct Count(pub(super) u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let count = value.as_i64()?;
        u64::try_from(count).map(Self).map_err(|_| FromSqlError::OutOfRange(count))
    }
}

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(i64::try_from(self.0).unwrap_or(i64::MAX))))
    }
}

/// JSON text.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text =
            serde_json::to_string(&self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(ToSqlOutput::Owned(Value::Text(text)))
    }
}

/// Text that is one of ours: a name, a version, a word of a list.
pub(super) struct Word<T>(pub(super) T);

impl<T> FromSql for Word<T>
where
    T: DeserializeOwned,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        use serde::de::IntoDeserializer;
        let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = value.as_str()?.into_deserializer();
        T::deserialize(text).map(Self).map_err(FromSqlError::other)
    }
}

/// JSON text as it is, checked when it was stored.
pub(super) struct Text(pub(super) JsonText);

impl FromSql for Text {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        JsonText::parse(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// A payload's three columns: its digest and size where it is a blob, else its text.
pub(super) struct Blob<'a> {
    pub(super) digest: Option<&'a [u8]>,
    pub(super) size: Option<Count>,
    pub(super) text: Option<&'a str>,
}

impl<'a> Blob<'a> {
    pub(super) fn of(payload: Option<&'a Payload>) -> Self {
        match payload {
            None => Self { digest: None, size: None, text: None },
            Some(Payload::Inline(text)) => Self { digest: None, size: None, text: Some(text.as_str()) },
            Some(Payload::Blob { digest, size_bytes }) => {
                Self { digest: Some(digest.as_bytes()), size: Some(Count(*size_bytes)), text: None }
            }
        }
    }
}

/// Reads them back, from `first` on.
pub(super) fn payload(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<Payload>> {
    if let Some(digest) = row.get::<_, Option<[u8; 32]>>(first)? {
        let size_bytes = row.get::<_, Count>(first + 1)?.0;
        return Ok(Some(Payload::Blob { digest: Digest::from_bytes(digest), size_bytes }));
    }
    Ok(row.get::<_, Option<Text>>(first + 2)?.map(|text| Payload::Inline(text.0)))
}

pub(super) use crate::store::folded;

/// The first microsecond that is not before `at`: bounds may be finer than what is stored.
pub(super) fn ceiling_micros(at: Timestamp) -> i64 {
    let micros = at.as_microsecond();
    let is_later = Timestamp::from_microsecond(micros).is_ok_and(|floor| floor < at);
    if is_later { micros.saturating_add(1) } else { micros }
}
