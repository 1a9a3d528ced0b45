//! Which code may be linked: `deny.toml`, kept with cargo-deny or without it.
//!
//! Owns the second way: the licences, bans and sources of `deny.toml` over `cargo metadata`, because
//! compiling cargo-deny takes longer than everything else a fresh clone does. Invariant: a setting
//! that this way can't keep is an error, never passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::project;
use crate::steps::{Step, Steps};
use crate::system;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Adds the steps that keep `deny.toml`.
pub fn check(steps: &mut Steps) {
    if system::find("cargo-deny").is_none() {
        steps.attempt("licences, bans, sources", check_without_cargo_deny);
        steps.skip("advisories", "cargo-deny is not installed (cargo install --locked cargo-deny)");
        return;
    }
    steps.attempt("licences, bans, sources", |step| {
        step.run(project::cargo().args(["deny", "check", "licenses", "bans", "sources"]))
    });
    let fetched = project::cargo().args(["deny", "fetch", "db"]).output();
    if fetched.is_ok_and(|output| output.status.success()) {
        steps.attempt("advisories", |step| step.run(project::cargo().args(["deny", "check", "advisories"])));
    } else {
        steps.skip("advisories", "their database can't be reached");
    }
}

fn check_without_cargo_deny(step: &mut Step) -> Result<()> {
    let text = fs::read_to_string(project::path("deny.toml")).context("can't read deny.toml")?;
    let policy = Policy::parse(&text)?;
    let packages = packages(step, &policy)?;
    let problems: Vec<_> = packages.values().flat_map(|package| policy.problems_of(package)).collect();
    step.note(format!("{} packages", packages.len()));
    if !problems.is_empty() {
        bail!("{} problems:\n    {}", problems.len(), problems.join("\n    "));
    }
    Ok(())
}

/// Everything that is linked on one of the policy's targets, by its id.
fn packages(step: &Step, policy: &Policy) -> Result<BTreeMap<String, Package>> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    let mut edges = Vec::new();
    for target in &policy.targets {
        let metadata =
            step.output(project::cargo().args(["metadata", "--format-version", "1", "--filter-platform", target]))?;
        let metadata: Metadata = serde_json::from_str(&metadata).context("can't read cargo's metadata")?;
        packages.extend(metadata.packages.into_iter().map(|package| (package.id.clone(), package)));
        edges.extend(metadata.resolve.nodes);
    }
    let names: BTreeMap<_, _> = packages.iter().map(|(id, package)| (id.clone(), package.name.clone())).collect();
    for node in edges {
        for dependency in node.dependencies {
            if let (Some(package), Some(name)) = (packages.get_mut(&dependency), names.get(&node.id)) {
                package.dependents.insert(name.clone());
            }
        }
    }
    Ok(packages)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// Which package uses which, of what is built.
#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for a crate of this repository.
    source: Option<String>,
    dependencies: Vec<Dependency>,
    /// Names of those that use it.
    #[serde(skip)]
    dependents: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    /// `None` for a path.
    source: Option<String>,
}

/// What of `deny.toml` is kept here.
struct Policy {
    targets: Vec<String>,
    allowed: Vec<Licensee>,
    exceptions: BTreeMap<String, Vec<Licensee>>,
    banned: BTreeMap<String, Ban>,
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).context("deny.toml")?;
        let sources = [file.sources.unknown_registry.as_str(), file.sources.unknown_git.as_str()];
        let bans = [file.bans.wildcards.as_str(), sources[0], sources[1]];
        if bans != ["deny"; 3] || file.bans.multiple_versions != "allow" || !file.licenses.private.ignore {
            bail!("deny.toml has a setting that only cargo-deny can keep: cargo install --locked cargo-deny");
        }
        if file.graph.targets.is_empty() {
            bail!("deny.toml names no [graph] targets");
        }
        let exceptions = file.licenses.exceptions.into_iter();
        let banned = file.bans.deny.into_iter().map(|ban| {
            // cargo-deny also takes `name@range`, which can't be told from a name that is never met.
            if ban.krate.contains(['@', ':']) {
                bail!("deny.toml: only cargo-deny can keep a ban of versions: {}", ban.krate);
            }
            Ok((ban.krate.clone(), ban))
        });
        Ok(Self {
            targets: file.graph.targets,
            allowed: licensees(&file.licenses.allow)?,
            exceptions: exceptions.map(|one| Ok((one.krate, licensees(&one.allow)?))).collect::<Result<_>>()?,
            banned: banned.collect::<Result<_>>()?,
        })
    }

    fn problems_of(&self, package: &Package) -> Vec<String> {
        let Some(source) = &package.source else { return wildcards_of(package) };
        let name = format!("{} {}", package.name, package.version);
        let mut problems = Vec::new();
        if let Some(ban) = self.banned.get(&package.name).filter(|ban| !ban.is_wrapped(package)) {
            problems.push(format!("{name} is banned: {}", ban.reason));
        }
        if source != CRATES_IO {
            problems.push(format!("{name} is not from crates.io: {source}"));
        }
        match package.license.as_deref() {
            None => problems.push(format!("{name} names no licence")),
            Some(licence) if self.is_allowed(&package.name, licence) => {}
            Some(licence) => problems.push(format!("{name} has a licence that is not allowed: {licence}")),
        }
        problems
    }

    fn is_allowed(&self, name: &str, licence: &str) -> bool {
        let own = self.exceptions.get(name).map(Vec::as_slice).unwrap_or_default();
        // Lax, because crates.io still has the old "MIT/Apache-2.0". What doesn't parse is not allowed.
        Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|required| self.allowed.iter().chain(own).any(|allowed| allowed.satisfies(required)))
        })
    }
}

