//! The components that are measured, and what they are called with.
//!
//! Does not own how they are built (`cargo xtask guests`). Invariant: all rows and
//! benches call the same bytes with the same orders.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::project;

/// The Rust template: checks an order, reads and writes the context, logs.
pub const ORDER_CHECK: &str = "order-check";
/// The same step in TinyGo.
pub const ORDER_CHECK_TINYGO: &str = "order-check-tinygo";
/// The same step in AssemblyScript.
pub const ORDER_CHECK_ASSEMBLYSCRIPT: &str = "order-check-assemblyscript";
/// Answers with what it was given.
pub const ECHO: &str = "echo";
/// The largest of the fixtures.
pub const LARGE: &str = "wasi";

/// An order that passes every rule.
pub const GOOD_ORDER: &str = r#"{"order":{"id":"A-17","customer":"ada@example.com","country":"DE","items":[{"sku":"pen","quantity":2,"price_cents":1250},{"sku":"ink","quantity":1,"price_cents":890}]}}"#;

/// An order that is refused at once.
pub const BAD_ORDER: &str = "{}";

/// The bytes of a guest.
///
/// # Errors
/// When it is not there; says what builds it.
pub fn read(name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.wasm");
    let found = folders().into_iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    let path = found.with_context(|| format!("the guest {file} is not built: run `cargo xtask guests`"))?;
    std::fs::read(&path).with_context(|| format!("can't read the guest {file}"))
}

/// Where guests may lie: where xtask puts them, or beside this program when cargo
/// was told another target folder.
fn folders() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.ancestors().map(|folder| folder.join("guests"));
    std::iter::once(project::root().join("target/guests")).chain(beside).collect()
}
