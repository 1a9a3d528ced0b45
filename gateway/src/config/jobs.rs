//! `[jobs]`: how jobs are run, what their own steps may reach, and when somebody who fails is left alone.

use super::print::Printer;
use super::reader::Section;
use crate::model::{Permission, PermissionKind, PermissionSet};

/// The list's name in reports and in what is printed.
const PERMISSIONS: &str = "jobs.permissions";

/// A century.
const DAYS_MAX: u64 = 36_525;
/// A year: each key is a row for as long.
const HOURS_MAX: u64 = 8_760;

/// `[jobs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// What http and database steps and notifications may do; everything else is denied.
    pub permissions: Vec<Permission>,
    /// Runs that this gateway holds at once.
    pub workers: usize,
    /// How long a gateway that is not heard of keeps its runs.
    pub lease_ms: u64,
    /// Of a run's trigger, of its data, and of the output of a step that is not a module's.
    pub data_bytes: u64,
    /// Runs and notifications are kept for so many days after they ended.
    pub retention_days: u64,
    /// For how long the same `Idempotency-Key` starts nothing new.
    pub idempotency_hours: u64,
    /// So many jobs there may be: all are in memory.
    pub jobs_max: usize,
    /// When who fails is left alone.
    pub circuits: CircuitBounds,
}

/// The circuits' keys of `[jobs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBounds {
    /// So many failures open a circuit.
    pub failures: u32,
    /// Within so long.
    pub window_ms: u64,
    /// How long it is left alone the first time.
    pub open_ms: u64,
}

impl Default for CircuitBounds {
    fn default() -> Self {
        Self { failures: 5, window_ms: 30_000, open_ms: 10_000 }
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            permissions: Vec::new(),
            // A run holds its data in memory, and at once most of them wait for others.
            workers: 256,
            // A gateway that stops for a moment keeps its runs, and one that is gone is not waited for much longer.
            lease_ms: 15_000,
            // As much as a request to the gateway may have.
            data_bytes: 10 * 1024 * 1024,
            retention_days: 30,
            // Who repeats a request does so within the day.
            idempotency_hours: 24,
            jobs_max: 10_000,
            circuits: CircuitBounds::default(),
        }
    }
}

impl Jobs {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let permissions: Vec<Permission> =
            section.tables("permissions", PERMISSIONS, read_permission).into_iter().flatten().collect();
        if let Err(error) = PermissionSet::new(&permissions) {
            section.mistake("permissions", error.to_string());
        }
        Self {
            permissions,
            workers: section.integer("workers", default.workers, 1..=100_000),
            lease_ms: section.integer("lease_ms", default.lease_ms, 1_000..=3_600_000),
            data_bytes: section.integer("data_bytes", default.data_bytes, 1_024..=1024 * 1024 * 1024),
            retention_days: section.integer("retention_days", default.retention_days, 1..=DAYS_MAX),
            idempotency_hours: section.integer("idempotency_hours", default.idempotency_hours, 1..=HOURS_MAX),
            jobs_max: section.integer("jobs_max", default.jobs_max, 1..=1_000_000),
            circuits: CircuitBounds::read(section),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("jobs");
        printer.number("workers", self.workers);
        printer.number("lease_ms", self.lease_ms);
        printer.number("data_bytes", self.data_bytes);
        printer.number("retention_days", self.retention_days);
        printer.number("idempotency_hours", self.idempotency_hours);
        printer.number("jobs_max", self.jobs_max);
        printer.number("circuit_failures", self.circuits.failures);
        printer.number("circuit_window_ms", self.circuits.window_ms);
        printer.number("circuit_open_ms", self.circuits.open_ms);
        if self.permissions.is_empty() {
            printer.strings("permissions", std::iter::empty::<&str>());
        }
        for Permission { permission, resource } in &self.permissions {
            printer.table(PERMISSIONS);
            printer.string("permission", permission.as_str());
            printer.string("resource", resource);
        }
    }
}

