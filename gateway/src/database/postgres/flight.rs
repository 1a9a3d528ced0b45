//! A statement between the commands of its transaction, sent at once and answered at once.
//!
//! Owns which answers belong together, and what a server says of a mistake. Does not choose what is sent: `session`
//! does. Invariants: what comes before the transaction has begun is never taken for the statement's own; and a flight
//! went well only where each of its commands was answered, in their order, and the transaction is as they leave it.

use std::io;

use tokio_postgres::error::SqlState;

use super::super::Error;
use super::failure::{Failure, Fault};
use super::line::Line;
use super::message::{Body, tag};

#[cfg(test)]
mod tests;

/// What a server answers to a statement that it doesn't run.
#[derive(Debug)]
pub(super) struct Answer {
    /// The connection ends with it.
    pub(super) is_fatal: bool,
    pub(super) code: SqlState,
    pub(super) message: String,
    /// The functions in which it happened.
    pub(super) context: Option<String>,
    /// Where in PostgreSQL's own source.
    pub(super) routine: Option<String>,
}

/// What was answered of a flight.
#[derive(Debug, Default)]
struct Heard {
    commands: u32,
    rows_changed: u64,
    is_rolled_back: bool,
}

/// What a server knows of a statement that was prepared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) parameters: Vec<u32>,
    pub(super) columns: Vec<u32>,
}

/// What a statement is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    /// `BEGIN` before it, `ROLLBACK` behind it.
    Query(Begin),
    /// `BEGIN` before it, told first. Its transaction stays open.
    Change,
}

/// When a server tells that a transaction has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// Before it runs the statement. Takes it another send.
    First,
    /// With its answer.
    WithAnswer,
}

/// Hears out a flight, whose rows `row` is told, and says how many the statement changed. Where it fails early the line
/// is still in flight.
pub(super) async fn hear(
    line: &mut Line,
    flight: Flight,
    mut row: impl FnMut(Body<'_>) -> Result<(), Error>,
) -> Result<u64, Failure> {
    let mut heard = Heard::default();
    let mut refusal = None;
    loop {
        let message = line.next().await.map_err(|error| match (heard.commands, flight) {
            (0, Flight::Query(Begin::First) | Flight::Change) => Failure::NotBegun(Fault::Line(error)),
            _ => Failure::Database(Fault::Line(error)),
        })?;
        match message.tag {
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE => {}
            // A statement that has another's name: of what was prepared by a name, a statement may make something else.
            tag::DATA_ROW if heard.commands != 1 => return Err(misplaced()),
            tag::DATA_ROW => row(message.body).map_err(Failure::Abandoned)?,
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE => heard.count(message.body)?,
            tag::ERROR_RESPONSE => {
                let answer = Answer::read(message.body).map_err(|error| Failure::Database(Fault::Line(error)))?;
                let is_fatal = answer.is_fatal;
                let answer = match heard.commands {
                    0 => Failure::NotBegun(Fault::Answer(answer)),
                    _ => Failure::Database(Fault::Answer(answer)),
                };
                if is_fatal {
                    return Err(answer);
                }
                refusal = Some(answer);
            }
            tag::READY_FOR_QUERY => {
                return match refusal {
                    Some(refusal) => Err(refusal),
                    None if heard.is_all_of(flight, message.body) => Ok(heard.rows_changed),
                    None => Err(misplaced()),
                };
            }
            _ => return Err(misplaced()),
        }
    }
}

/// Hears out a flight that prepares, and tells what was prepared last.
pub(super) async fn described(line: &mut Line) -> Result<Described, Failure> {
    let mut described = Described::default();
    let mut refusal = None;
    loop {
        let message = line.next().await.map_err(|error| Failure::Database(Fault::Line(error)))?;
        let read = match message.tag {
            tag::PARSE_COMPLETE | tag::CLOSE_COMPLETE | tag::NO_DATA => Ok(()),
            tag::PARAMETER_DESCRIPTION => message.body.parameters().map(|types| described.parameters = types),
            tag::ROW_DESCRIPTION => message.body.columns().map(|types| described.columns = types),
            tag::ERROR_RESPONSE => Answer::read(message.body).map(|answer| refusal = Some(answer)),
            tag::READY_FOR_QUERY => {
                return refusal.map_or(Ok(described), |answer| Err(Failure::Database(Fault::Answer(answer))));
            }
            _ => return Err(misplaced()),
        };
        read.map_err(|error| Failure::Database(Fault::Line(error)))?;
    }
}

impl Heard {
    fn count(&mut self, mut body: Body<'_>) -> Result<(), Failure> {
        let said = if body.is_empty() { &[] } else { body.text().map_err(|_| misplaced())? };
        match self.commands {
            0 if said != b"BEGIN" => return Err(misplaced()),
            1 => {
                let number = said.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                self.rows_changed =
                    std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
            }
            _ => self.is_rolled_back = said == b"ROLLBACK",
        }
        self.commands += 1;
        Ok(())
    }

    /// Whether each command was answered, and the transaction is over, or open and not failed.
    fn is_all_of(&self, flight: Flight, transaction: Body<'_>) -> bool {
        match flight {
            Flight::Query(_) => self.commands == 3 && self.is_rolled_back && transaction.0 == b"I",
            Flight::Change => self.commands == 2 && transaction.0 == b"T",
        }
    }
}

impl Answer {
    fn read(mut body: Body<'_>) -> io::Result<Self> {
        let (mut severity, mut code, mut message) = (String::new(), String::new(), String::new());
        let (mut context, mut routine) = (None, None);
        loop {
            let field = body.byte()?;
            if field == 0 {
                break;
            }
            let value = String::from_utf8_lossy(body.text()?).into_owned();
            match field {
                b'V' => severity = value,
                b'C' => code = value,
                b'M' => message = value,
                b'W' => context = Some(value),
                b'R' => routine = Some(value),
                _ => {}
            }
        }
        let is_fatal = ["FATAL", "PANIC"].contains(&severity.as_str());
        Ok(Self { is_fatal, code: SqlState::from_code(&code), message, context, routine })
    }
}

/// The connection is not used again.
fn misplaced() -> Failure {
    Failure::Database(Fault::Line(super::message::malformed()))
}
