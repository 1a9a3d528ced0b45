//! `sluice test`: cases that pass, that differ, that are none, and that are made from an execution.

use quick_xml::events::Event;
use serde_json::{Value, json};

use super::life::{BAD, GOOD};
use super::{Author, put_step};

fn put_case(author: &Author, name: &str, text: &str) {
    std::fs::write(author.path("step/tests").join(name).with_extension("json"), text).unwrap();
}

/// A step with a case of each kind: `good` passes, `other` expects another output, `broken` is none.
async fn author_with_cases() -> Author {
    let author = Author::new().await;
    put_step(&author, "order-check");
    put_case(&author, "good", &format!(r#"{{"input": {GOOD}, "expect": {{"status": "completed"}}}}"#));
    let other = r#"{"order_id": "A-17", "total_cents": 1, "item_count": 2, "tier": "small", "region": "eu"}"#;
    let other = format!(r#"{{"input": {GOOD}, "expect": {{"status": "completed", "output": {other}}}}}"#);
    put_case(&author, "other", &other);
    put_case(&author, "broken", r#"{"inptu": 1, "http": [{"request": {"url": "u"}}], "expect": {"status": "<done>"}}"#);
    author
}

#[tokio::test]
async fn a_case_that_differs_shows_where_and_one_that_is_none_all_its_mistakes() {
    let author = author_with_cases().await;
    let ran = author.run(&["test", "step"]).await.ended(1);
    for line in [
        "ok      good  (",
        "FAILED  other  (",
        "        output/total_cents\n        - 1\n        + 2500\n",
        "FAILED  broken\n",
        "        step/tests/broken.json: inptu: this member is not known",
        "        step/tests/broken.json: input: it is missing",
        "        step/tests/broken.json: expect.status: there is no <done>; there are completed, invalid, failed",
        "        step/tests/broken.json: http[0].request.method: it is missing",
        "        step/tests/broken.json: http[0]: exactly one of response, error is needed",
        "\n1 passed, 2 failed\n",
    ] {
        assert!(ran.stdout.contains(line), "no {line:?} in {}", ran.stdout);
    }
    let chosen = author.run(&["test", "step", "--filter", "goo"]).await.done();
    assert!(chosen.stdout.ends_with("\n1 passed, 0 failed\n"), "{chosen:?}");
    author.run(&["test", "step", "--filter", "nothing"]).await.failed().says(&["none of the 3 cases", "broken"]);
}

#[tokio::test]
async fn a_call_without_an_answer_and_an_answer_that_nobody_asked_for_fail_a_case() {
    let author = Author::new().await;
    put_step(&author, "order-check");
    let url = "https://coupons.example.com/v1/coupons/NOBODY-ASKS";
    let answer = format!(r#"[{{"request": {{"method": "GET", "url": "{url}"}}, "response": {{"status": 200}}}}]"#);
    let unasked = format!(r#"{{"input": {GOOD}, "http": {answer}, "expect": {{"status": "completed"}}}}"#);
    put_case(&author, "unasked", &unasked);
    let coupon = GOOD.replacen(r#""id": "A-17""#, r#""id": "A-17", "coupon": "SPRING""#, 1);
    let unanswered = format!(r#"{{"input": {coupon}, "expect": {{"status": "completed"}}}}"#);
    put_case(&author, "unanswered", &unanswered);

    // As on a gateway, nobody is asked without the permission.
    let ran = author.run(&["test", "step", "--filter", "unanswered"]).await.ended(1);
    let denied = "no permission in sluice.step.toml covers: http:read https://coupons.example.com/v1/coupons/SPRING";
    assert!(ran.stdout.contains(denied), "{ran:?}");
    let manifest = author.path("step/sluice.step.toml");
    let permissions = r#"
[[permissions]]
permission = "http:read"
resource = "https://coupons.example.com/**"
[[permissions]]
permission = "secret:use"
resource = "coupons@coupons.example.com"
"#;
    std::fs::write(&manifest, std::fs::read_to_string(&manifest).unwrap() + permissions).unwrap();

    let told = author.run(&["test", "step", "--json"]).await.ended(1).json();
    let calls = |index: usize| told["cases"][index]["host_calls"].to_string();
    assert!(calls(0).contains("https://coupons.example.com/v1/coupons/SPRING"), "{told}");
    assert!(calls(1).contains(url), "{told}");
    let ran = author.run(&["test", "step"]).await.ended(1);
    assert!(ran.stdout.contains("FAILED  unasked  (") && ran.stdout.contains(url), "{ran:?}");
}

#[tokio::test]
async fn a_report_in_json_has_every_case_with_its_differences_and_what_it_used() {
    let author = author_with_cases().await;
    let told = author.run(&["test", "step", "--json"]).await.ended(1).json();
    assert_eq!((&told["passed"], &told["failed"]), (&json!(1), &json!(2)));
    let [broken, good, other] = &told["cases"].as_array().unwrap()[..] else { panic!("{told}") };
    assert!(broken["error"].as_str().unwrap().contains("inptu"), "{broken}");
    assert_eq!((&good["passed"], &good["differences"]), (&json!(true), &json!([])));
    assert!(good["fuel"].as_u64().unwrap() > 0 && good["memory_bytes"].as_u64().unwrap() > 0, "{good}");
    assert_eq!(other["differences"], json!([{"path": "output/total_cents", "expected": 1, "found": 2500}]));
}

/// How many elements of each kind a well-formed document has, and the attributes of its suite.
fn elements(xml: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut names, mut suite) = (Vec::new(), Vec::new());
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
            Event::Start(element) | Event::Empty(element) => {
                let name = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
                for attribute in element.attributes() {
                    let attribute = attribute.unwrap_or_else(|error| panic!("{error}: {xml}"));
                    let key = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
                    if name == "testsuite" {
                        suite.push((key, String::from_utf8(attribute.value.to_vec()).unwrap()));
                    }
                }
                names.push(name);
            }
            Event::Eof => return (names, suite),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_report_for_ci_is_well_formed_and_counts_each_kind() {
    let author = author_with_cases().await;
    author.run(&["test", "step", "--junit", "report.xml"]).await.ended(1);
    let (names, suite) = elements(&std::fs::read_to_string(author.path("report.xml")).unwrap());
    let count = |name: &str| names.iter().filter(|own| *own == name).count();
    assert_eq!((count("testcase"), count("failure"), count("error")), (3, 1, 1), "{names:?}");
    for (key, value) in [("name", "order-check"), ("tests", "3"), ("failures", "1"), ("errors", "1")] {
        assert!(suite.contains(&(key.to_owned(), value.to_owned())), "{key} in {suite:?}");
    }
}

#[tokio::test]
async fn a_case_that_is_recorded_from_a_gateway_passes_and_is_not_written_over() {
    let author = Author::new().await;
    put_step(&author, "order-check");
    author.run(&["build", "step"]).await.done();
    author.run(&["upload", "step"]).await.done();
    let good = author.run(&["test", "step", "--record", "good", "--input", GOOD]).await.done();
    assert_eq!(good.stdout, "wrote step/tests/good.json\n");
    let bad = author.run(&["test", "step", "--record", "bad", "--input", BAD, "--json"]).await.done();
    assert_eq!(bad.json(), json!({"path": "step/tests/bad.json"}));
    let case = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(author.path("step/tests").join(name)).unwrap()).unwrap()
    };
    assert_eq!(case("good.json")["expect"]["output"]["total_cents"], 2500);
    assert_eq!(case("bad.json")["expect"]["status"], "invalid");

    let ran = author.run(&["test", "step"]).await.done();
    assert!(ran.stdout.ends_with("\n2 passed, 0 failed\n"), "{ran:?}");
    let before = case("good.json");
    author.run(&["test", "step", "--record", "good", "--input", BAD]).await.failed().says(&["good.json is there"]);
    assert_eq!(case("good.json"), before);
    let nobody = ["test", "step", "--record", "new", "--module", "nobody", "--input", GOOD];
    author.run(&nobody).await.failed().says(&["there is no module nobody"]);
    assert!(!author.path("step/tests/new.json").exists());
}

/// What no double holds.
const LONG: &str = "12345678901234567890123";

#[tokio::test]
async fn an_expectation_of_null_and_each_digit_of_a_number_are_held_against_what_came() {
    let author = Author::new().await;
    put_step(&author, "echo");
    let expecting = |input: &str, output: &str| {
        format!(r#"{{"input": {input}, "expect": {{"status": "completed", "output": {output}}}}}"#)
    };
    let other = "12345678901234567890124";
    put_case(&author, "null", &expecting("5", "null"));
    put_case(&author, "digits", &expecting(LONG, other));
    put_case(&author, "same", &expecting(&format!("[2500, null, {LONG}]"), &format!("[2.5e3, null, {LONG}.0]")));
    put_case(&author, "small", &expecting("0.1", "0.10000000000000000001"));
    let ran = author.run(&["test", "step"]).await.ended(1);
    for line in [
        "        output\n        - null\n        + 5\n".to_owned(),
        format!("        output\n        - {other}\n        + {LONG}\n"),
        "ok      same  (".to_owned(),
        "        output\n        - 0.10000000000000000001\n        + 0.1\n".to_owned(),
        "\n1 passed, 3 failed\n".to_owned(),
    ] {
        assert!(ran.stdout.contains(&line), "no {line:?} in {}", ran.stdout);
    }
    let told = author.run(&["test", "step", "--filter", "digits", "--json"]).await.ended(1);
    let place = format!(r#"{{"path":"output","expected":{other},"found":{LONG}}}"#);
    assert!(told.stdout.contains(&place), "{told:?}");
}

#[tokio::test]
async fn what_is_recorded_and_what_is_shown_to_be_tried_have_the_digits_that_came() {
    let author = Author::new().await;
    put_step(&author, "echo");
    author.run(&["build", "step"]).await.done();
    author.run(&["upload", "step"]).await.done();
    let input = format!(r#"{{"b":{LONG},"a":[1.50,"x"]}}"#);
    let data = format!(r#"{{"z":{LONG}}}"#);
    let record = ["test", "step", "--record", "long", "--input", &input, "--data", &data, "--env", "REGION=eu"];
    author.run(&record).await.done();
    let case = std::fs::read_to_string(author.path("step/tests/long.json")).unwrap();
    assert_eq!(case.matches(LONG).count(), 4, "{case}");
    assert_eq!(case.matches("1.50").count(), 2, "{case}");
    let told: Value = serde_json::from_str(&case).unwrap();
    assert_eq!(told["env"], json!({"REGION": "eu"}));
    author.run(&["test", "step"]).await.done();
    author.run(&["upload", "step"]).await.done().says(&[&format!("--input '{input}'")]);

    author.run(&["test", "step", "--record", "null", "--input", "null"]).await.done();
    let case = std::fs::read_to_string(author.path("step/tests/null.json")).unwrap();
    assert!(case.contains("\"output\": null"), "{case}");
    for flag in ["--filter", "--junit"] {
        let refused = author.run(&["test", "step", "--record", "new", "--input", "1", flag, "x"]).await.ended(2);
        refused.says(&[flag, "cannot be used with", "--record"]);
    }
    assert!(!author.path("step/tests/new.json").exists());
}

#[tokio::test]
async fn a_case_that_cannot_be_read_is_told_with_its_cause() {
    let author = Author::new().await;
    put_step(&author, "echo");
    std::fs::write(author.path("step/tests/a.json"), [0xff]).unwrap();
    let ran = author.run(&["test", "step", "--junit", "report.xml"]).await.ended(1);
    let cause = "step/tests/a.json can't be read: stream did not contain valid UTF-8";
    assert!(ran.stdout.contains(cause), "{ran:?}");
    let report = std::fs::read_to_string(author.path("report.xml")).unwrap();
    assert!(report.contains("stream did not contain valid UTF-8"), "{report}");
}

#[tokio::test]
async fn what_would_make_a_run_useless_is_told_before_the_build() {
    let author = Author::new().await;
    put_step(&author, "echo");
    author.run(&["test", "step"]).await.failed().says(&["there are no cases in step/tests"]);
    // Whether it should have any, only its component told.
    std::fs::remove_file(author.path("step/out.wasm")).unwrap();
    put_case(&author, "a", r#"{"input": 1, "expect": {"status": "completed"}}"#);
    author.run(&["test", "step", "--filter", "nothing"]).await.failed().says(&["none of the 1 cases"]);
    let ran = author.run(&["test", "step", "--junit", "nowhere/report.xml"]).await.failed();
    let ran = ran.says(&["nowhere/report.xml can't be written: No such file or directory"]);
    assert!(!ran.stderr.contains(".part") && ran.stdout.is_empty(), "{ran:?}");
    assert!(!author.path("step/out.wasm").exists(), "it was built");
    author.run(&["test", "step"]).await.done();
    assert!(author.path("step/out.wasm").exists());
}

#[tokio::test]
async fn a_local_call_tells_its_end_in_words_and_in_json() {
    let author = Author::new().await;
    put_step(&author, "order-check");
    let told = author.run(&["invoke", "--local=step", "--input", GOOD]).await.done().says(&["order accepted", " fuel"]);
    assert_eq!(told.json()["total_cents"], 2500);
    let refused = author.run(&["invoke", "--local=step", "--input", BAD]).await.failed();
    assert_eq!(refused.says(&["/order/id: "]).stdout, "");
    let refused = author.run(&["invoke", "--local=step", "--input", BAD, "--json"]).await.failed().json();
    assert_eq!((&refused["status"], &refused["errors"][0]["path"]), (&json!("invalid"), &json!("/order/id")));
    author.run(&["invoke", "--local=step", "--function", "nope"]).await.failed().says(&["no function nope"]);
}
