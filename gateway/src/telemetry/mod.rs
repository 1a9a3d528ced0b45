//! What the gateway tells about itself: log lines, metrics, traces.
//!
//! Owns the metric families and the set-up of logging and OTLP. Does not own
//! executions' own logs (`store`). Invariant: an unsampled request pays for
//! counters and nothing else.

mod alerts;
mod job_metrics;
mod json_lines;
mod logging;
mod metrics;
mod otlp;
mod propagation;

pub use alerts::{AlertListener, SecurityAlert};
pub use job_metrics::JobMetrics;
pub use logging::{Error, Guard, build, init};
pub use metrics::{METRICS_CONTENT_TYPE, Metrics, ModuleMetrics};
pub use otlp::{Sampled, Sampler};
pub use propagation::TraceContext;
