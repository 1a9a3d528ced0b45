//! The steps in every language: the same cases, and the same outcomes in each.
//!
//! Two steps. The order step is what `sluice init` writes; the mirror, on the same files for the way to the gateway,
//! does what its input says, and so goes through every type of the interface, both ways.

mod large;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice::author::cases::{Case, File, Json, Report, Runner};
use sluice::author::{Manifest, Prebuilt};

use crate::support::{guest, property};

/// The mirror in every language: its component, and the folder of its manifest.
const MIRRORS: [(&str, &str); 3] = [
    ("mirror", "conformance/mirror/rust"),
    ("mirror-tinygo", "conformance/mirror/tinygo"),
    ("mirror-assemblyscript", "conformance/mirror/assemblyscript"),
];

type Cases = Vec<(String, Case)>;

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-templates")
}

/// The cases of a folder of `guest-templates`, at least so many.
fn cases(folder: &str, least: usize) -> Cases {
    let named = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = File { name: name.clone(), path }.read().unwrap();
        (name, case)
    };
    let mut cases: Cases =
        std::fs::read_dir(templates().join(folder)).unwrap().map(|entry| named(entry.unwrap().path())).collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= least, "{} cases", cases.len());
    cases
}

/// Those of the template's author are the order step's too.
fn order() -> Cases {
    [cases("conformance/order", 120), cases("rust/tests", 5), large::order()].concat()
}

fn mirror() -> Cases {
    [cases("conformance/mirror/cases", 90), large::mirror()].concat()
}

/// A step that can be called, and its compiled code for as long.
struct Step {
    runner: Runner,
    _folder: tempfile::TempDir,
}

impl Step {
    /// With the permissions that the manifest in that folder of `guest-templates` asks for.
    async fn open(guest_name: &str, manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let component = Prebuilt::of(guest(guest_name)).unwrap();
        let manifest = Manifest::read(&templates().join(manifest)).unwrap();
        let runner = Runner::open(&component, &manifest, folder.path()).await.unwrap();
        Self { runner, _folder: folder }
    }

    /// One of [`MIRRORS`].
    async fn mirror(index: usize) -> Self {
        let (guest_name, manifest) = MIRRORS[index];
        Self::open(guest_name, manifest).await
    }

    async fn run(&self, name: &str, case: &Case) -> Report {
        self.runner.run(case).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

async fn conforms(step: Step, cases: Cases) {
    let mut failed = Vec::new();
    for (name, case) in cases {
        let report = step.run(&name, &case).await;
        if !report.has_passed() {
            failed.push(format!("{name}:\n{}", words(&report)));
        }
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

/// What differs, a line each: a megabyte of it is no help.
fn words(report: &Report) -> String {
    let differences = report.differences.iter().map(|difference| format!("{difference:?}"));
    let lines = differences.chain(report.host_calls.iter().cloned());
    lines.map(|line| format!("  {}\n", line.chars().take(300).collect::<String>())).collect()
}

#[tokio::test]
async fn the_order_step_in_rust_does_what_the_cases_say() {
    conforms(Step::open("order-check", "rust").await, order()).await;
}

#[tokio::test]
async fn the_order_step_in_tinygo_does_what_the_cases_say() {
    conforms(Step::open("order-check-tinygo", "tinygo").await, order()).await;
}

#[tokio::test]
async fn the_order_step_in_assemblyscript_does_what_the_cases_say() {
    conforms(Step::open("order-check-assemblyscript", "assemblyscript").await, order()).await;
}

#[tokio::test]
async fn the_mirror_in_rust_does_what_the_cases_say() {
    conforms(Step::mirror(0).await, mirror()).await;
}

#[tokio::test]
async fn the_mirror_in_tinygo_does_what_the_cases_say() {
    conforms(Step::mirror(1).await, mirror()).await;
}

#[tokio::test]
async fn the_mirror_in_assemblyscript_does_what_the_cases_say() {
    conforms(Step::mirror(2).await, mirror()).await;
}

/// A language may write the shortest digits of a double, or others that are read as the same one.
#[tokio::test]
async fn a_number_that_is_read_as_a_double_comes_back_from_every_mirror_as_the_same_double() {
    let double = |value: &Option<Json>| match value {
        Some(Json::Number(number)) => number.as_str().parse::<f64>().ok().map(f64::to_bits),
        _ => None,
    };
    for (index, (mirror, _)) in MIRRORS.iter().enumerate() {
        let step = Step::mirror(index).await;
        for (name, case) in cases("conformance/mirror/doubles", 1) {
            let report = step.run(&name, &case).await;
            for difference in &report.differences {
                let [expected, found] = [double(&difference.expected), double(&difference.found)];
                assert!(expected.is_some() && expected == found, "{mirror}: {name}: {difference:?}");
            }
        }
    }
}

/// How deep a document may be inside a mirror's input, which has four levels around it.
const DEPTH_MAX: usize = 123;

/// Any document: what the parsers of three languages could take for something else is more likely than elsewhere.
fn any_document() -> impl Strategy<Value = Value> {
    let edges = prop::sample::select(vec![
        json!(i64::MIN),
        json!(i64::MIN + 1),
        json!(i64::MAX),
        json!(i64::MAX as u64 + 1),
        json!(u64::MAX),
        json!(1_u64 << 53),
        json!((1_u64 << 53) + 1),
        json!(f64::from(u32::MAX)),
        json!(-0.5),
        json!(""),
        json!("\u{0}\u{1f}\u{7f}\u{2028}\u{fffd}\u{10ffff}\"\\/"),
        json!([]),
        json!({}),
        json!({"": {"": []}}),
    ]);
    let leaf = prop_oneof![edges, property::any_json(), "\\PC{0,200}".prop_map(Value::from)];
    let inner = prop_oneof![
        leaf.clone(),
        prop::collection::btree_map(".{0,8}", leaf, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
    ];
    let around = prop::collection::vec(prop::option::of("[a-zé😀]{0,3}"), 0..DEPTH_MAX - 16);
    // In objects with those names, and in lists.
    (inner, around).prop_map(|(inner, around)| {
        around.into_iter().fold(inner, |inner, name| match name {
            Some(name) => json!({ name: inner }),
            None => json!([inner]),
        })
    })
}

#[test]
fn any_document_comes_back_from_every_mirror_as_it_went_in() {
    let start = async { [Step::mirror(0).await, Step::mirror(1).await, Step::mirror(2).await] };
    property::check(100, any_document(), start, async |mirrors, document| {
        let calls = json!([{"echo": document}, {"set": {"key": "/a/b", "value": document}}, {"get": "/a/b"}]);
        let case = json!({
            "input": {"calls": calls},
            "expect": {
                "status": "completed",
                "output": [document, null, {"value": document}],
                "data": {"a": {"b": document}},
            },
        });
        let case: Case = case.to_string().parse().unwrap();
        for ((name, _), mirror) in MIRRORS.iter().zip(mirrors) {
            let report = mirror.run(name, &case).await;
            assert!(report.has_passed(), "{name}:\n{}", words(&report));
        }
    });
}
