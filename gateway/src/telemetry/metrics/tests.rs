use std::collections::{BTreeMap, BTreeSet};

use super::{Metrics, SecurityAlert};
use crate::error::Code;
use crate::model::{ModuleName, PermissionKind, Status};

/// One line of the exposition format: a sample's name, labels and value.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A family: its type, and its samples in order.
#[derive(Debug, Default)]
struct Parsed {
    kind: String,
    samples: Vec<Sample>,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// `key="value",…`; no label of ours needs an escape, so none is taken.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for pair in text.split_terminator(',') {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("label {pair}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("a quoted value");
        assert!(is_name(key) && !value.contains(['"', '\\', '\n']), "label {pair}");
        assert!(labels.insert(key.to_owned(), value.to_owned()).is_none(), "label {key} twice");
    }
    labels
}

fn parse_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("sample {line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
        None => (series, ""),
    };
    assert!(is_name(name), "name {name}");
    Sample { name: name.to_owned(), labels: parse_labels(labels), value: value.parse().expect("a number") }
}

/// Reads the `OpenMetrics` text format, strictly: metadata once and before the
/// samples, families not interleaved, no series twice, and `# EOF` at the end.
fn parse(text: &str) -> BTreeMap<String, Parsed> {
    let mut families: BTreeMap<String, Parsed> = BTreeMap::new();
    let mut current = String::new();
    let mut series = BTreeSet::new();
    let body = text.strip_suffix("# EOF\n").expect("# EOF at the end");
    for line in body.lines() {
        if let Some(metadata) = line.strip_prefix("# ") {
            let [keyword, name, rest] = metadata.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            match keyword {
                "HELP" => {
                    assert!(is_name(name) && name.starts_with("sluice_") && rest.ends_with('.'), "{line}");
                    assert!(families.insert(name.to_owned(), Parsed::default()).is_none(), "{name} twice");
                    name.clone_into(&mut current);
                }
                "TYPE" => rest.clone_into(&mut families.get_mut(&current).expect("HELP before TYPE").kind),
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(name, current, "{line}");
        } else {
            let sample = parse_sample(line);
            assert!(series.insert((sample.name.clone(), sample.labels.clone())), "{line} twice");
            let suffix = sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} in {current}"));
            let family = families.get_mut(&current).expect("metadata before samples");
            let allowed: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                kind => panic!("type {kind}"),
            };
            assert!(allowed.contains(&suffix), "{line} in a {}", family.kind);
            family.samples.push(sample);
        }
    }
    for family in families.values().filter(|family| family.kind == "histogram") {
        check_histogram(family);
    }
    families
}

/// Buckets ascend and are cumulative, and `+Inf` is the count.
fn check_histogram(family: &Parsed) {
    let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").expect("le").parse().expect("a number");
        buckets.entry(labels).or_default().push((bound, sample.value));
    }
    for count in family.samples.iter().filter(|sample| sample.name.ends_with("_count")) {
        let buckets = buckets.remove(&count.labels).expect("buckets");
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!(*buckets.last().expect("a bucket"), (f64::INFINITY, count.value));
    }
    assert!(buckets.is_empty(), "buckets without a count: {buckets:?}");
}

/// The value of the one sample with this name and these labels, if there is one.
fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let families = parse(&metrics.encode());
    let labels: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    families.values().flat_map(|family| &family.samples).find(|s| s.name == name && s.labels == labels).map(|s| s.value)
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
    let families = parse(&metrics.encode());
    let kinds: Vec<(&str, &str)> =
        families.iter().map(|(name, family)| (name.as_str(), family.kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("sluice_build", "info"),
            ("sluice_execution_duration_seconds", "histogram"),
            ("sluice_execution_fuel", "counter"),
            ("sluice_execution_memory_bytes", "histogram"),
            ("sluice_execution_records_dropped", "counter"),
            ("sluice_executions", "counter"),
            ("sluice_http_requests", "counter"),
            ("sluice_instances_running", "gauge"),
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
    handles.execution_ended(Status::Completed, None, 184, Some(12_345), 1_179_648);
    handles.execution_ended(Status::Completed, None, 2_000_000, None, 65_536);
    handles.execution_ended(Status::Failed, Some(Code::FuelExhausted), 50, Some(1), 0);
    handles.execution_ended(Status::Canceled, None, 100_000_000, Some(4), 5_000_000_000);

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
    metrics.security_alert(SecurityAlert::Artifact);
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
    late.execution_ended(Status::Failed, Some(Code::Trap), 1, Some(1), 1);
    late.permission_denied(PermissionKind::HttpWrite);

    metrics.forget_module(&name, &version);
    late.execution_ended(Status::Failed, Some(Code::TimedOut), 1, Some(1), 1);
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
            metrics.module(&name, &version).execution_ended(status, code, 1, None, 1);
        }
    }
    let families = parse(&metrics.encode());
    let executions = &families["sluice_executions"].samples;
    assert_eq!(executions.len(), Status::ALL.len() * (Code::ALL.len() + 1));
    assert!(executions.iter().all(|sample| sample.value.to_bits() == 1.0_f64.to_bits()));
}
