//! Properties of a real gateway: one is started, and all cases run on it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

/// Checks that `holds` for `cases` values of `strategy` on what was started, a gateway with what it needs; shrinks
/// what doesn't.
#[expect(clippy::needless_pass_by_value, reason = "a closure reads best where it is passed")]
pub fn check<S: Strategy, T>(
    cases: u32,
    strategy: S,
    start: impl Future<Output = T>,
    holds: impl AsyncFn(&T, S::Value),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateway = runtime.block_on(start);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |value| {
        runtime.block_on(holds(&gateway, value));
        Ok(())
    });
    // Dropping it needs the runtime.
    let _guard = runtime.enter();
    drop(gateway);
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Any JSON value whose numbers are told apart by every parser.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Any JSON object with keys of `pattern`.
pub fn any_object(pattern: &'static str) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(pattern, any_json(), 0..6).prop_map(|map| map.into_iter().collect())
}
