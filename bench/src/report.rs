//! What is written down of a row: Markdown for people, JSON with every raw figure.
//!
//! Invariant: nothing in it tells whose machine it was, nor where things lie on it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::command_line::CommandLine;
use crate::jobs::Jobs;
use crate::machine::{Machine, Versions};
use crate::memory::Memory;
use crate::paired::Paired;
use crate::uploads::Uploads;

/// Everything about one row's measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The row's id.
    pub row: &'static str,
    /// What it measures.
    pub title: &'static str,
    /// How it is done, and what the limit is.
    pub method: &'static str,
    /// The day, in UTC.
    pub date: String,
    /// The command that measures it again.
    pub command: String,
    /// Whether it was too short for a decision.
    pub quick: bool,
    /// How it ended.
    #[serde(flatten)]
    pub status: Status,
    /// Where.
    pub machine: Machine,
    /// Of what.
    pub versions: Versions,
    /// The figures.
    pub figures: Figures,
}

/// The figures of a row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figures {
    /// Of a paired row.
    Paired(Paired),
    /// Of the memory row.
    Memory(Memory),
    /// Of the row of a victim during uploads.
    Uploads(Uploads),
    /// Of a row of the command line.
    CommandLine(CommandLine),
    /// Of a row of the job engine.
    Jobs(Jobs),
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// The goal was reached.
    Reached,
    /// It was not.
    Missed,
    /// Requests failed, so that the figures say nothing.
    Failed {
        /// How many.
        errors: u64,
    },
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The lines, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Figures {
    /// How the row ended.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Paired(paired) => paired.status(),
            Self::Memory(memory) => memory.status(),
            Self::Uploads(uploads) => uploads.status(),
            Self::CommandLine(command_line) => command_line.status(),
            Self::Jobs(jobs) => jobs.status(),
        }
    }

    fn headline(&self) -> String {
        match self {
            Self::Paired(paired) => paired.headline(),
            Self::Memory(memory) => memory.headline(),
            Self::Uploads(uploads) => uploads.headline(),
            Self::CommandLine(command_line) => command_line.headline(),
            Self::Jobs(jobs) => jobs.headline(),
        }
    }

    fn table(&self) -> Table {
        match self {
            Self::Paired(paired) => paired.table(),
            Self::Memory(memory) => memory.table(),
            Self::Uploads(uploads) => uploads.table(),
            Self::CommandLine(command_line) => command_line.table(),
            Self::Jobs(jobs) => jobs.table(),
        }
    }
}

impl Report {
    /// The report for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let status = match self.status {
            Status::Reached => "Goal reached".to_owned(),
            Status::Missed => "Goal missed".to_owned(),
            Status::Failed { errors } => format!("FAILED: {errors} requests or runs failed"),
        };
        let quick = if self.quick { " (a quick run: no basis for a decision)" } else { "" };
        let Machine { cpu, cores, memory_bytes, kernel, kept_awake } = &self.machine;
        let sleep = if *kept_awake { "idle cores kept awake" } else { "idle cores sleep" };
        let Versions { gateway, commit, wasmtime, hyper, wrk, rustc } = &self.versions;
        let commit = commit.as_ref().map_or_else(String::new, |commit| format!(" at {commit}"));
        let gibibytes = memory_bytes.div_ceil(1 << 30);
        format!(
            "# Row {row}: {title}\n\n**{status}**{quick}: {headline}\n\n{table}\n\
             {method}\n\n\
             - Date: {date}\n\
             - Machine: {cpu}, {cores} cores, {gibibytes} GiB, Linux {kernel}, {sleep}\n\
             - Versions: {gateway}{commit}, wasmtime {wasmtime}, hyper {hyper}, {wrk}, {rustc}\n\
             - Command: `{command}`\n",
            row = self.row,
            title = self.title,
            headline = self.figures.headline(),
            table = self.figures.table(),
            method = self.method,
            date = self.date,
            command = self.command,
        )
    }

    /// Writes `<date>-<row>.md` and `.json` into `folder`; a later run of the day replaces them, a
    /// quick one has names of its own.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let quick = if self.quick { "-quick" } else { "" };
        let stem = folder.join(format!("{}-{}{quick}", self.date, self.row));
        let write = |extension: &str, text: String| {
            fs::write(stem.with_extension(extension), text).context("can't write the results")
        };
        fs::create_dir_all(folder).context("can't make the folder of the results")?;
        write("md", self.markdown())?;
        write("json", serde_json::to_string_pretty(self)? + "\n")
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let mut text = String::new();
        writeln!(text, "{}", line(&self.header))?;
        writeln!(text, "|{}", "---|".repeat(self.header.len()))?;
        for row in &self.rows {
            writeln!(text, "{}", line(row))?;
        }
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let table = Table { header: vec!["a".into(), "b".into()], rows: vec![vec!["1".into(), "2".into()]] };
        assert_eq!(table.to_string(), "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
