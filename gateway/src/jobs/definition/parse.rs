//! Definitions as text: JSON and YAML, into the same values.
//!
//! Invariant: what a text says can't be read in two ways. Members that are there twice are refused in both, and YAML is read as
//! its version 1.2 has it: `no` and `on` are texts, and so are times and numbers such as `0755` and `1_000`.

use serde_json::Value;

use super::DEFINITION_BYTES_MAX;
use crate::error::FieldError;
use crate::model::DistinctValue;

/// Lists and objects within each other in a YAML text: its reader takes far more stack for each than that of JSON
/// (`JSON_DEPTH_MAX`), some 20 KiB without optimisation, of the 2 MiB that a thread has.
const YAML_DEPTH_MAX: usize = 64;

/// Scalars, lists and objects of a YAML text, those that aliases repeat included. A definition of 256 KiB has fewer
/// than one to four bytes.
const YAML_EVENTS_MAX: usize = 64 * 1024;

/// Aliases of a YAML text: one for each step, and some.
const YAML_ALIASES_MAX: usize = 2000;

/// Aliases within what aliases stand for.
const YAML_ALIAS_DEPTH_MAX: usize = 8;

/// Reads a definition in JSON.
///
/// # Errors
/// `too-long`, `duplicate` for a member that is there twice, and `invalid-json`.
pub fn parse_json(bytes: &[u8]) -> Result<Value, FieldError> {
    check_length(bytes)?;
    match serde_json::from_slice(bytes) {
        Ok(DistinctValue(value)) => Ok(value),
        Err(error) if error.is_data() => Err(FieldError::new("", "duplicate", error.to_string())),
        Err(error) => Err(FieldError::new("", "invalid-json", format!("is not JSON: {error}"))),
    }
}

/// Reads a definition in YAML. Its times and tags are plain text.
///
/// # Errors
/// `too-long`, and `invalid-yaml` for all else, with the place.
pub fn parse_yaml(bytes: &[u8]) -> Result<Value, FieldError> {
    check_length(bytes)?;
    let invalid = |message: String| FieldError::new("", "invalid-yaml", format!("is not YAML: {message}"));
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: YAML_DEPTH_MAX,
            max_documents: 1,
            max_events: YAML_EVENTS_MAX,
            max_nodes: YAML_EVENTS_MAX,
            max_aliases: YAML_ALIASES_MAX,
            max_anchors: YAML_ALIASES_MAX,
            max_recorded_anchor_bytes: DEFINITION_BYTES_MAX,
            max_recorded_anchor_events: YAML_EVENTS_MAX,
            max_total_scalar_bytes: DEFINITION_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: YAML_EVENTS_MAX,
            max_replay_stack_depth: YAML_ALIAS_DEPTH_MAX,
        },
        strict_booleans: true,
        ignore_binary_tag_for_string: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(DistinctValue(value)) => Ok(value),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn check_length(bytes: &[u8]) -> Result<(), FieldError> {
    if bytes.len() <= DEFINITION_BYTES_MAX {
        return Ok(());
    }
    Err(FieldError::new("", "too-long", format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")))
}
