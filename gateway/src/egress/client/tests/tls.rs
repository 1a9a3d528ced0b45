//! TLS, and HTTP/2 over it.

use h2::server::{Connection, SendResponse};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

type Secured = TlsStream<TcpStream>;

/// A certificate for `localhost` and its addresses, of an authority that only [`Trust::egress`] knows.
struct Trust {
    certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Trust {
    fn new(protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { certificate, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    async fn egress(&self) -> Egress {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let names = Names { server: names::nobody().await, hosts: "127.0.0.1 localhost other.test\n" };
        open_with(&names, roots, SHORT)
    }

    /// Serves each connection as a test wants, and counts them.
    async fn serve<F, T>(&self, serve: F) -> (u16, Arc<AtomicUsize>)
    where
        F: Fn(Secured) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, serve) = (self.acceptor.clone(), Arc::new(serve));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
                tokio::spawn(async move {
                    if let Ok(secured) = acceptor.accept(socket).await {
                        serve(secured).await;
                    }
                });
            }
        });
        (port, connections)
    }
}

/// Answers with the version of HTTP that was spoken.
async fn tell_version(secured: Secured) {
    let answer = service_fn(|request: http::Request<Incoming>| async move {
        let host = request.uri().host().map(str::to_owned);
        let body = format!("{:?} {}", request.version(), host.unwrap_or_default());
        Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(body))))
    });
    let io = TokioIo::new(secured);
    if io.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
    }
}

async fn body(egress: &Egress, url: &str) -> Result<String, String> {
    let answer = ask(egress, url).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn http_2_is_spoken_with_servers_that_know_it_on_one_connection() {
    let trust = Trust::new(&["h2", "http/1.1"]);
    let (port, connections) = trust.serve(tell_version).await;
    let (egress, url) = (trust.egress().await, format!("https://localhost:{port}/x"));
    assert_eq!(body(&egress, &url).await.as_deref(), Ok("HTTP/2.0 localhost"));
    let answers = futures_util::future::join_all((0..64).map(|_| body(&egress, &url))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("HTTP/2.0 localhost")), "{answers:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    let old = Trust::new(&["http/1.1"]);
    let (port, _) = old.serve(tell_version).await;
    assert_eq!(body(&old.egress().await, &format!("https://127.0.0.1:{port}/")).await.as_deref(), Ok("HTTP/1.1 "));
}

#[tokio::test]
async fn a_certificate_of_strangers_or_for_another_name_is_not_taken() {
    let failed = Err("TLS with the host failed".to_owned());
    let trust = Trust::new(&["h2"]);
    let (port, _) = trust.serve(tell_version).await;
    let url = format!("https://localhost:{port}/");
    assert_eq!(body(&Trust::new(&[]).egress().await, &url).await, failed);
    assert_eq!(body(&open(|_| {}), &url).await, failed);
    let other = format!("https://other.test:{port}/");
    assert_eq!(body(&trust.egress().await, &other).await, failed);
}

#[tokio::test]
async fn a_server_without_tls_has_failed_and_a_silent_one_is_left_in_time() {
    let trust = Trust::new(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(
        body(&trust.egress().await, &format!("https://{plain}/")).await,
        Err("TLS with the host failed".to_owned())
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let began = Instant::now();
    assert_eq!(body(&trust.egress().await, &url).await, Err("the host was not connected to in time".to_owned()));
    assert!(began.elapsed() < 5 * SECOND);
}

/// What a server of HTTP/2 does with a request.
type Trick = fn(&mut Connection<Secured, Bytes>, SendResponse<Bytes>);

fn ok() -> http::Response<()> {
    http::Response::new(())
}

const TRICKS: &[(&str, Trick)] = &[
    ("a reset", |_, mut answer| answer.send_reset(h2::Reason::INTERNAL_ERROR)),
    ("a reset in the body", |_, mut answer| {
        let mut body = answer.send_response(ok(), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        body.send_reset(h2::Reason::INTERNAL_ERROR);
    }),
    ("going away", |connection, _| connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM)),
    ("a huge head", |_, mut answer| {
        let mut huge = ok();
        for place in 0..20 {
            let name = http::HeaderName::try_from(format!("x-{place}")).unwrap();
            huge.headers_mut().insert(name, "a".repeat(10_000).parse().unwrap());
        }
        let _ = answer.send_response(huge, true);
    }),
    ("a length that is not the body's", |_, mut answer| {
        let mut response = ok();
        response.headers_mut().insert("content-length", 10.into());
        let mut body = answer.send_response(response, false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
    }),
];

#[tokio::test]
async fn a_server_that_misbehaves_in_http_2_has_failed_and_others_are_served_on() {
    let trust = Trust::new(&["h2"]);
    let egress = trust.egress().await;
    for (what, trick) in TRICKS {
        let (port, _) = trust
            .serve(move |secured| async move {
                let mut connection = h2::server::handshake(secured).await.unwrap();
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    if request.uri().path() == "/trick" {
                        trick(&mut connection, answer);
                    } else {
                        answer.send_response(ok(), true).unwrap();
                    }
                }
            })
            .await;
        let refused = ask(&egress, &format!("https://localhost:{port}/trick")).await;
        assert!(matches!(refused, Err(Error::Failed { .. })), "{what}: {refused:?}");
        let next = ask(&egress, &format!("https://localhost:{port}/")).await;
        assert!(next.is_ok(), "{what}: {next:?}");
    }
}
