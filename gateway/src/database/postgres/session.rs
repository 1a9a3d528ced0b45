//! One connection, and the one statement that runs on it at a time.
//!
//! Owns what is prepared on a connection and how it is made clean. Does not retry. Invariants: a query runs
//! in a transaction of its own that is read only and never committed; a change is committed only after it
//! went well; and a connection is clean when nothing of a session is left but what this file prepared.

use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow, Statement};
use uuid::Uuid;

use super::super::json::{Columns, Json, Rows};
use super::super::params::Param;
use super::super::{Bounds, Error};
use super::connect::Wire;
use super::decode::{Malformed, Shape};
use super::encode::{self, Encoded};
use super::failure::Failure;
use super::flight::{self, Begin, Described, Flight};
use super::message::{self, Body, Format};
use super::statement;

/// Prepared on one connection: what a few modules ask for again and again. Each is memory of the server's too.
const STATEMENTS_MAX: usize = 64;
/// Types within types that are followed. People's have two or three.
const TYPES_NEST_MAX: usize = 32;
/// What preparing may be sent where types nest deeper. One takes ninety bytes or more, so the driver follows fewer than
/// two hundred, which a thread's stack holds; and a statement has some hundred columns.
const NESTED_BYTES_MAX: u64 = 16 * 1024;
/// A statement that is longer is prepared each time: nobody writes one by hand.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;

/// What `BEGIN READ ONLY` is prepared as: half of what it takes is being parsed. A statement that has the name stand for
/// another one finds itself in a transaction that is read only all the same, as a session is, and that `ROLLBACK`, which
/// has no name, ends as well.
const BEGIN_QUERY: &str = "begin";

/// What a rolled-back transaction that was read only can leave behind: locks of the session, what was prepared with SQL,
/// and a seed, by which `random()` would tell the next what it told the one before. What was prepared may have the name
/// of one of ours, so its connection is not used again. All else, settings, roles, channels, cursors, is as it was
/// before the transaction. Not prepared itself, for that reason.
fn check() -> String {
    // As many digits as a seed has, and no operator, which might be another's.
    let seed = Uuid::new_v4().as_u64_pair().1 % 10_000_000_000_000_000;
    format!(
        "SELECT pg_catalog.pg_advisory_unlock_all(), \
            EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() AS p WHERE p.from_sql), \
            pg_catalog.setseed(0.{seed:016})"
    )
}

/// For so long after its last answer a connection is presumed to be one. A query that finds it isn't fails, after more
/// it is made again on another: it would not be known to have begun else, which takes the server another send.
const PRESUMED_ALIVE: Duration = Duration::from_secs(1);

/// What the answer to a cleaning has room in.
const CLEANING_BYTES_MAX: u64 = 64 * 1024;

/// For one that may have written. With [`check`] it is what `DISCARD ALL` does but for what was prepared here,
/// which is what makes a statement fast.
const DISCARD: &str = "\
    CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; ";

/// A connection and what is prepared on it.
pub(super) struct Session {
    pub(super) wire: Wire,
    statements: LruCache<(Purpose, String), Arc<Prepared>>,
    /// Names of those that nobody will ask for again. The server keeps them until the next is prepared, so there are never
    /// more than a few.
    forgotten: Vec<String>,
    /// How many names were given.
    named: u64,
    is_begin_prepared: bool,
    cleaning: Cleaning,
    /// When it last answered.
    heard_at: Instant,
}

/// What a text is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    Query,
    Change,
}

/// What makes a connection clean after its last statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cleaning {
    /// It is clean.
    Nothing,
    /// A query was rolled back.
    Check,
    /// No transaction is open, and one may have been committed.
    Discard,
    RollBackAndDiscard,
}

/// A statement that is prepared, and how its columns are read.
struct Prepared {
    name: String,
    parameters: Vec<Type>,
    columns: Columns,
    shapes: Vec<Shape>,
    /// What the database's types were then.
    types: Types,
}

/// How deep the types of a database go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types {
    Shallow,
    /// Some are around more than [`TYPES_NEST_MAX`] others.
    Deep,
}

