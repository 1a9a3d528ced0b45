//! Set-up of `tracing`.

use crate::config;

/// Keeps the exporter alive; flushes it when told.
#[derive(Debug, Default)]
pub struct Guard {}

impl Guard {
    /// Sends what has not been sent yet, bounded in time.
    pub fn shutdown(self) {}
}

/// Sets the process's subscriber.
pub fn init(_config: &config::Telemetry) -> anyhow::Result<Guard> {
    todo!()
}
