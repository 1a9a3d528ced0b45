//! The step templates, in the binary, so that `sluice init` needs no network and
//! matches the gateway it came with.
//!
//! Owns the list of files, and how an example is laid over its language's template. Does not own their text
//! (`guest-templates/`, `wit/`) nor which examples there are (`examples`).
//! Invariant: every file of the template's folder is in the list; a test compares.

/// A list of files with their text, of a folder of `guest-templates`.
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-templates/", $folder, "/", $path)))),*]
    };
}

mod examples;

use crate::author::Language;
pub(super) use examples::Example;
use examples::Overlay;

/// What the template's own package is called.
const PLACEHOLDER: &str = "order-check";

/// Files by their path in a step's folder.
type Files = &'static [(&'static str, &'static str)];

const RUST: Files = files!("rust":
    ".cargo/config.toml",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "rust-toolchain.toml",
    "sluice.step.toml",
    "src/coupons.rs",
    "src/field.rs",
    "src/lib.rs",
    "src/order.rs",
    "src/step.rs",
    "src/step/memory.rs",
    "tests/a-coupon-takes-its-part.json",
    "tests/a-coupon-that-is-none-is-a-mistake.json",
    "tests/a-good-order-is-priced.json",
    "tests/a-large-order-goes-to-review.json",
    "tests/a-server-that-is-down-is-worth-another-attempt.json",
    "tests/all-that-is-wrong-is-told-at-once.json",
    "wit/host.wit",
    "wit/types.wit",
    "wit/world.wit",
);

const TINYGO: Files = files!("tinygo":
    ".gitignore",
    "README.md",
    "build.sh",
    "cases_test.go",
    "coupons.go",
    "go.mod",
    "go.sum",
    "internal/sluice/step/context/abi.go",
    "internal/sluice/step/context/context.wasm.go",
    "internal/sluice/step/context/context.wit.go",
    "internal/sluice/step/context/empty.s",
    "internal/sluice/step/db/abi.go",
    "internal/sluice/step/db/db.wasm.go",
    "internal/sluice/step/db/db.wit.go",
    "internal/sluice/step/db/empty.s",
    "internal/sluice/step/http/abi.go",
    "internal/sluice/step/http/empty.s",
    "internal/sluice/step/http/http.wasm.go",
    "internal/sluice/step/http/http.wit.go",
    "internal/sluice/step/job-step/empty.s",
    "internal/sluice/step/job-step/job-step.exports.go",
    "internal/sluice/step/job-step/job-step.wasm.go",
    "internal/sluice/step/job-step/job-step.wit.go",
    "internal/sluice/step/log/empty.s",
    "internal/sluice/step/log/log.wasm.go",
    "internal/sluice/step/log/log.wit.go",
    "internal/sluice/step/types/abi.go",
    "internal/sluice/step/types/types.wit.go",
    "main.go",
    "order.go",
    "order_test.go",
    "sluice.step.toml",
    "step/data.go",
    "step/db.go",
    "step/errors.go",
    "step/export.go",
    "step/fake.go",
    "step/host_tinygo.go",
    "step/http.go",
    "step/json/json.go",
    "step/json/json_test.go",
    "step/json/parse.go",
    "step/json/write.go",
    "step/log.go",
    "step/stderr_tinygo.go",
    "step/step.go",
    "tests/a-coupon-takes-its-part.json",
    "tests/a-coupon-that-is-none-is-a-mistake.json",
    "tests/a-good-order-is-priced.json",
    "tests/a-large-order-goes-to-review.json",
    "tests/a-server-that-is-down-is-worth-another-attempt.json",
    "tests/all-that-is-wrong-is-told-at-once.json",
    "wit/deps/cli.wit",
    "wit/deps/clocks.wit",
    "wit/deps/filesystem.wit",
    "wit/deps/io.wit",
    "wit/deps/random.wit",
    "wit/deps/sluice-step/host.wit",
    "wit/deps/sluice-step/types.wit",
    "wit/deps/sluice-step/world.wit",
    "wit/deps/sockets.wit",
    "wit/world.wit",
);

