//! WIT types as text, to compare and to show.
//!
//! Owns the type that a step function has. Invariant: text and work are
//! bounded, though a type of a few bytes can have a million fields when it is
//! written out, and a component a thousand such functions.

use std::fmt::{self, Write};

use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentDefinedTypeId, ComponentFuncType, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::names::KebabString;
use wasmparser::types::TypesRef;

/// What a step function returns: `outcome` of `wit/types.wit`, written out.
const OUTCOME: &str = "variant { \
    completed(record { output: string, next: option<list<string>> }), \
    invalid(list<record { path: string, code: string, message: string }>), \
    failed(record { code: string, message: string, retryable: bool, retry-after-ms: option<u32>, \
    details: option<string> }) }";

/// Three times the length of what is wanted: enough to see what differs.
const TEXT_BYTES_MAX: usize = 1024;
/// Every level writes something, so the text bounds the depth as well; this bounds the stack.
const DEPTH_MAX: usize = 100;

/// The type of a step function, as WIT has it.
#[must_use]
pub fn step_signature() -> String {
    format!("func(input: string) -> {OUTCOME}")
}

/// Whether a function has the type of a step function. The parameter's name is not part of it.
pub(super) fn is_step(types: TypesRef<'_>, id: ComponentFuncTypeId) -> bool {
    let Some(function) = types.get(id) else { return false };
    let ([(_, input)], Some(output)) = (&*function.params, function.result) else { return false };
    !function.async_ && text_of(types, *input) == "string" && text_of(types, output) == OUTCOME
}

/// A function's type as it would be written, every named type in full; cut off where it is long.
pub(super) fn signature(types: TypesRef<'_>, id: ComponentFuncTypeId) -> String {
    types.get(id).map_or_else(|| "func".to_owned(), |function| Text::of(|text| text.function(types, function)))
}

fn text_of(types: TypesRef<'_>, ty: ComponentValType) -> String {
    Text::of(|text| text.value(types, ty))
}

/// Text that refuses to grow past its bound.
struct Text {
    written: String,
    depth: usize,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.written.len() + part.len() > TEXT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.written.push_str(part);
        Ok(())
    }
}

impl Text {
    fn of(write: impl FnOnce(&mut Self) -> fmt::Result) -> String {
        let mut text = Self { written: String::new(), depth: 0 };
        if write(&mut text).is_err() {
            text.written.push('…');
        }
        text.written
    }

    fn function(&mut self, types: TypesRef<'_>, function: &ComponentFuncType) -> fmt::Result {
        self.write_str(if function.async_ { "async func(" } else { "func(" })?;
        self.fields(types, function.params.iter().map(|(name, ty)| (name.as_str(), *ty)))?;
        self.write_str(")")?;
        match function.result {
            Some(result) => {
                self.write_str(" -> ")?;
                self.value(types, result)
            }
            None => Ok(()),
        }
    }

    fn value(&mut self, types: TypesRef<'_>, ty: ComponentValType) -> fmt::Result {
        match ty {
            ComponentValType::Primitive(primitive) => self.write_str(primitive_name(primitive)),
            ComponentValType::Type(id) => {
                if self.depth == DEPTH_MAX {
                    return Err(fmt::Error);
                }
                self.depth += 1;
                self.defined(types, id)?;
                self.depth -= 1;
                Ok(())
            }
        }
    }

