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
/// Where words lead to files of the server's machine.
const FILES: [&str; 3] = ["OUTFILE", "DUMPFILE", LOAD_FILE];
/// A function, whose name may be quoted.
const LOAD_FILE: &str = "LOAD_FILE";

/// Those that keep tables where the server keeps its own. Others reach other servers, or files by name.
const ENGINES: [&str; 4] = ["InnoDB", "MyISAM", "Aria", "MEMORY"];
/// Options of tables that say where: `CONNECTION`, `DATA DIRECTORY`, `IMPORT TABLESPACE`.
const PLACES: [&str; 3] = ["CONNECTION", "DIRECTORY", "TABLESPACE"];

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
    refuse_files(&tokens, statement.sql)?;
    if words(&tokens).any(|word| word.eq_ignore_ascii_case("INTO")) {
        return Err(Error::Invalid("a query only reads, and has no INTO".to_owned()));
    }
    // It tells what another connection runs, which may be another module's.
    let mut pairs = words(&tokens).zip(words(&tokens).skip(1));
    if pairs.any(|(first, second)| first.eq_ignore_ascii_case("FOR") && second.eq_ignore_ascii_case("CONNECTION")) {
        return Err(Error::Invalid("a query explains no other connection".to_owned()));
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
    let object = if DEFINES.contains(&verb) { object(&tokens) } else { None };
    if !CHANGES.contains(&verb) && object.is_none() {
        let (changes, defines, objects) = (CHANGES.join(", "), DEFINES.join(", "), OBJECTS.join(", "));
        return Err(Error::Invalid(format!("execute takes {changes}, and {defines} of {objects}")));
    }
    refuse_files(&tokens, statement.sql)?;
    if object == Some("TABLE") && ["CREATE", "ALTER"].contains(&verb) {
        refuse_other_places(&tokens, statement.sql)?;
    }
    prepared(statement, &tokens)
}

fn words<'a>(tokens: &[Span<'a>]) -> impl Iterator<Item = &'a str> {
    tokens.iter().filter_map(|span| match span.token {
        Token::Word(word) => Some(word),
        _ => None,
    })
}

/// What a definition is of.
fn object(tokens: &[Span<'_>]) -> Option<&'static str> {
    for span in tokens.iter().skip(1) {
        let Token::Word(word) = span.token else { return None };
        if let Some(object) = OBJECTS.iter().find(|object| word.eq_ignore_ascii_case(object)) {
            return Some(object);
        }
        if !is_one_of(word, &BEFORE_OBJECTS) {
            return None;
        }
    }
    None
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|one| word.eq_ignore_ascii_case(one))
}

fn text<'a>(span: Option<&Span<'_>>, sql: &'a str) -> &'a str {
    span.and_then(|span| sql.get(span.start..span.end)).unwrap_or_default()
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['`', '\'', '"'])
}

