//! The inside of the process that compiles one component.
//!
//! Owns the bounds that it puts on itself before it reads anything, and the words by which it
//! tells its parent how it went. Does not own its life (`compile`). Invariant: it gives rights
//! away and never takes any, and it writes nothing but code to its standard output.
//!
//! Standard input is the component, standard output a file for the code, standard error one
//! line of JSON where there is no code: `{"reason": "…"}`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::artifact;
use super::engine::{self, Metering};

/// The exit status where the compiler does not take the component.
pub const REJECTED: i32 = 3;

/// The exit status where this process is not what its parent takes it for.
pub const FAILED: i32 = 1;

/// The code of one component. That of Python's 18 MB has 43 MB, and none of an upload's size makes much more.
pub(super) const CODE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How Rust says that there is no memory, before it aborts.
pub(super) const NO_MEMORY: &str = "memory allocation of";

/// Its three streams and some for the loader.
const FILES_MAX: u64 = 16;

/// How much the compiler yields to others: enough that on a busy machine calls win,
/// not so much that an upload starves.
const NICENESS: i32 = 10;

/// How long the compiler runs at a time while others wait, in nanoseconds. Linux gives three
/// milliseconds by itself, which is what a call on the same processor then takes longer.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 200_000;

/// What a process is told by its parent, in JSON as its argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// For which of the two kinds of engine.
    pub(super) metering: Metering,
    /// The parent's engine; another one's code would be of no use.
    pub(super) compatibility: String,
    /// The address space.
    pub(super) memory_bytes: u64,
    /// Processor time.
    pub(super) cpu_s: u64,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bounds can't be set, so nothing is compiled.
    #[error("a bound can't be set: {0}")]
    Bounds(#[source] io::Error),
    /// The gateway that asked is of another build: its binary was replaced while it ran.
    #[error("this program is not the one that runs the gateway; restart the gateway")]
    OtherBuild,
    /// Reading the component or writing the code.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The engine does not start here.
    #[error("the engine can't be started: {0:#}")]
    Engine(wasmtime::Error),
    /// The compiler does not take the component.
    #[error("{0:#}")]
    Rejected(wasmtime::Error),
}

impl Error {
    /// What to exit with.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Rejected(_) => REJECTED,
            Self::Bounds(_) | Self::OtherBuild | Self::Io(_) | Self::Engine(_) => FAILED,
        }
    }

    /// The line for standard error.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::json!({ "reason": self.to_string() }).to_string()
    }
}

/// The reason in a line that [`Error::line`] made.
pub(super) fn reason(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        reason: String,
    }
    serde_json::from_str::<Line>(line).ok().map(|line| line.reason)
}

/// Compiles standard input to standard output, within the bounds of `job`. The process is bounded
/// for good: there is nothing else to do in it afterwards.
///
/// # Errors
/// Why there is no code; what was written by then is of no use.
pub fn compile(job: &Job) -> Result<(), Error> {
    bound(job).map_err(|error| Error::Bounds(error.into()))?;
    lower_priority();
    let engine = engine::for_compiling(job.metering).map_err(Error::Engine)?;
    if hex::encode(artifact::compatibility(&engine, job.metering)) != job.compatibility {
        return Err(Error::OtherBuild);
    }
    let mut component = Vec::new();
    File::from(io::stdin().as_fd().try_clone_to_owned()?).read_to_end(&mut component)?;
    let code = engine.precompile_component(&component).map_err(Error::Rejected)?;
    // Unbuffered: the handle of `io::stdout` would look for line feeds in it.
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(&code)?;
    Ok(())
}

fn bound(job: &Job) -> rustix::io::Result<()> {
    // When the gateway is killed, nobody is left to do it.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [
        (Resource::As, job.memory_bytes),
        (Resource::Fsize, CODE_BYTES_MAX),
        // Neither threads nor processes. Root is exempt, and compiling needs none.
        (Resource::Nproc, 0),
        (Resource::Nofile, FILES_MAX),
        // A gigabyte of compiler on the disk helps nobody.
        (Resource::Core, 0),
    ] {
        lower(resource, most, most)?;
    }
    // At the hard bound the kernel kills, which looks as if there was no memory; at the soft one it says why.
    lower(Resource::Cpu, job.cpu_s, job.cpu_s.saturating_add(1))?;
    Ok(())
}

/// Lowers a bound; one that is lower already stays.
fn lower(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let least = |most: u64| now.maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(resource, Rlimit { current: Some(least(soft)), maximum: Some(least(hard)) })
}

pub(super) fn lower_priority() {
    // On Linux a thread has a niceness of its own. Elsewhere the process would get it.
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::setpriority_process(None, NICENESS);
        shorten_slices();
    }
}

/// Kernels before 6.12 know no slice of a task's own, and take no notice.
#[cfg(target_os = "linux")]
fn shorten_slices() {
    let attr = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: NICENESS,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no library that is used here has this system call")]
    // SAFETY: it reads `size` bytes at the pointer, which is how long what is there is, and changes this thread only.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_the_process_that_compiles_fits_the_engines_that_run_it() {
        for metering in [Metering::Fuel, Metering::Off] {
            let (runs, compiles) = (engine::for_tests(metering), engine::for_compiling(metering).unwrap());
            let hash = artifact::compatibility(&runs, metering);
            assert_eq!(hash, artifact::compatibility(&compiles, metering), "{metering:?}");
            let bytes =
                wat::parse_str("(component (core module (memory 1) (func (drop (memory.grow (i32.const 1))))))");
            let code = compiles.precompile_component(&bytes.unwrap()).unwrap();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&code).unwrap();
            artifact::map_for_tests(&runs, file.as_file());
        }
    }

    #[test]
    fn the_line_of_an_error_is_one_line_and_gives_its_reason_back() {
        let error = Error::Rejected(wasmtime::Error::msg("two\nlines \"and\" quotes"));
        assert!(!error.line().contains('\n'));
        assert_eq!(reason(&error.line()).as_deref(), Some("two\nlines \"and\" quotes"));
        assert_eq!(reason("thread 'main' panicked"), None);
        assert_eq!((error.exit_code(), Error::OtherBuild.exit_code()), (REJECTED, FAILED));
    }
}
