//! What a run of the load runner is told.

use std::path::PathBuf;

/// Options of the load runner.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A short run, to see that everything works; its figures are no basis for a decision
    #[arg(long)]
    pub quick: bool,
    /// The rows to measure, by id; all where it is not given
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub rows: Vec<String>,
    /// Seconds of load of each half of a pair
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,
    /// Pairs of a paired row
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: Option<u32>,
    /// Calls of the memory row
    #[arg(long)]
    pub calls: Option<u64>,
    /// Keep-alive connections of the load generator
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Let idle cores sleep between two requests, as they do where nobody tells them otherwise
    #[arg(long)]
    pub let_cores_sleep: bool,
    /// Measure this `sluice` instead of building the one of this repository
    #[arg(long, value_name = "FILE")]
    pub gateway: Option<PathBuf>,
}

impl Options {
    /// Seconds of load of each half of a pair.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 2 } else { 10 })
    }

    /// Pairs of a paired row.
    #[must_use]
    pub fn pairs(&self) -> u32 {
        self.pairs.unwrap_or(if self.quick { 3 } else { 7 })
    }

    /// Calls of the memory row.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.unwrap_or(if self.quick { 50_000 } else { 1_000_000 })
    }

    /// The command that measures this row in this way again, without what is only
    /// true of one machine.
    #[must_use]
    pub fn command(&self, row: &str) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let sleep = if self.let_cores_sleep { " --let-cores-sleep" } else { "" };
        let gateway = if self.gateway.is_some() { " --gateway FILE" } else { "" };
        format!(
            "cargo xtask bench --rows {row}{quick} --seconds {} --pairs {} --calls {} --connections {}{sleep}{gateway}",
            self.seconds(),
            self.pairs(),
            self.calls(),
            self.connections
        )
    }
}
