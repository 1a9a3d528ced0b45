//! An OTLP/HTTP receiver on loopback.
//!
//! Takes `POST /v1/traces` as a collector does, and keeps the spans. Anything
//! else is answered 404 or 400, so that a wrong path, type or body shows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Far more than a batch takes on loopback; only a failing test waits for it.
const WAIT: Duration = Duration::from_secs(20);

/// A receiver; it stops when it is dropped.
pub struct OtlpReceiver {
    address: SocketAddr,
    spans: mpsc::UnboundedReceiver<ReceivedSpan>,
    accept: JoinHandle<()>,
}

/// A span, with what came along with its batch.
#[derive(Debug, Clone)]
pub struct ReceivedSpan {
    /// The span as it was sent.
    pub span: Span,
    /// The attributes of its resource.
    pub resource: Vec<KeyValue>,
    /// The headers of the request that brought it.
    pub headers: HeaderMap,
}

impl ReceivedSpan {
    /// The value of an attribute, as text; a missing one fails the test.
    pub fn attribute(&self, key: &str) -> String {
        text_of(&self.span.attributes, key).unwrap_or_else(|| panic!("no {key} in {:?}", self.span))
    }

    /// The value of an attribute of the resource, as text; a missing one fails the test.
    pub fn resource(&self, key: &str) -> String {
        text_of(&self.resource, key).unwrap_or_else(|| panic!("no {key} in {:?}", self.resource))
    }

    /// The keys of all attributes.
    pub fn keys(&self) -> Vec<&str> {
        self.span.attributes.iter().map(|attribute| attribute.key.as_str()).collect()
    }
}

impl OtlpReceiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tx, spans) = mpsc::unbounded_channel();
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tx = tx.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, tx.clone()));
                    // A client that leaves is no failure of a test.
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, spans, accept }
    }

    /// What goes into `[telemetry] otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `count` spans, in the order in which they ended.
    pub async fn next(&mut self, count: usize) -> Vec<ReceivedSpan> {
        let mut received = Vec::new();
        while received.len() < count {
            match tokio::time::timeout(WAIT, self.spans.recv()).await {
                Ok(Some(span)) => received.push(span),
                Ok(None) | Err(_) => panic!("only {} of {count} spans came: {received:?}", received.len()),
            }
        }
        received
    }

    /// Spans that have come and were not asked for. Sure only after the sender has flushed.
    pub fn rest(&mut self) -> Vec<ReceivedSpan> {
        std::iter::from_fn(|| self.spans.try_recv().ok()).collect()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    tx: mpsc::UnboundedSender<ReceivedSpan>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = |status| Response::builder().status(status).body(Full::default()).unwrap();
    if request.method() != Method::POST || request.uri().path() != "/v1/traces" {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let headers = request.headers().clone();
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
        return Ok(status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(status(StatusCode::BAD_REQUEST)) };
    let Ok(export) = ExportTraceServiceRequest::decode(body.to_bytes()) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    for batch in export.resource_spans {
        let resource = batch.resource.unwrap_or_default().attributes;
        for span in batch.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            // A test that is over doesn't listen.
            let _ = tx.send(ReceivedSpan { span, resource: resource.clone(), headers: headers.clone() });
        }
    }
    let body = ExportTraceServiceResponse::default().encode_to_vec();
    Ok(Response::builder().header("content-type", "application/x-protobuf").body(Full::from(body)).unwrap())
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(value) => Some(value.to_string()),
        other => Some(format!("{other:?}")),
    }
}
