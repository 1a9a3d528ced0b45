//! The way to a server, which its driver and the flights of statements use in turns.
//!
//! Owns who may use it, and what a flight sends and hears: several messages at once, without a task in between, and
//! with one answer for all of them. Does not know what they mean (`message`, `flight`). Invariants: while a flight is
//! under way the driver neither hears nor says anything; a flight ends when the server is ready for the next, so one
//! that was left in the middle can be heard out by somebody else; and what is heard behind that end is nobody's answer,
//! so there is no other flight.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};
use tokio_util::io::poll_read_buf;

use super::message::{self, tag};

/// Of one read: what most answers have. The buffer grows to the largest message, within the budget of the connection.
const READ_BYTES: usize = 8 * 1024;
/// What a buffer keeps for the next flight.
const KEPT_BYTES: usize = 64 * 1024;

/// What messages pass through: a socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// What TLS tells of itself for the server's proof that it is the same.
    fn binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// The flights' end.
pub(super) struct Line {
    shared: Arc<Mutex<Shared>>,
    /// What is still to be sent.
    out: BytesMut,
    is_flushed: bool,
    heard: BytesMut,
    /// Of what was heard, the message that was given out last.
    given_bytes: usize,
}

/// The driver's end.
pub(super) struct DriverEnd(Arc<Mutex<Shared>>);

struct Shared {
    stream: Box<dyn Stream>,
    in_flight: bool,
    /// More was heard than a flight's answer, so nothing that comes is known to be whose it seems.
    is_broken: bool,
    /// The driver's, which asked while it was not its turn.
    driver: Option<Waker>,
}

/// One of the server's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: message::Body<'a>,
}

/// Both ends.
pub(super) fn shared(stream: impl Stream + 'static) -> (Line, DriverEnd) {
    let shared = Shared { stream: Box::new(stream), in_flight: false, is_broken: false, driver: None };
    let shared = Arc::new(Mutex::new(shared));
    let line = Line {
        shared: Arc::clone(&shared),
        out: BytesMut::new(),
        is_flushed: true,
        heard: BytesMut::new(),
        given_bytes: 0,
    };
    (line, DriverEnd(shared))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// Begins a flight: its messages are to be written here, and are sent when their answers are asked for. What the
    /// driver was asked before has been answered.
    pub(super) fn begin(&mut self) -> &mut BytesMut {
        lock(&self.shared).in_flight = true;
        self.is_flushed = false;
        &mut self.out
    }

    /// Whether a flight is under way.
    pub(super) fn is_in_flight(&self) -> bool {
        lock(&self.shared).in_flight
    }

    /// Whether nobody can use it any more.
    pub(super) fn is_broken(&self) -> bool {
        lock(&self.shared).is_broken
    }

    /// The server's next message. The flight is over with the one by which it is ready. Dropped, nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Message<'_>> {
        self.heard.advance(std::mem::take(&mut self.given_bytes));
        self.given_bytes = poll_fn(|cx| self.poll_message(cx)).await?;
        if self.heard.first() == Some(&tag::READY_FOR_QUERY) {
            self.land();
        }
        let mut message = message::Body(self.heard.get(..self.given_bytes).unwrap_or_default());
        let tag = message.byte()?;
        message.take(size_of::<u32>())?;
        Ok(Message { tag, body: message })
    }

    /// Hears a flight out, for what it says is for nobody any more.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        while self.is_in_flight() {
            self.next().await?;
        }
        Ok(())
    }

    fn land(&mut self) {
        let is_broken = !self.is_for_nobody(self.given_bytes);
        if is_broken {
            self.heard.truncate(self.given_bytes);
        }
        let driver = {
            let mut shared = lock(&self.shared);
            shared.in_flight = false;
            shared.is_broken |= is_broken;
            shared.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        if self.heard.capacity() > KEPT_BYTES {
            self.heard = BytesMut::from(&*self.heard);
        }
        if self.out.capacity() > KEPT_BYTES {
            self.out = BytesMut::new();
        }
    }

    /// Whether what was heard, from here on, is whole, and nobody waits for it. Of half a message the driver would take
    /// the rest for one.
    fn is_for_nobody(&self, start: usize) -> bool {
        let mut rest = self.heard.get(start..).unwrap_or_default();
        while let (Some(tag), Ok(Some(bytes))) = (rest.first(), whole_message(rest)) {
            if !tag::UNASKED.contains(tag) {
                return false;
            }
            rest = rest.get(bytes..).unwrap_or_default();
        }
        rest.is_empty()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if let Some(bytes) = whole_message(&self.heard)? {
                if !self.heard.first().is_some_and(|tag| tag::UNASKED.contains(tag)) {
                    return Poll::Ready(Ok(bytes));
                }
                self.heard.advance(bytes);
                continue;
            }
            let mut shared = lock(&self.shared);
            if shared.is_broken {
                return Poll::Ready(Err(message::malformed()));
            }
            let stream = &mut shared.stream;
            while !self.out.is_empty() {
                match ready!(Pin::new(&mut *stream).poll_write(cx, &self.out))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    sent => self.out.advance(sent),
                }
            }
            if !self.is_flushed {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                self.is_flushed = true;
            }
            self.heard.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut *stream), cx, &mut self.heard))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// How many bytes the first message takes, if all of it is there.
fn whole_message(heard: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[_, a, b, c, d]) = heard.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length < size_of::<u32>() {
        return Err(message::malformed());
    }
    Ok((heard.len() > length).then_some(length + 1))
}

impl DriverEnd {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut (dyn Stream + 'static)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut shared = lock(&self.0);
        if shared.is_broken {
            return Poll::Ready(Err(message::malformed()));
        }
        if shared.in_flight {
            shared.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        poll(Pin::new(&mut *shared.stream), cx)
    }
}

impl AsyncRead for DriverEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for DriverEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, AsyncWrite::poll_shutdown)
    }
}

impl TlsStream for DriverEnd {
    fn channel_binding(&self) -> ChannelBinding {
        lock(&self.0).stream.binding()
    }
}

/// Of TLS over a socket.
impl Stream for DriverEnd {}
