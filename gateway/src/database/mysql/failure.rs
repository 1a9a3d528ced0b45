//! Why a statement did not end well on MySQL, and what that leaves.
//!
//! Owns the words for each. Invariant: of what the server says a step hears what is about its own statement,
//! without values, users, hosts and files.

use mysql_async::{Error as Driver, IoError, ServerError};

use crate::database::Error;

/// Of a server's message; the longest name has 64 characters, and a message has a few.
const MESSAGE_CHARACTERS_MAX: usize = 500;

const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const READ_ONLY_TRANSACTION: u16 = 1792;
const SYNTAX: u16 = 1064;
/// Ended by `KILL QUERY`, by `max_statement_time` and by `max_execution_time`.
const INTERRUPTED: [u16; 3] = [1317, 1969, 3024];
/// Too many connections, a stop, a connection that was killed.
const TRANSIENT: [u16; 9] = [LOCK_WAIT_TIMEOUT, DEADLOCK, 1040, 1053, 1203, 1226, 1927, 2006, 2013];
/// After these the server has hung up.
const HUNG_UP: [u16; 5] = [1053, 1927, 2006, 2013, 4031];
/// More than the user may have at once or in an hour; the messages name the user.
const OF_USERS: [u16; 2] = [1203, 1226];
/// A right that the user has not; the messages name it and its host.
const DENIED: [u16; 12] = [1044, 1045, 1095, 1142, 1143, 1227, 1290, 1370, 1410, 1419, 1698, 1873];
/// A value that doesn't fit, with the value in the message.
const OF_VALUES: [u16; 5] = [1062, 1292, 1366, 1411, 1525];
/// What is about the statement though its state says nothing: no default, triggers' and views' own mistakes.
const OF_STATEMENTS: [u16; 8] = [1295, 1356, 1364, 1366, 1406, 1442, 1471, 3819];
/// States of data, of constraints, of the statement, and what a trigger raises.
const STATES_OF_STATEMENTS: [&str; 4] = ["22", "23", "42", "45"];

/// Why.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server, or the way to it.
    Driver(Driver),
    /// We did not send it: nothing is left.
    Refused(Error),
    /// We don't want the rest of the answer, which is on its way.
    Abandoned(Error),
}

impl From<Driver> for Failure {
    fn from(error: Driver) -> Self {
        Self::Driver(error)
    }
}

impl Failure {
    /// While a change answers. Of one row that is too long it is only known that the rest is not read: "too large"
    /// would say that nothing was done.
    pub(super) fn of_a_change(error: Driver) -> Self {
        if is_too_large(&error) {
            let what = "a row that the statement returned is too long; what it changed may have been kept".to_owned();
            return Self::Abandoned(Error::Failed { what, is_transient: false, source: None });
        }
        Self::Driver(error)
    }

    pub(super) fn lost() -> Self {
        Self::Abandoned(lost(None))
    }

    /// Whether the connection is as good as before.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Driver(Driver::Server(answer)) => !HUNG_UP.contains(&answer.code),
            Self::Refused(_) => true,
            Self::Driver(_) | Self::Abandoned(_) => false,
        }
    }

    /// In words for the step.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Abandoned(error) => error,
            Self::Driver(Driver::Server(answer)) => told(&answer),
            Self::Driver(error) if is_too_large(&error) => {
                Error::TooLarge("a row of the answer, or the statement, is too long".to_owned())
            }
            Self::Driver(error) => lost(Some(error.into())),
        }
    }
}

/// On the way to the server: whatever it said is the operator's.
pub(super) fn unreachable(error: Driver) -> Error {
    let is_transient = is_transient(&error);
    let what = "the database can't be reached".to_owned();
    Error::Failed { what, is_transient, source: Some(error.into()) }
}

