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

use crate::model::{AuditId, ExecutionId, KeyId, ModuleId};

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

id_column!(ModuleId ExecutionId KeyId AuditId);

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

pub(super) use crate::store::folded;

/// The first microsecond that is not before `at`: bounds may be finer than what is stored.
pub(super) fn ceiling_micros(at: Timestamp) -> i64 {
    let micros = at.as_microsecond();
    let is_later = Timestamp::from_microsecond(micros).is_ok_and(|floor| floor < at);
    if is_later { micros.saturating_add(1) } else { micros }
}
