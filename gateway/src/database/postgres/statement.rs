//! Which statements are taken.
//!
//! Owns the lists. Does not decide what a statement may do: the transaction is read only or not, and the
//! operator's role is the real boundary. Invariant: what leaves is one statement without what surrounds it.

use super::super::Error;
use super::super::sql::{self, Dialect, Span, Token};

/// What a read-only transaction can run, and gives rows.
const READING: [&str; 6] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"];
/// What may change rows; `SELECT` calls functions that do.
const WRITING: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "SELECT"];
/// What makes no table; `SELECT` does with `INTO`.
const MAKING_NO_TYPE: [&str; 8] = ["INSERT", "UPDATE", "DELETE", "MERGE", "DROP", "TRUNCATE", "COMMENT", "REFRESH"];
/// What changes the schema, of the objects below.
const DEFINING: [&str; 3] = ["CREATE", "ALTER", "DROP"];
/// The same, of whatever follows.
const DEFINING_ANY: [&str; 3] = ["TRUNCATE", "COMMENT", "REFRESH"];
/// Objects within a database. Not those of the server (roles, databases, settings), and none that
/// would run a program or reach another server.
const OBJECTS: [&str; 7] = ["TABLE", "INDEX", "VIEW", "MATERIALIZED", "SEQUENCE", "SCHEMA", "STATISTICS"];
/// What may stand between the verb and the object.
const BEFORE_OBJECTS: [&str; 6] = ["OR", "REPLACE", "UNIQUE", "UNLOGGED", "RECURSIVE", "CONSTRAINT"];

/// The text of a statement for `query`, without comments and semicolons around it.
///
/// # Errors
/// It is not one, or not one that only reads.
pub(super) fn reading(sql: &str) -> Result<&str, Error> {
    let tokens = sql::tokens(sql, Dialect::Postgres)?;
    if READING.contains(&sql::verb(&tokens, sql).as_str()) {
        return Ok(own_text(sql, &tokens));
    }
    Err(Error::Invalid(format!("a query is one of {}; other statements are for execute", READING.join(", "))))
}

/// The text of a statement for `execute`, without comments and semicolons around it.
///
/// # Errors
/// It is not one, or none that a step may run.
pub(super) fn writing(sql: &str) -> Result<&str, Error> {
    let tokens = sql::tokens(sql, Dialect::Postgres)?;
    let verb = sql::verb(&tokens, sql);
    let verb = verb.as_str();
    if WRITING.contains(&verb) || DEFINING_ANY.contains(&verb) || (DEFINING.contains(&verb) && is_of_object(&tokens)) {
        return Ok(own_text(sql, &tokens));
    }
    Err(Error::Invalid(format!(
        "execute takes {}, {}, and {} of {}",
        WRITING.join(", "),
        DEFINING_ANY.join(", "),
        DEFINING.join(", "),
        OBJECTS.join(", "),
    )))
}

/// Whether a statement that [`writing`] took may make a type, as each table is one: all but those that can do so by
/// way of a function or a trigger only.
pub(super) fn may_make_types(own_text: &str) -> bool {
    let verb = own_text.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
    !MAKING_NO_TYPE.iter().any(|other| verb.eq_ignore_ascii_case(other))
}

fn is_of_object(tokens: &[Span<'_>]) -> bool {
    let words = tokens.iter().map(|span| match span.token {
        Token::Word(word) => word.to_ascii_uppercase(),
        _ => String::new(),
    });
    let object = words.skip(1).find(|word| !BEFORE_OBJECTS.contains(&word.as_str()));
    object.is_some_and(|object| OBJECTS.contains(&object.as_str()))
}

fn own_text<'a>(sql: &'a str, tokens: &[Span<'_>]) -> &'a str {
    let start = tokens.first().map_or(0, |first| first.start);
    let end = tokens.last().map_or(0, |last| last.end);
    sql.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_statement_is_left_out() {
        assert_eq!(reading(" /* a */ select 1 -- b\n ; -- c").unwrap(), "select 1");
        assert_eq!(writing("delete from t where a = ';';").unwrap(), "delete from t where a = ';'");
    }

    #[test]
    fn only_statements_that_can_read_are_queries() {
        for sql in ["select 1", "(select 1)", "with a as (select 1) table a", "values (1)", "table t", "show all"] {
            assert!(reading(sql).is_ok(), "{sql}");
        }
        for sql in [
            "insert into t values (1)",
            "call p()",
            "do $$ begin end $$",
            "copy t to program 'id'",
            "set a = 1",
            "reset all",
            "prepare a as select 1",
            "execute a",
            "deallocate all",
            "declare c cursor for select 1",
            "fetch c",
            "listen a",
            "notify a",
            "lock t",
            "begin",
            "commit",
            "rollback",
            "savepoint a",
            "discard all",
            "load 'a'",
            "vacuum",
            "/* select */ commit",
            "\"select\" 1",
            "select 1; select 2",
            "",
        ] {
            assert!(matches!(reading(sql), Err(Error::Invalid(_))), "{sql}");
        }
    }

    #[test]
    fn whatever_may_make_a_table_is_known() {
        for sql in ["create table t ()", "select 1 into t", "with a as (select 1) select * into t from a", "(select 1)"]
        {
            assert!(may_make_types(sql), "{sql}");
        }
        assert!(may_make_types("Alter/**/table t add a int"));
        for sql in ["insert into t values (1)", "Delete/**/from t", "drop table t"] {
            assert!(!may_make_types(sql), "{sql}");
        }
    }

    #[test]
    fn execute_changes_rows_and_schemas_but_not_servers() {
        for sql in [
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "select f()",
            "create table t ()",
            "merge into t using u on true when matched then delete",
            "create unique index on t (a)",
            "alter table t add a int",
            "drop materialized view v",
            "truncate t",
            "refresh materialized view v",
            "comment on table t is 'a'",
        ] {
            assert!(writing(sql).is_ok(), "{sql}");
        }
        for sql in [
            "alter system set a = 1",
            "alter role a superuser",
            "alter database d set a = 1",
            "create role a",
            "create user a",
            "drop user a",
            "create database d",
            "create extension dblink",
            "create or replace function f() returns int",
            "create type a as (b int)",
            "create domain a as int",
            "grant all on t to a",
            "copy t from program 'id'",
            "set a = 1",
            "do $$ begin end $$",
            "call p()",
            "create temp table t ()",
            "create server s foreign data wrapper f",
            "create \"table\" t ()",
            "alter default privileges grant all",
            "create",
            "begin",
            "vacuum",
        ] {
            assert!(matches!(writing(sql), Err(Error::Invalid(_))), "{sql}");
        }
    }
}
