//! `[limits]`: a step's defaults and ceilings.

use super::print::Printer;
use super::reader::Section;
use super::server::DAY_MS;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What TOML, JSON and SQL can all hold.
const FUEL_MAX: u64 = i64::MAX as u64;

/// A page of WebAssembly: less is no memory at all.
const MEMORY_BYTES_MIN: u64 = 64 * 1024;

/// What 32-bit addresses reach.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

impl Limits {
    /// The limits of an execution for which nobody asked for lower ones.
    #[must_use]
    pub fn effective(&self) -> crate::model::EffectiveLimits {
        crate::model::EffectiveLimits { fuel: self.fuel, memory_bytes: self.memory_bytes, timeout_ms: self.timeout_ms }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let memory_bytes = section.integer("memory_bytes", default.memory_bytes, MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX);
        Self {
            fuel: section.integer_or_off("fuel", default.fuel, 1..=FUEL_MAX),
            memory_bytes,
            timeout_ms: section.integer("timeout_ms", default.timeout_ms, 1..=DAY_MS),
            // Output is made in the guest's memory, so a higher bound could never be met.
            output_bytes: section.integer("output_bytes", default.output_bytes.min(memory_bytes), 1..=memory_bytes),
            log_lines: section.integer("log_lines", default.log_lines, 0..=1_000_000),
            log_bytes: section.integer("log_bytes", default.log_bytes, 0..=256 * 1024 * 1024),
            host_calls: section.integer("host_calls", default.host_calls, 0..=1_000_000_000),
            module_bytes: section.integer("module_bytes", default.module_bytes, 1024..=1024 * 1024 * 1024),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("limits");
        match self.fuel {
            Some(fuel) => printer.number("fuel", fuel),
            None => printer.string("fuel", "off"),
        }
        printer.number("memory_bytes", self.memory_bytes);
        printer.number("timeout_ms", self.timeout_ms);
        printer.number("output_bytes", self.output_bytes);
        printer.number("log_lines", self.log_lines);
        printer.number("log_bytes", self.log_bytes);
        printer.number("host_calls", self.host_calls);
        printer.number("module_bytes", self.module_bytes);
    }
}
