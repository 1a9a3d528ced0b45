//! Definitions of jobs: read, and checked.
//!
//! Owns every rule of a definition, and that all mistakes are told at once, each with its place. Does not own what a
//! definition is once it is right (`model::job`), nor what templates become (`template`). Invariant: what is
//! [`Checked`] serializes to what [`stored`] reads again, unchanged.

mod delivery;
mod graph;
mod kinds;
mod object;
mod parse;
mod retry;
mod steps;
mod texts;

use std::collections::BTreeMap;

use serde_json::Value;

use super::Checked;
use crate::error::{FieldError, NAME_CHARACTERS_MAX, shortened};
use crate::model::job::{Definition, JobName, ParseJobNameError, RetryPolicy};
use crate::model::{EffectiveLimits, JsonText, ModuleRef};

use object::{Mistakes, Object, closest, text};
use steps::{Followers, Outline};
use texts::{Scope, Texts, no_secret};

pub use graph::edges;
pub use parse::{parse_json, parse_yaml};

const MEMBERS: [&str; 7] = ["name", "description", "retry", "env", "steps", "hook", "notify"];

/// A definition as text: ten times the largest that people write, and small enough to be in a row and in memory for
/// every revision that has runs.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;

/// Steps: what a person can still follow on a screen is far below, what a program makes of a list may be near.
pub const STEPS_MAX: usize = 1000;

/// A description is read in a list.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;

/// What a definition may refer to.
pub trait Known {
    /// The module that a step names, as it is now.
    fn module(&self, module: &ModuleRef) -> KnownModule;
    /// Whether there is `[databases.NAME]`.
    fn has_database(&self, name: &str) -> bool;
    /// Whether there is such a secret in `[secrets]`.
    fn has_secret(&self, name: &str) -> bool;
    /// The operator's ceilings, which a step's limits may only lower.
    fn ceilings(&self) -> EffectiveLimits;
}

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownModule {
    /// There is none of that name, or none of its versions matches.
    NotFound,
    /// It is there.
    Found {
        /// Its step functions.
        functions: Vec<String>,
    },
}

/// Checks a definition: every mistake at once.
///
/// # Errors
/// All mistakes, each with a JSON pointer to its place.
#[expect(clippy::needless_pass_by_value, reason = "nobody has a use for it afterwards")]
pub fn check(value: Value, known: &dyn Known) -> Result<Checked, Vec<FieldError>> {
    let length = value.to_string().len();
    if length > DEFINITION_BYTES_MAX {
        let message = format!("as JSON it has {length} bytes, and a definition at most {DEFINITION_BYTES_MAX}");
        return Err(vec![FieldError::new("", "too-long", message)]);
    }
    read(&value, Some(known))
}

/// Reads a definition that was checked when it was stored. What it refers to may be gone by now.
///
/// # Errors
/// As [`check`]: the text is no definition as this version knows them.
pub fn stored(text: &JsonText) -> Result<Definition, Vec<FieldError>> {
    let value: Value = serde_json::from_str(text.as_str())
        .map_err(|error| vec![FieldError::new("", "invalid-json", error.to_string())])?;
    read(&value, None).map(|checked| checked.definition)
}

/// Reads it, and checks what it refers to where that is known.
fn read(value: &Value, known: Option<&dyn Known>) -> Result<Checked, Vec<FieldError>> {
    let mut mistakes = Mistakes::new();
    let read = Object::of("", value, &mut mistakes).and_then(|job| read_job(&job, known, &mut mistakes));
    match read {
        Some(checked) if mistakes.is_empty() => Ok(checked),
        _ => Err(mistakes),
    }
}

fn read_job(job: &Object<'_>, known: Option<&dyn Known>, mistakes: &mut Mistakes) -> Option<Checked> {
    job.only(&MEMBERS, mistakes);
    let mut texts = Texts::new(known);
    let name = name(job, mistakes);
    let description =
        job.get("description").and_then(|value| text(&job.at("description"), value, DESCRIPTION_BYTES_MAX, mistakes));
    if let Some(description) = description {
        no_secret("/description", description, mistakes);
    }
    let retry = retry::policy(job, RetryPolicy::default(), mistakes).unwrap_or_default();
    let env = kinds::env(job, mistakes);
    for (name, value) in &env {
        no_secret(&crate::error::pointer("/env", name), value, mistakes);
    }
    let hook = delivery::hook(job, &texts, mistakes);
    let notify = delivery::notify(job, &texts, mistakes);
    let outlines = outlines(job, retry, &mut texts, mistakes)?;
    let places = places(&outlines, mistakes);
    let ways = Ways::of(&outlines, &places, mistakes);
    let has_env = job.get("env").is_none_or(Value::is_object);
    let names = has_env.then(|| env.keys().map(String::as_str).collect());
    let scope = Scope { env: names, steps: &places, edges: ways.are_clear.then_some(&ways.edges) };
    texts.check_names(&scope, mistakes);
    let warnings = ways.unreached(&outlines);
    let steps: Option<Vec<_>> = outlines.into_iter().map(|outline| outline.step).collect();
    let description = description.map(str::to_owned);
    Some(Checked {
        definition: Definition { name: name?, description, retry, env, steps: steps?, hook, notify },
        warnings,
    })
}

