//! What a client may send that no client library would: over raw sockets.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::component::echo;
use crate::support::{Answer, Raw, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";

/// A request's head, with the admin key.
fn head(gw: &TestGateway, line: &str, headers: &[&str]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n", gw.address(), gw.key());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

fn invoke_head(gw: &TestGateway, length: usize) -> String {
    let length = format!("content-length: {length}");
    head(gw, &format!("POST {MODULES}/echo/invoke"), &["content-type: application/json", &length])
}

async fn with_echo(timeout_ms: u64) -> TestGateway {
    let gw = TestGateway::start_with(|config| config.server.body_timeout_ms = timeout_ms).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    gw
}

/// Sends a byte now and then for as long as the other side takes them.
async fn trickle(raw: &mut Raw, text: &[u8]) {
    for byte in text {
        if raw.try_more([*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_body_that_comes_a_byte_at_a_time_is_408_and_the_end_of_the_connection() {
    let gw = with_echo(300).await;
    let boundary = "content-type: multipart/form-data; boundary=b";
    let upload = head(&gw, &format!("POST {MODULES}"), &["content-length: 4000", boundary]);
    let chunked = head(&gw, &format!("POST {MODULES}"), &["transfer-encoding: chunked", boundary]);
    for text in [invoke_head(&gw, 4000), upload, chunked] {
        let mut raw = Raw::send(&gw, text).await;
        trickle(&mut raw, &[b'1'; 20]).await;
        let answer = raw.answer().await;
        answer.problem(408, "request-timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        raw.closed().await;
    }
    assert_eq!(gw.get(MODULES).await.json()["total"], 1);
    gw.invoke("echo", json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn a_head_that_comes_slowly_is_408_and_the_end_of_the_connection() {
    let gw = TestGateway::start_with(|config| config.server.head_timeout_ms = 300).await;
    for text in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let mut raw = Raw::send(&gw, text).await;
        trickle(&mut raw, &[b'a'; 20]).await;
        let answer = raw.answer().await;
        answer.problem(408, "request-timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        raw.closed().await;
    }
    // And it holds nobody else up.
    gw.get("/healthz").await.expect_status(200);
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let gw = TestGateway::start_with(|config| config.server.idle_timeout_ms = 200).await;
    Raw::send(&gw, "").await.closed().await;
    let mut raw = Raw::send(&gw, head(&gw, &format!("GET {MODULES}"), &[])).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.closed().await;
}

#[tokio::test]
async fn a_part_of_an_upload_whose_header_never_ends_is_400_and_the_end_of_the_connection() {
    let gw = TestGateway::start().await;
    let boundary = "content-type: multipart/form-data; boundary=b";
    let line = head(&gw, &format!("POST {MODULES}"), &["content-length: 50000000", boundary]);
    // A header, a second header, and what stands before the first part. The rest of the body never comes.
    let second = "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\necho\r\n--b\r\nx: ";
    for begin in ["--b\r\nx: ", second, "before "] {
        let mut raw = Raw::send(&gw, format!("{line}{begin}")).await;
        for _ in 0..100 {
            // It may have been refused by now.
            let _ = raw.try_more([b'a'; 1024]).await;
        }
        let answer = raw.answer().await;
        let problem = answer.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains("16384"), "{problem}");
        raw.closed().await;
    }
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
}

#[tokio::test]
async fn leaving_in_the_middle_of_an_upload_leaves_nothing() {
    let gw = TestGateway::start().await;
    let before = gw.files();
    let component = echo("a");
    let part = b"--b\r\ncontent-disposition: form-data; name=\"module\"\r\n\r\n";
    let rest = b"\r\n--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\necho\r\n";
    let body = [&part[..], &component, &rest[..]].concat();
    let boundary = "content-type: multipart/form-data; boundary=b";
    for sent in [0, 10, part.len(), part.len() + 100, body.len() - 3, body.len()] {
        for length in ["content-length: 100000", "transfer-encoding: chunked"] {
            let mut text = head(&gw, &format!("POST {MODULES}"), &[length, boundary]).into_bytes();
            if length.starts_with('t') && sent > 0 {
                text.extend(format!("{sent:x}\r\n").bytes());
            }
            text.extend(&body[..sent]);
            drop(Raw::send(&gw, text).await);
        }
    }
    // All of them have been read when one that comes later is through.
    gw.upload("after", "1.0.0", echo("b")).await.expect_status(201);
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/after"))).await.expect_status(204);
    assert_eq!(gw.files(), before);
    assert_eq!(gw.get(MODULES).await.json()["total"], 0);
}

#[tokio::test]
async fn leaving_at_the_end_of_an_upload_leaves_all_of_it_or_nothing() {
    let gw = TestGateway::start().await;
    let part = |name: &str| format!("\r\n--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
    for index in 0..20 {
        let body = [
            part("name"),
            format!("left-{index}").into_bytes(),
            part("version"),
            b"1.0.0".to_vec(),
            part("module"),
            echo(&index.to_string()),
            b"\r\n--b--\r\n".to_vec(),
        ]
        .concat();
        let headers = [&*format!("content-length: {}", body.len()), "content-type: multipart/form-data; boundary=b"];
        let mut raw = Raw::send(&gw, head(&gw, &format!("POST {MODULES}"), &headers)).await;
        raw.more(&body).await;
        // Some leave at once, some when it is on its way into the store.
        tokio::time::sleep(Duration::from_millis(index / 2)).await;
        drop(raw);
    }
    let whole = |answer: &Answer| {
        let listed = answer.json()["items"].as_array().unwrap().clone();
        let digests: BTreeSet<_> = listed.iter().map(|module| module["sha256"].as_str().unwrap().to_owned()).collect();
        let files = gw.files();
        files.blobs == digests && files.artifacts.len() == digests.len() && files.others.is_empty()
    };
    let listing = gw.eventually(MODULES, whole).await;
    for module in listing.json()["items"].as_array().unwrap() {
        gw.invoke(module["name"].as_str().unwrap(), json!(1)).await.expect_status(200);
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_why_it_was_refused() {
    let gw = with_echo(30_000).await;
    let length = "content-length: 4000000";
    let anonymous = format!("POST {MODULES} HTTP/1.1\r\nhost: a\r\n{length}\r\n\r\n");
    let upload = head(&gw, &format!("POST {MODULES}"), &[length, "content-type: application/wasm"]);
    let nobody = head(&gw, &format!("POST {MODULES}/nobody/invoke"), &[length, "content-type: application/json"]);
    let nowhere = head(&gw, "POST /nowhere", &[length]);
    for (text, status) in [(anonymous, 401), (upload, 415), (nobody, 404), (nowhere, 404)] {
        let mut raw = Raw::send(&gw, text).await;
        for _ in 0..40 {
            raw.more(vec![b'x'; 100_000]).await;
        }
        assert_eq!(raw.answer().await.status, status);
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_no_upload() {
    let gw = TestGateway::start().await;
    let boundary = "content-type: multipart/form-data; boundary=b";
    let broken = head(&gw, &format!("POST {MODULES}"), &["transfer-encoding: chunked", boundary]) + "zz\r\n";
    let mut raw = Raw::send(&gw, broken).await;
    raw.answer().await.problem(400, "bad-request");
    raw.closed().await;
}

#[tokio::test]
async fn a_head_over_its_bound_is_431_with_a_problem_and_an_id() {
    let gw = TestGateway::start_with(|config| config.server.head_bytes = 4096).await;
    let large = head(&gw, "GET /healthz", &[&format!("x-large: {}", "x".repeat(70_000))]);
    let many = head(&gw, "GET /healthz", &["a: b"; 200]);
    let target = head(&gw, &format!("GET /healthz?{}", "x".repeat(70_000)), &[]);
    for text in [large, many, target] {
        let mut raw = Raw::send(&gw, text).await;
        let answer = raw.answer().await;
        answer.problem(431, "headers-too-large");
        assert!(!answer.header("x-request-id").unwrap().is_empty());
        raw.closed().await;
    }
    gw.get("/healthz").await.expect_status(200);
}

#[tokio::test]
async fn what_is_not_http_is_400_with_a_problem() {
    let gw = TestGateway::start().await;
    for text in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET /a b c HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n folded: a\r\n\r\n",
        "GET / HTTP/1.1\r\na\0b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nname : value\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n",
    ] {
        let mut raw = Raw::send(&gw, text).await;
        raw.answer().await.problem(400, "bad-request");
        raw.closed().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let gw = with_echo(30_000).await;
    let mut text = String::new();
    for index in 0..20 {
        let body = format!("{{\"input\": {index}}}");
        text += &(invoke_head(&gw, body.len()) + &body);
        text += &head(&gw, &format!("GET {MODULES}/nobody-{index}"), &[]);
    }
    let mut raw = Raw::send(&gw, text).await;
    for index in 0..20 {
        let answer = raw.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["output"], index);
        let problem = raw.answer().await.problem(404, "not-found");
        assert_eq!(problem["instance"], format!("{MODULES}/nobody-{index}"));
    }
}

#[tokio::test]
async fn a_request_can_not_be_smuggled_behind_two_lengths() {
    let gw = with_echo(30_000).await;
    let hidden = head(&gw, "GET /healthz", &[]);
    let line = format!("POST {MODULES}/echo/invoke");
    let json = "content-type: application/json";
    // One of two lengths ends before the hidden request. Whichever a proxy believes,
    // it must not be answered: refuse, or close after the first answer.
    let text =
        head(&gw, &line, &[json, "content-length: 6", "transfer-encoding: chunked"]) + "2\r\n{}\r\n0\r\n\r\n" + &hidden;
    let mut raw = Raw::send(&gw, text).await;
    let answer = raw.answer().await;
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    raw.closed().await;
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_with_those_there_are() {
    let gw = TestGateway::start().await;
    for path in [
        "/",
        "/api",
        "/api/v1/wasm",
        "/api/v1/wasm/modules/",
        "/api/v1/wasm/modules/a/b",
        "//healthz",
        "/HEALTHZ",
        "/healthz/",
        "/api/v1/wasm/modules/../../healthz/x",
        "/%2e%2e/etc/passwd",
    ] {
        let mut raw = Raw::send(&gw, head(&gw, &format!("GET {path}"), &[])).await;
        let problem = raw.answer().await.problem(404, "not-found");
        assert_eq!(problem["instance"], path);
    }
    for (line, allowed) in [
        ("DELETE /healthz", vec!["GET"]),
        ("POST /metrics", vec!["GET"]),
        ("PUT /api/v1/wasm/modules", vec!["GET", "POST"]),
        ("PATCH /api/v1/wasm/modules/echo", vec!["GET", "DELETE"]),
        ("GET /api/v1/wasm/modules/echo/invoke", vec!["POST"]),
        ("POST /api/v1/wasm/executions", vec!["GET"]),
        ("BREW /readyz", vec!["GET"]),
    ] {
        let mut raw = Raw::send(&gw, head(&gw, line, &[])).await;
        let answer = raw.answer().await;
        answer.problem(405, "method-not-allowed");
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allowed.iter().all(|method| allow.contains(method)), "{line}: {allow}");
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_hostile_one_is_replaced() {
    let gw = with_echo(30_000).await;
    let paths = ["/healthz", "/readyz", "/metrics", MODULES, "/nowhere", "/api/v1/wasm/modules/echo/download"];
    for path in paths {
        for id in ["a", "A-b_c.9", &"x".repeat(64)] {
            let mut raw = Raw::send(&gw, head(&gw, &format!("GET {path}"), &[&format!("x-request-id: {id}")])).await;
            let answer = raw.answer().await;
            assert_eq!(answer.header("x-request-id"), Some(id), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        }
        for id in ["", "a b", "\"a\"", "a\tb", "<script>", "../../x", "{{7*7}}", "\u{fc}", &"x".repeat(65)] {
            let mut raw = Raw::send(&gw, head(&gw, &format!("GET {path}"), &[&format!("x-request-id: {id}")])).await;
            let given = raw.answer().await.header("x-request-id").unwrap().to_owned();
            assert!(given != id && given.len() == 32, "{path}: {id} {given}");
        }
    }
    let body = r#"{"input": 1}"#;
    let mut raw = Raw::send(&gw, invoke_head(&gw, body.len()) + body).await;
    assert_eq!(raw.answer().await.header("x-request-id").unwrap().len(), 32);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let gw = with_echo(30_000).await;
    for path in ["/healthz", "/nowhere", MODULES, "/api/v1/wasm/modules/echo", "/api/v1/wasm/modules/echo/download"] {
        let mut raw =
            Raw::send(&gw, head(&gw, &format!("HEAD {path}"), &[]) + &head(&gw, &format!("GET {path}"), &[])).await;
        let without = raw.answer_to("HEAD").await;
        let with = raw.answer().await;
        assert_eq!(without.status, with.status, "{path}");
        if path != "/nowhere" {
            // The two problems have ids of their own, so their lengths may differ.
            assert_eq!(without.header("content-length"), with.header("content-length"), "{path}");
        }
        assert_eq!(without.header("content-type"), with.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let gw = with_echo(30_000).await;
    let json = ["content-type: application/json", "content-length: 12", "expect: 100-continue"];
    let mut raw = Raw::send(&gw, head(&gw, &format!("POST {MODULES}/echo/invoke"), &json)).await;
    assert_eq!(raw.answer().await.status, 100);
    raw.more(r#"{"input": 7}"#).await;
    assert_eq!(raw.answer().await.status, 200);
    // One that would be refused is refused before it has sent anything.
    let large = ["content-type: application/json", "content-length: 999999999", "expect: 100-continue"];
    let mut raw = Raw::send(&gw, head(&gw, &format!("POST {MODULES}/echo/invoke"), &large)).await;
    raw.answer().await.problem(413, "too-large");
    raw.closed().await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge_has_the_same_answers() {
    let gw = with_echo(30_000).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", gw.address());
    let invoke =
        || client.post(url("/api/v1/wasm/modules/echo/invoke")).bearer_auth(gw.key()).json(&json!({"input": "h2"}));
    let answers = futures_util::future::join_all((0..50).map(|_| async { invoke().send().await.unwrap() })).await;
    for answer in answers {
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
        assert_eq!(answer.json::<Value>().await.unwrap()["output"], "h2");
    }
    let answer = Answer::of(client.get(url("/nowhere")).header("x-request-id", "kept")).await;
    assert_eq!(answer.header("x-request-id"), "kept");
    answer.expect_problem(404, "not-found");
    let large = client.get(url("/healthz")).header("x-large", "x".repeat(100_000));
    Answer::of(large).await.expect_problem(431, "headers-too-large");
    let form = reqwest::multipart::Form::new()
        .part("module", reqwest::multipart::Part::bytes(echo("h2")))
        .text("name", "second")
        .text("version", "1.0.0");
    Answer::of(client.post(url(MODULES)).bearer_auth(gw.key()).multipart(form)).await.expect_status(201);
    let download = Answer::of(client.get(url(&format!("{MODULES}/second/download"))).bearer_auth(gw.key())).await;
    assert_eq!(download.body, echo("h2"));
}

#[tokio::test]
async fn a_5xx_shows_nothing_of_its_cause() {
    let gw = with_echo(30_000).await;
    let folder = gw.folder();
    let digest = gw.get(&format!("{MODULES}/echo")).await.json()["sha256"].as_str().unwrap().to_owned();
    std::fs::remove_file(crate::support::files::blob(folder.path(), &digest)).unwrap();
    let answer = gw.get(&format!("{MODULES}/echo/download")).await;
    let shown = String::from_utf8(answer.body.to_vec()).unwrap();
    let problem = answer.expect_problem(500, "internal");
    for secret in [&digest, folder.path().to_str().unwrap(), "blob", "No such file", "opendal", ".rs"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert_eq!(problem["instance"], format!("{MODULES}/echo/download"));
    // The code is at hand still, so calls go on.
    gw.invoke("echo", json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn readiness_tells_what_does_not_answer() {
    let gw = TestGateway::start().await;
    let ready = Answer::of(gw.anonymous(Method::GET, "/readyz")).await.expect_status(200);
    assert_eq!(ready.json(), json!({"status": "ready"}));
    std::fs::remove_dir_all(gw.folder().path().join("blobs")).unwrap();
    // Whoever asks within a second is told what was found then.
    let unready = gw.eventually("/readyz", |answer| answer.status == 503).await;
    assert_eq!(unready.json()["checks"], json!({"store": "ok", "blobs": "failed"}));
    assert!(!unready.header("x-request-id").is_empty());
    Answer::of(gw.anonymous(Method::GET, "/healthz")).await.expect_status(200);
}
