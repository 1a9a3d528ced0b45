//! A case, run and compared.
//!
//! Owns what of an execution is compared with which expectation. Invariant: a case passes only when every expectation
//! that it has was held against what came.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::answers::Answers;
use super::case::{Case, Expect, Status};
use super::compare::{Difference, Members, compare};
use super::json::Json;
use crate::author::local::{self, Called, Local};
use crate::author::{Manifest, Prebuilt};
use crate::model::{JsonObject, JsonText, Level};
use crate::runtime::{Execution, Outcome, StandIn, Usage};

/// Runs the cases of one component, one after another.
pub struct Runner {
    local: Local,
    answers: Arc<Answers>,
}

/// How a case went.
#[derive(Debug)]
pub struct Report {
    /// Where what came is another than what was expected.
    pub differences: Vec<Difference>,
    /// Host calls without an answer, and answers that nobody asked for.
    pub host_calls: Vec<String>,
    /// What it asked for and the manifest's permissions don't cover.
    pub denials: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// What it logged, as a case has it.
    pub logs: Vec<Json>,
    /// How long the case took, with what is around the call.
    pub elapsed: Duration,
}

impl Report {
    /// Whether all was as expected.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.differences.is_empty() && self.host_calls.is_empty()
    }
}

impl Runner {
    /// Compiles the component, or finds its code of an earlier time in `folder`.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(component: &Prebuilt, manifest: &Manifest, folder: &Path) -> Result<Self, local::Error> {
        let answers = Arc::new(Answers::default());
        let stand_in: Arc<dyn StandIn> = Arc::clone(&answers) as Arc<dyn StandIn>;
        let local = Local::open(component, manifest, folder, stand_in).await?;
        Ok(Self { local, answers })
    }

    /// Runs one.
    ///
    /// # Errors
    /// It can't be run at all: there is no such function, or a limit is above the ceiling.
    pub async fn run(&self, case: &Case) -> Result<Report, local::Error> {
        let started = Instant::now();
        self.answers.begin(case);
        let data = case.data.as_ref().map(|data| text_of(&data.to_string())).transpose()?;
        let given = case.data.clone().unwrap_or(Json::Object(Vec::new()));
        let called = Called {
            function: case.function.clone(),
            input: text_of(case.input.get())?,
            data,
            env: case.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            limits: case.limits,
        };
        let execution = self.local.call(called).await?;
        let host_calls = self.answers.end();
        let found = Found::of(&execution, given);
        Ok(Report {
            differences: found.differences(&case.expect),
            host_calls,
            denials: execution.denials.iter().map(ToString::to_string).collect(),
            usage: execution.usage,
            logs: found.logs,
            elapsed: started.elapsed(),
        })
    }
}

fn text_of(text: &str) -> Result<JsonText, local::Error> {
    JsonText::parse(text).map_err(|error| local::Error::Json(error.to_string()))
}

/// An execution in the words of a case.
struct Found {
    status: Json,
    output: Json,
    next: Json,
    data: Json,
    errors: Json,
    failure: Json,
    logs: Vec<Json>,
}

/// A line of the log in the words of a case.
#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    message: &'a str,
    fields: &'a JsonObject,
}

impl Found {
    /// With the data as the gateway would go on with it: only a step that completes changes it.
    fn of(execution: &Execution, given: Json) -> Self {
        let parsed = |text: &JsonText| Json::parse(text.as_str()).unwrap_or(Json::Null);
        let mut found = Self {
            status: Json::Null,
            output: Json::Null,
            next: Json::Null,
            data: given,
            errors: Json::Null,
            failure: Json::Null,
            logs: execution
                .lines
                .iter()
                .map(|line| Json::of(&Line { level: line.level, message: &line.message, fields: &line.fields }))
                .collect(),
        };
        match &execution.result {
            Ok(Outcome::Completed { output, next }) => {
                found.status = Json::of(&Status::Completed);
                found.output = parsed(output);
                found.next = Json::of(next);
                found.data = execution.data.as_ref().map_or(Json::Object(Vec::new()), parsed);
            }
            Ok(Outcome::Invalid(errors)) => {
                found.status = Json::of(&Status::Invalid);
                found.errors = Json::of(errors);
            }
            Ok(Outcome::Failed(failure)) => {
                found.status = Json::of(&Status::Failed);
                found.failure = Json::of(failure);
            }
            Err(failure) => {
                found.status = Json::of(&Status::Failed);
                found.failure = Json::of(&json!({"code": failure.code.as_str(), "message": failure.message}));
            }
        }
        found
    }

    fn differences(&self, expect: &Expect) -> Vec<Difference> {
        let mut differences = Vec::new();
        let expected_logs = expect.logs.clone().map(Json::List);
        let found_logs = Json::List(self.logs.clone());
        for (name, expected, found, members) in [
            ("status", Some(&Json::of(&expect.status)), &self.status, Members::All),
            ("output", expect.output.as_ref(), &self.output, Members::All),
            ("next", expect.next.as_ref(), &self.next, Members::All),
            ("data", expect.data.as_ref(), &self.data, Members::All),
            ("errors", expect.errors.as_ref(), &self.errors, Members::All),
            ("failure", expect.failure.as_ref(), &self.failure, Members::Expected),
            ("logs", expected_logs.as_ref(), &found_logs, Members::Expected),
        ] {
            if let Some(expected) = expected {
                compare(name, expected, found, members, &mut differences);
            }
        }
        // Why it ended otherwise is what an author looks for first.
        if differences.iter().any(|difference| difference.path == "status") {
            for (path, found) in [("errors", &self.errors), ("failure", &self.failure)] {
                if !found.is_null() && !differences.iter().any(|difference| difference.path.starts_with(path)) {
                    differences.push(Difference { path: path.to_owned(), expected: None, found: Some(found.clone()) });
                }
            }
        }
        differences
    }
}