/// crates.io takes no crate that has wildcards, so only ours can.
fn wildcards_of(package: &Package) -> Vec<String> {
    let wild = package.dependencies.iter().filter(|dependency| dependency.req == "*" && dependency.source.is_some());
    wild.map(|dependency| format!("{} takes any version of {}", package.name, dependency.name)).collect()
}

fn licensees(names: &[String]) -> Result<Vec<Licensee>> {
    names.iter().map(|name| Licensee::parse(name).with_context(|| format!("deny.toml: {name}"))).collect()
}

/// The settings that are known here; any other fails the parse.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    graph: Graph,
    #[serde(rename = "advisories")]
    _advisories: toml::Table,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<LicenceException>,
    private: Private,
    /// About licence files, which cargo's metadata doesn't have.
    #[serde(rename = "confidence-threshold")]
    _confidence_threshold: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceException {
    #[serde(rename = "crate")]
    krate: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Private {
    ignore: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: String,
    wildcards: String,
    #[serde(rename = "allow-wildcard-paths")]
    _allow_wildcard_paths: Option<bool>,
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    krate: String,
    reason: String,
    /// Those that may use it all the same.
    #[serde(default)]
    wrappers: Vec<String>,
}

impl Ban {
    /// Whether only those use the package that may.
    fn is_wrapped(&self, package: &Package) -> bool {
        !package.dependents.is_empty() && package.dependents.iter().all(|name| self.wrappers.contains(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = include_str!("../../deny.toml");

    fn problems(name: &str, licence: Option<&str>) -> Vec<String> {
        problems_from(CRATES_IO, name, licence)
    }

    fn problems_from(source: &str, name: &str, licence: Option<&str>) -> Vec<String> {
        let package = Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: licence.map(str::to_owned),
            source: Some(source.to_owned()),
            dependencies: Vec::new(),
            dependents: BTreeSet::new(),
        };
        Policy::parse(DENY).unwrap().problems_of(&package)
    }

    #[test]
    fn licences_that_leave_a_permissive_choice_are_allowed() {
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "Unlicense OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "MIT OR AGPL-3.0-only",
        ] {
            assert_eq!(problems("a", Some(licence)), [""; 0], "{licence}");
        }
    }

    #[test]
    fn licences_that_bind_those_who_link_are_refused() {
        for licence in
            ["AGPL-3.0-only", "AGPL-3.0", "BUSL-1.1", "GPL-2.0-or-later", "MIT AND AGPL-3.0-or-later", "my own"]
        {
            assert_eq!(problems("a", Some(licence)).len(), 1, "{licence}");
        }
        assert_eq!(problems("a", None).len(), 1);
    }

    #[test]
    fn a_banned_crate_and_a_foreign_source_are_refused() {
        assert!(problems("openssl-sys", Some("MIT"))[0].contains("rustls"));
        assert!(problems_from("git+https://example.com/a", "a", Some("MIT"))[0].contains("crates.io"));
    }

    #[test]
    fn a_banned_crate_may_be_used_by_its_wrappers_and_nobody_else() {
        let chrono = r#"{"id": "c", "name": "chrono", "version": "1.0.0", "license": "MIT", "dependencies": [],
            "source": "registry+https://github.com/rust-lang/crates.io-index"}"#;
        for (dependents, problems) in [(&["s3s"][..], 0), (&["s3s", "s3s-fs"], 0), (&["s3s", "sluice"], 1), (&[], 1)] {
            let mut package: Package = serde_json::from_str(chrono).unwrap();
            package.dependents = dependents.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(Policy::parse(DENY).unwrap().problems_of(&package).len(), problems, "{dependents:?}");
        }
    }

    #[test]
    fn a_wildcard_of_ours_is_found_and_a_path_is_none() {
        let package = r#"{"id": "x", "name": "x", "version": "1.0.0", "license": null, "source": null, "dependencies": [
            {"name": "path", "req": "*", "source": null}, {"name": "any", "req": "*", "source": "registry"},
            {"name": "fixed", "req": "^1", "source": "registry"}]}"#;
        let package: Package = serde_json::from_str(package).unwrap();
        assert_eq!(Policy::parse(DENY).unwrap().problems_of(&package), ["x takes any version of any"]);
    }

    #[test]
    fn a_setting_that_only_cargo_deny_can_keep_is_an_error() {
        for (from, to) in [
            ("multiple-versions = \"allow\"", "multiple-versions = \"deny\""),
            ("crate = \"chrono\"", "crate = \"chrono@0.4\""),
            ("[sources]", "[sources]\nrequired-git-spec = \"tag\""),
        ] {
            assert!(DENY.contains(from));
            assert!(Policy::parse(&DENY.replace(from, to)).is_err(), "{to}");
        }
    }
}
