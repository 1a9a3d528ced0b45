//! The databases of steps, on SQLite files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use sluice::config::{self, DatabaseUrl};
use sluice::database::{Databases, Error, Statement};

struct Shop {
    folder: tempfile::TempDir,
    databases: Databases,
}

impl Shop {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut config::Database)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let databases = open(folder.path(), change);
        Self { folder, databases }
    }

    async fn query(&self, sql: &str, params: Value) -> Result<Value, Error> {
        self.query_within(sql, params, Duration::from_mins(1)).await
    }

    async fn query_within(&self, sql: &str, params: Value, time: Duration) -> Result<Value, Error> {
        let params = params.to_string();
        let statement = Statement { sql, params: &params };
        let rows = self
            .databases
            .query("shop", statement, tokio::time::Instant::now() + time, &mut self.databases.caller())
            .await?;
        Ok(serde_json::from_str(&rows).unwrap())
    }

    async fn execute(&self, sql: &str, params: Value) -> Result<u64, Error> {
        let params = params.to_string();
        let statement = Statement { sql, params: &params };
        self.databases
            .execute(
                "shop",
                statement,
                tokio::time::Instant::now() + Duration::from_mins(1),
                &mut self.databases.caller(),
            )
            .await
    }

    /// Another program at the same file.
    fn beside(&self) -> Connection {
        Connection::open(self.folder.path().join("shop.db")).unwrap()
    }
}

fn open(folder: &Path, change: impl FnOnce(&mut config::Database)) -> Databases {
    let mut database = config::Database::new(DatabaseUrl::parse("sqlite:shop.db", folder).unwrap());
    change(&mut database);
    Databases::open(&BTreeMap::from([("shop".to_owned(), database)])).unwrap()
}

fn invalid(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Invalid(said)) => said,
        other => panic!("{other:?}"),
    }
}

/// Because of what it is, whoever found that.
fn refused(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Invalid(said) | Error::Failed { what: said, is_transient: false, source: None }) => said,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_value_goes_in_and_comes_out_as_documented_on_sqlite() {
    let shop = Shop::new();
    let table = [
        // What is given, what is returned, and how SQLite keeps it.
        (json!(null), json!(null), "null"),
        (json!(true), json!(1), "integer"),
        (json!(false), json!(0), "integer"),
        (json!(7), json!(7), "integer"),
        (json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992_i64), "integer"),
        (json!(9_007_199_254_740_993_i64), json!("9007199254740993"), "integer"),
        (json!(i64::MIN), json!("-9223372036854775808"), "integer"),
        (json!(1.5), json!(1.5), "real"),
        (json!(0.1), json!(0.1), "real"),
        (json!("text é \u{0} \"'"), json!("text é \u{0} \"'"), "text"),
        (json!(""), json!(""), "text"),
        (json!([1, {"a": null}]), json!("[1,{\"a\":null}]"), "text"),
        (json!({"a": 1}), json!("{\"a\":1}"), "text"),
    ];
    shop.execute("create table kept (id integer primary key, value)", json!([])).await.unwrap();
    for (id, (given, returned, kind)) in table.into_iter().enumerate() {
        let params = json!([id, given]);
        assert_eq!(shop.execute("insert into kept values ($1, $2)", params.clone()).await.unwrap(), 1, "{params}");
        let rows = shop.query("select value, typeof(value) as kind from kept where id = $1", json!([id])).await;
        assert_eq!(rows.unwrap(), json!([{"value": returned, "kind": kind}]), "{params}");
    }
    let rows = shop.query(
        "select x'00ff' as bytes, 9e999 as infinity, -9e999 as negative, cast(x'61ff62' as text) as broken, \
         9e999 - 9e999 as nan, cast('2026-01-02' as date) as cast_only",
        json!([]),
    );
    let expected = json!([{
        "bytes": "AP8=", "infinity": "Infinity", "negative": "-Infinity", "broken": "a\u{fffd}b", "nan": null,
        "cast_only": 2026,
    }]);
    assert_eq!(rows.await.unwrap(), expected);
    for number in ["9223372036854775808", "-9223372036854775809", "1e999", "123456789012345678901234567890"] {
        let params = format!("[{number}]");
        let statement = Statement { sql: "select $1 as a", params: &params };
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        assert!(
            invalid(shop.databases.query("shop", statement, deadline, &mut shop.databases.caller()).await)
                .contains("past"),
            "{number}"
        );
    }
}

