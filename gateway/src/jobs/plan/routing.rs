//! Where a step says that the run goes on.
//!
//! Owns the check of what a guest named. Invariant: what passes is within the graph's edges.

use super::graph::Graph;
use crate::model::job::{StepError, StepId};

/// What a message lists of a guest's or a definition's names; more would fill logs and rows with one mistake.
const NAMES_SHOWN_MAX: usize = 20;
/// A step's id has 63 characters at most: whatever is longer is none, and need not be shown whole.
const NAME_CHARS_SHOWN_MAX: usize = 64;

/// The steps that `names` are, each once, in their order; none at all ends the branch.
///
/// # Errors
/// `invalid-route`, with the names that are not allowed and those that are.
pub(super) fn resolve(graph: &Graph, step: usize, names: &[String]) -> Result<Vec<usize>, StepError> {
    let routes = graph.routes(step);
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for name in names {
        match graph.index(name).filter(|index| routes.contains(index)) {
            Some(index) if found.contains(&index) => {}
            Some(index) => found.push(index),
            None => wrong.push(name.as_str()),
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(refused(graph, step, &wrong)) }
}

fn refused(graph: &Graph, step: usize, wrong: &[&str]) -> StepError {
    let id = graph.id(step).map_or("", |id| id.as_str());
    let allowed: Vec<_> = graph.routes(step).iter().filter_map(|&index| graph.id(index)).map(StepId::as_str).collect();
    let may = if allowed.is_empty() {
        "it may name none: declare them in `routes` of the step".to_owned()
    } else {
        format!("it may name {}", listed(&allowed))
    };
    StepError {
        code: "invalid-route".to_owned(),
        message: format!("the step `{id}` went on to {}, but {may}", listed(wrong)),
        origin: "guest".to_owned(),
        step: None,
        details: None,
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).map(|name| {
        let clean: String = name.chars().take(NAME_CHARS_SHOWN_MAX).collect();
        format!("`{}`", clean.escape_debug())
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(NAMES_SHOWN_MAX).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
