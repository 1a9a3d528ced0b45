//! A job step that checks a registration, and tells all that is wrong with it at once.
//!
//! Owns the rules. Does not own how input is read (`field`) or the way to the gateway (`step`).
//! Invariant: total over all JSON; a value of the wrong type is an error at its path, and hides no other.

mod field;
mod step;

use std::ops::RangeInclusive;

use field::{Field, Object};
use serde::Deserialize;
use step::{Completed, StepError, ValidationError, log};

step::functions! { run => check }

const NAME_BYTES: RangeInclusive<usize> = 1..=100;
const AGE: RangeInclusive<i64> = 18..=130;
/// Nobody speaks more, and a hostile registration can't make the answer larger than itself.
const LANGUAGES_MAX: usize = 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registration {
    name: Field<String>,
    email: Field<String>,
    age: Field<i64>,
    languages: Field<Vec<Field<String>>>,
}

fn check(input: Field<Object<Registration>>) -> Result<Completed, StepError> {
    let errors = errors_of(input);
    if errors.is_empty() {
        return Completed::new(&serde_json::json!({"registration": "valid"}));
    }
    log::warn("registration refused", &[("errors", &errors.len())]);
    Err(StepError::Invalid(errors))
}

fn errors_of(input: Field<Object<Registration>>) -> Vec<ValidationError> {
    let mut errors = Errors::default();
    let Some(Object(registration)) = errors.required(input, "") else { return errors.0 };
    if errors.required(registration.name, "/name").is_some_and(|name| !NAME_BYTES.contains(&name.len())) {
        errors.add("/name", "out-of-range", "1 to 100 bytes");
    }
    if errors.required(registration.email, "/email").is_some_and(|email| !is_email(&email)) {
        errors.add("/email", "malformed", "not an address");
    }
    if errors.required(registration.age, "/age").is_some_and(|age| !AGE.contains(&age)) {
        errors.add("/age", "out-of-range", "18 to 130");
    }
    let languages = errors.required(registration.languages, "/languages").unwrap_or_default();
    let too_many = languages.len() > LANGUAGES_MAX;
    for (index, language) in languages.into_iter().take(LANGUAGES_MAX).enumerate() {
        let path = format!("/languages/{index}");
        if errors.required(language, &path).is_some_and(|language| !is_language(&language)) {
            errors.add(&path, "malformed", "two small letters, as in ISO 639-1");
        }
    }
    if too_many {
        errors.add("/languages", "out-of-range", "at most 20");
    }
    errors.0
}

/// What was found so far. A path is a JSON Pointer (RFC 6901) into the input.
#[derive(Default)]
struct Errors(Vec<ValidationError>);

impl Errors {
    fn add(&mut self, path: &str, code: &str, message: &str) {
        self.0.push(ValidationError { path: path.to_owned(), code: code.to_owned(), message: message.to_owned() });
    }

    fn required<T>(&mut self, field: Field<T>, path: &str) -> Option<T> {
        match field {
            Field::Given(value) => return Some(value),
            Field::Missing => self.add(path, "required", "a value is needed here"),
            Field::Malformed => self.add(path, "malformed", "the value has the wrong type"),
        }
        None
    }
}

/// Enough to catch a typing error. Whether somebody reads it, only a letter can tell.
fn is_email(text: &str) -> bool {
    matches!(text.split_once('@'), Some((name, domain)) if !name.is_empty() && domain.contains('.') && !domain.contains('@'))
}

fn is_language(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(input: &str) -> Vec<String> {
        let input = serde_json::from_str(input).expect("the input is JSON");
        errors_of(input).into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn a_long_list_gets_a_bounded_answer() {
        let languages = vec!["5"; 100_000].join(",");
        let input = format!(r#"{{"name": "a", "email": "a@b.c", "age": 18, "languages": [{languages}]}}"#);
        assert_eq!(paths(&input).len(), LANGUAGES_MAX + 1);
    }

    #[test]
    fn addresses_are_told_from_what_only_looks_like_one() {
        for (text, good) in [("a@b.c", true), ("ada", false), ("@b.c", false), ("a@b", false), ("a@b@c.d", false)] {
            assert_eq!(is_email(text), good, "{text}");
        }
    }
}