#[tokio::test]
async fn parameters_are_bound_by_number_and_counted_on_sqlite() {
    let shop = Shop::new();
    let row = json!([{"a": 2, "b": 1, "c": 2}]);
    assert_eq!(shop.query("select $2 as a, $1 as b, $2 as c", json!([1, 2])).await.unwrap(), row);
    assert_eq!(shop.query("select ?2 as a, ?1 as b, ?2 as c", json!([1, 2])).await.unwrap(), row);
    assert_eq!(shop.query("select ? as a, ? as b, ? as c", json!([2, 1, 2])).await.unwrap(), row);
    assert_eq!(shop.query("select '$1' as a -- $2\n", json!([])).await.unwrap(), json!([{"a": "$1"}]));
    for (sql, params, said) in [
        ("select $1 as a", json!([]), "has 1 parameters, and 0"),
        ("select $1 as a", json!([1, 2]), "has 1 parameters, and 2"),
        ("select $2 as a", json!([1]), "has 2 parameters, and 1"),
        ("select 1 as a", json!([1]), "has 0 parameters, and 1"),
        ("select $0 as a", json!([]), "not names"),
        ("select :name as a", json!([1]), "not names"),
        ("select @name as a", json!([1]), "not names"),
        ("select $name as a", json!([1]), "not names"),
        ("select $1 as a, ? as b", json!([1, 2]), "not both"),
        ("select $1 as a", json!({"1": 1}), "not a JSON array"),
        ("select 1 as a, 2 as a", json!([]), "two columns"),
    ] {
        let said_here = invalid(shop.query(sql, params).await);
        assert!(said_here.contains(said), "{sql}: {said_here}");
    }
}

#[tokio::test]
async fn a_query_of_sqlite_only_reads_and_what_is_executed_tells_the_rows_that_it_changed() {
    let shop = Shop::new();
    assert_eq!(shop.query("select 1 as one", json!([])).await.unwrap(), json!([{"one": 1}]));
    assert_eq!(shop.execute("create table stock (sku text primary key, count int)", json!([])).await.unwrap(), 0);
    let three = "insert into stock values ('a', 1), ('b', 2), ('c', 3)";
    assert_eq!(shop.execute(three, json!([])).await.unwrap(), 3);
    assert_eq!(shop.execute("create table if not exists stock (sku)", json!([])).await.unwrap(), 0);
    assert_eq!(shop.execute("create index of_stock on stock (count)", json!([])).await.unwrap(), 0);
    assert_eq!(shop.execute("update stock set count = 9 where sku = 'none'", json!([])).await.unwrap(), 0);
    let returning = "insert into stock values ('d', 4), ('e', 5) returning sku";
    assert_eq!(shop.execute(returning, json!([])).await.unwrap(), 2);
    let with = "with low as (select sku from stock where count < 3) delete from stock where sku in low";
    assert_eq!(shop.execute(with, json!([])).await.unwrap(), 2);
    assert_eq!(shop.execute("alter table stock add column note text not null default ''", json!([])).await.unwrap(), 0);
    assert_eq!(shop.execute("alter table stock rename to goods", json!([])).await.unwrap(), 0);
    assert_eq!(shop.execute("create virtual table words using fts5 (body)", json!([])).await.unwrap(), 0);
    assert_eq!(shop.execute("insert into words values ('one two')", json!([])).await.unwrap(), 1);
    let found = shop.query("select body from words where words match 'two'", json!([])).await;
    assert_eq!(found.unwrap(), json!([{"body": "one two"}]));
    for sql in [
        three,
        returning,
        with,
        "delete from goods",
        "with a as (select 1) update goods set count = 0",
        "explain delete from nothing_here",
        "drop table goods",
        "create temp table a (b)",
    ] {
        let said = refused(shop.query(sql, json!([])).await);
        assert!(!said.contains("goods"), "{said}");
    }
    assert!(invalid(shop.execute("select 1", json!([])).await).contains("is a query"));
    assert!(invalid(shop.execute("with a as (select 1) select * from a", json!([])).await).contains("is a query"));
    assert_eq!(shop.query("select count(*) as rows from goods", json!([])).await.unwrap(), json!([{"rows": 3}]));
}