/// Files of the server's machine: a right of its user that nobody meant for steps. The words wherever they are,
/// since what stands before them may be glued to other things; none of them is a name without quotes.
fn refuse_files(tokens: &[Span<'_>], sql: &str) -> Result<(), Error> {
    for (index, span) in tokens.iter().enumerate() {
        let is_file = match span.token {
            Token::Word(word) => is_one_of(word, &FILES),
            Token::Other => {
                unquoted(text(Some(span), sql)).eq_ignore_ascii_case(LOAD_FILE)
                    && text(tokens.get(index + 1), sql) == "("
            }
            Token::Dollar(_) | Token::Question | Token::Semicolon => false,
        };
        if is_file {
            return Err(Error::Invalid("a statement can't read or write files".to_owned()));
        }
    }
    Ok(())
}

/// Tables that are elsewhere than the server's own. The options are told from columns by the quotes that
/// those may have.
fn refuse_other_places(tokens: &[Span<'_>], sql: &str) -> Result<(), Error> {
    for (index, span) in tokens.iter().enumerate() {
        let Token::Word(word) = span.token else { continue };
        if is_one_of(word, &PLACES) {
            let word = word.to_ascii_lowercase();
            let message = format!("a table is where its server keeps it; a column called {word} is quoted: `{word}`");
            return Err(Error::Invalid(message));
        }
        if !word.eq_ignore_ascii_case("ENGINE") {
            continue;
        }
        let has_sign = text(tokens.get(index + 1), sql) == "=";
        let engine = tokens.get(index + 1 + usize::from(has_sign));
        if !is_one_of(unquoted(text(engine, sql)), &ENGINES) {
            let engines = ENGINES.join(", ");
            let message = format!("a table's engine is one of {engines}; a column called engine is quoted: `engine`");
            return Err(Error::Invalid(message));
        }
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
        return Err(Error::wrong_count(needed, params.len()));
    }
    let (mut sql, mut values, mut at) = (String::with_capacity(statement.sql.len()), Vec::new(), 0);
    let mut bytes = 0;
    for (span, number) in places {
        let param = number.checked_sub(1).and_then(|index| params.get(index));
        let param = param.ok_or_else(|| Error::Invalid(format!("there is no parameter ${number}")))?;
        bytes += size(param);
        if values.len() == PLACES_MAX {
            return Err(Error::TooLarge(format!("a statement has at most {PLACES_MAX} places for its parameters")));
        }
        if bytes > SENT_BYTES_MAX {
            let message = format!(
                "the parameters of a statement, each as often as it is used, have at most {SENT_BYTES_MAX} bytes"
            );
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

    /// One a line, for `query` and for `execute`.
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
        explain for connection 5
        explain format = json for connection 5
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
        install plugin a soname 'b'
        uninstall plugin a
        clone local data directory = '/tmp/a'
        select `load_file`('/etc/passwd')
        select `Load_File` /**/ ('/etc/passwd')
        select \"load_file\"('/etc/passwd')
        select {fn `load_file`('/etc/passwd')}
        select mariadb_schema.`load_file`('/etc/passwd')
        insert into a values (`load_file`('/etc/passwd'))
        create view a as select `load_file`('/etc/passwd')
        select 1.5into outfile '/tmp/a'
        select .5into outfile '/tmp/a'
        select 1.into dumpfile '/tmp/a'
        select 1e1into @a
        select 1.5e-1into @a
        select 1into @a
        select 0x41into @a
        select \\Ninto @a
        select N'a'into @a
        select \\Ninto outfile '/tmp/a'
        select 1.5e-- 5 into outfile '/tmp/a'
        insert into a select 1.5into outfile '/tmp/a'
        select /*+ SET_VAR(max_execution_time=0) */ 1
        select /*M! 1 into */ outfile '/tmp/a'
        create table a (b int) engine=federated connection='mysql://a@b/c'
        create table a (b int) engine connect table_type=csv file_name='/tmp/a'
        create table a (b int)engine='csv'
        create table a (b int) engine=`spider`
        create table a (b double default 1.5)engine=csv
        create table a (b int) engine=innodb engine=\"s3\"
        create table a (b int) data directory='/tmp'
        create table a (b int) index directory '/tmp'
        create table a (b int) partition by hash (b) (partition c engine = connect)
        create table a (b int) partition by hash (b) (partition c data directory = '/tmp')
        create table a (b int) connection 'mysql://a@b/c'
        create table a (b int) tablespace c
        create or replace table a (b int) engine=csv
        alter table a engine=csv
        alter table a engine csv
        alter ignore table a add c int, engine csv
        alter table a import tablespace
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
        let told = reading(statement(&often, &long)).unwrap_err();
        assert!(matches!(&told, Error::TooLarge(said) if said.contains("bytes")), "{told}");
        let places = format!("select {}", vec!["$1"; PLACES_MAX + 1].join(","));
        let told = reading(statement(&places, "[1]")).unwrap_err();
        assert!(matches!(&told, Error::TooLarge(said) if said.contains("65535 places")), "{told}");
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
            "create table a (b int) ENGINE=InnoDB",
            "create table a (b int) engine 'MEMORY' comment 'engine=csv'",
            "create table a (`engine` text, `connection` text, `directory` text)",
            "create view b as select engine from a",
            "alter table a engine=Aria",
            "insert into `load_file` values ('outfile')",
        ] {
            assert!(writing(statement(sql, "[]")).is_ok(), "{sql}");
            assert!(reading(statement(sql, "[]")).is_err() || sql.starts_with("with"), "{sql}");
        }
        let with_del = "select 1 --\x7f'\n into outfile '/tmp/a' -- '";
        for sql in REFUSED.lines().map(str::trim).filter(|sql| !sql.is_empty()).chain([with_del]) {
            assert!(reading(statement(sql, "[]")).is_err(), "{sql}");
            assert!(writing(statement(sql, "[]")).is_err(), "{sql}");
        }
        assert!(reading(statement("select `into`, `outfile`, `load_file`, 'into outfile' from a", "[]")).is_ok());
    }
}
