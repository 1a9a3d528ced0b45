//! What the kinds of steps have of their own.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::KnownModule;
use super::delivery::literal_url;
use super::object::{Mistakes, Object, TEXT_BYTES_MAX, closest, list, text, wrong_type};
use super::texts::{Secrets, Texts, no_secret};
use crate::egress::method;
use crate::error::{Code, FieldError, NAME_CHARACTERS_MAX, shortened};
use crate::jobs::template::{Template, duration_ms, time};
use crate::model::job::{DatabaseMode, DatabaseStep, HttpStep, StepId, WaitStep, WasmStep};
use crate::model::{Limits, ModuleRef, whole_number};

/// A step's function unless it says another.
const FUNCTION_DEFAULT: &str = "run";

/// Statuses that are a success: there are no more that mean something.
const STATUSES_MAX: usize = 100;

pub(super) fn wasm(
    step: usize,
    object: &Object<'_>,
    routes: Option<Vec<StepId>>,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> Option<WasmStep> {
    let function = match object.get("function") {
        Some(_) => object.text("function", mistakes),
        None => Some(FUNCTION_DEFAULT),
    };
    let module = module(object, function, texts, mistakes);
    let input = object.get("input");
    if let Some(input) = input {
        texts.templates((step, &object.at("input")), input, Secrets::Refused, mistakes);
    }
    let env = env(object, mistakes);
    for (name, value) in &env {
        let path = crate::error::pointer(&object.at("env"), name);
        texts.template((step, &path), value, Secrets::Refused, mistakes);
    }
    let limits = limits(object, texts, mistakes);
    Some(WasmStep { module: module?, function: function?.to_owned(), input: input.cloned(), env, limits, routes })
}

fn module(
    object: &Object<'_>,
    function: Option<&str>,
    texts: &Texts<'_>,
    mistakes: &mut Mistakes,
) -> Option<ModuleRef> {
    let written = object.required_text("module", mistakes)?;
    let module: ModuleRef = match written.parse() {
        Ok(module) => module,
        Err(error) => {
            let error: crate::model::ParseRefError = error;
            mistakes.push(FieldError::new(object.at("module"), "bad-name", error.to_string()));
            return None;
        }
    };
    let Some(known) = texts.known else { return Some(module) };
    match (known.module(&module), function) {
        (KnownModule::NotFound, _) => {
            let written = shortened(written, NAME_CHARACTERS_MAX);
            let message = format!("there is no module `{written}`: upload it first, or name one that is here");
            mistakes.push(FieldError::new(object.at("module"), "unknown-module", message));
        }
        (KnownModule::Found { functions }, Some(function)) if !functions.iter().any(|known| known == function) => {
            let known: Vec<_> = functions.iter().map(String::as_str).collect();
            let message = match (closest(function, &known), known.as_slice()) {
                (Some(known), _) => format!("the module has no such step function; did you mean `{known}`?"),
                (None, []) => "the module has no step function at all".to_owned(),
                (None, known) => format!("the module has no such step function; there are {}", known.join(", ")),
            };
            mistakes.push(FieldError::new(object.at("function"), Code::NoSuchFunction.as_str(), message));
        }
        (KnownModule::Found { .. }, _) => {}
    }
    Some(module)
}

/// The texts of `env`, which are templates in a step and plain in a job.
pub(super) fn env(parent: &Object<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    let Some(object) = parent.object("env", mistakes) else { return BTreeMap::new() };
    let mut env = BTreeMap::new();
    for (name, value) in object.members {
        let path = object.at(name);
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = "a name of an environment has at least one character, and no `=`";
            mistakes.push(FieldError::new(&path, "bad-name", message));
        }
        if let Some(value) = text(&path, value, TEXT_BYTES_MAX, mistakes) {
            env.insert(name.clone(), value.to_owned());
        }
    }
    env
}

