//! Which requests are traced, and their spans.
//!
//! Owns the decision, the names of spans and their attributes. Does not own how
//! they are sent (`logging`). Invariants: spans are made for requests that are
//! traced and for nothing else; and neither input nor output is in a span.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::field::{Empty, display};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::error::Code;
use crate::model::{ExecutionId, Module, Status};

/// The target of every span that is sent, and of nothing else.
pub(super) const TARGET: &str = "sluice::trace";

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Trace Context, section 3.3.1.1: at most so many members.
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Decides once a request whether it is traced.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// `None` without a receiver.
    share: Option<Share>,
}

/// The span of a request that is traced, or of a part of it. Cheap to clone;
/// the span ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Sampled {
    span: Span,
    /// What the spans below are about too.
    subject: Subject,
}

#[derive(Debug, Clone, Default)]
struct Subject {
    module: Option<Arc<Module>>,
    execution_id: Option<ExecutionId>,
}

impl Sampler {
    /// A sampler for this configuration.
    #[must_use]
    pub fn new(config: &crate::config::Telemetry) -> Self {
        Self { share: config.otlp_endpoint.is_some().then(|| Share::new(config.sample_ratio)) }
    }

    /// The span of the request with these headers; `None` for a request that
    /// isn't traced. Without a receiver that is one branch, and without a span
    /// nothing is allocated.
    ///
    /// A valid `traceparent` decides by its flag, and is the parent of the
    /// span. Otherwise the configured share of requests is traced.
    #[must_use]
    pub fn sample(&self, headers: &HeaderMap) -> Option<Sampled> {
        let share = self.share.as_ref()?;
        let parent = parent_of(headers);
        let traced = parent.as_ref().map_or_else(|| share.has_next(), SpanContext::is_sampled);
        traced.then(|| Sampled::request(parent))
    }
}

impl Sampled {
    fn request(parent: Option<SpanContext>) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.kind = "server",
            otel.status_code = Empty,
            otel.status_description = Empty,
            http.response.status_code = Empty,
            module_id = Empty,
            module = Empty,
            version = Empty,
            execution_id = Empty,
        );
        if let Some(parent) = parent {
            // Fails only where no exporter listens, and then no span is sent either.
            let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
        }
        Self { span, subject: Subject::default() }
    }

    /// The span, for `.instrument(sampled.span().clone())`.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.span
    }

    /// The same span, once it is known which module it is about: an attribute
    /// of it and of all spans below.
    #[must_use]
    pub fn about(mut self, module: &Arc<Module>) -> Self {
        self.subject.module = Some(Arc::clone(module));
        self.subject.record(&self.span);
        self
    }

    /// A part of this span's work: `load`, `compile`, or a host call by its
    /// interface and function, such as `http.send`.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: &self.span,
            "part",
            otel.name = name,
            otel.status_code = Empty,
            otel.status_description = Empty,
            module_id = Empty,
            module = Empty,
            version = Empty,
            execution_id = Empty,
        );
        self.subject.record(&span);
        Self { span, subject: self.subject.clone() }
    }

    /// The execution of a function; the span below which its host calls are.
    #[must_use]
    pub fn execute(&self, function: &str, execution_id: ExecutionId) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: &self.span,
            "execute",
            otel.status_code = Empty,
            otel.status_description = Empty,
            function,
            status = Empty,
            code = Empty,
            module_id = Empty,
            module = Empty,
            version = Empty,
            execution_id = Empty,
        );
        let subject = Subject { module: self.subject.module.clone(), execution_id: Some(execution_id) };
        subject.record(&span);
        Self { span, subject }
    }

    /// What servers that are asked by this part's work are told of it.
    pub(super) fn context(&self) -> SpanContext {
        self.span.context().span().span_context().clone()
    }

    /// How an execution ended; one that failed is an error of the span.
    pub fn record_outcome(&self, status: Status, code: Option<Code>) {
        self.span.record("status", status.as_str());
        if let Some(code) = code {
            self.span.record("code", code.as_str());
        }
        match status {
            Status::Failed => self.record_error(code.map_or("failed", Code::as_str)),
            // What the step found invalid, or whoever asked left, is no fault of this work.
            Status::Running | Status::Completed | Status::Invalid | Status::Canceled => {}
        }
    }

    /// What the request was answered; a 5xx is an error of the span.
    pub fn record_answer(&self, status: u16) {
        self.span.record("http.response.status_code", status);
        if status >= 500 {
            self.record_error("");
        }
    }

    /// That this part failed: a word for it that is safe to show, such as a code.
    pub fn record_error(&self, description: &str) {
        self.span.record("otel.status_code", "ERROR");
        if !description.is_empty() {
            self.span.record("otel.status_description", description);
        }
    }
}

impl Subject {
    fn record(&self, span: &Span) {
        if let Some(module) = &self.module {
            span.record("module_id", display(module.id));
            span.record("module", module.name.as_str());
            span.record("version", display(&module.version));
        }
        if let Some(id) = self.execution_id {
            span.record("execution_id", display(id));
        }
    }
}

