use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::http::Problem;
use crate::http::body::{self, Bounds};
use crate::http::request_id::RequestIds;

/// Long enough that only the timeout under test can be what ends a connection.
const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(50);

const PLENTY: Config = Config { drain: LONG, head_bytes: 16 * 1024, head_timeout: LONG, idle_timeout: LONG };

/// `/echo` gives the body back, `/large` bounds it to 10 bytes, `/hang` never
/// answers and tells when it is entered and when it is dropped.
#[derive(Clone)]
struct Paths {
    seen: mpsc::UnboundedSender<&'static str>,
}

struct TellsWhenDropped(mpsc::UnboundedSender<&'static str>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

impl Service for Paths {
    type Body = Full<Bytes>;

    async fn call(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/hang" => {
                let _guard = TellsWhenDropped(self.seen.clone());
                let _ = self.seen.send("entered");
                std::future::pending().await
            }
            "/large" => {
                let bounds = Bounds { bytes_max: 10, timeout: LONG };
                let error = body::read(request.into_body(), bounds).await.unwrap_err();
                let mut response = self.refuse(Problem::from(error)).map(Full::new);
                response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
                response
            }
            _ => {
                let bounds = Bounds { bytes_max: 1024, timeout: LONG };
                Response::new(Full::new(body::read(request.into_body(), bounds).await.unwrap()))
            }
        }
    }

    fn refuse(&self, problem: Problem) -> Response<Bytes> {
        Problem::render(problem.into_response(), &RequestIds::default().next(), None)
    }
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Report>,
    seen: mpsc::UnboundedReceiver<&'static str>,
}

async fn started(config: Config) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (tx, seen) = mpsc::unbounded_channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve(listener, Paths { seen: tx }, config, shutdown));
    Server { address, stop, served, seen }
}

impl Server {
    async fn send(&self, text: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_ref()).await.unwrap();
        stream
    }
}

/// Everything until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    text
}

