//! `sluice:step/log`, and what a guest writes to stdout and stderr.
//!
//! Owns an execution's log lines and their bounds. Invariant: logging never fails
//! a step; what doesn't fit is dropped and counted, before it is copied.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmList, WasmStr};

use super::fields::Fields;
use crate::clock::Clock;
use crate::model::{self, Denial, JsonObject, LogLine};
use crate::runtime::Usage;
use crate::runtime::state::State;

/// What a line or a field costs on top of its text, so that empty ones are not free.
const LINE_BYTES: u64 = 64;
const FIELD_BYTES: u64 = 16;

/// How much is kept of the end of stdout and of stderr each: enough for the
/// exception and the stack trace of a Python or JavaScript guest.
const TAIL_BYTES_MAX: usize = 8 * 1024;

/// How many of the last lines of stdout and of stderr each become log lines.
const TAIL_LINES_MAX: usize = 100;

/// How much is kept of the last errors that there was no room for: the text of a panic, where it was, and what the
/// standard library says after it.
const LAST_ERRORS_BYTES_MAX: u64 = 8 * 1024;

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by lifting what a guest passes")]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<Level> for model::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

/// Links `write` by hand: generated bindings copy every string before a bound can
/// be looked at.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance("sluice:step/log@0.1.0")?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, State>,
         (level, message, fields): (Level, WasmStr, WasmList<(WasmStr, WasmStr)>)| {
            let line = read_line(&mut store, &message, &fields)?;
            let state = store.data_mut();
            match line {
                Some((message, fields, cost)) => {
                    emit(state, level.into(), &message, &fields);
                    state.log.push(level.into(), message, fields, cost);
                }
                None if matches!(level, Level::Error) => {
                    let message = beginning(&store, &message)?;
                    store.data_mut().log.push_last_error(message);
                }
                None => state.log.dropped += 1,
            }
            Ok(())
        },
    )
}

/// The beginning of a message that there is no room for.
fn beginning(store: &StoreContextMut<'_, State>, message: &WasmStr) -> wasmtime::Result<String> {
    let text = message.to_str(store)?;
    let end = text.floor_char_boundary(usize::try_from(LAST_ERRORS_BYTES_MAX - LINE_BYTES).unwrap_or(usize::MAX));
    Ok(text.get(..end).unwrap_or_default().to_owned())
}

type Line = (String, JsonObject, u64);

/// The line, unless it is over what is left; an error is a guest that points
/// outside its memory or at what is not Unicode.
fn read_line(
    store: &mut StoreContextMut<'_, State>,
    message: &WasmStr,
    fields: &WasmList<(WasmStr, WasmStr)>,
) -> wasmtime::Result<Option<Line>> {
    let Some(room) = store.data().log.room() else { return Ok(None) };
    let text = message.to_str(&*store)?;
    let mut cost = LINE_BYTES + text.len() as u64 + FIELD_BYTES.saturating_mul(fields.len() as u64);
    if cost > room {
        return Ok(None);
    }
    let message = text.into_owned();
    let mut kept = Fields::with_capacity(fields.len());
    for index in 0..fields.len() {
        let Some(field) = fields.get(&mut *store, index) else { break };
        let (name, json) = field?;
        let (name, json) = (name.to_str(&*store)?, json.to_str(&*store)?);
        cost += (name.len() + json.len()) as u64;
        if cost > room {
            return Ok(None);
        }
        kept.add(&name, &json);
    }
    Ok(Some((message, kept.finish(), cost)))
}

/// Repeats a line in the gateway's own log, for whoever turned `sluice::guest` on.
fn emit(state: &State, level: model::Level, message: &str, fields: &JsonObject) {
    macro_rules! emit {
        ($level:ident) => {
            tracing::$level!(
                target: "sluice::guest",
                module = %state.call.module.name,
                version = %state.call.module.version,
                execution_id = %state.call.execution_id,
                fields = fields.as_str(),
                "{message}"
            )
        };
    }
    match level {
        model::Level::Debug => emit!(debug),
        model::Level::Info => emit!(info),
        model::Level::Warn => emit!(warn),
        model::Level::Error => emit!(error),
    }
}

