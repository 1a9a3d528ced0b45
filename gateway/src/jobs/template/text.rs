//! One text with templates in it.
//!
//! Owns where an expression begins and ends, what minijinja is allowed, and which names an expression has.
//! A text is cut here rather than by minijinja, so that `{{secret:NAME}}` is a part of its own, and so that what is not an
//! expression is refused rather than understood: statements and comments would be a second language within a
//! definition, and `{{-` would change the text around it. Loops are filters (`map`, `select`, `join`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{Environment, Expression, UndefinedBehavior};
use serde_json::Value;

use super::TemplateError;
use super::output::{self, Room};
use crate::config::is_secret_name;

mod tokens;

/// Steps of an evaluation, and bytes it works on (64 to one). A hundred thousand are some milliseconds, and more than
/// a filter needs over the lists that a run's data has room for.
const FUEL: u64 = 100_000;

/// Expressions within expressions. minijinja's parser stops at 150; evaluating needs less.
const RECURSION_MAX: usize = 100;

/// What templates may name: `env` has the definition's.
pub const NAMES: [&str; 5] = ["trigger", "data", "steps", "run", "env"];

/// What there is to call.
const FUNCTIONS: [&str; 2] = ["range", "dict"];

/// What templates may filter with: minijinja's without those of HTML and those that show its own values.
pub(super) const FILTERS: [&str; 44] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// What begins a secret.
const SECRET: &str = "secret:";
pub(super) const SECRET_OPEN: &str = "{{secret:";

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    for filter in ["safe", "escape", "e", "pprint"] {
        environment.remove_filter(filter);
    }
    for function in ["debug", "namespace"] {
        environment.remove_global(function);
    }
    environment
});

/// A text of a definition, compiled.
#[derive(Debug)]
pub struct Template {
    path: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Plain(String),
    Secret(String),
    Expression { source: String, compiled: Box<Expression<'static, 'static>> },
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct BadTemplate {
    /// Of the text, from 1.
    pub position: usize,
    /// For people.
    pub message: String,
}

/// Something that an expression names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `steps` of `steps.price.output`.
    pub name: String,
    /// `["price", "output"]`, as far as it is written out.
    pub members: Vec<String>,
}

impl Template {
    /// Compiles a text, which is at `path` of its definition.
    ///
    /// # Errors
    /// The first mistake in it, with its position.
    pub fn parse(path: &str, text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, opened)) = split_at_open(rest) {
            let bad = |at: &str, message: String| BadTemplate { position: position(text, at), message };
            if !plain.is_empty() {
                parts.push(Part::Plain(plain.to_owned()));
            }
            let (part, after) = Part::parse(opened).map_err(|(at, message)| bad(at, message))?;
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Plain(rest.to_owned()));
        }
        Ok(Self { path: path.to_owned(), parts })
    }

    /// Whether there is nothing to evaluate and nothing secret in it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Plain(_)))
    }

    /// What it begins with, before anything that is evaluated.
    #[must_use]
    pub fn start(&self) -> &str {
        match self.parts.first() {
            Some(Part::Plain(plain)) => plain,
            _ => "",
        }
    }

    /// The names of `{{secret:NAME}}` in it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            Part::Plain(_) | Part::Expression { .. } => None,
        })
    }

    /// What its expressions name, each once.
    #[must_use]
    pub fn references(&self) -> BTreeSet<Reference> {
        let mut references = BTreeSet::new();
        for part in &self.parts {
            let Part::Expression { source, compiled } = part else { continue };
            references.extend(tokens::subscripts(source));
            for name in compiled.undeclared_variables(true) {
                let mut members = name.split('.').map(str::to_owned);
                let name = members.next().unwrap_or_default();
                if !FUNCTIONS.contains(&name.as_str()) {
                    references.insert(Reference { name, members: members.collect() });
                }
            }
        }
        references
    }

    /// The value: of its kind where the text is one expression, else a text.
    pub(super) fn value(&self, names: &minijinja::Value, room: &mut Room) -> Result<Value, TemplateError> {
        match self.parts.as_slice() {
            [Part::Expression { compiled, .. }] => {
                let value = compiled.eval(names.clone()).map_err(|error| self.error(in_words(&error)))?;
                output::json(&value, room).map_err(|message| self.error(message))
            }
            _ => self.text(names, room).map(Value::String),
        }
    }

    /// The text, whatever its expressions become.
    pub(super) fn text(&self, names: &minijinja::Value, room: &mut Room) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Plain(plain) => {
                    room.take(plain.len()).map_err(|message| self.error(message))?;
                    text.push_str(plain);
                }
                Part::Secret(name) => {
                    text.push_str(SECRET_OPEN);
                    text.push_str(name);
                    text.push_str("}}");
                }
                Part::Expression { compiled, .. } => {
                    let value = compiled.eval(names.clone()).map_err(|error| self.error(in_words(&error)))?;
                    output::push_text(&mut text, &value, room).map_err(|message| self.error(message))?;
                }
            }
        }
        Ok(text)
    }

    /// As [`Self::value`], for what is looked through for secrets when it is sent.
    pub(super) fn sent_value(&self, names: &minijinja::Value, room: &mut Room) -> Result<Value, TemplateError> {
        let value = self.value(names, room)?;
        self.check_secrets(secrets_in(&value))?;
        Ok(value)
    }

    /// As [`Self::text`], for what is looked through for secrets when it is sent.
    pub(super) fn sent_text(&self, names: &minijinja::Value, room: &mut Room) -> Result<String, TemplateError> {
        let text = self.text(names, room)?;
        self.check_secrets(text.matches(SECRET_OPEN).count())?;
        Ok(text)
    }

    /// Data that spells a secret's name must not get its value: whoever starts a run would choose what is sent.
    fn check_secrets(&self, found: usize) -> Result<(), TemplateError> {
        if found == self.secrets().count() {
            return Ok(());
        }
        Err(self.error(format!("a value has `{SECRET_OPEN}` in it, which only the definition itself may have")))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::new(&self.path, message)
    }
}

