//! What was expected against what came, place by place.
//!
//! Owns which places differ. Does not own when two values are the same (`json`). Invariant: no place is passed over
//! but members that nobody expects, where those don't matter.

use std::collections::BTreeSet;

use super::json::{Json, by_name};

/// One place that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// JSON Pointer below what is compared: `output/total_cents`.
    pub path: String,
    /// `None` where nothing is expected.
    pub expected: Option<Json>,
    /// `None` where nothing came.
    pub found: Option<Json>,
}

/// What of an object that is expected has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// All, and no others.
    All,
    /// Those that are expected.
    Expected,
}

/// Adds where `found` is another than `expected`.
pub fn compare(path: &str, expected: &Json, found: &Json, members: Members, differences: &mut Vec<Difference>) {
    match (expected, found) {
        (Json::Object(expected), Json::Object(found)) => {
            let (expected, found) = (by_name(expected), by_name(found));
            let names: BTreeSet<&str> = match members {
                Members::All => expected.keys().chain(found.keys()).copied().collect(),
                Members::Expected => expected.keys().copied().collect(),
            };
            for name in names {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                both(&path, expected.get(name).copied(), found.get(name).copied(), members, differences);
            }
        }
        (Json::List(expected), Json::List(found)) => {
            for index in 0..expected.len().max(found.len()) {
                both(&format!("{path}/{index}"), expected.get(index), found.get(index), members, differences);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => differences.push(Difference {
            path: path.to_owned(),
            expected: Some(expected.clone()),
            found: Some(found.clone()),
        }),
    }
}

fn both(
    path: &str,
    expected: Option<&Json>,
    found: Option<&Json>,
    members: Members,
    differences: &mut Vec<Difference>,
) {
    match (expected, found) {
        (Some(expected), Some(found)) => compare(path, expected, found, members, differences),
        (None, None) => {}
        (expected, found) => {
            differences.push(Difference { path: path.to_owned(), expected: expected.cloned(), found: found.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn places(expected: &Value, found: &Value, members: Members) -> Vec<String> {
        let mut differences = Vec::new();
        compare("output", &Json::of(expected), &Json::of(found), members, &mut differences);
        differences.into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn every_place_that_differs_is_found_and_no_other() {
        let expected = json!({"a": 1, "b": {"c": [1, 2, 3]}, "d": "x", "e/f": null});
        assert!(places(&expected, &expected, Members::All).is_empty());
        let found = json!({"a": 1.5, "b": {"c": [1.0, 5]}, "d": "x", "g": true});
        assert_eq!(
            places(&expected, &found, Members::All),
            ["output/a", "output/b/c/1", "output/b/c/2", "output/e~1f", "output/g"]
        );
        assert_eq!(places(&expected, &json!([]), Members::All), ["output"]);
    }

    #[test]
    fn members_that_do_not_matter_are_passed_over() {
        let found = json!({"code": "x", "message": "m", "retryable": false});
        assert!(places(&json!({"code": "x"}), &found, Members::Expected).is_empty());
        assert_eq!(
            places(&json!({"code": "y", "details": 1}), &found, Members::Expected),
            ["output/code", "output/details"]
        );
    }
}
