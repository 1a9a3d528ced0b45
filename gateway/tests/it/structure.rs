//! Which Rust module of the gateway may use which.
//!
//! Owns the rules; `scan` finds what a file uses. Test code is free: a test may need what its subject must not.

mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scan::Uses;

/// One rule about the top-level Rust modules of `gateway/src` (`main` is `main.rs`, `lib` is `lib.rs`).
enum Rule {
    /// The first uses none of the others.
    Forbids(&'static str, &'static [&'static str]),
    /// The first uses itself and these, and no others.
    UsesOnly(&'static str, &'static [&'static str]),
    /// The first is used by itself and these, and no others.
    UsedOnlyBy(&'static str, &'static [&'static str]),
    /// A library, or a family of them that share a prefix, is used by these only.
    Library(&'static str, &'static [&'static str]),
}

const RULES: &[Rule] = &[
    // The data plane runs code and knows nothing of how it got here.
    Rule::Forbids("runtime", &["store", "registry", "http", "api"]),
    Rule::Forbids("store", &["runtime"]),
    Rule::Forbids("registry", &["runtime"]),
    Rule::Forbids("http", &["api"]),
    Rule::UsesOnly("model", &["error"]),
    Rule::UsesOnly("config", &["model"]),
    Rule::UsesOnly("egress", &["model", "config"]),
    // What steps reach is never what the gateway keeps its own rows in.
    Rule::UsesOnly("database", &["config", "tls"]),
    Rule::UsesOnly("tls", &["config"]),
    Rule::UsesOnly("circuit", &["clock", "config", "model", "telemetry"]),
    // A record is the same whoever asked for the execution.
    Rule::UsesOnly("execution", &["error", "model", "runtime", "store", "telemetry"]),
    // The engine plans; what executes its steps is passed in.
    Rule::Forbids("jobs", &["runtime"]),
    Rule::UsesOnly(
        "steps",
        &[
            "blob",
            "circuit",
            "clock",
            "config",
            "database",
            "egress",
            "error",
            "execution",
            "jobs",
            "model",
            "registry",
            "runtime",
            "store",
            "telemetry",
        ],
    ),
    Rule::UsedOnlyBy("steps", &["app"]),
    Rule::UsedOnlyBy("cli", &["main"]),
    // An author's machine has no gateway: its code runs in the same runtime and is stored nowhere.
    Rule::UsesOnly("author", &["model", "error", "config", "clock", "telemetry", "blob", "registry", "runtime"]),
    Rule::UsedOnlyBy("author", &["cli"]),
    // One place to change when a library does. It also keeps jobs from the engine.
    Rule::Library("wasmtime", &["runtime"]),
    Rule::Library("rusqlite", &["store", "database"]),
    // A URL is read by whoever connects with it.
    Rule::Library("tokio_postgres", &["store", "database", "config", "tls"]),
    Rule::Library("deadpool_postgres", &["store"]),
    Rule::Library("mysql_async", &["database"]),
    Rule::Library("opendal", &["blob"]),
    Rule::Library("ed25519_dalek", &["model"]),
    // The gateway takes components as they come.
    Rule::Library("wit_component", &["author"]),
    Rule::Library("wit_parser", &["author"]),
    // Everywhere else an error has a type.
    Rule::Library("anyhow", &["main", "cli"]),
];

/// One file that may be product code.
struct Source {
    /// The top-level Rust module that it belongs to.
    module: String,
    name: String,
    uses: Uses,
}

#[test]
fn no_rust_module_uses_what_it_must_not() {
    let broken = broken_edges(&sources());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_rule_is_about_rust_modules_that_exist() {
    let modules: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    for rule in RULES {
        let (Rule::Forbids(first, others) | Rule::UsesOnly(first, others) | Rule::UsedOnlyBy(first, others)) = rule
        else {
            continue;
        };
        for name in others.iter().chain([first]) {
            assert!(modules.contains(*name), "there is no `{name}`: a rule about it says nothing");
        }
    }
}

#[test]
fn lib_rs_is_a_table_of_contents() {
    // A re-export there would be a way around every rule.
    let lib = scan::code_of(&fs::read_to_string(source_folder().join("lib.rs")).unwrap());
    for item in lib.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        assert!(item.starts_with("pub mod ") || item.starts_with("mod "), "lib.rs holds more than modules: {item}");
    }
}

#[test]
fn a_planted_edge_of_every_rule_is_found() {
    let planted = [
        ("runtime/pool.rs", "use crate::{clock, store};"),
        ("runtime/pool.rs", "use crate::registry::Snapshot;"),
        ("runtime/host/log.rs", "use super::super::super::http;"),
        ("runtime/pool.rs", "fn f() { crate::api::routes() }"),
        ("store/sqlite/mod.rs", "use crate::{\n    model::{self, Key},\n    runtime as engine,\n};"),
        ("registry/mod.rs", "fn f(engine: &crate::runtime::Engine) {}"),
        ("http/mod.rs", "pub use crate::api;"),
        ("model/name.rs", "use crate::clock::Clock;"),
        ("config/mod.rs", "use super::store;"),
        ("api/mod.rs", "use crate::cli::run;"),
        ("app.rs", "use crate::cli;"),
        ("author/local.rs", "use crate::store;"),
        ("api/mod.rs", "use crate::author::Manifest;"),
        ("registry/intake.rs", "use wit_component::ComponentEncoder;"),
        ("cli/build.rs", "use wit_parser::Resolve;"),
        ("circuit/mod.rs", "use crate::egress::Target;"),
        ("execution.rs", "use crate::http::Problem;"),
        ("jobs/worker.rs", "use crate::runtime::Runtime;"),
        ("jobs/mod.rs", "use crate::steps::Steps;"),
        ("steps/wasm.rs", "use crate::http::Problem;"),
        ("steps/wasm.rs", "use wasmtime::Engine;"),
        ("http/invoke.rs", "use wasmtime::Engine;"),
        ("registry/mod.rs", "fn f(view: impl wasmtime_wasi::WasiView) {}"),
        ("api/mod.rs", "use ::rusqlite::Connection;"),
        ("app.rs", "use tokio_postgres::Client;"),
        ("config/store.rs", "use deadpool_postgres::Pool;"),
        ("store/mod.rs", "use {std::fs, opendal};"),
        ("cli/sign.rs", "use ed25519_dalek::SigningKey;"),
        ("runtime/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }"),
        ("app.rs", "use anyhow::Context as _;"),
        ("egress/client.rs", "use crate::runtime::Outside;"),
        ("database/mod.rs", "use crate::store;"),
        ("tls.rs", "use crate::model::Digest;"),
        ("config/databases.rs", "use mysql_async::Opts;"),
        ("runtime/mod.rs", "mod inner { use super::super::store; }"),
        ("runtime/mod.rs", "#[cfg(test)] mod tests { fn f() {} }\nuse crate::store;"),
    ];
    for (file, text) in planted {
        assert_eq!(broken_edges(&[source(Path::new(file), text)]).len(), 1, "{file}: {text}");
    }
    let planted = planted.map(|(file, text)| source(Path::new(file), text));
    for (place, rule) in RULES.iter().enumerate() {
        assert!(planted.iter().any(|source| !broken_by(rule, source).is_empty()), "nothing breaks rule {place}");
    }
}

#[test]
fn what_is_allowed_or_only_talked_about_is_not_found() {
    let allowed = [
        ("runtime/pool.rs", "use crate::{clock, model::Digest};\nuse wasmtime::{Engine, component::Linker};"),
        ("runtime/pool.rs", "// use crate::store;\n/* crate::api /* nested */ crate::http */\nuse super::limits;"),
        ("runtime/pool.rs", "const A: &str = \"crate::store\"; const B: &str = r#\"use crate::store; \"\"#;"),
        ("runtime/pool.rs", "fn f<'a>(x: &'a str) -> char { let _ = '\"'; '\\'' } // crate::store"),
        ("runtime/pool.rs", "#[cfg(test)]\nmod tests { use crate::store; fn f() { anyhow::bail!() } }"),
        ("runtime/pool.rs", "#[cfg(test)]\nuse crate::store;\n#[cfg(test)]\nfn f(a: [u8; 2]) { crate::store::open() }"),
        ("runtime/pool/tests.rs", "use crate::store;"),
        ("runtime/host/http.rs", "use super::http::Request; use crate::runtime::http;"),
        ("main.rs", "fn main() -> anyhow::Result<()> { sluice::cli::run() }"),
        ("cli/serve.rs", "use crate::app; use super::config; use anyhow::Context as _;"),
        ("app.rs", "fn f(error: crate::store::Error, path: std::path::PathBuf) { store.runtime() }"),
    ];
    for (file, text) in allowed {
        assert_eq!(broken_edges(&[source(Path::new(file), text)]), [""; 0], "{file}: {text}");
    }
}

fn broken_edges(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        for rule in RULES {
            for (used, why) in broken_by(rule, source) {
                broken.push(format!("{} uses {used}: {why}", source.name));
            }
        }
    }
    broken
}

/// What the file uses in spite of the rule, with the rule in words.
fn broken_by<'a>(rule: &Rule, source: &'a Source) -> Vec<(&'a str, String)> {
    let own = source.module.as_str();
    let modules = source.uses.modules.iter().map(String::as_str).filter(|used| *used != own);
    match rule {
        Rule::Forbids(module, forbidden) if own == *module => {
            let used = modules.filter(|used| forbidden.contains(used));
            used.map(|used| (used, format!("{module} must not"))).collect()
        }
        Rule::UsesOnly(module, allowed) if own == *module => {
            let used = modules.filter(|used| !allowed.contains(used));
            used.map(|used| (used, format!("{module} may use {} only", allowed.join(", ")))).collect()
        }
        Rule::UsedOnlyBy(module, allowed) if !allowed.contains(&own) => {
            let used = modules.filter(|used| used == module);
            used.map(|used| (used, format!("only {} may", allowed.join(", ")))).collect()
        }
        Rule::Library(library, allowed) if !allowed.contains(&own) => {
            let used = source.uses.libraries.iter().filter(|used| used.starts_with(library));
            used.map(|used| (used.as_str(), format!("only {} may", allowed.join(", ")))).collect()
        }
        Rule::Forbids(..) | Rule::UsesOnly(..) | Rule::UsedOnlyBy(..) | Rule::Library(..) => Vec::new(),
    }
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let root = source_folder();
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(source(path.strip_prefix(&root).unwrap(), &text));
            }
        }
    }
    sources
}

/// A file by its path below `src`.
fn source(path: &Path, text: &str) -> Source {
    let mut modules: Vec<_> = path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if modules.len() > 1 && modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    let module = modules[0].clone();
    let holds_tests = modules.iter().any(|module| module == "tests");
    let uses = if holds_tests { Uses::default() } else { scan::uses_of(&modules, text) };
    Source { module, name: path.display().to_string(), uses }
}
