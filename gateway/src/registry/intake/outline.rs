//! One pass over a component: our bounds, `wasmparser`'s validation, and what
//! it declares at its top.
//!
//! Owns the bounds on what the compiler will be given. Does not judge names or
//! types (`imports`, `exports`). Invariant: every section is within its bounds
//! before it is validated, and nesting is a stack on the heap, never recursion.

mod declarations;
mod start;

use wasmparser::types::Types;
use wasmparser::{
    ComponentExport, ComponentImport, Encoding, FuncToValidate, FuncValidatorAllocations, FunctionBody, MemoryType,
    Parser, Payload, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use self::declarations::Declarations;
use self::start::Starts;
use super::module_error;
use crate::error::FieldError;

/// What the engine is configured to as well: all that is stable, but what can't be bounded
/// (garbage collection, exceptions' references), what is not run (async, threads), and 64-bit memories.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// Components in components. Composed ones have 3; the compiler recurses.
const NESTING_MAX: usize = 8;
/// Core modules in all components together. Python has 14.
const CORE_MODULES_MAX: usize = 64;
/// Functions in all core modules together. Python and JavaScript have 13 000, and each is a job for the compiler.
const FUNCTIONS_MAX: usize = 100_000;
/// One function's code. Python's largest is 427 KB; compile time grows faster than linearly with it.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// One function's locals. Python has up to 271; each is a variable of the register allocator, live or not.
const LOCALS_MAX: u64 = 5_000;
/// Blocks within blocks in one function. An interpreter's switch is a block a case: Python has 782,
/// JavaScript 457. 0.6 MB of nested blocks cost the compiler 5 GB.
const BLOCKS_MAX: u32 = 2_000;
/// Imports, and exports, of one core module. Python's largest has 1 857 exports.
const CORE_ITEMS_MAX: usize = 10_000;
/// Imports, and exports, of one component. A world with all of WASI has some 40.
const COMPONENT_ITEMS_MAX: usize = 1_000;
/// The name of one import or export of the outermost component. They go into rows, logs and metrics.
const NAME_BYTES_MAX: usize = 256;
/// What is shown of a message that may quote the component.
const MESSAGE_CHARS_MAX: usize = 500;

/// What a component declares at its top.
pub(super) struct Outline<'a> {
    /// Its types, to look the names below up in.
    pub(super) types: Types,
    /// Its imports in their order.
    pub(super) imports: Vec<ComponentImport<'a>>,
    /// Its exports in their order.
    pub(super) exports: Vec<ComponentExport<'a>>,
    /// Of all its core modules.
    pub(super) memories: Memories,
    /// Core modules whose start function is over its budget.
    pub(super) starts_over_budget: usize,
}

/// The memories that core modules define.
#[derive(Debug, Default)]
pub(super) struct Memories {
    /// How many may grow without bound.
    pub(super) without_maximum: usize,
    /// What they have from the start, all together.
    pub(super) initial_bytes: u64,
}

/// Parses and validates `bytes`, which have the header of a component.
///
/// # Errors
/// The first thing that is broken, invalid or over a bound.
pub(super) fn read(bytes: &[u8]) -> Result<Outline<'_>, FieldError> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut walk = Walk::new(bytes);
    let mut types = None;
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| malformed(&error))?;
        walk.enter(&payload)?;
        match walk.validator.payload(&payload).map_err(|error| invalid(&error))? {
            ValidPayload::Func(function, body) => walk.function(function, &body)?,
            // Each nested one ends too; the outermost does so last.
            ValidPayload::End(of_this_level) => types = Some(of_this_level),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        walk.leave(&payload)?;
    }
    let Some(types) = types else {
        return Err(module_error("malformed", "the module ends too early"));
    };
    Ok(Outline {
        types,
        imports: walk.imports,
        exports: walk.exports,
        memories: walk.memories,
        starts_over_budget: walk.starts.over_budget,
    })
}

/// Where the pass is, and what it has counted.
struct Walk<'a> {
    /// The whole component.
    bytes: &'a [u8],
    validator: Validator,
    allocations: FuncValidatorAllocations,
    /// From the outermost component to the module or component at hand.
    levels: Vec<Level>,
    core_modules: usize,
    functions: usize,
    types: Declarations,
    memories: Memories,
    starts: Starts,
    imports: Vec<ComponentImport<'a>>,
    exports: Vec<ComponentExport<'a>>,
}

/// A component has any number of import and export sections, so they are summed.
#[derive(Default)]
struct Level {
    imports: usize,
    exports: usize,
}

impl Level {
    fn add_imports(&mut self, items: u32) -> usize {
        self.imports = self.imports.saturating_add(count(items));
        self.imports
    }