#[tokio::test]
async fn nothing_reaches_out_of_a_sqlite_file_and_one_statement_is_run() {
    let shop = Shop::new();
    shop.execute("create table stock (sku text)", json!([])).await.unwrap();
    let other = shop.folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("create table secret (a)").unwrap();
    let attach = format!("attach '{}' as other", other.display());
    let vacuum = format!("vacuum into '{}'", shop.folder.path().join("copy.db").display());
    for sql in [
        attach.as_str(),
        vacuum.as_str(),
        "detach main",
        "vacuum",
        "reindex",
        "analyze",
        "pragma query_only = off",
        "pragma table_info(stock)",
        "/* a */ pragma journal_mode = delete",
        "select * from pragma_table_info('stock')",
        "select * from pragma_database_list",
        "begin",
        "commit",
        "savepoint a",
        "select 1; select 2",
        "select 1; -- \n pragma query_only = off",
        "select load_extension('/tmp/x.so')",
        "select fts3_tokenizer('simple')",
        "select fts3_tokenizer('simple', x'0000000000000000')",
        "select readfile('/etc/passwd')",
        "select writefile('/tmp/x', 'y')",
        "select changes()",
        "select total_changes()",
        "select last_insert_rowid()",
        "create temp table a (b)",
        "create temp trigger a after insert on stock begin select 1; end",
        "create table temp.a (b)",
        "create virtual table a using csv(filename='/etc/passwd')",
        "create virtual table a using fts3(b)",
        "insert into sqlite_schema values ('table', 'a', 'a', 2, 'create table a (b)')",
        "update sqlite_schema set sql = 'create table stock (a, b)'",
        "delete from sqlite_schema",
        "insert into stock select load_extension('/tmp/x.so')",
        "create trigger a after insert on stock begin select load_extension('/tmp/x.so'); end; insert into stock values (1)",
        "",
        ";",
        "select 'a",
        "select 1 \0",
    ] {
        let queried = refused(shop.query(sql, json!([])).await);
        let executed = refused(shop.execute(sql, json!([])).await);
        for said in [queried, executed] {
            assert!(!said.is_empty() && !said.contains("tmp") && !said.contains("passwd"), "{sql}: {said}");
        }
    }
    assert!(!shop.folder.path().join("copy.db").exists());
    // A trigger may not do either what its statement may not; it is found when it is made or when it runs.
    let trigger = "create trigger a after insert on stock begin select load_extension('/tmp/x.so'); end";
    let made = shop.execute(trigger, json!([])).await;
    let ran = shop.execute("insert into stock values (1)", json!([])).await;
    assert!(made.is_err() || ran.is_err(), "{made:?} {ran:?}");
}

#[tokio::test]
async fn mistakes_in_a_statement_are_told_in_the_words_of_sqlite_without_the_statement() {
    let shop = Shop::new();
    shop.execute("create table stock (sku text primary key, count int check (count > 0)) strict", json!([]))
        .await
        .unwrap();
    for (sql, said) in [
        ("select missing from stock", "no such column: missing"),
        ("select \"missing\" from stock", "no such column: \"missing\""),
        ("select * from nowhere", "no such table: nowhere"),
        ("selct 1", "begins with"),
        ("select from where", "syntax error"),
        ("select abs(-9223372036854775807 - 1) as a", "integer overflow"),
        ("select json('{') as a", "malformed JSON"),
    ] {
        let told = refused(shop.query(sql, json!([])).await);
        assert!(told.contains(said) && !told.contains(sql), "{sql}: {told}");
    }
    shop.execute("insert into stock values ('a', 1)", json!([])).await.unwrap();
    for (sql, said) in [
        ("insert into stock values ('a', 1)", "UNIQUE constraint failed: stock.sku"),
        ("insert into stock values ('b', 0)", "CHECK constraint failed: count > 0"),
        ("insert into stock values ('b', 'many')", "cannot store TEXT value in INT column stock.count"),
    ] {
        let told = shop.execute(sql, json!([])).await;
        let Err(Error::Failed { what, is_transient: false, .. }) = told else { panic!("{sql}: {told:?}") };
        assert!(what.contains(said), "{sql}: {what}");
    }
}

