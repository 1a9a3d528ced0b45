//! What is a case, what is none, and how each is told.

use super::*;
use crate::model::JSON_DEPTH_MAX;

fn read(text: &str) -> Result<Case, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    std::fs::write(&path, text).unwrap();
    File { path, name: "a".to_owned() }.read().map_err(|error| error.to_string())
}

#[test]
fn a_case_with_everything_is_read() {
    let case = read(
        r#"{"input": {"a": 1.50}, "data": {"b": 1}, "env": {"C": "d"}, "limits": {"timeout_ms": 5},
        "http": [{"request": {"method": "GET", "url": "https://a.example/"}, "response": {"status": 200, "body": {"x": 1}}},
                 {"request": {"method": "GET", "url": "https://b.example/"}, "error": {"failed": "refused"}}],
        "db": [{"connection": "shop", "sql": "select 1", "params": [], "rows": [{"a": 1}]},
               {"connection": "shop", "sql": "delete", "changed": 3},
               {"connection": "shop", "sql": "x", "error": {"timed-out": "late"}}],
        "expect": {"status": "completed", "output": {"y": 2}, "next": null}}"#,
    )
    .unwrap();
    assert_eq!((case.function.as_str(), case.input.get()), ("run", r#"{"a": 1.50}"#));
    assert!(matches!(&case.http[1].answer, HttpAnswer::Error(HostError::Failed(text)) if text == "refused"));
    assert!(matches!(case.db[1].answer, DbAnswer::Changed(3)));
    assert_eq!(case.expect.next, Some(Json::Null));
    assert_eq!(case.expect.data, None);
}

fn with_bodies(request: &str, response: &str) -> String {
    format!(
        r#"{{"input": 1, "http": [{{"request": {{"method": "GET", "url": "https://a.example/", {request}}},
            "response": {{{response}}}}}], "expect": {{"status": "completed"}}}}"#
    )
}

