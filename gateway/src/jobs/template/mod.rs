//! Templates of a definition, and what they become when a step begins.
//!
//! A template is a text with `{{ expression }}` in it. The expressions are minijinja's; its statements, comments and
//! whitespace control are refused (`text`). Owns the compiled form of a definition, one for each revision, and the
//! bounds of an evaluation. Does not own which names a template may use: `definition` checks them when a job is saved.
//! Invariants: what is evaluated sees values and nothing else (no files, no clock, no other templates); a value never
//! becomes a `{{secret:NAME}}` that the definition didn't have.

mod output;
mod text;
mod tree;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::runner::{HttpBody, Work};
use crate::error::pointer;
use crate::model::job::{DatabaseMode, Definition, JobName, StepDefinition, StepId, StepKind, StepStatus};
use crate::model::{JsonText, Limits, ModuleRef, RunId, whole_number};

use output::Room;
pub use text::{BadTemplate, NAMES, Reference, Template};
use tree::Tree;

/// The code of a step's error where a template of it could not be evaluated. Such a step is never tried again: the same
/// would come of it.
pub const ERROR_CODE: &str = "bad-template";

/// What the templates of one step become together, at most: more than the largest body that a trigger comes in
/// (`[server] body_bytes`, 10 MiB by default), and little enough for as many at once as there are workers.
pub const RESOLVED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The longest wait. A wait costs a row only; a year is past any deadline that people set, and within what every store
/// and clock can add.
pub const WAIT_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// What templates see, besides `env` of the definition. Cheap to make and to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the run was started with.
    pub trigger: Arc<Value>,
    /// As the completed steps left it.
    pub data: Arc<Value>,
    /// All steps of the run that may be named, those that have not ended too.
    pub steps: Arc<BTreeMap<StepId, StepView>>,
    /// Which run.
    pub run: RunView,
}

/// `steps.ID`.
#[derive(Debug, Clone)]
pub struct StepView {
    /// `status`.
    pub status: StepStatus,
    /// `output`; `null` where there is none.
    pub output: Option<Arc<Value>>,
}

/// `run`. No attempt is in it: each attempt of a step asks for the same, under the same idempotency key.
#[derive(Debug, Clone)]
pub struct RunView {
    /// `id`.
    pub id: RunId,
    /// `job`.
    pub job: JobName,
    /// `revision`.
    pub revision: u64,
    /// `created_at`, RFC 3339.
    pub created_at: Timestamp,
}

/// What a step does, with its templates resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved {
    /// Something for a runner.
    Work(Work),
    /// Nothing, for so long.
    Wait(Duration),
    /// Nothing, until then.
    WaitUntil(Timestamp),
}

/// A template that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct TemplateError {
    /// JSON Pointer into the definition.
    pub path: String,
    /// For people.
    pub message: String,
}

impl TemplateError {
    fn new(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into() }
    }
}

/// The templates of one revision, compiled.
#[derive(Debug)]
pub struct Templates {
    env: Env,
    steps: Vec<Step>,
}

/// The definition's, for wasm steps and for templates.
#[derive(Debug)]
struct Env {
    texts: BTreeMap<String, String>,
    value: minijinja::Value,
}

#[derive(Debug)]
struct Step {
    path: String,
    when: Option<Template>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Wasm {
        module: ModuleRef,
        function: String,
        input: Option<Tree>,
        env: Vec<(String, Template)>,
        limits: Limits,
    },
    Http {
        method: String,
        url: Template,
        headers: Vec<(String, Template)>,
        body: Option<Tree>,
        success: Option<Arc<[u16]>>,
    },
    Database {
        connection: String,
        mode: DatabaseMode,
        sql: String,
        params: Vec<Tree>,
    },
    WaitFor(Tree),
    WaitUntil(Template),
}

impl Templates {
    /// Compiles those of a definition.
    ///
    /// # Errors
    /// The first that doesn't parse. A definition that was checked has none.
    pub fn of(definition: &Definition) -> Result<Self, TemplateError> {
        let steps = definition.steps.iter().enumerate();
        Ok(Self {
            env: Env { texts: definition.env.clone(), value: values::env(&definition.env) },
            steps: steps.map(|(index, step)| Step::of(index, step)).collect::<Result<_, _>>()?,
        })
    }

    /// What the step at this place of the definition does now.
    ///
    /// # Errors
    /// A template names what isn't there, goes over its bounds, or becomes something of a wrong kind.
    pub fn work(&self, step: usize, context: &Context) -> Result<Resolved, TemplateError> {
        self.step(step)?.work(&self.env, context)
    }

    /// Whether the step at this place is to be done: `true` where it has no `when`.
    ///
    /// # Errors
    /// As [`Self::work`], and where it is neither a boolean nor the text `true` or `false`.
    pub fn when(&self, step: usize, context: &Context) -> Result<bool, TemplateError> {
        let Some(when) = &self.step(step)?.when else { return Ok(true) };
        match when.value(&values::root(context, &self.env.value), &mut Room::new())? {
            Value::Bool(met) => Ok(met),
            Value::String(text) if text == "true" => Ok(true),
            Value::String(text) if text == "false" => Ok(false),
            other => {
                let message =
                    format!("`when` is neither true nor false, but {}: compare it with something", kind(&other));
                Err(when.error(message))
            }
        }
    }

