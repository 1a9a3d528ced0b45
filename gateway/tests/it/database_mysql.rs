//! The databases of steps, on a real MariaDB.

mod files;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use local_servers::mariadb::{self, Database};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use sluice::config::{self, DatabaseUrl};
use sluice::database::{Databases, Error, Statement};

struct Shop {
    at: Database,
    databases: Databases,
}

impl Shop {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut config::Database)) -> Self {
        Self::on(mariadb::database(), change)
    }

    fn on(at: Database, change: impl FnOnce(&mut config::Database)) -> Self {
        let databases = open(&at.url(), change);
        Self { at, databases }
    }

    async fn query(&self, sql: &str, params: Value) -> Result<Value, Error> {
        query(&self.databases, sql, &params.to_string()).await
    }

    async fn execute(&self, sql: &str, params: Value) -> Result<u64, Error> {
        let params = params.to_string();
        let statement = Statement { sql, params: &params };
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        self.databases.execute("shop", statement, deadline, &mut self.databases.caller()).await
    }
}

fn open(url: &str, change: impl FnOnce(&mut config::Database)) -> Databases {
    let mut database = config::Database::new(DatabaseUrl::parse(url, Path::new("/")).unwrap());
    change(&mut database);
    Databases::open(&BTreeMap::from([("shop".to_owned(), database)])).unwrap()
}

async fn query(databases: &Databases, sql: &str, params: &str) -> Result<Value, Error> {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let rows = databases.query("shop", Statement { sql, params }, deadline, &mut databases.caller()).await?;
    Ok(serde_json::from_str(&rows).unwrap())
}

/// Looks again until it is so, as long as anybody would wait.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn failed(result: Result<impl std::fmt::Debug, Error>) -> (String, bool) {
    match result {
        Err(Error::Failed { what, is_transient, .. }) => (what, is_transient),
        other => panic!("{other:?}"),
    }
}

fn invalid(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Invalid(said)) => said,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_type_of_mariadb_goes_in_and_comes_out_as_documented() {
    let shop = Shop::new();
    let table = [
        // The column's type, what is given, and what is returned.
        ("boolean", json!(true), json!(1)),
        ("tinyint", json!(-128), json!(-128)),
        ("tinyint unsigned", json!(255), json!(255)),
        ("smallint", json!(-32768), json!(-32768)),
        ("mediumint", json!(8_388_607), json!(8_388_607)),
        ("int", json!(-2_147_483_648_i64), json!(-2_147_483_648_i64)),
        ("int unsigned", json!(4_294_967_295_u64), json!(4_294_967_295_u64)),
        ("bigint", json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992_i64)),
        ("bigint", json!(i64::MIN), json!("-9223372036854775808")),
        ("bigint unsigned", json!(u64::MAX), json!("18446744073709551615")),
        ("decimal(30,10)", json!("12345678901234567890.0123456789"), json!("12345678901234567890.0123456789")),
        ("decimal(5,2)", json!(1.5), json!("1.50")),
        ("float", json!(0.1), json!(0.1)),
        ("double", json!(0.1), json!(0.1)),
        ("double", json!(1e308), json!(1e308)),
        ("bit(8)", json!(5), json!(5)),
        ("bit(64)", json!(u64::MAX), json!("18446744073709551615")),
        ("date", json!("2026-01-02"), json!("2026-01-02")),
        ("datetime", json!("2026-01-02 03:04:05"), json!("2026-01-02T03:04:05")),
        ("datetime(6)", json!("2026-01-02T03:04:05.123456"), json!("2026-01-02T03:04:05.123456")),
        ("timestamp(3) null", json!("2026-01-02 03:04:05.120"), json!("2026-01-02T03:04:05.120Z")),
        ("timestamp null", json!("2026-01-02T03:04:05"), json!("2026-01-02T03:04:05Z")),
        ("time", json!("-838:59:59"), json!("-838:59:59")),
        ("time(2)", json!("01:02:03.04"), json!("01:02:03.04")),
        ("year", json!(2026), json!(2026)),
        ("datetime", json!("0000-00-00 00:00:00"), json!("0000-00-00 00:00:00")),
        ("date", json!("0000-00-00"), json!("0000-00-00")),
        ("char(5)", json!("é"), json!("é")),
        ("varchar(50)", json!("a \u{0} \"'\\ 😀"), json!("a \u{0} \"'\\ 😀")),
        ("varchar(50) character set latin1", json!("é"), json!("é")),
        ("text", json!(""), json!("")),
        ("longtext", json!("long"), json!("long")),
        ("binary(3)", json!("ab"), json!("YWIA")),
        ("varbinary(5)", json!("ab"), json!("YWI=")),
        ("blob", json!("é"), json!("w6k=")),
        ("json", json!({"a": [1, null]}), json!("{\"a\":[1,null]}")),
        ("enum('small', 'large')", json!("large"), json!("large")),
        ("set('a', 'b', 'c')", json!("a,c"), json!("a,c")),
        ("uuid", json!("123e4567-e89b-12d3-a456-426655440000"), json!("123e4567-e89b-12d3-a456-426655440000")),
        ("inet6", json!("2001:db8::1"), json!("2001:db8::1")),
        ("inet4", json!("192.0.2.1"), json!("192.0.2.1")),
    ];
    for (number, (kind, given, returned)) in table.into_iter().enumerate() {
        let name = format!("kept_{number}");
        shop.execute(&format!("create table {name} (value {kind})"), json!([])).await.unwrap();
        for (given, returned) in [(given, returned), (Value::Null, Value::Null)] {
            shop.execute(&format!("delete from {name}"), json!([])).await.unwrap();
            let inserted = shop.execute(&format!("insert into {name} values ($1)"), json!([given])).await;
            assert_eq!(inserted.unwrap_or_else(|error| panic!("{kind} {given}: {error}")), 1);
            let rows = shop.query(&format!("select value from {name}"), json!([])).await.unwrap();
            assert_eq!(rows, json!([{"value": returned}]), "{kind}");
        }
    }
    let rows = shop.query(
        "select x'00ff' as bytes, 'text' as text, 1.50 as number, 1e0 as float_number, 1 = 1 as yes, point(1, 2) as place",
        json!([]),
    );
    let expected = json!([{
        "bytes": "AP8=", "text": "text", "number": "1.50", "float_number": 1.0, "yes": 1,
        "place": "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==",
    }]);
    assert_eq!(rows.await.unwrap(), expected);
}

