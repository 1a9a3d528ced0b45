//! `[telemetry]`: what is told to whom.

use std::fmt;

use reqwest::Url;

use super::print::Printer;
use super::reader::Section;

/// `[telemetry]`.
#[derive(Clone, Default, PartialEq)]
pub struct Telemetry {
    /// The base URL of an OTLP/HTTP receiver, without `/v1/traces`; `None` sends nothing.
    /// May have a user and a password, so it is shown by `otlp_endpoint_shown` only.
    pub otlp_endpoint: Option<String>,
    /// The share of requests without a valid `traceparent` that is traced, 0 to 1.
    pub sample_ratio: f64,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl LogFormat {
    const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Telemetry {
    /// The OTLP endpoint with `***` in place of a user and password.
    #[must_use]
    pub fn otlp_endpoint_shown(&self) -> Option<String> {
        self.otlp_endpoint.as_deref().map(without_userinfo)
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            otlp_endpoint: section
                .text("otlp_endpoint", None, |text| check_endpoint(text).map(|()| Some(text.to_owned()))),
            sample_ratio: section.ratio("sample_ratio", 0.0),
            log_format: section.text("log_format", LogFormat::Auto, |text| {
                let known = LogFormat::ALL.into_iter().find(|format| format.as_str() == text);
                known.ok_or("expected `auto`, `text` or `json`")
            }),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("telemetry");
        match self.otlp_endpoint_shown() {
            Some(endpoint) => printer.string("otlp_endpoint", &endpoint),
            None => printer.unset("otlp_endpoint"),
        }
        printer.number("sample_ratio", format_args!("{:?}", self.sample_ratio));
        printer.string("log_format", self.log_format.as_str());
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("otlp_endpoint", &self.otlp_endpoint_shown())
            .field("sample_ratio", &self.sample_ratio)
            .field("log_format", &self.log_format)
            .finish()
    }
}

/// The messages never repeat the URL: it may have a password.
fn check_endpoint(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "expected a URL such as http://127.0.0.1:4318")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected a URL with http:// or https://");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has a query or a fragment, which the path to traces can't follow");
    }
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("expected the URL without /v1/traces, which is appended");
    }
    Ok(())
}

fn without_userinfo(text: &str) -> String {
    const HIDDEN: &str = "***";
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.to_owned() };
    if url.username().is_empty() && url.password().is_none() {
        return text.to_owned();
    }
    // Fails for a URL without a host, and `http` always has one.
    if url.set_username(HIDDEN).is_err() || url.set_password(None).is_err() {
        return HIDDEN.to_owned();
    }
    url.to_string()
}
