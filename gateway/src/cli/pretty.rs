//! JSON with line breaks, for terminals.
//!
//! Owns white space only: the order of members and the digits of numbers stay as
//! they came, which a tree of values would not keep. Invariant: the result parses
//! to the same document, and has no character that a terminal acts on.

use std::fmt::Write as _;

use serde::de::IgnoredAny;

use super::output::is_hostile;

const INDENT: &str = "  ";

/// `body` indented, or `None` where it is not one JSON document.
pub(super) fn json(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    std::str::from_utf8(body).ok().map(indent)
}

fn indent(text: &str) -> String {
    let mut pretty = String::with_capacity(text.len() * 2);
    let (mut depth, mut opened) = (0_usize, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(character, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // An empty array or object stays on its line.
        if opened != closes {
            new_line(&mut pretty, depth);
        }
        opened = matches!(character, '{' | '[');
        pretty.push(character);
        match character {
            '{' | '[' => depth += 1,
            ',' => new_line(&mut pretty, depth),
            ':' => pretty.push(' '),
            '"' => copy_string(&mut pretty, &mut characters),
            _ => {}
        }
    }
    pretty
}

/// Copies up to the closing quote.
fn copy_string(pretty: &mut String, characters: &mut std::str::Chars<'_>) {
    while let Some(character) = characters.next() {
        if is_hostile(character) {
            // All of these are in the basic plane: one escape is enough.
            let _ = write!(pretty, "\\u{:04x}", u32::from(character));
            continue;
        }
        pretty.push(character);
        match character {
            '"' => return,
            '\\' => pretty.extend(characters.next()),
            _ => {}
        }
    }
}

fn new_line(pretty: &mut String, depth: usize) {
    pretty.push('\n');
    pretty.extend(std::iter::repeat_n(INDENT, depth));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn members_keep_their_order_and_numbers_their_digits() {
        let body = br#"{"b":1.50,"a":[1,{"x":"a\"{,\\"}],"e":{},"l":[ ]}"#;
        let expected = "{\n  \"b\": 1.50,\n  \"a\": [\n    1,\n    {\n      \"x\": \"a\\\"{,\\\\\"\n    }\n  ],\n  \"e\": {},\n  \"l\": []\n}";
        assert_eq!(json(body).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_not_json_is_left_alone() {
        assert_eq!(json(b"<html>"), None);
        assert_eq!(json(b"{} {}"), None);
        assert_eq!(json(&[b'"', 0xff, b'"']), None);
    }

    #[test]
    fn a_terminal_sees_an_escape_instead_of_a_control_character() {
        assert_eq!(json("\"a\u{7f}\u{9b}\"".as_bytes()).as_deref(), Some("\"a\\u007f\\u009b\""));
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_indented_document_means_the_same(value in document()) {
            for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
                let pretty = json(text.as_bytes()).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Value>(&pretty).unwrap(), &value);
            }
        }
    }
}
