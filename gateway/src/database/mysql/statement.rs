//! Which statements of a step are given to MySQL, and how.
//!
//! Owns the verbs, and `$1` as `?`. Does not decide rights: the server's user does. Invariant: no
//! statement is prepared that would change the session, so that nothing said of a session stays untrue.

use mysql_async::Value;

use super::values;
use crate::database::params::Param;
use crate::database::sql::{self, Dialect, Span, Token};
use crate::database::{Error, Statement};

/// Verbs that read. `SHOW` is not: it tells of other connections, and `information_schema` has the rest.
const READS: [&str; 7] = ["SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "DESCRIBE", "DESC"];
/// Verbs that change rows.
const CHANGES: [&str; 5] = ["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"];
/// Verbs that change what there is, of these.
const DEFINES: [&str; 5] = ["CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"];
const OBJECTS: [&str; 3] = ["TABLE", "INDEX", "VIEW"];
/// What may stand between the verb and the object.
const BEFORE_OBJECTS: [&str; 7] = ["OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "IGNORE"];
/// Where `INTO` leads out of the database.
const FILES: [&str; 2] = ["OUTFILE", "DUMPFILE"];

/// `?` in one statement, by the protocol.
const PLACES_MAX: usize = 65_535;
/// What is sent for one statement. A parameter that is used often is sent as often.
const SENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A statement as it is sent.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) sql: std::borrow::Cow<'a, str>,
    pub(super) values: Vec<Value>,
}

/// A statement that reads.
///
/// # Errors
/// It is not one, or its parameters are not what they should be.
pub(super) fn reading(statement: Statement<'_>) -> Result<Prepared<'_>, Error> {
    let tokens = sql::tokens(statement.sql, Dialect::MySql)?;
    if !READS.contains(&sql::verb(&tokens, statement.sql).as_str()) {
        return Err(Error::Invalid(format!("a query is one of {}; others are for execute", READS.join(", "))));
    }
    refuse_files(&tokens)?;
    if words(&tokens).any(|word| word.eq_ignore_ascii_case("INTO")) {
        return Err(Error::Invalid("a query only reads, and has no INTO".to_owned()));
    }
    prepared(statement, &tokens)
}

/// A statement that writes.
///
/// # Errors
/// It is none that a step may run, or its parameters are not what they should be.
pub(super) fn writing(statement: Statement<'_>) -> Result<Prepared<'_>, Error> {
    let tokens = sql::tokens(statement.sql, Dialect::MySql)?;
    let verb = sql::verb(&tokens, statement.sql);
    let verb = verb.as_str();
    let is_allowed = CHANGES.contains(&verb) || (DEFINES.contains(&verb) && is_of_object(&tokens));
    if !is_allowed {
        let (changes, defines, objects) = (CHANGES.join(", "), DEFINES.join(", "), OBJECTS.join(", "));
        return Err(Error::Invalid(format!("execute takes {changes}, and {defines} of {objects}")));
    }
    refuse_files(&tokens)?;
    prepared(statement, &tokens)
}

fn words<'a>(tokens: &[Span<'a>]) -> impl Iterator<Item = &'a str> {
    tokens.iter().filter_map(|span| match span.token {
        Token::Word(word) => Some(word),
        _ => None,
    })
}

