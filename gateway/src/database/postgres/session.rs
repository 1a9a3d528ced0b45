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
use tokio_postgres::{Client, RowStream, SimpleQueryMessage, SimpleQueryStream, Statement};

use super::super::json::Rows;
use super::super::params::Param;
use super::super::{Bounds, Error};
use super::connect::Wire;
use super::decode::{Malformed, Raw, Shape};
use super::encode;
use super::failure::Failure;

/// Prepared on one connection: what a few modules ask for again and again. Each is memory of the server's too.
const STATEMENTS_MAX: usize = 64;
/// Types within types that are followed. People's have two or three.
const TYPES_NEST_MAX: usize = 32;
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
    transaction: Transaction,
    /// What was sent behind a query to clean up after it, until its answer is read.
    cleaning: Option<Pin<Box<SimpleQueryStream>>>,
    /// Whether it has served already: it may have been lost since.
    pub(super) has_served: bool,
}

/// What a text is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    Query,
    Change,
}

/// What the last statement has to be cleaned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// Nothing began, or it was committed.
    Ended,
    Reading,
    Changing,
}

/// A statement that is prepared, and how its columns are read.
struct Prepared {
    statement: Statement,
    columns: Vec<(String, Shape)>,
}

impl Session {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            statements: LruCache::unbounded(),
            transaction: Transaction::Ended,
            cleaning: None,
            has_served: false,
        }
    }

    /// The rows of a statement that only reads, as JSON. Dropped in the middle, the server goes on.
    pub(super) async fn query(&mut self, sql: &str, params: &[Param<'_>], bounds: Bounds) -> Result<String, Failure> {
        let is_new = !self.statements.contains(&(Purpose::Query, sql.to_owned()));
        if is_new {
            // What a literal means is worked out while it is prepared, by functions too where its type has some: in
            // the transaction, and with all of the cleaning behind it.
            self.transaction = Transaction::Changing;
            self.wire.client.batch_execute("BEGIN READ ONLY").await?;
        }
        let prepared = self.prepared(Purpose::Query, sql).await?;
        let encoded = encode::parameters(params, prepared.statement.params()).map_err(Failure::Refused)?;
        let names = prepared.columns.iter().map(|(name, _)| name.as_str());
        let mut rows = Rows::new(names, bounds).map_err(Failure::Refused)?;
        let client = &self.wire.client;
        if is_new {
            let stream = client.query_raw(&prepared.statement, encoded.iter()).await?;
            collect(stream, &prepared, &mut rows).await?;
            return Ok(rows.finish());
        }
        self.transaction = Transaction::Reading;
        // In one flight, with what cleans up behind it: the server goes on by itself, and the step has its answer
        // before. Once there is a snapshot, which is before it runs, nothing makes it read-write; what a
        // read-only transaction can change all the same, large objects before PostgreSQL 16, is rolled back.
        let (begun, rows_begun, cleaning) = join3(
            client.batch_execute("BEGIN READ ONLY"),
            client.query_raw(&prepared.statement, encoded.iter()),
            client.simple_query_raw(CLEAN_AFTER_QUERY),
        )
        .await;
        self.cleaning = cleaning.ok().map(Box::pin);
        begun?;
        collect(rows_begun?, &prepared, &mut rows).await?;
        Ok(rows.finish())
    }

    /// Runs a statement that may write, up to but not including the commit. Dropped in the middle, nothing is
    /// changed.
    pub(super) async fn change(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        self.transaction = Transaction::Changing;
        let is_new = !self.statements.contains(&(Purpose::Change, sql.to_owned()));
        if is_new {
            self.wire.client.batch_execute("BEGIN READ WRITE").await?;
        }
        let prepared = self.prepared(Purpose::Change, sql).await?;
        let encoded = encode::parameters(params, prepared.statement.params()).map_err(Failure::Refused)?;
        let client = &self.wire.client;
        if is_new {
            return Ok(client.execute_raw(&prepared.statement, encoded.iter()).await?);
        }
        // In one flight. Where it doesn't begin, what follows is refused: a session is read only.
        let (begun, changed) =
            join(client.batch_execute("BEGIN READ WRITE"), client.execute_raw(&prepared.statement, encoded.iter()))
                .await;
        begun?;
        Ok(changed?)
    }

    /// Makes what was changed stay. Whether it did is not known where this fails or is dropped.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.wire.client.batch_execute("COMMIT").await?;
        self.transaction = Transaction::Ended;
        Ok(())
    }

    /// Makes the connection as if it were new, and tells whether it is.
    pub(super) async fn reset(&mut self) -> bool {
        if let Some(cleaning) = self.cleaning.take() {
            let Ok(answer) = cleaning.try_collect::<Vec<_>>().await else { return false };
            return self.is_clean(&answer);
        }
        // A server logs a warning for what is rolled back and never began.
        let (roll_back, discard) = match self.transaction {
            Transaction::Ended => ("", DISCARD),
            // Its cleaning could not be sent: the connection is lost.
            Transaction::Reading => return false,
            Transaction::Changing => ("ROLLBACK; ", DISCARD),
        };
        let reset = format!("{roll_back}{discard}{CHECK}");
        let Ok(answer) = self.wire.client.simple_query(&reset).await else { return false };
        self.is_clean(&answer)
    }

    /// Takes over what the server answered to its cleaning.
    fn is_clean(&mut self, answer: &[SimpleQueryMessage]) -> bool {
        self.transaction = Transaction::Ended;
        self.has_served = true;
        let row = answer.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(1)) == Some("f")
    }

    /// Forgets a statement that the server has no more.
    pub(super) fn forget(&mut self, sql: &str) {
        for purpose in [Purpose::Query, Purpose::Change] {
            self.statements.pop(&(purpose, sql.to_owned()));
        }
    }

    async fn prepared(&mut self, purpose: Purpose, sql: &str) -> Result<Arc<Prepared>, Failure> {
        let key = (purpose, sql.to_owned());
        if let Some(prepared) = self.statements.get(&key) {
            return Ok(Arc::clone(prepared));
        }
        self.check_nesting().await?;
        let prepared = Prepared::new(&self.wire.client, purpose, sql).await;
        // It keeps what it learns of types for as long as the connection lives, those that are dropped too.
        self.wire.client.clear_type_cache();
        let prepared = Arc::new(prepared?);
        if sql.len() <= STATEMENT_BYTES_MAX {
            self.statements.put(key, Arc::clone(&prepared));
        }
        if self.statements.len() > STATEMENTS_MAX {
            self.statements.pop_lru();
        }
        Ok(prepared)
    }

    /// Refuses a database with types in types in types: the driver follows them by recursion, as deep as they go.
    async fn check_nesting(&self) -> Result<(), Failure> {
        let answer = self.wire.client.simple_query(&nesting()).await?;
        let is_deep = answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) != Some("f"),
            _ => false,
        });
        if is_deep {
            let what = format!("the database has types that nest deeper than {TYPES_NEST_MAX}");
            return Err(Failure::Refused(Error::Failed { what, is_transient: false, source: None }));
        }
        Ok(())
    }
}

/// Whether there are user's types around more than [`TYPES_NEST_MAX`] others. Those of the system end in themselves.
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
    async fn new(client: &Client, purpose: Purpose, sql: &str) -> Result<Self, Failure> {
        let statement = client.prepare(sql).await?;
        if purpose == Purpose::Change {
            // Nobody reads what it returns.
            return Ok(Self { statement, columns: Vec::new() });
        }
        let shapes: Option<Vec<_>> = statement.columns().iter().map(|column| Shape::of(column.type_())).collect();
        if let Some(shapes) = shapes {
            let columns = names(&statement).zip(shapes).collect();
            return Ok(Self { statement, columns });
        }
        // As text, of which the driver can ask the server in no other way. What gives rows that are no
        // query's has no types but those of this file.
        let cast = client.prepare(&as_text(sql, &statement)).await?;
        let shapes = cast.columns().iter().map(|column| Shape::of(column.type_()).unwrap_or(Shape::Text));
        let columns = names(&statement).zip(shapes).collect();
        Ok(Self { statement: cast, columns })
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