impl Session {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            statements: LruCache::unbounded(),
            forgotten: Vec::new(),
            named: 0,
            is_begin_prepared: false,
            cleaning: Cleaning::Nothing,
            heard_at: Instant::now(),
        }
    }

    /// The rows of a statement that only reads, as JSON. Dropped in the middle, the server goes on.
    pub(super) async fn query(&mut self, sql: &str, params: &[Param<'_>], bounds: Bounds) -> Result<String, Failure> {
        let (prepared, parameters) = self.ready(Purpose::Query, sql, params).await?;
        let mut rows = Rows::of(prepared.columns.clone(), bounds);
        // In one flight: where one of them fails, the server passes over those after it. Once there is a snapshot,
        // which is before the statement runs, nothing makes it read-write; what a read-only transaction can change
        // all the same, large objects before PostgreSQL 16, is rolled back.
        let begin = if self.heard_at.elapsed() < PRESUMED_ALIVE { Begin::WithAnswer } else { Begin::First };
        let out = self.wire.line.begin();
        self.cleaning = Cleaning::RollBackAndDiscard;
        message::run(out, BEGIN_QUERY, &[], Format::Text);
        if begin == Begin::First {
            message::flush(out);
        }
        message::run(out, &prepared.name, &parameters, Format::Binary);
        message::parse(out, "", "ROLLBACK");
        message::run(out, "", &[], Format::Text);
        message::sync(out);
        flight::hear(&mut self.wire.line, Flight::Query(begin), |row| write(row, &prepared, &mut rows)).await?;
        self.heard_at = Instant::now();
        self.cleaning = Cleaning::Check;
        Ok(rows.finish())
    }

    /// Runs a statement that may write, up to but not including the commit. Dropped in the middle, nothing is
    /// changed.
    pub(super) async fn change(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        let (prepared, parameters) = self.ready(Purpose::Change, sql, params).await?;
        // In one flight. Where it doesn't begin, what follows is passed over.
        let out = self.wire.line.begin();
        self.cleaning = Cleaning::RollBackAndDiscard;
        message::parse(out, "", "BEGIN READ WRITE");
        message::run(out, "", &[], Format::Text);
        message::flush(out);
        message::run(out, &prepared.name, &parameters, Format::Text);
        message::sync(out);
        // Nobody reads what it returns.
        let rows_changed = flight::hear(&mut self.wire.line, Flight::Change, |_| Ok(())).await?;
        // They are everyone's who uses the database.
        if prepared.types == Types::Shallow && statement::may_make_types(sql) && self.types_now().await? == Types::Deep
        {
            self.forget(sql);
            return Err(nested());
        }
        Ok(rows_changed)
    }

    async fn types_now(&self) -> Result<Types, Failure> {
        let answer = self.wire.client.simple_query(&nesting()).await?;
        Ok(types(&answer))
    }

    /// Makes what was changed stay. Whether it did is not known where this fails or is dropped.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.wire.client.batch_execute("COMMIT").await?;
        self.cleaning = Cleaning::Discard;
        Ok(())
    }

    /// Whether nothing was left on it but what a query can leave, which only others must not find.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.cleaning == Cleaning::Check && !self.wire.line.is_broken()
    }

    /// Makes the connection as if it were new, and tells whether it is.
    pub(super) async fn reset(&mut self) -> bool {
        self.wire.budget.grant(CLEANING_BYTES_MAX);
        let client = &self.wire.client;
        let answer = match self.cleaning {
            Cleaning::Nothing => return true,
            Cleaning::Check => client.simple_query(&check()).await,
            // A server logs a warning for what is rolled back and never began.
            Cleaning::Discard => client.simple_query(&format!("{DISCARD}{}", check())).await,
            Cleaning::RollBackAndDiscard => client.simple_query(&format!("ROLLBACK; {DISCARD}{}", check())).await,
        };
        let is_clean = answer.is_ok_and(|answer| is_clean(&answer));
        if is_clean {
            self.cleaning = Cleaning::Nothing;
            self.heard_at = Instant::now();
        }
        is_clean
    }

    /// Forgets a statement that the server has no more, or has otherwise, and how to begin, which may be gone with it.
    pub(super) fn forget(&mut self, sql: &str) {
        self.is_begin_prepared = false;
        for purpose in [Purpose::Query, Purpose::Change] {
            let prepared = self.statements.pop(&(purpose, sql.to_owned()));
            self.forgotten.extend(prepared.map(|prepared| prepared.name.clone()));
        }
    }

    async fn ready(
        &mut self,
        purpose: Purpose,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<(Arc<Prepared>, Vec<Encoded>), Failure> {
        let key = (purpose, sql.to_owned());
        let prepared = match self.statements.get(&key).map(Arc::clone) {
            Some(prepared) => prepared,
            // Boxed: most find theirs, and would move what this takes.
            None => Box::pin(self.prepare(key)).await?,
        };
        let parameters = encode::parameters(params, &prepared.parameters).map_err(Failure::Refused)?;
        Ok((prepared, parameters))
    }

    /// Prepares a statement in a transaction that is rolled back. What a literal means is worked
    /// out by functions too where its type has some: they can't write. And all that is read of types is of one
    /// snapshot, so that those that the driver follows are those that were checked.
    async fn prepare(&mut self, key: (Purpose, String)) -> Result<Arc<Prepared>, Failure> {
        self.cleaning = Cleaning::RollBackAndDiscard;
        let client = &self.wire.client;
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", nesting());
        let answer = client.simple_query(&begin).await.map_err(|error| Failure::NotBegun(error.into()))?;
        let types = types(&answer);
        // Whether they are the statement's is known when the driver follows them: it's stopped before it's too deep.
        let left = self.wire.budget.left();
        if types == Types::Deep {
            self.wire.budget.grant(NESTED_BYTES_MAX.min(left));
        }
        let known = Known::new(client, key.0, &key.1).await;
        if types == Types::Deep {
            if self.wire.budget.is_used_up() {
                return Err(nested());
            }
            self.wire.budget.grant(left);
        }
        // It keeps what it learns of types for as long as the connection lives, those that are dropped too.
        client.clear_type_cache();
        let known = known?;
        let name = self.name(&known).await?;
        let (parameters, columns, shapes) = (known.parameters(), known.columns, known.shapes);
        let prepared = Arc::new(Prepared { name, parameters, columns, shapes, types });
        self.keep(key, &prepared);
        // The driver's own, which it has closed by the time it answers.
        drop((known.statement, known.cast));
        self.wire.client.batch_execute("ROLLBACK").await?;
        self.cleaning = Cleaning::Check;
        self.heard_at = Instant::now();
        Ok(prepared)
    }

    /// Prepares what the driver has looked at, since it doesn't tell its names, and sees that it is still the same.
    async fn name(&mut self, known: &Known) -> Result<String, Failure> {
        self.named += 1;
        let name = format!("q{}", self.named);
        let out = self.wire.line.begin();
        // Before all that may fail, since the server passes over what is behind that: else a step whose statements all
        // do would have it keep every one.
        self.forgotten.drain(..).for_each(|name| message::close(out, &name));
        if !self.is_begin_prepared {
            message::close(out, BEGIN_QUERY);
            message::parse(out, BEGIN_QUERY, "BEGIN READ ONLY");
        }
        message::parse(out, &name, &known.sql);
        message::describe(out, &name);
        message::sync(out);
        let described = flight::described(&mut self.wire.line).await;
        // Where one failed it was the second.
        self.is_begin_prepared = true;
        let failure = match described {
            Ok(described) if described == known.described() => return Ok(name),
            Ok(_) => {
                let what = "a table of the statement was altered while it was prepared".to_owned();
                Failure::Refused(Error::Failed { what, is_transient: true, source: None })
            }
            Err(failure) => failure,
        };
        self.forgotten.push(name);
        Err(failure)
    }

    fn keep(&mut self, key: (Purpose, String), prepared: &Arc<Prepared>) {
        if key.1.len() > STATEMENT_BYTES_MAX {
            self.forgotten.push(prepared.name.clone());
            return;
        }
        self.statements.put(key, Arc::clone(prepared));
        if self.statements.len() > STATEMENTS_MAX {
            let (_, oldest) = self.statements.pop_lru().unzip();
            self.forgotten.extend(oldest.map(|oldest| oldest.name.clone()));
        }
    }
}

