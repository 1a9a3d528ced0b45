//! What a process has used: CPU time and memory, as the kernel counts them.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::machine::{field, kilobytes};

/// A running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

/// Behind the name: the fields of proc(5)'s `stat` from the third on.
const UTIME: usize = 11;
const STIME: usize = 12;

/// How long a process that has nothing to do is watched before that is believed, and
/// how long one is waited for that has.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_DEADLINE: Duration = Duration::from_secs(30);
/// Ten milliseconds each: timers and tickers go on.
const QUIET_TICKS_MAX: u64 = 1;

impl Process {
    /// CPU time of all its threads since it started, in the kernel's ticks.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_ticks(self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).context("the server is gone")?;
        ticks(&stat).context("/proc/PID/stat is not as proc(5) says")
    }

    /// What it holds in memory now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(self) -> Result<u64> {
        kilobytes(&field(&format!("/proc/{}/status", self.0), "VmRSS")?)
    }

    /// Waits until it does nothing any more: what one run left to do must not be
    /// counted in the next one.
    ///
    /// # Errors
    /// When it is gone.
    pub fn settle(self) -> Result<()> {
        let deadline = Instant::now() + QUIET_DEADLINE;
        let mut before = self.cpu_ticks()?;
        while Instant::now() < deadline {
            thread::sleep(QUIET);
            let now = self.cpu_ticks()?;
            if now.saturating_sub(before) <= QUIET_TICKS_MAX {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

/// Microseconds of so many ticks.
#[must_use]
pub fn ticks_us(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

fn ticks(stat: &str) -> Option<u64> {
    // The name is in brackets and may hold anything, brackets too.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(number(UTIME)? + number(STIME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 500 25 9 9 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(525));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Process(std::process::id()).resident_bytes().unwrap() > 0);
    }
}
