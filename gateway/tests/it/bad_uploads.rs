//! Uploads whose form is wrong: each is told what is, and none leaves a trace.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::support::component::echo;
use crate::support::{Answer, Files, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";

/// Uploads, and sees to it that a refusal leaves nothing behind.
async fn refused(gw: &TestGateway, form: Form, status: u16, code: &str) -> Value {
    let before = trace(gw).await;
    let problem = gw.upload_form(form).await.expect_problem(status, code);
    assert_eq!(trace(gw).await, before, "{problem}");
    problem
}

async fn trace(gw: &TestGateway) -> (Files, Value) {
    (gw.files(), gw.get(MODULES).await.expect_status(200).json())
}

/// `path code` of each error.
fn errors(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().unwrap();
    let shown = |error: &Value| {
        assert!(!error["message"].as_str().unwrap().is_empty(), "{problem}");
        format!("{} {}", error["path"].as_str().unwrap(), error["code"].as_str().unwrap())
    };
    errors.iter().map(shown).collect()
}

fn whole() -> Form {
    whole_but("")
}

/// A good form without one part.
fn whole_but(missing: &str) -> Form {
    let mut form = Form::new();
    if missing != "module" {
        form = form.part("module", Part::bytes(echo("a")));
    }
    for (name, text) in [("name", "echo"), ("version", "1.0.0")] {
        if missing != name {
            form = form.text(name, text);
        }
    }
    form
}

#[tokio::test]
async fn parts_that_are_missing_empty_doubled_or_unknown_are_all_named() {
    let gw = TestGateway::start().await;
    let problem = refused(&gw, Form::new().text("description", "alone"), 400, "bad-request").await;
    assert_eq!(errors(&problem), ["module required", "name required", "version required"]);
    for part in ["module", "name", "version"] {
        let problem = refused(&gw, whole_but(part), 400, "bad-request").await;
        assert_eq!(errors(&problem), [format!("{part} required")]);
        let problem = refused(&gw, whole_but(part).text(part, ""), 400, "bad-request").await;
        assert_eq!(errors(&problem), [format!("{part} empty")]);
        let problem = refused(&gw, whole().text(part, "1.0.0"), 400, "bad-request").await;
        assert_eq!(errors(&problem), [format!("{part} duplicate")]);
    }
    let unknown = whole().text("colour", "red").text("module.wasm", "x").part("modules", Part::bytes(echo("a")));
    let problem = refused(&gw, unknown, 400, "unknown-field").await;
    assert_eq!(errors(&problem), ["colour unknown-field", "module.wasm unknown-field", "modules unknown-field"]);
    let many = (0..30).fold(whole(), |form, index| form.text(format!("p{index}"), "x"));
    refused(&gw, many, 400, "bad-request").await;
    // The name of a part is shown back, and not all of it.
    let problem = refused(&gw, whole().text("x".repeat(5000), "y"), 400, "unknown-field").await;
    assert!(problem.to_string().len() < 1000, "{problem}");
}

#[tokio::test]
async fn a_part_that_is_too_large_or_no_text_is_named() {
    let gw = TestGateway::start().await;
    for (part, text) in [
        ("name", "n".repeat(64)),
        ("name", "n".repeat(70_000)),
        ("version", format!("1.0.0-{}", "a".repeat(200))),
        ("version", "1".repeat(70_000)),
        ("description", "d".repeat(4097)),
        ("permissions", format!("[{}]", " ".repeat(1024 * 1024))),
        ("limits", " ".repeat(70_000)),
    ] {
        let form = whole_but(part).text(part, text);
        let problem = refused(&gw, form, 400, "bad-request").await;
        assert_eq!(errors(&problem), [format!("{part} too-long")]);
    }
    for part in ["name", "version", "description", "permissions", "limits"] {
        let form = whole_but(part).part(part, Part::bytes(vec![b'a', 0xff, 0xfe]));
        let problem = refused(&gw, form, 400, "bad-request").await;
        assert_eq!(errors(&problem), [format!("{part} not-utf8")]);
    }
}

#[tokio::test]
async fn a_name_or_version_that_is_none_is_refused_whatever_it_tries_to_be() {
    let gw = TestGateway::start().await;
    for name in [
        "Echo",
        "1echo",
        "-echo",
        "e_cho",
        "e.cho",
        "e cho",
        "../echo",
        "..",
        "/etc/passwd",
        "echo/../../x",
        "écho",
        "echo\0",
        "echo\n",
        "%2e%2e",
        "019377ab-0000-7000-8000-000000000000".replace('0', "a").as_str(),
        "e@1",
        "*",
    ] {
        let problem = refused(&gw, whole_but("name").text("name", name.to_owned()), 400, "bad-request").await;
        assert_eq!(errors(&problem), ["name invalid"], "{name}");
    }
    for version in [
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3.4",
        "01.2.3",
        "latest",
        "^1.2.3",
        "1.2.3-",
        "../1.2.3",
        "1.2.3/..",
        "1.2.3\n",
        "99999999999999999999.0.0",
        " 1.2.3",
    ] {
        let problem = refused(&gw, whole_but("version").text("version", version), 400, "bad-request").await;
        assert_eq!(errors(&problem), ["version invalid"], "{version}");
    }
}

#[tokio::test]
async fn permissions_and_limits_are_refused_with_the_path_of_each_mistake() {
    let gw = TestGateway::start().await;
    let good = r#"{"permission": "http:read", "resource": "https://a.example/*"}"#;
    let many = format!("[{}]", vec![good; 201].join(","));
    for (part, text, code, expected) in [
        ("permissions", "{}", "bad-request", vec!["permissions wrong-type"]),
        ("permissions", "[", "bad-request", vec!["permissions invalid-json"]),
        ("permissions", "", "bad-request", vec!["permissions invalid-json"]),
        (
            "permissions",
            r#"[{"permission": "http:all", "resource": "*"}, {"permission": "http:read"}, 3]"#,
            "bad-request",
            vec![
                "/permissions/0/permission wrong-type",
                "/permissions/1/resource required",
                "/permissions/2 wrong-type",
            ],
        ),
        (
            "permissions",
            r#"[{"permission": "http:read", "resource": "*", "extra": 1}]"#,
            "unknown-field",
            vec!["/permissions/0/extra unknown-field"],
        ),
        (
            "permissions",
            r#"[{"permission": "http:read", "resource": "*"}, {"permission": "http:read", "resource": "[a"}]"#,
            "bad-request",
            vec!["/permissions/1/resource bad-glob"],
        ),
        (
            "permissions",
            r#"[{"permission": "http:read", "resource": ""}]"#,
            "bad-request",
            vec!["/permissions/0/resource bad-glob"],
        ),
        ("permissions", &many, "bad-request", vec!["/permissions too-many"]),
        ("limits", "[]", "bad-request", vec!["limits wrong-type"]),
        (
            "limits",
            r#"{"fuel": -1, "memory_bytes": 1.5, "timeout_ms": "1"}"#,
            "bad-request",
            vec!["/limits/fuel wrong-type", "/limits/memory_bytes wrong-type", "/limits/timeout_ms wrong-type"],
        ),
        ("limits", r#"{"wait_ms": 1}"#, "unknown-field", vec!["/limits/wait_ms unknown-field"]),
        (
            "limits",
            r#"{"fuel": 1000000001, "memory_bytes": 67108865, "timeout_ms": 30001}"#,
            "bad-request",
            vec![
                "/limits/fuel above-ceiling",
                "/limits/memory_bytes above-ceiling",
                "/limits/timeout_ms above-ceiling",
            ],
        ),
        (
            "limits",
            r#"{"fuel": 0, "timeout_ms": 0}"#,
            "bad-request",
            vec!["/limits/fuel out-of-range", "/limits/timeout_ms out-of-range"],
        ),
    ] {
        let problem = refused(&gw, whole().text(part, text.to_owned()), 400, code).await;
        assert_eq!(errors(&problem), expected, "{part} {text:.80}");
    }
}

#[tokio::test]
async fn half_a_signature_is_refused_with_what_is_missing() {
    let gw = TestGateway::start().await;
    for (part, expected) in
        [("signature", ["signature invalid", "key_id required"].as_slice()), ("key_id", &["signature required"])]
    {
        let problem = refused(&gw, whole().text(part, "x"), 400, "bad-request").await;
        assert_eq!(errors(&problem), expected);
    }
}

#[tokio::test]
async fn several_mistakes_are_told_together() {
    let gw = TestGateway::start().await;
    let form = Form::new()
        .part("module", Part::bytes(echo("a")))
        .text("name", "Echo")
        .text("version", "1")
        .text("limits", "[]")
        .text("colour", "red");
    let problem = refused(&gw, form, 400, "bad-request").await;
    assert_eq!(errors(&problem), ["colour unknown-field", "name invalid", "version invalid", "limits wrong-type"]);
}

#[tokio::test]
async fn a_body_that_is_no_multipart_is_refused() {
    let gw = TestGateway::start().await;
    let before = trace(&gw).await;
    let post = |content_type: Option<&str>, body: Vec<u8>| {
        let request = gw.request(Method::POST, MODULES).body(body);
        Answer::of(match content_type {
            Some(text) => request.header("content-type", text),
            None => request,
        })
    };
    for content_type in [None, Some("application/json"), Some("application/wasm"), Some("multipart/mixed; boundary=b")]
    {
        post(content_type, echo("a")).await.expect_problem(415, "unsupported-media-type");
    }
    let head = "--b\r\ncontent-disposition: form-data; name=\"module\"\r\n\r\n";
    for (content_type, body) in [
        ("multipart/form-data", head.to_owned()),
        ("multipart/form-data; boundary=", head.to_owned()),
        ("multipart/form-data; boundary=b", String::new()),
        ("multipart/form-data; boundary=b", "--b".to_owned()),
        ("multipart/form-data; boundary=b", head.to_owned()),
        ("multipart/form-data; boundary=b", format!("{head}the rest is missing")),
        ("multipart/form-data; boundary=b", format!("{head}x\r\n--b")),
        ("multipart/form-data; boundary=b", "no boundary in here".to_owned()),
        ("multipart/form-data; boundary=other", format!("{head}x\r\n--b--\r\n")),
        ("multipart/form-data; boundary=b", "--b\r\nnot a header\r\n\r\nx\r\n--b--\r\n".to_owned()),
        ("multipart/form-data; boundary=b", format!("--b\r\n{}\r\nx\r\n--b--\r\n", "a: b\r\n".repeat(1000))),
    ] {
        let answer = post(Some(content_type), body.clone().into_bytes()).await;
        let shown = answer.json();
        answer.expect_problem(400, "bad-request");
        assert!(!shown["detail"].as_str().unwrap().is_empty(), "{body:.60}: {shown}");
    }
    // Nothing in it is no break in the form: what is missing is told.
    let answer = post(Some("multipart/form-data; boundary=b"), b"--b--\r\n".to_vec()).await;
    assert_eq!(errors(&answer.expect_problem(400, "bad-request")).len(), 3);
    assert_eq!(trace(&gw).await, before);
}

#[tokio::test]
async fn a_module_over_its_bound_is_413_with_the_bound() {
    let gw = TestGateway::start_with(|config| config.limits.module_bytes = 64 * 1024).await;
    let padded = |bytes: usize| {
        let mut component = echo("a");
        // A custom section of this many bytes, with a length of five bytes of LEB128.
        let mut payload = vec![1, b'p'];
        payload.resize(bytes - component.len() - 6, b'x');
        let length = payload.len();
        component.push(0);
        component.extend((0..4).map(|index| 0x80 | u8::try_from(length >> (7 * index) & 0x7f).unwrap()).chain([0]));
        component.extend(payload);
        assert_eq!(component.len(), bytes);
        component
    };
    let form = |component| whole_but("module").part("module", Part::bytes(component));
    for bytes in [64 * 1024 + 1, 600 * 1024] {
        let problem = refused(&gw, form(padded(bytes)), 413, "too-large").await;
        assert_eq!(problem["limit"], 64 * 1024, "{problem}");
    }
    // Over what all parts may have together it is refused before it is read.
    let problem = refused(&gw, form(padded(2 * 1024 * 1024)), 413, "too-large").await;
    assert!(problem["limit"].as_u64().unwrap() >= 64 * 1024, "{problem}");
    gw.upload("echo", "1.0.0", padded(64 * 1024)).await.expect_status(201);
    gw.invoke("echo", serde_json::json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn an_upload_needs_the_role_of_an_admin_before_anything_of_it_is_looked_at() {
    let gw = TestGateway::start().await;
    let before = trace(&gw).await;
    for request in [
        gw.anonymous(Method::POST, MODULES).multipart(whole()),
        gw.anonymous(Method::POST, MODULES).body("nonsense"),
        gw.anonymous(Method::POST, MODULES).bearer_auth(format!("sk_{}", "a".repeat(43))).multipart(whole()),
        gw.anonymous(Method::DELETE, &format!("{MODULES}/echo")),
        gw.anonymous(Method::GET, MODULES),
        gw.anonymous(Method::GET, &format!("{MODULES}/echo/download")),
        gw.anonymous(Method::GET, "/api/v1/wasm/executions"),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answer.expect_problem(401, "unauthenticated");
    }
    assert_eq!(trace(&gw).await, before);
}
