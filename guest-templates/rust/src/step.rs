//! The thin layer between a step's own code and the gateway.
//!
//! Owns the bindings and the defaults that nobody wants to spell out. Does not own any rule of a step.
//! Invariant: what the author returns is what the gateway is told; only a panic becomes a trap.

#![allow(dead_code, unused_imports, reason = "a layer for all steps: not every step needs all of it")]

use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[cfg(any(target_arch = "wasm32", test))]
mod memory;

pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "sluice:step/job-step",
        generate_all,
        pub_export_macro: true,
    });
}

pub use bindings::sluice::step::types::{Completed, Failure, HostError, Outcome, ValidationError};

/// Why a step did not complete.
pub enum StepError {
    /// The data are wrong: the job fails with these errors, and is not retried.
    Invalid(Vec<ValidationError>),
    /// The work could not be done.
    Failed(Failure),
}

impl StepError {
    /// One value that is wrong. `path` is a JSON Pointer.
    pub fn invalid(path: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        let error = ValidationError { path: path.into(), code: code.to_owned(), message: message.into() };
        Self::Invalid(vec![error])
    }
}

impl Completed {
    /// The output, merged into the data of the job. What runs next is as the job is defined.
    pub fn new(output: &impl Serialize) -> Result<Self, StepError> {
        Ok(Self { output: to_json(output)?, next: None })
    }

    /// The steps to run next, and no others. None at all ends the job here.
    pub fn then(self, steps: &[&str]) -> Self {
        Self { next: Some(steps.iter().map(|&step| step.to_owned()).collect()), ..self }
    }
}

/// A failure that another attempt will not mend. The methods below say more.
pub fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure { code: code.to_owned(), message: message.into(), retryable: false, retry_after_ms: None, details: None }
}

impl Failure {
    /// Another attempt may succeed, when the retry policy says so.
    pub fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    /// Another attempt may succeed, and not before so many milliseconds.
    pub fn retry_after_ms(self, wait_ms: u32) -> Self {
        Self { retryable: true, retry_after_ms: Some(wait_ms), ..self }
    }

    /// Anything more that helps whoever reads it.
    pub fn details(self, details: &impl Serialize) -> Self {
        Self { details: serde_json::to_string(details).ok(), ..self }
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// So that `?` works on every host call. Handle the error where the step can go on without the answer.
impl From<HostError> for StepError {
    fn from(error: HostError) -> Self {
        Self::Failed(match error {
            HostError::PermissionDenied(text) => failure("permission-denied", text),
            HostError::InvalidArgument(text) => failure("invalid-argument", text),
            HostError::NotFound(text) => failure("not-found", text),
            HostError::LimitExceeded(text) => failure("limit-exceeded", text),
            HostError::TimedOut(text) => failure("timed-out", text).retryable(),
            HostError::Failed(text) => failure("host-failed", text).retryable(),
        })
    }
}

fn to_json(value: &impl Serialize) -> Result<String, StepError> {
    serde_json::to_string(value).map_err(|_| failure("not-json", "a value that JSON can't hold").into())
}

/// Log lines with structured fields, kept with the execution.
pub mod log {
    use super::bindings::sluice::step::log::{Level, write};

    /// A name, and any value that serde can write.
    pub type Field<'a> = (&'a str, &'a dyn Value);

    pub fn debug(message: &str, fields: &[Field]) {
        line(Level::Debug, message, fields);
    }

    pub fn info(message: &str, fields: &[Field]) {
        line(Level::Info, message, fields);
    }

    pub fn warn(message: &str, fields: &[Field]) {
        line(Level::Warn, message, fields);
    }

    pub fn error(message: &str, fields: &[Field]) {
        line(Level::Error, message, fields);
    }

    fn line(level: Level, message: &str, fields: &[Field]) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
        write(level, message, &fields);
    }

    /// What can be the value of a field: implemented for all that serde can write.
    pub trait Value {
        /// One JSON document. What can't be written is `null`: logging never fails a step.
        fn to_json(&self) -> String;
    }

    impl<T: serde::Serialize + ?Sized> Value for T {
        fn to_json(&self) -> String {
            serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
        }
    }
}

/// The data of the job, and what this execution is.
pub mod context {
    use super::{DeserializeOwned, Serialize, StepError, bindings::sluice::step::context as host, to_json};

    pub use host::current;

    /// The value at `key`: a top-level name, or a JSON Pointer. A value of another type is an error of the data.
    pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, StepError> {
        let Some(json) = host::get(key)? else { return Ok(None) };
        serde_json::from_str(&json).map(Some).map_err(|_| {
            let path = if key.starts_with('/') { key.to_owned() } else { format!("/{key}") };
            StepError::invalid(path, "malformed", "not of the type that the step reads")
        })
    }

    /// Sets the value at `key`. Kept when the step completes, dropped when it fails.
    pub fn set(key: &str, value: &impl Serialize) -> Result<(), StepError> {
        Ok(host::set(key, &to_json(value)?)?)
    }
}

/// Other servers, as far as the step's permissions reach. `{{secret:NAME}}` in a header or a body is replaced on the
/// way out.
pub mod http {
    use super::{DeserializeOwned, Serialize, StepError, bindings::sluice::step::http as host, failure, to_json};

    pub use host::{Request, Response};

    /// Asks with GET.
    pub fn get(url: &str) -> Request {
        request("GET", url)
    }

    /// Asks with any other method.
    pub fn request(method: &str, url: &str) -> Request {
        Request { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: None, timeout_ms: None }
    }

