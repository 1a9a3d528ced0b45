//! `[runtime]`: how many guests at once, and what is kept compiled.

/// `[runtime]`.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Instances at once.
    pub instances: u32,
    /// How long a call waits for a slot before it is told `overloaded`.
    pub wait_ms: u64,
    /// Compiled code that is kept mapped, in bytes.
    pub cache_bytes: u64,
    /// Compiled components that are kept mapped.
    pub cache_modules: usize,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { instances: 1000, wait_ms: 100, cache_bytes: 1024 * 1024 * 1024, cache_modules: 1000 }
    }
}
