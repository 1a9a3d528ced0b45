//! The step templates, in the binary, so that `sluice init` needs no network and
//! matches the gateway it came with.
//!
//! Owns the list of files. Does not own their text (`guest-templates/`, `wit/`).
//! Invariant: every file of the template's folder is in the list; a test compares.

/// What the template's own package is called.
const PLACEHOLDER: &str = "order-check";

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $folder, "/", $path)))),*]
    };
}

const RUST: &[(&str, &str)] = files!("guest-templates/rust":
    ".cargo/config.toml",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "rust-toolchain.toml",
    "src/field.rs",
    "src/lib.rs",
    "src/order.rs",
    "src/step.rs",
    "wit/host.wit",
    "wit/types.wit",
    "wit/world.wit",
);

/// An input that the Rust step accepts, to try it with.
pub(super) const RUST_INPUT: &str = r#"{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}]}}"#;

/// The files of a Rust step called `name`, by their path in its folder.
pub(super) fn rust(name: &str) -> Vec<(&'static str, String)> {
    RUST.iter().map(|&(path, text)| (path, renamed(text, name))).collect()
}

/// `text` with the placeholder replaced where it is a word of its own; "order-checking" stays.
fn renamed(text: &str, name: &str) -> String {
    let (snake, snake_name) = (PLACEHOLDER.replace('-', "_"), name.replace('-', "_"));
    replace_word(&replace_word(text, PLACEHOLDER, name), &snake, &snake_name)
}

fn replace_word(text: &str, word: &str, replacement: &str) -> String {
    let goes_on = |character: char| character.is_alphanumeric();
    let mut parts = text.split(word);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = replaced.chars().next_back().is_some_and(goes_on) || part.chars().next().is_some_and(goes_on);
        replaced.push_str(if inside { word } else { replacement });
        replaced.push_str(part);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every file that an author gets: not what a build leaves, nor the notes for
    /// those who change the WIT files themselves.
    fn files_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if path == "target" || path == "wit/README.md" {
                continue;
            }
            // Follows the link to the repository's own `wit`.
            if entry.path().is_dir() {
                files_below(&entry.path(), &format!("{path}/"), found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-templates/rust");
        let mut there = BTreeSet::new();
        files_below(&folder, "", &mut there);
        let embedded: BTreeSet<String> = RUST.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(embedded, there);
    }

    #[test]
    fn the_name_is_replaced_as_a_word_and_not_within_one() {
        let text = "name = \"order-check\"\nuse order_check::x; // order-checking, order-check.wasm\nreorder-check";
        let expected = "name = \"my-step\"\nuse my_step::x; // order-checking, my-step.wasm\nreorder-check";
        assert_eq!(renamed(text, "my-step"), expected);
        assert_eq!(renamed("order-check order-check", "x"), "x x");
    }

    #[test]
    fn no_file_keeps_the_placeholder() {
        for (path, text) in rust("zz") {
            assert_eq!(replace_word(&text, PLACEHOLDER, "!"), text, "{path}");
            assert_eq!(replace_word(&text, "order_check", "!"), text, "{path}");
        }
    }
}
