//! One connection, and the one statement that runs on it at a time.
//!
//! Owns what is prepared on a connection and how it is made clean. Does not retry. Invariants: a query runs
//! in a transaction of its own that is read only and never committed; a change is committed only after it
//! went well; and a connection is clean when nothing of a session is left but what this file prepared.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::{join, join3};
use lru::LruCache;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, RowStream, SimpleQueryMessage, SimpleQueryRow, SimpleQueryStream, Statement};

use super::super::json::Rows;
use super::super::params::Param;
use super::super::{Bounds, Error};
use super::connect::Wire;
use super::decode::{Malformed, Raw, Shape};
use super::encode::{self, Encoded};
use super::failure::Failure;
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

// What a rolled-back transaction that was read only can leave behind: locks of the session, and what was
// prepared with SQL. That may have the name of one of ours, so its connection is not used again. All else,
// settings, roles, channels, cursors, is as it was before the transaction.
macro_rules! check {
    () => {
        "SELECT pg_catalog.pg_advisory_unlock_all(), \
         EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() AS p WHERE p.from_sql)"
    };
}
const CHECK: &str = check!();

/// The same behind a query, whose transaction it ends.
const CLEAN_AFTER_QUERY: &str = concat!("ROLLBACK; ", check!());

/// For one that may have written. With [`CHECK`] it is what `DISCARD ALL` does but for what was prepared here,
/// which is what makes a statement fast.
const DISCARD: &str = "\
    CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; ";

/// A connection and what is prepared on it.
pub(super) struct Session {
    pub(super) wire: Wire,
    statements: LruCache<(Purpose, String), Arc<Prepared>>,
    cleaning: Cleaning,
}

/// What a text is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    Query,
    Change,
}

/// What makes a connection clean after its last statement.
enum Cleaning {
    /// No transaction is open, and one may have been committed.
    Discard,
    RollBackAndDiscard,
    /// It is under way, sent behind a query; this is its answer.
    Sent(Pin<Box<SimpleQueryStream>>),
}

