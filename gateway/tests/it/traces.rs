//! Traces of the real binary, as an OTLP receiver gets them. A process of its own,
//! because a process has one subscriber.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::otlp_receiver::{OtlpReceiver, ReceivedSpan};
use crate::support::process::Process;
use crate::support::{Answer, files, guest};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// The gateway with this receiver, which traces every request unless its caller says otherwise.
async fn start(folder: &Arc<tempfile::TempDir>, endpoint: &str) -> Process {
    Process::start_changed(folder, |command| {
        command.env("SLUICE__TELEMETRY__OTLP_ENDPOINT", endpoint).env("SLUICE__TELEMETRY__SAMPLE_RATIO", "1");
    })
    .await
}

/// An invocation whose caller traces, or not.
async fn invoke(process: &Process, module: &str, flags: Option<&str>, input: Value) -> Answer {
    let path = format!("/api/v1/wasm/modules/{module}/invoke");
    let mut request = process.gateway.request(Method::POST, &path).json(&json!({ "input": input }));
    if let Some(flags) = flags {
        request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
    }
    Answer::of(request).await
}

fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    let mut found = spans.iter().filter(|received| received.span.name == name);
    match (found.next(), found.next()) {
        (Some(one), None) => one,
        _ => panic!("not exactly one {name} in {spans:#?}"),
    }
}

