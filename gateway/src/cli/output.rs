//! What a command prints: answers on standard output, notes on standard error.
//!
//! Owns the choice between tables, plain text and JSON. Does not own what is
//! said. Invariant: text of guests and servers reaches a terminal without control
//! characters; only this file's own colours are escape sequences.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};

use super::pretty;
use crate::model::NOTE_PREFIX;

/// Below, cells would be folded letter by letter.
const TABLE_WIDTH_MIN: u16 = 60;

/// Why an answer was not printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Whoever read standard output has left: `| head`.
    #[error("standard output was closed")]
    Closed,
    /// A full disk, for one.
    #[error("writing to standard output failed")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error) }
    }
}

/// A colour, on terminals that want colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// As the terminal has it.
    Plain,
    /// Of little weight.
    Dim,
    /// Good.
    Green,
    /// Perhaps bad.
    Yellow,
    /// Bad.
    Red,
}

impl Paint {
    const fn escape(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[1;31m",
        }
    }
}

/// Where the output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    form: Form,
    stdout_terminal: bool,
    colour: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    People,
    Json,
}

#[derive(Debug, Clone, Copy)]
struct Colour {
    stdout: bool,
    stderr: bool,
}

impl Out {
    /// Looks at the process's streams and at `NO_COLOR`.
    pub(super) fn detect(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stdout_terminal = io::stdout().is_terminal();
        Self {
            form: if json { Form::Json } else { Form::People },
            stdout_terminal,
            colour: Colour { stdout: wanted && stdout_terminal, stderr: wanted && io::stderr().is_terminal() },
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { form: Form::People, stdout_terminal: false, colour: Colour { stdout: false, stderr: false } }
    }

    /// Whether `--json` was given.
    pub(super) fn is_json(self) -> bool {
        self.form == Form::Json
    }

    /// Prints one line of text.
    pub(super) fn line(self, text: &str) -> Result<(), Error> {
        self.painted(Paint::Plain, "", text)
    }

    /// Prints a text of our own as it is: a script, a page.
    #[expect(clippy::unused_self, reason = "who prints has one, whichever form it takes")]
    pub(super) fn text(self, text: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// Prints a coloured word and the rest of its line.
    pub(super) fn painted(self, paint: Paint, word: &str, rest: &str) -> Result<(), Error> {
        write_line(&paint_word(paint, word, self.colour.stdout), rest)
    }

    /// Prints a JSON document: indented on a terminal, else as it is.
    pub(super) fn json(self, body: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        if self.stdout_terminal
            && let Some(text) = pretty::json(body)
        {
            stdout.write_all(text.as_bytes())?;
        } else {
            stdout.write_all(body)?;
        }
        if !body.ends_with(b"\n") {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Prints a body if `--json` was given and there is one; tells whether `--json` was given.
    pub(super) fn when_json(self, body: &[u8]) -> Result<bool, Error> {
        if self.is_json() && !body.is_empty() {
            self.json(body)?;
        }
        Ok(self.is_json())
    }

    /// Prints rows: a table on a terminal, else a line a row with tabs between
    /// the cells and no heading, for `cut` and `awk`.
    pub(super) fn table(self, heading: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
        if !self.stdout_terminal {
            for row in rows {
                let cells: Vec<_> = row.iter().map(|cell| printable(cell).replace(['\n', '\t'], " ")).collect();
                write_line(&cells.join("\t"), "")?;
            }
            return Ok(());
        }
        let mut table = Table::new();
        // Without the lines between rows: thirty modules fit on a screen.
        table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        // A terminal that is very narrow, or doesn't tell, does better with its own wrapping.
        if table.width().is_some_and(|width| width >= TABLE_WIDTH_MIN) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header(heading.iter().copied());
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        write_line(&table.trim_fmt(), "")
    }

    /// Prints names and values, aligned on a terminal, with a tab between them elsewhere.
    pub(super) fn pairs(self, pairs: &[(&str, String)]) -> Result<(), Error> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
        for (name, value) in pairs {
            let name = if self.stdout_terminal { format!("{name:width$}") } else { format!("{name}\t") };
            self.painted(Paint::Dim, &name, value)?;
        }
        Ok(())
    }

    /// Says something that is not the answer.
    pub(super) fn note(self, text: &str) {
        self.say(Paint::Plain, "", text);
    }

    /// Says what may be wrong.
    pub(super) fn warn(self, text: &str) {
        self.say(Paint::Yellow, "warning: ", text);
    }

    /// Says what may be wrong with a module, but what is so with every other too.
    pub(super) fn warnings(self, warnings: &[String]) {
        for warning in unusual(warnings) {
            self.warn(warning);
        }
    }

    /// Says what went wrong, with lines of detail and advice beneath.
    pub(super) fn error(self, headline: &str, lines: &[String]) {
        self.say(Paint::Red, "error: ", headline);
        for line in lines {
            self.say(Paint::Plain, "  ", line);
        }
    }

    fn say(self, paint: Paint, word: &str, rest: &str) {
        let word = paint_word(paint, word, self.colour.stderr);
        // Where standard error is closed nobody wants to know.
        let _ = writeln!(io::stderr().lock(), "{word}{}", printable(rest));
    }
}

fn unusual(warnings: &[String]) -> impl Iterator<Item = &String> {
    warnings.iter().filter(|warning| !warning.starts_with(NOTE_PREFIX))
}

fn write_line(head: &str, rest: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    Ok(writeln!(stdout, "{head}{}", printable(rest))?)
}

fn paint_word(paint: Paint, word: &str, colour: bool) -> String {
    let word = printable(word);
    if colour && paint != Paint::Plain { format!("{}{word}\x1b[0m", paint.escape()) } else { word }
}

/// Whether a character changes how a terminal shows others: control characters,
/// and those that reverse the direction of text.
pub(super) fn is_hostile(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with everything a terminal would act on written out, but new lines and tabs.
pub(super) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hostile(character) && character != '\n' && character != '\t' {
            // Writing to a string never fails.
            let _ = write!(clean, "{}", character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("\x1b[2Jgone\r\u{9b}31m\u{202e}x\n\ty"), "\\u{1b}[2Jgone\\u{d}\\u{9b}31m\\u{202e}x\n\ty");
    }

    #[test]
    fn what_every_compilers_output_has_is_not_warned_of() {
        let warnings = [format!("{NOTE_PREFIX}its memory has no maximum"), "it imports".to_owned()];
        assert_eq!(unusual(&warnings).collect::<Vec<_>>(), ["it imports"]);
    }

    #[test]
    fn only_a_terminal_is_painted() {
        assert_eq!(paint_word(Paint::Red, "error: ", true), "\x1b[1;31merror: \x1b[0m");
        assert_eq!(paint_word(Paint::Red, "error: ", false), "error: ");
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        assert!(matches!(Error::from(io::Error::from(io::ErrorKind::BrokenPipe)), Error::Closed));
        assert!(matches!(Error::from(io::Error::from(io::ErrorKind::StorageFull)), Error::Failed(_)));
    }
}
