//! Reports for machines: the XML of `JUnit`, as CI systems read it.
//!
//! Owns the form. Invariant: what XML can't hold is replaced, so that the file is always well-formed.

use std::fmt::Write as _;

use super::json::Json;
use super::run::Report;

/// One suite of cases, each with its name and its report; `Err` is a case that could not be run.
#[must_use]
pub fn junit(suite: &str, cases: &[(String, Result<Report, String>)]) -> String {
    let failures = cases.iter().filter(|(_, report)| report.as_ref().is_ok_and(|report| !report.has_passed())).count();
    let errors = cases.iter().filter(|(_, report)| report.is_err()).count();
    let seconds: f64 = cases
        .iter()
        .filter_map(|(_, report)| Some(report.as_ref().ok()?.elapsed.as_secs_f64()))
        .fold(0.0, |sum, one| sum + one);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let suite = escaped(suite);
    let count = cases.len();
    let attributes =
        format!("name=\"{suite}\" tests=\"{count}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.6}\"");
    let _ = writeln!(xml, "<testsuites {attributes}>\n  <testsuite {attributes}>");
    for (name, report) in cases {
        let name = escaped(name);
        let _ = match report {
            Ok(report) if report.has_passed() => {
                let time = report.elapsed.as_secs_f64();
                writeln!(xml, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time:.6}\"/>")
            }
            Ok(report) => {
                let time = report.elapsed.as_secs_f64();
                let text = escaped(&words(report));
                writeln!(
                    xml,
                    "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time:.6}\">\n      <failure message=\"not as expected\">{text}</failure>\n    </testcase>"
                )
            }
            Err(error) => {
                let error = escaped(error);
                writeln!(
                    xml,
                    "    <testcase classname=\"{suite}\" name=\"{name}\">\n      <error message=\"{error}\"/>\n    </testcase>"
                )
            }
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn words(report: &Report) -> String {
    let json = |value: &Option<Json>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let differences = report.differences.iter().map(|difference| {
        format!("{}: expected {}, found {}", difference.path, json(&difference.expected), json(&difference.found))
    });
    differences.chain(report.host_calls.iter().cloned()).collect::<Vec<_>>().join("\n")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_well_formed_whatever_is_in_it() {
        let cases = [("a <b> & \"c\"\u{1}".to_owned(), Err("no such function \u{0}".to_owned()))];
        let xml = junit("step", &cases);
        assert!(xml.contains("name=\"a &lt;b&gt; &amp; &quot;c&quot;\u{fffd}\""), "{xml}");
        assert!(xml.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{xml}");
        assert!(!xml.contains('\u{0}'));
    }
}
