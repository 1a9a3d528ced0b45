//! What a caller is told of an execution.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::{Body, Problem};
use super::{RETRY_AFTER_S, no_store};
use crate::error::Code;
use crate::model::{ExecutionId, JsonText};
use crate::runtime::{Execution, Outcome, StepFailure, Usage};

#[derive(Serialize)]
struct Completed<'a> {
    execution_id: ExecutionId,
    status: &'static str,
    output: &'a RawValue,
    next: Option<&'a [String]>,
    data: Data<'a>,
    metrics: Metrics,
}

/// The data is an object always.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Given(&'a RawValue),
    Empty {},
}

#[derive(Serialize)]
struct Metrics {
    fuel: Option<u64>,
    memory_bytes: u64,
    duration_us: u64,
    instance: &'static str,
}

#[derive(Serialize)]
struct Accepted {
    execution_id: ExecutionId,
    status: &'static str,
}

/// The answer for an execution that ended.
pub(super) fn of(id: ExecutionId, execution: &Execution) -> Result<Response<Body>, Problem> {
    match &execution.result {
        Ok(Outcome::Completed { output, next }) => {
            let data = execution.data.as_ref();
            Ok(completed(id, (output, next.as_deref(), data), execution.usage))
        }
        Ok(Outcome::Invalid(errors)) => {
            Err(Problem::new(Code::InvalidData, invalid_detail(errors.len())).errors(errors.clone()).execution_id(id))
        }
        Ok(Outcome::Failed(failure)) => Err(Problem::new(Code::StepFailed, failed_detail(failure))
            .failure(JsonText::from_value(&serde_json::to_value(failure).unwrap_or_default()))
            .execution_id(id)),
        Err(failure) => {
            let mut problem = Problem::new(failure.code, failure.message.clone()).execution_id(id);
            if let Some(limit) = failure.limit {
                problem = problem.limit(limit);
            }
            if let Some(used) = failure.used {
                problem = problem.used(used);
            }
            Err(if failure.code == Code::Overloaded { problem.retry_after_s(RETRY_AFTER_S) } else { problem })
        }
    }
}

/// The answer for an execution that goes on.
pub(super) fn accepted(id: ExecutionId) -> Response<Body> {
    let mut response = json(&Accepted { execution_id: id, status: "running" });
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/wasm/executions/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    response
}

type Returned<'a> = (&'a JsonText, Option<&'a [String]>, Option<&'a JsonText>);

fn completed(id: ExecutionId, (output, next, data): Returned<'_>, usage: Usage) -> Response<Body> {
    json(&Completed {
        execution_id: id,
        status: "completed",
        output: output.as_raw(),
        next,
        data: data.map_or(Data::Empty {}, |data| Data::Given(data.as_raw())),
        metrics: Metrics {
            fuel: usage.fuel,
            memory_bytes: usage.memory_bytes,
            duration_us: usage.duration_us,
            instance: "fresh",
        },
    })
}

fn json(value: &impl Serialize) -> Response<Body> {
    // These types hold nothing that could fail to be written.
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(&mut response);
    response
}

pub(super) fn invalid_detail(errors: usize) -> String {
    if errors == 1 {
        "the step found a mistake in the data".to_owned()
    } else {
        format!("the step found {errors} mistakes in the data")
    }
}

pub(super) fn failed_detail(failure: &StepFailure) -> String {
    if failure.message.is_empty() { failure.code.clone() } else { format!("{}: {}", failure.code, failure.message) }
}