/// Whether a connection may serve again, by what its cleaning answered.
fn is_clean(answer: &[SimpleQueryMessage]) -> bool {
    single_row(answer).and_then(|row| row.get(1)) == Some("f")
}

fn single_row(answer: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

fn types(answer: &[SimpleQueryMessage]) -> Types {
    if single_row(answer).and_then(|row| row.get(0)) == Some("f") { Types::Shallow } else { Types::Deep }
}

fn nested() -> Failure {
    let what = format!("the database has types that nest deeper than {TYPES_NEST_MAX}");
    Failure::Refused(Error::Failed { what, is_transient: false, source: None })
}

/// Whether there are user's types around more than [`TYPES_NEST_MAX`] others: the driver follows them by recursion, as
/// deep as they go. Those of the system end in themselves.
fn nesting() -> String {
    format!(
        "WITH RECURSIVE nested(oid, depth) AS (\
           SELECT t.oid, 1 FROM pg_catalog.pg_type AS t WHERE t.oid >= 16384 AND t.typtype IN ('c', 'd', 'r') \
           UNION \
           SELECT inside.oid, n.depth + 1 FROM nested AS n CROSS JOIN LATERAL (\
             SELECT t.typbasetype AS oid FROM pg_catalog.pg_type AS t WHERE t.oid = n.oid \
             UNION ALL SELECT t.typelem FROM pg_catalog.pg_type AS t WHERE t.oid = n.oid \
             UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r WHERE r.rngtypid = n.oid \
             UNION ALL SELECT a.atttypid FROM pg_catalog.pg_type AS t \
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
               WHERE t.oid = n.oid\
           ) AS inside WHERE inside.oid >= 16384 AND n.depth <= {TYPES_NEST_MAX}\
         ) SELECT EXISTS (SELECT FROM nested WHERE depth > {TYPES_NEST_MAX})"
    )
}

