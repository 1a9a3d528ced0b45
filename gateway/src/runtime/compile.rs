//! Turning a component into machine code.
//!
//! Owns the thread that compiles. Does not own what becomes of the code
//! (`artifact`). Invariant: one component is compiled at a time, at low priority,
//! so that running calls keep the cores.

use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::blob::Spool;

/// How much the compiling thread yields to the others: enough that on a busy
/// machine calls win, not so much that an upload starves.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Compiles, one component at a time.
pub(super) struct CompileQueue {
    engine: Engine,
    turn: Semaphore,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The compiler does not take the component.
    #[error("{0:#}")]
    Rejected(wasmtime::Error),
    /// The compiler is broken, or no thread could be had.
    #[error("{0}")]
    Failed(String),
}

impl CompileQueue {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, turn: Semaphore::new(1) }
    }

    /// Machine code for this engine, as `Artifacts::store` takes it. Cancelled while
    /// it compiles, the thread goes on and its result is dropped.
    pub(super) async fn compile(&self, component: Spool) -> Result<Vec<u8>, Error> {
        let _turn = self.turn.acquire().await.map_err(|error| Error::Failed(error.to_string()))?;
        let engine = self.engine.clone();
        let (done, result) = tokio::sync::oneshot::channel();
        // A thread of its own, since niceness stays with a thread: a pooled one
        // would carry it to other work.
        std::thread::Builder::new()
            .name("compile".to_owned())
            .spawn(move || {
                lower_priority();
                let compiled = match component.map() {
                    Ok(bytes) => engine.precompile_component(&bytes).map_err(Error::Rejected),
                    Err(error) => Err(Error::Failed(error.to_string())),
                };
                let _ = done.send(compiled);
            })
            .map_err(|error| Error::Failed(error.to_string()))?;
        match result.await {
            Ok(compiled) => compiled,
            Err(_) => Err(Error::Failed("the compiler panicked".to_owned())),
        }
    }
}

fn lower_priority() {
    // On Linux a thread has a niceness of its own. Elsewhere the process would get it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}
