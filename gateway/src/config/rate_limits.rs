//! `[rate_limits]`: how many requests a key and an address may make.

use std::num::NonZeroU32;

use super::print::Printer;
use super::reader::{Section, Value};

/// `[rate_limits]`; no limit unless given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Of each key.
    pub key: Option<RateLimit>,
    /// Of each address; of IPv6 of each /64.
    pub address: Option<RateLimit>,
}

/// So many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// At once, when none were made for a window.
    pub requests: NonZeroU32,
    /// In which they come back, evenly.
    pub window_s: NonZeroU32,
}

/// More is no limit.
const REQUESTS_MAX: u64 = 1_000_000;
/// More than a day is a mistake in the unit.
const WINDOW_S_MAX: u64 = 24 * 60 * 60;

impl RateLimits {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            key: section.take("key", None, |value| limit(value).map(Some)),
            address: section.take("address", None, |value| limit(value).map(Some)),
        }
    }

    pub(super) fn print(self, printer: &mut Printer) {
        printer.section("rate_limits");
        for (name, limit) in [("key", self.key), ("address", self.address)] {
            match limit {
                Some(RateLimit { requests, window_s }) => {
                    printer.number(name, format_args!("{{requests = {requests}, window_s = {window_s}}}"));
                }
                None => printer.unset(name),
            }
        }
    }
}

fn limit(value: &Value) -> Result<RateLimit, String> {
    const FORM: &str = "expected {requests = 100, window_s = 60}";
    let members = value.table().ok_or(FORM)?;
    if let Some((unknown, _)) = members.iter().find(|(name, _)| name != "requests" && name != "window_s") {
        return Err(format!("{FORM}, found `{}`", unknown.escape_debug()));
    }
    let member = |name: &str, max| {
        let (_, value) = members.iter().find(|(other, _)| other == name).ok_or(FORM)?;
        let number = value.integer(&(1..=max)).map_err(|message| format!("{name}: {message}"))?;
        u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or_else(|| FORM.to_owned())
    };
    Ok(RateLimit { requests: member("requests", REQUESTS_MAX)?, window_s: member("window_s", WINDOW_S_MAX)? })
}
