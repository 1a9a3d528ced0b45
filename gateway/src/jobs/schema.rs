//! The JSON Schema of definitions, as it is published.
//!
//! Owns the document (`schema/job.json`), which editors check and complete with. What it can't say (that a step exists, that there is no cycle,
//! what templates may name) `definition` checks; a test holds the two against each other.

/// The schema (draft 2020-12), as it is served at `/api/v1/jobs/schema.json`.
pub const TEXT: &str = include_str!("schema/job.json");

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jobs::definition::tests::{Operator, example, set};
    use crate::jobs::definition::{self, DEFINITION_BYTES_MAX};
    use crate::model::JsonText;

    fn schema() -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(TEXT).unwrap();
        jsonschema::draft202012::meta::validate(&schema).expect("a schema");
        jsonschema::draft202012::new(&schema).unwrap()
    }

    fn good() -> Vec<Value> {
        let wait = |wait: Value| json!({"name": "a", "steps": [wait]});
        vec![
            example(),
            wait(json!({"id": "a", "type": "wait", "duration_ms": 0})),
            wait(json!({"id": "a_b-c", "type": "wait", "duration_ms": "{{ trigger.ms }}", "next": []})),
            wait(json!({"id": "a", "type": "wait", "until": "2026-01-31T09:00:00Z", "when": "{{ trigger.now }}"})),
            json!({"name": "a", "steps": [
                {"id": "a", "type": "wasm", "module": "order-rules", "function": "summarize", "input": null, "routes": [],
                 "limits": {"fuel": null, "timeout_ms": 5.0}},
                {"id": "b", "type": "http", "method": "get", "url": "{{ trigger.url }}", "body": [1, "{{secret:prices}}"]},
                {"id": "c", "type": "database", "connection": "orders", "mode": "query", "sql": "select 1"},
            ], "notify": []}),
        ]
    }

    #[test]
    fn what_is_right_is_right_by_the_schema_too_as_written_and_as_stored() {
        let schema = schema();
        for definition in good() {
            let errors: Vec<_> = schema.iter_errors(&definition).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{definition}");
            let checked = definition::check(definition, &Operator).unwrap().definition;
            let stored = serde_json::from_str(JsonText::of(&checked).as_str()).unwrap();
            assert!(schema.is_valid(&stored), "{stored}");
        }
    }

    #[test]
    fn what_is_wrong_in_its_form_is_wrong_by_the_schema_too() {
        let schema = schema();
        let long = "x".repeat(64 * 1024 + 1);
        assert!(long.len() < DEFINITION_BYTES_MAX);
        let both = json!({"id": "a", "type": "wait", "duration_ms": 1, "until": "2026-01-31T09:00:00Z"});
        for (pointer, value) in [
            ("/name", json!("A")),
            ("/nmae", json!("a")),
            ("/description", json!(5)),
            ("/steps", json!([])),
            ("/steps", json!({})),
            ("/steps", json!(vec![json!({"id": "a", "type": "wait", "duration_ms": 1}); 1001])),
            ("/steps/2", json!({"type": "wait", "duration_ms": 1})),
            ("/steps/2", json!({"id": "a", "duration_ms": 1})),
            ("/steps/2", json!({"id": "a", "type": "wait"})),
            ("/steps/2", both),
            ("/steps/2/id", json!("A b")),
            ("/steps/2/type", json!("sleep")),
            ("/steps/2/url", json!("https://example.com/")),
            ("/steps/2/duration_ms", json!(-1)),
            ("/steps/2/duration_ms", json!(true)),
            ("/steps/2/when", json!(true)),
            ("/steps/2/when", json!(long)),
            ("/steps/2/next", json!("store")),
            ("/steps/2/next", json!(["store", "store"])),
            ("/steps/2/timeout_ms", json!(0)),
            ("/steps/2/timeout_ms", json!(3_600_001)),
            ("/steps/2/retry", json!({"max_attempts": 101})),
            ("/retry/max_attempts", json!(1.5)),
            ("/retry/multiplier", json!(0)),
            ("/retry/max_interval_ms", json!(86_400_001)),
            ("/retry/jitter", json!(1)),
            ("/retry/backoff", json!(1)),
            ("/env", json!({"A=B": "x"})),
            ("/env/A", json!(1)),
            ("/steps/0/module", json!(1)),
            ("/steps/0/routes", json!([1])),
            ("/steps/0/limits/fuel", json!(0)),
            ("/steps/0/limits/cpu", json!(1)),
            ("/steps/1/method", json!("a b")),
            ("/steps/1/headers/a b", json!("x")),
            ("/steps/1/headers/a", json!(1)),
            ("/steps/1/success", json!([])),
            ("/steps/1/success", json!([600])),
            ("/steps/3/mode", json!("both")),
            ("/steps/3/sql", json!(" ")),
            ("/steps/3/params", json!("x")),
            ("/hook/secrets", json!([])),
            ("/hook/secrets/0", json!("whsec_dGVzdA==")),
            ("/hook/public", json!(true)),
            ("/notify/0/url", json!("ftp://example.com/")),
            ("/notify/0/on", json!(["running"])),
            ("/notify/0/on", json!([])),
            ("/notify/0/secret", json!("secret")),
        ] {
            let mut definition = example();
            set(&mut definition, pointer, value.clone());
            assert!(!schema.is_valid(&definition), "{pointer}: {value:.100}");
            assert!(definition::check(definition, &Operator).is_err(), "{pointer}: {value:.100}");
        }
    }
}