    fn add_exports(&mut self, items: u32) -> usize {
        self.exports = self.exports.saturating_add(count(items));
        self.exports
    }
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            validator: Validator::new_with_features(FEATURES),
            allocations: FuncValidatorAllocations::default(),
            levels: Vec::new(),
            core_modules: 0,
            functions: 0,
            types: Declarations::default(),
            memories: Memories::default(),
            starts: Starts::default(),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    /// Checks the bounds of what is about to be validated.
    fn enter(&mut self, payload: &Payload<'a>) -> Result<(), FieldError> {
        match payload {
            Payload::Version { encoding, .. } => self.enter_level(*encoding),
            Payload::ModuleSection { .. } => {
                self.core_modules += 1;
                within("core modules", self.core_modules, CORE_MODULES_MAX)
            }
            Payload::TypeSection(section) => self.types.add(count(section.count())),
            Payload::CoreTypeSection(section) => self.types.add_core(section),
            Payload::ComponentTypeSection(section) => self.types.add_all(section, self.bytes),
            Payload::FunctionSection(section) => {
                self.functions = self.functions.saturating_add(count(section.count()));
                within("functions", self.functions, FUNCTIONS_MAX)
            }
            Payload::ImportSection(section) => {
                within("imports in a core module", count(section.count()), CORE_ITEMS_MAX)
            }
            Payload::ExportSection(section) => {
                within("exports in a core module", count(section.count()), CORE_ITEMS_MAX)
            }
            Payload::CodeSectionEntry(body) => {
                within("bytes in the body of a function", body.range().len(), BODY_BYTES_MAX)
            }
            Payload::ComponentImportSection(section) => {
                let sum = self.levels.last_mut().map_or(0, |level| level.add_imports(section.count()));
                within("imports in a component", sum, COMPONENT_ITEMS_MAX)
            }
            Payload::ComponentExportSection(section) => {
                let sum = self.levels.last_mut().map_or(0, |level| level.add_exports(section.count()));
                within("exports in a component", sum, COMPONENT_ITEMS_MAX)
            }
            _ => Ok(()),
        }
    }

    fn enter_level(&mut self, encoding: Encoding) -> Result<(), FieldError> {
        self.levels.push(Level::default());
        match encoding {
            Encoding::Component => within("levels of components in components", self.levels.len(), NESTING_MAX),
            Encoding::Module => Ok(()),
        }
    }

    /// Keeps what is needed of what was just validated.
    fn leave(&mut self, payload: &Payload<'a>) -> Result<(), FieldError> {
        let outermost = self.levels.len() == 1;
        match payload {
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories.add(memory.map_err(|error| malformed(&error))?);
                }
            }
            Payload::ComponentImportSection(section) if outermost => {
                for import in section.clone() {
                    let import = import.map_err(|error| malformed(&error))?;
                    within("bytes in the name of an import", import.name.name.len(), NAME_BYTES_MAX)?;
                    self.imports.push(import);
                }
            }
            Payload::ComponentExportSection(section) if outermost => {
                for export in section.clone() {
                    let export = export.map_err(|error| malformed(&error))?;
                    within("bytes in the name of an export", export.name.name.len(), NAME_BYTES_MAX)?;
                    self.exports.push(export);
                }
            }
            Payload::StartSection { func, .. } => self.starts.declared(*func),
            Payload::End(_) => {
                self.starts.module_ended();
                self.levels.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), FieldError> {
        let locals = locals(body).map_err(|error| malformed(&error))?;
        if locals > LOCALS_MAX {
            return Err(too_complex("locals in a function", locals, LOCALS_MAX));
        }
        self.starts.body(function.index, body).map_err(|error| malformed(&error))?;
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut deepest = 0;
        validate(&mut validator, body, &mut deepest).map_err(|error| invalid(&error))?;
        if deepest > BLOCKS_MAX {
            return Err(too_complex("levels of blocks in blocks", deepest, BLOCKS_MAX));
        }
        self.allocations = validator.into_allocations();
        Ok(())
    }
}

/// `FuncValidator::validate`, with an eye on the depth; ends early once that is too great.
fn validate(
    validator: &mut wasmparser::FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    deepest: &mut u32,
) -> wasmparser::Result<()> {
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    while !reader.eof() {
        let at = reader.original_position();
        reader.visit_operator(&mut validator.visitor(at))??;
        *deepest = validator.control_stack_height().max(*deepest);
        if *deepest > BLOCKS_MAX {
            return Ok(());
        }
    }
    let at = reader.original_position();
    reader.finish_expression(&validator.visitor(at))
}

fn locals(body: &FunctionBody<'_>) -> wasmparser::Result<u64> {
    let mut sum = 0_u64;
    for group in body.get_locals_reader()? {
        let (count, _) = group?;
        sum = sum.saturating_add(u64::from(count));
    }
    Ok(sum)
}

impl Memories {
    fn add(&mut self, memory: MemoryType) {
        let page_bytes = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
        self.without_maximum += usize::from(memory.maximum.is_none());
        self.initial_bytes = self.initial_bytes.saturating_add(memory.initial.saturating_mul(page_bytes));
    }
}

fn count(items: u32) -> usize {
    usize::try_from(items).unwrap_or(usize::MAX)
}

fn within(what: &str, found: usize, max: usize) -> Result<(), FieldError> {
    if found <= max { Ok(()) } else { Err(too_complex(what, found, max)) }
}

fn too_complex(what: &str, found: impl std::fmt::Display, max: impl std::fmt::Display) -> FieldError {
    module_error("too-complex", format!("the component has {found} {what} or more; at most {max} are taken"))
}

fn malformed(error: &wasmparser::Error) -> FieldError {
    module_error("malformed", format!("the module is truncated or broken: {}", shortened(error)))
}

fn invalid(error: &wasmparser::Error) -> FieldError {
    if error.missing_wasm_feature().is_some() {
        return module_error("unsupported-feature", format!("this host does not run that: {}", shortened(error)));
    }
    module_error("invalid", format!("the component is not valid: {}", shortened(error)))
}

/// The message and offset of an error; names within it may be as long as the module.
fn shortened(error: &wasmparser::Error) -> String {
    let message: String = error.message().chars().take(MESSAGE_CHARS_MAX).collect();
    format!("{message} (at offset {:#x})", error.offset())
}
