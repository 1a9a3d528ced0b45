//! The other side of a chaos test: it takes effects, and remembers each under the key that it came with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

/// One effect that was taken.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Which number it was given: another for each effect.
    pub number: u64,
    /// What it came with.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Book {
    /// By idempotency key, `{run}:{step}`.
    effects: HashMap<String, Vec<Effect>>,
    /// How often each key came, the refused times included.
    asked: HashMap<String, u32>,
    last: u64,
}

/// A server on loopback that takes effects until it is dropped.
pub struct Ledger {
    book: Arc<Mutex<Book>>,
    pub port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Ledger {
    pub async fn start() -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let router = axum::Router::new().route("/{step}", post(take)).with_state(Arc::clone(&book));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // Whoever asks may be killed meanwhile.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { book, port, server }
    }

    /// What was taken under a key.
    pub fn effects(&self, run: &str, step: &str) -> Vec<Effect> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.effects.get(&format!("{run}:{step}")).cloned().unwrap_or_default()
    }

    /// Effects in all, and those of them that were taken more than once for one key.
    pub fn totals(&self) -> (usize, usize) {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let all = book.effects.values().map(Vec::len).sum();
        (all, all - book.effects.len())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Takes an effect; every first one of the step `flaky` is refused for now.
async fn take(
    State(book): State<Arc<Mutex<Book>>>,
    Path(step): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let key = key.trim_matches('"').to_owned();
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = book.asked.entry(key.clone()).or_default();
    *asked += 1;
    if step == "flaky" && *asked == 1 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    book.last += 1;
    let number = book.last;
    book.effects.entry(key).or_default().push(Effect { number, body });
    ([("content-type", "application/json")], json!({"number": number}).to_string()).into_response()
}
