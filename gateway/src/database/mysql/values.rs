//! Values of MySQL and MariaDB.
//!
//! Owns what they are on either side. Invariant: a number is never rounded, and a value that is not known is
//! text or bytes, never an error.

use std::fmt::Write as _;

use mysql_async::consts::ColumnType;
use mysql_async::{Column, Value};

use crate::database::json::Json;
use crate::database::params::Param;

/// What a column of bytes has for a character set.
const BINARY: u16 = 63;

/// As a parameter is sent: decimals as text, which the server reads exactly.
pub(super) fn value(param: &Param<'_>) -> Value {
    match param {
        Param::Null => Value::NULL,
        Param::Boolean(boolean) => Value::Int((*boolean).into()),
        Param::Number(text) => {
            let signed = text.parse().map(Value::Int);
            signed.or_else(|_| text.parse().map(Value::UInt)).unwrap_or_else(|_| text_value(text))
        }
        Param::Text(text) => text_value(text),
        Param::Json(json) => text_value(json),
    }
}

fn text_value(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

/// Writes a value of a column.
pub(super) fn write(value: &Value, column: &Column, json: &mut Json) {
    match value {
        Value::NULL => json.null(),
        Value::Int(integer) => json.integer((*integer).into()),
        Value::UInt(integer) => json.integer((*integer).into()),
        Value::Float(float) => json.float32(*float),
        Value::Double(double) => json.float(*double),
        Value::Date(..) => json.text(&date(value, column)),
        Value::Time(..) => json.text(&time(value, column)),
        Value::Bytes(bytes) => write_bytes(bytes, column, json),
    }
}

fn write_bytes(bytes: &[u8], column: &Column, json: &mut Json) {
    match column.column_type() {
        // At most eight bytes, the highest first.
        ColumnType::MYSQL_TYPE_BIT => json.integer(bytes.iter().fold(0, |bits, byte| (bits << 8) | i128::from(*byte))),
        ColumnType::MYSQL_TYPE_JSON => match std::str::from_utf8(bytes) {
            Ok(text) => json.json(text),
            Err(_) => json.text_lossy(bytes),
        },
        ColumnType::MYSQL_TYPE_NEWDECIMAL | ColumnType::MYSQL_TYPE_DECIMAL => json.text_lossy(bytes),
        ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR => json.bytes(bytes),
        _ if column.character_set() == BINARY => json.bytes(bytes),
        _ => json.text_lossy(bytes),
    }
}

/// A date, with a time where the column has one, and a zone where it has one, which is that of the session.
fn date(value: &Value, column: &Column) -> String {
    let Value::Date(year, month, day, hour, minute, second, micros) = value else { return String::new() };
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if matches!(column.column_type(), ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE) {
        return text;
    }
    // Without a month or a day it is no time of anybody's calendar, and is told as MySQL does.
    let is_real = *month > 0 && *day > 0;
    let separator = if is_real { 'T' } else { ' ' };
    let _ = write!(text, "{separator}{hour:02}:{minute:02}:{second:02}");
    write_fraction(*micros, column, &mut text);
    if is_real && column.column_type() == ColumnType::MYSQL_TYPE_TIMESTAMP {
        text.push('Z');
    }
    text
}

/// A time of a day, or a span of up to 838 hours.
fn time(value: &Value, column: &Column) -> String {
    let Value::Time(is_negative, days, hours, minutes, seconds, micros) = value else { return String::new() };
    let hours = u64::from(*days) * 24 + u64::from(*hours);
    let sign = if *is_negative { "-" } else { "" };
    let mut text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    write_fraction(*micros, column, &mut text);
    text
}

/// As many digits as the column has, or six where it doesn't say and they are not all zero.
fn write_fraction(micros: u32, column: &Column, text: &mut String) {
    let digits = match column.decimals() {
        digits @ 1..=6 => usize::from(digits),
        _ if micros > 0 => 6,
        _ => return,
    };
    let all = format!("{micros:06}");
    let _ = write!(text, ".{}", all.get(..digits).unwrap_or(&all));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value, column: &Column) -> String {
        let mut json = Json::default();
        write(value, column, &mut json);
        json.text
    }

    #[test]
    fn times_keep_the_digits_of_their_column_and_zero_dates_are_told_as_they_are() {
        let column = |kind, decimals| Column::new(kind).with_decimals(decimals).with_character_set(45);
        let datetime = Value::Date(2026, 1, 2, 3, 4, 5, 120_000);
        assert_eq!(written(&datetime, &column(ColumnType::MYSQL_TYPE_DATETIME, 3)), "\"2026-01-02T03:04:05.120\"");
        assert_eq!(written(&datetime, &column(ColumnType::MYSQL_TYPE_TIMESTAMP, 0)), "\"2026-01-02T03:04:05.120000Z\"");
        assert_eq!(written(&datetime, &column(ColumnType::MYSQL_TYPE_DATE, 0)), "\"2026-01-02\"");
        let zero = Value::Date(0, 0, 0, 0, 0, 0, 0);
        assert_eq!(written(&zero, &column(ColumnType::MYSQL_TYPE_TIMESTAMP, 0)), "\"0000-00-00 00:00:00\"");
        let span = Value::Time(true, 34, 22, 59, 59, 0);
        assert_eq!(written(&span, &column(ColumnType::MYSQL_TYPE_TIME, 0)), "\"-838:59:59\"");
        assert_eq!(written(&Value::Bytes(vec![1, 0]), &column(ColumnType::MYSQL_TYPE_BIT, 0)), "256");
        let json = column(ColumnType::MYSQL_TYPE_JSON, 0);
        assert_eq!(written(&Value::Bytes(b"{\"a\": 1}".to_vec()), &json), "{\"a\": 1}");
        let wrong = Value::Bytes(b"\"\xff".to_vec());
        assert_eq!(written(&wrong, &json), "\"\\\"\u{fffd}\"");
        assert_eq!(written(&wrong, &column(ColumnType::MYSQL_TYPE_VAR_STRING, 0)), "\"\\\"\u{fffd}\"");
    }
}
