//! Which requests are traced, and their spans.

/// Decides once a request whether it is traced.
#[derive(Debug, Clone)]
pub struct Sampler {}

/// The span of a request that is traced; its children are made with `Sampled::child`.
#[derive(Debug, Clone)]
pub struct Sampled {}

impl Sampler {
    /// A sampler for this configuration.
    pub fn new(_config: &crate::config::Telemetry) -> Self {
        todo!()
    }
    /// `None` for a request that isn't traced: one branch, and no allocation.
    pub fn sample(&self, _headers: &http::HeaderMap) -> Option<Sampled> {
        None
    }
}

impl Sampled {
    /// A child span.
    pub fn child(&self, _name: &'static str) -> tracing::Span {
        tracing::Span::none()
    }
}
