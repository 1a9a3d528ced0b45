//! `sluice serve`: the runtime that the gateway runs on.
//!
//! Does not own what is started, nor in which order (`app`).

use std::time::Duration;

use anyhow::Context as _;

use super::config::{self, Sources};

/// For threads that still write when the gateway has drained; what they do is
/// not needed for a clean restart.
const STRAGGLERS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the gateway until a signal stops it.
pub(super) fn run(sources: Sources) -> anyhow::Result<()> {
    let config = config::load(sources)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("the threads of the gateway can't be started")?;
    let result = runtime.block_on(crate::app::run(config));
    runtime.shutdown_timeout(STRAGGLERS_TIMEOUT);
    result.context("the gateway can't run")
}
