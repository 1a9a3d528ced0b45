//! Turning a component into machine code, where what it costs can be bounded.
//!
//! Owns whose turn it is, and the process that compiles: its start, its bounds, its end and
//! what that end means. Does not own what is done in it (`worker`), nor what becomes of the
//! code (`artifact`). Invariant: a component that is hostile to the compiler costs a child
//! process, never the gateway, and none outlives whoever waits for it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, Command};
use tokio::sync::Semaphore;
use wasmtime::Engine;

use super::artifact;
use super::engine::Metering;
use super::worker::{self, Job, REJECTED};
use crate::config;

/// Uploads that compile at once: as many as the registry takes in at once, so that one caller's
/// bomb doesn't hold up another's upload.
const UPLOADS_MAX: usize = 2;
/// Components that are compiled for calls at once. A lane of their own: no upload holds up a call.
const LOADS_MAX: usize = 1;

/// How much longer than its processor time a compilation may take by the clock. The processor time is the bound
/// on the component; on a machine where others work it comes by more slowly, and a process that waits for
/// something that never comes uses none.
const WALL_TIMES: u32 = 4;

/// Of what the process says; more than the reasons of wasmtime.
const SAID_BYTES_MAX: u64 = 16 * 1024;
/// Of that, what an answer or a log line repeats.
const REASON_CHARACTERS_MAX: usize = 500;

/// How much address space the child's allocator takes at a time, in KiB. By itself it takes a gigabyte
/// before `main`, which is then either most of the bound or, with a lower one, out of its reach.
const ARENA_RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32768");

/// What Rust exits with when its main thread panicked.
const PANICKED: i32 = 101;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum CompileIn {
    /// On a thread of this process, without a bound on memory: for benches, and for whoever
    /// trusts all components.
    ThisProcess,
    /// In a process of its own for each, which runs `compile-worker` of this `sluice`.
    Child {
        /// The `sluice` binary, of this very build.
        program: PathBuf,
    },
}

impl CompileIn {
    /// In children of the program that runs.
    ///
    /// # Errors
    /// When the operating system can't tell which that is.
    pub fn child_of_this_program() -> std::io::Result<Self> {
        std::env::current_exe().map(|program| Self::Child { program })
    }
}

/// For whom a component is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// An upload.
    Upload,
    /// A call whose code is not on this machine.
    Load,
}

/// Compiles, a few components at a time.
pub(super) struct CompileQueue {
    engine: Engine,
    compile_in: CompileIn,
    job: Job,
    timeout: Duration,
    uploads: Semaphore,
    loads: Semaphore,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The compiler does not take the component, or not within its bounds.
    #[error("{0}")]
    Rejected(String),
    /// It was not compiled within the time that this machine gave it, or the memory that the machine has. Which
    /// of the two is at fault is not known.
    #[error("{0}")]
    Starved(String),
    /// No process or thread could be had, or it is not this program.
    #[error("{0}")]
    Failed(String),
}

impl CompileQueue {
    pub(super) fn new(engine: Engine, metering: Metering, compile_in: CompileIn, config: &config::Runtime) -> Self {
        let timeout = Duration::from_millis(config.compile_timeout_ms).saturating_mul(WALL_TIMES);
        let job = Job {
            metering,
            compatibility: hex::encode(artifact::compatibility(&engine, metering)),
            memory_bytes: config.compile_memory_bytes,
            cpu_s: config.compile_timeout_ms.div_ceil(1000),
        };
        let (uploads, loads) = (Semaphore::new(UPLOADS_MAX), Semaphore::new(LOADS_MAX));
        Self { engine, compile_in, job, timeout, uploads, loads }
    }

    /// Reads `component` from where it stands to its end, and writes machine code for this engine to
    /// `code`. Cancelled, a child is killed; a thread goes on, and what it writes is for nobody.
    pub(super) async fn compile(&self, lane: Lane, component: File, code: File) -> Result<(), Error> {
        let turns = match lane {
            Lane::Upload => &self.uploads,
            Lane::Load => &self.loads,
        };
        let _turn = turns.acquire().await.map_err(failed)?;
        match &self.compile_in {
            CompileIn::ThisProcess => self.in_thread(component, code).await,
            CompileIn::Child { program } => self.in_child(program, component, code).await,
        }
    }