const ASSEMBLYSCRIPT: Files = files!("assemblyscript":
    ".gitignore",
    "README.md",
    "asconfig.json",
    "assembly/abi.ts",
    "assembly/coupons.ts",
    "assembly/exports.ts",
    "assembly/float.ts",
    "assembly/index.ts",
    "assembly/json.ts",
    "assembly/order.ts",
    "assembly/outcome.ts",
    "assembly/sluice.ts",
    "assembly/writer.ts",
    "package-lock.json",
    "package.json",
    "sluice.step.toml",
    "test/cases.test.mjs",
    "test/every-type.ts",
    "test/glue.test.mjs",
    "test/host.mjs",
    "test/json.test.mjs",
    "test/order.test.mjs",
    "test/reading.ts",
    "tests/a-coupon-takes-its-part.json",
    "tests/a-coupon-that-is-none-is-a-mistake.json",
    "tests/a-good-order-is-priced.json",
    "tests/a-large-order-goes-to-review.json",
    "tests/a-server-that-is-down-is-worth-another-attempt.json",
    "tests/all-that-is-wrong-is-told-at-once.json",
    "tsconfig.json",
    "wit/host.wit",
    "wit/types.wit",
    "wit/world.wit",
);

/// What an author is told first: this file, and from this heading on its language's, whatever the example does.
const README: &str = "README.md";
const COMMON_HEADING: &str = "\n## Test\n";

/// The files of a step called `name`, by their path in its folder. `None` where the language has no such example.
pub(super) fn files(language: Language, example: Example, name: &str) -> Option<Vec<(&'static str, String)>> {
    let whole = template(language);
    let files = match example {
        Example::Order => whole.iter().map(|&(path, text)| (path, text.to_owned())).collect(),
        other => laid_over(whole, examples::overlay(language, other)?),
    };
    Some(files.into_iter().map(|(path, text): (_, String)| (path, renamed(&text, name))).collect())
}

/// The template with the example's files in the place of those that it has too, or does without.
fn laid_over(template: Files, overlay: &Overlay) -> Vec<(&'static str, String)> {
    let is_replaced = |path: &str| overlay.files.iter().any(|(replacing, _)| *replacing == path);
    let kept = template.iter().filter(|(path, _)| !overlay.does_without(path) && !is_replaced(path));
    let own = overlay.files.iter().map(|&(path, text)| (path, with_common_part(template, overlay, path, text)));
    kept.map(|&(path, text)| (path, text.to_owned())).chain(own).collect()
}

/// The example's text, and behind its README what the language's says to all authors, unless it does without that.
fn with_common_part(template: Files, overlay: &Overlay, path: &str, text: &str) -> String {
    let all = if overlay.does_without(path) { &[] } else { template };
    let readme = all.iter().find(|(known, _)| path == README && *known == README);
    let common = readme.and_then(|(_, readme)| readme.find(COMMON_HEADING).and_then(|start| readme.get(start..)));
    text.to_owned() + common.unwrap_or_default()
}

/// The file that an author opens first.
pub(super) const fn first_file(language: Language) -> &'static str {
    match language {
        Language::Rust => "src/lib.rs",
        Language::TinyGo => "main.go",
        Language::AssemblyScript => "assembly/index.ts",
    }
}

