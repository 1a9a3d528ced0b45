//! Start functions: what a core module does before anybody calls it.
//!
//! Owns their budget. Nothing is refused for going over it: an execution's fuel and time
//! bound a start function as they do everything else. Invariant: one pass over its body.

use wasmparser::{FunctionBody, Operator};

/// Operators in the body of a start function. Compilers that have one set some globals
/// and copy some tables in it, a few dozen of them; whatever it does, every call pays for it.
const OPERATORS_MAX: usize = 1_000;

/// The start functions of all core modules of a component.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// That of the core module at hand. Core modules have no core modules in them.
    declared: Option<u32>,
    /// Those that are long, or that have a loop, whose length nobody knows.
    pub(super) over_budget: usize,
}

impl Starts {
    /// The core module at hand begins with this function.
    pub(super) fn declared(&mut self, function: u32) {
        self.declared = Some(function);
    }

    /// The core module, or the component, at hand is over.
    pub(super) fn module_ended(&mut self) {
        self.declared = None;
    }

    /// The body of a function of the core module at hand. What a start function calls is not
    /// looked at, nor one that is imported.
    pub(super) fn body(&mut self, function: u32, body: &FunctionBody<'_>) -> wasmparser::Result<()> {
        if self.declared == Some(function) && is_over_budget(body)? {
            self.over_budget += 1;
        }
        Ok(())
    }
}

fn is_over_budget(body: &FunctionBody<'_>) -> wasmparser::Result<bool> {
    for (number, operator) in body.get_operators_reader()?.into_iter().enumerate() {
        if number >= OPERATORS_MAX || matches!(operator?, Operator::Loop { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}