    fn defined(&mut self, types: TypesRef<'_>, id: ComponentDefinedTypeId) -> fmt::Result {
        match types.get(id).ok_or(fmt::Error)? {
            ComponentDefinedType::Primitive(primitive) => self.write_str(primitive_name(*primitive)),
            ComponentDefinedType::Record(record) => {
                self.write_str("record { ")?;
                self.fields(types, record.fields.iter().map(|(name, ty)| (name.as_str(), *ty)))?;
                self.write_str(" }")
            }
            ComponentDefinedType::Variant(variant) => {
                self.write_str("variant { ")?;
                self.cases(types, variant.cases.iter().map(|(name, case)| (name.as_str(), case.ty)))?;
                self.write_str(" }")
            }
            ComponentDefinedType::Flags(names) => self.names("flags", names.iter().map(KebabString::as_str)),
            ComponentDefinedType::Enum(names) => self.names("enum", names.iter().map(KebabString::as_str)),
            ComponentDefinedType::Tuple(tuple) => self.generic(types, "tuple", tuple.types.iter().copied().map(Some)),
            ComponentDefinedType::List { element, .. } => self.generic(types, "list", [Some(*element)]),
            ComponentDefinedType::FixedLengthList { element, length, .. } => {
                self.write_str("list<")?;
                self.value(types, *element)?;
                write!(self, ", {length}>")
            }
            ComponentDefinedType::Map { key, value, .. } => self.generic(types, "map", [Some(*key), Some(*value)]),
            ComponentDefinedType::Option { ty, .. } => self.generic(types, "option", [Some(*ty)]),
            ComponentDefinedType::Result { ok, err, .. } => self.result(types, *ok, *err),
            ComponentDefinedType::Future { ty, .. } => self.generic(types, "future", ty.map(Some)),
            ComponentDefinedType::Stream { ty, .. } => self.generic(types, "stream", ty.map(Some)),
            // A resource has no structure that could be written.
            ComponentDefinedType::Own(_) => self.write_str("own<resource>"),
            ComponentDefinedType::Borrow(_) => self.write_str("borrow<resource>"),
        }
    }

    fn fields<'n>(
        &mut self,
        types: TypesRef<'_>,
        fields: impl Iterator<Item = (&'n str, ComponentValType)>,
    ) -> fmt::Result {
        for (index, (name, ty)) in fields.enumerate() {
            self.separate(index)?;
            self.write_str(name)?;
            self.write_str(": ")?;
            self.value(types, ty)?;
        }
        Ok(())
    }

    fn cases<'n>(
        &mut self,
        types: TypesRef<'_>,
        cases: impl Iterator<Item = (&'n str, Option<ComponentValType>)>,
    ) -> fmt::Result {
        for (index, (name, ty)) in cases.enumerate() {
            self.separate(index)?;
            self.write_str(name)?;
            if let Some(ty) = ty {
                self.write_str("(")?;
                self.value(types, ty)?;
                self.write_str(")")?;
            }
        }
        Ok(())
    }

    fn names<'n>(&mut self, kind: &str, names: impl Iterator<Item = &'n str>) -> fmt::Result {
        write!(self, "{kind} {{ ")?;
        for (index, name) in names.enumerate() {
            self.separate(index)?;
            self.write_str(name)?;
        }
        self.write_str(" }")
    }

    /// `result`, `result<T>`, `result<_, E>`, `result<T, E>`.
    fn result(
        &mut self,
        types: TypesRef<'_>,
        ok: Option<ComponentValType>,
        err: Option<ComponentValType>,
    ) -> fmt::Result {
        if err.is_some() {
            self.generic(types, "result", [ok, err])
        } else {
            self.generic(types, "result", ok.map(Some))
        }
    }

    fn generic(
        &mut self,
        types: TypesRef<'_>,
        kind: &str,
        arguments: impl IntoIterator<Item = Option<ComponentValType>>,
    ) -> fmt::Result {
        self.write_str(kind)?;
        let mut any = false;
        for argument in arguments {
            self.write_str(if any { ", " } else { "<" })?;
            any = true;
            match argument {
                Some(ty) => self.value(types, ty)?,
                None => self.write_str("_")?,
            }
        }
        if any { self.write_str(">") } else { Ok(()) }
    }

    fn separate(&mut self, index: usize) -> fmt::Result {
        if index == 0 { Ok(()) } else { self.write_str(", ") }
    }
}

const fn primitive_name(ty: PrimitiveValType) -> &'static str {
    match ty {
        PrimitiveValType::Bool => "bool",
        PrimitiveValType::S8 => "s8",
        PrimitiveValType::U8 => "u8",
        PrimitiveValType::S16 => "s16",
        PrimitiveValType::U16 => "u16",
        PrimitiveValType::S32 => "s32",
        PrimitiveValType::U32 => "u32",
        PrimitiveValType::S64 => "s64",
        PrimitiveValType::U64 => "u64",
        PrimitiveValType::F32 => "f32",
        PrimitiveValType::F64 => "f64",
        PrimitiveValType::Char => "char",
        PrimitiveValType::String => "string",
        PrimitiveValType::ErrorContext => "error-context",
    }
}
