//! Metrics as a scraper reads them.

use super::{Metrics, SecurityAlert};
use crate::error::Code;
use crate::model::{ModuleName, PermissionKind, Status};

// One reader for these tests and for those over a real socket.
#[path = "../../../tests/it/support/openmetrics.rs"]
mod openmetrics;

use openmetrics::Exposition;

/// The value of the one sample with this name and these labels, if there is one.
fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    Exposition::parse(&metrics.encode()).value(name, labels)
}

fn module(name: &str) -> (ModuleName, semver::Version) {
    (name.parse().unwrap(), semver::Version::new(1, 2, 3))
}

#[test]
fn every_family_has_its_type() {
    let metrics = Metrics::new();
    // A family without a series is not shown.
    let (name, version) = module("order-rules");
    metrics.module(&name, &version).permission_denied(PermissionKind::DatabaseRead);
    metrics.request_answered(200);
    metrics.circuit_moved("origin", "open");
    let families = Exposition::parse(&metrics.encode()).families;
    let kinds: Vec<(&str, &str)> =
        families.iter().map(|(name, family)| (name.as_str(), family.kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("sluice_build", "info"),
            ("sluice_circuit_transitions", "counter"),
            ("sluice_circuits_open", "gauge"),
            ("sluice_execution_duration_seconds", "histogram"),
            ("sluice_execution_fuel", "counter"),
            ("sluice_execution_memory_bytes", "histogram"),
            ("sluice_execution_records_dropped", "counter"),
            ("sluice_executions", "counter"),
            ("sluice_http_requests", "counter"),
            ("sluice_instances_running", "gauge"),
            ("sluice_job_commits", "counter"),
            ("sluice_job_offloaded_bytes", "counter"),
            ("sluice_job_oldest_due_age_seconds", "gauge"),
            ("sluice_job_runs_held", "gauge"),
            ("sluice_job_runs_queued", "gauge"),
            ("sluice_job_runs_running", "gauge"),
            ("sluice_job_runs_started", "counter"),
            ("sluice_job_sessions_lost", "counter"),
            ("sluice_log_lines_dropped", "counter"),
            ("sluice_module_cache_bytes", "gauge"),
            ("sluice_module_cache_hits", "counter"),
            ("sluice_module_cache_misses", "counter"),
            ("sluice_module_cache_modules", "gauge"),
            ("sluice_module_compile_duration_seconds", "histogram"),
            ("sluice_module_load_duration_seconds", "histogram"),
            ("sluice_overloaded", "counter"),
            ("sluice_permission_denials", "counter"),
            ("sluice_security_alerts", "counter"),
        ]
    );
}

#[test]
fn an_execution_is_counted_with_its_outcome_time_fuel_and_memory() {
    let metrics = Metrics::new();
    let (name, version) = module("order-rules");
    let handles = metrics.module(&name, &version);
    handles.execution_ended(Status::Completed, None, 184, Some(12_345), Some(1_179_648));
    handles.execution_ended(Status::Completed, None, 2_000_000, None, Some(65_536));
    handles.execution_ended(Status::Failed, Some(Code::FuelExhausted), 50, Some(1), Some(0));
    handles.execution_ended(Status::Canceled, None, 100_000_000, Some(4), Some(5_000_000_000));

    let of = [("module", "order-rules"), ("version", "1.2.3")];
    let outcome = |status, code| {
        let labels = [of[0], of[1], ("status", status), ("code", code)];
        value(&metrics, "sluice_executions_total", &labels)
    };
    assert_eq!(outcome("completed", ""), Some(2.0));
    assert_eq!(outcome("failed", "fuel-exhausted"), Some(1.0));
    assert_eq!(outcome("canceled", ""), Some(1.0));
    assert_eq!(outcome("failed", "trap"), Some(0.0), "begins at zero, so that its rate can be told");
    assert_eq!(outcome("failed", "timed-out"), None, "begins when it is first counted");

    assert_eq!(value(&metrics, "sluice_execution_fuel_total", &of), Some(12_350.0));
    assert_eq!(value(&metrics, "sluice_execution_duration_seconds_count", &of), Some(4.0));
    let below = |le| value(&metrics, "sluice_execution_duration_seconds_bucket", &[of[0], of[1], ("le", le)]);
    assert_eq!([below("0.00005"), below("0.00025"), below("2.5"), below("60.0")], [1.0, 2.0, 3.0, 3.0].map(Some));
    assert_eq!(value(&metrics, "sluice_execution_memory_bytes_count", &[]), Some(4.0));
}

