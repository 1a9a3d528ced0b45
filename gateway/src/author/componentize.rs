//! A core module becomes a component: the world is embedded, and imports and exports are lifted to it.
//!
//! Owns which world that is. Does not own the encoding (wit-component) nor the checks afterwards. Invariant: bytes
//! that are a component already are left as they are.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The folder of a step's WIT files.
const WIT: &str = "wit";

/// The world of a step's own, and that of a step that has no own one, where the files have several.
const WORLDS: [&str; 2] = ["guest", "job-step"];

/// Of what toolchains leave: which one wrote a module says nothing about how it runs.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The WIT files; in words.
    #[error("the world of the step can't be read from its folder {WIT}: {0}")]
    Wit(String),
    /// What the module imports or exports is not what the world says; in words.
    #[error("the compiler's module does not fit the step's world: {0}")]
    Encode(String),
}

/// What wit-component puts around the cause of most errors.
const AROUND: [&str; 2] = ["failed to decode world from module", "module was not valid"];

/// Whether these bytes are a module without a world.
pub(super) fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(CORE_MODULE)
}

/// The component of a core module that was compiled in `folder`.
pub(super) fn component(mut module: Vec<u8>, folder: &Path) -> Result<Vec<u8>, Error> {
    let mut resolve = Resolve::default();
    let wit = |error: &dyn std::fmt::Display| Error::Wit(error.to_string());
    let (package, _) = resolve.push_path(folder.join(WIT)).map_err(|error| wit(&format!("{error:#}")))?;
    let named = WORLDS.iter().find_map(|name| resolve.select_world(&[package], Some(name)).ok());
    let world =
        named.map_or_else(|| resolve.select_world(&[package], None), Ok).map_err(|error| wit(&format!("{error:#}")))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| encode(error.as_ref()))?;
    let encoder = ComponentEncoder::default().module(&module).map_err(|error| encode(error.as_ref()))?;
    encoder.validate(true).encode().map_err(|error| encode(error.as_ref()))
}

fn encode(error: &(dyn std::error::Error + 'static)) -> Error {
    let causes: Vec<_> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    let own: Vec<_> = causes.iter().filter(|cause| !AROUND.contains(&cause.as_str())).cloned().collect();
    Error::Encode(if own.is_empty() { causes } else { own }.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(wit: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(WIT)).unwrap();
        std::fs::write(folder.path().join(WIT).join("world.wit"), wit).unwrap();
        folder
    }

    const SEVERAL: &str =
        "package a:b; world other {} world guest { import log: func(n: u32); export run: func() -> u32; }";

    #[test]
    fn a_module_becomes_a_component_of_the_steps_world() {
        let folder = folder(SEVERAL);
        let module = wat::parse_str(
            r#"(module (import "$root" "log" (func $log (param i32)))
                (func (export "run") (result i32) i32.const 7 call $log i32.const 8))"#,
        )
        .unwrap();
        assert!(is_core_module(&module));
        let component = component(module, folder.path()).unwrap();
        assert!(!is_core_module(&component));
        let names: Vec<_> = wasmparser::Parser::new(0)
            .parse_all(&component)
            .filter_map(|payload| match payload.unwrap() {
                wasmparser::Payload::ComponentExportSection(section) => Some(section),
                _ => None,
            })
            .flat_map(|section| section.into_iter().map(|export| export.unwrap().name.name.to_owned()))
            .collect();
        assert_eq!(names, ["run"]);
    }

    #[test]
    fn a_module_that_is_none_of_the_world_is_told_what_is_missing() {
        let folder = folder(SEVERAL);
        let error = component(wat::parse_str("(module)").unwrap(), folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Encode(text) if text == "failed to find export of function `run`"), "{error}");
    }

    #[test]
    fn a_folder_without_a_world_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(component(Vec::new(), folder.path()), Err(Error::Wit(_))));
    }
}