#[tokio::test]
async fn answers_and_values_of_sqlite_are_bounded_as_they_come() {
    let shop = Shop::with(|database| database.rows_max = 100);
    let started = Instant::now();
    let count = |rows: u64| {
        format!("with recursive n (i) as (select 1 union all select i + 1 from n where i < {rows}) select i from n")
    };
    assert_eq!(shop.query(&count(100), json!([])).await.unwrap().as_array().unwrap().len(), 100);
    let many = shop.query(&count(10_000_000), json!([])).await;
    assert!(matches!(&many, Err(Error::TooLarge(said)) if said.contains("100 rows")), "{many:?}");
    for sql in [
        "select zeroblob(500000000) as a",
        "select hex(randomblob(3000000)) as a",
        "select printf('%.*c', 900000000, 'x') as a",
        "select replace(printf('%.*c', 100000, 'x'), 'x', printf('%.*c', 100000, 'y')) as a",
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 300000) \
         select group_concat(printf('%064d', i)) as a from n",
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) \
         select json_group_array(hex(randomblob(1000000))) as a from n",
        "with c (x) as (select randomblob(60000000)) select max(x, x, x, x, x, x, x, x) as a from c",
    ] {
        let large = shop.query(sql, json!([])).await;
        assert!(matches!(large, Err(Error::TooLarge(_))), "{sql}: {large:?}");
    }
    // A value that is not asked for is not in the way of the others.
    shop.execute("create table files (id int, bytes blob, note text)", json!([])).await.unwrap();
    shop.execute("insert into files values (1, zeroblob(8000000), 'last')", json!([])).await.unwrap();
    let columns: Vec<_> = (0..40).map(|number| format!("note as n{number}")).collect();
    let rows = shop.query(&format!("select {} from files", columns.join(", ")), json!([])).await.unwrap();
    assert_eq!(rows[0]["n39"], "last");
    assert!(matches!(shop.query("select bytes from files", json!([])).await, Err(Error::TooLarge(_))));
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_statement_of_sqlite_that_nobody_waits_for_ends_and_its_slot_is_free_again() {
    let shop = Shop::with(|database| database.pool = 1);
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) as a from n";
    let late = shop.query_within(endless, json!([]), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    // The only slot: it is had once the thread has let go.
    assert_eq!(shop.query("select 1 as a", json!([])).await.unwrap(), json!([{"a": 1}]));
    let dropped = tokio::time::timeout(Duration::from_millis(50), shop.query(endless, json!([]))).await;
    assert!(dropped.is_err());
    assert_eq!(shop.query("select 2 as a", json!([])).await.unwrap(), json!([{"a": 2}]));
    // What was cut off is not done, not even in part.
    shop.execute("create table stock (i int)", json!([])).await.unwrap();
    let filling = "insert into stock with recursive n (i) as (select 1 union all select i + 1 from n) select i from n";
    let cut = tokio::time::timeout(Duration::from_millis(200), shop.execute(filling, json!([]))).await;
    assert!(cut.is_err());
    shop.execute("insert into stock values (-1)", json!([])).await.unwrap();
    let rows = shop.query("select count(*) as rows, min(i) as least from stock", json!([])).await.unwrap();
    assert_eq!(rows, json!([{"rows": 1, "least": -1}]));
}

