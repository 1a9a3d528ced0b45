//! A call in the process: `Runtime::prepare` and `Runtime::run`, a fresh instance each.
//!
//! Goal: 12 µs for the template's guest with all guards on. What a request pays on top
//! (sockets, HTTP, JSON of the answer, the record) is in the paired runs.

use std::hint::black_box;

use anyhow::Result;
use criterion::Criterion;
use sluice_bench::guest;
use sluice_bench::in_process::{Ending, InProcess, json};

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Id, guest, input, how it ends.
const CASES: [(&str, &str, &str, Ending); 5] = [
    // Reads and writes the context once each, and logs a line with two fields.
    ("order-check accepts", guest::ORDER_CHECK, guest::GOOD_ORDER, Ending::Completed),
    // Leaves the context alone and logs a line with one field.
    ("order-check refuses", guest::ORDER_CHECK, guest::BAD_ORDER, Ending::Invalid),
    ("order-check accepts, TinyGo", guest::ORDER_CHECK_TINYGO, guest::GOOD_ORDER, Ending::Completed),
    ("order-check accepts, AssemblyScript", guest::ORDER_CHECK_ASSEMBLYSCRIPT, guest::GOOD_ORDER, Ending::Completed),
    // Calls nothing of the host.
    ("echo", guest::ECHO, guest::GOOD_ORDER, Ending::Completed),
];

fn main() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut criterion = Criterion::default().configure_from_args();
    let metered = tokio.block_on(InProcess::open(|_| {}))?;
    let unmetered = tokio.block_on(InProcess::open(|config| config.limits.fuel = None))?;
    for (group, runtime) in [("call", &metered), ("call without metering", &unmetered)] {
        let mut group = criterion.benchmark_group(group);
        for (id, name, input, ending) in CASES {
            let input = json(input)?;
            let guest = tokio.block_on(runtime.load(name))?;
            tokio.block_on(runtime.check(&guest, &input, ending))?;
            group.bench_function(id, |bencher| {
                bencher.to_async(&tokio).iter(|| async { black_box(runtime.call(&guest, &input).await) });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
