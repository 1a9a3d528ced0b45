//! Problem details (RFC 9457) in people's words.
//!
//! Owns the rendering of a refusal. Does not own the codes (`crate::error`): a
//! server may be newer than this client, so a code that is not known is shown as
//! it came. Invariant: a problem with missing or odd members is still shown.

use indicatif::{BinaryBytes, HumanCount};
use serde::Deserialize;
use serde_json::Value;

/// The members that this client reads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) title: String,
    pub(super) status: u16,
    pub(super) detail: String,
    pub(super) code: String,
    pub(super) origin: String,
    pub(super) request_id: String,
    pub(super) errors: Vec<Mistake>,
    pub(super) execution_id: Option<String>,
    limit: Value,
    used: Value,
    failure: Option<Failure>,
}

/// One mistake among several.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mistake {
    pub(super) path: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// Why a step failed, in its own words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    code: String,
    message: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
    details: Value,
}

impl Problem {
    /// The problem in `body`, unless that is something else.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|problem: &Self| !problem.title.is_empty() || !problem.code.is_empty())
    }

    /// What went wrong, in one line. A refusal's detail says it all; of a failure the
    /// title says what kind it is.
    pub(super) fn headline(&self) -> String {
        let (title, detail) = (&self.title, &self.detail);
        let repeats = detail.to_lowercase().starts_with(&title.to_lowercase());
        match (title.is_empty(), detail.is_empty()) {
            (true, true) => self.code.clone(),
            (false, true) => title.clone(),
            (_, false) if self.status < 500 || repeats => detail.clone(),
            (_, false) => format!("{title}: {detail}"),
        }
    }

    /// Details: each mistake, the limit, the step's own failure, then what identifies it.
    pub(super) fn lines(&self) -> Vec<String> {
        let headline = self.headline();
        let told = |mistake: &&Mistake| headline != format!("{}: {}", mistake.path, mistake.message);
        let mut lines: Vec<String> = self.errors.iter().filter(told).map(Mistake::line).collect();
        lines.extend(self.limit_line());
        lines.extend(self.failure.iter().flat_map(Failure::lines));
        let mut identity = vec![format!("code: {}", self.code)];
        if !self.request_id.is_empty() {
            identity.push(format!("request id: {}", self.request_id));
        }
        lines.push(identity.join(", "));
        if let Some(id) = &self.execution_id {
            lines.push(format!("its log: sluice logs {id}"));
        }
        lines
    }

    fn limit_line(&self) -> Option<String> {
        let limit = (!self.limit.is_null()).then(|| format!("limit: {}", self.quantity(&self.limit)));
        let used = (!self.used.is_null()).then(|| format!("used: {}", self.quantity(&self.used)));
        let parts: Vec<String> = limit.into_iter().chain(used).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// A limit or what was used of it, in the unit that the code implies.
    fn quantity(&self, value: &Value) -> String {
        let Some(number) = value.as_u64() else { return value.to_string() };
        match self.code.as_str() {
            "memory-exceeded" | "output-too-large" | "too-large" | "stack-exhausted" => {
                format!("{number} bytes ({})", BinaryBytes(number))
            }
            "timed-out" => format!("{number} ms"),
            "fuel-exhausted" => format!("{} fuel", HumanCount(number)),
            _ => HumanCount(number).to_string(),
        }
    }
}

impl Mistake {
    /// The mistake in one line.
    pub(super) fn line(&self) -> String {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        format!("{path}{} ({})", self.message, self.code)
    }
}

impl Failure {
    fn lines(&self) -> Vec<String> {
        let retry = match (self.retryable, self.retry_after_ms) {
            (false, _) => "another attempt will not mend it".to_owned(),
            (true, None) => "another attempt may succeed".to_owned(),
            (true, Some(ms)) => format!("another attempt may succeed after {ms} ms"),
        };
        let mut lines = vec![format!("the step says: {} ({}); {retry}", self.message, self.code)];
        if !self.details.is_null() {
            lines.push(format!("details: {}", self.details));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(body: &str) -> String {
        let problem = Problem::parse(body.as_bytes()).unwrap();
        format!("{}\n{}", problem.headline(), problem.lines().join("\n"))
    }

    #[test]
    fn every_mistake_has_its_path_and_the_request_id_is_last() {
        let text = rendered(
            r#"{"type":"urn:sluice:error:invalid-module","title":"The module can't run here","status":422,
            "detail":"two imports are unknown","code":"invalid-module","request_id":"r-1","origin":"gateway",
            "errors":[{"path":"/imports/0","code":"unknown-import","message":"a:b/c is not known"},
                      {"path":"","code":"no-function","message":"no step function"}]}"#,
        );
        assert_eq!(
            text,
            "two imports are unknown\n\
             /imports/0: a:b/c is not known (unknown-import)\n\
             no step function (no-function)\n\
             code: invalid-module, request id: r-1"
        );
    }

    #[test]
    fn the_headline_says_nothing_twice() {
        let headline = |status: u16, title: &str, detail: &str| {
            let body = serde_json::json!({"title": title, "status": status, "detail": detail}).to_string();
            Problem::parse(body.as_bytes()).unwrap().headline()
        };
        assert_eq!(headline(404, "There is no such thing", "there is no module a"), "there is no module a");
        assert_eq!(headline(502, "The step trapped", "unreachable"), "The step trapped: unreachable");
        assert_eq!(
            headline(502, "The step failed", "the step failed in its own way"),
            "the step failed in its own way"
        );
        assert_eq!(headline(500, "Something went wrong here", ""), "Something went wrong here");
        let one = rendered(
            r#"{"status":400,"code":"bad-request","detail":"/limits: too high",
            "errors":[{"path":"/limits","code":"out-of-range","message":"too high"}]}"#,
        );
        assert_eq!(one, "/limits: too high\ncode: bad-request");
    }

    #[test]
    fn a_guests_limit_is_shown_in_its_unit_with_the_way_to_the_log() {
        let body = |code: &str| {
            format!(
                r#"{{"title":"T","code":"{code}","origin":"guest","execution_id":"e-1","limit":1048576,"used":2097152}}"#
            )
        };
        assert!(rendered(&body("memory-exceeded")).contains("limit: 1048576 bytes (1.00 MiB), used: 2097152 bytes"));
        assert!(rendered(&body("timed-out")).contains("limit: 1048576 ms"));
        assert!(rendered(&body("fuel-exhausted")).contains("used: 2,097,152 fuel"));
        assert!(rendered(&body("timed-out")).ends_with("its log: sluice logs e-1"));
    }

    #[test]
    fn a_steps_own_failure_is_told_with_its_advice_on_retrying() {
        let text = rendered(
            r#"{"title":"The step failed","code":"step-failed","failure":{"code":"upstream-down","message":"no answer",
            "retryable":true,"retry_after_ms":200,"details":{"host":"x"}}}"#,
        );
        assert!(
            text.contains("the step says: no answer (upstream-down); another attempt may succeed after 200 ms"),
            "{text}"
        );
        assert!(text.contains(r#"details: {"host":"x"}"#), "{text}");
    }

    #[test]
    fn what_is_no_problem_is_not_taken_for_one() {
        assert!(Problem::parse(b"<html>502</html>").is_none());
        assert!(Problem::parse(br#"{"items": []}"#).is_none());
    }
}