#[test]
fn what_happens_in_the_process_is_counted() {
    let metrics = Metrics::new();
    metrics.request_answered(200);
    metrics.request_answered(200);
    metrics.request_answered(503);
    metrics.overloaded();
    metrics.cache_hit();
    metrics.cache_miss();
    metrics.cache_holds(3, 4096);
    metrics.instances(7);
    metrics.compiled(0.25);
    metrics.loaded(0.5);
    metrics.records_dropped(5);
    let (tell, told) = std::sync::mpsc::channel();
    metrics.on_security_alert(Box::new(move |alert, digest| tell.send((alert, digest)).unwrap()));
    metrics.security_alert(SecurityAlert::Artifact, crate::model::Digest::of(b"a"));
    assert_eq!(told.try_recv().unwrap(), (SecurityAlert::Artifact, crate::model::Digest::of(b"a")));
    for (name, labels, expected) in [
        ("sluice_http_requests_total", &[("status", "200")][..], 2.0),
        ("sluice_http_requests_total", &[("status", "503")], 1.0),
        ("sluice_overloaded_total", &[], 1.0),
        ("sluice_module_cache_hits_total", &[], 1.0),
        ("sluice_module_cache_misses_total", &[], 1.0),
        ("sluice_module_cache_modules", &[], 3.0),
        ("sluice_module_cache_bytes", &[], 4096.0),
        ("sluice_instances_running", &[], 7.0),
        ("sluice_module_compile_duration_seconds_sum", &[], 0.25),
        ("sluice_module_load_duration_seconds_sum", &[], 0.5),
        ("sluice_execution_records_dropped_total", &[], 5.0),
        ("sluice_security_alerts_total", &[("kind", "artifact")], 1.0),
        ("sluice_security_alerts_total", &[("kind", "integrity")], 0.0),
        ("sluice_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(value(&metrics, name, labels), Some(expected), "{name}");
    }
}

#[test]
fn a_forgotten_version_has_no_series_even_when_its_executions_end_later() {
    let metrics = Metrics::new();
    let (name, version) = module("order-rules");
    let (kept, _) = module("review");
    let late = metrics.module(&name, &version);
    let _kept = metrics.module(&kept, &version);
    late.execution_ended(Status::Failed, Some(Code::Trap), 1, Some(1), Some(1));
    late.permission_denied(PermissionKind::HttpWrite);

    metrics.forget_module(&name, &version);
    late.execution_ended(Status::Failed, Some(Code::TimedOut), 1, Some(1), Some(1));
    late.permission_denied(PermissionKind::SecretUse);
    late.log_lines_dropped(3);
    let text = metrics.encode();
    assert!(!text.contains("order-rules"), "{text}");
    assert!(text.contains("review"));

    // The same name and version again begin at zero.
    metrics.module(&name, &version).permission_denied(PermissionKind::HttpWrite);
    let labels = [("module", "order-rules"), ("version", "1.2.3"), ("permission", "http:write")];
    assert_eq!(value(&metrics, "sluice_permission_denials_total", &labels), Some(1.0));
}

#[test]
fn all_handles_of_a_version_count_into_the_same_series_and_every_outcome_has_one() {
    let metrics = Metrics::new();
    let (name, version) = module("order-rules");
    for status in Status::ALL {
        for code in Code::ALL.iter().copied().map(Some).chain([None]) {
            metrics.module(&name, &version).execution_ended(status, code, 1, None, Some(1));
        }
    }
    let families = Exposition::parse(&metrics.encode()).families;
    let executions = &families["sluice_executions"].samples;
    assert_eq!(executions.len(), Status::ALL.len() * (Code::ALL.len() + 1));
    assert!(executions.iter().all(|sample| sample.value.to_bits() == 1.0_f64.to_bits()));
}
