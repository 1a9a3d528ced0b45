//! Templates and plain texts of a definition, and what they may name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::object::{Mistakes, TEXT_BYTES_MAX, closest, text};
use super::{Known, graph};
use crate::error::{FieldError, NAME_CHARACTERS_MAX, pointer, shortened};
use crate::jobs::template::{NAMES, Reference, Template};

/// `run` of templates.
const RUN_MEMBERS: [&str; 4] = ["id", "job", "revision", "created_at"];

/// `steps.ID` of templates.
const STEP_MEMBERS: [&str; 2] = ["status", "output"];

/// Whether a text is looked through for `{{secret:NAME}}` when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Allowed,
    Refused,
}

/// What a step's template names, and where.
pub(super) struct Named {
    path: String,
    step: usize,
    references: Vec<Reference>,
}

/// All templates of a definition, while it is read.
pub(super) struct Texts<'k> {
    pub(super) known: Option<&'k dyn Known>,
    named: Vec<Named>,
}

impl<'k> Texts<'k> {
    pub(super) fn new(known: Option<&'k dyn Known>) -> Self {
        Self { known, named: Vec::new() }
    }

    /// Reads a text as a template of a step. The names in it are checked when all steps have been read.
    pub(super) fn template(
        &mut self,
        (step, path): (usize, &str),
        text: &str,
        secrets: Secrets,
        mistakes: &mut Mistakes,
    ) -> Option<Template> {
        let template = match Template::parse(path, text) {
            Ok(template) => template,
            Err(error) => {
                mistakes.push(FieldError::new(path, "bad-template", error.to_string()));
                return None;
            }
        };
        for name in template.secrets() {
            match secrets {
                Secrets::Allowed => self.secret(path, name, mistakes),
                Secrets::Refused => mistakes.push(secret_not_allowed(path)),
            }
        }
        let references: Vec<_> = template.references().into_iter().collect();
        if !references.is_empty() {
            self.named.push(Named { path: path.to_owned(), step, references });
        }
        Some(template)
    }

    /// Reads all texts in a value as templates, at any depth.
    pub(super) fn templates(
        &mut self,
        (step, path): (usize, &str),
        value: &Value,
        secrets: Secrets,
        mistakes: &mut Mistakes,
    ) {
        match value {
            Value::String(_) => {
                if let Some(text) = text(path, value, TEXT_BYTES_MAX, mistakes) {
                    self.template((step, path), text, secrets, mistakes);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.templates((step, &format!("{path}/{index}")), item, secrets, mistakes);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    self.templates((step, &pointer(path, name)), member, secrets, mistakes);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A name of `[secrets]`.
    pub(super) fn secret(&self, path: &str, name: &str, mistakes: &mut Mistakes) {
        if self.known.is_some_and(|known| !known.has_secret(name)) {
            let message = format!("there is no secret `{name}` in the operator's [secrets]");
            mistakes.push(FieldError::new(path, "unknown-secret", message));
        }
    }

    /// Checks what all templates name, once it is known which steps there are and how they follow each other.
    pub(super) fn check_names(&self, scope: &Scope<'_>, mistakes: &mut Mistakes) {
        let mut after = BTreeMap::new();
        for named in &self.named {
            for reference in &named.references {
                if let Err(message) = scope.check(named.step, reference, &mut after) {
                    mistakes.push(FieldError::new(&named.path, "unknown-name", message));
                }
            }
        }
    }
}

/// What a template may name.
pub(super) struct Scope<'a> {
    /// The names of the definition's `env`; `None` where it could not be read.
    pub(super) env: Option<Vec<&'a str>>,
    /// The place of each step.
    pub(super) steps: &'a BTreeMap<&'a str, usize>,
    /// How they follow each other; `None` where a `next` could not be read.
    pub(super) edges: Option<&'a [Vec<usize>]>,
}

impl Scope<'_> {
    fn check(
        &self,
        step: usize,
        Reference { name, members }: &Reference,
        after: &mut BTreeMap<usize, Vec<bool>>,
    ) -> Result<(), String> {
        let mut members = members.iter().map(String::as_str);
        let (first, second) = (members.next(), members.next());
        match (name.as_str(), first) {
            ("trigger" | "data", _) | ("steps" | "run" | "env", None) => Ok(()),
            ("run", Some(member)) => one_of("run", member, &RUN_MEMBERS),
            ("env", Some(member)) => match &self.env {
                Some(env) => one_of("env", member, env),
                None => Ok(()),
            },
            ("steps", Some(id)) => {
                self.check_step(step, id, after)?;
                second.map_or(Ok(()), |member| one_of(&format!("steps.{id}"), member, &STEP_MEMBERS))
            }
            (other, _) => {
                let hint = match closest(other, &NAMES) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("there are {}, and a text goes into quotes", NAMES.join(", ")),
                };
                Err(format!("`{}` names nothing; {hint}", shortened(other, NAME_CHARACTERS_MAX)))
            }
        }
    }

    fn check_step(&self, step: usize, id: &str, after: &mut BTreeMap<usize, Vec<bool>>) -> Result<(), String> {
        let shown = shortened(id, NAME_CHARACTERS_MAX);
        let Some(&named) = self.steps.get(id) else {
            let ids: Vec<_> = self.steps.keys().copied().collect();
            return Err(match closest(id, &ids) {
                Some(known) => format!("there is no step `{shown}`; did you mean `{known}`?"),
                None if ids.iter().any(|known| known.starts_with(&format!("{id}-"))) => {
                    format!("there is no step `{shown}`; a name with a hyphen is written steps['…']")
                }
                None => format!("there is no step `{shown}`"),
            });
        };
        let Some(edges) = self.edges else { return Ok(()) };
        let after = after.entry(named).or_insert_with(|| graph::after(edges, named));
        if named != step && after.get(step) == Some(&true) {
            return Ok(());
        }
        Err(format!("the step `{shown}` can't have run before this one: no way leads from it to here"))
    }
}

fn one_of(of: &str, member: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&member) {
        return Ok(());
    }
    let shown = shortened(member, NAME_CHARACTERS_MAX);
    Err(match (closest(member, known), known) {
        (Some(known), _) => format!("there is no `{of}.{shown}`; did you mean `{known}`?"),
        (None, []) => format!("there is no `{of}.{shown}`: the definition has no `{of}`"),
        (None, known) => format!("there is no `{of}.{shown}`; there are {}", known.join(", ")),
    })
}

/// Refuses a secret in a text that is sent nowhere.
pub(super) fn no_secret(path: &str, text: &str, mistakes: &mut Mistakes) {
    if text.contains("{{secret:") {
        mistakes.push(secret_not_allowed(path));
    }
}

fn secret_not_allowed(path: &str) -> FieldError {
    let message =
        "a secret goes only into the headers and the body of an http step, a hook's secrets and a notification's";
    FieldError::new(path, "secret-not-allowed", message)
}
