//! The vocabulary of failure: what went wrong, in the words of the contract.
//!
//! Owns the codes, their HTTP status and whose fault they are. Does not own
//! messages, sources or rendering: each Rust module has an `Error` of its own
//! that maps to a [`Code`] in one exhaustive `match`, and `http::problem` turns
//! a code into an answer.

use std::borrow::Cow;

/// Who has to act for the error to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The caller, the operator or this program.
    Gateway,
    /// The author of the module that ran.
    Guest,
}

impl Origin {
    /// The word in a problem's `origin` member.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Guest => "guest",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $origin:ident, $title:literal;)*) => {
        /// A stable, machine-readable reason, as `type` and `code` of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is written in answers, records and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status of an answer with this code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn origin(self) -> Origin {
                match self { $(Self::$variant => Origin::$origin,)* }
            }

            /// A short summary that is the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    BadRequest = "bad-request", 400, Gateway, "The request is malformed";
    UnknownField = "unknown-field", 400, Gateway, "The request has a field that is not known";
    Unauthenticated = "unauthenticated", 401, Gateway, "No valid key was given";
    Forbidden = "forbidden", 403, Gateway, "The key's role does not allow this";
    NotFound = "not-found", 404, Gateway, "There is no such thing";
    NoSuchFunction = "no-such-function", 404, Gateway, "The module has no such step function";
    MethodNotAllowed = "method-not-allowed", 405, Gateway, "The resource does not have this method";
    RequestTimeout = "request-timeout", 408, Gateway, "The request did not arrive in time";
    VersionExists = "version-exists", 409, Gateway, "The version is taken by other bytes";
    InUse = "in-use", 409, Gateway, "Something still refers to it";
    IdempotencyConflict = "idempotency-conflict", 409, Gateway, "The first request with this key is still being accepted";
    RunEnded = "run-ended", 409, Gateway, "The run has ended";
    TooLarge = "too-large", 413, Gateway, "The request is over its bound";
    UnsupportedMediaType = "unsupported-media-type", 415, Gateway, "The content type is not one that is taken here";
    IdempotencyMismatch = "idempotency-mismatch", 422, Gateway, "The key was used with another request";
    InvalidJob = "invalid-job", 422, Gateway, "The job's definition has mistakes";
    InvalidModule = "invalid-module", 422, Gateway, "The module can't run here";
    InvalidSignature = "invalid-signature", 422, Gateway, "The signature does not match";
    SignatureRequired = "signature-required", 422, Gateway, "Only signed modules are taken";
    UnknownKey = "unknown-key", 422, Gateway, "The signing key is not trusted";
    InvalidData = "invalid-data", 422, Guest, "The step found the data invalid";
    RateLimited = "rate-limited", 429, Gateway, "Too many requests";
    HeadersTooLarge = "headers-too-large", 431, Gateway, "The request's head is over its bound";
    Internal = "internal", 500, Gateway, "Something went wrong here";
    Integrity = "integrity", 500, Gateway, "Stored bytes do not match their digest";
    StepFailed = "step-failed", 502, Guest, "The step failed";
    Trap = "trap", 502, Guest, "The step trapped";
    BadOutput = "bad-output", 502, Guest, "The step's output is not JSON";
    FuelExhausted = "fuel-exhausted", 502, Guest, "The step used up its fuel";
    MemoryExceeded = "memory-exceeded", 502, Guest, "The step went over its memory limit";
    OutputTooLarge = "output-too-large", 502, Guest, "The step's output is over its bound";
    StackExhausted = "stack-exhausted", 502, Guest, "The step ran out of stack";
    CircuitOpen = "circuit-open", 503, Gateway, "The other side fails, and is left alone for a while";
    Overloaded = "overloaded", 503, Gateway, "No slot was free in time";
    TimedOut = "timed-out", 504, Guest, "The step ran out of time";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mistake among several, as in a problem's `errors`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the value, or the name of a part or parameter.
    pub path: String,
    /// Stable and machine-readable: `required`, `unknown-import`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl FieldError {
    /// An error at `path`.
    pub fn new(path: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), code: code.into(), message: message.into() }
    }
}

/// How many characters of a name that a caller made up are told back.
pub const NAME_CHARACTERS_MAX: usize = 100;

/// The JSON Pointer (RFC 6901) to the member `name` of the object at `parent`; a long name is shortened.
#[must_use]
pub fn pointer(parent: &str, name: &str) -> String {
    let name = shortened(name, NAME_CHARACTERS_MAX);
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The beginning of a text that has more characters than an error should tell, and `…`.
#[must_use]
pub fn shortened(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max).and_then(|(end, _)| text.get(..end)) {
        Some(start) => Cow::Owned(format!("{start}…")),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_and_as_long_as_a_name_may_be() {
        assert_eq!(pointer("", "a/b~c"), "/a~1b~0c");
        assert_eq!(pointer("/limits", "é"), "/limits/é");
        let long = pointer("", &"é".repeat(1_000));
        assert_eq!(long, format!("/{}…", "é".repeat(NAME_CHARACTERS_MAX)));
    }

    #[test]
    fn a_text_that_fits_is_told_whole() {
        assert_eq!((shortened("éé", 2), shortened("ééé", 2), shortened("", 0)), ("éé".into(), "éé…".into(), "".into()));
    }
}
