//! Keys with the command.

use serde_json::json;

use super::{Author, PATIENCE, Ran};

#[tokio::test]
async fn a_key_is_made_used_listed_and_deleted() {
    let author = Author::new().await;
    let made = author.run(&["key", "create", "--name", "ci", "--role", "viewer", "--expires", "30d"]).await.done();
    let made = made.says(&["made the key", "(ci, viewer)", "shown this once"]);
    let key = made.stdout.trim_end().to_owned();
    assert!(key.starts_with("sk_") && !made.stderr.contains(&key), "{made:?}");

    let mut list = author.command(&["list"]);
    list.env("SLUICE_KEY", &key);
    Ran::of(list).await.done();
    let mut refused = author.command(&["key", "list"]);
    refused.env("SLUICE_KEY", &key);
    Ran::of(refused).await.failed().says(&["a higher role"]);

    let listed = author.run(&["key", "list"]).await.done();
    assert!(!listed.stdout.contains("sk_"), "{listed:?}");
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((rows.len(), rows[0][1], rows[0][2], rows[0][5], rows[1][3]), (2, "ci", "viewer", "all", "never"));
    assert_ne!(rows[0][4], "never");

    let id = rows[0][0];
    author.run(&["key", "delete", id]).await.ended(2).says(&["--yes"]);
    author.run(&["key", "delete", id, "--yes"]).await.done();
    author.run(&["key", "delete", id, "--yes"]).await.failed().says(&["no such key", "sluice key list"]);
    author.run(&["key", "delete", rows[1][0], "--yes"]).await.failed().says(&["last admin key"]);
    author.run(&["key", "create", "--name", "x", "--role", "viewer", "--expires", "soon"]).await.ended(2);
    author
        .run(&["key", "create", "--name", "x", "--role", "root"])
        .await
        .ended(2)
        .says(&["viewer, invoker, editor, admin"]);
}

#[tokio::test]
async fn a_key_that_has_expired_is_told_as_one_with_the_way_to_another() {
    let author = Author::new().await;
    let made = author.run(&["key", "create", "--name", "ci", "--role", "viewer", "--expires", "1s"]).await.done();
    let list = || {
        let mut command = author.command(&["list"]);
        command.env("SLUICE_KEY", made.stdout.trim_end());
        Ran::of(command)
    };
    let expired = async {
        loop {
            let ran = list().await;
            if ran.code != Some(0) {
                break ran;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, expired).await.expect("the end of the key").failed();
    refused.says(&["the key has expired", "sluice key create", "does not take the key of --key or SLUICE_KEY"]);
}

#[tokio::test]
async fn keys_are_json_when_asked() {
    let author = Author::new().await;
    let arguments =
        ["key", "create", "--name", "ci", "--role", "invoker", "--modules", "order-*,tax", "--jobs", "n", "--json"];
    let made = author.run(&arguments).await.done().json();
    assert_eq!((&made["modules"], &made["jobs"]), (&json!(["order-*", "tax"]), &json!(["n"])));
    let listed = author.run(&["key", "list", "--json"]).await.done().json();
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(2), &made["id"]));
    let id = made["id"].as_str().unwrap();
    let deleted = author.run(&["key", "delete", id, "--yes", "--json"]).await.done();
    assert_eq!(deleted.stdout, "");
}