impl CircuitBounds {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            failures: section.integer("circuit_failures", default.failures, 1..=1_000),
            window_ms: section.integer("circuit_window_ms", default.window_ms, 1..=3_600_000),
            open_ms: section.integer("circuit_open_ms", default.open_ms, 1..=3_600_000),
        }
    }
}

/// A permission, unless something is wrong with it, which is recorded.
fn read_permission(table: &mut Section<'_>) -> Option<Permission> {
    let permission = table.required("permission", |text| {
        let kinds = PermissionKind::ALL.map(PermissionKind::as_str).join(", ");
        PermissionKind::parse(text).ok_or_else(|| format!("expected one of {kinds}"))
    });
    let resource = table.required("resource", |resource| {
        // Of a kind that is not known nothing is known of the resource.
        let Some(permission) = permission else { return Ok(resource.to_owned()) };
        let permission = Permission { permission, resource: resource.to_owned() };
        permission.check().map_err(|error| error.to_string())?;
        if permission.covers_no_url() {
            return Err("no URL begins so; expected a pattern such as \"https://api.example.com/**\"".to_owned());
        }
        Ok(permission.resource)
    });
    Some(Permission { permission: permission?, resource: resource? })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, report};
    use super::*;

    const FILE: &str = "[jobs]\nworkers = 8\ncircuit_failures = 3\n\
                        permissions = [{permission = \"http:write\", resource = \"https://prices.example.com/**\"}]\n\
                        # a comment\n";

    #[test]
    fn permissions_are_a_list_in_the_file_and_in_a_variable() {
        let expected = Jobs {
            permissions: vec![Permission {
                permission: PermissionKind::HttpWrite,
                resource: "https://prices.example.com/**".to_owned(),
            }],
            workers: 8,
            circuits: CircuitBounds { failures: 3, ..CircuitBounds::default() },
            ..Jobs::default()
        };
        let tables = "[jobs]\nworkers = 8\ncircuit_failures = 3\n[[jobs.permissions]]\npermission = \"http:write\"\n\
                      resource = \"https://prices.example.com/**\"\n";
        let variable = (
            "SLUICE__JOBS__PERMISSIONS",
            "[{permission = \"http:write\", resource = \"https://prices.example.com/**\"}]",
        );
        let rest = "[jobs]\nworkers = 8\ncircuit_failures = 3\n";
        for (file, env) in [(FILE, &[][..]), (tables, &[]), (rest, &[variable])] {
            let config = load(file, env).unwrap();
            assert_eq!(config.jobs, expected);
            assert_eq!(load(&config.print(), &[]).unwrap().jobs, expected);
        }
        assert_eq!(load("", &[]).unwrap().jobs, Jobs::default());
        assert_eq!(load("[jobs]\npermissions = []", &[]).unwrap().jobs, Jobs::default());
    }

    #[test]
    fn every_mistake_of_a_permission_is_reported_with_its_line() {
        let file = "[jobs]\nlease_ms = 999\n[[jobs.permissions]]\npermission = \"http:all\"\nresource = \"**\"\n\
                    [[jobs.permissions]]\npermission = \"http:read\"\n[[jobs.permissions]]\npermission = \"http:read\"\n\
                    resource = \"api.example.com/*\"\n[[jobs.permissions]]\npermission = \"database:read\"\n\
                    resource = \"[\"\nhost = \"a\"\n";
        let lines = report(file, &[("SLUICE__JOBS__WORKERS", "0")]);
        let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text} in {lines:#?}");
        has(":2: [jobs] lease_ms: expected 1000 to 3600000, found 999");
        has(":4: [jobs.permissions] permission: expected one of http:read, http:write");
        has(":6: [jobs.permissions] resource: is missing");
        has(":10: [jobs.permissions] resource: no URL begins so");
        has(":13: [jobs.permissions] resource: ");
        has(":14: [jobs.permissions] host: there is no such key");
        has("SLUICE__JOBS__WORKERS: [jobs] workers: expected 1 to 100000");
        assert_eq!(lines.len(), 7, "{lines:#?}");
    }
}
