//! `POST /api/v1/wasm/modules/{module}/invoke`: from a request to an execution
//! and back.
//!
//! Owns the order of the checks before anything runs. Does not own the checks
//! (`auth`, `request`), the execution (`runtime`) or its record (`execution`).
//! Invariants: there is no database call on this way, and an execution that
//! started leaves a record, whoever leaves or fails.

mod answer;
mod query;
mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use self::request::InvokeRequest;
use super::auth::SharedKeys;
use super::{Body, Problem, body, media_type};
use crate::blob;
use crate::clock::Clock;
use crate::error::{Code, FieldError, NAME_CHARACTERS_MAX, shortened};
use crate::execution::{self, Running};
use crate::model::{ExecutionId, ModuleRef, Role};
use crate::registry::{Registry, Revision};
use crate::runtime::{self, Call, Ready, Runtime, Witness};
use crate::store::recorder::{self, Recorder};
use crate::telemetry::{Metrics, Sampled, Sampler, TraceContext};

/// How long a store that is away is waited for by who asked for an answer at once: it holds a slot meanwhile.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// What a caller who found no slot is told to wait. Slots come back in milliseconds;
/// the header has whole seconds.
const RETRY_AFTER_S: u32 = 1;

/// What an invocation needs of the rest of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Plane {
    /// What there is.
    pub registry: Arc<Registry>,
    /// What runs it.
    pub runtime: Arc<Runtime>,
    /// What remembers it.
    pub recorder: Recorder,
    /// Who may.
    pub keys: SharedKeys,
    /// Counters.
    pub metrics: Metrics,
    /// Who is traced.
    pub sampler: Sampler,
    /// The time.
    pub clock: Clock,
    /// Of requests' bodies.
    pub body: body::Bounds,
    /// For large ones, all together.
    pub room: body::Room,
    /// Requests that run: what is cut off is recorded when its token is dropped.
    pub requests: TaskTracker,
    /// Executions that go on after their answer.
    pub detached: Detached,
}

/// Executions that were asked for with `Prefer: respond-async`. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Detached {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Detached {
    /// Waits for them until `deadline`, then ends the rest; how many those were. To
    /// be called when no request is left: what is detached later is cut at once.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.tasks.close();
        let in_time = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        let cut = if in_time { 0 } else { self.tasks.len() };
        self.cut.cancel();
        self.tasks.wait().await;
        cut
    }
}

/// Runs a function of `module`: the path's segment, percent-decoded, and not
/// checked in any other way. Dropped where the client leaves; the execution then
/// ends, and is recorded as canceled.
pub async fn handle(plane: &Plane, module: &str, request: Request<Incoming>) -> Response<Body> {
    let _running = plane.requests.token();
    let Some(trace) = plane.sampler.sample(request.headers()) else {
        // A span costs even when nobody looks: it is there for traced requests only.
        return invoke(plane, module, request, None).await.unwrap_or_else(Problem::into_response);
    };
    let invoke = invoke(plane, module, request, Some(trace.clone())).instrument(trace.span().clone());
    let answer = invoke.await.unwrap_or_else(Problem::into_response);
    trace.record_answer(answer.status().as_u16());
    answer
}

async fn invoke(
    plane: &Plane,
    module: &str,
    request: Request<Incoming>,
    trace: Option<Sampled>,
) -> Result<Response<Body>, Problem> {
    let caller = plane.keys.authenticate(request.headers())?;
    caller.require(Role::Invoker)?;
    let revision = plane
        .registry
        .snapshot()
        .resolve_text(module)
        .filter(|revision| caller.sees_module(revision.module.name.as_str()))
        .cloned()
        .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no module {}", shown(module))))?;
    let trace = trace.map(|trace| trace.about(&revision.module));
    let function = query::function(request.uri().query())?;
    require_function(&revision, &function)?;
    media_type::require_json(request.headers())?;
    let respond_async = prefers_async(request.headers());
    let trace_context = TraceContext::of(request.headers());

    let (body, room) = body::read_in(&plane.room, request.into_body(), plane.body).await.inspect_err(|error| {
        if matches!(error, body::Error::NoRoom) {
            plane.metrics.overloaded();
        }
    })?;
    let asked = InvokeRequest::parse(&body).map_err(|bad| Problem::new(bad.code, bad.detail).errors(bad.errors))?;
    let limits = revision.limits.lowered_by(&asked.limits).map_err(|above| {
        let path = format!("/limits/{}", above.field);
        Problem::malformed(vec![FieldError::new(path, "out-of-range", above.to_string())])
    })?;

    revision.verify().map_err(|refusal| Problem::new(refusal.code(), refusal.to_string()))?;
    let ready = plane
        .runtime
        .prepare(&revision.module, &function, trace.as_ref())
        .await
        .map_err(|error| refused(plane, &revision, error))?;
    // From here on the slots bound what is held.
    drop(room);
    let started_at = plane.clock.now();
    let execution_id = ExecutionId::starting(started_at);
    let trace = trace.map(|trace| trace.execute(&function, execution_id));
    let call = Call {
        execution_id,
        started_at,
        module: Arc::clone(&revision.module),
        permissions: Arc::clone(revision.permission_set()),
        metrics: revision.metrics.clone(),
        function,
        in_run: None,
        input: asked.input,
        data: asked.data,
        env: asked.env,
        limits,
        trace,
        trace_context,
        witness: Witness::default(),
    };
    if respond_async { detach(plane, ready, call).await } else { run(plane, ready, call).await }
}

