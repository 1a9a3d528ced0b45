//! Whether an answer is one that the document of the API has.
//!
//! Every answer that any test gets is held against the committed document, so that no operation answers a status or a
//! code that its description leaves out.

use std::path::Path;
use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;

use super::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

/// # Panics
/// Names the operation and the answer that it does not have. What is no operation of the document is let through.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    // A path without its HEAD has its GET's.
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let item = paths.iter().find(|(template, _)| matches(template, path)).map(|(_, item)| item);
    let Some(operation) = item.and_then(|item| item.get(&method)) else { return };
    let Some(response) = operation["responses"].get(answer.status.as_str()) else {
        panic!("{method} {path} is not documented to answer {}: {answer:?}", answer.status);
    };
    if let Some(reference) = response.get("$ref").and_then(Value::as_str)
        && !answer.body.is_empty()
    {
        let codes = reference.rsplit('/').next().unwrap();
        let problem = answer.json();
        let code = problem["code"].as_str().unwrap();
        assert!(
            codes.split('.').any(|one| one == code),
            "{method} {path} is not documented to answer {code}: {answer:?}"
        );
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
}
