//! `sluice:step/db`, from a guest to real databases.

use std::path::Path;
use std::time::{Duration, Instant};

use local_servers::{mariadb, postgres};
use mysql_async::prelude::Queryable as _;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::config::{Config, Database, DatabaseUrl};

use crate::support::{Answer, TestGateway, guest, property};

/// A gateway with each kind of database, under its kind's name, and a module that may use them all.
struct Setup {
    gw: TestGateway,
    servers: (postgres::Database, mariadb::Database),
}

const KINDS: [&str; 3] = ["postgres", "mysql", "sqlite"];

async fn setup(change: impl FnOnce(&mut Config)) -> Setup {
    let servers = (postgres::database(), mariadb::database());
    let gw = TestGateway::start_with(|config| {
        for url in [servers.0.url(), servers.1.url(), "sqlite:steps.db".to_owned()] {
            let parsed = DatabaseUrl::parse(&url, &config.data_dir).unwrap();
            let kind = KINDS.into_iter().find(|kind| url.starts_with(kind)).unwrap();
            config.databases.insert(kind.to_owned(), Database::new(parsed));
        }
        change(config);
    })
    .await;
    gw.upload("hosts", "1.0.0", guest("hosts")).await.expect_status(201);
    allow(&gw, &[("database:read", "*"), ("database:write", "*")]).await;
    Setup { gw, servers }
}

async fn allow(gw: &TestGateway, permissions: &[(&str, &str)]) {
    let list: Vec<_> = permissions
        .iter()
        .map(|(permission, resource)| json!({"permission": permission, "resource": resource}))
        .collect();
    let put = gw.request(Method::PUT, "/api/v1/wasm/modules/hosts/permissions").json(&list);
    Answer::of(put).await.expect_status(200);
}

async fn ops(gw: &TestGateway, ops: Value) -> Vec<Value> {
    let output = gw.invoke("hosts", json!({ "ops": ops })).await.expect_output();
    output["ops"].as_array().unwrap().clone()
}

async fn one(gw: &TestGateway, op: Value) -> Value {
    ops(gw, json!([op])).await.remove(0)
}

