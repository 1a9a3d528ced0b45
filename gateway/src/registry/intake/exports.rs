//! What a component is for: its step functions by type, and the handler of
//! `wasi:http` by name.
//!
//! Owns that decision. Does not own how types are written (`wit`).

use semver::Version;
use wasmparser::component_types::{ComponentEntityType, ComponentFuncTypeId, ComponentInstanceTypeId};
use wasmparser::names::KebabStr;
use wasmparser::types::TypesRef;

use super::outline::Outline;
use super::{Errors, FieldError, module_error};
use crate::model::ModuleKind;
use crate::registry::wit;

/// What a component offers.
pub(super) struct Exports {
    pub(super) kind: ModuleKind,
    /// Sorted; empty for a plain HTTP function.
    pub(super) functions: Vec<String>,
}

/// Sorts out the exports. `None` where there is nothing to call, and the errors say why.
pub(super) fn check(outline: &Outline<'_>, errors: &mut Errors) -> Option<Exports> {
    let types = outline.types.as_ref();
    let mut functions = Vec::new();
    let mut others = Vec::new();
    let mut has_handler = false;
    for export in &outline.exports {
        let name = export.name.name;
        match types.component_item_for_export(name).map(|item| item.ty) {
            Some(ComponentEntityType::Func(id)) if is_plain(name) && wit::is_step(types, id) => {
                functions.push(name.to_owned());
            }
            Some(ComponentEntityType::Func(id)) => others.push((name, id)),
            Some(ComponentEntityType::Instance(id)) => has_handler |= is_handler(types, name, id),
            _ => {}
        }
    }
    functions.sort_unstable();
    match (functions.is_empty(), has_handler) {
        (false, _) => Some(Exports { kind: ModuleKind::JobStep, functions }),
        (true, true) => Some(Exports { kind: ModuleKind::Http, functions }),
        (true, false) => {
            report(types, &others, errors);
            None
        }
    }
}

fn report(types: TypesRef<'_>, others: &[(&str, ComponentFuncTypeId)], errors: &mut Errors) {
    errors.push(module_error(
        "no-step-function",
        format!(
            "the component exports no step function and no wasi:http/incoming-handler@0.2; a step function is {}, \
             which the world sluice:step/job-step@0.1.0 declares",
            wit::step_signature()
        ),
    ));
    for (name, id) in others {
        errors.push(FieldError::new(
            *name,
            "wrong-type",
            format!("`{name}` is {}; a step function is {}", wit::signature(types, *id), wit::step_signature()),
        ));
    }
}

/// Whether `name` is a function's own, not a resource's method or constructor.
fn is_plain(name: &str) -> bool {
    KebabStr::new(name).is_some()
}

fn is_handler(types: TypesRef<'_>, name: &str, id: ComponentInstanceTypeId) -> bool {
    let of_this_series = name
        .strip_prefix("wasi:http/incoming-handler@")
        .and_then(|version| Version::parse(version).ok())
        .is_some_and(|version| version.major == 0 && version.minor == 2 && version.pre.is_empty());
    of_this_series
        && types
            .get(id)
            .and_then(|instance| instance.exports.get("handle"))
            .is_some_and(|item| matches!(item.ty, ComponentEntityType::Func(_)))
}