#[tokio::test]
async fn a_kept_connection_serves_one_request_after_another() {
    let server = started(PLENTY).await;
    let mut stream = server.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none").await;
    assert!(until(&mut stream, "one").await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\ntwo").await.unwrap();
    assert!(until(&mut stream, "two").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_it_was_idle_for_too_long() {
    let server = started(Config { idle_timeout: Duration::from_millis(500), ..PLENTY }).await;
    let stream = server.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none").await;
    assert!(rest(stream).await.ends_with("\r\n\r\none"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_a_broken_one_after_them_ends_it() {
    let server = started(PLENTY).await;
    let one = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none";
    let two = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\ntwo";
    let text = rest(server.send(format!("{one}{two}not http\r\n\r\n")).await).await;
    assert!(text.find("one").unwrap() < text.find("two").unwrap(), "{text}");
    assert!(text.contains("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_answered_408() {
    let server = started(Config { head_timeout: SHORT, ..PLENTY }).await;
    for first in ["G", "PRI * HT", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let text = rest(server.send(first).await).await;
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
        assert!(text.contains("connection: close\r\n") && text.contains("\"code\":\"request-timeout\""), "{text}");
    }
}

#[tokio::test]
async fn a_slow_head_on_a_kept_connection_is_answered_408_after_the_first_answer() {
    let server = started(Config { head_timeout: SHORT, ..PLENTY }).await;
    let mut stream = server.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none").await;
    assert!(until(&mut stream, "one").await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"POST /e").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed_without_one() {
    let server = started(Config { idle_timeout: SHORT, ..PLENTY }).await;
    assert_eq!(rest(server.send("").await).await, "");
}

#[tokio::test]
async fn a_head_over_its_bound_is_answered_431_with_a_problem() {
    let server = started(PLENTY).await;
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(101));
    for head in [large, many] {
        let text = rest(server.send(head).await).await;
        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{text}");
        assert!(text.contains("content-type: application/problem+json\r\n"), "{text}");
        assert!(text.contains("\"code\":\"headers-too-large\""), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_answered_400_with_a_problem() {
    let server = started(PLENTY).await;
    for head in [
        "hello\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let text = rest(server.send(head).await).await;
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}: {text}");
        assert!(text.contains("\"code\":\"bad-request\""), "{head}: {text}");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_why_it_was_refused() {
    let server = started(PLENTY).await;
    let mut stream = server.send("POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n").await;
    stream.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
    let text = rest(stream).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("\"limit\":10"), "{text}");
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_request() {
    let mut server = started(PLENTY).await;
    let stream = server.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(server.seen.recv().await, Some("entered"));
    drop(stream);
    assert_eq!(server.seen.recv().await, Some("dropped"));
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_waits_for_none() {
    let server = started(PLENTY).await;
    let mut idle = server.send("GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut idle, "\r\n\r\n").await;
    let unused = server.send("").await;
    server.stop.send(()).unwrap();
    assert_eq!(server.served.await.unwrap(), Report { cut: 0 });
    assert_eq!(rest(idle).await, "");
    drop(unused);
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn what_is_not_done_when_draining_ends_is_cut_and_counted() {
    let mut server = started(Config { drain: SHORT, ..PLENTY }).await;
    let stream = server.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(server.seen.recv().await, Some("entered"));
    server.stop.send(()).unwrap();
    assert_eq!(server.served.await.unwrap(), Report { cut: 1 });
    assert_eq!(server.seen.recv().await, Some("dropped"));
    drop(stream);
}

#[tokio::test]
async fn a_request_that_ends_while_draining_is_answered() {
    let server = started(PLENTY).await;
    let mut stream =
        server.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n").await;
    until(&mut stream, "100 Continue\r\n\r\n").await;
    server.stop.send(()).unwrap();
    stream.write_all(b"one").await.unwrap();
    let text = rest(stream).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("one"), "{text}");
    assert_eq!(server.served.await.unwrap(), Report { cut: 0 });
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_its_answer_while_stopping() {
    let server = started(PLENTY).await;
    let head = "POST /large HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n";
    let mut stream = server.send(head).await;
    until(&mut stream, "100 Continue\r\n\r\n").await;
    server.stop.send(()).unwrap();
    // The listener is gone when stopping has begun.
    while TcpStream::connect(server.address).await.is_ok() {}
    stream.write_all(b"3d0900\r\n").await.unwrap();
    stream.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 413"));
    assert_eq!(server.served.await.unwrap(), Report { cut: 0 });
}

#[tokio::test]
async fn an_http_2_peer_that_takes_nothing_of_its_answer_is_cut() {
    let server = started(Config { idle_timeout: Duration::from_millis(300), ..PLENTY }).await;
    let settings_of_an_empty_window = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    // `:method: POST`, `:scheme: http`, `:path: /echo`, `:authority: a`.
    let head = b"\0\0\x0c\x01\x04\0\0\0\x01\x83\x86\x04\x05/echo\x01\x01a";
    let body = b"\0\0\x03\0\x01\0\0\0\x01one";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let mut stream = server.send([preface, settings_of_an_empty_window, head, body].concat()).await;
    let mut answer = Vec::new();
    // The end, or a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.windows(3).any(|bytes| bytes == b"one"), "{answer:?}");
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_served_and_drained() {
    // Fails where another test has done it, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Its frames are no heads, so the time for those doesn't end it.
    let server = started(Config { head_timeout: SHORT, ..PLENTY }).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/echo", server.address);
    for text in ["one", "two"] {
        let response = client.post(&url).body(text).send().await.unwrap();
        assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
        assert_eq!(response.text().await.unwrap(), text);
    }
    server.stop.send(()).unwrap();
    assert_eq!(server.served.await.unwrap(), Report { cut: 0 });
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_http_2_request() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = started(PLENTY).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let asked = tokio::spawn(client.get(format!("http://{}/hang", server.address)).send());
    assert_eq!(server.seen.recv().await, Some("entered"));
    asked.abort();
    assert_eq!(server.seen.recv().await, Some("dropped"));
}
