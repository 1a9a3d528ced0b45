//! House rules on source files that neither rustc nor clippy can keep: their length and their opening.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::steps::Step;

/// A file that needs more than this has two subjects.
const LINES_MAX: usize = 600;

/// Checks every Rust file of the workspace's crates.
pub fn check(step: &mut Step, root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let mut count = 0;
    for folder in ["gateway", "local-servers", "bench", "fuzz", "xtask"] {
        for file in files_below(&root.join(folder), "rs")? {
            let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
            let name = file.strip_prefix(root).unwrap_or(&file);
            problems.extend(problems_of(name, &text));
            count += 1;
        }
    }
    step.note(format!("{count} files"));
    if !problems.is_empty() {
        bail!("{} problems:\n    {}", problems.len(), problems.join("\n    "));
    }
    Ok(())
}

/// All files with an extension in a folder and the folders below, build output aside, in order of their paths.
pub fn files_below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn problems_of(file: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = file.display();
    // `foo/tests.rs` is a part of `foo`, which has opened already.
    if !text.starts_with("//!") && !file.ends_with("tests.rs") {
        problems.push(format!("{name}: opens without a `//!` comment that says what it owns"));
    }
    let lines = lines_without_tests(text);
    if lines > LINES_MAX && !holds_tests(file) {
        problems.push(format!("{name}: {lines} lines without tests, {LINES_MAX} are allowed"));
    }
    problems
}

/// An inline `mod tests` is the end of a file; `#[cfg(test)]` on anything else ends nothing.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let opens_tests =
        |pair: &[&str]| matches!(pair, ["#[cfg(test)]", module] if module.starts_with("mod ") && module.ends_with('{'));
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

fn holds_tests(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(file: &str, text: &str) -> usize {
        problems_of(Path::new(file), text).len()
    }

    #[test]
    fn a_file_over_the_bound_is_found_and_its_tests_do_not_count() {
        let body = "fn f() {}\n";
        let long = format!("//! Long.\n{}", body.repeat(LINES_MAX));
        let tested = format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n", body.repeat(LINES_MAX));
        let declared = format!("//! Long.\n#[cfg(test)]\nmod tests;\n{}", body.repeat(LINES_MAX));
        assert_eq!(problems("gateway/src/a.rs", &long), 1);
        assert_eq!(problems("gateway/src/a.rs", &tested), 0);
        assert_eq!(problems("gateway/src/a.rs", &declared), 1);
        assert_eq!(problems("gateway/tests/it/a.rs", &long), 0);
        assert_eq!(problems("gateway/src/a/tests.rs", &long), 0);
    }

    #[test]
    fn a_file_without_an_opening_comment_is_found() {
        assert_eq!(problems("gateway/src/a.rs", "use std::fs;\n"), 1);
        assert_eq!(problems("gateway/src/a.rs", "//! Files.\nuse std::fs;\n"), 0);
        assert_eq!(problems("gateway/src/a/tests.rs", "use super::*;\n"), 0);
    }
}
