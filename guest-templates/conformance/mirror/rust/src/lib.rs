//! A step that does what its input says, and tells what came of it: all types of the interface, both ways.
//!
//! Owns nothing that an author would keep. Knows the gateway by `step` alone, as any author's file does.
//! Invariant: the same input and the same answers of the host end it as they end the mirrors in other languages.

mod step;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use step::{Completed, Failure, StepError, ValidationError, context, db, failure, http, log};

step::functions! { run => mirror }

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    calls: Vec<Call>,
    end: Option<End>,
}

/// Each is answered, and the answers are the output where nothing else is said.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Send(Request),
    Query(Statement),
    Execute(Statement),
    Log(Line),
    Get(String),
    Set {
        key: String,
        value: Value,
    },
    Current {},
    /// Read to the last value, and written again.
    Echo(Value),
    /// A refusal of the host is an answer then, and not the end.
    Try(Box<Call>),
}

#[derive(Deserialize)]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// In hexadecimal digits.
    body: Option<String>,
    timeout_ms: Option<u32>,
}

#[derive(Deserialize)]
struct Statement {
    connection: String,
    sql: String,
    params: Vec<Value>,
}

#[derive(Deserialize)]
struct Line {
    level: Level,
    message: String,
    fields: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Completed(Done),
    Invalid(Vec<Finding>),
    Failed(Undone),
    Trap(String),
}

#[derive(Deserialize)]
struct Done {
    #[serde(default, deserialize_with = "given")]
    output: Option<Value>,
    next: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Finding {
    path: String,
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Undone {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
    retry_after_ms: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    details: Option<Value>,
}

/// `null` is a value; absence is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn mirror(input: Input) -> Result<Completed, StepError> {
    let answers = input.calls.into_iter().map(answer).collect::<Result<Vec<_>, _>>()?;
    match input.end {
        None => Completed::new(&answers),
        Some(End::Completed(done)) => {
            let completed = Completed::new(&done.output.unwrap_or_else(|| Value::from(answers)))?;
            Ok(match done.next {
                Some(next) => completed.then(&next.iter().map(String::as_str).collect::<Vec<_>>()),
                None => completed,
            })
        }
        Some(End::Invalid(findings)) => {
            let error = |Finding { path, code, message }| ValidationError { path, code, message };
            Err(StepError::Invalid(findings.into_iter().map(error).collect()))
        }
        Some(End::Failed(undone)) => Err(failed(undone).into()),
        Some(End::Trap(text)) => panic!("{text}"),
    }
}

fn failed(undone: Undone) -> Failure {
    let mut told = failure(&undone.code, undone.message);
    if undone.retryable {
        told = told.retryable();
    }
    if let Some(wait_ms) = undone.retry_after_ms {
        told = told.retry_after_ms(wait_ms);
    }
    if let Some(details) = &undone.details {
        told = told.details(details);
    }
    told
}

fn answer(call: Call) -> Result<Value, StepError> {
    Ok(match call {
        Call::Send(request) => send(request)?,
        Call::Query(Statement { connection, sql, params }) => {
            json!({"rows": db::query::<Value>(&connection, &sql, &params)?})
        }
        Call::Execute(Statement { connection, sql, params }) => {
            json!({"changed": db::execute(&connection, &sql, &params)?})
        }
        Call::Log(line) => write(&line),
        Call::Get(key) => match context::get::<Value>(&key)? {
            Some(value) => json!({"value": value}),
            None => json!({}),
        },
        Call::Set { key, value } => {
            context::set(&key, &value)?;
            Value::Null
        }
        Call::Current {} => current(),
        Call::Echo(value) => value,
        Call::Try(call) => match answer(*call) {
            Err(StepError::Failed(refused)) => json!({"error": {"code": refused.code, "message": refused.message}}),
            other => other?,
        },
    })
}

fn send(request: Request) -> Result<Value, StepError> {
    let mut asked = http::request(&request.method, &request.url);
    for (name, value) in &request.headers {
        asked = asked.header(name, value);
    }
    if let Some(body) = &request.body {
        asked = asked.body(bytes(body)?);
    }
    if let Some(timeout_ms) = request.timeout_ms {
        asked = asked.timeout_ms(timeout_ms);
    }
    let answer = asked.send()?;
    Ok(json!({"status": answer.status, "headers": answer.headers, "body": hexadecimal(&answer.body)}))
}

fn write(line: &Line) -> Value {
    let fields: Vec<log::Field> =
        line.fields.iter().map(|(name, value)| (name.as_str(), value as &dyn log::Value)).collect();
    match line.level {
        Level::Debug => log::debug(&line.message, &fields),
        Level::Info => log::info(&line.message, &fields),
        Level::Warn => log::warn(&line.message, &fields),
        Level::Error => log::error(&line.message, &fields),
    }
    Value::Null
}

/// Of what is another in each call, how long it is.
fn current() -> Value {
    let now = context::current();
    json!({
        "execution_id_bytes": now.execution_id.len(),
        "module": now.module,
        "version": now.version,
        "function": now.function,
        "job": now.job,
        "run_id": now.run_id,
        "step_id": now.step_id,
        "attempt": now.attempt,
        "idempotency_key_bytes": now.idempotency_key.len(),
    })
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(digits).map(char::from).collect()
}

fn bytes(digits: &str) -> Result<Vec<u8>, StepError> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| failure("digits", "a body is told in hexadecimal digits").into())
}
