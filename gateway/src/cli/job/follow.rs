//! A run as it happens.
//!
//! Owns the stream of events, which goes on after a connection that broke, and how steps are drawn. Invariant: whoever leaves is
//! told that the run goes on.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reqwest::StatusCode;

use super::shown::{RunView, StepView};
use crate::cli::client::{Client, Error};
use crate::cli::output::{self, Out, printable};

/// Between two tries of a connection that broke.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A gateway that is started anew is back by then.
const TRIES_MAX: u32 = 60;
/// An event is a step without large outputs; what has no end is none.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How steps are drawn.
pub(super) enum View {
    /// Not at all.
    Nothing,
    /// A line each time that one changes.
    Lines(Out),
    /// A line a step, drawn anew.
    Drawn(Box<Drawn>),
}

/// Lines of a terminal, one a step.
pub(super) struct Drawn {
    lines: MultiProgress,
    steps: Vec<(String, ProgressBar)>,
}

impl View {
    /// Of these steps, in their order.
    pub(super) fn steps(out: Out, steps: &[StepView]) -> Self {
        if !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
            return Self::Lines(out);
        }
        let mut drawn = Drawn { lines: MultiProgress::new(), steps: Vec::new() };
        for step in steps {
            drawn.show(step);
        }
        Self::Drawn(Box::new(drawn))
    }

    fn show(&mut self, step: &StepView) -> Result<(), output::Error> {
        match self {
            Self::Nothing => Ok(()),
            Self::Lines(out) => {
                let (sign, paint) = step.sign();
                out.painted(paint, sign, &step.line())
            }
            Self::Drawn(drawn) => {
                drawn.show(step);
                Ok(())
            }
        }
    }

    fn end(&self) {
        if let Self::Drawn(drawn) = self {
            for (_, bar) in &drawn.steps {
                bar.abandon();
            }
        }
    }
}

impl Drawn {
    fn show(&mut self, step: &StepView) {
        let text = printable(&format!("{}{}", step.sign().0, step.line())).replace('\n', " ");
        let place = self.steps.iter().position(|(id, _)| *id == step.id);
        let bar = match place.and_then(|place| self.steps.get(place)) {
            Some((_, bar)) => bar.clone(),
            None => {
                let style =
                    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = self.lines.add(ProgressBar::new_spinner().with_style(style));
                self.steps.push((step.id.clone(), bar.clone()));
                bar
            }
        };
        bar.set_message(text);
        bar.tick();
    }
}

/// Says, where it is dropped too early, that the run goes on.
struct Leaving<'a> {
    id: &'a str,
    out: Out,
    has_ended: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let id = self.id;
            self.out.note(&format!("the run goes on: sluice job show {id}; end it: sluice job cancel {id}"));
        }
    }
}

/// Shows a run until it ends.
pub(super) async fn to_the_end(client: &Client, id: &str, mut view: View, out: Out) -> anyhow::Result<()> {
    let mut leaving = Leaving { id, out, has_ended: false };
    let (mut after, mut tries) = (0, 0);
    while !leaving.has_ended {
        let before = after;
        match listen(client, id, &mut after, &mut view).await {
            Ok(has_ended) => leaving.has_ended = has_ended,
            Err(Broken::Passing(error)) if tries >= TRIES_MAX => return Err(error.into()),
            Err(Broken::Passing(_)) => {}
            Err(Broken::ForGood(error)) => return Err(error),
        }
        tries = if after > before { 0 } else { tries + 1 };
        if !leaving.has_ended {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    view.end();
    Ok(())
}

enum Broken {
    Passing(Error),
    ForGood(anyhow::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        if error.is_passing() { Self::Passing(error) } else { Self::ForGood(error.into()) }
    }
}

/// One connection's events. Tells whether the run has ended.
async fn listen(client: &Client, id: &str, after: &mut u64, view: &mut View) -> Result<bool, Broken> {
    let mut response = client.events(&["runs", id, "events"], *after).await?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(true);
    }
    let mut buffer = Buffer::default();
    let mut has_ended = false;
    while let Some(chunk) = response.chunk().await.map_err(|error| client.broken(&error))? {
        for event in buffer.take(&chunk).map_err(Broken::ForGood)? {
            *after = event.id;
            match event.name.as_str() {
                "step" => {
                    if let Ok(step) = serde_json::from_str::<StepView>(&event.data) {
                        view.show(&step).map_err(|error| Broken::ForGood(error.into()))?;
                    }
                }
                // A run that was retried has more after its end: the last one counts.
                _ => has_ended = serde_json::from_str::<RunView>(&event.data).is_ok_and(|run| run.has_ended()),
            }
        }
    }
    Ok(has_ended)
}

#[derive(Debug, Default, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: String,
}

/// What came of an event so far.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// The events that are whole with `chunk`.
    fn take(&mut self, chunk: &[u8]) -> anyhow::Result<Vec<Event>> {
        self.0.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.0.windows(2).position(|two| two == b"\n\n") {
            let text: Vec<u8> = self.0.drain(..end + 2).collect();
            events.extend(parse(&String::from_utf8_lossy(&text)));
        }
        anyhow::ensure!(self.0.len() <= EVENT_BYTES_MAX, "the gateway sent an event without an end");
        Ok(events)
    }
}

/// `None` of a comment.
fn parse(text: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = value.parse().ok()?,
            "event" => value.clone_into(&mut event.name),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    (!event.name.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_are_cut() {
        let stream =
            "id: 1\nevent: run\ndata: {\"status\":\ndata:  \"é\"}\n\n: alive\n\nid: 2\nevent: step\ndata: {}\n\n";
        let first = Event { id: 1, name: "run".to_owned(), data: "{\"status\":\n \"é\"}".to_owned() };
        let second = Event { id: 2, name: "step".to_owned(), data: "{}".to_owned() };
        for cut in 0..stream.len() {
            let (one, other) = stream.as_bytes().split_at(cut);
            let mut buffer = Buffer::default();
            let mut events = buffer.take(one).unwrap();
            events.extend(buffer.take(other).unwrap());
            assert_eq!(events.iter().collect::<Vec<_>>(), [&first, &second], "{cut}");
        }
    }
}