#[tokio::test]
async fn a_phrase_that_no_text_has_is_looked_for_no_longer_than_anybody_waits() {
    let shop = Shop::with(|database| database.pool = 1);
    shop.execute("create virtual table words using fts5 (body)", json!([])).await.unwrap();
    let texts = "insert into words with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) \
                 select $1 from n";
    shop.execute(texts, json!(["a ".repeat(3_000)])).await.unwrap();
    // One word more than each text: all of them are compared with it, within one step of SQLite's machine.
    let phrase = json!([format!("\"{}\"", "a ".repeat(3_001))]);
    let sql = "select count(*) as rows from words where words match $1";
    let late = shop.query_within(sql, phrase, Duration::from_millis(500)).await;
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    let found = soon(&shop, "select count(*) as rows from words where words match '\"a a\"'", json!([])).await;
    assert_eq!(found.unwrap(), json!([{"rows": 1_000}]));
}

#[tokio::test]
async fn a_lock_of_another_program_is_waited_for_within_the_time_and_no_longer() {
    let shop = Shop::with(|database| database.timeout_ms = 300);
    shop.execute("create table stock (i int)", json!([])).await.unwrap();
    let other = shop.beside();
    other.execute_batch("begin immediate; insert into stock values (1)").unwrap();
    // Who reads is not in the way of who writes, and sees what was there before.
    assert_eq!(shop.query("select count(*) as rows from stock", json!([])).await.unwrap(), json!([{"rows": 0}]));
    let waited = shop.execute("insert into stock values (2)", json!([])).await;
    assert!(matches!(waited, Err(Error::TimedOut)), "{waited:?}");
    // It lets go while we wait.
    let insert = shop.execute("insert into stock values (3)", json!([]));
    let commit = async { other.execute_batch("commit").unwrap() };
    let (inserted, ()) = tokio::join!(insert, commit);
    assert_eq!(inserted.unwrap(), 1);
    let rows = shop.query("select i from stock order by i", json!([])).await.unwrap();
    assert_eq!(rows, json!([{"i": 1}, {"i": 3}]), "the statement that had no time left is not done");
}

