//! `GET /api/v1/runs/{id}/events`: what happens to a run, as it happens.
//!
//! Owns the stream: server-sent events, resumable by the id of the last. Does not own what happens (`jobs`). Invariants: the
//! ids of a stream increase; it ends with the event of the run's end, when its reader leaves, and when the gateway goes away;
//! the listeners are counted.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shown::{RunSummary, step_as_of};
use super::{Refusals, find};
use crate::api::Services;
use crate::api::authorize::AsViewer;
use crate::api::jobs::RETRY_AFTER_S;
use crate::api::path_id::PathId;
use crate::api::query::Query;
use crate::error::Code;
use crate::http::Problem;
use crate::jobs;
use crate::model::RunId;
use crate::model::job::{Run, RunEvent, RunStatus};

/// Each is a task that asks the store when its run changes; a dashboard has one or two.
const LISTENERS_MAX: usize = 1000;
/// Proxies cut a connection on which nothing comes for half a minute or more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that are read at once: those of some steps.
const BATCH: u32 = 100;

/// Room for those who listen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Listeners(Arc<Semaphore>);

impl Default for Listeners {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTENERS_MAX)))
    }
}

/// Listen to a run
///
/// Needs the role `viewer`. Server-sent events: `run` with the run (without trigger, data and steps) and `step` with the step, as
/// of that event; an output over 64 KiB is `null` there. The stream ends with the run. One that was broken off goes on after
/// `Last-Event-ID`. 204: nothing more comes.
#[utoipa::path(
    get, path = "/api/v1/runs/{run_id}/events", operation_id = "run_events", tag = "runs",
    params(
        ("run_id" = inline(RunId), Path, description = "Its id."),
        ("last_event_id" = Option<u64>, Query, description = "Begin after this event."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as browsers send it."),
    ),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The run has ended, and the caller had its last event."),
        Refusals,
    )
)]
pub(in crate::api) async fn listen(
    State(services): State<Services>,
    AsViewer(caller): AsViewer,
    PathId(id): PathId<RunId>,
    request: Parts,
) -> Result<Response, Problem> {
    let after = after(&request)?;
    let run = find(&services, &caller, id).await?;
    if run.status.is_end() && after >= run.last_event {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let full = |_| Problem::new(Code::Overloaded, "too many listen").retry_after_s(RETRY_AFTER_S);
    let turn = Arc::clone(&services.listeners.0).try_acquire_owned().map_err(full)?;
    let listener = Listener { services, id, after, ready: VecDeque::new(), is_over: false, _turn: turn };
    let body = Body::from_stream(stream::unfold(listener, Listener::next));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // For the proxies that would hold it back until it is whole.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The header wins: a browser that connects again sends it with the address of the first time.
fn after(request: &Parts) -> Result<u64, Problem> {
    let mut query = Query::of(&request.uri, &["last_event_id"]);
    let given = query.take("last_event_id", |text| text.parse().map_err(|_| "is the id of an event".to_owned()));
    query.finish()?;
    let Some(header) = request.headers.get("last-event-id") else { return Ok(given.unwrap_or(0)) };
    let id = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.ok_or_else(|| Problem::new(Code::BadRequest, "Last-Event-ID is not the id of an event"))
}

struct Listener {
    services: Services,
    id: RunId,
    after: u64,
    ready: VecDeque<Bytes>,
    is_over: bool,
    _turn: OwnedSemaphorePermit,
}

impl Listener {
    /// The next bytes; `None` at the end.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.read().await {
                tracing::warn!(run = %self.id, error = &error as &dyn std::error::Error, "a listener was let go");
                return None;
            }
            if !self.ready.is_empty() || self.is_over {
                continue;
            }
            let jobs = self.services.jobs.clone();
            tokio::select! {
                () = jobs.changed(self.id, self.after) => {}
                () = tokio::time::sleep(KEEP_ALIVE) => return Some((Ok(Bytes::from_static(b": alive\n\n")), self)),
                () = self.services.readiness.draining() => return None,
            }
        }
    }

    /// The run is read after its events, so it has what they tell of.
    async fn read(&mut self) -> Result<(), jobs::Error> {
        let events = self.services.jobs.events(self.id, self.after, BATCH).await?;
        if events.is_empty() {
            return Ok(());
        }
        let Some(run) = self.services.jobs.run(self.id).await? else {
            self.is_over = true;
            return Ok(());
        };
        for event in events {
            self.after = self.after.max(event.id);
            // One that a retry made go on has more events after its end.
            self.is_over = is_end(&event) && event.id >= run.last_event;
            self.ready.extend(text(&run, &event).map(Bytes::from));
        }
        Ok(())
    }
}

fn is_end(event: &RunEvent) -> bool {
    event.step.is_none() && RunStatus::parse(&event.status).is_some_and(RunStatus::is_end)
}

/// An event as it is written; `None` of a step that the run does not have.
fn text(run: &Run, event: &RunEvent) -> Option<String> {
    let (name, data) = match &event.step {
        None => {
            let status = RunStatus::parse(&event.status).unwrap_or(run.status);
            ("run", serde_json::to_string(&RunSummary::as_of(run, status)).ok()?)
        }
        Some(id) => {
            let step = run.steps.iter().find(|step| step.id == *id)?;
            ("step", step_as_of(step, &event.status, event.attempts).ok()?)
        }
    };
    let mut text = format!("id: {}\nevent: {name}\n", event.id);
    // A step's output is text as the step wrote it, and may have lines.
    for line in data.split(['\n', '\r']) {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    Some(text)
}