    impl Request {
        /// One more header.
        pub fn header(mut self, name: &str, value: &str) -> Self {
            self.headers.push((name.to_owned(), value.to_owned()));
            self
        }

        /// A body of JSON.
        pub fn json(mut self, body: &impl Serialize) -> Result<Self, StepError> {
            self.body = Some(to_json(body)?.into_bytes());
            Ok(self.header("content-type", "application/json"))
        }

        /// A body of any bytes.
        pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
            self.body = Some(bytes.into());
            self
        }

        /// For the whole exchange; never longer than the step has left.
        pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
            self.timeout_ms = Some(timeout_ms);
            self
        }

        /// Sends it. Any status is an answer, and redirects are not followed.
        pub fn send(&self) -> Result<Response, StepError> {
            Ok(host::send(self)?)
        }
    }

    impl Response {
        /// The body, where the status says that it went well. Another attempt may help with 429 and 5xx.
        pub fn json<T: DeserializeOwned>(&self) -> Result<T, StepError> {
            if !(200..300).contains(&self.status) {
                let failed = failure("http-status", format!("the server answered {}", self.status));
                let may_pass = self.status == 429 || self.status >= 500;
                return Err(if may_pass { failed.retryable() } else { failed }.into());
            }
            // Alone, serde_json would not look at the bytes of what is skipped.
            let read = str::from_utf8(&self.body).ok().and_then(|text| serde_json::from_str(text).ok());
            read.ok_or_else(|| failure("http-body", "the server's answer is not what the step reads").into())
        }
    }
}

/// The databases that the operator has named, as far as the step's permissions reach. `$1`, `$2` are the parameters.
pub mod db {
    use super::{DeserializeOwned, Serialize, StepError, bindings::sluice::step::db as host, failure, to_json};

    /// The rows of one statement that only reads. `params` is a tuple or a list.
    pub fn query<T: DeserializeOwned>(
        connection: &str,
        sql: &str,
        params: &impl Serialize,
    ) -> Result<Vec<T>, StepError> {
        let rows = host::query(connection, sql, &to_json(params)?)?;
        serde_json::from_str(&rows).map_err(|_| failure("row", "the rows are not what the step reads").into())
    }

    /// The number of rows that one statement changed.
    pub fn execute(connection: &str, sql: &str, params: &impl Serialize) -> Result<u32, StepError> {
        Ok(host::execute(connection, sql, &to_json(params)?)?)
    }
}

/// Runs a step's function on its input as JSON text, and words its result for the gateway.
pub fn answer<'a, I: Deserialize<'a>>(input: &'a str, step: impl FnOnce(I) -> Result<Completed, StepError>) -> Outcome {
    // The place, without serde's own words: they would be a tenth of the whole component.
    let input = serde_json::from_str(input).map_err(|error| {
        let message = format!("not what the step reads, at line {} column {}", error.line(), error.column());
        StepError::invalid("", "malformed", message)
    });
    match input.and_then(step) {
        Ok(completed) => Outcome::Completed(completed),
        Err(StepError::Invalid(errors)) => Outcome::Invalid(errors),
        Err(StepError::Failed(failure)) => Outcome::Failed(failure),
    }
}

/// Exports step functions: `functions! { run => check, summarize => shop::summarize }`.
/// Each is a plain `fn(Input) -> Result<Completed, StepError>` whose input serde can read.
macro_rules! functions {
    ($($function:ident => $step:path),+ $(,)?) => {
        struct Component;

        impl $crate::step::bindings::Guest for Component {
            $(fn $function(input: String) -> $crate::step::Outcome {
                $crate::step::answer(&input, $step)
            })+
        }

        $crate::step::bindings::export!(Component with_types_in $crate::step::bindings);
    };
}
pub(crate) use functions;

/// What the standard library prints, the text of a panic above all, becomes lines of the execution's log.
///
/// These two take the place of the C library's, which bring streams, pollables and terminals into the component: twelve
/// imports that every fresh instance pays for, and nobody reads.
#[cfg(target_arch = "wasm32")]
mod output {
    use std::slice;

    use super::bindings::sluice::step::log::{self, Level};

    const STDOUT: i32 = 1;

    /// `struct iovec` of POSIX.
    #[repr(C)]
    struct Piece {
        start: *const u8,
        length: usize,
    }

    impl Piece {
        /// # Safety
        /// The bytes must be there, and stay as they are.
        unsafe fn bytes(&self) -> &[u8] {
            // SAFETY: the caller's promise. No bytes at all may be nowhere, which no slice can be.
            if self.length == 0 { &[] } else { unsafe { slice::from_raw_parts(self.start, self.length) } }
        }
    }

    fn line(descriptor: i32, bytes: &[u8]) -> isize {
        let level = if descriptor == STDOUT { Level::Info } else { Level::Error };
        match &*String::from_utf8_lossy(bytes.trim_ascii()) {
            "" => {}
            text => log::write(level, text, &[]),
        }
        bytes.len().cast_signed()
    }

    /// `write` of POSIX; whatever is written is taken.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn write(descriptor: i32, start: *const u8, length: usize) -> isize {
        let piece = Piece { start, length };
        // SAFETY: what POSIX asks of the caller.
        line(descriptor, unsafe { piece.bytes() })
    }

    /// `writev` of POSIX; whatever is written is taken.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn writev(descriptor: i32, pieces: *const Piece, count: usize) -> isize {
        // SAFETY: what POSIX asks of the caller.
        let bytes = (0..count).map(|index| unsafe { (*pieces.add(index)).bytes() }).collect::<Vec<_>>().concat();
        line(descriptor, &bytes)
    }
}