#[tokio::test]
async fn a_parameter_of_mariadb_is_what_its_json_is() {
    let shop = Shop::new();
    let rows = shop.query(
        "select $1 as nothing, $2 + 1 as yes, $3 as integer_number, cast($4 as decimal(40,20)) as exact, $5 as text, $6 as list",
        json!([null, true, i64::MAX, "0.12345678901234567890", "x", [1]]),
    );
    let expected = json!([{
        "nothing": null, "yes": 2, "integer_number": "9223372036854775807", "exact": "0.12345678901234567890",
        "text": "x", "list": "[1]",
    }]);
    assert_eq!(rows.await.unwrap(), expected);
}

#[tokio::test]
async fn parameters_of_mariadb_are_bound_by_number_and_counted() {
    let shop = Shop::new();
    let rows = shop.query("select $2 as a, '$1' as b, $1 as c, $2 as d -- $3", json!([1, "x"])).await.unwrap();
    assert_eq!(rows, json!([{"a": "x", "b": "$1", "c": 1, "d": "x"}]));
    assert_eq!(shop.query("select ? as a, ? as b;", json!([1, 2])).await.unwrap(), json!([{"a": 1, "b": 2}]));
    let limited = shop.query("with n as (select 1 as i union all select 2) select i from n limit $1", json!([1])).await;
    assert_eq!(limited.unwrap(), json!([{"i": 1}]));
    for (sql, params) in [
        ("select $1 as a", json!([])),
        ("select $1 as a", json!([1, 2])),
        ("select ? as a", json!([])),
        ("select ? as a", json!([1, 2])),
        ("select 1 as a", json!([1])),
        ("select $1 as a, ? as b", json!([1])),
        ("select 1 as a, 2 as a", json!([])),
        ("select $1 as a", json!("no list")),
    ] {
        assert!(!invalid(shop.query(sql, params).await).is_empty(), "{sql}");
    }
    shop.execute("create table stock (i int not null)", json!([])).await.unwrap();
    let (wrong, is_transient) = failed(shop.execute("insert into stock values ($1)", json!(["secret"])).await);
    assert!(wrong.contains("Incorrect integer value") && !wrong.contains("secret") && !is_transient, "{wrong}");
    assert!(
        failed(shop.execute("insert into stock values ($1)", json!([3_000_000_000_u64])).await)
            .0
            .contains("Out of range")
    );
}