#[test]
fn bytes_that_are_no_text_are_read_and_written_as_base64() {
    let case = read(&with_bodies(r#""body_base64": "/wA=""#, r#""status": 200, "body_base64": "AP8=""#)).unwrap();
    assert_eq!(case.http[0].request.body_base64, Some(Base64(vec![0xff, 0])));
    let written = serde_json::to_string(&case).unwrap();
    assert_eq!(written.matches(r#""body_base64":"/wA=""#).count(), 1, "{written}");
    assert_eq!(written.matches(r#""body_base64":"AP8=""#).count(), 1, "{written}");
}

#[test]
fn what_is_misspelt_or_missing_is_told_with_its_line() {
    for (text, why) in [
        (r#"{"input": 1, "expect": {"status": "completed", "ouput": 1}}"#, "ouput"),
        (r#"{"input": 1, "expext": {}}"#, "expext"),
        (r#"{"input": 1}"#, "expect"),
        ("{\n\"input\": 1,\n", "line 3"),
        (r#"{"input": 1, "expect": {"status": "done"}}"#, "done"),
        (&with_bodies(r#""body": "", "body_base64": """#, r#""status": 200"#), "https://a.example/"),
        (&with_bodies(r#""headers": []"#, r#""status": 200, "body": 1, "body_base64": """#), "body_base64"),
        (&with_bodies(r#""headers": []"#, r#""status": 200, "body_base64": "AA""#), "padding"),
    ] {
        let said = read(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn all_mistakes_of_a_case_are_told_at_once_each_with_its_place() {
    let said = read(
        r#"{"inptu": 1, "env": {"A": 1}, "limits": {"fule": 5}, "data": [],
        "http": [{"request": {"method": "GET", "headers": [["a"]]}, "response": {"status": "x"}},
                 {"request": {"method": "GET", "url": "u"}},
                 {"request": {"method": "GET", "url": "u"}, "response": {"status": 200}, "error": {"faild": "x"}}],
        "db": [{"connection": 1, "sql": "x", "changed": -1}],
        "expect": {"status": "done", "ouput": 1}}"#,
    )
    .unwrap_err();
    let places: Vec<_> =
        said.lines().map(|line| line.split("a.json: ").nth(1).unwrap().split(": ").next().unwrap()).collect();
    let mut expected = [
        "data",
        "db[0].changed",
        "db[0].connection",
        "env.A",
        "expect.ouput",
        "expect.status",
        "http[0].request.headers[0]",
        "http[0].request.url",
        "http[0].response.status",
        "http[1]",
        "http[2]",
        "http[2].error",
        "http[2].error.faild",
        "inptu",
        "input",
        "limits.fule",
    ];
    expected.sort_unstable();
    let mut found = places.clone();
    found.sort_unstable();
    assert_eq!(found, expected, "{said}");
}

#[test]
fn null_is_a_value_where_it_is_expected_and_a_mistake_where_there_is_none() {
    let case = read(
        r#"{"input": null, "db": [{"connection": "shop", "sql": "x", "params": null, "rows": []}],
        "http": [{"request": {"method": "GET", "url": "u", "timeout_ms": null}, "response": {"status": 200, "body": null}}],
        "expect": {"status": "completed", "output": null, "next": null, "data": null, "errors": null, "failure": null}}"#,
    )
    .unwrap();
    let expect = &case.expect;
    for expected in [&expect.output, &expect.next, &expect.data, &expect.errors, &expect.failure] {
        assert_eq!(expected, &Some(Json::Null));
    }
    assert_eq!((&case.db[0].params, &case.http[0].request.timeout_ms), (&Some(Json::Null), &Some(Json::Null)));
    assert!(matches!(&case.http[0].answer, HttpAnswer::Response(response) if response.body == Some(Json::Null)));

    let said = read(r#"{"input": 1, "data": null, "expect": {"status": "completed", "logs": null}}"#).unwrap_err();
    assert!(said.contains("data: expected an object, found null"), "{said}");
    assert!(said.contains("expect.logs: expected a list, found null"), "{said}");
}

#[test]
fn digits_stay_as_they_are_written_in_every_value() {
    let digits = "12345678901234567890123";
    let case = r#"{"input": N, "data": {"a": N},
        "http": [{"request": {"method": "PUT", "url": "u", "body": [N]}, "response": {"status": 200, "body": [N]}}],
        "db": [{"connection": "shop", "sql": "x", "params": [N], "rows": [{"a": N}]}],
        "expect": {"status": "completed", "output": N, "data": {"a": N}, "logs": [{"fields": {"a": N}}]}}"#;
    let case = read(&case.replace(" N", digits).replace("[N]", &format!("[{digits}]"))).unwrap();
    assert_eq!(serde_json::to_string(&case).unwrap().matches(digits).count(), 9);
}

#[test]
fn an_input_may_be_as_deep_as_a_gateway_takes_it() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let case = |input: usize, body: usize| {
        format!(
            r#"{{"input": {}, "http": [{{"request": {{"method": "GET", "url": "u"}},
                "response": {{"status": 200, "body": {}}}}}], "expect": {{"status": "completed"}}}}"#,
            nested(input),
            nested(body)
        )
    };
    assert_eq!(read(&case(JSON_DEPTH_MAX, JSON_DEPTH_MAX)).unwrap().input.get(), nested(JSON_DEPTH_MAX));
    let said = read(&case(JSON_DEPTH_MAX + 1, 1)).unwrap_err();
    assert!(said.contains("input: no gateway takes it: "), "{said}");
    let said = read(&case(1, JSON_DEPTH_MAX + 1)).unwrap_err();
    assert!(said.contains("deeper than 127 levels"), "{said}");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let case = read("\u{feff}{\"input\": 1, \"expect\": {\"status\": \"completed\"}}").unwrap();
    assert_eq!(case.input.get(), "1");
}

#[test]
fn cases_are_found_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    assert!(files(folder.path()).unwrap().is_empty());
    std::fs::create_dir(folder.path().join("tests")).unwrap();
    for name in ["b.json", "a.json", "notes.txt"] {
        std::fs::write(folder.path().join("tests").join(name), "{}").unwrap();
    }
    std::fs::create_dir(folder.path().join("tests/c.json")).unwrap();
    let names: Vec<_> = files(folder.path()).unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["a", "b"]);
}
