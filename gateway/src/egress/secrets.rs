//! `{{secret:NAME}}` in what a step sends.
//!
//! Owns the values, and where they are put in. Does not ask for permissions: who sends does, name by
//! name. Invariants: a value leaves here only inside of a header or a body that is sent, and a value that
//! was put in is never looked through for further names.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use crate::config::{SECRET_NAME_BYTES_MAX, Secrets, is_secret_name};

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";

/// With the values in it, the text would be larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("with its secrets it has more than {0} bytes")]
pub struct TooLarge(pub usize);

/// The text with the values in place of their names; `None` where it has none. A name that is not
/// known stays as it is: who asked for [`names`] has refused it.
///
/// # Errors
/// [`TooLarge`] where that has more than `bytes_max` bytes: a short name may stand for a long value, so no
/// more than that is ever made. A text without names is not measured.
pub fn put_in(secrets: &Secrets, text: &[u8], bytes_max: usize) -> Result<Option<Vec<u8>>, TooLarge> {
    let mut filled = Vec::new();
    let mut done = 0;
    for (range, name) in tokens(text) {
        let Some(value) = secrets.get(name) else { continue };
        push(&mut filled, text.get(done..range.start).unwrap_or_default(), bytes_max)?;
        push(&mut filled, value.expose_secret().as_bytes(), bytes_max)?;
        done = range.end;
    }
    if done == 0 {
        return Ok(None);
    }
    push(&mut filled, text.get(done..).unwrap_or_default(), bytes_max)?;
    Ok(Some(filled))
}

fn push(filled: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) -> Result<(), TooLarge> {
    if bytes.len() > bytes_max - filled.len() {
        return Err(TooLarge(bytes_max));
    }
    filled.extend_from_slice(bytes);
    Ok(())
}

/// The names in a text, each once.
#[must_use]
pub fn names(text: &[u8]) -> BTreeSet<&str> {
    tokens(text).map(|(_, name)| name).collect()
}

/// Where names are in a text, and which.
fn tokens(text: &[u8]) -> impl Iterator<Item = (std::ops::Range<usize>, &str)> {
    memchr::memmem::find_iter(text, OPEN).filter_map(move |start| {
        let rest = text.get(start + OPEN.len()..)?;
        let rest = rest.get(..rest.len().min(SECRET_NAME_BYTES_MAX + CLOSE.len()))?;
        let length = memchr::memmem::find(rest, CLOSE)?;
        let name = std::str::from_utf8(rest.get(..length)?).ok().filter(|name| is_secret_name(name))?;
        Some((start..start + OPEN.len() + length + CLOSE.len(), name))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets() -> Secrets {
        let values = [("key", "k3y"), ("tricky", "{{secret:key}}"), ("empty", "")];
        Secrets::new(values.map(|(name, value)| (name.to_owned(), value.into())).into())
    }

    fn filled(text: &str) -> Option<String> {
        put_in(&secrets(), text.as_bytes(), 1_000).unwrap().map(|filled| String::from_utf8(filled).unwrap())
    }

    #[test]
    fn a_name_becomes_its_value_once() {
        assert_eq!(filled("Bearer {{secret:key}}").as_deref(), Some("Bearer k3y"));
        assert_eq!(filled("{{secret:key}}{{secret:key}}-{{secret:empty}}").as_deref(), Some("k3yk3y-"));
        assert_eq!(filled("{{secret:tricky}}").as_deref(), Some("{{secret:key}}"));
        assert_eq!(filled("{{secret:{{secret:key}}}}").as_deref(), Some("{{secret:k3y}}"));
        for text in
            ["", "plain", "{{secret:key}", "{{secret:}}", "{{secret:other}}", "{{ secret:key }}", "{{secret:k y}}"]
        {
            assert_eq!(filled(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_filled_is_bounded_wherever_it_grows() {
        let text = b"ab{{secret:key}}cd{{secret:empty}}";
        assert_eq!(put_in(&secrets(), text, 7), Ok(Some(b"abk3ycd".to_vec())));
        for bytes_max in 0..7 {
            assert_eq!(put_in(&secrets(), text, bytes_max), Err(TooLarge(bytes_max)));
        }
        assert_eq!(put_in(&secrets(), b"no name", 3), Ok(None));
    }

    #[test]
    fn names_are_told_whether_they_are_known_or_not() {
        let found = names(b"a {{secret:key}} {{secret:other}} {{secret:key}} {{secret:a b}}");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["key", "other"]);
        assert_eq!(format!("{:?}", secrets()), r#"{"empty", "key", "tricky"}"#);
    }

    proptest! {
        #[test]
        fn what_has_no_name_is_left_alone(text in "[{}secrt:a-c ]{0,60}") {
            let known: BTreeSet<_> = names(text.as_bytes()).into_iter().filter(|name| secrets().has(name)).collect();
            prop_assert_eq!(filled(&text).is_none(), known.is_empty());
        }
    }
}
