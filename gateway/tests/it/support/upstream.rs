//! An HTTP server on loopback that steps ask: it tells what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A server; it stops when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    hung_up: mpsc::UnboundedReceiver<()>,
    accept: JoinHandle<()>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// A header's text; empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Upstream {
    /// Listens on a free port. `/big/N` answers N bytes, `/status/N` that status, `/hang` never, and all else
    /// 200 with the request's body.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (hanging_up, hung_up) = mpsc::unbounded_channel();
        let (all, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (all, hanging_up) = (Arc::clone(&all), hanging_up.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&all), hanging_up.clone()));
                    // A client that leaves is no failure of a test.
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, seen, connections, hung_up, accept }
    }

    /// Where it is, `http://127.0.0.1:PORT`, with a path behind.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// A permission on everything of it.
    pub fn resource(&self) -> String {
        self.url("/**")
    }

    /// The requests that came since this was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Waits until there is a request that was not told yet.
    pub async fn until_asked(&self) {
        let asked = async {
            while self.seen.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("a request in time");
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until somebody who asked for `/hang` has left.
    pub async fn until_hung_up(&mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.hung_up.recv()).await;
        ended.expect("who asked for /hang left").unwrap();
    }
}

/// What a server does when it has said all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    /// Until who asked has left.
    Wait,
}

/// A server that gives whoever has asked these bytes, whatever they are; its address. It is there until the end of the test.
pub async fn saying(answer: impl Into<String>, then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer.into()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                // Who asked may have had enough before the end.
                let _ = stream.write_all(answer.as_bytes()).await;
                if then == Then::Wait {
                    let _ = stream.read_u8().await;
                }
            });
        }
    });
    address.to_string()
}

/// An address where nobody listens.
pub async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Tells that a request that hangs was dropped, which its connection's end does.
struct Hanging(mpsc::UnboundedSender<()>);

impl Drop for Hanging {
    fn drop(&mut self) {
        // Nobody may be listening any more.
        let _ = self.0.send(());
    }
}

async fn answer(
    request: Request<Incoming>,
    all: Arc<Mutex<Vec<Seen>>>,
    hanging_up: mpsc::UnboundedSender<()>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen { method: head.method.to_string(), path: path.clone(), headers: head.headers, body: body.clone() };
    all.lock().unwrap().push(seen);
    let number = path.rsplit('/').next().and_then(|last| last.parse::<usize>().ok()).unwrap_or_default();
    if path.starts_with("/hang") {
        let _hanging = Hanging(hanging_up);
        std::future::pending::<()>().await;
    }
    let body = if path.starts_with("/big/") { Bytes::from(vec![b'a'; number]) } else { body };
    let mut response = Response::new(Full::new(body));
    if path.starts_with("/status/") {
        *response.status_mut() = http::StatusCode::from_u16(u16::try_from(number).unwrap()).unwrap();
        response.headers_mut().insert("location", "http://169.254.169.254/".parse().unwrap());
    }
    Ok(response)
}