    async fn in_thread(&self, mut component: File, mut code: File) -> Result<(), Error> {
        let engine = self.engine.clone();
        let (done, result) = tokio::sync::oneshot::channel();
        let mut work = move || {
            let mut bytes = Vec::new();
            component.read_to_end(&mut bytes).map_err(failed)?;
            let compiled =
                engine.precompile_component(&bytes).map_err(|error| Error::Rejected(format!("{error:#}")))?;
            code.write_all(&compiled).map_err(failed)
        };
        // A thread of its own, since niceness stays with a thread: a pooled one
        // would carry it to other work.
        std::thread::Builder::new()
            .name("compile".to_owned())
            .spawn(move || {
                worker::lower_priority();
                let _ = done.send(work());
            })
            .map_err(failed)?;
        result.await.unwrap_or_else(|_| Err(Error::Failed("the compiler panicked".to_owned())))
    }

    async fn in_child(&self, program: &PathBuf, component: File, code: File) -> Result<(), Error> {
        let job = serde_json::to_string(&self.job).map_err(failed)?;
        // The child dies with the thread that starts it (`worker`): this is a worker of the async runtime,
        // which lives as long as the gateway, and must not be moved to a thread that ends when it idles.
        let mut child = Command::new(program)
            .args(["compile-worker", &job])
            // Nothing of the operator's secrets is where a component may come to rule.
            .env_clear()
            .env(ARENA_RESERVE.0, ARENA_RESERVE.1)
            .current_dir("/")
            .stdin(component)
            .stdout(code)
            .stderr(Stdio::piped())
            // A Ctrl-C in the terminal is for the gateway, which drains.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Failed(format!("{} can't be started: {error}", program.display())))?;
        let stderr = child.stderr.take();
        let ended = async {
            let said = read(stderr).await;
            child.wait().await.map(|status| (status, said))
        };
        match tokio::time::timeout(self.timeout, ended).await {
            Ok(Ok((status, said))) => self.judge(status, &said),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => {
                // By its id, and waited for: its turn is over when it is gone.
                child.kill().await.map_err(failed)?;
                Err(Error::Starved(format!("compiling it takes longer than {} ms", self.timeout.as_millis())))
            }
        }
    }

    /// What the end of a child means. Whatever a component can do to it is the component's fault.
    fn judge(&self, status: ExitStatus, said: &str) -> Result<(), Error> {
        let reason = shortened(said);
        let rejected = |text: String| Err(Error::Rejected(text));
        match (status.code(), status.signal().and_then(Signal::from_named_raw)) {
            (Some(0), _) => Ok(()),
            (Some(REJECTED), _) => rejected(reason),
            (Some(PANICKED), _) => {
                tracing::warn!(reason, "the compiler panicked on a component");
                rejected("the compiler gives up on it".to_owned())
            }
            (Some(code), _) => Err(Error::Failed(format!("the compiling process ended with {code}: {reason}"))),
            (None, Some(Signal::XCPU)) => {
                rejected(format!("compiling it takes more than {} s of a processor", self.job.cpu_s))
            }
            (None, Some(Signal::XFSZ)) => rejected(format!("its code is larger than {} bytes", worker::CODE_BYTES_MAX)),
            // Rust aborts when there is no memory, and says so; `KILL` is the kernel's when the machine has none.
            (None, Some(Signal::ABORT)) if said.contains(worker::NO_MEMORY) => {
                rejected(format!("compiling it takes more than {} bytes of memory", self.job.memory_bytes))
            }
            (None, Some(Signal::KILL)) => {
                tracing::warn!("the compiler was killed, most likely because this machine has no memory left");
                Err(Error::Starved("compiling it takes more memory than this machine has".to_owned()))
            }
            (None, signal) => {
                tracing::warn!(?signal, reason, "the compiler crashed on a component");
                rejected("the compiler crashes on it".to_owned())
            }
        }
    }
}

async fn read(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        // What could not be read was not said.
        let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The reason that the process gave, as far as people read it.
fn shortened(said: &str) -> String {
    let reason = worker::reason(said).unwrap_or_else(|| said.trim().to_owned());
    reason.chars().take(REASON_CHARACTERS_MAX).collect()
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}