#[tokio::test]
async fn a_step_works_with_every_kind_of_database_in_the_same_words() {
    let setup = setup(|_| {}).await;
    for kind in KINDS {
        let told = ops(
            &setup.gw,
            json!([
                [
                    "execute",
                    kind,
                    "create table things (id int primary key, name varchar(50), price decimal(10, 2))",
                    []
                ],
                ["execute", kind, "insert into things values ($1, $2, $3), (2, $2, null)", [1, "päckchen", 2]],
                ["query", kind, "select id, name from things where name = $1 order by id", ["päckchen"]],
                ["execute", kind, "update things set name = $2 where id = $1", [2, "other"]],
                ["execute", kind, "delete from things where id > $1", [0]],
                ["query", kind, "select count(*) as n from things", []],
            ]),
        )
        .await;
        assert_eq!(told[1], json!({"ok": 2}), "{kind}: {told:?}");
        assert_eq!(told[2], json!({"ok": [{"id": 1, "name": "päckchen"}, {"id": 2, "name": "päckchen"}]}), "{kind}");
        assert_eq!((&told[3], &told[4]), (&json!({"ok": 1}), &json!({"ok": 2})), "{kind}");
        assert_eq!(told[5], json!({"ok": [{"n": 0}]}), "{kind}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_kind_and_nothing_is_done() {
    let setup = setup(|config| config.databases.values_mut().for_each(|one| one.rows_max = 10)).await;
    let gw = &setup.gw;
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) select i from n";
    for kind in KINDS {
        one(gw, json!(["execute", kind, "create table t (id int primary key)", []])).await;
        for (op, variant) in [
            (json!(["query", kind, "select 1; select 2", []]), "invalid-argument"),
            (json!(["query", kind, "", []]), "invalid-argument"),
            (json!(["query", kind, "select 'a", []]), "invalid-argument"),
            (json!(["query", kind, "select $1", []]), "invalid-argument"),
            (json!(["query", kind, "select 1", [1]]), "invalid-argument"),
            (json!(["query", kind, "select 1", "{}"]), "invalid-argument"),
            (json!(["query", kind, "select 1", "[1"]), "invalid-argument"),
            (json!(["query", kind, "insert into t values (1)", []]), "invalid-argument"),
            (json!(["query", kind, "drop table t", []]), "invalid-argument"),
            (json!(["execute", kind, "grant all on t to public", []]), "invalid-argument"),
            (json!(["query", kind, many, []]), "limit-exceeded"),
            (json!(["query", "nowhere", "select 1", []]), "not-found"),
        ] {
            let told = one(gw, op.clone()).await;
            assert_eq!(told["err"][0], variant, "{op}: {told}");
        }
        let wrong = one(gw, json!(["query", kind, "select no_such_column from t", []])).await;
        assert!(wrong["err"][1].as_str().unwrap().contains("no_such_column"), "{kind}: {wrong}");
        let left = one(gw, json!(["query", kind, "select count(*) as n from t", []])).await;
        assert_eq!(left, json!({"ok": [{"n": 0}]}), "{kind}");
    }
}

#[tokio::test]
async fn permissions_are_of_a_name_and_write_does_not_include_read() {
    let setup = setup(|config| config.databases.get_mut("sqlite").unwrap().read_only = true).await;
    let gw = &setup.gw;
    allow(gw, &[("database:read", "post*"), ("database:write", "my*"), ("database:write", "sqlite")]).await;
    let denied = |permission: &str, name: &str| json!({"err": ["permission-denied", format!("{permission} {name}")]});
    assert_eq!(one(gw, json!(["query", "postgres", "select 1 as n", []])).await, json!({"ok": [{"n": 1}]}));
    let told = one(gw, json!(["execute", "postgres", "create table a (b int)", []])).await;
    assert_eq!(told, denied("database:write", "postgres"));
    assert_eq!(one(gw, json!(["query", "mysql", "select 1", []])).await, denied("database:read", "mysql"));
    // A name that isn't there is denied as one that is.
    assert_eq!(one(gw, json!(["query", "nowhere", "select 1", []])).await, denied("database:read", "nowhere"));
    // What would be a wildcard in a permission is not offered as one.
    assert_eq!(one(gw, json!(["query", "*", "select 1", []])).await, denied("database:read", "\\*"));
    let read_only = one(gw, json!(["execute", "sqlite", "create table a (b int)", []])).await;
    assert_eq!(read_only["err"][0], "permission-denied", "{read_only}");
    assert!(read_only["err"][1].as_str().unwrap().contains("reading only"), "{read_only}");
}

#[tokio::test]
async fn a_database_that_is_down_is_an_error_and_no_start_fails() {
    let gw = TestGateway::start_with(|config| {
        for (name, url) in
            [("postgres", "postgres://u:hunter2@127.0.0.1:1/d"), ("mysql", "mysql://u:hunter2@127.0.0.1:1/d")]
        {
            config.databases.insert(name.to_owned(), Database::new(DatabaseUrl::parse(url, Path::new("/")).unwrap()));
        }
    })
    .await;
    gw.upload("hosts", "1.0.0", guest("hosts")).await.expect_status(201);
    allow(&gw, &[("database:read", "*")]).await;
    for name in ["postgres", "mysql"] {
        let told = one(&gw, json!(["query", name, "select 1", []])).await;
        assert_eq!(told["err"][0], "failed", "{told}");
        let text = told.to_string();
        assert!(!text.contains("hunter2") && !text.contains("127.0.0.1") && !text.contains(":1"), "{text}");
    }
}

#[tokio::test]
async fn a_statement_ends_with_its_execution() {
    // One connection: it serves again only when the statement before has ended.
    let setup = setup(|config| config.databases.values_mut().for_each(|one| one.pool = 1)).await;
    let postgres = setup.servers.0.connect().await.unwrap();
    let mut mysql = setup.servers.1.connect().await.unwrap();
    let mut running = async |kind: &str| match kind {
        "postgres" => {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' \
                       and query like '%pg_sleep(600)%' and pid <> pg_backend_pid()";
            postgres.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        }
        "mysql" => {
            let sql = "select count(*) from information_schema.processlist where db = database() \
                       and info like 'select sleep(600)%'";
            mysql.query_first(sql).await.unwrap().unwrap()
        }
        // In this process: the only connection tells.
        _ => 0,
    };
    let forever = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    for (kind, sql) in [("postgres", "select pg_sleep(600)"), ("mysql", "select sleep(600)"), ("sqlite", forever)] {
        let body = json!({"input": {"ops": [["query", kind, sql, []]]}, "limits": {"timeout_ms": 2_000}});
        let ended = async {
            setup.gw.invoke_with("hosts", "run", body).await.expect_guest_problem(504, "timed-out");
        };
        let seen = async {
            let started = Instant::now();
            while kind != "sqlite" && running(kind).await == 0 {
                assert!(started.elapsed() < Duration::from_secs(10), "{kind}: it never ran");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::join!(ended, seen);
        let told = one(&setup.gw, json!(["query", kind, "select 1 as n", []])).await;
        assert_eq!(told, json!({"ok": [{"n": 1}]}), "{kind}");
        assert_eq!(running(kind).await, 0, "{kind}: it is still running");
    }
}

#[test]
fn p18_database_query() {
    let start = async {
        let setup = setup(|_| {}).await;
        for kind in KINDS {
            let table = "create table pairs (id int primary key, word varchar(200), number bigint)";
            assert_eq!(one(&setup.gw, json!(["execute", kind, table, []])).await["err"], Value::Null, "{kind}");
        }
        setup
    };
    // A NUL is no text in PostgreSQL.
    let row = ("[^\\x00]{0,40}", proptest::option::of(-(1_i64 << 53)..=1_i64 << 53));
    let rows = prop::collection::vec(row, 0..5);
    property::check(24, (prop::sample::select(KINDS.to_vec()), rows), start, async |setup: &Setup, (kind, pairs)| {
        let mut list = vec![json!(["execute", kind, "delete from pairs", []])];
        let mut expected = Vec::new();
        for (id, (word, number)) in pairs.iter().enumerate() {
            list.push(json!(["execute", kind, "insert into pairs values ($1, $2, $3)", [id, word, number]]));
            expected.push(json!({"id": id, "word": word, "number": number}));
        }
        list.push(json!(["query", kind, "select id, word, number from pairs order by id", []]));
        let told = ops(&setup.gw, json!(list)).await;
        let (rows, written) = told.split_last().unwrap();
        assert!(written.iter().skip(1).all(|one| *one == json!({"ok": 1})), "{kind}: {told:?}");
        assert_eq!(*rows, json!({ "ok": expected }), "{kind}");
    });
}
