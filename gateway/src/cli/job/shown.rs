//! Jobs, runs and steps as they are shown.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::invoke::duration;
use crate::cli::output::{Out, Paint};
use crate::cli::pages::to_seconds;
use crate::cli::problem::Mistake;

/// A job, whole, from a list, or only checked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobView {
    pub(super) name: String,
    pub(super) revision: u64,
    pub(super) definition: Value,
    description: Option<String>,
    steps: u64,
    hook: bool,
    warnings: Vec<Mistake>,
    created_at: String,
    updated_at: String,
    updated_by: String,
}

impl JobView {
    pub(super) fn warn(&self, out: Out) {
        for Mistake { path, message, .. } in &self.warnings {
            out.warn(&format!("{path}: {message}"));
        }
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.revision.to_string(),
            self.steps.to_string(),
            if self.hook { "yes" } else { "no" }.to_owned(),
            self.description.clone().unwrap_or_default(),
            to_seconds(&self.updated_at),
        ]
    }

    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("revision", self.revision.to_string()),
            ("created", self.created_at.clone()),
            ("saved", format!("{} by {}", self.updated_at, self.updated_by)),
        ]
    }
}

/// A run, with its steps where they are there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunView {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) status: String,
    pub(super) steps: Vec<StepView>,
    pub(super) error: Option<ErrorView>,
    revision: u64,
    created_at: String,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// Why something did not complete.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct ErrorView {
    code: String,
    message: String,
    step: Option<String>,
}

impl ErrorView {
    pub(super) fn text(&self) -> String {
        let step = self.step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
        format!("{step}{}: {}", self.code, self.message)
    }
}

impl RunView {
    /// Whether nothing more happens.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "canceled")
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.job.clone(),
            self.status.clone(),
            to_seconds(&self.created_at),
            took(self.started_at, self.ended_at),
            self.error.as_ref().map(ErrorView::text).unwrap_or_default(),
        ]
    }

    /// The run, then a row a step.
    pub(super) fn print(&self, out: Out) -> anyhow::Result<()> {
        let mut pairs = vec![
            ("id", self.id.clone()),
            ("job", format!("{} (revision {})", self.job, self.revision)),
            ("status", self.status.clone()),
            ("created", self.created_at.clone()),
        ];
        pairs.extend(self.ended_at.map(|_| ("took", took(self.started_at, self.ended_at))));
        pairs.extend(self.error.as_ref().map(|error| ("error", error.text())));
        out.pairs(&pairs)?;
        let rows: Vec<Vec<String>> = self.steps.iter().map(StepView::row).collect();
        Ok(out.table(&["STEP", "STATUS", "ATTEMPTS", "TOOK", "ERROR"], &rows)?)
    }
}

/// A step of a run.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct StepView {
    pub(super) id: String,
    pub(super) status: String,
    error: Option<ErrorView>,
    errors: Vec<Value>,
    attempts: Vec<AttemptView>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct AttemptView {
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<ErrorView>,
}

impl StepView {
    fn row(&self) -> Vec<String> {
        vec![self.id.clone(), self.status.clone(), self.attempts.len().to_string(), self.took(), self.why()]
    }

    /// From the first attempt's begin to the last one's end.
    fn took(&self) -> String {
        let started = self.attempts.first().and_then(|attempt| attempt.started_at);
        took(started, self.attempts.last().and_then(|attempt| attempt.ended_at))
    }

    fn why(&self) -> String {
        if self.status == "invalid" && !self.errors.is_empty() {
            return format!("{} mistakes in its data", self.errors.len());
        }
        let last = self.attempts.last().and_then(|attempt| attempt.error.as_ref());
        let error = if self.status == "completed" { None } else { self.error.as_ref().or(last) };
        error.map(ErrorView::text).unwrap_or_default()
    }

    /// A sign, and its colour.
    pub(super) fn sign(&self) -> (&'static str, Paint) {
        match self.status.as_str() {
            "completed" => ("✓", Paint::Green),
            "failed" | "invalid" => ("✗", Paint::Red),
            "running" => ("●", Paint::Yellow),
            "skipped" => ("–", Paint::Dim),
            _ => ("○", Paint::Dim),
        }
    }

    /// All but the sign, in one line.
    pub(super) fn line(&self) -> String {
        let mut line = format!(" {}  {}", self.id, self.status);
        if self.attempts.len() > 1 {
            line.push_str(&format!("  attempt {}", self.attempts.len()));
        }
        for more in [self.took(), self.why()] {
            if !more.is_empty() {
                line.push_str("  ");
                line.push_str(&more);
            }
        }
        line
    }
}

fn took(started: Option<Timestamp>, ended: Option<Timestamp>) -> String {
    let (Some(started), Some(ended)) = (started, ended) else { return String::new() };
    let us = ended.as_microsecond().saturating_sub(started.as_microsecond());
    duration(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_line_tells_attempts_time_and_why() {
        let step: StepView = serde_json::from_str(
            r#"{"id": "price", "status": "failed", "error": {"code": "timed-out", "message": "too slow"}, "attempts": [
                {"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z"},
                {"started_at": "2026-01-01T00:00:01Z", "ended_at": "2026-01-01T00:00:02Z"}]}"#,
        )
        .unwrap();
        let line = step.line();
        for part in ["price  failed", "attempt 2", "timed-out: too slow"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(step.sign().0, "✗");
    }
}
