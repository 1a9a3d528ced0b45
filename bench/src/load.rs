//! Load: wrk, pinned to a core of its own, with one request again and again.
//!
//! Owns the way to call wrk and to read it. Does not own the server. Invariant: CPU
//! time is counted over the same requests as are reported.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process;
use crate::server::Server;

/// One request, and who makes it.
#[derive(Debug, Clone)]
pub struct Load {
    /// The path of the POST.
    pub path: String,
    /// Its `Authorization`; the limit gets it too, so that both read the same bytes.
    pub authorization: String,
    /// Its JSON.
    pub body: String,
    /// Keep-alive connections.
    pub connections: u32,
    /// Where wrk runs.
    pub core: usize,
}

/// What came of a load.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub duration_us: u64,
    /// Requests that failed.
    pub errors: Errors,
    /// Half of the answers were faster.
    pub p50_us: u64,
    /// One in a hundred was slower.
    pub p99_us: u64,
    /// CPU time of the server, all threads, user and system.
    pub cpu_us: u64,
}

/// Requests that failed, as wrk counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that could not be made.
    pub connect: u64,
    /// Connections that broke while an answer was awaited.
    pub read: u64,
    /// Connections that broke while a request was written.
    pub write: u64,
    /// Answers that were not 2xx or 3xx.
    pub status: u64,
    /// No answer within two seconds.
    pub timeout: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout
    }
}

impl Measured {
    /// Requests a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        real(self.requests) * 1e6 / real(self.duration_us.max(1))
    }

    /// CPU time of the server a request, in microseconds.
    #[must_use]
    pub fn cpu_us_per_request(&self) -> f64 {
        real(self.cpu_us) / real(self.requests.max(1))
    }
}

/// What wrk's script prints.
#[derive(Debug, PartialEq, Deserialize)]
struct Summary {
    requests: u64,
    duration_us: u64,
    p50_us: u64,
    p99_us: u64,
    errors: Errors,
}

impl Load {
    /// Makes load on `server` for so many seconds.
    ///
    /// # Errors
    /// When wrk can't be run, or no request was answered.
    pub fn run(&self, server: &Server, seconds: u64) -> Result<Measured> {
        let script = server.folder().join("load.lua");
        fs::write(&script, self.script())?;
        let mut wrk = Command::new("taskset");
        wrk.args(["--cpu-list", &self.core.to_string(), "wrk", "--threads", "1"]);
        wrk.args(["--connections", &self.connections.to_string(), "--duration", &format!("{seconds}s")]);
        wrk.arg("--script").arg(&script).arg(format!("{}{}", server.url(), self.path));

        let before = server.process().cpu_ticks()?;
        let output = wrk.output().context("can't run taskset (Debian package util-linux)")?;
        let ticks = server.process().cpu_ticks()?.saturating_sub(before);

        let printed = String::from_utf8_lossy(&output.stdout);
        let Some(summary) = summary(&printed) else {
            bail!("wrk told nothing: {printed}{}", String::from_utf8_lossy(&output.stderr));
        };
        let Summary { requests, duration_us, p50_us, p99_us, errors } = summary;
        if requests == 0 {
            bail!("no request was answered: {printed}");
        }
        Ok(Measured { requests, duration_us, errors, p50_us, p99_us, cpu_us: process::ticks_us(ticks) })
    }

    fn script(&self) -> String {
        format!(
            r#"wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = {authorization}
wrk.body = {body}

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
    '"errors":{{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"#,
            authorization = lua_string(&self.authorization),
            body = lua_string(&self.body),
        )
    }
}

/// A string of Lua. All bytes that mean something there are written as numbers.
fn lua_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=31 | 127.. => {
                use std::fmt::Write as _;
                let _ = write!(quoted, "\\{byte:03}");
            }
            _ => quoted.push(char::from(byte)),
        }
    }
    quoted.push('"');
    quoted
}

fn summary(printed: &str) -> Option<Summary> {
    printed.lines().find_map(|line| serde_json::from_str(line).ok())
}

/// A count for a division.
#[expect(clippy::cast_precision_loss, reason = "counts and microseconds of a run stay far below 2^52")]
#[must_use]
pub const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_among_what_wrk_prints_itself() {
        let printed = concat!(
            "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n",
            r#"{"requests":10,"duration_us":2000000,"p50_us":3,"p99_us":9,"#,
            r#""errors":{"connect":0,"read":1,"write":0,"status":2,"timeout":0}}"#,
            "\n"
        );
        let found = summary(printed).unwrap();
        assert_eq!((found.requests, found.errors.total()), (10, 3));
    }

    #[test]
    fn a_string_of_lua_ends_where_its_text_does() {
        assert_eq!(lua_string("{\"a\\b\n\"}"), r#""{\034a\092b\010\034}""#);
        assert_eq!(lua_string("ü"), r#""\195\188""#);
    }
}
