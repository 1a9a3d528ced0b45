//! What PostgreSQL sends, as JSON.
//!
//! Owns the binary formats of the types that have a form in JSON of their own; all others are asked for as
//! PostgreSQL's text. Invariant: what doesn't have the form of its type is an error, never a panic.

use tokio_postgres::types::{Kind, Type};

use super::super::json::Json;
use super::datetime;

/// How a column's values are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Boolean,
    Int16,
    Int32,
    Int64,
    Oid,
    Float32,
    Float64,
    Numeric,
    Character,
    Text,
    Bytes,
    Date,
    Time,
    TimeWithOffset,
    Timestamp,
    TimestampInUtc,
    Interval,
    Uuid,
    Json,
    JsonB,
    Void,
    Array(Box<Self>),
}

/// Why a value can't be read: it hasn't the form of its type.
#[derive(Debug)]
pub(super) struct Malformed;

impl Shape {
    /// That of a type, where it has one.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        Some(match *ty {
            Type::BOOL => Self::Boolean,
            Type::INT2 => Self::Int16,
            Type::INT4 => Self::Int32,
            Type::INT8 => Self::Int64,
            Type::OID => Self::Oid,
            Type::FLOAT4 => Self::Float32,
            Type::FLOAT8 => Self::Float64,
            Type::NUMERIC => Self::Numeric,
            Type::CHAR => Self::Character,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => Self::Text,
            Type::BYTEA => Self::Bytes,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMETZ => Self::TimeWithOffset,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::TimestampInUtc,
            Type::INTERVAL => Self::Interval,
            Type::UUID => Self::Uuid,
            Type::JSON => Self::Json,
            Type::JSONB => Self::JsonB,
            Type::VOID => Self::Void,
            _ => match ty.kind() {
                Kind::Enum(_) => Self::Text,
                Kind::Domain(base) => return Self::of(base),
                Kind::Array(element) => Self::Array(Box::new(Self::of(element)?)),
                _ => return None,
            },
        })
    }

    /// Writes a value that isn't NULL.
    pub(super) fn write(&self, raw: &[u8], json: &mut Json) -> Result<(), Malformed> {
        let mut fields = Fields(raw);
        match self {
            Self::Boolean => json.boolean(fields.array::<1>()? != [0]),
            Self::Int16 => json.integer(fields.i16()?.into()),
            Self::Int32 => json.integer(fields.i32()?.into()),
            Self::Int64 => json.integer(fields.i64()?.into()),
            Self::Oid => json.integer(u32::from_be_bytes(fields.array()?).into()),
            Self::Float32 => json.float32(f32::from_be_bytes(fields.array()?)),
            Self::Float64 => json.float(f64::from_be_bytes(fields.array()?)),
            Self::Numeric => json.text(&numeric(&mut fields)?),
            Self::Character => json.text(&character(fields.array()?)),
            // Only a statement that changes the encoding of its own answer gets text that isn't UTF-8.
            Self::Text => json.text_lossy(raw),
            Self::Bytes => json.bytes(raw),
            Self::Date => json.text(&datetime::date(fields.i32()?)),
            Self::Time => json.text(&datetime::time(fields.i64()?)),
            Self::TimeWithOffset => json.text(&datetime::time_with_offset(fields.i64()?, fields.i32()?)),
            Self::Timestamp => json.text(&datetime::timestamp(fields.i64()?, "")),
            Self::TimestampInUtc => json.text(&datetime::timestamp(fields.i64()?, "Z")),
            Self::Interval => {
                let (micros, days) = (fields.i64()?, fields.i32()?);
                json.text(&datetime::interval(fields.i32()?, days, micros));
            }
            Self::Uuid => json.text(&uuid::Uuid::from_bytes(fields.array()?).to_string()),
            Self::Json => json.json_lossy(raw),
            // A version comes first.
            Self::JsonB => json.json_lossy(raw.get(1..).ok_or(Malformed)?),
            Self::Void => json.null(),
            Self::Array(element) => array(&mut fields, element, json)?,
        }
        Ok(())
    }
}

/// Digits to the base of 10 000, of which the first has the weight that is told.
fn numeric(fields: &mut Fields<'_>) -> Result<String, Malformed> {
    let (count, weight) = (fields.i16()?, fields.i16()?);
    let (sign, scale) = (fields.i16()?.cast_unsigned(), usize::from(fields.i16()?.cast_unsigned()));
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => String::from("-"),
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err(Malformed),
    };
    let digits = (0..count).map(|_| fields.i16()).collect::<Result<Vec<_>, _>>()?;
    // Zeros at both ends are not sent.
    let digit = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let weight = i32::from(weight);
    if weight < 0 {
        text.push('0');
    }
    for at in 0..=weight {
        text.push_str(&if at == 0 { digit(at).to_string() } else { format!("{:04}", digit(at)) });
    }
    if scale > 0 {
        let mut fraction = String::with_capacity(scale + 4);
        let mut at = weight + 1;
        while fraction.len() < scale {
            fraction.push_str(&if at < 0 { "0000".to_owned() } else { format!("{:04}", digit(at)) });
            at += 1;
        }
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    Ok(text)
}

/// PostgreSQL's `"char"`, one byte, as PostgreSQL writes it.
fn character([byte]: [u8; 1]) -> String {
    match byte {
        0 => String::new(),
        byte if byte.is_ascii() => char::from(byte).to_string(),
        byte => format!("\\{byte:03o}"),
    }
}

/// Arrays within arrays, each as long as its dimension says.
fn array(fields: &mut Fields<'_>, element: &Shape, json: &mut Json) -> Result<(), Malformed> {
    let (dimensions, _, _) = (fields.i32()?, fields.i32()?, fields.i32()?);
    // PostgreSQL has six at most.
    if !(0..=6).contains(&dimensions) {
        return Err(Malformed);
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(fields.i32()?);
        fields.i32()?;
    }
    if lengths.is_empty() {
        json.text.push_str("[]");
        return Ok(());
    }
    dimension(fields, &lengths, element, json)
}

fn dimension(fields: &mut Fields<'_>, lengths: &[i32], element: &Shape, json: &mut Json) -> Result<(), Malformed> {
    let Some((length, rest)) = lengths.split_first() else {
        return match fields.i32()? {
            -1 => {
                json.null();
                Ok(())
            }
            length => element.write(fields.bytes(usize::try_from(length).map_err(|_| Malformed)?)?, json),
        };
    };
    json.text.push('[');
    for index in 0..*length {
        // A number of ten bytes may have a hundred thousand digits.
        if json.is_over() {
            return Ok(());
        }
        if index > 0 {
            json.text.push(',');
        }
        dimension(fields, rest, element, json)?;
    }
    json.text.push(']');
    Ok(())
}

/// What is left of a value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shapes = [
                Shape::Boolean, Shape::Int64, Shape::Numeric, Shape::Character, Shape::Date, Shape::TimeWithOffset,
                Shape::Timestamp, Shape::Interval, Shape::Uuid, Shape::JsonB, Shape::Array(Box::new(Shape::Int16)),
            ];
            for shape in shapes {
                let mut json = Json::default();
                if shape.write(&raw, &mut json).is_ok() {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json.text).is_ok(), "{}", json.text);
                }
            }
        }
    }
}
