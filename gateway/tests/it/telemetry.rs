//! Spans, from the sampler to a real OTLP receiver.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use sluice::config;
use sluice::error::Code;
use sluice::model::{Digest, ExecutionId, Limits, Module, ModuleId, ModuleKind, Status};
use sluice::telemetry::{self, Guard, Sampler};
use tracing::Dispatch;
use tracing::instrument::{Instrument, WithSubscriber};

use crate::support::otlp_receiver::{OtlpReceiver, ReceivedSpan};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn config(endpoint: String, sample_ratio: f64) -> config::Telemetry {
    config::Telemetry { otlp_endpoint: Some(endpoint), sample_ratio, ..config::Telemetry::default() }
}

fn set_up(config: &config::Telemetry) -> (Sampler, Dispatch, Guard) {
    let (subscriber, guard) = telemetry::build(config).unwrap();
    (Sampler::new(config), subscriber, guard)
}

async fn flush(guard: Guard) {
    tokio::task::spawn_blocking(move || guard.shutdown()).await.unwrap();
}

fn traceparent(flags: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("00-{TRACE}-{PARENT}-{flags}")).unwrap();
    HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)])
}

fn module() -> Arc<Module> {
    Arc::new(Module {
        id: ModuleId::generate(),
        name: "order-rules".parse().unwrap(),
        version: semver::Version::new(1, 2, 3),
        description: String::new(),
        kind: ModuleKind::JobStep,
        sha256: Digest::of(b""),
        size_bytes: 0,
        functions: Vec::new(),
        imports: Vec::new(),
        permissions: Vec::new(),
        limits: Limits::default(),
        signature: None,
        warnings: Vec::new(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        created_by: String::new(),
    })
}

fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    spans.iter().find(|received| received.span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

#[tokio::test]
async fn a_sampled_request_and_its_parts_arrive_as_children_of_the_callers_span() {
    let mut receiver = OtlpReceiver::start().await;
    let (sampler, subscriber, guard) = set_up(&config(receiver.endpoint(), 0.0));
    let (module, execution_id) = (module(), ExecutionId::starting(jiff::Timestamp::UNIX_EPOCH));
    async {
        let request = sampler.sample(&traceparent("01")).unwrap().about(&module);
        drop(request.child("load"));
        let execution = request.execute("run", execution_id);
        async { tracing::info!("a log line is no span, and a span of others is none of ours") }
            .instrument(execution.span().clone())
            .await;
        tracing::info_span!("other").in_scope(|| drop(execution.child("http.send")));
        execution.record_outcome(Status::Failed, Some(Code::FuelExhausted));
        request.record_answer(502);
    }
    .with_subscriber(subscriber.clone())
    .await;
    flush(guard).await;

    let spans = receiver.next(4).await;
    assert!(receiver.rest().is_empty());
    let request = named(&spans, "request");
    assert_eq!(hex::encode(&request.span.trace_id), TRACE);
    assert_eq!(hex::encode(&request.span.parent_span_id), PARENT);
    assert_eq!(request.span.kind, SpanKind::Server as i32);
    assert_eq!(request.attribute("http.response.status_code"), "502");
    assert_eq!(request.span.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(request.resource("service.name"), "sluice");
    assert_eq!(request.resource("service.version"), env!("CARGO_PKG_VERSION"));

    let (load, execute, send) = (named(&spans, "load"), named(&spans, "execute"), named(&spans, "http.send"));
    assert_eq!(load.span.parent_span_id, request.span.span_id);
    assert_eq!(execute.span.parent_span_id, request.span.span_id);
    assert_eq!(send.span.parent_span_id, execute.span.span_id);
    for part in &spans {
        assert_eq!(hex::encode(&part.span.trace_id), TRACE);
        assert_eq!(part.attribute("module_id"), module.id.to_string());
        assert_eq!((part.attribute("module"), part.attribute("version")), ("order-rules".into(), "1.2.3".into()));
    }
    for part in [execute, send] {
        assert_eq!(part.attribute("execution_id"), execution_id.to_string());
    }
    assert!(!load.keys().contains(&"execution_id"));
    assert_eq!((execute.attribute("function"), execute.attribute("status")), ("run".into(), "failed".into()));
    assert_eq!(execute.attribute("code"), "fuel-exhausted");
    let status = execute.span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (StatusCode::Error as i32, "fuel-exhausted"));
    assert!(execute.span.events.is_empty(), "log lines stay log lines: {:?}", execute.span.events);
}

#[tokio::test]
async fn a_request_whose_caller_does_not_sample_sends_nothing() {
    let mut receiver = OtlpReceiver::start().await;
    let (sampler, subscriber, guard) = set_up(&config(receiver.endpoint(), 1.0));
    async {
        assert!(sampler.sample(&traceparent("00")).is_none());
        // Sent after it, so that what comes shows that the way was open.
        drop(sampler.sample(&HeaderMap::new()).unwrap().child("load"));
    }
    .with_subscriber(subscriber.clone())
    .await;
    flush(guard).await;

    let spans = receiver.next(2).await;
    assert!(receiver.rest().is_empty());
    assert!(spans.iter().all(|received| hex::encode(&received.span.trace_id) != TRACE));
    let request = named(&spans, "request");
    assert!(request.span.parent_span_id.is_empty(), "without a caller's span it is the root");
}

#[tokio::test]
async fn a_password_in_the_endpoint_is_sent_as_a_header() {
    let mut receiver = OtlpReceiver::start().await;
    let endpoint = receiver.endpoint().replace("http://", "http://ann:p%40ss@");
    let (sampler, subscriber, guard) = set_up(&config(endpoint, 1.0));
    async { drop(sampler.sample(&HeaderMap::new()).unwrap()) }.with_subscriber(subscriber.clone()).await;
    flush(guard).await;

    let spans = receiver.next(1).await;
    assert_eq!(spans[0].headers["authorization"], "Basic YW5uOnBAc3M=");
}

#[tokio::test]
async fn a_receiver_that_is_gone_holds_up_neither_requests_nor_the_stop() {
    let receiver = OtlpReceiver::start().await;
    let (sampler, subscriber, guard) = set_up(&config(receiver.endpoint(), 1.0));
    drop(receiver);
    async {
        // More than the exporter's queue holds.
        for _ in 0..10_000 {
            drop(sampler.sample(&HeaderMap::new()).unwrap());
        }
    }
    .with_subscriber(subscriber.clone())
    .await;
    // Twice the documented bound of a flush: what is over it hangs.
    let stop = tokio::time::timeout(std::time::Duration::from_secs(10), flush(guard));
    stop.await.expect("the stop is bounded");
}