    fn step(&self, step: usize) -> Result<&Step, TemplateError> {
        self.steps.get(step).ok_or_else(|| TemplateError::new("/steps", format!("there is no step at {step}")))
    }
}

/// A value's kind, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn compiled<'a>(
    path: &str,
    members: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<(String, Template)>, TemplateError> {
    let compile = |(name, text): (&String, &String)| Ok((name.clone(), template(&pointer(path, name), text)?));
    members.into_iter().map(compile).collect()
}

fn template(path: &str, text: &str) -> Result<Template, TemplateError> {
    Template::parse(path, text).map_err(|error| TemplateError::new(path, error.to_string()))
}

impl Step {
    fn of(index: usize, step: &StepDefinition) -> Result<Self, TemplateError> {
        let path = format!("/steps/{index}");
        let at = |member: &str| format!("{path}/{member}");
        let kind = match &step.kind {
            StepKind::Wasm(wasm) => Kind::Wasm {
                module: wasm.module.clone(),
                function: wasm.function.clone(),
                input: wasm.input.as_ref().map(|input| Tree::parse(&at("input"), input)).transpose()?,
                env: compiled(&at("env"), &wasm.env)?,
                limits: wasm.limits,
            },
            StepKind::Http(http) => Kind::Http {
                method: http.method.clone(),
                url: template(&at("url"), &http.url)?,
                headers: compiled(&at("headers"), &http.headers)?,
                body: http.body.as_ref().map(|body| Tree::parse(&at("body"), body)).transpose()?,
                success: http.success.as_deref().map(Arc::from),
            },
            StepKind::Database(database) => Kind::Database {
                connection: database.connection.clone(),
                mode: database.mode,
                sql: database.sql.clone(),
                params: Tree::parse_items(&at("params"), &database.params)?,
            },
            StepKind::Wait(wait) => match (&wait.duration_ms, &wait.until) {
                (Some(duration), None) => Kind::WaitFor(Tree::parse(&at("duration_ms"), duration)?),
                (None, Some(until)) => Kind::WaitUntil(template(&at("until"), until)?),
                _ => return Err(TemplateError::new(&path, "a wait has either `duration_ms` or `until`")),
            },
        };
        let when = step.when.as_ref().map(|when| template(&at("when"), when)).transpose()?;
        Ok(Self { path, when, kind })
    }

    fn work(&self, env: &Env, context: &Context) -> Result<Resolved, TemplateError> {
        let names = values::root(context, &env.value);
        let room = &mut Room::new();
        let work = match &self.kind {
            Kind::Wasm { module, function, input, env: own, limits } => {
                let data = JsonText::of(&*context.data);
                let input = match input {
                    Some(input) => JsonText::of(&input.value(&names, room)?),
                    None => data.clone(),
                };
                let mut all = env.texts.clone();
                for (name, template) in own {
                    all.insert(name.clone(), template.text(&names, room)?);
                }
                let (module, function) = (module.clone(), function.clone());
                Work::Wasm { module, function, input, data, env: all.into_iter().collect(), limits: *limits }
            }
            Kind::Http { method, url, headers, body, success } => {
                let header = |(name, value): &(String, Template)| Ok((name.clone(), value.sent_text(&names, room)?));
                let headers = headers.iter().map(header).collect::<Result<_, TemplateError>>()?;
                let body = match body.as_ref().map(|body| body.sent_value(&names, room)).transpose()? {
                    Some(Value::String(text)) => Some(HttpBody::Text(text)),
                    other => other.map(HttpBody::Json),
                };
                let (method, url, success) = (method.clone(), url.text(&names, room)?, success.clone());
                Work::Http { method, url, headers, body, success }
            }
            Kind::Database { connection, mode, sql, params } => {
                let params = params.iter().map(|param| param.value(&names, room)).collect::<Result<_, _>>()?;
                Work::Database { connection: connection.clone(), mode: *mode, sql: sql.clone(), params }
            }
            Kind::WaitFor(duration) => {
                let value = duration.value(&names, room)?;
                return duration_ms(&value)
                    .map(|ms| Resolved::Wait(Duration::from_millis(ms)))
                    .map_err(|message| TemplateError::new(&format!("{}/duration_ms", self.path), message));
            }
            Kind::WaitUntil(until) => {
                return time(&until.text(&names, room)?)
                    .map(Resolved::WaitUntil)
                    .map_err(|message| until.error(message));
            }
        };
        Ok(Resolved::Work(work))
    }
}

/// The milliseconds that a value says to wait.
///
/// # Errors
/// In words: it is no whole number, or too large.
pub(super) fn duration_ms(value: &Value) -> Result<u64, String> {
    let ms = whole_number(value).or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    match ms {
        Some(ms) if ms <= WAIT_MS_MAX => Ok(ms),
        Some(_) => Err(format!("a wait is at most {WAIT_MS_MAX} ms, a year")),
        None => Err(format!("a wait is a whole number of milliseconds, and this is {}", kind(value))),
    }
}

/// The time that a text is.
///
/// # Errors
/// In words.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.trim().parse().map_err(|_| "not a time such as 2026-01-31T09:00:00Z".to_owned())
}

#[cfg(test)]
mod tests;
