//! Members of objects, read one by one with all mistakes kept.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Code, FieldError, pointer};
use crate::model::whole_number;

/// A text of a definition: a template of this size is a program, and belongs into a module.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The mistakes so far.
pub(super) type Mistakes = Vec<FieldError>;

/// An object of the definition, and where it is.
pub(super) struct Object<'v> {
    pub(super) path: String,
    pub(super) members: &'v Map<String, Value>,
}

impl<'v> Object<'v> {
    pub(super) fn of(path: impl Into<String>, value: &'v Value, mistakes: &mut Mistakes) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(members) => Some(Self { path, members }),
            _ => {
                wrong_type(mistakes, path, "an object");
                None
            }
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        pointer(&self.path, name)
    }

    /// Reports all members but these.
    pub(super) fn only(&self, known: &[&str], mistakes: &mut Mistakes) {
        for name in self.members.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = match closest(name, known) {
                Some(known) => format!("is not known; did you mean `{known}`?"),
                None => format!("is not known; there are {}", known.join(", ")),
            };
            mistakes.push(FieldError::new(self.at(name), Code::UnknownField.as_str(), message));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name)
    }

    pub(super) fn required(&self, name: &str, mistakes: &mut Mistakes) -> Option<&'v Value> {
        let value = self.get(name);
        if value.is_none() {
            mistakes.push(FieldError::new(self.at(name), "required", "is missing"));
        }
        value
    }

    /// A text within its bound.
    pub(super) fn text(&self, name: &str, mistakes: &mut Mistakes) -> Option<&'v str> {
        self.get(name).and_then(|value| text(&self.at(name), value, TEXT_BYTES_MAX, mistakes))
    }

    pub(super) fn required_text(&self, name: &str, mistakes: &mut Mistakes) -> Option<&'v str> {
        self.required(name, mistakes)?;
        self.text(name, mistakes)
    }

    pub(super) fn list(&self, name: &str, mistakes: &mut Mistakes) -> Option<&'v [Value]> {
        list(&self.at(name), self.get(name)?, mistakes)
    }

    pub(super) fn object(&self, name: &str, mistakes: &mut Mistakes) -> Option<Self> {
        self.get(name).and_then(|value| Self::of(self.at(name), value, mistakes))
    }

    pub(super) fn boolean(&self, name: &str, mistakes: &mut Mistakes) -> Option<bool> {
        let value = self.get(name)?;
        if value.as_bool().is_none() {
            wrong_type(mistakes, self.at(name), "true or false");
        }
        value.as_bool()
    }

    /// A whole number within these bounds; `why` says what they are for.
    pub(super) fn whole(
        &self,
        name: &str,
        bounds: &RangeInclusive<u64>,
        why: &str,
        mistakes: &mut Mistakes,
    ) -> Option<u64> {
        let value = self.get(name)?;
        let Some(number) = whole_number(value) else {
            wrong_type(mistakes, self.at(name), "a whole number");
            return None;
        };
        if bounds.contains(&number) {
            return Some(number);
        }
        let message = format!("is {} to {} ({why})", bounds.start(), bounds.end());
        mistakes.push(FieldError::new(self.at(name), "out-of-range", message));
        None
    }
}

pub(super) fn text<'v>(path: &str, value: &'v Value, bytes_max: usize, mistakes: &mut Mistakes) -> Option<&'v str> {
    let Some(text) = value.as_str() else {
        wrong_type(mistakes, path, "a text");
        return None;
    };
    if text.len() <= bytes_max {
        return Some(text);
    }
    mistakes.push(FieldError::new(path, "too-long", format!("has at most {bytes_max} bytes")));
    None
}

pub(super) fn list<'v>(path: &str, value: &'v Value, mistakes: &mut Mistakes) -> Option<&'v [Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => {
            wrong_type(mistakes, path, "a list");
            None
        }
    }
}

pub(super) fn wrong_type(mistakes: &mut Mistakes, path: impl Into<String>, wanted: &str) {
    mistakes.push(FieldError::new(path, "wrong-type", format!("{wanted} is wanted")));
}

/// The known word that `word` is most likely a misspelling of: a third of it may be wrong.
pub(super) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer than any known word by far, it is none of them, and comparing would take long.
    let short = known.iter().filter(|known| word.len() <= 2 * known.len());
    let distances = short.map(|known| (strsim::osa_distance(word, known), *known));
    let near = distances.filter(|(distance, known)| *distance <= (known.len() / 3).max(1));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}
