//! Values on the command line: JSON from an argument, a file or standard input,
//! and `NAME=VALUE`.
//!
//! Invariant: JSON that is sent is byte for byte what was given, and was checked.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::failure::Usage;
use crate::model::JsonText;

/// The document that `argument` is, or names as `@FILE` or `-`. `flag` is for the message.
pub(super) async fn json(flag: &str, argument: String) -> anyhow::Result<JsonText> {
    if argument == "-" {
        return parse(&format!("standard input, for {flag},"), &read_stdin().await?);
    }
    if let Some(path) = argument.strip_prefix('@') {
        return json_file(Path::new(path));
    }
    JsonText::parse(&argument)
        .map_err(|error| Usage(format!("{flag} is not JSON: {error} (a text needs quotes: '\"text\"')")).into())
}

/// The document in a file.
pub(super) fn json_file(path: &Path) -> anyhow::Result<JsonText> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    parse(&path.display().to_string(), &text)
}

fn parse(place: &str, text: &str) -> anyhow::Result<JsonText> {
    // Every file ends with white space, which is no part of the document.
    JsonText::parse(text.trim()).map_err(|error| anyhow!("{place} is not JSON: {error}"))
}

/// On a thread of its own, which a signal leaves behind.
async fn read_stdin() -> anyhow::Result<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    });
    read.await?.context("standard input can't be read")
}

/// One `NAME=VALUE`; the value may be empty and may have more `=`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        assert!(variable("A").is_err());
        assert!(variable("=b").is_err());
    }

    #[tokio::test]
    async fn json_is_kept_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("order.json");
        std::fs::write(&file, "\n{\"b\": 1.50, \"a\": 2}\n").unwrap();
        let from_file = json("--input", format!("@{}", file.display())).await.unwrap();
        let given = json("--input", "{\"b\": 1.50, \"a\": 2}".to_owned()).await.unwrap();
        assert_eq!(from_file.as_str(), "{\"b\": 1.50, \"a\": 2}");
        assert_eq!(given, from_file);
    }

    #[tokio::test]
    async fn text_without_quotes_is_wrong_usage_and_the_message_says_how_it_is_written() {
        let error = json("--input", "hello".to_owned()).await.unwrap_err();
        assert!(error.is::<Usage>());
        assert!(error.to_string().contains("needs quotes"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_missing_is_named() {
        let error = json("--input", "@/nowhere/order.json".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/order.json"), "{error}");
        assert!(!error.is::<Usage>());
    }
}
