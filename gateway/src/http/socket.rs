//! A TCP stream that is watched: what arrives and leaves moves the connection's
//! clock, and hyper's own bare refusals are held back.
//!
//! Owns the stream and what was read ahead of hyper. Does not own the protocol.
//! Invariant: on HTTP/1, bytes that belong to no answer of ours don't leave.
//!
//! hyper answers a malformed head by itself, with a status and nothing else, and
//! offers no hook. It does so only where no request is running and no answer is
//! unwritten, so that is how such bytes are known; `connection` then writes a
//! problem in their place.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;

/// What every HTTP/2 connection with prior knowledge begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most heads fit, so that the first request is read at once.
const READ_AHEAD_BYTES: usize = 4096;

/// What the peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Read to find out the protocol, and not yet given to hyper.
    read_ahead: Bytes,
    protocol: Protocol,
    activity: Arc<Activity>,
    ended: bool,
    held_back: Option<u16>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        let read_ahead = Bytes::new();
        Self { stream, read_ahead, protocol: Protocol::Http1, activity, ended: false, held_back: None }
    }

    /// Reads until it is known what the peer speaks; one that leaves before
    /// speaks HTTP/1 for all we know.
    pub(super) async fn detect(&mut self) -> io::Result<Protocol> {
        let mut first = BytesMut::with_capacity(READ_AHEAD_BYTES);
        while HTTP2_PREFACE.starts_with(&first) && first.len() < HTTP2_PREFACE.len() {
            if self.stream.read_buf(&mut first).await? == 0 {
                break;
            }
            self.activity.received();
        }
        if first.starts_with(HTTP2_PREFACE) {
            self.protocol = Protocol::Http2;
            self.activity.no_head();
        }
        self.read_ahead = first.freeze();
        Ok(self.protocol)
    }

    /// The status of the bare refusal that hyper wrote and that was held back.
    pub(super) fn held_back(&self) -> Option<u16> {
        self.held_back
    }

    /// Whether the peer has closed its side.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The stream itself, to be written to without hyper.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn is_unsolicited(&self) -> bool {
        self.protocol == Protocol::Http1 && !self.activity.owes_an_answer()
    }

    fn hold_back(&mut self, bytes: &[u8]) {
        // `HTTP/1.1 431 …`
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.held_back = self.held_back.or(status);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_ahead.is_empty() {
            let length = this.read_ahead.len().min(buf.remaining());
            buf.put_slice(&this.read_ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let (filled, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > filled {
            if this.protocol == Protocol::Http1 {
                this.activity.received();
            }
        } else if room > 0 {
            this.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_unsolicited() {
            this.hold_back(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.activity.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_unsolicited() {
            this.hold_back(slices.first().map_or(&[], |slice| slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.activity.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.protocol {
            // There may be a problem to write in place of what was held back.
            Protocol::Http1 => Poll::Ready(Ok(())),
            Protocol::Http2 => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}
