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
    /// Address space of a process that compiles one component.
    pub compile_memory_bytes: u64,
    /// Processor time of a process that compiles one component; it has four times as much by the clock.
    pub compile_timeout_ms: u64,
}

/// The compiler alone, before it has seen a component, needs a part of it.
const COMPILE_MEMORY_BYTES_MIN: u64 = 256 * 1024 * 1024;

impl Default for Runtime {
    fn default() -> Self {
        Self {
            instances: 1000,
            wait_ms: 100,
            cache_bytes: 1024 * 1024 * 1024,
            cache_modules: 1000,
            // Python's 18 MB take 430 MB and ten seconds of one core.
            compile_memory_bytes: 2 * 1024 * 1024 * 1024,
            compile_timeout_ms: 60_000,
        }
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
            compile_memory_bytes: section.integer(
                "compile_memory_bytes",
                default.compile_memory_bytes,
                COMPILE_MEMORY_BYTES_MIN..=1024 * 1024 * 1024 * 1024,
            ),
            compile_timeout_ms: section.integer("compile_timeout_ms", default.compile_timeout_ms, 1000..=3_600_000),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("runtime");
        printer.number("instances", self.instances);
        printer.number("wait_ms", self.wait_ms);
        printer.number("cache_bytes", self.cache_bytes);
        printer.number("cache_modules", self.cache_modules);
        printer.number("compile_memory_bytes", self.compile_memory_bytes);
        printer.number("compile_timeout_ms", self.compile_timeout_ms);
    }
}
