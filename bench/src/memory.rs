//! The memory row: what the gateway holds after a few calls, and after very many.
//!
//! Invariant: memory is read when the gateway has nothing left to do, so that what waits to be
//! written is not taken for a leak.

use anyhow::Result;
use serde::Serialize;

use crate::load::{Errors, real};
use crate::machine::Cores;
use crate::options::Options;
use crate::paired::Subject;
use crate::report::{Status, Table};
use crate::server::Kind;

/// Short, so that the way between start and end is seen.
const SLICE_SECONDS: u64 = 2;
/// Calls before the first reading: the pool goes through many slots before it comes
/// back to the first, and the store's page cache fills.
const WARM_UP_CALLS: u64 = 50_000;

/// One guest, called again and again.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The guest.
    pub guest: &'static str,
    /// The JSON of its input.
    pub input: &'static str,
    /// The most that the memory after all calls may be, as a multiple of that after the warm-up.
    pub growth_max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// The most that was allowed, as a multiple.
    pub growth_max: f64,
    /// The first after the warm-up, the last after all calls.
    pub readings: Vec<Reading>,
    /// Requests that failed.
    pub errors: u64,
}

/// The gateway's memory after so many calls.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Reading {
    /// Calls since its start.
    pub calls: u64,
    /// Its resident memory (`VmRSS`).
    pub resident_bytes: u64,
}

/// Measures the row; `progress` is told each reading.
///
/// # Errors
/// When the gateway can't be started or called at all.
pub fn measure(
    plan: &Plan,
    gateway: &Kind,
    cores: Cores,
    options: &Options,
    progress: &mut dyn FnMut(String),
) -> Result<Memory> {
    let subject = Subject::start(gateway, (plan.guest, plan.input), cores, options)?;
    let (mut calls, mut errors, mut readings) = (0, 0, Vec::new());
    // The warm-up's calls are not among those that are counted.
    while calls < WARM_UP_CALLS + options.calls() {
        let slice = subject.load.run(&subject.server, SLICE_SECONDS)?;
        calls += slice.requests;
        errors += Errors::total(&slice.errors);
        if calls >= WARM_UP_CALLS {
            subject.server.process().settle()?;
            let resident_bytes = subject.server.process().resident_bytes()?;
            progress(format!("{calls} calls: {}", megabytes(resident_bytes)));
            readings.push(Reading { calls, resident_bytes });
        }
    }
    Ok(Memory { growth_max: plan.growth_max, readings, errors })
}

impl Memory {
    fn ends(&self) -> (Reading, Reading) {
        let none = Reading { calls: 0, resident_bytes: 0 };
        (self.readings.first().copied().unwrap_or(none), self.readings.last().copied().unwrap_or(none))
    }

    fn growth(&self) -> f64 {
        let (first, last) = self.ends();
        real(last.resident_bytes) / real(first.resident_bytes.max(1))
    }

    /// Whether it stayed flat without an error.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.errors {
            0 if self.growth() <= self.growth_max => Status::Reached,
            0 => Status::Missed,
            errors => Status::Failed { errors },
        }
    }

    /// The figure that counts, in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        let (first, last) = self.ends();
        format!(
            "{} resident after {} calls, {} after {} calls: {:.3} of it, goal at most {}.",
            megabytes(first.resident_bytes),
            first.calls,
            megabytes(last.resident_bytes),
            last.calls,
            self.growth(),
            self.growth_max,
        )
    }

    /// The raw figures.
    #[must_use]
    pub fn table(&self) -> Table {
        let row = |reading: &Reading| vec![reading.calls.to_string(), megabytes(reading.resident_bytes)];
        Table { header: vec!["calls".to_owned(), "resident".to_owned()], rows: self.readings.iter().map(row).collect() }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", real(bytes) / 1e6)
}
