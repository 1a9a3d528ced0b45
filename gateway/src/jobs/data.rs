//! The data of a run: what outputs add to it, and what a wasm step changed in it while others did.

use serde_json::{Map, Value};

/// Puts `from` into `into`: objects member by member, all else as a whole.
///
/// Texts are parsed within a bounded depth, so the recursion is, too.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(held) => merge(held, value),
                    None => {
                        into.insert(name, value);
                    }
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// What differs between two objects: members that are new or changed, and those that are gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    set: Map<String, Value>,
    within: Vec<(String, Difference)>,
    gone: Vec<String>,
}

impl Difference {
    /// What makes `after` of `before`.
    #[must_use]
    pub fn between(before: &Map<String, Value>, after: Map<String, Value>) -> Self {
        let gone = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        let mut difference = Self { gone, ..Self::default() };
        for (name, value) in after {
            match (before.get(&name), value) {
                (Some(held), value) if *held == value => {}
                (Some(Value::Object(held)), Value::Object(value)) => {
                    difference.within.push((name, Self::between(held, value)));
                }
                (_, value) => {
                    difference.set.insert(name, value);
                }
            }
        }
        difference
    }

    /// Makes the same change to what others may have changed meanwhile.
    pub fn apply(self, to: &mut Map<String, Value>) {
        for name in self.gone {
            to.remove(&name);
        }
        to.extend(self.set);
        for (name, difference) in self.within {
            let held = to.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !held.is_object() {
                *held = Value::Object(Map::new());
            }
            if let Value::Object(held) = held {
                difference.apply(held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object is wanted") };
        object
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3_i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::btree_map("[abc]", any_value(), 0..4).prop_map(|map| map.into_iter().collect())
    }

    #[test]
    fn two_branches_that_change_different_members_both_have_their_way() {
        let before = object(json!({"a": 1, "b": {"c": 1, "d": 2}, "e": 1}));
        let one = Difference::between(&before, object(json!({"a": 2, "b": {"c": 1, "d": 2}})));
        let other = Difference::between(&before, object(json!({"a": 1, "b": {"c": 3, "d": 2}, "e": 1, "f": []})));
        let mut data = before;
        one.apply(&mut data);
        other.apply(&mut data);
        assert_eq!(Value::Object(data), json!({"a": 2, "b": {"c": 3, "d": 2}, "f": []}));
    }

    proptest! {
        #[test]
        fn p40_data_enrichment_merging(data in any_object(), output in any_object()) {
            let mut merged = Value::Object(data.clone());
            merge(&mut merged, Value::Object(output.clone()));
            for (name, value) in &data {
                if !output.contains_key(name) {
                    prop_assert_eq!(&merged[name], value, "what is not overwritten stays");
                }
            }
            for (name, value) in &output {
                match (data.get(name), value) {
                    (Some(Value::Object(held)), Value::Object(given)) => {
                        let names: std::collections::BTreeSet<_> = held.keys().chain(given.keys()).collect();
                        prop_assert_eq!(merged[name].as_object().unwrap().keys().collect::<std::collections::BTreeSet<_>>(), names);
                    }
                    _ => prop_assert_eq!(&merged[name], value, "what is given is there"),
                }
            }
            let once = merged.clone();
            merge(&mut merged, Value::Object(output));
            prop_assert_eq!(once, merged, "merging the same again changes nothing");
        }

        #[test]
        fn a_difference_makes_of_the_one_the_other(before in any_object(), after in any_object()) {
            let difference = Difference::between(&before, after.clone());
            let mut data = before;
            difference.apply(&mut data);
            prop_assert_eq!(data, after);
        }
    }
}
