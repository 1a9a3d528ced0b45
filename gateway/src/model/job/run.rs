//! A run, its steps and their attempts, as they are kept and shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobName, Payload, StepId};
use crate::error::FieldError;
use crate::model::{DeliveryId, RunId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The one that is written `text`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }
    };
}

words! {
    /// How far a run has come.
    RunStatus {
        /// Nothing of it has begun.
        Queued = "queued",
        /// Something of it has begun: it may wait, too.
        Running = "running",
        /// All that it took has ended well.
        Completed = "completed",
        /// A step failed, or was invalid.
        Failed = "failed",
        /// Somebody ended it.
        Canceled = "canceled",
    }
}

impl RunStatus {
    /// Whether nothing more happens.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

words! {
    /// How far a step has come.
    StepStatus {
        /// It has not begun, or waits for its next attempt.
        Pending = "pending",
        /// An attempt runs.
        Running = "running",
        /// It has an output.
        Completed = "completed",
        /// The run went another way, or its `when` was not true.
        Skipped = "skipped",
        /// No further attempt is made.
        Failed = "failed",
        /// The step found its data invalid.
        Invalid = "invalid",
    }
}

words! {
    /// How an attempt ended.
    AttemptStatus {
        /// It has not.
        Running = "running",
        /// With an output.
        Completed = "completed",
        /// It did not do its work.
        Failed = "failed",
        /// It found its data invalid.
        Invalid = "invalid",
        /// The run was canceled meanwhile.
        Canceled = "canceled",
    }
}

words! {
    /// How far a notification has come.
    DeliveryStatus {
        /// It was taken.
        Delivered = "delivered",
        /// It will be tried, or tried again.
        Retrying = "retrying",
        /// It will not be tried again by itself.
        Dead = "dead",
    }
}

/// Why an attempt, a step or a run did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunError)]
pub struct StepError {
    /// A code of the contract, or the step's own.
    pub code: String,
    /// For people. Never an address, SQL or a secret.
    pub message: String,
    /// `gateway` or `guest`.
    pub origin: String,
    /// The step that it is of; of a run only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<StepId>,
    /// What the step said besides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub details: Option<serde_json::Value>,
}

/// One execution of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Begins with the time it was made, so that a list by id is a list by time.
    pub id: RunId,
    /// Of which job.
    pub job: JobName,
    /// Of which of its revisions; it keeps it.
    pub revision: u64,
    /// How far it is.
    pub status: RunStatus,
    /// What started it.
    pub trigger: Payload,
    /// The trigger when it is an object, and all outputs merged into it.
    pub data: Payload,
    /// Why it failed.
    pub error: Option<StepError>,
    /// Every step of the definition, in its order.
    pub steps: Vec<RunStep>,
    /// The id of its last event.
    pub last_event: u64,
    /// Somebody wants it to end; its worker will.
    pub cancel_requested: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its first step began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// `traceparent` of the request that started it, for what its steps send on.
    pub traceparent: Option<String>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStep {
    /// As the definition has it.
    pub id: StepId,
    /// How far it is.
    pub status: StepStatus,
    /// What it returned.
    pub output: Option<Payload>,
    /// Why it failed.
    pub error: Option<StepError>,
    /// What it found wrong with its data.
    pub errors: Vec<FieldError>,
    /// Where it said to go on; `None`: as the definition has it.
    pub next: Option<Vec<StepId>>,
    /// Whether the way of the run leads to it: it was named, or is the first.
    pub is_taken: bool,
    /// When its next attempt, or the end of its wait, is due.
    pub due_at: Option<Timestamp>,
    /// Attempts that count against its policy since the run was started or retried.
    pub tries: u32,
    /// Place in the order of completion, from 1: outputs merge in it.
    pub completion: Option<u32>,
    /// In order.
    pub attempts: Vec<Attempt>,
}

impl RunStep {
    /// A step that nothing happened to yet.
    #[must_use]
    pub const fn untouched(id: StepId) -> Self {
        Self {
            id,
            status: StepStatus::Pending,
            output: None,
            error: None,
            errors: Vec::new(),
            next: None,
            is_taken: false,
            due_at: None,
            tries: 0,
            completion: None,
            attempts: Vec::new(),
        }
    }
}

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
    /// Why it did not complete.
    #[schema(required = true)]
    pub error: Option<StepError>,
}

/// A change that listeners are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEvent {
    /// Increasing within the run, from 1.
    pub id: u64,
    /// What it is about: a step, or the run where it is `None`.
    pub step: Option<StepId>,
    /// The status that the step or the run has from now on.
    pub status: String,
    /// How many attempts the step had by then.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
}

/// A notification of a run's end.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Also the `webhook-id`.
    pub id: DeliveryId,
    /// Whose.
    pub job: JobName,
    /// Of which run.
    pub run_id: RunId,
    /// As the definition has it.
    pub url: String,
    /// Which of the revision's `notify` it is: its secret is there.
    pub notify_index: u32,
    /// The revision.
    pub revision: u64,
    /// The body, made once, so that every attempt sends the same bytes.
    pub body: String,
    /// How far it is.
    pub status: DeliveryStatus,
    /// In order, the last of them.
    pub attempts: Vec<DeliveryAttempt>,
    /// Attempts since it was made or replayed: its place in the schedule.
    pub tries: u32,
    /// When the next attempt is due.
    pub due_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken.
    pub delivered_at: Option<Timestamp>,
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryAttempt {
    /// From 1.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// What was answered, where something was.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// Why it failed, where it did.
    #[schema(required = true)]
    pub error: Option<String>,
}