const fn template(language: Language) -> Files {
    match language {
        Language::Rust => RUST,
        Language::TinyGo => TINYGO,
        Language::AssemblyScript => ASSEMBLYSCRIPT,
    }
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

    use clap::ValueEnum as _;

    use super::*;

    /// Every file that an author gets: not what a build leaves, nor the notes for
    /// those who change the WIT files themselves.
    fn files_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let is_built = ["target", "build", "node_modules"].contains(&&*path);
            if is_built || path.starts_with("wit/") && path.ends_with("README.md") {
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
    fn every_file_of_each_template_is_in_the_binary() {
        for (language, folder) in
            [(Language::Rust, "rust"), (Language::TinyGo, "tinygo"), (Language::AssemblyScript, "assemblyscript")]
        {
            let embedded: BTreeSet<String> = template(language).iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(embedded, files_of(folder));
            assert!(embedded.contains(first_file(language)), "{}", first_file(language));
        }
    }

    fn files_of(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-templates").join(folder);
        let mut there = BTreeSet::new();
        files_below(&folder, "", &mut there);
        there
    }

    /// Each example of a language, but for the order step, with the name of its folder.
    fn overlays() -> Vec<(Language, Example, String, &'static Overlay)> {
        let examples = Example::value_variants().iter().filter(|example| **example != Example::Order);
        let folder = |language: Language, example: Example| {
            let language = language.name().to_lowercase();
            format!("examples/{language}/{}", example.to_possible_value().unwrap().get_name())
        };
        let of = |example: Example| {
            let overlay = move |language| examples::overlay(language, example).map(|overlay| (language, overlay));
            let found = Language::ALL.into_iter().filter_map(overlay);
            found.map(move |(language, overlay)| (language, example, folder(language, example), overlay))
        };
        examples.copied().flat_map(of).collect()
    }

    #[test]
    fn every_file_of_each_example_is_in_the_binary() {
        let folders = overlays().into_iter().map(|(.., folder, _)| folder).collect::<BTreeSet<_>>();
        let there = files_of("examples");
        for path in &there {
            assert!(
                folders.iter().any(|folder| format!("examples/{path}").starts_with(&format!("{folder}/"))),
                "{path}"
            );
        }
        for (.., folder, overlay) in overlays() {
            let embedded: BTreeSet<String> = overlay.files.iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(embedded, files_of(&folder), "{folder}");
        }
    }

    #[test]
    fn an_example_repeats_nothing_of_its_template_and_drops_only_what_is_there() {
        for (language, _, folder, overlay) in overlays() {
            for file in overlay.files {
                assert!(!template(language).contains(file), "{folder}: {}", file.0);
            }
            for dropped in overlay.without {
                let only = Overlay { without: std::slice::from_ref(dropped), files: &[] };
                assert!(template(language).iter().any(|(path, _)| only.does_without(path)), "{folder}: {dropped}");
            }
        }
    }

    #[test]
    fn an_example_is_its_languages_template_with_other_logic() {
        for (language, example, folder, overlay) in overlays() {
            let files = files(language, example, "zz").unwrap();
            let paths: BTreeSet<_> = files.iter().map(|(path, _)| *path).collect();
            assert_eq!(paths.len(), files.len(), "{folder} has a file twice");
            assert!(paths.contains(first_file(language)) && paths.contains("sluice.step.toml"), "{folder}");
            // A function keeps what reads JSON, and nothing that only a gateway's world has.
            let is_of_steps = |path: &&str| path.starts_with("step/") && !path.starts_with("step/json/");
            assert!(example.input().is_some() || !paths.iter().any(is_of_steps), "{folder}: {paths:?}");
            let readme = &files.iter().find(|(path, _)| *path == README).unwrap().1;
            assert_eq!(readme.matches("\n## Test\n").count(), 1, "{folder}");
            for (path, text) in files {
                assert!(
                    !text.contains("coupon") && !text.contains("last_order"),
                    "{folder}: {path} is of the order step"
                );
                let is_kept = overlay.files.iter().all(|(own, _)| *own != path);
                let same =
                    || template(language).iter().any(|(known, whole)| *known == path && renamed(whole, "zz") == text);
                assert!(!is_kept || same(), "{folder}: {path}");
            }
        }
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
        let of = |language| Example::value_variants().iter().filter_map(move |&example| files(language, example, "zz"));
        for files in Language::ALL.into_iter().flat_map(of) {
            for (path, text) in files {
                assert_eq!(replace_word(&text, PLACEHOLDER, "!"), text, "{path}");
                assert_eq!(replace_word(&text, "order_check", "!"), text, "{path}");
            }
        }
    }
}
