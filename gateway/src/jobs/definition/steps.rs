//! Steps, one by one.
//!
//! What a step says of others (`next`, `routes`) is kept as it is written, until all steps have been read.

use serde_json::Value;

use super::kinds;
use super::object::{Mistakes, Object, TEXT_BYTES_MAX, closest, text};
use super::retry;
use super::texts::{Secrets, Texts};
use crate::error::{FieldError, NAME_CHARACTERS_MAX, shortened};
use crate::model::job::{RetryPolicy, StepDefinition, StepId, StepKind};

/// Of every kind.
const MEMBERS: [&str; 6] = ["id", "type", "when", "next", "retry", "timeout_ms"];

/// The kinds, and their own members.
const KINDS: [(&str, &[&str]); 4] = [
    ("wasm", &["module", "function", "input", "env", "limits", "routes"]),
    ("http", &["method", "url", "headers", "body", "success"]),
    ("database", &["connection", "mode", "sql", "params"]),
    ("wait", &["duration_ms", "until"]),
];

/// A step as far as it could be read.
pub(super) struct Outline<'v> {
    /// As it is written, a name or not: so that a bad one is told once, and not wherever it is named.
    pub(super) id: Option<&'v str>,
    pub(super) next: Followers<'v>,
    pub(super) routes: Followers<'v>,
    /// `None` where something in it is wrong.
    pub(super) step: Option<StepDefinition>,
}

/// What comes after a step.
pub(super) enum Followers<'v> {
    /// Not said.
    Default,
    /// These, each with its path.
    Named(Vec<(String, &'v str)>),
    /// Said, but it can't be read.
    Unclear,
}

impl Followers<'_> {
    fn ids(&self) -> Option<Vec<StepId>> {
        match self {
            Self::Named(named) => Some(named.iter().filter_map(|(_, id)| id.parse().ok()).collect()),
            Self::Default | Self::Unclear => None,
        }
    }
}

pub(super) fn read<'v>(
    index: usize,
    value: &'v Value,
    retry: RetryPolicy,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> Outline<'v> {
    let unclear = || Outline { id: None, next: Followers::Unclear, routes: Followers::Default, step: None };
    let Some(object) = Object::of(format!("/steps/{index}"), value, mistakes) else { return unclear() };
    let id = object.required_text("id", mistakes);
    let parsed_id = id.and_then(|id| parse_id(&object, id, mistakes));
    let next = followers(&object, "next", mistakes);
    let when = object.text("when", mistakes);
    if let Some(when) = when {
        check_when(index, &object.at("when"), when, texts, mistakes);
    }
    let own_retry = retry::policy(&object, retry, mistakes);
    let timeout_ms = retry::timeout_ms(&object, mistakes);
    let mut routes = Followers::Default;
    let kind = match kind(&object, mistakes) {
        Some("wasm") => {
            routes = followers(&object, "routes", mistakes);
            kinds::wasm(index, &object, routes.ids(), texts, mistakes).map(StepKind::Wasm)
        }
        Some("http") => kinds::http(index, &object, texts, mistakes).map(StepKind::Http),
        Some("database") => kinds::database(index, &object, texts, mistakes).map(StepKind::Database),
        Some("wait") => Some(StepKind::Wait(kinds::wait(index, &object, texts, mistakes))),
        _ => None,
    };
    let step = parsed_id.zip(kind).map(|(id, kind)| StepDefinition {
        id,
        kind,
        when: when.map(str::to_owned),
        next: next.ids(),
        retry: own_retry,
        timeout_ms,
    });
    Outline { id, next, routes, step }
}

fn parse_id(object: &Object<'_>, id: &str, mistakes: &mut Mistakes) -> Option<StepId> {
    match id.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            let error: crate::model::job::ParseStepIdError = error;
            mistakes.push(FieldError::new(object.at("id"), "bad-name", error.to_string()));
            None
        }
    }
}

/// The step's kind. Which members it may have follows from it, so they are looked at only where it is one.
fn kind<'v>(object: &Object<'v>, mistakes: &mut Mistakes) -> Option<&'v str> {
    let kind = object.required_text("type", mistakes)?;
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let names = KINDS.map(|(name, _)| name);
        let message = match closest(kind, &names) {
            Some(known) => format!("is no type of step; did you mean `{known}`?"),
            None => format!("is no type of step; there are {}", names.join(", ")),
        };
        mistakes.push(FieldError::new(object.at("type"), "unknown-type", message));
        return None;
    };
    let members: Vec<_> = MEMBERS.iter().chain(*own).copied().collect();
    object.only(&members, mistakes);
    Some(kind)
}

fn followers<'v>(object: &Object<'v>, member: &str, mistakes: &mut Mistakes) -> Followers<'v> {
    if object.get(member).is_none() {
        return Followers::Default;
    }
    let Some(items) = object.list(member, mistakes) else { return Followers::Unclear };
    let mut named: Vec<(String, &str)> = Vec::new();
    let mut is_clear = true;
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}/{index}", object.at(member));
        match text(&path, item, TEXT_BYTES_MAX, mistakes) {
            Some(id) if named.iter().any(|(_, before)| *before == id) => {
                let message = format!("`{}` is there twice", shortened(id, NAME_CHARACTERS_MAX));
                mistakes.push(FieldError::new(path, "duplicate", message));
            }
            Some(id) => named.push((path, id)),
            None => is_clear = false,
        }
    }
    if is_clear { Followers::Named(named) } else { Followers::Unclear }
}

fn check_when(index: usize, path: &str, when: &str, texts: &mut Texts<'_>, mistakes: &mut Mistakes) {
    let template = texts.template((index, path), when, Secrets::Refused, mistakes);
    if template.is_some_and(|template| template.is_plain()) && !["true", "false"].contains(&when) {
        let message = "is always the same text: write an expression, as in {{ data.total > 100 }}";
        mistakes.push(FieldError::new(path, "bad-template", message));
    }
}