/// The remote parent of a request, as Trace Context level 1 has it; `None`
/// where there is none or it is invalid.
pub(super) fn parent_of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    // Which of several to believe is anybody's guess.
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (trace_id, span_id, flags) = parse_traceparent(value.to_str().ok()?)?;
    // Only a request that is traced has a use for it.
    let state = if flags.is_sampled() { trace_state(headers) } else { TraceState::NONE };
    Some(SpanContext::new(trace_id, span_id, flags, true, state))
}

fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut fields = text.split('-');
    let mut field = |length: usize| {
        fields.next().filter(|field| {
            field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // A version to come may append fields; version 0 has none.
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let trace_id = TraceId::from_hex(trace_id).ok().filter(|id| *id != TraceId::INVALID)?;
    let span_id = SpanId::from_hex(span_id).ok().filter(|id| *id != SpanId::INVALID)?;
    let sampled = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?).is_sampled();
    // Of the other flags we don't know the meaning, so they end here.
    Some((trace_id, span_id, TraceFlags::default().with_sampled(sampled)))
}

/// What other tracing systems said about the trace; nothing where it is malformed.
fn trace_state(headers: &HeaderMap) -> TraceState {
    let values: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let joined = values.unwrap_or_default().join(",");
    if joined.is_empty() || joined.split(',').count() > TRACESTATE_MEMBERS_MAX {
        return TraceState::NONE;
    }
    joined.parse().unwrap_or(TraceState::NONE)
}

/// A share of all requests, chosen at random.
#[derive(Debug, Clone)]
struct Share {
    /// A number below it is in the share; of 2⁵³, which a float counts exactly.
    threshold: u64,
}

const SHARE_BITS: u32 = 53;

impl Share {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio of 0 to 1 makes 0 to 2^53")]
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    fn new(ratio: f64) -> Self {
        Self { threshold: (ratio * (1_u64 << SHARE_BITS) as f64) as u64 }
    }

    fn has_next(&self) -> bool {
        // Most gateways trace only what others ask for.
        self.threshold > 0 && next_random() >> (u64::BITS - SHARE_BITS) < self.threshold
    }
}

/// xorshift64* (Vigna, 2016): not a secret, but a few instructions and no system call.
fn next_random() -> u64 {
    thread_local! {
        // 0 is the one state that never changes.
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::{Sampler, Share, parent_of, parse_traceparent};
    use crate::config;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn sampler(endpoint: Option<&str>, sample_ratio: f64) -> Sampler {
        let otlp_endpoint = endpoint.map(str::to_owned);
        Sampler::new(&config::Telemetry { otlp_endpoint, sample_ratio, ..config::Telemetry::default() })
    }

    fn headers(traceparents: &[&str]) -> HeaderMap {
        let values = traceparents.iter().map(|text| HeaderValue::from_str(text).unwrap());
        values.map(|value| (super::TRACEPARENT, value)).collect()
    }

    #[test]
    fn nothing_is_traced_without_a_receiver() {
        assert!(sampler(None, 1.0).sample(&headers(&[SAMPLED])).is_none());
    }

    #[test]
    fn a_valid_traceparent_decides_whatever_the_share_is() {
        for ratio in [0.0, 1.0] {
            let sampler = sampler(Some("http://localhost:4318"), ratio);
            assert!(sampler.sample(&headers(&[SAMPLED])).is_some());
            assert!(sampler.sample(&headers(&[NOT_SAMPLED])).is_none());
        }
    }

    #[test]
    fn the_share_decides_where_there_is_no_valid_traceparent() {
        for none in [headers(&[]), headers(&["00-nonsense"]), headers(&[SAMPLED, NOT_SAMPLED])] {
            assert!(sampler(Some("http://localhost:4318"), 1.0).sample(&none).is_some());
            assert!(sampler(Some("http://localhost:4318"), 0.0).sample(&none).is_none());
        }
    }

    #[test]
    fn half_of_all_requests_is_about_half() {
        let share = Share::new(0.5);
        let chosen = (0..100_000).filter(|_| share.has_next()).count();
        // Twenty standard deviations (158 each) off is a defect, not bad luck.
        assert!((46_840..53_160).contains(&chosen), "{chosen} of 100000");
    }

    #[test]
    fn ids_and_flag_are_read_as_the_standard_writes_them() {
        let context = parent_of(&headers(&[SAMPLED])).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_remote() && context.is_sampled());
        // Unknown flags are not a mistake, and fields of a later version neither.
        assert!(parse_traceparent(&SAMPLED.replace("-01", "-03")).unwrap().2.is_sampled());
        assert!(parse_traceparent(&format!("01{}-more", &SAMPLED[2..])).is_some());
    }

    #[test]
    fn what_the_standard_calls_invalid_is_no_parent() {
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ] {
            assert!(parse_traceparent(invalid).is_none(), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,80}", state in "[ -~]{0,600}") {
            let mut headers = headers(&[&text]);
            headers.insert(super::TRACESTATE, HeaderValue::from_str(&state).unwrap());
            let _ = parent_of(&headers);
            headers.insert(super::TRACEPARENT, HeaderValue::from_static(SAMPLED));
            prop_assert!(parent_of(&headers).is_some());
        }
    }
}