#[tokio::test]
async fn a_query_of_mariadb_only_reads_and_what_is_executed_tells_the_rows_that_it_changed() {
    let shop = Shop::new();
    assert_eq!(shop.execute("create table stock (sku varchar(9) primary key, count int)", json!([])).await.unwrap(), 0);
    let three = "insert into stock values ('a', 1), ('b', 2), ('c', 3)";
    assert_eq!(shop.execute(three, json!([])).await.unwrap(), 3);
    assert_eq!(shop.execute("update stock set count = 9 where sku in ('a', 'b')", json!([])).await.unwrap(), 2);
    assert_eq!(shop.execute("insert into stock values ('d', 4), ('e', 5) returning sku", json!([])).await.unwrap(), 2);
    assert_eq!(shop.execute("delete from stock where sku = 'e'", json!([])).await.unwrap(), 1);
    shop.execute("create index of_stock on stock (count)", json!([])).await.unwrap();
    shop.execute("create view dear as select * from stock where count > 5", json!([])).await.unwrap();
    let mut beside = shop.at.connect().await.unwrap();
    let function = "create function taken() returns int modifies sql data begin delete from stock; return 1; end";
    beside.query_drop(function).await.unwrap();
    assert!(invalid(shop.query("select taken() as a", json!([])).await).contains("only reads"));
    assert!(invalid(shop.query("select count(*) as n from dear for update", json!([])).await).contains("only reads"));
    assert_eq!(shop.query("select count(*) as n from stock", json!([])).await.unwrap(), json!([{"n": 4}]));
    assert_eq!(shop.query("(select 1 as n)", json!([])).await.unwrap(), json!([{"n": 1}]));
    assert!(shop.query("explain select * from stock", json!([])).await.is_ok());
    assert!(shop.query("describe stock", json!([])).await.is_ok());
    let outfile = format!("select 1 into outfile '/tmp/{}'", shop.at.name());
    for sql in [
        three,
        outfile.as_str(),
        "drop table stock",
        "truncate table stock",
        "select count into @a from stock",
        "select 1; drop table stock",
        "select load_file('/etc/passwd') as a",
        "load data infile '/etc/passwd' into table stock",
        "load data local infile '/etc/passwd' into table stock",
        "set @a = 1",
        "set global max_connections = 1",
        "call taken()",
        "select /*!99999 1 */ 1",
        "show processlist",
    ] {
        assert!(!invalid(shop.query(sql, json!([])).await).is_empty(), "{sql}");
    }
    for sql in [
        "set @a = 1",
        "set session sql_mode = 'ANSI_QUOTES'",
        "call taken()",
        "do sleep(1)",
        "create user other",
        "create database other",
        "grant all on *.* to other",
        "kill 1",
        "begin",
        "lock tables stock write",
        "insert into stock select 'z', 1 into outfile '/tmp/x'",
        "insert into stock values (load_file('/etc/passwd'), 1)",
        "delete from stock; delete from stock",
    ] {
        assert!(!invalid(shop.execute(sql, json!([])).await).is_empty(), "{sql}");
    }
    let (said, _) = failed(shop.query("select missing from stock", json!([])).await);
    assert!(said.starts_with("Unknown column 'missing' in ") && said.ends_with(" (1054)"), "{said}");
    let (said, _) = failed(shop.execute("insert into stock values ('a', 1)", json!([])).await);
    assert_eq!(said, "Duplicate entry for key 'PRIMARY' (1062)");
    let (said, _) = failed(shop.query("select from where", json!([])).await);
    assert_eq!(said, "the statement has a mistake in its syntax at line 1 (1064)");
}

