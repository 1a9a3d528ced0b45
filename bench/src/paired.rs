//! Paired rows: a limit and what is measured against it, in turns on one core.
//!
//! The machine's mood changes from minute to minute, and both halves of a pair see the same one: so
//! the ratio is taken pair by pair, and the median of these ratios is the figure. Invariant: a half
//! starts only when both servers have nothing left to do.

use std::fmt;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::client::{self, Client};
use crate::guest;
use crate::load::{Load, Measured};
use crate::machine::Cores;
use crate::options::Options;
use crate::report::{Status, Table};
use crate::server::{Kind, Server};

/// How long both servers are called before anything counts: caches fill, the pool's
/// slots are touched, the allocator has its pages.
const WARM_UP_SECONDS: u64 = 2;

/// The counter of records that were not stored: what is fast because it drops its
/// work should not look as if it weren't.
const DROPPED: &str = "sluice_execution_records_dropped_total";

/// A step of a guest against native hyper.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The guest.
    pub guest: &'static str,
    /// The JSON of its input.
    pub input: &'static str,
    /// The part of the limit's requests a second that should be reached.
    pub goal: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Paired {
    /// The part of the limit's requests a second that should be reached.
    pub goal: f64,
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Bytes of an answer's body.
    pub answer_bytes: usize,
    /// Requests a second: measured ÷ limit, pair by pair.
    pub ratio: Spread,
    /// CPU time a request: limit ÷ measured, pair by pair. What the ratio of requests
    /// would be if both had their core to themselves, whoever else uses the machine.
    pub cpu_ratio: Spread,
    /// CPU time a request of the limit.
    pub limit_cpu_us: Spread,
    /// CPU time a request of what is measured.
    pub measured_cpu_us: Spread,
    /// Execution records that the gateway could not store in time, of all its runs.
    pub records_dropped: f64,
    /// The raw figures.
    pub pairs: Vec<Pair>,
}

/// One run of each, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// Native hyper.
    pub limit: Measured,
    /// The gateway.
    pub measured: Measured,
}

/// The middle of some figures, and how far they go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// As many are above as below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.measured.per_second() / self.limit.per_second().max(f64::MIN_POSITIVE)
    }

    fn cpu_ratio(&self) -> f64 {
        self.limit.cpu_us_per_request() / self.measured.cpu_us_per_request().max(f64::MIN_POSITIVE)
    }
}

impl Spread {
    /// The spread of these figures; zeros of none.
    #[must_use]
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        // Of an even number it is between the two in the middle.
        let median = f64::midpoint(at(last / 2), at(sorted.len() / 2));
        Self { median, min: at(0), max: at(last) }
    }
}

/// A gateway with one guest uploaded, and the load that calls it.
pub struct Subject {
    /// The gateway.
    pub server: Server,
    /// For what is asked of it besides.
    pub client: Client,
    /// The call.
    pub load: Load,
    /// Bytes of its answer's body.
    pub answer_bytes: usize,
}