/// A statement that is prepared, and how its columns are read.
struct Prepared {
    statement: Statement,
    columns: Vec<(String, Shape)>,
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

/// What one statement is sent with.
struct Ready {
    prepared: Arc<Prepared>,
    parameters: Vec<Encoded>,
    /// What goes before it.
    begin: &'static str,
}

impl Session {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, statements: LruCache::unbounded(), cleaning: Cleaning::Discard }
    }

    /// The rows of a statement that only reads, as JSON. Dropped in the middle, the server goes on.
    pub(super) async fn query(&mut self, sql: &str, params: &[Param<'_>], bounds: Bounds) -> Result<String, Failure> {
        let Ready { prepared, parameters, begin } = self.ready(Purpose::Query, sql, params).await?;
        let names = prepared.columns.iter().map(|(name, _)| name.as_str());
        let mut rows = Rows::new(names, bounds).map_err(Failure::Refused)?;
        let client = &self.wire.client;
        self.cleaning = Cleaning::RollBackAndDiscard;
        // In one flight, with what cleans up behind it: the server goes on by itself, and the step has its answer
        // before. Once there is a snapshot, which is before it runs, nothing makes it read-write; what a
        // read-only transaction can change all the same, large objects before PostgreSQL 16, is rolled back.
        let (begun, rows_begun, cleaning) = join3(
            client.batch_execute(begin),
            client.query_raw(&prepared.statement, parameters.iter()),
            client.simple_query_raw(CLEAN_AFTER_QUERY),
        )
        .await;
        if let Ok(answer) = cleaning {
            self.cleaning = Cleaning::Sent(Box::pin(answer));
        }
        begun.map_err(Failure::NotBegun)?;
        collect(rows_begun?, &prepared, &mut rows).await?;
        Ok(rows.finish())
    }

    /// Runs a statement that may write, up to but not including the commit. Dropped in the middle, nothing is
    /// changed.
    pub(super) async fn change(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        let Ready { prepared, parameters, begin } = self.ready(Purpose::Change, sql, params).await?;
        let client = &self.wire.client;
        self.cleaning = Cleaning::RollBackAndDiscard;
        // In one flight. Where it doesn't begin, what follows is refused: a session is read only.
        let change = client.execute_raw(&prepared.statement, parameters.iter());
        let (begun, changed) = join(client.batch_execute(begin), change).await;
        begun.map_err(Failure::NotBegun)?;
        let changed = changed?;
        // They are everyone's who uses the database.
        if prepared.types == Types::Shallow && statement::may_make_types(sql) && self.types_now().await? == Types::Deep
        {
            self.forget(sql);
            return Err(nested());
        }
        Ok(changed)
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

    /// Makes the connection as if it were new, and tells whether it is.
    pub(super) async fn reset(&mut self) -> bool {
        let client = &self.wire.client;
        let answer = match std::mem::replace(&mut self.cleaning, Cleaning::Discard) {
            Cleaning::Sent(answer) => answer.try_collect().await,
            // A server logs a warning for what is rolled back and never began.
            Cleaning::Discard => client.simple_query(&format!("{DISCARD}{CHECK}")).await,
            Cleaning::RollBackAndDiscard => client.simple_query(&format!("ROLLBACK; {DISCARD}{CHECK}")).await,
        };
        answer.is_ok_and(|answer| is_clean(&answer))
    }

    /// Forgets a statement that the server has no more.
    pub(super) fn forget(&mut self, sql: &str) {
        for purpose in [Purpose::Query, Purpose::Change] {
            self.statements.pop(&(purpose, sql.to_owned()));
        }
    }

    async fn ready(&mut self, purpose: Purpose, sql: &str, params: &[Param<'_>]) -> Result<Ready, Failure> {
        let key = (purpose, sql.to_owned());
        let known = self.statements.get(&key).map(Arc::clone);
        let (prepared, begin) = match (known, purpose) {
            (Some(prepared), Purpose::Query) => (prepared, "BEGIN READ ONLY"),
            (Some(prepared), Purpose::Change) => (prepared, "BEGIN READ WRITE"),
            (None, Purpose::Query) => (self.prepare(key).await?, "ROLLBACK; BEGIN READ ONLY"),
            (None, Purpose::Change) => (self.prepare(key).await?, "ROLLBACK; BEGIN READ WRITE"),
        };
        let parameters = encode::parameters(params, prepared.statement.params()).map_err(Failure::Refused)?;
        Ok(Ready { prepared, parameters, begin })
    }

    /// Prepares a statement in a transaction that is left open, to be rolled back. What a literal means is worked
    /// out by functions too where its type has some: they can't write. And all that is read of types is of one
    /// snapshot, so that those that the driver follows are those that were checked.
    async fn prepare(&mut self, key: (Purpose, String)) -> Result<Arc<Prepared>, Failure> {
        self.cleaning = Cleaning::RollBackAndDiscard;
        let client = &self.wire.client;
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", nesting());
        let answer = client.simple_query(&begin).await.map_err(Failure::NotBegun)?;
        let types = types(&answer);
        // Whether they are the statement's is known when the driver follows them: it's stopped before it's too deep.
        let left = self.wire.budget.left();
        if types == Types::Deep {
            self.wire.budget.grant(NESTED_BYTES_MAX.min(left));
        }
        let prepared = Prepared::new(client, types, key.0, &key.1).await;
        if types == Types::Deep {
            if self.wire.budget.is_used_up() {
                return Err(nested());
            }
            self.wire.budget.grant(left);
        }
        // It keeps what it learns of types for as long as the connection lives, those that are dropped too.
        client.clear_type_cache();
        let prepared = Arc::new(prepared?);
        if key.1.len() <= STATEMENT_BYTES_MAX {
            self.statements.put(key, Arc::clone(&prepared));
        }
        if self.statements.len() > STATEMENTS_MAX {
            self.statements.pop_lru();
        }
        Ok(prepared)
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

impl Prepared {
    async fn new(client: &Client, types: Types, purpose: Purpose, sql: &str) -> Result<Self, Failure> {
        let statement = client.prepare(sql).await?;
        if purpose == Purpose::Change {
            // Nobody reads what it returns.
            return Ok(Self { statement, columns: Vec::new(), types });
        }
        let shapes: Option<Vec<_>> = statement.columns().iter().map(|column| Shape::of(column.type_())).collect();
        if let Some(shapes) = shapes {
            let columns = names(&statement).zip(shapes).collect();
            return Ok(Self { statement, columns, types });
        }
        // As text, of which the driver can ask the server in no other way. What gives rows that are no
        // query's has no types but those of this file.
        let cast = client.prepare(&as_text(sql, &statement)).await?;
        let shapes = cast.columns().iter().map(|column| Shape::of(column.type_()).unwrap_or(Shape::Text));
        let columns = names(&statement).zip(shapes).collect();
        Ok(Self { statement: cast, columns, types })
    }
}

/// Writes the rows as they come.
async fn collect(stream: RowStream, prepared: &Prepared, rows: &mut Rows) -> Result<(), Failure> {
    let mut stream = pin!(stream);
    while let Some(row) = stream.try_next().await? {
        let value = |index: usize, json: &mut super::super::json::Json| {
            let raw: Option<Raw<'_>> = row.try_get(index).map_err(|_| unreadable())?;
            match (raw, prepared.columns.get(index)) {
                (Some(raw), Some((_, shape))) => shape.write(raw.0, json).map_err(|Malformed| unreadable()),
                _ => {
                    json.null();
                    Ok(())
                }
            }
        };
        rows.row(value).map_err(Failure::Abandoned)?;
    }
    Ok(())
}

fn names(statement: &Statement) -> impl Iterator<Item = String> {
    statement.columns().iter().map(|column| column.name().to_owned())
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
