//! `sluice migrate`, on either store.

use serde_json::Value;

use crate::support::process::output;
use local_servers::postgres::{Database, database};

async fn migrate(folder: &std::path::Path, configuration: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    std::fs::write(folder.join("sluice.toml"), configuration).unwrap();
    let ended = output(folder, &[&["migrate", "--data-dir", "data"], flags].concat()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test]
async fn a_schema_is_brought_up_to_date_once_and_it_is_told() {
    let database = database();
    let postgres = format!("[store]\nurl = \"{}\"\n", database.url());
    for configuration in ["", &postgres] {
        let folder = tempfile::tempdir().unwrap();
        let (code, said, told) = migrate(folder.path(), configuration, &["--check"]).await;
        assert_eq!((code, said.as_str()), (Some(1), ""), "{told}");
        assert!(
            told.contains("V1__initial, V2__keys_audit, V3__store_id, V4__denials, V5__jobs is missing")
                && told.contains("sluice migrate"),
            "{told}"
        );
        // Looking changed nothing.
        assert!(!folder.path().join("data/sluice.db").exists());

        let (code, said, told) = migrate(folder.path(), configuration, &[]).await;
        assert_eq!(code, Some(0), "{told}");
        assert!(said.contains("now has V1__initial, V2__keys_audit, V3__store_id, V4__denials, V5__jobs"), "{said}");
        let (code, said, _) = migrate(folder.path(), configuration, &["--json"]).await;
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &answer["applied"], &answer["version"]), (Some(0), &Value::Array(Vec::new()), &5.into()));
        let (code, said, told) = migrate(folder.path(), configuration, &["--check"]).await;
        assert_eq!(code, Some(0), "{told}");
        assert!(said.contains("up to date") && !said.contains(Database::password()), "{said}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_named_and_nothing_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let configuration = format!("[store]\nurl = \"postgres://sluice:hunter2@{nobody}/rows\"\n");
    let (code, said, told) = migrate(folder.path(), &configuration, &[]).await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(told.contains(&nobody.to_string()) && told.contains("can't be reached"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
