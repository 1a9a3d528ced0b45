//! The scanner of statements, as far as a fuzz target sees it.

#[path = "../../gateway/src/database/error.rs"]
#[allow(dead_code, reason = "the room has more uses for it")]
mod error;
#[path = "../../gateway/src/database/sql.rs"]
#[allow(dead_code, reason = "the room has more uses for it")]
mod sql;

use std::ops::Range;

pub use error::Error;

/// Where the tokens of a statement are, by the rules of PostgreSQL, MySQL and SQLite.
pub fn tokens(sql: &str) -> [Result<Vec<Range<usize>>, Error>; 3] {
    [sql::Dialect::Postgres, sql::Dialect::MySql, sql::Dialect::Sqlite].map(|dialect| {
        let tokens = sql::tokens(sql, dialect)?;
        Ok(tokens.iter().map(|span| span.start..span.end).collect())
    })
}
