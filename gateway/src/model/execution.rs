//! What is kept of an execution.

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::job::JobName;
use super::{ExecutionId, JsonObject, ModuleId, ModuleName, RunId};

/// How far an execution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has not ended.
    Running,
    /// The step returned `completed`.
    Completed,
    /// The step returned `invalid`.
    Invalid,
    /// The step failed, trapped, or went over a limit.
    Failed,
    /// Whoever asked for it left, or the gateway stopped.
    Canceled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Running, Self::Completed, Self::Invalid, Self::Failed, Self::Canceled];

    /// The status as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The status that is written `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why an execution did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExecutionError {
    /// A code of the contract: `trap`.
    pub code: String,
    /// For people.
    pub message: String,
    /// `gateway` or `guest`.
    pub origin: String,
}

/// How important a log line is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever debugs the step.
    Debug,
    /// What happened.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl Level {
    /// The level as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level that is written `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.as_str() == text)
    }
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// How important it is.
    pub level: Level,
    /// For people.
    pub message: String,
    /// What else is known.
    #[schema(value_type = Object)]
    pub fields: JsonObject,
}

/// What is kept of one execution, and the answer of the log endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = LogEntry)]
pub struct ExecutionRecord {
    /// The id of the execution.
    pub execution_id: ExecutionId,
    /// The version that ran.
    pub module_id: ModuleId,
    /// Its name.
    pub module: ModuleName,
    /// Its version.
    #[schema(value_type = String, example = "1.2.0")]
    pub version: Version,
    /// The function that was called.
    pub function: String,
    /// How it ended.
    pub status: Status,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it ran; `None` while it runs.
    #[schema(required = true)]
    pub duration_us: Option<u64>,
    /// Fuel that it used; `None` where it isn't metered.
    #[schema(required = true)]
    pub fuel: Option<u64>,
    /// The peak of all its memories and tables; `None` while it runs.
    #[schema(required = true)]
    pub memory_bytes: Option<u64>,
    /// Why it did not complete.
    #[schema(required = true)]
    pub error: Option<ExecutionError>,
    /// What it logged.
    pub lines: Vec<LogLine>,
    /// Lines that were over its bounds.
    pub lines_dropped: u64,
    /// The run that it is of, where it is a step of one.
    #[serde(skip)]
    pub run_id: Option<RunId>,
    /// The job of that run.
    #[serde(skip)]
    pub job: Option<JobName>,
}
