//! A component's core modules, made smaller by binaryen's `wasm-opt` where it is installed.
//!
//! Owns finding the modules in a component. Invariants: what is around them stays as it is, byte for byte; a module
//! that doesn't get smaller stays, too.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The program.
pub const WASM_OPT: &str = "wasm-opt";
/// Where it comes from.
pub(super) const INSTALL: &str = "npm install --global binaryen, or on Debian apt-get install binaryen";

/// Less than this is the glue between two modules, which has nothing to save.
const MODULE_BYTES_MIN: usize = 4 * 1024;

/// What every compiler of ours may use, and the gateway takes.
const FEATURES: [&str; 6] =
    ["bulk-memory", "mutable-globals", "nontrapping-float-to-int", "reference-types", "sign-ext", "multivalue"];

/// The sections of a component: core modules are the first kind.
const CORE_MODULE_SECTION: u8 = 1;
const HEADER: usize = 8;

/// Why it isn't smaller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `wasm-opt`.
    #[error("{WASM_OPT} is not installed")]
    Missing,
    /// It can't be started, or its files can't be written.
    #[error("{WASM_OPT} can't be run")]
    Start(#[source] io::Error),
    /// It takes no such module; its own words.
    #[error("{WASM_OPT} failed: {0}")]
    Failed(String),
    /// The bytes are no component.
    #[error("the bytes are no component")]
    Malformed,
}

/// Whether it is there.
pub(super) fn find() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(WASM_OPT).is_file());
    if is_there { Ok(()) } else { Err(Error::Missing) }
}

/// The component with smaller modules.
pub(super) fn component(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut smaller, mut rest) =
        bytes.split_at_checked(HEADER).ok_or(Error::Malformed).map(|(a, b)| (a.to_vec(), b))?;
    while let Some((&id, after)) = rest.split_first() {
        let (length, after) = leb128(after).ok_or(Error::Malformed)?;
        let (section, after) = after.split_at_checked(length).ok_or(Error::Malformed)?;
        let optimized =
            if id == CORE_MODULE_SECTION && length >= MODULE_BYTES_MIN { Some(module(section)?) } else { None };
        let section = optimized.as_deref().filter(|module| module.len() < length).unwrap_or(section);
        smaller.push(id);
        write_leb128(&mut smaller, section.len());
        smaller.extend_from_slice(section);
        rest = after;
    }
    Ok(smaller)
}

fn module(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let folder = tempfile::tempdir().map_err(Error::Start)?;
    let (input, output) = (folder.path().join("in.wasm"), folder.path().join("out.wasm"));
    fs::write(&input, bytes).map_err(Error::Start)?;
    run(&input, &output)?;
    fs::read(&output).map_err(Error::Start)
}

fn run(input: &Path, output: &Path) -> Result<(), Error> {
    let mut command = Command::new(WASM_OPT);
    // Smaller and no slower: `-Oz` saves little more, and costs time in every call.
    command.args(["-Os", "--strip-debug", "--strip-producers"]);
    command.args(FEATURES.map(|feature| format!("--enable-{feature}")));
    let done = command.arg(input).arg("-o").arg(output).output();
    let done = done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        _ => Error::Start(error),
    })?;
    if done.status.success() { Ok(()) } else { Err(Error::Failed(String::from_utf8_lossy(&done.stderr).into_owned())) }
}

/// An unsigned number, and what is after it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u32;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        number |= u32::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

fn write_leb128(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [0, 1, 127, 128, 16_384, 100_746, 50 * 1024 * 1024] {
            let mut bytes = Vec::new();
            write_leb128(&mut bytes, number);
            bytes.push(9);
            assert_eq!(leb128(&bytes), Some((number, &[9_u8][..])), "{number}");
        }
        assert_eq!(leb128(&[0x80; 8]), None);
        assert_eq!(leb128(&[]), None);
    }

    #[test]
    fn small_modules_and_what_is_around_them_stay_as_they_are() {
        let bytes = wat::parse_str("(component (core module (func)) (core module) (type (func)))").unwrap();
        assert_eq!(component(&bytes).unwrap(), bytes);
        assert!(matches!(component(b"\0asm"), Err(Error::Malformed)));
        assert!(matches!(component(&bytes[..bytes.len() - 1]), Err(Error::Malformed)));
    }
}