impl Subject {
    /// Starts a gateway, uploads the guest, and calls it once.
    ///
    /// # Errors
    /// When the call does not complete.
    pub fn start(kind: &Kind, (guest, input): (&str, &str), cores: Cores, options: &Options) -> Result<Self> {
        let server = Server::start(kind, cores.server)?;
        let client = Client::new(&server)?;
        client.upload(guest, guest::read(guest)?).context("the upload was refused")?;
        let load = Load {
            path: format!("/api/v1/wasm/modules/{guest}/invoke"),
            authorization: client::bearer(&server)?,
            body: format!(r#"{{"input":{input}}}"#),
            connections: options.connections,
            core: cores.load,
        };
        let answer_bytes = client.invoke(&load.path, &load.body)?;
        Ok(Self { server, client, load, answer_bytes })
    }
}

impl fmt::Display for Spread {
    /// The median, and the others in brackets, with the precision that is asked for.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(3);
        write!(formatter, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

/// Measures a row; `progress` is told each pair.
///
/// # Errors
/// When a server can't be started or called at all.
pub fn measure(
    plan: &Plan,
    gateway: &Kind,
    cores: Cores,
    options: &Options,
    progress: &mut dyn FnMut(String),
) -> Result<Paired> {
    let subject = Subject::start(gateway, (plan.guest, plan.input), cores, options)?;
    let limit = Server::start(&Kind::NativeHyper { answer_bytes: subject.answer_bytes }, cores.server)?;
    let half = |server: &Server, seconds| -> Result<Measured> {
        subject.server.process().settle()?;
        limit.process().settle()?;
        subject.load.run(server, seconds)
    };
    for server in [&limit, &subject.server] {
        half(server, WARM_UP_SECONDS)?;
    }
    let mut pairs = Vec::new();
    for number in 1..=options.pairs() {
        let pair =
            Pair { limit: half(&limit, options.seconds())?, measured: half(&subject.server, options.seconds())? };
        progress(format!("pair {number} of {}: {:.3}", options.pairs(), pair.ratio()));
        pairs.push(pair);
    }
    subject.server.process().settle()?;
    Ok(Paired {
        goal: plan.goal,
        request_bytes: subject.load.body.len(),
        answer_bytes: subject.answer_bytes,
        ratio: Spread::of(pairs.iter().map(Pair::ratio)),
        cpu_ratio: Spread::of(pairs.iter().map(Pair::cpu_ratio)),
        limit_cpu_us: Spread::of(pairs.iter().map(|pair| pair.limit.cpu_us_per_request())),
        measured_cpu_us: Spread::of(pairs.iter().map(|pair| pair.measured.cpu_us_per_request())),
        records_dropped: subject.client.metric(DROPPED)?,
        pairs,
    })
}

impl Paired {
    /// Whether the goal was reached without an error.
    #[must_use]
    pub fn status(&self) -> Status {
        let runs = self.pairs.iter().flat_map(|pair| [&pair.limit, &pair.measured]);
        match runs.map(|run| run.errors.total()).sum() {
            0 if self.ratio.median >= self.goal => Status::Reached,
            0 => Status::Missed,
            errors => Status::Failed { errors },
        }
    }

    /// The figure that counts, in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        format!(
            "{:.3} of native hyper's requests a second, goal {}. \
             CPU a request: {:.1} µs, native hyper {:.1} µs, which is {:.3} of it. \
             Request {} bytes, answer {} bytes. Execution records dropped: {} of {} calls.",
            self.ratio,
            self.goal,
            self.measured_cpu_us,
            self.limit_cpu_us,
            self.cpu_ratio,
            self.request_bytes,
            self.answer_bytes,
            self.records_dropped,
            self.pairs.iter().map(|pair| pair.measured.requests).sum::<u64>(),
        )
    }

    /// The raw figures.
    #[must_use]
    pub fn table(&self) -> Table {
        let header =
            ["pair", "server", "requests/s", "of limit", "CPU µs/request", "p50 µs", "p99 µs", "requests", "errors"];
        let rows = self.pairs.iter().zip(1..).flat_map(|(pair, number)| {
            [("hyper", &pair.limit, String::new()), ("sluice", &pair.measured, format!("{:.3}", pair.ratio()))].map(
                |(server, run, ratio)| {
                    vec![
                        format!("{number}"),
                        server.to_owned(),
                        format!("{:.0}", run.per_second()),
                        ratio,
                        format!("{:.1}", run.cpu_us_per_request()),
                        run.p50_us.to_string(),
                        run.p99_us.to_string(),
                        run.requests.to_string(),
                        run.errors.total().to_string(),
                    ]
                },
            )
        });
        Table { header: header.map(str::to_owned).to_vec(), rows: rows.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(format!("{spread:.1}"), "2.5 (1.0–4.0)");
        assert_eq!(Spread::of([7.0].into_iter()), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of(std::iter::empty()), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }
}
