//! Numbered steps with their times.
//!
//! Owns what is printed around a step, and the table at the end. Does not own what a step does.
//! Invariant: a step that failed is in the table, and [`Steps::finish`] is then an error.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How much of the commands' output is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// That of commands that fail.
    Failures,
    /// All of it, as it comes.
    Everything,
}

enum Ending {
    Done,
    Failed,
    Skipped,
}

struct Row {
    name: String,
    ending: Ending,
    took: Duration,
    note: String,
}

/// Runs steps one after another and remembers how they went.
pub struct Steps {
    detail: Detail,
    paint: Paint,
    started: Instant,
    rows: Vec<Row>,
}

impl Steps {
    pub fn new(detail: Detail) -> Self {
        Self { detail, paint: Paint::detect(), started: Instant::now(), rows: Vec::new() }
    }

    /// Colours, where the output is a terminal.
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// Runs a step that the following ones need: its failure is the caller's.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce(&mut Step) -> Result<T>) -> Result<T> {
        println!("{} {}", self.paint.bold(&format!("[{}]", self.rows.len() + 1)), self.paint.bold(name));
        let started = Instant::now();
        let mut step = Step { detail: self.detail, note: String::new() };
        let result = work(&mut step);
        let took = started.elapsed();
        let ending = if result.is_ok() { Ending::Done } else { Ending::Failed };
        let verdict = self.word(&ending);
        let note = if step.note.is_empty() { String::new() } else { format!(", {}", step.note) };
        println!("    {verdict} in {}{note}", seconds(took));
        self.rows.push(Row { name: name.to_owned(), ending, took, note: step.note });
        result.with_context(|| name.to_owned())
    }

    /// Runs a step that others don't need: they go on when it fails, and [`Self::finish`] tells.
    pub fn attempt(&mut self, name: &str, work: impl FnOnce(&mut Step) -> Result<()>) {
        if let Err(error) = self.step(name, work) {
            eprintln!("    {error:#}");
        }
    }

    /// Puts a step that can't run here into the table, with the reason.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("{} {}\n    skipped: {reason}", self.paint.bold(&format!("[{}]", self.rows.len() + 1)), name);
        let row = Row { name: name.to_owned(), ending: Ending::Skipped, took: Duration::ZERO, note: reason.to_owned() };
        self.rows.push(row);
    }

    /// Prints the table; an error when a step failed.
    pub fn finish(&self) -> Result<()> {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        println!();
        for row in &self.rows {
            println!("{}  {:width$}  {:>9}  {}", self.word(&row.ending), row.name, seconds(row.took), row.note);
        }
        println!("{:width$}          {:>9}", "all", seconds(self.started.elapsed()));
        let failed: Vec<_> =
            self.rows.iter().filter(|row| matches!(row.ending, Ending::Failed)).map(|row| row.name.as_str()).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }

    fn word(&self, ending: &Ending) -> String {
        match ending {
            Ending::Done => self.paint.green("ok     "),
            Ending::Failed => self.paint.red("FAILED "),
            Ending::Skipped => "skipped".to_owned(),
        }
    }
}

/// What a running step may do with commands.
pub struct Step {
    detail: Detail,
    note: String,
}

impl Step {
    /// A few words for the line that ends the step, and for the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    /// Runs a command; its output is shown when it fails.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        match self.detail {
            Detail::Everything => self.show(command),
            Detail::Failures => self.output(command).map(drop),
        }
    }

    /// Runs a command with its output passed through.
    #[expect(clippy::unused_self, reason = "a command is run by a step, whichever way")]
    pub fn show(&self, command: &mut Command) -> Result<()> {
        let status = command.status().with_context(|| format!("can't start {}", line_of(command)))?;
        if !status.success() {
            bail!("{} ended with {status}", line_of(command));
        }
        Ok(())
    }

    /// Runs a command and gives its standard output; both outputs are shown when it fails.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        command.stdin(Stdio::null());
        if self.detail == Detail::Everything {
            command.stderr(Stdio::inherit());
            return read(command, Command::output);
        }
        read(command, |command| ticking(|| command.output()))
    }

    /// Runs a command with its progress (standard error) passed through, and gives its standard output.
    #[expect(clippy::unused_self, reason = "a command is run by a step, whichever way")]
    pub fn output_with_progress(&self, command: &mut Command) -> Result<String> {
        command.stderr(Stdio::inherit());
        read(command, Command::output)
    }
}

fn read(command: &mut Command, run: impl FnOnce(&mut Command) -> std::io::Result<Output>) -> Result<String> {
    let output = run(command).with_context(|| format!("can't start {}", line_of(command)))?;
    if !output.status.success() {
        eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{} ended with {}", line_of(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {} is not text", line_of(command)))
}

/// Shows that a command that prints nothing is still at work.
fn ticking<T>(work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || tick(&ended));
        let value = work();
        drop(done);
        value
    })
}

fn tick(ended: &Receiver<()>) {
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let interval = Duration::from_secs(if terminal { 1 } else { 60 });
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if terminal {
            eprint!("\r    {}", seconds(started.elapsed()));
        } else {
            eprintln!("    still at it after {}", seconds(started.elapsed()));
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
        // A terminal that is gone is no reason to fail.
        let _ = std::io::stderr().flush();
    }
}

fn line_of(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    command.get_args().fold(name, |line, argument| line + " " + &argument.to_string_lossy())
}

fn seconds(duration: Duration) -> String {
    if duration >= Duration::from_mins(1) {
        return format!("{} m {:02} s", duration.as_secs() / 60, duration.as_secs() % 60);
    }
    format!("{:.1} s", duration.as_secs_f64())
}

/// Puts colour around text, or doesn't.
#[derive(Clone, Copy)]
pub struct Paint {
    coloured: bool,
}

impl Paint {
    fn detect() -> Self {
        Self { coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_lets_the_next_step_run_and_fails_the_whole() {
        let mut steps = Steps::new(Detail::Failures);
        steps.attempt("first", |step| step.run(&mut Command::new("false")));
        let mut ran = false;
        steps.attempt("second", |_| {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn a_skipped_step_fails_nothing() {
        let mut steps = Steps::new(Detail::Failures);
        steps.skip("advisories", "no network");
        steps.attempt("second", |step| step.run(&mut Command::new("true")));
        steps.finish().unwrap();
    }

    #[test]
    fn output_is_given_and_a_missing_program_is_named() {
        let step = Step { detail: Detail::Failures, note: String::new() };
        assert_eq!(step.output(Command::new("echo").arg("hello")).unwrap(), "hello\n");
        let error = step.output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
