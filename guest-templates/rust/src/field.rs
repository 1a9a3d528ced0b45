//! Input that is read to the end whatever is wrong with it.
//!
//! Owns the type of one value as the caller sent it. Knows no rule of the step.
//! Invariant: a value of the wrong JSON type costs its own field only; alone, serde would stop there.
//! (Text that is no JSON at all, or a number that no machine can hold, is still an error of the whole.)

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// One value as the caller sent it. Use with `#[serde(default)]`.
#[derive(Default)]
pub enum Field<T> {
    /// Not there, or null.
    #[default]
    Missing,
    /// Of another JSON type.
    Malformed,
    Given(T),
}

/// A JSON object for a struct. Alone, serde takes a list too, its values in the order of the fields.
#[derive(Default)]
pub struct Object<T>(pub T);

/// Which JSON types a value may come as. All are refused unless a type says otherwise.
pub trait Shape<'de>: Sized {
    fn text(_: &str) -> Option<Self> {
        None
    }

    fn integer(_: i64) -> Option<Self> {
        None
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Shape<'_> for String {
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Shape<'_> for i64 {
    fn integer(integer: i64) -> Option<Self> {
        Some(integer)
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Self::deserialize(SeqAccessDeserializer::new(list)).map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|value| Some(Self(value)))
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyType(PhantomData))
    }
}

struct AnyType<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for AnyType<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Missing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<T>, E> {
        Ok(Field::Malformed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<T>, E> {
        Ok(Field::Malformed)
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Field<T>, E> {
        Ok(given(T::integer(integer)))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Field<T>, E> {
        Ok(given(i64::try_from(integer).ok().and_then(T::integer)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(given(T::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        T::list(list).map(given)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Field<T>, A::Error> {
        T::object(object).map(given)
    }
}

fn given<T>(value: Option<T>) -> Field<T> {
    value.map_or(Field::Malformed, Field::Given)
}