fn names(spans: &[ReceivedSpan]) -> Vec<&str> {
    let mut names: Vec<&str> = spans.iter().map(|received| received.span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn error_of(received: &ReceivedSpan) -> &str {
    received.span.status.as_ref().map_or("", |status| status.message.as_str())
}

#[tokio::test]
async fn a_request_is_traced_from_its_caller_down_to_its_host_calls() {
    let mut receiver = OtlpReceiver::start().await;
    let folder = folder();
    let process = start(&folder, &receiver.endpoint()).await;
    process.gateway.upload("hosts", "1.2.3", guest("hosts")).await.expect_status(201);
    let module = process.gateway.get("/api/v1/wasm/modules/hosts").await.expect_status(200).json();
    process.stop().await;
    // Without the compiled code the next call has to load and compile.
    for artifact in files::artifacts(folder.path()) {
        std::fs::remove_file(artifact).unwrap();
    }

    let process = start(&folder, &receiver.endpoint()).await;
    let canary = "canary-7d1f";
    let input = json!({
        "http": {"method": "GET", "url": format!("http://example.com/{canary}")},
        "db": [canary, "select 1", [canary]],
    });
    let answer = invoke(&process, "hosts", Some("01"), input).await.expect_status(200).json();
    // At once: what has not been sent yet is sent at the stop.
    process.stop().await;

    let spans = receiver.next(7).await;
    assert!(receiver.rest().is_empty());
    assert_eq!(names(&spans), ["compile", "db.execute", "db.query", "execute", "http.send", "load", "request"]);
    let parent = |name: &str| hex::encode(&named(&spans, name).span.parent_span_id);
    let id = |name: &str| hex::encode(&named(&spans, name).span.span_id);
    assert_eq!(parent("request"), PARENT);
    assert_eq!((parent("load"), parent("execute")), (id("request"), id("request")));
    assert_eq!(parent("compile"), id("load"));
    for call in ["http.send", "db.query", "db.execute"] {
        assert_eq!(parent(call), id("execute"));
        assert_eq!(error_of(named(&spans, call)), "permission-denied");
    }
    for received in &spans {
        assert_eq!(hex::encode(&received.span.trace_id), TRACE);
        assert_eq!(received.attribute("module_id"), module["id"].as_str().unwrap());
        assert_eq!((received.attribute("module"), received.attribute("version")), ("hosts".into(), "1.2.3".into()));
        assert_eq!(received.resource("service.name"), "sluice");
        assert!(!format!("{:?}", received.span).contains(canary), "{:?}", received.span);
        let span = &received.span;
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
    for name in ["execute", "http.send", "db.query", "db.execute"] {
        let execution = named(&spans, name).attribute("execution_id");
        assert_eq!(execution, answer["execution_id"].as_str().unwrap());
    }
    assert_eq!(named(&spans, "execute").attribute("function"), "run");
    assert_eq!(named(&spans, "execute").attribute("status"), "completed");
    assert_eq!(named(&spans, "request").attribute("http.response.status_code"), "200");
}

#[tokio::test]
async fn a_caller_that_does_not_trace_is_heeded_whatever_the_ratio_is() {
    let mut receiver = OtlpReceiver::start().await;
    let process = start(&folder(), &receiver.endpoint()).await;
    process.gateway.upload("trap", "1.0.0", guest("trap")).await.expect_status(201);
    invoke(&process, "trap", Some("00"), json!({"message": "x"})).await.expect_problem(502, "trap");
    invoke(&process, "trap", None, json!({"message": "x"})).await.expect_problem(502, "trap");
    invoke(&process, "nothing", None, json!({})).await.expect_problem(404, "not-found");
    process.stop().await;

    let spans = receiver.next(3).await;
    assert!(receiver.rest().is_empty());
    // The upload has mapped the code: nothing was loaded.
    assert_eq!(names(&spans), ["execute", "request", "request"]);
    for received in &spans {
        assert_ne!(hex::encode(&received.span.trace_id), TRACE);
    }
    let execute = named(&spans, "execute");
    assert_eq!((execute.attribute("status"), execute.attribute("code")), ("failed".into(), "trap".into()));
    assert_eq!(error_of(execute), "trap");
    let statuses: Vec<_> = spans
        .iter()
        .filter(|received| received.span.name == "request")
        .map(|received| received.attribute("http.response.status_code"))
        .collect();
    assert_eq!(statuses, ["502", "404"]);
    assert!(
        spans
            .iter()
            .filter(|received| received.span.name == "request")
            .all(|received| { received.span.parent_span_id.is_empty() })
    );
}

#[tokio::test]
async fn a_step_that_calls_the_host_in_a_loop_gets_spans_for_the_first_calls_only() {
    let mut receiver = OtlpReceiver::start().await;
    let process = start(&folder(), &receiver.endpoint()).await;
    process.gateway.upload("context", "1.0.0", guest("context")).await.expect_status(201);
    let ops: Vec<Value> = (0..500).map(|_| json!(["get", "key"])).collect();
    invoke(&process, "context", None, json!({ "ops": ops })).await.expect_status(200);
    process.stop().await;

    let spans = receiver.next(130).await;
    assert!(receiver.rest().is_empty());
    assert_eq!(spans.iter().filter(|received| received.span.name == "context.get").count(), 128);
    named(&spans, "execute");
    named(&spans, "request");
}

#[tokio::test]
async fn calls_over_wasi_are_counted_before_they_get_a_span_of_the_same_number() {
    for (host_calls, traced) in [("1000", 128), ("3", 3)] {
        let mut receiver = OtlpReceiver::start().await;
        let process = Process::start_changed(&folder(), |command| {
            command.env("SLUICE__TELEMETRY__OTLP_ENDPOINT", receiver.endpoint());
            command.env("SLUICE__TELEMETRY__SAMPLE_RATIO", "1").env("SLUICE__LIMITS__HOST_CALLS", host_calls);
        })
        .await;
        process.gateway.upload("wasi-http", "1.0.0", guest("wasi-http")).await.expect_status(201);
        // No permission covers it: nobody is asked.
        let input = json!({"method": "GET", "authority": "a.example", "path": "/", "repeat": 150, "both": true});
        invoke(&process, "wasi-http", None, input).await.expect_status(200);
        process.stop().await;

        let spans = receiver.next(traced + 2).await;
        assert!(receiver.rest().is_empty());
        let calls = spans.iter().filter(|received| received.span.name == "outgoing-handler.handle");
        assert_eq!(calls.count(), traced, "{host_calls}");
        named(&spans, "execute");
        named(&spans, "request");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_or_silent_neither_fails_nor_slows_requests() {
    // One port where nobody listens, and one where nobody answers.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [closed, silent.local_addr().unwrap()] {
        let process = start(&folder(), &format!("http://{address}")).await;
        process.gateway.upload("echo", "1.0.0", guest("echo")).await.expect_status(201);
        let began = Instant::now();
        for number in 0..600 {
            invoke(&process, "echo", None, json!(number)).await.expect_status(200);
        }
        // More than a batch (512): waiting for one export would take its timeout of 5 s.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let began = Instant::now();
        process.stop().await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
