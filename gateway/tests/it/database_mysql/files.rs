//! The machine of a MariaDB, which no statement of a step may reach.
//!
//! The server's user has the right to files: all that keeps a step from them is ours.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mysql_async::prelude::Queryable as _;
use serde_json::json;
use sluice::database::Error;

use super::{Shop, invalid};

const CANARY: &str = "no step reads this";

/// A database, and a folder that its server may write.
struct Machine {
    shop: Shop,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.path().join("in"), CANARY).unwrap();
        fs::set_permissions(folder.path().join("in"), Permissions::from_mode(0o644)).unwrap();
        Self { shop: Shop::new(), folder }
    }

    fn written(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// With the files where a statement has `IN` and `OUT`.
    fn said(&self, sql: &str) -> String {
        let quoted = |name: &str| format!("'{}'", self.folder.path().join(name).display());
        sql.replace("IN", &quoted("in")).replace("OUT", &quoted("out"))
    }
}

/// What reads or writes a file on this server, when nobody keeps it from that.
const REACHES: [&str; 22] = [
    "select load_file(IN)",
    "select `load_file`(IN)",
    "select `Load_File` /**/ (IN)",
    "select load_file # a\n (IN)",
    "select {fn load_file(IN)}",
    "select {fn `load_file`(IN)}",
    "select mariadb_schema.`load_file`(IN)",
    "select @`a` := `load_file`(IN)",
    "select 1 into outfile OUT",
    "select 1 into/**/dumpfile OUT",
    "select 1.5into outfile OUT",
    "select .5into outfile OUT",
    "select 1.into outfile OUT",
    "select 1e1into outfile OUT",
    "select 1.5e-1into dumpfile OUT",
    "select \\Ninto outfile OUT",
    "select x'41'into outfile OUT",
    "select N'a'into outfile OUT",
    "select 1 --\x7f'\n into outfile OUT -- '",
    "select 1 --\x1f'\n into outfile OUT -- '",
    "select 1 /*!into outfile OUT */",
    "select 1 /*M!into outfile OUT */",
];

/// What other servers and versions may take for the same, this one with other settings, or for another table.
const REFUSED: [&str; 12] = [
    "select \"load_file\"(IN)",
    "select 1into outfile OUT",
    "select 0x41into outfile OUT",
    "select 1.5e-- 5 into outfile OUT",
    "select 1.e-- 5 into outfile OUT",
    "select /*+ SET_VAR(max_execution_time=0) */ 1",
    "create table a (b int not null) engine=csv",
    "create table a (b int not null)engine 'csv'",
    "create table a (b int) engine=myisam data directory=OUT",
    "create table a (b int) engine=federated connection='mysql://root@127.0.0.1/mysql/user'",
    "alter table here engine=csv",
    "alter table here import tablespace",
];

/// What sets a variable, which is for no query; in a change the server itself refuses it.
const INTO_VARIABLES: [&str; 3] = ["select 1.5into @a", "select 1e1into @a", "select \\Ninto @a"];

#[tokio::test]
async fn no_statement_reads_or_writes_files_of_the_machine_however_it_is_said() {
    let machine = Machine::new();
    let mut beside = machine.shop.at.connect().await.unwrap();
    for sql in REACHES.map(|sql| machine.said(sql)) {
        let read: Option<Option<String>> =
            beside.query_first(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let is_read = read.flatten().is_some_and(|read| read == CANARY);
        assert!(is_read || fs::remove_file(machine.written()).is_ok(), "{sql:?} reaches no file: it proves nothing");
    }
    let shop = &machine.shop;
    shop.execute("create table here (b int not null) engine = InnoDB", json!([])).await.unwrap();
    for sql in REACHES.into_iter().chain(REFUSED).map(|sql| machine.said(sql)) {
        invalid(shop.query(&sql, json!([])).await);
        let inserted = sql.replacen("select", "insert into here select", 1);
        invalid(shop.execute(&inserted, json!([])).await);
        let viewed = sql.replacen("select", "create view dear as select", 1);
        invalid(shop.execute(&viewed, json!([])).await);
    }
    for sql in INTO_VARIABLES {
        beside.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(invalid(shop.query(sql, json!([])).await).contains("INTO"), "{sql}");
    }
    assert!(!machine.written().exists());
    let tables = shop
        .query("select table_name as name from information_schema.tables where table_schema = database()", json!([]));
    assert_eq!(tables.await.unwrap(), json!([{"name": "here"}]));
}

#[tokio::test]
async fn tables_of_the_servers_own_engines_are_made_and_columns_have_any_name_in_quotes() {
    let shop = Shop::new();
    for sql in [
        "create table a (`engine` text, `connection` text, `directory` text) engine=InnoDB comment='engine=csv'",
        "create table b (c int) engine 'memory'",
        "alter table b engine = `MyISAM`",
        "create view v as select `engine`, `connection` from a",
        "insert into a values ('csv', 'outfile', 'load_file(')",
    ] {
        shop.execute(sql, json!([])).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let rows = shop.query("select `engine` as e, `connection` as `outfile` from a", json!([])).await;
    assert_eq!(rows.unwrap(), json!([{"e": "csv", "outfile": "outfile"}]));
}

/// What may begin a comment, or end a number or a name, with one character more.
const BEGINNINGS: [&str; 14] = ["--", "-", "#", "/*", "/", "1", "1.5e", "1.5e-", "0x", "N", "_gbk", "@", "$", "\\"];

/// Of the statements below, how many write the file where nobody looks at them: those that begin with `#`, and those with
/// two dashes and a character that the server takes for a space.
const WRITE_MIN: usize = 800;
/// How many the guard lets through, since it sees a text in them. They tell that the server is asked at all.
const SENT_MIN: usize = 5_000;

#[tokio::test]
async fn no_character_has_the_guard_take_for_a_text_what_the_server_takes_for_a_statement() {
    let machine = Machine::new();
    let mut beside = machine.shop.at.connect().await.unwrap();
    let (mut write, mut sent) = (0, 0);
    for beginning in BEGINNINGS {
        for character in '\u{1}'..='\u{ff}' {
            for quote in ["'", "\"", "`"] {
                let sql = format!("select 1 {beginning}{character}{quote}\n into outfile OUT -- {quote}");
                let sql = machine.said(&sql);
                let told = machine.shop.query(&sql, json!([])).await;
                assert!(!machine.written().exists(), "{sql:?}: {told:?}");
                match told {
                    Err(Error::Invalid(_)) => {}
                    Ok(_) => sent += 1,
                    // With its code at the end it is the server's.
                    Err(Error::Failed { ref what, .. }) if what.ends_with(')') => sent += 1,
                    other => panic!("{sql:?}: {other:?}"),
                }
                // As it is without the guard, which most are no statements without.
                let _ = beside.query_drop(&sql).await;
                write += usize::from(fs::remove_file(machine.written()).is_ok());
            }
        }
    }
    assert!(write >= WRITE_MIN && sent >= SENT_MIN, "{write} write a file unguarded, and {sent} were sent");
}
