//! WASI p2 as a step sees it: its own environment, clocks, random numbers and
//! bounded output; no files, no sockets, no arguments, nothing of the host.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use super::log::{Log, Stream, Witness};

/// What clocks are rounded down to: too coarse to time a neighbour's cache lines,
/// fine enough for everything a step does.
const RESOLUTION_NANOS: u64 = 1_000_000;

/// Random bytes a guest may ask for at once.
const RANDOM_BYTES_MAX: u64 = 1024 * 1024;

/// Offered to a guest that asks how much it may write at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The context of one execution.
pub(in crate::runtime) fn context(env: Vec<(String, String)>, log: &Log) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(Output { streams: log.streams(), stream: Stream::Stdout })
        .stderr(Output { streams: log.streams(), stream: Stream::Stderr })
        .wall_clock(Wall)
        .monotonic_clock(Monotonic(Instant::now()))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    for (name, value) in env {
        builder.env(name, value);
    }
    builder.build()
}

fn coarse_nanos(time: Duration) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    nanos - nanos % RESOLUTION_NANOS
}

struct Wall;

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(RESOLUTION_NANOS)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_nanos(coarse_nanos(now))
    }
}

/// Starts at zero when an execution first asks, so that it tells nothing of the host's uptime.
struct Monotonic(Instant);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        RESOLUTION_NANOS
    }

    fn now(&self) -> u64 {
        coarse_nanos(self.0.elapsed())
    }
}

#[derive(Clone)]
struct Output {
    streams: Witness,
    stream: Stream,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.streams.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for Output {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.streams.write(self.stream, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