/// The log of one execution.
#[derive(Debug)]
pub(in crate::runtime) struct Log {
    lines: Vec<LogLine>,
    lines_max: usize,
    bytes_left: u64,
    dropped: u64,
    last_errors: VecDeque<LogLine>,
    last_errors_bytes: u64,
    witness: Witness,
    clock: Clock,
}

impl Log {
    pub(in crate::runtime) fn new(lines_max: u32, bytes_max: u64, witness: Witness, clock: Clock) -> Self {
        Self {
            lines: Vec::new(),
            lines_max: lines_max as usize,
            bytes_left: bytes_max,
            dropped: 0,
            last_errors: VecDeque::new(),
            last_errors_bytes: 0,
            witness,
            clock,
        }
    }

    /// The streams that WASI writes to.
    pub(super) fn streams(&self) -> Witness {
        self.witness.clone()
    }

    /// Bytes that the next line may have; `None` when no line fits any more.
    fn room(&self) -> Option<u64> {
        (self.lines.len() < self.lines_max && self.bytes_left >= LINE_BYTES).then_some(self.bytes_left)
    }

    fn push(&mut self, level: model::Level, message: String, fields: JsonObject, cost: u64) {
        self.bytes_left = self.bytes_left.saturating_sub(cost);
        self.lines.push(LogLine { at: self.clock.now(), level, message, fields });
    }

    /// Keeps an error that is over the bounds until there are too many later ones, without its fields: what a
    /// step says last before it ends is why. `message` has no more than all of them may have.
    fn push_last_error(&mut self, message: String) {
        let cost = |line: &LogLine| LINE_BYTES + line.message.len() as u64;
        let line = LogLine { at: self.clock.now(), level: model::Level::Error, message, fields: JsonObject::default() };
        self.last_errors_bytes += cost(&line);
        self.last_errors.push_back(line);
        while self.last_errors_bytes > LAST_ERRORS_BYTES_MAX
            && let Some(first) = self.last_errors.pop_front()
        {
            self.last_errors_bytes -= cost(&first);
            self.dropped += 1;
        }
    }

    /// What was denied, where it belongs in time. Outside the bounds of `write`: there are few, and each says why
    /// a step did not do its work.
    pub(in crate::runtime) fn push_denials(&mut self, denials: &[(Timestamp, Denial)]) {
        if denials.is_empty() {
            return;
        }
        self.lines.extend(denials.iter().map(|(at, denial)| LogLine {
            at: *at,
            level: model::Level::Warn,
            message: format!("permission denied: {denial}"),
            fields: JsonObject::default(),
        }));
        self.lines.sort_by_key(|line| line.at);
    }

    /// All lines, with the tails of stdout and stderr behind them, and how many
    /// were dropped. The tails are outside the bounds of `write`: an exception's
    /// text is worth most when a guest has logged too much.
    pub(in crate::runtime) fn finish(&mut self) -> (Vec<LogLine>, u64) {
        let at = self.clock.now();
        self.lines.extend(self.last_errors.drain(..));
        let mut tails = self.witness.lock();
        for (stream, level) in [(Stream::Stdout, model::Level::Info), (Stream::Stderr, model::Level::Error)] {
            let tail = std::mem::take(tails.of(stream));
            let (lines, dropped) = tail.into_lines();
            self.dropped += dropped;
            self.lines.extend(lines.into_iter().map(|message| {
                let fields = JsonObject::of(&BTreeMap::from([("stream", stream.as_str())]));
                LogLine { at, level, message, fields }
            }));
        }
        drop(tails);
        (std::mem::take(&mut self.lines), self.dropped)
    }

    /// Ends the log of an execution that was cancelled: who started it asks the witness.
    pub(in crate::runtime) fn cancel(&mut self, usage: Usage, denials: Vec<Denial>) {
        let (lines, lines_dropped) = self.finish();
        self.witness.lock().cancelled = Some(Box::new(Cancelled { usage, lines, lines_dropped, denials }));
    }
}