/// Whether it may go well at the next try. A wrong password, or a certificate that is not trusted, is as wrong then.
pub(super) fn is_transient(error: &Driver) -> bool {
    match error {
        Driver::Server(answer) => TRANSIENT.contains(&answer.code),
        // What TLS finds wrong comes as data that make no sense.
        Driver::Io(IoError::Io(error)) => error.kind() != std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn lost(source: Option<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Failed { what: "the connection to the database was lost".to_owned(), is_transient: true, source }
}

/// The driver's own bound on a packet, which it tells as an error of input.
fn is_too_large(error: &Driver) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("max_allowed_packet") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn told(answer: &ServerError) -> Error {
    let code = answer.code;
    if INTERRUPTED.contains(&code) {
        return Error::TimedOut;
    }
    if code == READ_ONLY_TRANSACTION {
        return Error::Invalid("a query only reads, and execute is for statements that write".to_owned());
    }
    let state = answer.state.get(..2).unwrap_or_default();
    let what = if DENIED.contains(&code) {
        format!("the database's user may not do this ({code})")
    } else if OF_USERS.contains(&code) {
        format!("the database takes no more of its user now ({code})")
    } else if [LOCK_WAIT_TIMEOUT, DEADLOCK].contains(&code)
        || OF_STATEMENTS.contains(&code)
        || STATES_OF_STATEMENTS.contains(&state)
    {
        let message: String = without_values(answer).chars().take(MESSAGE_CHARACTERS_MAX).collect();
        format!("{message} ({code})")
    } else {
        format!("the database failed ({code})")
    };
    // The message as it is has values, which belong in no log.
    Error::Failed { what, is_transient: TRANSIENT.contains(&code), source: None }
}

fn without_values(answer: &ServerError) -> String {
    let message = answer.message.as_str();
    // `…; check the manual … to use near 'the statement from here on' at line 1`
    if answer.code == SYNTAX {
        let line = message.rfind(" at line ").and_then(|at| message.get(at..)).unwrap_or_default();
        return format!("the statement has a mistake in its syntax{line}");
    }
    if !OF_VALUES.contains(&answer.code) {
        return message.to_owned();
    }
    // `Duplicate entry 'a' for key 'b'`, `Incorrect integer value: 'a' for column 'b' at row 1`
    let kind = message.split('\'').next().unwrap_or_default().trim_end_matches([' ', ':']);
    let place = message.rfind(" for ").and_then(|at| message.get(at..)).unwrap_or_default();
    format!("{kind}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(code: u16, state: &str, message: &str) -> String {
        let (message, state) = (message.to_owned(), state.to_owned());
        told(&ServerError { code, message, state }).to_string()
    }

    #[test]
    fn a_step_hears_of_its_statement_and_of_no_value_user_host_or_file() {
        let syntax = "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server \
                      version for the right syntax to use near 'selct secret' at line 3";
        assert_eq!(words(1064, "42000", syntax), "the statement has a mistake in its syntax at line 3 (1064)");
        let duplicate = "Duplicate entry 'it's secret for you' for key 'PRIMARY'";
        assert_eq!(words(1062, "23000", duplicate), "Duplicate entry for key 'PRIMARY' (1062)");
        let integer = "Incorrect integer value: 'secret' for column `d`.`t`.`i` at row 1";
        assert_eq!(words(1366, "22007", integer), "Incorrect integer value for column `d`.`t`.`i` at row 1 (1366)");
        let column = "Unknown column 'x' in 'field list'";
        assert_eq!(words(1054, "42S22", column), "Unknown column 'x' in 'field list' (1054)");
        for (code, state, message) in [
            (1045, "28000", "Access denied for user 'secret'@'10.0.0.1' (using password: YES)"),
            (1142, "42000", "SELECT command denied to user 'secret'@'10.0.0.1' for table `d`.`t`"),
            (1016, "HY000", "Can't open file: '/secret/t.MYI' (errno: 145)"),
            (1449, "HY000", "The user specified as a definer ('secret'@'%') does not exist"),
        ] {
            let words = words(code, state, message);
            assert!(!words.contains("secret") && words.contains(&code.to_string()), "{words}");
        }
        assert!(matches!(
            told(&ServerError { code: 1317, message: String::new(), state: String::new() }),
            Error::TimedOut
        ));
    }
}