/// Runs to the end and answers with it.
async fn run(plane: &Plane, ready: Ready, call: Call) -> Result<Response<Body>, Problem> {
    let mut running = Running::new(&plane.recorder, &call);
    let id = call.execution_id;
    let execution = execution::run(&plane.runtime, ready, call, &mut running).await;
    if let Err(failure) = &execution.result
        && failure.code == Code::Overloaded
    {
        // The pool had no room after all: it never started.
        plane.metrics.overloaded();
        let refusal = answer::never_started(failure, running.shown_as());
        running.never_started(execution);
        return Err(refusal);
    }
    let answer = answer::of(id, &execution);
    running.ended(execution);
    answer
}

/// Runs in a task of its own; the answer tells where to look. Without a record that says so nothing is run.
async fn detach(plane: &Plane, ready: Ready, call: Call) -> Result<Response<Body>, Problem> {
    let running = Running::new(&plane.recorder, &call);
    let id = call.execution_id;
    let unrecorded = || {
        let detail = "the execution can't be recorded now, so that its answer could not be looked up";
        Problem::new(Code::Overloaded, detail).retry_after_s(RETRY_AFTER_S)
    };
    // Whoever follows the answer's Location finds it.
    match tokio::time::timeout(RECORDED_WITHIN, plane.recorder.record_durably(running.record())).await {
        Ok(Ok(())) => {}
        Ok(Err(recorder::Dropped)) => {
            running.unrecorded();
            return Err(unrecorded());
        }
        // The record is in the queue still, so dropping `running` has to end it.
        Err(_) => return Err(unrecorded()),
    }
    let task_plane = plane.clone();
    let cut = plane.detached.cut.clone();
    plane.detached.tasks.spawn(async move {
        // What is cut off drops `running`, which records it as canceled.
        let work = async {
            let execution = task_plane.runtime.run(ready, call).await;
            running.ended(execution);
        };
        tokio::select! {
            () = work => {}
            () = cut.cancelled() => {}
        }
    });
    Ok(answer::accepted(id))
}

fn require_function(revision: &Revision, function: &str) -> Result<(), Problem> {
    let functions = &revision.module.functions;
    if functions.binary_search_by(|known| known.as_str().cmp(function)).is_ok() {
        return Ok(());
    }
    let detail = if functions.is_empty() {
        format!("{} has no step functions; it is an HTTP function", revision.module.name)
    } else {
        format!("{} has no function {}; it has {}", revision.module.name, shown(function), functions.join(", "))
    };
    Err(Problem::new(Code::NoSuchFunction, detail))
}

/// Whether a request says `Prefer: respond-async`.
pub(crate) fn prefers_async(headers: &http::HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// The answer where nothing was run.
fn refused(plane: &Plane, revision: &Revision, error: runtime::Error) -> Problem {
    let code = error.code();
    match error {
        runtime::Error::Load(runtime::LoadError::Blob(source))
            if matches!(*source, blob::Error::Missing(_)) && is_deleted(plane, revision) =>
        {
            Problem::new(Code::NotFound, format!("{} {} was deleted", revision.module.name, revision.module.version))
        }
        runtime::Error::Overloaded { .. } => {
            plane.metrics.overloaded();
            Problem::new(code, error.to_string()).retry_after_s(RETRY_AFTER_S)
        }
        runtime::Error::NoSuchFunction(_) => Problem::new(code, error.to_string()),
        runtime::Error::Load(runtime::LoadError::Integrity(_)) => {
            Problem::new(code, "the stored bytes of the module are not what was uploaded; it is not run")
        }
        runtime::Error::Load(_) | runtime::Error::Engine(_) => Problem::new(code, "").caused_by(error),
    }
}

/// Whether the module went after the request had found it. Bytes go after their row.
fn is_deleted(plane: &Plane, revision: &Revision) -> bool {
    plane.registry.snapshot().resolve(&ModuleRef::Id(revision.module.id)).is_none()
}

/// A caller's text in an answer: not all of it when there is much.
fn shown(text: &str) -> Cow<'_, str> {
    shortened(text, NAME_CHARACTERS_MAX)
}

/// The headers of an answer that was made for one caller only.
fn no_store(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
}
