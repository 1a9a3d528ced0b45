//! Trace Context (W3C) on its way to others.
//!
//! Owns what the servers that a step asks are told of the trace. Does not own spans (`otlp`). Invariant: what is
//! traced here is told of with its own span; what is not is passed on as it came, so that a trace that goes
//! through a step doesn't end at it.

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, TraceState};

use super::otlp::{Sampled, TRACEPARENT, TRACESTATE, parent_of};

/// Of `tracestate`, Trace Context, sections 3.3.1.1 and 3.3.1.5: what everybody passes on; more may be dropped.
const STATE_MEMBERS_MAX: usize = 32;
const STATE_BYTES_MAX: usize = 512;

/// What a request said of its trace, as it came. Nothing is read of it before it is passed on.
#[derive(Debug, Clone, Default)]
pub struct TraceContext(Option<Box<Given>>);

#[derive(Debug, Clone)]
struct Given {
    parent: HeaderValue,
    state: Vec<HeaderValue>,
}

impl TraceContext {
    /// That of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(parent) = headers.get(TRACEPARENT) else { return Self::default() };
        let state = headers.get_all(TRACESTATE).iter().cloned().collect();
        Self(Some(Box::new(Given { parent: parent.clone(), state })))
    }

    /// Adds it to the headers of a request that is sent, unless they have one: that of the part of the work
    /// that sends it where it is traced, else what came.
    pub fn send(&self, part: Option<&Sampled>, headers: &mut HeaderMap) {
        if headers.contains_key(TRACEPARENT) {
            return;
        }
        // Alone it belongs to no trace, and beside ours it would be of another.
        headers.remove(TRACESTATE);
        match part.map(Sampled::context).filter(SpanContext::is_valid) {
            Some(context) => {
                let flags = context.trace_flags().to_u8();
                let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
                insert(headers, TRACEPARENT, HeaderValue::try_from(parent).ok());
                let state = context.trace_state().header();
                insert(
                    headers,
                    TRACESTATE,
                    HeaderValue::try_from(state).ok().filter(|state| is_state(std::slice::from_ref(state))),
                );
            }
            None => self.pass_on(headers),
        }
    }

    fn pass_on(&self, headers: &mut HeaderMap) {
        let Some(given) = &self.0 else { return };
        let mut own = HeaderMap::new();
        own.insert(TRACEPARENT, given.parent.clone());
        if is_state(&given.state) {
            for state in &given.state {
                own.append(TRACESTATE, state.clone());
            }
        }
        // What is malformed ends here, as the standard has it.
        if parent_of(&own).is_some() {
            headers.extend(own);
        }
    }
}

/// Whether it may be passed on; what may not is dropped whole, since a part of it says something else.
fn is_state(values: &[HeaderValue]) -> bool {
    let values: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
    let joined = values.unwrap_or_default().join(",");
    (1..=STATE_BYTES_MAX).contains(&joined.len())
        && joined.split(',').count() <= STATE_MEMBERS_MAX
        && joined.parse::<TraceState>().is_ok()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    const GIVEN: (&str, &str) = ("tracestate", "a=1");

    #[test]
    fn a_state_is_passed_on_within_its_bounds_or_not_at_all() {
        let list = |members: usize| (0..members).map(|place| format!("k{place}=1")).collect::<Vec<_>>().join(",");
        let long =
            |bytes: usize| [format!("a={}", "1".repeat(250)), format!("b={}", "2".repeat(bytes - 255))].join(",");
        let cases =
            [(list(32), true), (list(33), false), (long(505), true), (long(513), false), ("a".to_owned(), false)];
        for (state, passed) in cases {
            let mut given = headers(&[("traceparent", PARENT)]);
            given.insert(TRACESTATE, HeaderValue::try_from(&state).unwrap());
            let mut sent = HeaderMap::new();
            TraceContext::of(&given).send(None, &mut sent);
            assert!(sent.contains_key(TRACEPARENT));
            assert_eq!(sent.contains_key(TRACESTATE), passed, "{} bytes of {state}", state.len());
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn sent(given: &[(&'static str, &'static str)], own: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut sent = headers(own);
        TraceContext::of(&headers(given)).send(None, &mut sent);
        sent
    }

    #[test]
    fn what_is_not_traced_here_is_passed_on_as_it_came() {
        let given = [("traceparent", PARENT), ("tracestate", "a=1"), ("other", "x")];
        assert_eq!(sent(&given, &[]), headers(&given[..2]));
        assert_eq!(sent(&[], &[]), HeaderMap::new());
    }

    #[test]
    fn what_is_malformed_ends_here_and_what_the_step_says_itself_is_kept() {
        assert_eq!(sent(&[("traceparent", "00-nonsense"), ("tracestate", "a=1")], &[]), HeaderMap::new());
        let own = [("tracestate", "mine=1")];
        assert_eq!(sent(&[("traceparent", PARENT)], &own), headers(&[("traceparent", PARENT)]));
        assert_eq!(sent(&[("traceparent", PARENT), GIVEN], &own), headers(&[("traceparent", PARENT), GIVEN]));
        assert_eq!(sent(&[], &own), HeaderMap::new());
        let own = [("traceparent", "own")];
        assert_eq!(sent(&[("traceparent", PARENT)], &own), headers(&own));
    }
}
