//! `[limits]`: a step's defaults and ceilings.

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Fuel of one execution; `None` for `"off"`.
    pub fuel: Option<u64>,
    /// All memories and tables of one execution together.
    pub memory_bytes: u64,
    /// Wall-clock time of one execution.
    pub timeout_ms: u64,
    /// The output of one execution.
    pub output_bytes: u64,
    /// Log lines of one execution.
    pub log_lines: u32,
    /// Messages and fields of all log lines of one execution.
    pub log_bytes: u64,
    /// Calls of one execution to the context, HTTP and databases.
    pub host_calls: u32,
    /// A component.
    pub module_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: Some(1_000_000_000),
            memory_bytes: 64 * 1024 * 1024,
            timeout_ms: 30_000,
            output_bytes: 1024 * 1024,
            log_lines: 1000,
            log_bytes: 256 * 1024,
            host_calls: 10_000,
            module_bytes: 50 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The limits of an execution for which nobody asked for lower ones.
    #[must_use]
    pub fn effective(&self) -> crate::model::EffectiveLimits {
        crate::model::EffectiveLimits { fuel: self.fuel, memory_bytes: self.memory_bytes, timeout_ms: self.timeout_ms }
    }
}
