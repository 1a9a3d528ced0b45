//! What the way out costs over the client it is made of.
//!
//! The same small exchange with a server on loopback, through `Egress::send` and through a pooled client of
//! hyper's, each on a warm connection; at the end the two in turns, as one ratio.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use criterion::Criterion;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice::config;
use sluice::egress::{self, Egress, Request, Target};

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of each kind in turn, and how often: long enough that a change of the machine's speed meets both.
const IN_A_ROW: u32 = 200;
const TURNS: u32 = 50;

type Native = Client<HttpConnector, Full<Bytes>>;

fn main() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = serve()?;
    let url = format!("http://{address}/v1/orders?limit=10");
    let config = config::Egress { allow_private: vec!["127.0.0.1/32".parse()?], ..config::Egress::default() };
    let (egress, native): (_, Native) = (Egress::open(&config)?, Client::builder(TokioExecutor::new()).build_http());
    tokio.block_on(send(&egress, &url))?;
    tokio.block_on(ask(&native, &url))?;

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("egress");
    group.bench_function("hyper", |bencher| bencher.to_async(&tokio).iter(|| ask(&native, &url)));
    group.bench_function("send", |bencher| bencher.to_async(&tokio).iter(|| send(&egress, &url)));
    group.finish();
    criterion.final_summary();
    tokio.block_on(compare(&egress, &native, &url))
}

/// The two in turns; the median of the turns' ratios.
#[expect(clippy::print_stdout, reason = "a bench tells its figure")]
async fn compare(egress: &Egress, native: &Native, url: &str) -> Result<()> {
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let started = Instant::now();
        for _ in 0..IN_A_ROW {
            ask(native, url).await?;
        }
        let natively = started.elapsed();
        let started = Instant::now();
        for _ in 0..IN_A_ROW {
            send(egress, url).await?;
        }
        ratios.push(started.elapsed().div_duration_f64(natively));
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).context("there are turns")?;
    println!("egress/hyper: {median:.3}");
    Ok(())
}

/// As a step's call does it: from text.
async fn send(egress: &Egress, url: &str) -> Result<Bytes> {
    let target = Target::parse(url)?;
    let headers = egress::headers::outgoing([("accept", b"*/*".as_slice())].into_iter(), &target)?;
    let request = Request { method: Method::GET, target, headers, body: Bytes::new() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    Ok(egress.send(request, deadline, &egress.allowance("bench")).await?.body)
}

async fn ask(native: &Native, url: &str) -> Result<Bytes> {
    let request = http::Request::get(url)
        .header("accept", "*/*")
        .header("user-agent", concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()))?;
    Ok(native.request(request).await?.into_body().collect().await?.to_bytes())
}

/// A server in a thread of its own.
fn serve() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        tokio.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let answer = service_fn(|_: http::Request<Incoming>| async {
                    let body = Full::new(Bytes::from_static(b"{\"orders\":[]}"));
                    Ok::<_, std::convert::Infallible>(http::Response::new(body))
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
            #[expect(unreachable_code, reason = "it names the type of the errors")]
            std::io::Result::Ok(())
        })
    });
    Ok(address)
}