fn secrets_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.matches(SECRET_OPEN).count(),
        Value::Array(items) => items.iter().map(secrets_in).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.matches(SECRET_OPEN).count() + secrets_in(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// A mistake, and the rest of the text from where it is.
type Mistake<'t> = (&'t str, String);

impl Part {
    /// The part that a text begins with, and what follows it.
    fn parse(opened: &str) -> Result<(Self, &str), Mistake<'_>> {
        let Some(inner) = opened.strip_prefix("{{") else {
            let open: String = opened.chars().take(2).collect();
            let message = format!(
                "`{open}` is not known here, only {{{{ expressions }}}} are; as a text write {{{{ '{open}' }}}}"
            );
            return Err((opened, message));
        };
        if let Some(named) = inner.strip_prefix(SECRET) {
            let named = named.split_once("}}").filter(|(name, _)| is_secret_name(name));
            return match named {
                Some((name, after)) => Ok((Self::Secret(name.to_owned()), after)),
                None => Err((opened, "a secret is {{secret:NAME}}, of letters, digits, `-` and `_`".to_owned())),
            };
        }
        if inner.starts_with(['-', '+']) {
            return Err((opened, "`{{-` is not known here; write a space after `{{`".to_owned()));
        }
        let (source, after) = tokens::expression(inner).ok_or_else(|| (opened, "the `}}` is missing".to_owned()))?;
        Self::compile(source).map(|part| (part, after))
    }

    fn compile(source: &str) -> Result<Self, Mistake<'_>> {
        if source.trim().is_empty() {
            return Err((source, "the expression is empty".to_owned()));
        }
        if source.trim_start().starts_with(SECRET) {
            return Err((source, "a secret is {{secret:NAME}}, without spaces".to_owned()));
        }
        if let Some((at, name)) = tokens::filters(source).find(|(_, name)| !FILTERS.contains(name)) {
            return Err((at, format!("there is no filter `{name}`; there are {}", FILTERS.join(", "))));
        }
        let compiled = ENVIRONMENT.compile_expression_owned(source.to_owned());
        let compiled = compiled.map_err(|error| (source, in_words(&error)))?;
        Ok(Self::Expression { source: source.to_owned(), compiled: Box::new(compiled) })
    }
}

/// The text before the first `{{`, `{%` or `{#`, and from there on.
fn split_at_open(text: &str) -> Option<(&str, &str)> {
    let open = text.match_indices('{').find(|(at, _)| {
        let next = text.as_bytes().get(at + 1);
        matches!(next, Some(b'{' | b'%' | b'#'))
    });
    open.and_then(|(at, _)| text.split_at_checked(at))
}

/// Where the tail of a text begins, in characters from 1.
fn position(text: &str, tail: &str) -> usize {
    let before = (tail.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.get(..before).map_or(1, |before| before.chars().count() + 1)
}

/// minijinja's error without the name and the line of a template, which an expression has none of.
pub(super) fn in_words(error: &minijinja::Error) -> String {
    use minijinja::ErrorKind;
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            "takes too many steps to evaluate: make it simpler, or the data smaller".to_owned()
        }
        (ErrorKind::UndefinedError, None) => "names what isn't there; where that may be, use `| default(…)`".to_owned(),
        (ErrorKind::UndefinedError, Some(detail)) => {
            format!("names what isn't there ({detail}); where that may be, use `| default(…)`")
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}
