//! What one call from a guest into the host costs.
//!
//! The slope between an execution with one host call and one with a thousand, so
//! the instance is not in it. The guest's own part is: the loop of `log-spam` is a few
//! instructions, but the `context` fixture reads each operation from JSON and tells its result as
//! JSON, which is most of what is shown for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::Criterion;
use sluice::model::JsonText;
use sluice_bench::in_process::{Ending, Guest, InProcess, json};

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Within the default bounds on log lines and host calls.
const MANY: usize = 1_000;

/// The input that makes a guest call the host so often.
type InputFor = fn(usize) -> String;

/// Id, guest, input.
const CASES: [(&str, &str, InputFor); 4] = [
    ("log.write", "log-spam", |calls| format!(r#"{{"lines":{calls},"bytes":32}}"#)),
    ("context.get", "context", |calls| operations(calls, r#"["get","k"]"#)),
    ("context.set", "context", |calls| operations(calls, r#"["set","k","1"]"#)),
    ("context.current", "context", |calls| operations(calls, r#"["current"]"#)),
];

fn main() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio.block_on(InProcess::open(|_| {}))?;
    let mut group = criterion.benchmark_group("host call");
    for (id, name, input) in CASES {
        let (one, many) = (json(&input(1))?, json(&input(MANY))?);
        let guest = tokio.block_on(runtime.load(name))?;
        tokio.block_on(runtime.check(&guest, &many, Ending::Completed))?;
        group.bench_function(id, |bencher| {
            bencher.to_async(&tokio).iter_custom(|calls| slope(&runtime, &guest, (&one, &many), calls));
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn operations(calls: usize, operation: &str) -> String {
    format!(r#"{{"ops":[{}]}}"#, vec![operation; calls].join(","))
}

/// The time of `calls` host calls, from as many pairs of executions as make that many.
async fn slope(runtime: &InProcess, guest: &Guest, (one, many): (&JsonText, &JsonText), calls: u64) -> Duration {
    let each = MANY as u64 - 1;
    let pairs = calls.div_ceil(each);
    let (mut short, mut long) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..pairs {
        short += timed(runtime, guest, one).await;
        long += timed(runtime, guest, many).await;
    }
    // `f64` is exact far beyond what criterion asks for.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls stay far below 2^52")]
    long.saturating_sub(short).mul_f64(calls as f64 / (pairs * each) as f64)
}

async fn timed(runtime: &InProcess, guest: &Guest, input: &JsonText) -> Duration {
    let started = Instant::now();
    let execution = black_box(runtime.call(guest, input).await);
    let elapsed = started.elapsed();
    drop(execution);
    elapsed
}