fn limits(object: &Object<'_>, texts: &Texts<'_>, mistakes: &mut Mistakes) -> Limits {
    let Some(object) = object.object("limits", mistakes) else { return Limits::default() };
    object.only(&["fuel", "memory_bytes", "timeout_ms"], mistakes);
    let mut one = |name: &str| {
        let value = object.get(name).filter(|value| !value.is_null())?;
        let Some(number) = whole_number(value) else {
            wrong_type(mistakes, object.at(name), "a whole number");
            return None;
        };
        let limits = match name {
            "fuel" => Limits { fuel: Some(number), ..Limits::default() },
            "memory_bytes" => Limits { memory_bytes: Some(number), ..Limits::default() },
            _ => Limits { timeout_ms: Some(number), ..Limits::default() },
        };
        let ceilings = texts.known.map(super::Known::ceilings);
        let above = ceilings.and_then(|ceilings| ceilings.lowered_by(&limits).err());
        match above {
            _ if number == 0 => {
                mistakes.push(FieldError::new(object.at(name), "out-of-range", format!("{name} is at least 1")));
            }
            Some(above) if above.ceiling == 0 => {
                let message = format!("{name} can't be set: the operator turned its metering off");
                mistakes.push(FieldError::new(object.at(name), "above-ceiling", message));
            }
            Some(above) => mistakes.push(FieldError::new(object.at(name), "above-ceiling", above.to_string())),
            None => {}
        }
        Some(number)
    };
    Limits { fuel: one("fuel"), memory_bytes: one("memory_bytes"), timeout_ms: one("timeout_ms") }
}

pub(super) fn http(
    step: usize,
    object: &Object<'_>,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> Option<HttpStep> {
    let written = object.required_text("method", mistakes).map(str::to_ascii_uppercase);
    if let Some(Err(error)) = written.as_deref().map(method) {
        mistakes.push(FieldError::new(object.at("method"), "bad-method", error.to_string()));
    }
    let url = object.required_text("url", mistakes);
    if let Some(url) = url {
        let path = object.at("url");
        let template = texts.template((step, &path), url, Secrets::Refused, mistakes);
        check_url(&path, url, template.as_ref(), mistakes);
    }
    let headers = headers(step, object, texts, mistakes);
    let body = object.get("body");
    if let Some(body) = body {
        texts.templates((step, &object.at("body")), body, Secrets::Allowed, mistakes);
    }
    let success = success(object, mistakes);
    Some(HttpStep { method: written?, url: url?.to_owned(), headers, body: body.cloned(), success })
}

fn check_url(path: &str, url: &str, template: Option<&Template>, mistakes: &mut Mistakes) {
    let Some(template) = template else { return };
    if template.is_plain() {
        return literal_url(path, url, mistakes);
    }
    let scheme = template.start().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if scheme.is_some_and(|scheme| !["http", "https"].contains(&scheme.as_str())) {
        mistakes.push(FieldError::new(path, "bad-url", "the URL's scheme is not http or https"));
    }
}

fn headers(
    step: usize,
    object: &Object<'_>,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, String> {
    let Some(object) = object.object("headers", mistakes) else { return BTreeMap::new() };
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in object.members {
        let path = object.at(name);
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            let message = "a header's name has letters, digits and hyphens";
            mistakes.push(FieldError::new(&path, "bad-header", message));
        } else if headers.keys().any(|before| before.eq_ignore_ascii_case(name)) {
            let message = "is there twice: upper and lower case are the same here";
            mistakes.push(FieldError::new(&path, "duplicate", message));
        }
        let Some(value) = text(&path, value, TEXT_BYTES_MAX, mistakes) else { continue };
        let template = texts.template((step, &path), value, Secrets::Allowed, mistakes);
        let is_plain = template.is_some_and(|template| template.is_plain());
        if is_plain && HeaderValue::from_str(value).is_err() {
            mistakes.push(FieldError::new(
                &path,
                "bad-header",
                "a header's value has no line ends or control characters",
            ));
        }
        headers.insert(name.clone(), value.to_owned());
    }
    headers
}

