//! The row of a victim during uploads: what a call waits longer for while others upload.
//!
//! Invariant: both halves of a pair are the same load on the same server; all that differs is that during
//! one of them components are uploaded one after the other, each of which has to be compiled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use crate::client::Client;
use crate::guest;
use crate::load::{Measured, real};
use crate::machine::Cores;
use crate::options::Options;
use crate::paired::{Spread, Subject};
use crate::report::{Status, Table};
use crate::server::{Kind, Server};

/// The caches fill before anything counts.
const WARM_UP_SECONDS: u64 = 2;

/// One guest that is called while another is uploaded.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The guest that is called.
    pub guest: &'static str,
    /// The JSON of its input.
    pub input: &'static str,
    /// The guest that is uploaded, each time with other bytes.
    pub uploaded: &'static str,
    /// The most that p99 may be, as a multiple of that without uploads.
    pub ratio_max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Uploads {
    /// The most that was allowed, as a multiple.
    pub ratio_max: f64,
    /// p99 with uploads ÷ p99 without, pair by pair.
    pub ratio: Spread,
    /// The raw figures.
    pub pairs: Vec<Pair>,
}

/// One run of each, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// Nothing else to do.
    pub alone: Measured,
    /// While components were uploaded.
    pub during: Measured,
    /// How many were uploaded, and so compiled.
    pub uploads: u64,
}

impl Pair {
    fn ratio(&self) -> f64 {
        real(self.during.p99_us) / real(self.alone.p99_us.max(1))
    }
}

/// Measures the row; `progress` is told each pair.
///
/// # Errors
/// When the gateway can't be started or called at all, or an upload is refused.
pub fn measure(
    plan: &Plan,
    gateway: &Kind,
    cores: Cores,
    options: &Options,
    progress: &mut dyn FnMut(String),
) -> Result<Uploads> {
    let subject = Subject::start(gateway, (plan.guest, plan.input), cores, options)?;
    let component = guest::read(plan.uploaded)?;
    subject.load.run(&subject.server, WARM_UP_SECONDS)?;
    let (mut pairs, mut uploads) = (Vec::new(), 0);
    for number in 1..=options.pairs() {
        subject.server.process().settle()?;
        let alone = subject.load.run(&subject.server, options.seconds())?;
        subject.server.process().settle()?;
        let before = uploads;
        let during = during_uploads(&subject, &component, &mut uploads, options.seconds())?;
        let pair = Pair { alone, during, uploads: uploads - before };
        progress(format!("pair {number} of {}: {:.3}, {} uploads", options.pairs(), pair.ratio(), pair.uploads));
        pairs.push(pair);
    }
    Ok(Uploads { ratio_max: plan.ratio_max, ratio: Spread::of(pairs.iter().map(Pair::ratio)), pairs })
}

/// A load while a second client uploads; `number` counts uploads, and makes their bytes differ.
fn during_uploads(subject: &Subject, component: &[u8], number: &mut u64, seconds: u64) -> Result<Measured> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let uploader = scope.spawn(|| upload_until(&done, &subject.server, component, number));
        let measured = subject.load.run(&subject.server, seconds);
        done.store(true, Ordering::Relaxed);
        uploader.join().map_err(|_| anyhow!("the uploading thread panicked"))??;
        measured
    })
}

fn upload_until(done: &AtomicBool, server: &Server, component: &[u8], number: &mut u64) -> Result<()> {
    let client = Client::new(server)?;
    while !done.load(Ordering::Relaxed) {
        *number += 1;
        client.upload(&format!("upload-{number}"), with_seed(component, *number)).context("an upload was refused")?;
    }
    Ok(())
}

/// The component with one more custom section, named `s`, which changes its digest and nothing else.
fn with_seed(component: &[u8], seed: u64) -> Vec<u8> {
    let content = [&[1, b's'][..], &seed.to_le_bytes()].concat();
    [component, &[0, 10], &content].concat()
}

impl Uploads {
    fn errors(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.alone.errors.total() + pair.during.errors.total()).sum()
    }

    /// Whether calls were as quick as they should be, without an error.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.errors() {
            0 if self.ratio.median <= self.ratio_max => Status::Reached,
            0 => Status::Missed,
            errors => Status::Failed { errors },
        }
    }

    /// The figure that counts, in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        let p99 = |half: fn(&Pair) -> u64| Spread::of(self.pairs.iter().map(|pair| real(half(pair))));
        format!(
            "p99 during uploads is {:.3} of p99 alone, goal at most {}. Alone {:.0} µs, during uploads {:.0} µs; {} components were compiled.",
            self.ratio,
            self.ratio_max,
            p99(|pair| pair.alone.p99_us),
            p99(|pair| pair.during.p99_us),
            self.pairs.iter().map(|pair| pair.uploads).sum::<u64>(),
        )
    }

    /// The raw figures.
    #[must_use]
    pub fn table(&self) -> Table {
        let header = ["pair", "half", "uploads", "requests/s", "p50 µs", "p99 µs", "p99 of alone", "errors"];
        let rows = self.pairs.iter().zip(1..).flat_map(|(pair, number)| {
            let halves = [
                ("alone", &pair.alone, 0, String::new()),
                ("during uploads", &pair.during, pair.uploads, format!("{:.3}", pair.ratio())),
            ];
            halves.map(|(half, run, uploads, ratio)| {
                vec![
                    format!("{number}"),
                    half.to_owned(),
                    uploads.to_string(),
                    format!("{:.0}", run.per_second()),
                    run.p50_us.to_string(),
                    run.p99_us.to_string(),
                    ratio,
                    run.errors.total().to_string(),
                ]
            })
        });
        Table { header: header.map(str::to_owned).to_vec(), rows: rows.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_custom_section_behind_the_component() {
        let seeded = with_seed(b"\0asm\x0d\0\x01\0", 7);
        let (section, rest) = seeded.split_at(8).1.split_at(2);
        assert_eq!((section, rest.len()), (&[0, 10][..], 10));
        assert_ne!(with_seed(b"", 1), with_seed(b"", 2));
    }
}
