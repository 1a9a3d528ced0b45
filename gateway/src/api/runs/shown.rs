//! A run as it is written.
//!
//! Owns its members. What is large in a run may be apart from its row, and is read for the answer piece by piece. Invariant:
//! an answer over [`WHOLE_BYTES_MAX`] holds one trigger, data or output at a time in memory.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Services;
use crate::api::jobs::refused;
use crate::error::FieldError;
use crate::http::Problem;
use crate::jobs::{self, Handle};
use crate::model::RunId;
use crate::model::job::{Attempt, JobName, Payload, Run, RunStatus, RunStep, StepError, StepId, StepStatus};

/// Nearly every run is below; larger ones are sent while they are read, and what goes wrong then breaks the answer off.
const WHOLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A run in a list, and in events.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RunSummary {
    id: RunId,
    job: JobName,
    /// Of the job's definition.
    revision: u64,
    status: RunStatus,
    #[schema(required = true)]
    error: Option<StepError>,
    created_at: Timestamp,
    #[schema(required = true)]
    started_at: Option<Timestamp>,
    #[schema(required = true)]
    ended_at: Option<Timestamp>,
}

impl RunSummary {
    /// Of a run as it is now.
    pub(super) fn of(run: &Run) -> Self {
        Self {
            id: run.id,
            job: run.job.clone(),
            revision: run.revision,
            status: run.status,
            error: run.error.clone(),
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }

    /// Of a run as it was when it got this status.
    pub(super) fn as_of(run: &Run, status: RunStatus) -> Self {
        let ended = status.is_end();
        Self {
            status,
            error: run.error.clone().filter(|_| status == RunStatus::Failed),
            ended_at: run.ended_at.filter(|_| ended),
            ..Self::of(run)
        }
    }
}

/// A run with its steps.
#[derive(ToSchema)]
#[schema(as = Run)]
#[expect(dead_code, reason = "it describes what is written by hand")]
pub(in crate::api) struct RunShown {
    id: RunId,
    job: JobName,
    /// Of the job's definition.
    revision: u64,
    status: RunStatus,
    /// What started it.
    trigger: serde_json::Value,
    /// The trigger when it is an object, and all outputs merged into it.
    data: serde_json::Value,
    /// Why it failed.
    #[schema(required = true)]
    error: Option<StepError>,
    /// Every step of the definition, in its order.
    steps: Vec<StepShown>,
    created_at: Timestamp,
    #[schema(required = true)]
    started_at: Option<Timestamp>,
    #[schema(required = true)]
    ended_at: Option<Timestamp>,
}

#[derive(ToSchema)]
#[schema(as = RunStep)]
#[expect(dead_code, reason = "it describes what is written by hand")]
struct StepShown {
    id: StepId,
    status: StepStatus,
    /// What it returned; null while it has not.
    output: serde_json::Value,
    /// Why it failed.
    #[schema(required = true)]
    error: Option<StepError>,
    /// What it found wrong with its data.
    errors: Vec<FieldError>,
    /// In order.
    attempts: Vec<Attempt>,
}

/// Part of a text: as it is, or still to be read.
enum Piece {
    Text(String),
    Stored(Payload),
}

#[derive(Default)]
struct Writer {
    pieces: Vec<Piece>,
    text: String,
}

impl Writer {
    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A member; all but an object's first come after a comma.
    fn member(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.name(name);
        self.text.push_str(&serde_json::to_string(value)?);
        Ok(())
    }

    fn payload(&mut self, name: &str, payload: &Payload) {
        self.name(name);
        match payload {
            Payload::Inline(text) => self.text.push_str(text.as_str()),
            Payload::Blob { .. } => {
                self.pieces.push(Piece::Text(std::mem::take(&mut self.text)));
                self.pieces.push(Piece::Stored(payload.clone()));
            }
        }
    }

    fn name(&mut self, name: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn step(&mut self, step: &RunStep) -> Result<(), serde_json::Error> {
        self.raw("{");
        self.member("id", &step.id)?;
        self.member("status", &step.status)?;
        match &step.output {
            Some(output) => self.payload("output", output),
            None => self.member("output", &())?,
        }
        self.member("error", &step.error)?;
        self.member("errors", &step.errors)?;
        self.member("attempts", &step.attempts)?;
        self.raw("}");
        Ok(())
    }

    fn run(mut self, run: &Run) -> Result<Vec<Piece>, serde_json::Error> {
        self.raw("{");
        self.member("id", &run.id)?;
        self.member("job", &run.job)?;
        self.member("revision", &run.revision)?;
        self.member("status", &run.status)?;
        self.payload("trigger", &run.trigger);
        self.payload("data", &run.data);
        self.member("error", &run.error)?;
        self.name("steps");
        self.raw("[");
        for (index, step) in run.steps.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.step(step)?;
        }
        self.raw("]");
        self.member("created_at", &run.created_at)?;
        self.member("started_at", &run.started_at)?;
        self.member("ended_at", &run.ended_at)?;
        self.raw("}");
        self.pieces.push(Piece::Text(self.text));
        Ok(self.pieces)
    }
}

/// A step as it was when it had this status and so many attempts. An output that is not in the step's row is left out, as
/// `null`: events are small.
pub(super) fn step_as_of(step: &RunStep, status: &str, attempts: u32) -> Result<String, serde_json::Error> {
    let mut then = step.clone();
    then.status = StepStatus::parse(status).unwrap_or(step.status);
    then.attempts.truncate(attempts as usize);
    if then.status == StepStatus::Running
        && let Some(last) = then.attempts.last_mut()
    {
        last.status = crate::model::job::AttemptStatus::Running;
        last.ended_at = None;
        last.error = None;
    }
    if then.status != StepStatus::Completed || matches!(then.output, Some(Payload::Blob { .. })) {
        then.output = None;
    }
    if then.status != step.status {
        then.error = None;
        then.errors.clear();
    }
    let mut writer = Writer::default();
    writer.step(&then)?;
    Ok(writer.text)
}

/// A run as an answer.
pub(in crate::api) async fn answer(services: &Services, status: u16, run: Run) -> Result<Response, Problem> {
    let id = run.id;
    let pieces = Writer::default().run(&run).map_err(Problem::internal)?;
    drop(run);
    let size = pieces.iter().map(Piece::size_bytes).fold(0, u64::saturating_add);
    let jobs = services.jobs.clone();
    let body = if size <= WHOLE_BYTES_MAX {
        let mut whole = Vec::new();
        for piece in pieces {
            whole.extend_from_slice(&read(&jobs, id, piece).await.map_err(refused)?);
        }
        Body::from(whole)
    } else {
        let read = move |piece| {
            let jobs = jobs.clone();
            async move { read(&jobs, id, piece).await }
        };
        Body::from_stream(stream::iter(pieces).then(read))
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Piece {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Stored(Payload::Inline(text)) => text.as_str().len() as u64,
            Self::Stored(Payload::Blob { size_bytes, .. }) => *size_bytes,
        }
    }
}

async fn read(jobs: &Handle, id: RunId, piece: Piece) -> Result<Bytes, jobs::Error> {
    match piece {
        Piece::Text(text) => Ok(Bytes::from(text)),
        Piece::Stored(payload) => Ok(Bytes::from(jobs.text(id, &payload).await?.as_str().to_owned())),
    }
}
