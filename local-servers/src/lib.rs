//! Real database servers for tests, benches and the demo: Debian's programs, each in a folder of its own on a
//! free loopback port.
//!
//! Knows nothing of the gateway. Invariants: no server that the machine runs by itself is used or touched; a
//! server ends with the process that started it, however that ends.

mod daemon;
#[cfg(feature = "clients")]
pub mod mariadb;
pub mod postgres;

#[cfg(feature = "clients")]
use std::io::Result;

/// Runs it on a thread and a runtime of its own: tests have theirs, and so have destructors.
#[cfg(feature = "clients")]
fn blocking<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work);
        scope.spawn(run).join().unwrap_or_else(|_| Err(std::io::Error::other("the work panicked")))
    })
}
