//! P30: compiling a component, and loading what was compiled.
//!
//! Compiling is what an upload waits for: machine code, written and synced, and mapped.
//! Loading is what the first call after an eviction waits for: read, checked against its HMAC,
//! mapped, linked.

use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use sluice_bench::guest;
use sluice_bench::in_process::{Guest, InProcess};

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A compile takes a tenth of a second, so this is all that fits a minute.
const COMPILES: usize = 10;

fn main() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut criterion = Criterion::default().configure_from_args();
    compile(&mut criterion, &tokio)?;
    load(&mut criterion, &tokio)?;
    criterion.final_summary();
    Ok(())
}

fn compile(criterion: &mut Criterion, tokio: &tokio::runtime::Runtime) -> Result<()> {
    let runtime = tokio.block_on(InProcess::open(|_| {}))?;
    let mut group = criterion.benchmark_group("p30_compilation");
    group.sample_size(COMPILES).sampling_mode(SamplingMode::Flat);
    for name in [guest::ORDER_CHECK, guest::LARGE] {
        let guest = tokio.block_on(runtime.load(name))?;
        group.bench_function(named(name, &guest), |bencher| {
            bencher.to_async(tokio).iter_custom(|compiles| compiled(&runtime, &guest, compiles));
        });
    }
    group.finish();
    Ok(())
}

async fn compiled(runtime: &InProcess, guest: &Guest, compiles: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..compiles {
        runtime.forget(guest).await;
        let started = Instant::now();
        // It was compiled before, so it is compiled again.
        let _ = runtime.compile(guest).await;
        elapsed += started.elapsed();
    }
    elapsed
}

/// Two components and room for one: every look evicts what the next one wants.
fn load(criterion: &mut Criterion, tokio: &tokio::runtime::Runtime) -> Result<()> {
    let runtime = tokio.block_on(InProcess::open(|config| config.runtime.cache_modules = 1))?;
    let small = tokio.block_on(runtime.load(guest::ORDER_CHECK))?;
    let large = tokio.block_on(runtime.load(guest::LARGE))?;
    tokio.block_on(runtime.prepare(&small))?;
    let mut group = criterion.benchmark_group("p30_load");
    for (name, measured, other) in [(guest::ORDER_CHECK, &small, &large), (guest::LARGE, &large, &small)] {
        group.bench_function(named(name, measured), |bencher| {
            bencher.to_async(tokio).iter_custom(|loads| loaded(&runtime, measured, other, loads));
        });
    }
    group.finish();
    Ok(())
}

async fn loaded(runtime: &InProcess, measured: &Guest, other: &Guest, loads: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..loads {
        // Both were prepared before, so neither fails now.
        let _ = runtime.prepare(other).await;
        let started = Instant::now();
        let _ = runtime.prepare(measured).await;
        elapsed += started.elapsed();
    }
    elapsed
}

fn named(name: &str, guest: &Guest) -> BenchmarkId {
    BenchmarkId::new(name, format!("{} KB", guest.bytes.len().div_ceil(1_000)))
}
