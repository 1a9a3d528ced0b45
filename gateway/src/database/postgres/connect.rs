//! How a connection is made, and how what runs on one is cancelled.
//!
//! Owns sockets, the settings that a session begins with, and the count of what a server sends. Invariant:
//! a connection whose server sends more than it was granted is broken, so no answer, and no single value,
//! is ever in memory that is larger than that.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream as _};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::Failure;
use super::line::{self, DriverEnd, Line};
use crate::config::PostgresUrl;
use crate::tls;

/// What a server may send while it greets: an error, a few dozen settings.
const GREETING_BYTES: u64 = 256 * 1024;

/// PostgreSQL's settings have 31 bits, and one is twice as long: twelve days.
const TIMEOUT_MS_MAX: u64 = i32::MAX as u64 / 2;

/// Of one address, with TLS and the greeting. A step waits for it, within the time of its statement.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that was asked ends a statement within milliseconds, unless the request came between two messages.
const CANCEL_INTERVAL: Duration = Duration::from_millis(250);
/// What goes on for so long is not ended by being asked; the server's own `statement_timeout` is left.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that is gone without a word is noticed within minutes, also on a connection that waits.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// How connections are made.
pub(super) struct Connector {
    url: PostgresUrl,
    tls: MakeRustlsConnect,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type TlsOver<S> = <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect;
type Encrypted<S> = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;

/// A connection that is driven.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) budget: Arc<ReadBudget>,
    /// What the client's driver uses too.
    pub(super) line: Line,
    driver: JoinHandle<()>,
    peer: Peer,
}

/// Whom a connection is to: a name may have several addresses, and a cancellation goes to the same.
#[derive(Clone)]
struct Peer {
    address: Address,
    name: String,
}

#[derive(Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Connector {
    pub(super) fn new(mut url: PostgresUrl, statement_ms: u64) -> Result<Self, tls::Error> {
        url.connection.options(session(statement_ms));
        if url.connection.get_application_name().is_none() {
            url.connection.application_name("sluice");
        }
        let tls = tls::connector(&url.tls)?;
        Ok(Self { url, tls })
    }

    /// To the first host that takes it, each address in its own time.
    pub(super) async fn connect(&self) -> Result<Wire, Failure> {
        let mut last: AnyError = "the URL names no host".into();
        for (host, port) in self.url.servers() {
            let connecting = async {
                let mut last: AnyError = "the name has no address".into();
                for peer in peers(host, port).await? {
                    match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_to(peer)).await {
                        Ok(Ok(wire)) => return Ok(wire),
                        Ok(Err(error)) => last = error,
                        Err(_) => last = "connecting took too long".into(),
                    }
                }
                Err(last)
            };
            match connecting.await {
                Ok(wire) => return Ok(wire),
                Err(error) => last = error,
            }
        }
        Err(Failure::Unreachable(last))
    }

    async fn connect_to(&self, peer: Peer) -> Result<Wire, AnyError> {
        let budget = Arc::new(ReadBudget::default());
        budget.grant(GREETING_BYTES);
        let stream = peer.open(&budget).await?;
        let (plain, stream) = line::shared(stream);
        let encrypted = Arc::default();
        let tls = Sharing { tls: self.tls::<DriverEnd>(&peer.name)?, line: Arc::clone(&encrypted) };
        let (client, mut connection) = self.url.connection.connect_raw(stream, tls).await?;
        let encrypted = encrypted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let line = encrypted.unwrap_or(plain);
        let driver = tokio::spawn(async move {
            // What the server says unasked is for nobody.
            while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {}
        });
        let wire = Wire { client, budget, line, driver, peer };
        wire.check_role(self.url.connection.get_target_session_attrs()).await?;
        Ok(wire)
    }

    fn tls<S>(&self, name: &str) -> Result<TlsOver<S>, Infallible>
    where
        MakeRustlsConnect: MakeTlsConnect<S, Error = Infallible>,
    {
        MakeTlsConnect::<S>::make_tls_connect(&mut self.tls.clone(), name)
    }

    /// Has the server end what runs on a connection, and waits until it has. A request that comes between two
    /// messages of one flight ends nothing, so it's repeated. Where the connection is lost it's sent once: nothing
    /// tells whether it was of use. Not longer than [`CANCEL_TIMEOUT`].
    pub(super) async fn cancel(&self, wire: &mut Wire) {
        let Wire { client, line, peer, .. } = wire;
        let cancelled = tokio::time::timeout(CANCEL_TIMEOUT, async {
            // Refused at once by a connection that is broken.
            let mut ended = pin!(async {
                if line.settle().await.is_ok() {
                    // Answered after all that was sent before it.
                    let _ = client.batch_execute("").await;
                }
            });
            loop {
                // A server that can't be reached has its own timeout.
                let _ = self.request_cancel(client, peer).await;
                if tokio::time::timeout(CANCEL_INTERVAL, ended.as_mut()).await.is_ok() {
                    break;
                }
            }
        });
        if cancelled.await.is_err() {
            tracing::warn!(
                "a statement that nobody waits for could not be cancelled; its server may go on with it until its timeout"
            );
        }
    }

    async fn request_cancel(&self, client: &Client, peer: &Peer) -> Result<(), AnyError> {
        let budget = Arc::new(ReadBudget::default());
        budget.grant(GREETING_BYTES);
        let stream = peer.open(&budget).await?;
        let tls = self.tls::<Counted>(&peer.name)?;
        Ok(client.cancel_token().cancel_query_raw(stream, tls).await?)
    }
}

