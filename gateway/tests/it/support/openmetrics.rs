//! A strict reader of the `OpenMetrics` text format (specification 1.0.0).
//!
//! Owns the rules of the text: whatever breaks one fails the test. Does not own
//! which metrics there are. The unit tests of `telemetry::metrics` include this
//! file too, so it uses nothing of the integration tests.

use std::collections::{BTreeMap, BTreeSet};

/// One line of the exposition format: a sample's name, labels and value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// With its suffix.
    pub name: String,
    /// By key.
    pub labels: BTreeMap<String, String>,
    /// As it is written.
    pub value: f64,
}

/// A family: its type, and its samples in order.
#[derive(Debug, Default)]
pub struct Family {
    /// Its type.
    pub kind: String,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// Everything that one scrape told.
#[derive(Debug)]
pub struct Exposition {
    /// By name, without the suffixes of their samples.
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Reads the `OpenMetrics` text format, strictly: metadata once and before the
    /// samples, families not interleaved, no series twice, and `# EOF` at the end.
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        let mut series = BTreeSet::new();
        let body = text.strip_suffix("# EOF\n").expect("# EOF at the end");
        for line in body.lines() {
            if let Some(metadata) = line.strip_prefix("# ") {
                let [keyword, name, rest] = metadata.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                match keyword {
                    "HELP" => {
                        assert!(is_name(name) && name.starts_with("sluice_") && rest.ends_with('.'), "{line}");
                        assert!(families.insert(name.to_owned(), Family::default()).is_none(), "{name} twice");
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
        Self { families }
    }

    /// The value of the one sample with this name and these labels, if there is one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut samples = self.families.values().flat_map(|family| &family.samples);
        samples.find(|sample| sample.name == name && sample.labels == labels).map(|sample| sample.value)
    }
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

/// Buckets ascend and are cumulative, and `+Inf` is the count.
fn check_histogram(family: &Family) {
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
