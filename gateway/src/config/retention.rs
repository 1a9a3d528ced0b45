//! `[store]`'s retention: how long rows are kept.

use super::print::Printer;
use super::reader::Section;

/// What is deleted by itself; `None` for `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Executions and their logs are kept for so many days after they started.
    pub executions_days: Option<u64>,
    /// So many executions are kept; the oldest go first.
    pub executions_max: Option<u64>,
    /// The audit is kept for so many days.
    pub audit_days: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        // Ten million executions without logs take about 2 GB.
        Self { executions_days: Some(30), executions_max: Some(10_000_000), audit_days: Some(90) }
    }
}

/// A century; more is `"off"`.
const DAYS_MAX: u64 = 36_525;

const EXECUTIONS_MAX: u64 = 1_000_000_000_000;

impl Retention {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            executions_days: section.integer_or_off("retention_executions_days", default.executions_days, 1..=DAYS_MAX),
            executions_max: section.integer_or_off(
                "retention_executions_max",
                default.executions_max,
                1..=EXECUTIONS_MAX,
            ),
            audit_days: section.integer_or_off("retention_audit_days", default.audit_days, 1..=DAYS_MAX),
        }
    }

    /// Within `[store]`, which is printed before.
    pub(super) fn print(self, printer: &mut Printer) {
        for (name, value) in [
            ("retention_executions_days", self.executions_days),
            ("retention_executions_max", self.executions_max),
            ("retention_audit_days", self.audit_days),
        ] {
            match value {
                Some(number) => printer.number(name, number),
                None => printer.string(name, "off"),
            }
        }
    }
}