fn is_of_object(tokens: &[Span<'_>]) -> bool {
    for span in tokens.iter().skip(1) {
        let Token::Word(word) = span.token else { return false };
        let word = word.to_ascii_uppercase();
        if OBJECTS.contains(&word.as_str()) {
            return true;
        }
        if !BEFORE_OBJECTS.contains(&word.as_str()) {
            return false;
        }
    }
    false
}

/// Files of the server's machine: a right of its user that nobody meant for steps.
fn refuse_files(tokens: &[Span<'_>]) -> Result<(), Error> {
    let mut before = "";
    for word in words(tokens) {
        let is_written =
            before.eq_ignore_ascii_case("INTO") && FILES.iter().any(|file| word.eq_ignore_ascii_case(file));
        if is_written || word.eq_ignore_ascii_case("LOAD_FILE") {
            return Err(Error::Invalid("a statement can't read or write files".to_owned()));
        }
        before = word;
    }
    Ok(())
}

/// With a `?` where the step wrote `$1`, and a value for each.
fn prepared<'a>(statement: Statement<'a>, tokens: &[Span<'_>]) -> Result<Prepared<'a>, Error> {
    let params = Param::list(statement.params)?;
    let mut places = Vec::new();
    let mut has_questions = false;
    for span in tokens {
        match span.token {
            Token::Dollar(number) => places.push((span, usize::try_from(number).unwrap_or(usize::MAX))),
            Token::Question => has_questions = true,
            Token::Word(_) | Token::Semicolon | Token::Other => {}
        }
    }
    // A semicolon at the end is another statement to some servers.
    let end = tokens.last().map_or(0, |last| last.end);
    if places.is_empty() {
        let sql = statement.sql.get(..end).unwrap_or_default().into();
        return Ok(Prepared { sql, values: params.iter().map(values::value).collect() });
    }
    if has_questions {
        return Err(Error::Invalid("parameters are either `$1` or `?`, not both".to_owned()));
    }
    let needed = places.iter().map(|(_, number)| *number).max().unwrap_or(0);
    if needed != params.len() {
        let given = params.len();
        return Err(Error::Invalid(format!("the statement has {needed} parameters, and {given} are given")));
    }
    let (mut sql, mut values, mut at) = (String::with_capacity(statement.sql.len()), Vec::new(), 0);
    let mut bytes = 0;
    for (span, number) in places {
        let param = number.checked_sub(1).and_then(|index| params.get(index));
        let param = param.ok_or_else(|| Error::Invalid(format!("there is no parameter ${number}")))?;
        bytes += size(param);
        if values.len() == PLACES_MAX || bytes > SENT_BYTES_MAX {
            let message = format!("the parameters of a statement have at most {SENT_BYTES_MAX} bytes");
            return Err(Error::TooLarge(message));
        }
        values.push(values::value(param));
        sql.push_str(statement.sql.get(at..span.start).unwrap_or_default());
        sql.push('?');
        at = span.end;
    }
    sql.push_str(statement.sql.get(at..end).unwrap_or_default());
    Ok(Prepared { sql: sql.into(), values })
}

fn size(param: &Param<'_>) -> usize {
    match param {
        Param::Null | Param::Boolean(_) => 1,
        Param::Number(text) | Param::Json(text) => text.len(),
        Param::Text(text) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One a line.
    const REFUSED: &str = "
        create user a
        create database a
        create function a() returns int return 1
        create trigger a
        create definer = root@localhost view a as select 1
        create temporary table a (b int)
        drop user a
        create event a
        create procedure a() select 1
        alter user a identified by ''
        drop database a
        call a()
        do sleep(1)
        set @a = 1
        set global max_connections = 1
        handler a open
        load data infile 'a' into table b
        load data local infile 'a' into table b
        prepare a from 'b'
        execute a
        lock tables a write
        unlock tables
        kill 1
        grant all on *.* to a
        revoke all on *.* from a
        flush tables
        use mysql
        begin
        start transaction
        commit
        rollback
        savepoint a
        xa start 'a'
        shutdown
        purge binary logs
        reset master
        change master to a = 1
        install soname 'a'
        show processlist
        analyze update a set b = 1
        select load_file('/etc/passwd')
        select 1 into outfile '/tmp/a'
        select 1 into @a
        optimize table a
        select /*!50000 1 into */ outfile '/tmp/a'
        select 1; drop table a
        delimiter //
        signal sqlstate '45000'
        begin not atomic select 1; end
        set statement max_statement_time = 0 for select 1
        binlog ''
        help 'a'
        insert into a select 1 into outfile '/tmp/a'
        insert into a values (load_file('/etc/passwd'))
        import table from 'a'
    ";

    fn statement<'a>(sql: &'a str, params: &'a str) -> Statement<'a> {
        Statement { sql, params }
    }

    #[test]
    fn numbered_parameters_become_places_in_the_order_of_the_text() {
        let prepared = reading(statement("select '$1', $2, a$1, $1, $2 from t -- $3\n;", "[1, \"b\"]")).unwrap();
        assert_eq!(prepared.sql, "select '$1', ?, a$1, ?, ? from t");
        let text = || Value::Bytes(b"b".to_vec());
        assert_eq!(prepared.values, [text(), Value::Int(1), text()]);
        let questions = reading(statement("select ?, '?' ; ", "[true]")).unwrap();
        assert_eq!((questions.sql.as_ref(), questions.values), ("select ?, '?'", vec![Value::Int(1)]));
        for (sql, params) in
            [("select $1, ?", "[1, 2]"), ("select $2", "[1]"), ("select $1", "[1, 2]"), ("select $0", "[]")]
        {
            assert!(matches!(reading(statement(sql, params)), Err(Error::Invalid(_))), "{sql}");
        }
        let long = format!("[\"{}\"]", "x".repeat(1024 * 1024));
        let often = format!("select {}", vec!["$1"; 17].join(", "));
        assert!(matches!(reading(statement(&often, &long)), Err(Error::TooLarge(_))));
    }

    #[test]
    fn only_statements_that_keep_to_the_tables_are_prepared() {
        for sql in [
            "create table a (b int)",
            "CREATE OR REPLACE VIEW a AS SELECT 1",
            "create unique index a on b (c)",
            "alter table a add b int",
            "drop table a",
            "truncate table a",
            "rename table a to b",
            "replace into a values (1)",
            "with a as (select 1) delete from b",
        ] {
            assert!(writing(statement(sql, "[]")).is_ok(), "{sql}");
            assert!(reading(statement(sql, "[]")).is_err() || sql.starts_with("with"), "{sql}");
        }
        for sql in REFUSED.lines().map(str::trim).filter(|sql| !sql.is_empty()) {
            assert!(reading(statement(sql, "[]")).is_err(), "{sql}");
            assert!(writing(statement(sql, "[]")).is_err(), "{sql}");
        }
        assert!(reading(statement("select `into`, 'into outfile' from a", "[]")).is_ok());
    }
}