/// One of a guest's two output streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What outlives an execution: the tails of stdout and stderr, which WASI writes to, and what there is to tell of
/// one that was cancelled. Cheap to clone; made by who calls, since the streams need it in any case.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<Mutex<Tails>>);

/// What is known of an execution that was cancelled.
#[derive(Debug)]
pub struct Cancelled {
    /// What it used until then.
    pub usage: Usage,
    /// What it logged until then.
    pub lines: Vec<LogLine>,
    /// Lines over its bounds.
    pub lines_dropped: u64,
    /// What it tried until then and may not.
    pub denials: Vec<Denial>,
}

impl Witness {
    /// What the execution left, if it was cancelled after it had begun. Told once.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.lock().cancelled.take().map(|cancelled| *cancelled)
    }

    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.lock().of(stream).write(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Tails> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Tails {
    stdout: Tail,
    stderr: Tail,
    cancelled: Option<Box<Cancelled>>,
}

impl Tails {
    fn of(&mut self, stream: Stream) -> &mut Tail {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// The end of a stream, and how many lines of it are gone.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    lines_dropped: u64,
}

impl Tail {
    fn write(&mut self, bytes: &[u8]) {
        let over = (self.bytes.len() + bytes.len()).saturating_sub(TAIL_BYTES_MAX);
        let from_kept = over.min(self.bytes.len());
        let from_new = over - from_kept;
        let newlines = |bytes: &mut dyn Iterator<Item = u8>| bytes.filter(|byte| *byte == b'\n').count() as u64;
        self.lines_dropped += newlines(&mut self.bytes.drain(..from_kept));
        let (gone, kept) = bytes.split_at(from_new);
        self.lines_dropped += newlines(&mut gone.iter().copied());
        self.bytes.extend(kept);
    }

    fn into_lines(mut self) -> (Vec<String>, u64) {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        let mut lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
        let over = lines.len().saturating_sub(TAIL_LINES_MAX);
        lines.drain(..over);
        (lines, self.lines_dropped + over as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_stderr_is_kept_when_the_log_is_full() {
        let (clock, _) = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut log = Log::new(0, 0, Witness::default(), clock);
        log.streams().write(Stream::Stderr, b"first\nthread panicked: no");
        log.streams().write(Stream::Stderr, b" such order\n");
        let (lines, dropped) = log.finish();
        let messages: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(messages, ["first", "thread panicked: no such order"]);
        assert!(lines.iter().all(|line| line.level == model::Level::Error));
        assert_eq!(dropped, 0);
    }

    #[test]
    fn the_last_errors_are_kept_when_the_log_is_full() {
        let (clock, _) = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut log = Log::new(0, 0, Witness::default(), clock);
        for number in 0..1_000 {
            log.push_last_error(format!("{number:0>960}"));
        }
        log.push_last_error("thread panicked: no such order".to_owned());
        log.push_last_error("note: run with RUST_BACKTRACE=1".to_owned());
        let (lines, dropped) = log.finish();
        // Seven of 1 024 bytes, and two short ones.
        assert_eq!((lines.len(), dropped), (9, 993));
        assert!(lines[0].message.ends_with("0993") && lines[7].message.contains("panicked"), "{lines:?}");
    }

    proptest! {
        #[test]
        fn a_tail_is_the_end_of_what_was_written(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5_000), 0..20)) {
            let mut tail = Tail::default();
            let mut all = Vec::new();
            for chunk in &chunks {
                tail.write(chunk);
                all.extend_from_slice(chunk);
            }
            let kept = all.len().min(TAIL_BYTES_MAX);
            let (gone, end) = all.split_at(all.len() - kept);
            prop_assert_eq!(tail.bytes.make_contiguous(), end);
            prop_assert_eq!(tail.lines_dropped, gone.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
    }
}