/// What the driver finds out of a statement.
struct Known {
    sql: String,
    statement: Statement,
    /// The same with columns as text.
    cast: Option<Statement>,
    columns: Columns,
    shapes: Vec<Shape>,
}

impl Known {
    async fn new(client: &Client, purpose: Purpose, sql: &str) -> Result<Self, Failure> {
        let statement = client.prepare(sql).await?;
        // Nobody reads what a change returns.
        let read = if purpose == Purpose::Query { statement.columns() } else { &[] };
        let columns = Columns::new(read.iter().map(tokio_postgres::Column::name)).map_err(Failure::Refused)?;
        let shapes: Option<Vec<_>> = read.iter().map(|column| Shape::of(column.type_())).collect();
        if let Some(shapes) = shapes {
            return Ok(Self { sql: sql.to_owned(), statement, cast: None, columns, shapes });
        }
        // As text, of which the server can be asked in no other way for some columns. What gives rows that are no
        // query's has no types but those of this file.
        let sql = as_text(sql, &statement);
        let cast = client.prepare(&sql).await?;
        let shapes = cast.columns().iter().map(|column| Shape::of(column.type_()).unwrap_or(Shape::Text)).collect();
        Ok(Self { sql, statement, cast: Some(cast), columns, shapes })
    }

    fn prepared(&self) -> &Statement {
        self.cast.as_ref().unwrap_or(&self.statement)
    }

    fn parameters(&self) -> Vec<Type> {
        self.prepared().params().to_vec()
    }

    fn described(&self) -> Described {
        Described {
            parameters: self.prepared().params().iter().map(Type::oid).collect(),
            columns: self.prepared().columns().iter().map(|column| column.type_().oid()).collect(),
        }
    }
}

/// Writes a row as it comes.
fn write(mut row: Body<'_>, prepared: &Prepared, rows: &mut Rows) -> Result<(), Error> {
    // How many there are, which is how many were described.
    row.count().map_err(|_| unreadable())?;
    let value =
        |index: usize, json: &mut Json| match (row.value().map_err(|_| unreadable())?, prepared.shapes.get(index)) {
            (Some(raw), Some(shape)) => shape.write(raw, json).map_err(|Malformed| unreadable()),
            _ => {
                json.null();
                Ok(())
            }
        };
    rows.row(value)
}

/// The same query with the columns as text whose types have no form of their own.
fn as_text(sql: &str, statement: &Statement) -> String {
    let (mut columns, mut names) = (Vec::new(), Vec::new());
    for (index, column) in statement.columns().iter().enumerate() {
        columns
            .push(format!("t.c{index}{}", if Shape::of(column.type_()).is_some() { "" } else { cast(column.type_()) }));
        names.push(format!("c{index}"));
    }
    format!("SELECT {} FROM ({sql}\n) AS t({})", columns.join(", "), names.join(", "))
}

fn cast(ty: &Type) -> &'static str {
    match ty.kind() {
        Kind::Domain(base) => cast(base),
        Kind::Array(_) => "::pg_catalog.text[]",
        _ => "::pg_catalog.text",
    }
}

fn unreadable() -> Error {
    let what = "a value of the answer can't be read".to_owned();
    Error::Failed { what, is_transient: false, source: None }
}