#[tokio::test]
async fn answers_of_mariadb_are_bounded_as_they_stream_and_the_rest_is_not_waited_for() {
    let shop = Shop::with(|database| (database.rows_max, database.pool) = (100, 1));
    let started = Instant::now();
    assert_eq!(shop.query("select seq from seq_1_to_100", json!([])).await.unwrap().as_array().unwrap().len(), 100);
    let many = shop.query("select a.seq from seq_1_to_10000000 a", json!([])).await;
    assert!(matches!(&many, Err(Error::TooLarge(said)) if said.contains("100 rows")), "{many:?}");
    let wide = shop.query("select repeat('x', 100000) as a from seq_1_to_99", json!([])).await;
    assert!(matches!(&wide, Err(Error::TooLarge(said)) if said.contains("bytes")), "{wide:?}");
    // The server has a bound of its own on one value; this is under it and over ours.
    let large = shop.query("select repeat('x', 15000000) as a, repeat('x', 15000000) as b", json!([])).await;
    assert!(matches!(large, Err(Error::TooLarge(_))), "{large:?}");
    // The only slot is free, and its connection as new.
    assert_eq!(shop.query("select 1 as a", json!([])).await.unwrap(), json!([{"a": 1}]));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_statement_of_mariadb_that_nobody_waits_for_is_killed_at_its_server() {
    let shop = Shop::with(|database| database.pool = 1);
    let mut beside = shop.at.connect().await.unwrap();
    let name = shop.at.name();
    let running = format!(
        "select count(*) from information_schema.processlist where db = '{name}' and info like 'select sleep(60)%'"
    );
    let mut count = async || -> u64 { beside.query_first(&running).await.unwrap().unwrap() };
    let mut sleeping = Box::pin(shop.query("select sleep(60) as a", json!([])));
    until("it is running", async || {
        let waited = tokio::time::timeout(Duration::from_millis(10), &mut sleeping).await;
        assert!(waited.is_err(), "{waited:?}");
        count().await == 1
    })
    .await;
    drop(sleeping);
    until("it has ended", async || count().await == 0).await;
    assert_eq!(shop.query("select 1 as a", json!([])).await.unwrap(), json!([{"a": 1}]));

    let hasty = open(&shop.at.url(), |database| database.timeout_ms = 1_000);
    let late = query(&hasty, "select sleep(60) as b", "[]");
    let seen = until("it is running", async || count().await == 1);
    let (late, ()) = tokio::join!(late, seen);
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    until("it has ended", async || count().await == 0).await;
}

#[tokio::test]
async fn a_lock_of_another_on_mariadb_is_waited_for_within_the_time_and_no_longer() {
    let shop = Shop::with(|database| (database.timeout_ms, database.pool) = (500, 1));
    shop.execute("create table stock (i int primary key) engine = innodb", json!([])).await.unwrap();
    shop.execute("insert into stock values (1)", json!([])).await.unwrap();
    let mut other = shop.at.connect().await.unwrap();
    other.query_drop("start transaction").await.unwrap();
    other.query_drop("update stock set i = 2").await.unwrap();
    assert_eq!(shop.query("select i from stock", json!([])).await.unwrap(), json!([{"i": 1}]));
    let waited = shop.execute("update stock set i = 3", json!([])).await;
    assert!(matches!(waited, Err(Error::TimedOut)), "{waited:?}");
    // The only slot is free when the statement has been killed, and not before.
    assert_eq!(shop.query("select i from stock", json!([])).await.unwrap(), json!([{"i": 1}]));
    let changing = shop.execute("update stock set i = 4 where i = 2", json!([]));
    let (changed, committed) = tokio::join!(changing, other.query_drop("commit"));
    committed.unwrap();
    assert_eq!(changed.unwrap(), 1);
    assert_eq!(shop.query("select i from stock", json!([])).await.unwrap(), json!([{"i": 4}]));
}

#[tokio::test]
async fn nothing_of_one_statement_is_left_for_the_next_on_its_connection() {
    let shop = Shop::with(|database| database.pool = 1);
    shop.execute("create table stock (i int auto_increment primary key, note text)", json!([])).await.unwrap();
    shop.execute("insert into stock (note) values ('x')", json!([])).await.unwrap();
    let lock = format!("select get_lock('{}', 0) as got", shop.at.name());
    for _ in 0..2 {
        let state =
            "select @secret is null as is_new, connection_id() as id, last_insert_id() as last, row_count() as changed";
        let rows = shop.query(state, json!([])).await.unwrap();
        assert_eq!((&rows[0]["is_new"], &rows[0]["last"]), (&json!(1), &json!(0)), "{rows}");
        shop.query("select @secret := 'hunter2' as a", json!([])).await.unwrap();
        assert_eq!(shop.query(&lock, json!([])).await.unwrap(), json!([{"got": 1}]));
        // Another's: the lock is free again.
        let mut beside = shop.at.connect().await.unwrap();
        let free: Option<u8> =
            beside.query_first(lock.replace("get_lock", "is_free_lock").replace(", 0)", ")")).await.unwrap();
        assert_eq!(free, Some(1));
    }
    let session = "select @@time_zone as zone, @@character_set_client as client, @@sql_mode like '%ANSI%' as ansi, @@autocommit as auto";
    let expected = json!([{"zone": "+00:00", "client": "utf8mb4", "ansi": 0, "auto": 1}]);
    assert_eq!(shop.query(session, json!([])).await.unwrap(), expected);
    let ids = (
        shop.query("select connection_id() as id", json!([])).await.unwrap(),
        shop.query("select connection_id() as id", json!([])).await.unwrap(),
    );
    assert_eq!(ids.0, ids.1, "a connection is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_restarts_in_the_middle_is_reached_again_by_the_next_statement() {
    let mut server = tokio::task::spawn_blocking(mariadb::Server::start).await.unwrap().unwrap();
    let shop = Shop::on(server.database().unwrap(), |database| database.timeout_ms = 60_000);
    let databases = std::sync::Arc::new(shop.databases);
    assert!(query(&databases, "select 1 as a", "[]").await.is_ok());
    let mut beside = shop.at.connect().await.unwrap();
    let running = tokio::spawn({
        let databases = std::sync::Arc::clone(&databases);
        async move { query(&databases, "select sleep(50) as a", "[]").await }
    });
    let count = "select count(*) from information_schema.processlist where info like 'select sleep(50)%'";
    until("it is running", async || beside.query_first::<u64, _>(count).await.unwrap() == Some(1)).await;
    server = tokio::task::spawn_blocking(move || {
        server.stop().unwrap();
        server
    })
    .await
    .unwrap();
    let (what, is_transient) = failed(running.await.unwrap());
    assert!(what.contains("connection to the database was lost") && is_transient, "{what}");
    let (what, is_transient) = failed(query(&databases, "select 1 as a", "[]").await);
    assert!(what == "the database can't be reached" && is_transient, "{what}");
    let _server = tokio::task::spawn_blocking(move || {
        server.start_again().unwrap();
        server
    })
    .await
    .unwrap();
    assert_eq!(query(&databases, "select 1 as a", "[]").await.unwrap(), json!([{"a": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_number_of_a_session_after_a_restart_is_not_killed_for_it() {
    let mut server = tokio::task::spawn_blocking(mariadb::Server::start).await.unwrap().unwrap();
    let at = server.database().unwrap();
    // So that the number comes again after the restart.
    let mut beside = at.connect().await.unwrap();
    for _ in 0..50 {
        beside = at.connect().await.unwrap();
    }
    let shop = Shop::on(at, |database| (database.pool, database.timeout_ms) = (1, 60_000));
    let id = shop.query("select connection_id() as id", json!([])).await.unwrap()[0]["id"].as_u64().unwrap();
    let mut sleeping = Box::pin(shop.query("select sleep(50) as a", json!([])));
    let count =
        format!("select count(*) from information_schema.processlist where id = {id} and info like '%sleep(50)%'");
    until("it is running", async || {
        let waited = tokio::time::timeout(Duration::from_millis(10), &mut sleeping).await;
        assert!(waited.is_err(), "{waited:?}");
        beside.query_first::<u64, _>(&count).await.unwrap() == Some(1)
    })
    .await;
    let _server = tokio::task::spawn_blocking(move || {
        server.stop().unwrap();
        server.start_again().unwrap();
        server
    })
    .await
    .unwrap();
    let mut other = shop.at.connect().await.unwrap();
    assert!(u64::from(other.id()) <= id, "the numbers are past it");
    while u64::from(other.id()) < id {
        other = shop.at.connect().await.unwrap();
    }
    drop(sleeping);
    // The only slot is free when the end has been seen to, and not before.
    assert_eq!(shop.query("select 1 as a", json!([])).await.unwrap(), json!([{"a": 1}]));
    let still: Option<u64> = other.query_first("select connection_id()").await.unwrap();
    assert_eq!(still, Some(id));
}

#[tokio::test]
async fn a_change_whose_answer_is_too_long_is_not_told_as_one_that_was_not_done() {
    let shop = Shop::new();
    shop.execute("create table stock (i int)", json!([])).await.unwrap();
    let returned = "insert into stock values (1) returning repeat('x', 15000000), repeat('x', 15000000)";
    let (what, is_transient) = failed(shop.execute(returned, json!([])).await);
    assert!(what.contains("may have been kept") && !is_transient, "{what}");
    let params = json!(["x".repeat(16 * 1024 * 1024)]);
    let told = shop.execute("insert into stock values (length($1))", params).await;
    assert!(matches!(told, Err(Error::TooLarge(_))), "{told:?}");
}

#[tokio::test]
async fn who_connects_to_mariadb_and_where_is_told_to_no_step() {
    let shop = Shop::new();
    for url in [
        shop.at.url_of("sluice", "wrong"),
        shop.at.url_of("nobody", "wrong"),
        shop.at.url().replace("/test_", "/missing_"),
        "mysql://sluice:hunter2@127.0.0.1:1/shop".to_owned(),
    ] {
        let (what, _) = failed(query(&open(&url, |_| {}), "select 1 as a", "[]").await);
        assert_eq!(what, "the database can't be reached");
    }
    let mut beside = shop.at.connect().await.unwrap();
    let name = shop.at.name();
    beside.query_drop(format!("create user {name}@'%' identified by 'x'")).await.unwrap();
    beside.query_drop(format!("grant select on {name}.* to {name}@'%'")).await.unwrap();
    beside.query_drop("create table stock (i int)").await.unwrap();
    let reader = open(&shop.at.url_of(name, "x"), |_| {});
    assert_eq!(query(&reader, "select i from stock", "[]").await.unwrap(), json!([]));
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let insert = Statement { sql: "insert into stock values (1)", params: "[]" };
    let (what, _) = failed(reader.execute("shop", insert, deadline, &mut reader.caller()).await);
    assert_eq!(what, "the database's user may not do this (1142)");
}

#[tokio::test]
async fn tls_to_mariadb_is_as_the_url_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(
        {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params
        },
        rcgen::KeyPair::generate().unwrap(),
    )
    .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("stranger.pem"), stranger.cert.pem()).unwrap();
    let settings = ["ca", "cert", "key"].map(|name| format!("--ssl-{name}={}", path(&format!("{name}.pem")).display()));
    let server =
        tokio::task::spawn_blocking(move || mariadb::Server::start_with(settings.into())).await.unwrap().unwrap();
    let at = server.database().unwrap();
    let cipher = "select variable_value <> '' as is_encrypted from information_schema.session_status \
                  where variable_name = 'Ssl_cipher'";
    let by_name = at.url().replace("127.0.0.1", "localhost");
    let with = |url: &str, mode: &str, root: &str| {
        let root = if root.is_empty() { String::new() } else { format!("&sslrootcert={}", path(root).display()) };
        format!("{url}?sslmode={mode}{root}")
    };
    for (url, is_encrypted) in [
        (with(&at.url(), "disable", ""), 0),
        (with(&at.url(), "prefer", ""), 1),
        (with(&at.url(), "require", ""), 1),
        (with(&by_name, "require", "ca.pem"), 1),
        (with(&by_name, "verify-ca", "ca.pem"), 1),
        (with(&by_name, "verify-full", "ca.pem"), 1),
    ] {
        let rows = query(&open(&url, |_| {}), cipher, "[]").await;
        assert_eq!(
            rows.unwrap_or_else(|error| panic!("{url}: {error:?}")),
            json!([{"is_encrypted": is_encrypted}]),
            "{url}"
        );
    }
    for url in [
        with(&at.url(), "verify-full", "ca.pem"),
        // The certificate is the authority's and of another name: not asked for by these, and refused all the same.
        with(&at.url(), "verify-ca", "ca.pem"),
        with(&at.url(), "require", "ca.pem"),
        with(&by_name, "require", "stranger.pem"),
        with(&by_name, "verify-full", "stranger.pem"),
        with(&by_name, "verify-ca", "stranger.pem"),
        with(&by_name, "verify-full", ""),
        with(&by_name, "verify-ca", ""),
    ] {
        let (what, is_transient) = failed(query(&open(&url, |_| {}), cipher, "[]").await);
        assert!(what == "the database can't be reached" && !is_transient, "{url}: {what}");
    }
    // One without TLS: taken as it is where the URL only prefers.
    let plain = mariadb::database();
    assert!(query(&open(&with(&plain.url(), "prefer", ""), |_| {}), "select 1 as a", "[]").await.is_ok());
    let refused = query(&open(&with(&plain.url(), "require", ""), |_| {}), "select 1 as a", "[]").await;
    assert_eq!(failed(refused).0, "the database can't be reached");
    let missing = DatabaseUrl::parse(&with(&by_name, "verify-full", "missing.pem"), Path::new("/")).unwrap();
    let missing = BTreeMap::from([("shop".to_owned(), config::Database::new(missing))]);
    assert!(Databases::open(&missing).is_err());
}