fn success(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<Vec<u16>> {
    let items = object.list("success", mistakes)?;
    let path = object.at("success");
    match items.len() {
        0 => {
            let message = "no status would be a success: name some, or leave it out for 200 to 299";
            mistakes.push(FieldError::new(&path, "empty", message));
        }
        1..=STATUSES_MAX => {}
        _ => mistakes.push(FieldError::new(&path, "too-many", format!("there are at most {STATUSES_MAX}"))),
    }
    let mut statuses = Vec::new();
    for (index, item) in items.iter().take(STATUSES_MAX).enumerate() {
        let path = format!("{path}/{index}");
        match whole_number(item).map(u16::try_from) {
            None => wrong_type(mistakes, path, "a whole number"),
            Some(Ok(status @ 100..=599)) if statuses.contains(&status) => {
                mistakes.push(FieldError::new(path, "duplicate", format!("{status} is there twice")));
            }
            Some(Ok(status @ 100..=599)) => statuses.push(status),
            Some(_) => mistakes.push(FieldError::new(path, "out-of-range", "a status is 100 to 599")),
        }
    }
    Some(statuses)
}

pub(super) fn database(
    step: usize,
    object: &Object<'_>,
    texts: &mut Texts<'_>,
    mistakes: &mut Mistakes,
) -> Option<DatabaseStep> {
    let connection = object.required_text("connection", mistakes);
    if let Some(name) = connection
        && texts.known.is_some_and(|known| !known.has_database(name))
    {
        let name = shortened(name, NAME_CHARACTERS_MAX);
        let message = format!("there is no database `{name}` in the operator's [databases]");
        mistakes.push(FieldError::new(object.at("connection"), "unknown-database", message));
    }
    let mode = object.required_text("mode", mistakes).and_then(|mode| match mode {
        "query" => Some(DatabaseMode::Query),
        "execute" => Some(DatabaseMode::Execute),
        _ => {
            mistakes.push(FieldError::new(object.at("mode"), "unknown-mode", "is `query` or `execute`"));
            None
        }
    });
    let sql = object.required_text("sql", mistakes);
    if let Some(sql) = sql {
        no_secret(&object.at("sql"), sql, mistakes);
        if sql.trim().is_empty() {
            mistakes.push(FieldError::new(object.at("sql"), "empty", "a statement is wanted"));
        }
    }
    let params = match object.get("params") {
        Some(params) => list(&object.at("params"), params, mistakes)?,
        None => &[],
    };
    for (index, param) in params.iter().enumerate() {
        let path = format!("{}/{index}", object.at("params"));
        texts.templates((step, &path), param, Secrets::Refused, mistakes);
    }
    Some(DatabaseStep {
        connection: connection?.to_owned(),
        mode: mode?,
        sql: sql?.to_owned(),
        params: params.to_vec(),
    })
}

pub(super) fn wait(step: usize, object: &Object<'_>, texts: &mut Texts<'_>, mistakes: &mut Mistakes) -> WaitStep {
    let (duration, until) = (object.get("duration_ms"), object.get("until"));
    match (duration, until) {
        (None, None) => {
            let message = "a wait has either `duration_ms` or `until`, and this has none";
            mistakes.push(FieldError::new(&object.path, "required", message));
        }
        (Some(_), Some(_)) => {
            let message = "a wait has either `duration_ms` or `until`, and this has both";
            mistakes.push(FieldError::new(object.at("until"), "not-both", message));
        }
        _ => {}
    }
    if let Some(duration) = duration {
        check_duration(step, &object.at("duration_ms"), duration, texts, mistakes);
    }
    let until = object.text("until", mistakes);
    if let Some(until) = until {
        let path = object.at("until");
        let template = texts.template((step, &path), until, Secrets::Refused, mistakes);
        if template.is_some_and(|template| template.is_plain())
            && let Err(message) = time(until)
        {
            mistakes.push(FieldError::new(path, "bad-time", message));
        }
    }
    WaitStep { duration_ms: duration.cloned(), until: until.map(str::to_owned) }
}

fn check_duration(step: usize, path: &str, duration: &Value, texts: &mut Texts<'_>, mistakes: &mut Mistakes) {
    if !duration.is_number() && !duration.is_string() {
        return wrong_type(mistakes, path, "a whole number of milliseconds, or a template that becomes one");
    }
    if let Some(written) = duration.as_str() {
        let template = texts.template((step, path), written, Secrets::Refused, mistakes);
        if !template.is_some_and(|template| template.is_plain()) {
            return;
        }
    }
    if let Err(message) = duration_ms(duration) {
        mistakes.push(FieldError::new(path, "bad-duration", message));
    }
}