#[tokio::test]
async fn a_sqlite_file_is_made_where_it_is_missing_but_for_one_that_is_read_only() {
    let shop = Shop::new();
    assert!(!shop.folder.path().join("shop.db").exists(), "opening touches nothing");
    assert_eq!(shop.query("select 1 as a", json!([])).await.unwrap(), json!([{"a": 1}]));
    let mode: String = shop.beside().query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");

    let read_only = Shop::with(|database| database.read_only = true);
    let missing = read_only.query("select 1 as a", json!([])).await;
    let Err(Error::Failed { what, .. }) = missing else { panic!("{missing:?}") };
    assert!(what.contains("can't be opened") && !what.contains("shop.db"), "{what}");
    read_only.beside().execute_batch("create table stock (i int); insert into stock values (5)").unwrap();
    assert_eq!(read_only.query("select i from stock", json!([])).await.unwrap(), json!([{"i": 5}]));
    assert!(matches!(read_only.execute("delete from stock", json!([])).await, Err(Error::ReadOnly)));

    // A file that is put in the other's place is the database from then on.
    std::fs::remove_file(read_only.folder.path().join("shop.db")).unwrap();
    read_only.beside().execute_batch("create table stock (i int); insert into stock values (6)").unwrap();
    assert_eq!(read_only.query("select i from stock", json!([])).await.unwrap(), json!([{"i": 6}]));

    std::fs::write(read_only.folder.path().join("shop.db"), "not a database at all").unwrap();
    let damaged = read_only.query("select 1 as a from stock", json!([])).await;
    assert!(matches!(&damaged, Err(Error::Failed { what, .. }) if what.contains("damaged")), "{damaged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_statements_of_sqlite_at_once_are_all_done() {
    let shop = std::sync::Arc::new(Shop::with(|database| database.pool = 4));
    shop.execute("create table stock (i int)", json!([])).await.unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let shop = std::sync::Arc::clone(&shop);
            tokio::spawn(async move {
                assert_eq!(shop.execute("insert into stock values ($1)", json!([number])).await.unwrap(), 1);
                let seen = shop.query("select count(*) as rows from stock where i = $1", json!([number])).await;
                assert_eq!(seen.unwrap(), json!([{"rows": 1}]));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Or refused for what it takes.
fn answered(result: Result<impl std::fmt::Debug, Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::TooLarge(_)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// What no interrupt ends has to be short by itself, or is refused.
async fn soon(shop: &Shop, sql: &str, params: Value) -> Result<Value, Error> {
    let started = Instant::now();
    let done = shop.query(sql, params).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{sql}: {:?}", started.elapsed());
    done
}

#[tokio::test]
async fn no_function_of_sqlite_works_for_minutes_where_nothing_interrupts_it() {
    let shop = Shop::new();
    for sql in [
        "select instr(zeroblob(13000000), zeroblob(6500000) || x'01') as a",
        "select length(replace(zeroblob(4000000), cast(zeroblob(2000000) as text) || 'x', 'y')) as a",
        "select length(trim(hex(zeroblob(400000)), printf('%.*c', 400000, '1') || '2')) as a",
        "select length(trim(cast(zeroblob(0) as text) || printf('%.*c', 4000000, 'a'), \
         cast(hex(zeroblob(1000000)) as text) || 'a')) as a",
        "select length(unhex(printf('%.*c', 4000000, 'z') || '00', hex(zeroblob(1000000)) || 'z')) as a",
        "select length(json_patch(o, o)) as a from (select json_group_object(value, 1) as o from \
         json_each('[' || substr(replace(hex(zeroblob(2000000)), '00', '11,'), 1, 5999999) || ']'))",
        "with d (k) as (select replace(hex(zeroblob(1000000)), '00', 'a.')) \
         select path from d, json_tree('{\"' || k || '\":1}', '$.\"' || k || '\"')",
    ] {
        let done = soon(&shop, sql, json!([])).await;
        assert!(matches!(done, Ok(_) | Err(Error::TooLarge(_))), "{sql}: {done:?}");
    }
    let patched = shop.query("select json_patch('{\"a\":1}', $1) as a", json!([{"b": 2}])).await;
    assert_eq!(patched.unwrap(), json!([{"a": "{\"a\":1,\"b\":2}"}]));
    let keys = shop.query("select key, path from json_tree('{\"a\":[1]}') where atom = 1", json!([])).await;
    assert_eq!(keys.unwrap(), json!([{"key": 0, "path": "$.a"}]));
}

#[tokio::test]
async fn what_doubles_at_each_level_is_refused_while_it_is_prepared_on_sqlite() {
    let shop = Shop::new();
    let mut tables = vec!["with t0 as (select 1 as a)".to_owned()];
    tables.extend((1..26).map(|level| format!("t{level} as (select x.a from t{0} x, t{0} y)", level - 1)));
    let sql = format!("{} select count(*) as a from t25", tables.join(", "));
    let refused = soon(&shop, &sql, json!([])).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    shop.execute("create view v0 as select 1 as a", json!([])).await.unwrap();
    let mut made = Ok(0);
    for level in 1..26 {
        let sql = format!("create view v{level} as select x.a from v{0} x, v{0} y", level - 1);
        made = shop.execute(&sql, json!([])).await;
    }
    let refused = soon(&shop, "select a from v25", json!([])).await;
    assert!(made.is_err() || refused.is_err(), "{refused:?}");
    assert_eq!(shop.query("select count(*) as a from v2", json!([])).await.unwrap(), json!([{"a": 1}]));
}

#[tokio::test]
async fn a_statement_of_sqlite_as_deep_as_it_may_be_is_answered_or_refused_on_the_stack_there_is() {
    let shop = Shop::new();
    let nested = |depth: usize, open: &str, inner: &str| format!("{}{inner}{}", open.repeat(depth), ")".repeat(depth));
    let mut deepest = 0;
    for depth in (1..400).step_by(7) {
        for sql in [
            nested(depth, "select * from (", "select 1 as a"),
            format!("select {} as a", nested(depth, "(select ", "1")),
            format!("select {} as a", nested(depth, "(", "1")),
            format!("select {} as a", nested(depth, "abs(", "1")),
            format!("select 1 as a where {}", nested(depth, "exists (select 1 where ", "1")),
            format!("select 1 as a where 1 in {}", nested(depth, "(select 1 where 1 in ", "(1)")),
            format!("with {} as a", nested(depth, "a as (with ", "a as (select 1)")),
        ] {
            if shop.query(&sql, json!([])).await.is_ok() {
                deepest = depth;
            }
        }
    }
    assert!(deepest > 20 && deepest < 390, "{deepest}");
    // Each of these is made of those before it.
    let mut tables = vec!["with t0 as (select 1 as a)".to_owned()];
    tables.extend((1..20_000).map(|level| format!("t{level} as (select a from t{})", level - 1)));
    let mut answers = [0; 4];
    for levels in (100..4_000).step_by(300).chain([20_000]) {
        let sql = format!("{} select a from t{}", tables.get(..levels).unwrap().join(", "), levels - 1);
        answers[0] += usize::from(answered(soon(&shop, &sql, json!([])).await));
    }
    shop.execute("create view v0 as select 1 as a", json!([])).await.unwrap();
    shop.execute("create table t0 (a integer primary key)", json!([])).await.unwrap();
    let other = shop.beside();
    let levels = 3_000;
    let mut batch = String::from("begin;");
    for level in 1..levels {
        let before = level - 1;
        batch += &format!(
            "create view v{level} as select a from v{before}; \
             create table t{level} (a integer primary key references t{before} on delete cascade); \
             create table r{level} (a); \
             create trigger g{level} after insert on r{level} begin insert into r{} values (1); end;",
            level + 1
        );
    }
    other.execute_batch(&(batch + "create table r3000 (a); commit")).unwrap();
    for depth in (20..levels).step_by(190) {
        let last = levels - depth;
        answers[1] += usize::from(answered(soon(&shop, &format!("select a from v{depth}"), json!([])).await));
        answers[2] += usize::from(answered(shop.execute(&format!("delete from t{last}"), json!([])).await));
        // Nothing is done where the triggers are deeper than fifty.
        let inserted = shop.execute(&format!("insert into r{last} values (1)"), json!([])).await;
        let too_many =
            matches!(&inserted, Err(Error::Failed { what, .. }) if what.contains("too many levels of trigger"));
        answers[3] += usize::from(too_many || answered(inserted));
    }
    assert!(answers.iter().all(|answers| (1..15).contains(answers)), "some are done, some are too deep: {answers:?}");
}

#[tokio::test]
async fn a_sqlite_file_grows_no_further_than_its_operator_says_and_sorts_of_the_usual_size_are_done() {
    let shop = Shop::with(|database| database.file_bytes_max = 2 * 1024 * 1024);
    shop.execute("create table stock (i int, note text)", json!([])).await.unwrap();
    let filling =
        "insert into stock with recursive n (i) as (select 1 union all select i + 1 from n) select i, 'x' from n";
    let full = shop.execute(filling, json!([])).await;
    assert!(matches!(&full, Err(Error::Failed { what, .. }) if what.contains("full")), "{full:?}");
    assert!(std::fs::metadata(shop.folder.path().join("shop.db")).unwrap().len() <= 2 * 1024 * 1024);
    shop.execute("insert into stock values (1, 'after')", json!([])).await.unwrap();
    let sorted = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 300000), \
                  s as (select i, printf('%0100d', (i * 7919) % 300007) as k from n order by k) \
                  select count(*) as rows, min(k) as first from s";
    let rows = shop.query(sorted, json!([])).await.unwrap();
    assert_eq!(rows[0]["rows"], 300_000);
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select i from n order by i desc";
    let refused = shop.query(endless, json!([])).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
}

#[tokio::test]
async fn the_bound_of_one_statement_of_sqlite_is_not_the_next_ones() {
    let shop = Shop::with(|database| database.pool = 1);
    let default = "x".repeat(100_000);
    shop.beside().execute_batch(&format!("create table stock (i int, note text default '{default}')")).unwrap();
    let many: Vec<_> = (0..1_500).map(|number| format!("{number} as n{number}")).collect();
    shop.query(&format!("select {}", many.join(", ")), json!([])).await.unwrap();
    assert_eq!(shop.query("select count(*) as rows from stock", json!([])).await.unwrap(), json!([{"rows": 0}]));
}
