//! The declarations of types, bounded before anything reads them whole.
//!
//! Owns how many there may be and how deep they nest. Does not judge them: the
//! validator does. Invariant: `wasmparser`'s reader of component types, which
//! calls itself for each level, is only given types without levels here, and
//! elsewhere only sections that passed here.

use wasmparser::{
    BinaryReader, ComponentType, ComponentTypeDeclaration, ComponentTypeSectionReader, CoreType, CoreTypeSectionReader,
    InstanceTypeDeclaration,
};

use super::{FEATURES, malformed, within};
use crate::error::FieldError;

/// Types of components and instances in each other. Those that compilers write have 2 levels; 300 KB of
/// deeper ones overflow a thread's stack.
const LEVELS_MAX: usize = 32;
/// Of components and of core modules, all together. A Rust guest that uses all of WASI has 479. One of
/// 2 bytes costs the validator many times that, so the bound on the upload's size is none on these.
const DECLARATIONS_MAX: usize = 100_000;

/// The leading byte of a declaration that is a type.
const TYPE: u8 = 0x01;
/// The leading bytes of the types that hold declarations.
const COMPONENT: u8 = 0x41;
const INSTANCE: u8 = 0x42;

/// How many were declared so far.
#[derive(Debug, Default)]
pub(super) struct Declarations(usize);

impl Declarations {
    /// Adds `more`, if they are within the bound.
    pub(super) fn add(&mut self, more: usize) -> Result<(), FieldError> {
        self.0 = self.0.saturating_add(more);
        within("declarations of types", self.0, DECLARATIONS_MAX)
    }

    /// Adds all of a section of core types, which do not nest.
    pub(super) fn add_core(&mut self, section: &CoreTypeSectionReader<'_>) -> Result<(), FieldError> {
        for ty in section.clone() {
            self.add(1 + within_core(&ty.map_err(|error| malformed(&error))?))?;
        }
        Ok(())
    }

    /// Adds all of a section of the component whose whole bytes are `bytes`.
    pub(super) fn add_all(&mut self, section: &ComponentTypeSectionReader<'_>, bytes: &[u8]) -> Result<(), FieldError> {
        let start = section.original_position();
        let items = bytes.get(start..section.range().end).unwrap_or_default();
        let mut reader = BinaryReader::new_features(items, start, FEATURES);
        let mut open = vec![Open { holds: Items::Types, left: section.count() }];
        while let Some(innermost) = open.last_mut() {
            let Some(left) = innermost.left.checked_sub(1) else {
                open.pop();
                continue;
            };
            innermost.left = left;
            self.add(1)?;
            match innermost.holds.next(&mut reader).map_err(|error| malformed(&error))? {
                Item::Whole { declarations } => self.add(declarations)?,
                Item::Opens(nested) => {
                    within("levels of types in types", open.len(), LEVELS_MAX)?;
                    open.push(nested);
                }
            }
        }
        Ok(())
    }
}

/// A section or type that is read in part.
struct Open {
    holds: Items,
    left: u32,
}

/// What a section or type is a list of.
#[derive(Clone, Copy)]
enum Items {
    Types,
    ComponentDeclarations,
    InstanceDeclarations,
}

/// One of a list, as far as it was read.
enum Item {
    /// To its end; it holds so many declarations.
    Whole { declarations: usize },
    /// Up to the first of its own declarations.
    Opens(Open),
}

impl Items {
    fn next(self, reader: &mut BinaryReader<'_>) -> wasmparser::Result<Item> {
        let leading = reader.clone().read_u8()?;
        let declarations = match self {
            Self::Types => return ty(reader),
            Self::ComponentDeclarations | Self::InstanceDeclarations if leading == TYPE => {
                reader.read_u8()?;
                return ty(reader);
            }
            Self::ComponentDeclarations => match reader.read()? {
                ComponentTypeDeclaration::CoreType(ty) => within_core(&ty),
                _ => 0,
            },
            Self::InstanceDeclarations => match reader.read()? {
                InstanceTypeDeclaration::CoreType(ty) => within_core(&ty),
                _ => 0,
            },
        };
        Ok(Item::Whole { declarations })
    }
}

fn ty(reader: &mut BinaryReader<'_>) -> wasmparser::Result<Item> {
    let holds = match reader.clone().read_u8()? {
        COMPONENT => Items::ComponentDeclarations,
        INSTANCE => Items::InstanceDeclarations,
        _ => {
            reader.read::<ComponentType<'_>>()?;
            return Ok(Item::Whole { declarations: 0 });
        }
    };
    reader.read_u8()?;
    Ok(Item::Opens(Open { holds, left: reader.read_var_u32()? }))
}

/// The declarations within a core type: those of the type of a module.
fn within_core(ty: &CoreType<'_>) -> usize {
    match ty {
        CoreType::Module(declarations) => declarations.len(),
        CoreType::Rec(group) => group.types().len(),
    }
}
