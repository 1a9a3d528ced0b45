//! Against servers on real sockets that say exactly what a test wants.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use rustls::RootCertStore;

mod hostile;
mod names;
mod streams;
mod tls;

const SECOND: Duration = Duration::from_secs(1);

fn open(change: impl FnOnce(&mut config::Egress)) -> Egress {
    let mut config = config::Egress {
        allow_private: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..config::Egress::default()
    };
    change(&mut config);
    Egress::open(&config).unwrap()
}

/// One with names and certificates of the test's own, that opens only 127.0.0.1 of what isn't public.
fn open_with(names: &Names<'_>, roots: RootCertStore, limits: Limits) -> Egress {
    let config = config::Egress { allow_private: vec!["127.0.0.1/32".parse().unwrap()], ..config::Egress::default() };
    let filter = Arc::new(Filter::new(config.allow_private.clone()));
    let names = Resolver::for_tests(names.server, names.hosts, Arc::clone(&filter));
    let tls = tls_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    Egress::with(&config, filter, Connector::new(names, tls, limits))
}

/// As for a machine with room, and little time.
const SHORT: Limits = Limits { timeout: SECOND, connections: 1_000 };

/// Where names are looked up.
struct Names<'a> {
    server: SocketAddr,
    hosts: &'a str,
}

fn get(url: &str) -> Request {
    Request { method: Method::GET, target: Target::parse(url).unwrap(), headers: HeaderMap::new(), body: Bytes::new() }
}

async fn ask(egress: &Egress, url: &str) -> Result<Response, Error> {
    ask_as(egress, url, "tests").await
}

async fn ask_as(egress: &Egress, url: &str, owner: &str) -> Result<Response, Error> {
    egress.send(get(url), Instant::now() + 10 * SECOND, &egress.allowance(owner)).await
}

/// Reads one head; `None` at the end of the connection.
async fn head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A server that gives every request the same answer, and counts its connections.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
    server_on("127.0.0.1:0".parse().unwrap(), answer).await
}

