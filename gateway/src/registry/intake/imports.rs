//! Which interfaces a component may import.
//!
//! Owns the list of what this host has, by name. Does not link (`runtime`):
//! the types of functions are checked there. Invariant: every instance import
//! that passes has a name that the linker answers to.

use semver::Version;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::{ComponentTypeRef, TypeBounds};

use super::outline::Outline;
use super::{Errors, FieldError};
use crate::error::{NAME_CHARACTERS_MAX, shortened};

/// Our own package, with each interface's functions: `wit/host.wit`.
const STEP_INTERFACES: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("log", &["write"]),
    ("context", &["current", "get", "set"]),
    ("http", &["send"]),
    ("db", &["query", "execute"]),
];

/// The packages of WASI that are linked, all their interfaces at once.
const WASI_PACKAGES: &[&str] = &["cli", "io", "clocks", "random", "filesystem", "sockets", "http"];

/// What a refused import is told.
const HERE: &str = "this host has sluice:step/{types,log,context,http,db}@0.1.0 and wasi:{cli,io,clocks,random,filesystem,sockets,http}@0.2";

/// Refuses every import that this host does not have; returns the names of the instances, sorted.
pub(super) fn check(outline: &Outline<'_>, errors: &mut Errors) -> Vec<String> {
    let mut names = Vec::new();
    for import in &outline.imports {
        let name = import.name.name;
        match import.ty {
            ComponentTypeRef::Instance(_) => {
                match interface(name) {
                    Ok(known) => check_functions(outline, name, known, errors),
                    Err(reason) => errors.push(unknown(name, &reason)),
                }
                names.push(name.to_owned());
            }
            // What `use` of another interface's type leaves behind: it asks nothing of the host.
            ComponentTypeRef::Type(TypeBounds::Eq(_)) => {}
            ComponentTypeRef::Type(TypeBounds::SubResource) => errors.push(not_an_interface(name, "resource")),
            ComponentTypeRef::Func(_) => errors.push(not_an_interface(name, "function")),
            ComponentTypeRef::Component(_) => errors.push(not_an_interface(name, "component")),
            ComponentTypeRef::Module(_) => errors.push(not_an_interface(name, "core module")),
            ComponentTypeRef::Value(_) => errors.push(not_an_interface(name, "value")),
        }
    }
    names.sort_unstable();
    names
}

/// An interface that this host has.
#[derive(Clone, Copy)]
enum Known {
    /// With these functions.
    Step(&'static [&'static str]),
    /// The linker knows its functions.
    Wasi,
}

/// Finds an interface by the name of its import, or says what is wrong with that.
fn interface(name: &str) -> Result<Known, String> {
    let (path, version) = name.split_once('@').map_or((name, None), |(path, version)| (path, Some(version)));
    let Some((package, interface)) = path.split_once('/') else {
        return Err(HERE.to_owned());
    };
    if package == "sluice:step" {
        let Some((_, functions)) = STEP_INTERFACES.iter().find(|(known, _)| *known == interface) else {
            return Err(format!("sluice:step has no interface `{interface}`; {HERE}"));
        };
        return in_series(path, version, Series { major: 0, minor: 1 }).map(|()| Known::Step(functions));
    }
    if package.strip_prefix("wasi:").is_some_and(|package| WASI_PACKAGES.contains(&package)) {
        return in_series(path, version, Series { major: 0, minor: 2 }).map(|()| Known::Wasi);
    }
    Err(HERE.to_owned())
}

/// Versions that are compatible with each other: for 0.x, those with the same minor number.
#[derive(Clone, Copy)]
struct Series {
    major: u64,
    minor: u64,
}

/// The linker takes any patch release for any other, but a pre-release only for itself.
fn in_series(path: &str, version: Option<&str>, series: Series) -> Result<(), String> {
    let Series { major, minor } = series;
    let fits = version.and_then(|version| Version::parse(version).ok()).is_some_and(|version| {
        version.major == major && version.minor == minor && version.pre.is_empty() && version.build.is_empty()
    });
    if fits {
        Ok(())
    } else {
        Err(format!("this host has {path}@{major}.{minor}, at any patch version but no pre-release"))
    }
}

/// Names the functions that a known interface doesn't have.
fn check_functions(outline: &Outline<'_>, name: &str, known: Known, errors: &mut Errors) {
    let Known::Step(functions) = known else { return };
    let types = outline.types.as_ref();
    let Some(ComponentEntityType::Instance(id)) = types.component_item_for_import(name).map(|item| item.ty) else {
        return;
    };
    let Some(instance) = types.get(id) else { return };
    for (export, item) in &instance.exports {
        if matches!(item.ty, ComponentEntityType::Func(_)) && !functions.contains(&export.as_str()) {
            // Names within an interface have no bound of their own.
            let export = shortened(export, NAME_CHARACTERS_MAX);
            let reason = if functions.is_empty() {
                format!("{name} has types only")
            } else {
                format!("{name} has no function `{export}`; it has {}", functions.join(", "))
            };
            errors.push(unknown(&format!("{name}#{export}"), &reason));
        }
    }
}

fn unknown(path: &str, reason: &str) -> FieldError {
    FieldError::new(path, "unknown-import", format!("`{path}` is not here: {reason}"))
}

fn not_an_interface(name: &str, what: &str) -> FieldError {
    unknown(name, &format!("it is a {what} of its own, and only interfaces can be imported; {HERE}"))
}
