use serde_json::{Value, json};

use super::*;
use crate::http::request_id::RequestIds;

fn rendered(problem: Problem) -> (Response<Bytes>, Value) {
    let headers = HeaderMap::from_iter([(crate::http::request_id::HEADER, HeaderValue::from_static("req-1"))]);
    let id = RequestIds::default().of(&headers);
    let response = Problem::render(problem.into_response::<Bytes>(), &id, Some("/a/b"));
    let value = serde_json::from_slice(response.body()).unwrap();
    (response, value)
}

#[test]
fn a_problem_has_the_members_of_the_contract() {
    let (response, value) = rendered(Problem::new(Code::NotFound, "there is no module x"));
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(
        value,
        json!({
            "type": "urn:sluice:error:not-found",
            "title": "There is no such thing",
            "status": 404,
            "detail": "there is no module x",
            "instance": "/a/b",
            "code": "not-found",
            "request_id": "req-1",
            "origin": "gateway",
        })
    );
}

#[test]
fn members_that_do_not_always_apply_are_shown_where_they_do() {
    let id = ExecutionId::starting(jiff::Timestamp::UNIX_EPOCH);
    let problem = Problem::new(Code::StepFailed, "the step failed")
        .errors(vec![FieldError::new("/sku", "required", "is missing")])
        .execution_id(id)
        .limit(10)
        .used(11)
        .failure(JsonText::parse("{\"retryable\":true}").unwrap());
    let (response, value) = rendered(problem);
    assert_eq!(response.status(), 502);
    assert_eq!(value["origin"], "guest");
    assert_eq!(value["errors"], json!([{"path": "/sku", "code": "required", "message": "is missing"}]));
    assert_eq!(value["execution_id"], id.to_string());
    assert_eq!((&value["limit"], &value["used"]), (&json!(10), &json!(11)));
    assert_eq!(value["failure"], json!({"retryable": true}));
}

#[test]
fn an_internal_problem_never_shows_its_cause() {
    let cause = std::io::Error::other("no such table: /var/lib/sluice.db");
    let (response, value) = rendered(Problem::internal(cause));
    assert_eq!(response.status(), 500);
    assert_eq!(value["detail"], INTERNAL_DETAIL);
    assert!(!String::from_utf8_lossy(response.body()).contains("sluice.db"));
    let (_, value) = rendered(Problem::new(Code::Internal, "select * from keys"));
    assert_eq!(value["detail"], INTERNAL_DETAIL);
}

#[test]
fn headers_that_belong_to_a_code_are_sent_and_those_that_were_there_stay() {
    let (response, _) = rendered(Problem::new(Code::Unauthenticated, "no key"));
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let (response, _) = rendered(Problem::new(Code::Overloaded, "no slot").retry_after_s(1));
    assert_eq!(response.headers()["retry-after"], "1");

    let mut response = Problem::new(Code::MethodNotAllowed, "only GET").into_response::<Bytes>();
    response.headers_mut().insert("allow", HeaderValue::from_static("GET,HEAD"));
    response.headers_mut().insert("content-length", HeaderValue::from_static("0"));
    let response = Problem::render(response, &RequestIds::default().next(), None);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert!(!response.headers().contains_key("content-length"));
}

#[test]
fn mistakes_that_are_all_unknown_fields_make_an_unknown_field_problem() {
    let unknown = FieldError::new("colour", "unknown-field", "there is no such parameter");
    let wrong = FieldError::new("page", "out-of-range", "is 1 or more");
    assert_eq!(Problem::malformed(vec![unknown.clone()]).code(), Code::UnknownField);
    assert_eq!(Problem::malformed(vec![wrong.clone()]).code(), Code::BadRequest);
    let (_, value) = rendered(Problem::malformed(vec![wrong.clone()]));
    assert_eq!(value["detail"], "page: is 1 or more");
    let (_, value) = rendered(Problem::malformed(vec![unknown, wrong]));
    assert_eq!((&value["code"], value["errors"].as_array().unwrap().len()), (&json!("bad-request"), 2));
}
