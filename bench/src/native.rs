//! The limit: what a server on this machine could do if it ran no guest.
//!
//! hyper alone: it takes the same POST, reads the body, parses it as JSON, and
//! answers `{"output": …}` with the JSON upper-cased as a string, filled up with spaces (which JSON
//! allows at its end) to the length of the gateway's answer. No routing, no keys, no bounds, no
//! timeouts, no ids, no counters, no records. The same runtime and allocator as the gateway's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZero;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serves until the process is ended. Its first line says where, as the gateway's does.
///
/// # Errors
/// When the address can't be had.
pub fn serve(listen: SocketAddr, answer_bytes: usize) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    // Accepted in a task, as the gateway does: the thread that waits in `block_on` is no worker.
    runtime.block_on(async move { tokio::spawn(accept(listen, answer_bytes)).await })?
}

#[expect(clippy::print_stdout, reason = "the address is for whoever started it")]
async fn accept(listen: SocketAddr, answer_bytes: usize) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
    println!("Listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| answer(request, answer_bytes));
        tokio::spawn(async move {
            // A client that leaves is the end of every run.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, answer_bytes: usize) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => upper_cased(&body.to_bytes(), answer_bytes),
        Err(_) => None,
    };
    let (status, body) = body.map_or((StatusCode::BAD_REQUEST, Vec::new()), |body| (StatusCode::OK, body));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Answers every request on a connection with the same few bytes: what steps ask in the benches of host calls.
pub async fn serve_prices(stream: tokio::net::TcpStream) {
    let service = service_fn(async |_: Request<Incoming>| {
        let mut response = Response::new(Full::new(Bytes::from_static(br#"{"sku":"pen","price_cents":1250}"#)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok::<_, Infallible>(response)
    });
    // A client that leaves is the end of every run.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn upper_cased(body: &[u8], answer_bytes: usize) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut answer = serde_json::to_vec(&json!({"output": value.to_string().to_uppercase()})).ok()?;
    if answer.len() < answer_bytes {
        answer.resize(answer_bytes, b' ');
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_json_of_the_length_that_was_asked_for() {
        let answer = upper_cased(br#"{"input": "order"}"#, 200).unwrap();
        assert_eq!(answer.len(), 200);
        let value: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(value, json!({"output": r#"{"INPUT":"ORDER"}"#}));
    }

    #[test]
    fn what_is_not_json_has_no_answer() {
        assert_eq!(upper_cased(b"order", 10), None);
    }
}
