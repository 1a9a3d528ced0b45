//! What the first bytes of an upload say: a component, or one of the things
//! that people upload by mistake.
//!
//! Owns no parsing of WebAssembly beyond its eight-byte header. Invariant: what
//! passes starts with the header of a component.

use super::module_error;
use crate::error::FieldError;

const MAGIC: &[u8] = b"\0asm";
/// Version 1 in the layer of core modules.
const CORE_MODULE: [u8; 4] = [0x01, 0, 0, 0];
/// Version 13 in the layer of components, the only one there is.
const COMPONENT: [u8; 4] = [0x0d, 0, 0x01, 0];

/// What engines write ahead-of-time code as; wasmtime's artefacts are ELF.
const ELF_MAGIC: &[u8] = b"\x7fELF";

const COMPRESSED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
];

/// Tells whether the bytes may be a component, by their header alone.
///
/// # Errors
/// Says what they are instead.
pub(super) fn check(bytes: &[u8]) -> Result<(), FieldError> {
    if bytes.is_empty() {
        return Err(module_error("empty", "the module has no bytes"));
    }
    if let Some(header) = bytes.strip_prefix(MAGIC) {
        return check_version(header);
    }
    if MAGIC.starts_with(bytes) {
        return Err(module_error("malformed", "the module ends within its header"));
    }
    if bytes.starts_with(ELF_MAGIC) {
        return Err(module_error(
            "precompiled",
            "this is machine code that was compiled elsewhere, which is never taken: upload the component it was made of",
        ));
    }
    if let Some((_, name)) = COMPRESSED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(module_error("compressed", format!("this is {name}: upload the component as it was before that")));
    }
    if is_text(bytes) {
        return Err(module_error(
            "text-format",
            "this is the text format of WebAssembly: upload the binary that `wasm-tools parse` makes of it",
        ));
    }
    Err(module_error("not-wasm", "this is not WebAssembly: a component starts with the bytes 00 61 73 6d 0d 00 01 00"))
}

fn check_version(header: &[u8]) -> Result<(), FieldError> {
    match header.first_chunk::<4>() {
        Some(&COMPONENT) => Ok(()),
        Some(&CORE_MODULE) => Err(module_error(
            "core-module",
            "this is a core module, not a component: `sluice build` makes the component, and so do the target \
             wasm32-wasip2 and `wasm-tools component new`",
        )),
        Some(version) => Err(module_error("malformed", format!("no such version of WebAssembly: {version:02x?}"))),
        None => Err(module_error("malformed", "the module ends within its header")),
    }
}

/// Whether the first thing after blanks and comments is a parenthesis.
fn is_text(bytes: &[u8]) -> bool {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix(b";;") {
            let end = comment.iter().position(|&byte| byte == b'\n').unwrap_or(comment.len());
            comment.get(end..).unwrap_or_default().trim_ascii_start()
        } else if let Some(comment) = rest.strip_prefix(b"(;") {
            after_block_comment(comment).trim_ascii_start()
        } else {
            return rest.starts_with(b"(");
        }
    }
}

/// What follows the comment that was just opened; comments nest.
fn after_block_comment(mut rest: &[u8]) -> &[u8] {
    let mut depth = 1_usize;
    while depth > 0 && !rest.is_empty() {
        let taken = if rest.starts_with(b"(;") {
            depth += 1;
            2
        } else if rest.starts_with(b";)") {
            depth -= 1;
            2
        } else {
            1
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    rest
}
