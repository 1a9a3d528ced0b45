//! P29: a hit in the cache of components, among a thousand entries.
//!
//! Goal: 1 µs. The entries are as light as they can be: what is measured is the way to
//! one, which is the same for mapped code.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::Criterion;
use sluice::model::Digest;
use sluice::runtime::cache::{Bounds, Cache, Weigh};
use sluice::telemetry::Metrics;

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u32 = 1_000;
/// A prime far from 1, so that neighbours in time are none in the order of use.
const STRIDE: usize = 379;

struct Entry;

impl Weigh for Entry {
    fn bytes(&self) -> u64 {
        1
    }
}

type Shared = Arc<Cache<Entry, Infallible>>;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let tokio = tokio::runtime::Builder::new_current_thread().build()?;
    let digests: Vec<_> = (0..ENTRIES).map(|index| Digest::of(&index.to_le_bytes())).collect();
    let cache: Shared =
        Arc::new(Cache::new(Bounds { bytes_max: u64::MAX, entries_max: ENTRIES as usize }, Metrics::new()));
    tokio.block_on(async {
        for digest in &digests {
            cache.get_or_load(*digest, async { Ok(Entry) }).await?;
        }
        Ok::<_, Infallible>(())
    })?;

    let mut group = criterion.benchmark_group("p29_cache_retrieval");
    group.bench_function("one thread", |bencher| bencher.iter_custom(|hits| read(&cache, &digests, hits)));
    group.bench_function("two threads", |bencher| bencher.iter_custom(|hits| read_by_two(&cache, &digests, hits)));
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// The time of so many hits.
fn read(cache: &Shared, digests: &[Digest], hits: u64) -> Duration {
    let mut order = digests.iter().cycle().step_by(STRIDE);
    let started = Instant::now();
    for _ in 0..hits {
        black_box(order.next().and_then(|digest| cache.get(digest)));
    }
    started.elapsed()
}

/// The time of so many hits of one thread while another does the same.
fn read_by_two(cache: &Shared, digests: &[Digest], hits: u64) -> Duration {
    let start = Barrier::new(2);
    let run = || {
        start.wait();
        read(cache, digests, hits)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let own = run();
        other.join().map_or(own, |other| own.max(other))
    })
}
