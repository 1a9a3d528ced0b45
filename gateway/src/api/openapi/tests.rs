use serde_json::Value;

use super::*;
use crate::api;
use crate::error::Code;

fn document(limits: &config::Limits) -> Value {
    serde_json::from_str(&api::document(limits).unwrap()).unwrap()
}

#[test]
fn the_operators_bounds_are_in_it() {
    let limits = config::Limits { fuel: None, timeout_ms: 77, ..config::Limits::default() };
    let asked = &document(&limits)["components"]["schemas"]["LimitsAsked"]["properties"];
    assert_eq!((&asked["timeout_ms"]["maximum"], &asked["fuel"]["type"]), (&77.into(), &"null".into()));
}

#[test]
fn it_knows_every_code_and_gives_each_response_an_example_of_each_of_its_own() {
    let document = document(&config::Limits::default());
    let known = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    assert_eq!(known.len(), Code::ALL.len());
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let content = &response["content"]["application/problem+json"];
        for code in name.split('.') {
            let example = &content["examples"][code]["value"];
            assert_eq!(example["code"], code);
            assert!(content["schema"]["allOf"][1]["properties"]["status"]["enum"][0] == example["status"], "{code}");
        }
    }
}

#[test]
fn bounds_that_attributes_repeat_are_those_of_the_code() {
    let document = document(&config::Limits::default());
    let schemas = &document["components"]["schemas"];
    let bounds = [
        (&schemas["UploadForm"]["properties"]["permissions"]["maxItems"], crate::registry::PERMISSIONS_MAX),
        (&schemas["UploadForm"]["properties"]["description"]["maxLength"], crate::registry::DESCRIPTION_CHARACTERS_MAX),
        (&schemas["Permission"]["properties"]["resource"]["maxLength"], crate::model::RESOURCE_CHARACTERS_MAX),
    ];
    for (told, checked) in bounds {
        assert_eq!(*told, checked);
    }
}

#[test]
fn what_a_rate_limit_covers_may_be_refused_for_it_and_nothing_else_may() {
    let document = document(&config::Limits::default());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let is_told = operation["responses"].get("429").is_some();
            assert_eq!(is_told, crate::http::rate_limit::covers(path), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap().values();
            let mut inline = answers.filter(|answer| answer.get("$ref").is_none());
            assert!(inline.all(|answer| answer["headers"].get("ratelimit").is_some() == is_told), "{method} {path}");
        }
    }
}

#[test]
fn every_reference_in_it_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document(&config::Limits::default());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}