fn name(job: &Object<'_>, mistakes: &mut Mistakes) -> Option<JobName> {
    let name = job.required_text("name", mistakes)?;
    let name: Result<_, ParseJobNameError> = name.parse();
    name.map_err(|error| mistakes.push(FieldError::new(job.at("name"), "bad-name", error.to_string()))).ok()
}

fn outlines<'v>(
    job: &Object<'v>,
    retry: RetryPolicy,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Outline<'v>>> {
    job.required("steps", mistakes)?;
    let steps = job.list("steps", mistakes)?;
    if steps.is_empty() {
        mistakes.push(FieldError::new("/steps", "empty", "a job has at least one step"));
    }
    if steps.len() > STEPS_MAX {
        mistakes.push(FieldError::new("/steps", "too-many", format!("a job has at most {STEPS_MAX} steps")));
        return None;
    }
    let read = |(index, step)| steps::read(index, step, retry, texts, mistakes);
    Some(steps.iter().enumerate().map(read).collect())
}

/// The place of each step; of two with one id the first's.
fn places<'v>(outlines: &[Outline<'v>], mistakes: &mut Mistakes) -> BTreeMap<&'v str, usize> {
    let mut places = BTreeMap::new();
    for (index, outline) in outlines.iter().enumerate() {
        let Some(id) = outline.id else { continue };
        if let Some(first) = places.get(id) {
            let message = format!("`{}` is the id of step {} too", shortened(id, NAME_CHARACTERS_MAX), first + 1);
            mistakes.push(FieldError::new(format!("/steps/{index}/id"), "duplicate", message));
        } else {
            places.insert(id, index);
        }
    }
    places
}

/// How steps follow each other.
struct Ways {
    edges: Vec<Vec<usize>>,
    /// Whether every `next` and `routes` could be read: else a way that is missing is no mistake of its own.
    are_clear: bool,
}

impl Ways {
    fn of(outlines: &[Outline<'_>], places: &BTreeMap<&str, usize>, mistakes: &mut Mistakes) -> Self {
        let mut are_clear = true;
        let mut found = |followers: &Followers<'_>| match followers {
            Followers::Default => None,
            Followers::Unclear => {
                are_clear = false;
                Some(Vec::new())
            }
            Followers::Named(named) => {
                let places: Vec<_> = named.iter().filter_map(|(path, id)| place(path, id, places, mistakes)).collect();
                are_clear &= places.len() == named.len();
                Some(places)
            }
        };
        let followers: Vec<_> =
            outlines.iter().map(|outline| (found(&outline.next), found(&outline.routes).unwrap_or_default())).collect();
        let pairs = followers.iter().map(|(next, routes)| (next.as_deref(), routes.as_slice()));
        let edges = graph::of_places(pairs, outlines.len());
        for circle in graph::circles(&edges) {
            mistakes.push(cycle(&circle, outlines));
        }
        Self { edges, are_clear }
    }

    /// A warning for each step that no run comes to.
    fn unreached(&self, outlines: &[Outline<'_>]) -> Vec<FieldError> {
        let reached = graph::after(&self.edges, 0);
        let unreached = outlines.iter().zip(reached).enumerate().skip(1).filter(|(_, (_, reached))| !reached);
        unreached
            .map(|(index, (outline, _))| {
                let id = outline.id.unwrap_or_default();
                let message = format!("nothing leads to the step `{id}`: name it in a `next` or in `routes`");
                FieldError::new(format!("/steps/{index}"), "unreachable", message)
            })
            .collect()
    }
}

fn place(path: &str, id: &str, places: &BTreeMap<&str, usize>, mistakes: &mut Mistakes) -> Option<usize> {
    let place = places.get(id).copied();
    if place.is_none() {
        let ids: Vec<_> = places.keys().copied().collect();
        let id = shortened(id, NAME_CHARACTERS_MAX);
        let message = match closest(&id, &ids) {
            Some(known) => format!("there is no step `{id}`; did you mean `{known}`?"),
            None => format!("there is no step `{id}`"),
        };
        mistakes.push(FieldError::new(path, "unknown-step", message));
    }
    place
}

/// The mistake of a circle, at the step whose edge closes it.
fn cycle(circle: &[usize], outlines: &[Outline<'_>]) -> FieldError {
    let id = |place: &usize| outlines.get(*place).and_then(|outline| outline.id).unwrap_or_default();
    let first = circle.first().map(id).unwrap_or_default();
    let last = circle.last().copied().unwrap_or_default();
    let path = outlines.get(last).and_then(|outline| {
        let named = |followers: &Followers<'_>| match followers {
            Followers::Named(named) => named.iter().find(|(_, id)| *id == first).map(|(path, _)| path.clone()),
            Followers::Default | Followers::Unclear => None,
        };
        named(&outline.next).or_else(|| named(&outline.routes))
    });
    let way: Vec<_> = circle.iter().map(id).chain([first]).collect();
    // A long way round is told from both of its ends.
    let way = match way.as_slice() {
        [start @ .., before, end] if way.len() > 12 => {
            let start: Vec<_> = start.iter().take(8).copied().collect();
            format!("{} → … → {before} → {end}", start.join(" → "))
        }
        _ => way.join(" → "),
    };
    let message = format!("steps go round in a circle: {way}; each step runs once at most");
    FieldError::new(path.unwrap_or_else(|| format!("/steps/{last}")), "cycle", message)
}

#[cfg(test)]
pub(super) mod tests;
