//! The machine that is measured: what a reader must know of it, and its cores.
//!
//! Invariant: nothing here tells whose machine it is, so that results can be published.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::project;

/// What figures depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The memory of the machine.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Whether idle cores were kept from sleeping.
    pub kept_awake: bool,
}

/// Keeps idle cores from sleeping for as long as it lives.
///
/// The load generator has nothing to do between two answers of a slow server. On a virtual machine its core then
/// stops, and waking it is work of the host that is charged to the server: the slower the server, the
/// more of it. A fast limit never lets the generator sleep, so the two halves of a pair would not be alike.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "the kernel keeps the promise until it is closed")] fs::File);

impl Awake {
    /// Asks the kernel for wake-ups without delay (its quality of service for the
    /// latency of the processor's sleep); `None` where that is not allowed.
    #[must_use]
    pub fn hold() -> Option<Self> {
        let mut file = fs::File::options().write(true).open("/dev/cpu_dma_latency").ok()?;
        file.write_all(&0_i32.to_ne_bytes()).ok()?;
        Some(Self(file))
    }
}

/// What is measured, and with what.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// As the measured binary tells it.
    pub gateway: String,
    /// The commit of the sources, marked where they differ from it; nothing of a
    /// binary that was given.
    pub commit: Option<String>,
    /// The engine.
    pub wasmtime: String,
    /// The limit's library.
    pub hyper: String,
    /// The load generator.
    pub wrk: String,
    /// The compiler.
    pub rustc: String,
}

/// Two cores: the server gets one to itself, so that its CPU time is a core's share.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// Where servers run.
    pub server: usize,
    /// Where the load generator runs.
    pub load: usize,
}

impl Machine {
    /// Reads it from the kernel; `awake` is what is held of it.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn read(awake: Option<&Awake>) -> Result<Self> {
        let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|_| std::env::consts::ARCH.to_owned());
        let memory = field("/proc/meminfo", "MemTotal")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("can't read the kernel's release")?;
        Ok(Self {
            cpu,
            cores: allowed()?.len(),
            memory_bytes: kilobytes(&memory)?,
            kernel: kernel.trim().to_owned(),
            kept_awake: awake.is_some(),
        })
    }
}

impl Versions {
    /// Asks the programs; `gateway` is the binary that is measured.
    ///
    /// # Errors
    /// When it does not tell its version.
    pub fn read(gateway: &std::path::Path, of_this_repository: Built) -> Result<Self> {
        let gateway = first_line(Command::new(gateway).arg("--version")).context("the gateway does not run")?;
        let unknown = || "unknown".to_owned();
        let locked = |name| project::locked_version(name).map_or_else(unknown, str::to_owned);
        Ok(Self {
            gateway,
            commit: if of_this_repository == Built::Here { commit() } else { None },
            wasmtime: locked("wasmtime"),
            hyper: locked("hyper"),
            // It tells its version and then that this was no way to call it.
            wrk: first_line(Command::new("wrk").arg("-v")).map_or_else(|_| unknown(), |line| without_notes(&line)),
            rustc: first_line(Command::new("rustc").arg("--version").current_dir(project::root()))
                .unwrap_or_else(|_| unknown()),
        })
    }
}

/// Where a binary comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// From the sources of this repository, just now.
    Here,
    /// It was given.
    Elsewhere,
}

impl Cores {
    /// The first and the last core that this process may use: these are least likely
    /// to be two threads of one.
    ///
    /// # Errors
    /// When there is only one.
    pub fn choose() -> Result<Self> {
        match allowed()?.as_slice() {
            [server, .., load] => Ok(Self { server: *server, load: *load }),
            _ => bail!("paired runs need two cores: one for the server and one for the load"),
        }
    }
}

fn allowed() -> Result<Vec<usize>> {
    let list = field("/proc/self/status", "Cpus_allowed_list")?;
    cores(&list).with_context(|| format!("not a list of cores: {list}"))
}

/// The numbers of the kernel's `0-2,5`.
fn cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        cores.extend(from.trim().parse::<usize>().ok()?..=to.trim().parse().ok()?);
    }
    Some(cores)
}

/// The value of `name: value` in one of the kernel's files.
///
/// # Errors
/// When the file or the line is not there.
pub fn field(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("can't read {file}"))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    Ok(found.with_context(|| format!("{file} has no {name}"))?.1.trim().to_owned())
}

/// Bytes of the kernel's `123 kB`.
///
/// # Errors
/// When it is not written so.
pub fn kilobytes(text: &str) -> Result<u64> {
    let number = text.strip_suffix("kB").with_context(|| format!("not a size of the kernel: {text}"))?;
    Ok(number.trim().parse::<u64>()? * 1024)
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| first_line(Command::new("git").args(arguments).current_dir(project::root()));
    let commit = git(&["rev-parse", "--short", "HEAD"]).ok()?;
    // Results of an earlier row are not sources.
    let changed = git(&["status", "--porcelain", "--", ".", ":!bench/results"]).is_ok();
    Some(if changed { format!("{commit} with changes") } else { commit })
}

/// A name and a version, without what stands behind them in brackets.
fn without_notes(line: &str) -> String {
    line.split(['[', '(']).next().unwrap_or(line).trim().to_owned()
}

/// The first line of what a program prints.
fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().map(str::trim).filter(|line| !line.is_empty());
    line.map(str::to_owned).context("it printed nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_of_the_kernel_is_in_units_of_1024() {
        assert_eq!(kilobytes("8 kB").unwrap(), 8192);
        kilobytes("8 MB").unwrap_err();
    }

    #[test]
    fn a_list_of_cores_has_ranges_and_single_ones() {
        assert_eq!(cores("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cores("3"), Some(vec![3]));
        assert_eq!(cores("all"), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::read(None).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
    }
}