async fn server_on(address: SocketAddr, answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let (answer, connections) = (Arc::new(answer.into()), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                while head(&mut socket).await.is_some() {
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                    if !answer.starts_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n") {
                        return;
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn exchanges_one_after_the_other_share_a_connection() {
    let (address, connections) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nok").await;
    let egress = open(|_| {});
    for _ in 0..5 {
        let response = ask(&egress, &format!("http://{address}/x")).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
        assert_eq!(response.headers["x-a"], "b");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_not_public_is_not_connected_to_by_address_or_by_name() {
    let (address, connections) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let egress = open(|config| config.allow_private.clear());
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let refused = ask(&egress, &format!("http://{host}:{port}/")).await;
        assert!(matches!(refused, Err(Error::Closed)), "{host}: {refused:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // By its name it is reached where the operator opened it.
    assert!(ask(&open(|_| {}), &format!("http://localhost:{port}/")).await.is_ok());
}

#[tokio::test]
async fn a_redirect_and_a_compressed_body_come_as_they_are() {
    let (address, _) =
        server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let response = ask(&open(|_| {}), &format!("http://{address}/")).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), response.headers["location"].to_str().unwrap()),
        (302, "http://169.254.169.254/")
    );
    let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08!!").await;
    let response = ask(&open(|_| {}), &format!("http://{address}/")).await.unwrap();
    assert_eq!(&response.body[..], b"\x1f\x08!!");
}

#[tokio::test]
async fn an_answer_has_its_bounds() {
    let egress = open(|config| config.response_bytes = 1_000);
    for head in ["content-length: 1001", "transfer-encoding: chunked"] {
        let body = if head.starts_with('c') {
            "a".repeat(1_001)
        } else {
            format!("3e9\r\n{}\r\n0\r\n\r\n", "a".repeat(1_001))
        };
        let (address, _) = server(format!("HTTP/1.1 201 OK\r\n{head}\r\n\r\n{body}")).await;
        let refused = ask(&egress, &format!("http://{address}/")).await;
        assert!(matches!(refused, Err(Error::TooLarge(1_000))), "{head}: {refused:?}");
    }
    let endless = format!("HTTP/1.1 201 OK\r\n{}", "x: y\r\n".repeat(50_000));
    let (address, _) = server(endless).await;
    let refused = ask(&egress, &format!("http://{address}/")).await.unwrap_err().to_string();
    assert_eq!(refused, "the head of the answer is too large");
}

#[tokio::test]
async fn answers_that_are_held_share_their_memory_until_they_are_dropped() {
    let whole = |bytes: usize, head: &str| match head {
        "" => format!(
            "HTTP/1.1 201 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
            "a".repeat(bytes)
        ),
        _ => format!("HTTP/1.1 201 OK\r\ncontent-length: {bytes}\r\n\r\n{}", "a".repeat(bytes)),
    };
    for head in ["content-length", ""] {
        let mut egress = open(|config| {
            config.timeout_ms = 500;
            config.response_bytes = 600_000;
        });
        egress.room = Room::of(1_000_000);
        let (large, _) = server(whole(600_000, head)).await;
        let (small, _) = server(whole(10_000, head)).await;
        let (large, small) = (format!("http://{large}/"), format!("http://{small}/"));
        let held = ask(&egress, &large).await.unwrap();
        assert_eq!(held.body.len(), 600_000);
        let refused = ask(&egress, &large).await;
        assert!(matches!(refused, Err(Error::TimedOut(Wait::Body))), "{head} {refused:?}");
        assert!(ask(&egress, &small).await.is_ok());
        drop(held);
        assert!(ask(&egress, &large).await.is_ok());
    }
}

#[tokio::test]
async fn an_answer_without_a_length_keeps_only_the_room_that_it_fills() {
    let mut egress = open(|config| {
        config.timeout_ms = 500;
        config.response_bytes = 600_000;
    });
    egress.room = Room::of(800_000);
    let (address, _) = server(format!("HTTP/1.1 201 OK\r\n\r\n{}", "a".repeat(100_000))).await;
    let url = format!("http://{address}/");
    let held = [ask(&egress, &url).await, ask(&egress, &url).await, ask(&egress, &url).await];
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    assert!(matches!(ask(&egress, &url).await, Err(Error::TimedOut(Wait::Body))));
}

#[tokio::test]
async fn a_server_that_breaks_off_or_talks_nonsense_has_failed() {
    for (answer, said) in [
        ("", "the host closed the connection"),
        ("HTTP/1.1 201 OK\r\ncontent-length: 10\r\n\r\nabc", "the answer broke off"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        ("HTTP/1.1 201 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "the answer is not HTTP"),
    ] {
        let (address, _) = server(answer).await;
        assert_eq!(ask(&open(|_| {}), &format!("http://{address}/")).await.unwrap_err().to_string(), said, "{answer}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = ask(&open(|_| {}), &format!("http://{gone}/")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the host can't be connected to");
}

#[tokio::test]
async fn an_exchange_that_is_dropped_or_too_slow_ends_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, mut ends) = mpsc::channel(4);
    let (began, mut begins) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (began, ended) = (began.clone(), ended.clone());
            tokio::spawn(async move {
                head(&mut socket).await;
                began.send(()).await.unwrap();
                // A beginning, and nothing more.
                socket.write_all(b"HTTP/1.1 2").await.unwrap();
                let _ = socket.read(&mut [0; 16]).await;
                ended.send(()).await
            });
        }
    });
    let egress = open(|config| config.timeout_ms = 200);
    let url = format!("http://{address}/");
    assert!(matches!(ask(&egress, &url).await, Err(Error::TimedOut(_))));
    tokio::time::timeout(10 * SECOND, ends.recv()).await.expect("the connection ended").unwrap();
    begins.recv().await.unwrap();
    let patient = open(|_| {});
    tokio::select! {
        _ = ask(&patient, &url) => unreachable!("there is no answer"),
        began = begins.recv() => began.unwrap(),
    }
    tokio::time::timeout(10 * SECOND, ends.recv()).await.expect("the connection ended").unwrap();
}