/// The settings of a session, which `RESET ALL` goes back to. A statement that sets one of them with
/// `set_config` does so for what comes after it, and after it comes the reset.
fn session(statement_ms: u64) -> String {
    let statement_ms = statement_ms.clamp(1, TIMEOUT_MS_MAX);
    let settings = [
        // For what runs outside a transaction of ours, should that fail to begin.
        "default_transaction_read_only=on",
        "client_min_messages=error",
        "TimeZone=UTC",
        "DateStyle=ISO,MDY",
        "IntervalStyle=iso_8601",
        "bytea_output=hex",
        // The rules by which a statement was scanned here.
        "standard_conforming_strings=on",
    ]
    .map(str::to_owned);
    let times = [
        // The gateway's own clock cancels; this ends what a gateway left behind that died.
        format!("statement_timeout={statement_ms}"),
        // A lock that is held so long is told as such, before the time is over.
        format!("lock_timeout={}", (statement_ms / 2).max(1)),
        format!("idle_in_transaction_session_timeout={}", statement_ms * 2),
    ];
    settings.into_iter().chain(times).map(|setting| format!("-c {setting}")).collect::<Vec<_>>().join(" ")
}

async fn peers(host: &Host, port: u16) -> io::Result<Vec<Peer>> {
    match host {
        Host::Tcp(name) => {
            let addresses = tokio::net::lookup_host((name.as_str(), port)).await?;
            Ok(addresses.map(|address| Peer { address: Address::Tcp(address), name: name.clone() }).collect())
        }
        Host::Unix(folder) => {
            let address = Address::Unix(folder.join(format!(".s.PGSQL.{port}")));
            Ok(vec![Peer { address, name: "localhost".to_owned() }])
        }
    }
}

impl Peer {
    async fn open(&self, budget: &Arc<ReadBudget>) -> io::Result<Counted> {
        let stream: Box<dyn Socket> = match &self.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                socket2::SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                Box::new(stream)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Counted { stream, budget: Arc::clone(budget) })
    }
}

impl Wire {
    /// `target_session_attrs`: by what the server is, since every session of ours is read only.
    async fn check_role(&self, wanted: TargetSessionAttrs) -> Result<(), AnyError> {
        let (wanted, refusal) = match wanted {
            TargetSessionAttrs::ReadWrite => ("f", "the server is a standby"),
            TargetSessionAttrs::ReadOnly => ("t", "the server is not a standby"),
            _ => return Ok(()),
        };
        let answer = self.client.simple_query("SELECT pg_catalog.pg_is_in_recovery()").await?;
        let is_wanted = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(wanted));
        if answer.iter().any(is_wanted) { Ok(()) } else { Err(refusal.into()) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It would go on reading an answer that nobody wants.
        self.driver.abort();
    }
}

/// How much a server may send.
#[derive(Debug, Default)]
pub(super) struct ReadBudget {
    left: AtomicU64,
    is_used_up: AtomicBool,
}

impl ReadBudget {
    pub(super) fn grant(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Whether the connection was broken because of it.
    pub(super) fn is_used_up(&self) -> bool {
        self.is_used_up.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        // In one, since a grant comes from another thread.
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if taken.is_err() {
            self.is_used_up.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the server sends more than an answer may have"));
        }
        Ok(())
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A socket whose server is held to a budget.
struct Counted {
    stream: Box<dyn Socket>,
    budget: Arc<ReadBudget>,
}

impl line::Stream for Counted {}

impl line::Stream for Encrypted<DriverEnd> {
    fn binding(&self) -> ChannelBinding {
        self.channel_binding()
    }
}

/// Makes TLS of a connection, and shares what is inside of it.
struct Sharing {
    tls: TlsOver<DriverEnd>,
    line: Arc<Mutex<Option<Line>>>,
}

impl TlsConnect<DriverEnd> for Sharing {
    type Stream = DriverEnd;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<DriverEnd>> + Send>>;

    fn connect(self, stream: DriverEnd) -> Self::Future {
        Box::pin(async move {
            let (line, driver) = line::shared(self.tls.connect(stream).await?);
            *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
            Ok(driver)
        })
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.budget.take((buf.filled().len() - before) as u64))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
