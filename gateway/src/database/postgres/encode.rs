//! Parameters as PostgreSQL reads them.
//!
//! Owns what JSON may stand for which type. All are sent as text, which is exact and which every type has,
//! those of extensions too. Invariants: what can be told to be of the wrong type is refused before the statement
//! runs, with the number of the parameter; and what is made of a parameter takes a few times what its JSON does.

use std::borrow::Cow;

use base64::Engine as _;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio_postgres::types::{Kind, Type};

use super::super::Error;
use super::super::params::Param;

/// PostgreSQL's own.
const DIMENSIONS_MAX: usize = 6;

/// A parameter as text, or NULL.
pub(super) struct Encoded(Option<String>);

impl Encoded {
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// The parameters of a statement that has these types.
///
/// # Errors
/// There are too many or too few, or one is of the wrong type.
pub(super) fn parameters(params: &[Param<'_>], types: &[Type]) -> Result<Vec<Encoded>, Error> {
    if params.len() != types.len() {
        let (has, given) = (types.len(), params.len());
        return Err(Error::Invalid(format!("the statement has {has} parameters, and {given} are given")));
    }
    let encode = |(index, (param, ty)): (usize, (&Param<'_>, &Type))| {
        let refused = |wanted: Wanted| {
            Error::Invalid(format!("${} is {}; {} is wanted ({})", index + 1, param.kind(), wanted.0, ty.name()))
        };
        text(param, ty).map(Encoded).map_err(refused)
    };
    params.iter().zip(types).enumerate().map(encode).collect()
}

/// What would have been right.
struct Wanted(&'static str);

fn text(param: &Param<'_>, ty: &Type) -> Result<Option<String>, Wanted> {
    if *param == Param::Null {
        return Ok(None);
    }
    let text = match *ty {
        Type::INT2 => integer(param, i16::MIN.into(), i16::MAX.into(), "an integer of 16 bits")?,
        Type::INT4 => integer(param, i32::MIN.into(), i32::MAX.into(), "an integer of 32 bits")?,
        Type::INT8 => integer(param, i64::MIN.into(), i64::MAX.into(), "an integer of 64 bits")?,
        Type::OID => integer(param, 0, u32::MAX.into(), "an integer of 32 bits without a sign")?,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => number(param)?,
        Type::BOOL => match param {
            Param::Boolean(value) => value.to_string(),
            _ => return Err(Wanted("a boolean")),
        },
        Type::BYTEA => bytes(param)?,
        Type::JSON | Type::JSONB => json(param).into_owned(),
        // Arrays, but not written as such.
        Type::INT2_VECTOR | Type::OID_VECTOR => string(param)?,
        _ => match ty.kind() {
            Kind::Domain(base) => return self::text(param, base),
            Kind::Array(element) => array(param, element)?,
            _ => string(param)?,
        },
    };
    Ok(Some(text))
}

/// A number, or a string that is one: larger ones than 2^53 come as strings, and go back as such.
fn integer(param: &Param<'_>, least: i128, most: i128, wanted: &'static str) -> Result<String, Wanted> {
    let text = match param {
        Param::Number(text) => *text,
        Param::Text(text) => text.as_ref(),
        _ => return Err(Wanted(wanted)),
    };
    // Some languages write 1 as 1.0.
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    let value: i128 = whole.parse().map_err(|_| Wanted(wanted))?;
    if (least..=most).contains(&value) { Ok(value.to_string()) } else { Err(Wanted(wanted)) }
}

fn number(param: &Param<'_>) -> Result<String, Wanted> {
    match param {
        Param::Number(text) => Ok((*text).to_owned()),
        Param::Text(text) if is_number(text) => Ok(text.clone().into_owned()),
        _ => Err(Wanted("a number, or \"NaN\", \"Infinity\", \"-Infinity\"")),
    }
}

/// Its digits aren't read, only whether it is one.
fn is_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
        || (text.parse::<f64>().is_ok() && text.bytes().any(|byte| byte.is_ascii_digit()))
}

fn string(param: &Param<'_>) -> Result<String, Wanted> {
    match param {
        Param::Text(text) if text.contains('\0') => Err(Wanted("text without U+0000")),
        Param::Text(text) => Ok(text.clone().into_owned()),
        _ => Err(Wanted("a string")),
    }
}

fn bytes(param: &Param<'_>) -> Result<String, Wanted> {
    let wanted = Wanted("a string of base64");
    let Param::Text(text) = param else { return Err(wanted) };
    match base64::engine::general_purpose::STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => Ok(format!("\\x{}", hex::encode(bytes))),
        Err(_) => Err(wanted),
    }
}

fn json<'a>(param: &'a Param<'a>) -> Cow<'a, str> {
    match param {
        Param::Null => "null".into(),
        Param::Boolean(true) => "true".into(),
        Param::Boolean(false) => "false".into(),
        Param::Number(text) | Param::Json(text) => (*text).into(),
        // A string is always written.
        Param::Text(text) => serde_json::to_string(text).unwrap_or_default().into(),
    }
}

fn array(param: &Param<'_>, element: &Type) -> Result<String, Wanted> {
    let Param::Json(json) = param else { return Err(ARRAY) };
    // Most are as long as their JSON.
    let mut array = Array { element, literal: String::with_capacity(json.len()), depth: 0, wanted: None };
    array.dimension(json)?;
    Ok(array.literal)
}

const ARRAY: Wanted = Wanted("an array of the elements' type");

/// An array as PostgreSQL writes it, as far as its JSON is read: a list of the elements would take many times that.
struct Array<'a> {
    element: &'a Type,
    literal: String,
    depth: usize,
    /// Why it was given up.
    wanted: Option<Wanted>,
}

impl Array<'_> {
    fn dimension(&mut self, json: &str) -> Result<(), Wanted> {
        if self.depth == DIMENSIONS_MAX {
            return Err(Wanted("an array of at most six dimensions"));
        }
        self.depth += 1;
        self.literal.push('{');
        let read = serde_json::Deserializer::from_str(json).deserialize_seq(&mut *self);
        read.map_err(|_| self.wanted.take().unwrap_or(ARRAY))?;
        self.literal.push('}');
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self, json: &str) -> Result<(), Wanted> {
        // What is an array within an array of JSON is a value of it.
        if json.starts_with('[') && !matches!(*self.element, Type::JSON | Type::JSONB) {
            return self.dimension(json);
        }
        let value = Param::one(json).map_err(|_| ARRAY)?;
        match (text(&value, self.element)?, value) {
            (None, _) => self.literal.push_str("NULL"),
            (Some(text), Param::Number(_) | Param::Boolean(_)) => self.literal.push_str(&text),
            (Some(text), _) => quote(&text, &mut self.literal),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // The one type whose values have commas.
        let comma = if *self.element == Type::BOX { ';' } else { ',' };
        let mut is_first = true;
        while let Some(value) = seq.next_element::<&RawValue>()? {
            if !std::mem::take(&mut is_first) {
                self.literal.push(comma);
            }
            if let Err(wanted) = self.value(value.get()) {
                self.wanted = Some(wanted);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(json: &str, ty: &Type) -> Result<Option<String>, String> {
        let list = format!("[{json}]");
        let params = Param::list(&list).unwrap();
        match parameters(&params, std::slice::from_ref(ty)) {
            Ok(encoded) => Ok(encoded.into_iter().next().unwrap().0),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_json_says_is_written_as_its_type_reads_it() {
        for (json, ty, text) in [
            ("1", Type::INT4, "1"),
            ("1.0", Type::INT4, "1"),
            ("\"9223372036854775807\"", Type::INT8, "9223372036854775807"),
            ("1.50", Type::NUMERIC, "1.50"),
            ("\"NaN\"", Type::FLOAT8, "NaN"),
            ("true", Type::BOOL, "true"),
            ("\"AP8=\"", Type::BYTEA, "\\x00ff"),
            ("\"a\"", Type::JSONB, "\"a\""),
            ("[1, 2]", Type::JSON, "[1, 2]"),
            ("[[1, null], [3, 4]]", Type::INT4_ARRAY, "{{1,NULL},{3,4}}"),
            (r#"["a\"b\\", ""]"#, Type::TEXT_ARRAY, r#"{"a\"b\\",""}"#),
            ("[[1], 2, true]", Type::JSONB_ARRAY, r#"{"[1]",2,true}"#),
            ("[\"1\", 1.50, 1e3]", Type::NUMERIC_ARRAY, r#"{"1",1.50,1e3}"#),
            ("[true]", Type::BOOL_ARRAY, "{true}"),
            ("[]", Type::INT4_ARRAY, "{}"),
            ("[\"AP8=\"]", Type::BYTEA_ARRAY, r#"{"\\x00ff"}"#),
        ] {
            assert_eq!(encoded(json, &ty), Ok(Some(text.to_owned())), "{json} {ty}");
        }
        assert_eq!(encoded("null", &Type::INT4), Ok(None));
    }

    #[test]
    fn what_is_of_the_wrong_type_is_refused_with_its_number() {
        for (json, ty, wanted) in [
            ("\"x\"", Type::INT4, "$1 is a string; an integer of 32 bits is wanted (int4)"),
            ("32768", Type::INT2, "$1 is a number; an integer of 16 bits is wanted (int2)"),
            ("1.5", Type::INT8, "an integer of 64 bits"),
            ("1", Type::TEXT, "a string is wanted"),
            ("\"\\u0000\"", Type::TEXT, "without U+0000"),
            ("1", Type::BOOL, "a boolean is wanted"),
            ("\"inf\"", Type::FLOAT8, "a number"),
            ("\"%\"", Type::BYTEA, "base64"),
            ("{}", Type::INT4_ARRAY, "array"),
            ("[\"a\"]", Type::INT4_ARRAY, "integer"),
            ("[[[[[[[1]]]]]]]", Type::INT4_ARRAY, "six dimensions"),
            ("{}", Type::UUID, "a string is wanted"),
        ] {
            let said = encoded(json, &ty).unwrap_err();
            assert!(said.contains(wanted), "{json} {ty}: {said}");
        }
        assert!(matches!(parameters(&[], &[Type::INT4]), Err(Error::Invalid(_))));
        assert!(matches!(parameters(&[Param::Null], &[]), Err(Error::Invalid(_))));
    }

    #[test]
    fn what_an_array_takes_is_bounded_by_its_json() {
        for (element, ty, times) in [
            ("1", Type::INT4_ARRAY, 1),
            ("true", Type::BOOL_ARRAY, 1),
            ("null", Type::TEXT_ARRAY, 1),
            ("[]", Type::INT4_ARRAY, 1),
            ("\"\"", Type::TEXT_ARRAY, 1),
            ("\"\"", Type::BYTEA_ARRAY, 4),
            ("\"\\\"\"", Type::TEXT_ARRAY, 1),
            ("{\"\":\"\"}", Type::JSONB_ARRAY, 4),
        ] {
            let json = format!("[{}{element}]", format!("{element},").repeat(100_000));
            let literal = encoded(&json, &ty).unwrap().unwrap();
            assert!(literal.capacity() <= json.len() * times, "{element} {ty}: {}", literal.capacity());
        }
    }
}
