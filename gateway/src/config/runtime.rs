//! `[runtime]`: how many guests at once, and what is kept compiled.

use super::print::Printer;
use super::reader::Section;
use super::server::DAY_MS;

/// `[runtime]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Instances at once.
    pub instances: u32,
    /// How long a call waits for a slot before it is told `overloaded`; 0 doesn't wait.
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

impl Runtime {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            instances: section.integer("instances", default.instances, 1..=100_000),
            wait_ms: section.integer("wait_ms", default.wait_ms, 0..=DAY_MS),
            cache_bytes: section.integer("cache_bytes", default.cache_bytes, 1024 * 1024..=1024 * 1024 * 1024 * 1024),
            cache_modules: section.integer("cache_modules", default.cache_modules, 1..=1_000_000),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("runtime");
        printer.number("instances", self.instances);
        printer.number("wait_ms", self.wait_ms);
        printer.number("cache_bytes", self.cache_bytes);
        printer.number("cache_modules", self.cache_modules);
    }
}
