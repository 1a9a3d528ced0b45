//! `hook` and `notify`: who may start a run, and who is told of its end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::object::{Mistakes, Object, TEXT_BYTES_MAX, list, text, wrong_type};
use super::texts::Texts;
use crate::config::is_secret_name;
use crate::egress::Target;
use crate::error::FieldError;
use crate::model::job::{Hook, Notify, RunStatus};

/// Rotation needs two secrets, several senders some more. Each is tried on each delivery.
const SECRETS_MAX: usize = 10;

/// Each end of a run becomes so many deliveries, with a log of their own.
const NOTIFY_MAX: usize = 10;

/// Standard Webhooks: `whsec_` and base64 of so many bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The ends that can be told, and those that are unless the definition says otherwise.
const ENDS: [RunStatus; 3] = [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled];
const ENDS_DEFAULT: [RunStatus; 2] = [RunStatus::Completed, RunStatus::Failed];

pub(super) fn hook(job: &Object<'_>, texts: &Texts<'_>, mistakes: &mut Mistakes) -> Option<Hook> {
    let object = job.object("hook", mistakes)?;
    object.only(&["secrets"], mistakes);
    object.required("secrets", mistakes)?;
    let items = object.list("secrets", mistakes)?;
    let path = object.at("secrets");
    match items.len() {
        0 => mistakes.push(FieldError::new(
            &path,
            "empty",
            "a hook without a secret could be called by anybody: add one",
        )),
        1..=SECRETS_MAX => {}
        _ => mistakes.push(FieldError::new(&path, "too-many", format!("there are at most {SECRETS_MAX} secrets"))),
    }
    let secret = |(index, item): (usize, &Value)| secret(&format!("{path}/{index}"), item, texts, mistakes);
    Some(Hook { secrets: items.iter().take(SECRETS_MAX).enumerate().filter_map(secret).collect() })
}

pub(super) fn notify(job: &Object<'_>, texts: &Texts<'_>, mistakes: &mut Mistakes) -> Vec<Notify> {
    let items = job.list("notify", mistakes).unwrap_or_default();
    let path = job.at("notify");
    if items.len() > NOTIFY_MAX {
        mistakes.push(FieldError::new(&path, "too-many", format!("there are at most {NOTIFY_MAX}")));
    }
    let one = |(index, item): (usize, &Value)| {
        let object = Object::of(format!("{path}/{index}"), item, mistakes)?;
        object.only(&["url", "secret", "on"], mistakes);
        let url = object.required_text("url", mistakes);
        if let Some(url) = url {
            literal_url(&object.at("url"), url, mistakes);
        }
        let secret =
            object.required("secret", mistakes).and_then(|value| secret(&object.at("secret"), value, texts, mistakes));
        let on = ends(&object, mistakes);
        Some(Notify { url: url?.to_owned(), secret: secret?, on })
    };
    items.iter().take(NOTIFY_MAX).enumerate().filter_map(one).collect()
}

/// A URL without templates.
pub(super) fn literal_url(path: &str, url: &str, mistakes: &mut Mistakes) {
    let message = match Target::parse(url) {
        _ if url.contains("{{") => "there are no templates here: write the whole URL".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    mistakes.push(FieldError::new(path, "bad-url", message));
}

fn ends(object: &Object<'_>, mistakes: &mut Mistakes) -> Vec<RunStatus> {
    if object.get("on").is_none() {
        return ENDS_DEFAULT.to_vec();
    }
    let path = object.at("on");
    let Some(items) = object.get("on").and_then(|value| list(&path, value, mistakes)) else { return Vec::new() };
    if items.is_empty() {
        mistakes.push(FieldError::new(
            &path,
            "empty",
            "nobody would be told of anything: name an end, or leave it out",
        ));
    }
    let mut on = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}/{index}");
        let Some(word) = text(&path, item, TEXT_BYTES_MAX, mistakes) else { continue };
        match ENDS.into_iter().find(|end| end.as_str() == word) {
            Some(end) if on.contains(&end) => mistakes.push(FieldError::new(path, "duplicate", "is there twice")),
            Some(end) => on.push(end),
            None => {
                let message = "an end is `completed`, `failed` or `canceled`";
                mistakes.push(FieldError::new(path, "unknown-status", message));
            }
        }
    }
    on
}

/// A secret of Standard Webhooks, or the name of one.
fn secret(path: &str, value: &Value, texts: &Texts<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let Some(secret) = value.as_str() else {
        wrong_type(mistakes, path, "a text");
        return None;
    };
    let named = secret.strip_prefix("{{secret:").and_then(|rest| rest.strip_suffix("}}"));
    if let Some(name) = named.filter(|name| is_secret_name(name)) {
        texts.secret(path, name, mistakes);
        return Some(secret.to_owned());
    }
    let bytes = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    if bytes.is_some_and(|bytes| SECRET_BYTES.contains(&bytes.len())) {
        return Some(secret.to_owned());
    }
    // The text itself is not repeated: it may be a secret with a slip in it.
    let message = "a secret is {{secret:NAME}}, or `whsec_` and the base64 of 24 to 64 bytes";
    mistakes.push(FieldError::new(path, "bad-secret", message));
    None
}
