//! What a caller is told of an execution.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::super::{Body, Problem};
use super::{RETRY_AFTER_S, no_store};
use crate::error::Code;
use crate::execution::{failed_detail, invalid_detail};
use crate::model::{ExecutionId, JsonText};
use crate::runtime::{Execution, Failure, Outcome, Usage};

#[derive(Serialize)]
struct Accepted {
    execution_id: ExecutionId,
    status: &'static str,
}

/// The answer for an execution that ended.
pub(super) fn of(id: ExecutionId, execution: &Execution) -> Result<Response<Body>, Problem> {
    match &execution.result {
        Ok(Outcome::Completed { output, next }) => Ok(completed(id, output, next.as_deref(), execution)),
        Ok(Outcome::Invalid(errors)) => {
            Err(Problem::new(Code::InvalidData, invalid_detail(errors.len())).errors(errors.clone()).execution_id(id))
        }
        Ok(Outcome::Failed(failure)) => {
            Err(Problem::new(Code::StepFailed, failed_detail(failure)).failure(JsonText::of(failure)).execution_id(id))
        }
        Err(failure) => {
            let mut problem = Problem::new(failure.code, failure.message.clone()).execution_id(id);
            if let Some(limit) = failure.limit {
                problem = problem.limit(limit);
            }
            if let Some(used) = failure.used {
                problem = problem.used(used);
            }
            Err(problem)
        }
    }
}

/// The answer where nothing of the guest ran: it names the record that is left, if one is.
pub(super) fn never_started(failure: &Failure, recorded: Option<ExecutionId>) -> Problem {
    let problem = Problem::new(failure.code, failure.message.clone()).retry_after_s(RETRY_AFTER_S);
    match recorded {
        Some(id) => problem.execution_id(id),
        None => problem,
    }
}

/// The answer for an execution that goes on.
pub(super) fn accepted(id: ExecutionId) -> Response<Body> {
    // This type holds nothing that could fail to be written.
    let body = serde_json::to_vec(&Accepted { execution_id: id, status: "running" }).unwrap_or_default();
    let mut response = json(body);
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/wasm/executions/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    response
}

/// Written by hand: output and data are JSON text already, and a serializer would
/// parse them once more to find that out.
fn completed(id: ExecutionId, output: &JsonText, next: Option<&[String]>, execution: &Execution) -> Response<Body> {
    /// What stands around the two.
    const FRAME_BYTES: usize = 256;
    let data = execution.data.as_ref().map_or("{}", JsonText::as_str);
    let Usage { fuel, memory_bytes, duration_us } = execution.usage;
    let mut text = String::with_capacity(output.as_str().len() + data.len() + FRAME_BYTES);
    // Writing to a string doesn't fail.
    let _ = write!(
        text,
        r#"{{"execution_id":"{id}","status":"completed","output":{},"next":{},"data":{data},"metrics":{{"fuel":{},"#,
        output.as_str(),
        next.map_or(Cow::Borrowed("null"), |next| serde_json::to_string(next).unwrap_or_default().into()),
        fuel.map_or(Cow::Borrowed("null"), |fuel| fuel.to_string().into()),
    );
    let _ = write!(text, r#""memory_bytes":{memory_bytes},"duration_us":{duration_us},"instance":"fresh"}}}}"#);
    json(text.into_bytes())
}

fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::request_id::RequestIds;

    fn rendered(problem: Problem) -> serde_json::Value {
        let response = Problem::render(problem.into_response::<Bytes>(), &RequestIds::default().next(), None);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn what_never_started_names_an_execution_only_where_its_record_is() {
        let failure = Failure { code: Code::Overloaded, message: "no room".to_owned(), limit: None, used: None };
        let unseen = rendered(never_started(&failure, None));
        assert_eq!((&unseen["code"], unseen.get("execution_id")), (&"overloaded".into(), None));
        let id = ExecutionId::starting(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(rendered(never_started(&failure, Some(id)))["execution_id"], id.to_string());
    }
}
