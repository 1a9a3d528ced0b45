//! Small components for tests, written as text.

use std::fmt::Write as _;

/// `sluice:step/types`, and the function `run` as the core module has it.
const TYPES: &str = include_str!("../../tests/it/support/step-types.wat");

const CORE: &str = r#"
  (core module $m
    (memory (export "memory") 1 2)
    (func (export "run") (param i32 i32) (result i32) unreachable)
    (func (export "alloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m))
"#;

/// A component with these items besides the types and a core module, in binary.
pub(super) fn component(items: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {TYPES} {CORE} {items})")).expect("the text of a fixture")
}

/// The items of a step function.
pub(super) fn step(name: &str) -> String {
    lifted(name, "(param \"input\" string) (result $outcome)")
}

/// The items of a function that takes a string and returns something by a pointer.
pub(super) fn lifted(name: &str, ty: &str) -> String {
    format!(
        r#"(func ${name} {ty} (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "alloc"))))
           (export "{name}" (func ${name}))"#
    )
}

/// A component with one step function; two with other seeds differ.
pub(crate) fn step_component(seed: &str) -> Vec<u8> {
    component(&format!("{} (@custom \"seed\" \"{seed}\")", step("run")))
}

/// A component with the step function `run` and an import of each of these instances, empty.
pub(super) fn importing(names: &[&str]) -> Vec<u8> {
    let mut items = step("run");
    for name in names {
        write!(items, " (import \"{name}\" (instance))").expect("writing to a string");
    }
    component(&items)
}
