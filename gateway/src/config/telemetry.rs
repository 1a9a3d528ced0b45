//! `[telemetry]`: what is told to whom.

/// `[telemetry]`.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// The base URL of an OTLP/HTTP receiver, without `/v1/traces`; `None` sends nothing.
    pub otlp_endpoint: Option<String>,
    /// The share of requests without a sampled `traceparent` that is traced, 0 to 1.
    pub sample_ratio: f64,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}
