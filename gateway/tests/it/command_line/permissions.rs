//! What a module is allowed, with the command.

use serde_json::{Value, json};

use super::{Author, Ran};
use crate::denials::{denied, listed, request};
use crate::support::TestGateway;

async fn author() -> Author {
    Author::with(TestGateway::start().await.module("hosts").await)
}

/// `sluice permissions …`
async fn permissions(author: &Author, arguments: &[&str]) -> Ran {
    author.run(&[&["permissions"], arguments].concat()).await
}

/// What a user pastes into a shell.
async fn in_shell(author: &Author, line: &str) -> Ran {
    let sluice = author.command(&[]);
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(line.replacen("sluice ", "\"$0\" ", 1)).arg(sluice.as_std().get_program());
    shell.current_dir(author.folder.path());
    for (name, value) in sluice.as_std().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Ran::of(shell).await
}

#[tokio::test]
async fn permissions_are_added_and_removed_one_by_one() {
    let author = author().await;
    let (orders, api) = ("database:read orders", "http:write https://api.example.com/*");
    let set = permissions(&author, &["set", "hosts", "--add", orders, "--add", api]).await.done();
    assert_eq!(set.stdout, "database:read\torders\nhttp:write\thttps://api.example.com/*\n");
    let again = permissions(&author, &["set", "hosts", "--add", api]).await.done().says(&["already"]);
    assert_eq!(again.stdout, set.stdout);
    let left =
        permissions(&author, &["set", "hosts", "--remove", orders, "--add", "secret:use k@a.example"]).await.done();
    assert_eq!(left.stdout, "http:write\thttps://api.example.com/*\nsecret:use\tk@a.example\n");
    let missing = permissions(&author, &["set", "hosts", "--remove", orders]).await.failed();
    missing.says(&["has no permission database:read orders", "nothing was changed", "permissions show hosts@1.0.0"]);
    assert_eq!(permissions(&author, &["show", "hosts"]).await.done().stdout, left.stdout);
    permissions(&author, &["set", "hosts", "--add", "http:write https://[a"]).await.ended(2).says(&["no `]`"]);
    permissions(&author, &["set", "hosts"]).await.ended(2).says(&["--file"]);
}

#[tokio::test]
async fn a_call_is_explained_by_the_permission_that_covers_it() {
    let author = author().await;
    let list = r#"[{"permission": "database:read", "resource": "orders"},
                   {"permission": "http:read", "resource": "https://*.example.com/v1/*"},
                   {"permission": "secret:use", "resource": "key@api.example.com"}]"#;
    std::fs::write(author.path("allowed.json"), list).unwrap();
    permissions(&author, &["set", "hosts", "--file", "allowed.json"]).await.done();
    for (method, resource, rule) in [
        ("GET", "https://API.example.com:443/v1/x?q=1", "2 of 3: http:read https://*.example.com/v1/*"),
        ("database:read", "orders", "1 of 3: database:read orders"),
        ("secret:use", "key@API.example.com", "3 of 3: secret:use key@api.example.com"),
    ] {
        let told = permissions(&author, &["explain", "hosts", method, resource]).await.done();
        assert_eq!(told.stdout, format!("allowed by permission {rule}\n"));
    }
    let told =
        permissions(&author, &["explain", "hosts", "GET", "https://a.example.com/v1/x", "--json"]).await.done().json();
    assert_eq!((&told["allowed"], &told["rule"]["number"], &told["wanted"]), (&json!(true), &json!(2), &Value::Null));
}

#[tokio::test]
async fn a_call_that_is_denied_is_explained_by_the_permission_that_would_allow_it() {
    let author = author().await;
    for (method, resource, wanted) in [
        ("POST", "https://api.example.com/a*b?q=1", r"http:write https://api.example.com/a\*b"),
        ("OPTIONS", "http://127.0.0.1:8080/", "http:read http://127.0.0.1:8080/"),
        ("database:write", "it's", "database:write it's"),
        ("secret:use", "key@api.example.com", "secret:use key@api.example.com"),
    ] {
        let explain = ["explain", "hosts@1.0.0", method, resource];
        let told = permissions(&author, &explain).await.ended(1);
        let lines: Vec<&str> = told.stdout.lines().collect();
        assert!(lines[0].starts_with("denied: no permission of hosts@1.0.0 covers "), "{told:?}");
        let (kind, glob) = wanted.split_once(' ').unwrap();
        let pasted: Value = serde_json::from_str(lines[1].strip_prefix("this one would: ").unwrap()).unwrap();
        assert_eq!(pasted, json!({"permission": kind, "resource": glob}));
        let in_json = permissions(&author, &[&explain[..], &["--json"]].concat()).await.ended(1).json();
        assert_eq!((&in_json["allowed"], &in_json["wanted"]), (&json!(false), &pasted));
        assert_eq!(in_json["command"], lines[2].strip_prefix("to add it: ").unwrap());
        assert_eq!(told.stderr.contains("allow_private"), resource.contains("127.0.0.1"), "{told:?}");

        // The command that is told is one that a shell runs, and it is enough.
        in_shell(&author, lines[2].strip_prefix("to add it: ").unwrap()).await.done();
        permissions(&author, &explain).await.done();
    }
}

#[tokio::test]
async fn what_can_not_be_explained_is_wrong_usage() {
    let author = author().await;
    for (method, resource, why) in [
        ("GET", "https://user@a.example/", "a user or a password"),
        ("GET", "https://a.example/x/%2e%2e/y", "`.` or `..`"),
        ("GET", "file:///etc/passwd", "not http or https"),
        ("database:drop", "orders", "database:write"),
        ("secret:use", "key", "NAME@HOST"),
    ] {
        permissions(&author, &["explain", "hosts", method, resource]).await.ended(2).says(&["error: ", why]);
    }
    permissions(&author, &["explain", "nothing", "GET", "https://a.example/"])
        .await
        .failed()
        .says(&["no module nothing"]);
}

#[tokio::test]
async fn what_was_denied_becomes_a_list_that_allows_it() {
    let author = author().await;
    let nothing = permissions(&author, &["suggest", "hosts"]).await.done().says(&["nothing to suggest"]);
    assert_eq!(nothing.stdout, "");
    permissions(&author, &["set", "hosts", "--add", "http:write https://old.example/*"]).await.done();
    for url in ["1", "2", "3"].map(|order| format!("https://api.example.com/orders/{order}")) {
        denied(&author.gateway, request("GET", &url)).await;
    }
    denied(&author.gateway, request("POST", "http://127.0.0.1:9/hook")).await;
    denied(&author.gateway, json!({"db": ["orders", "select 1", []]})).await;
    listed(&author.gateway, 6).await;

    let told = permissions(&author, &["suggest", "hosts"]).await.done();
    let rows: Vec<Vec<&str>> = told.stdout.lines().map(|line| line.split('\t').collect()).collect();
    let expected = [
        ("http:read", "https://api.example.com/orders/*", "3"),
        ("http:write", "http://127.0.0.1:9/hook", "1"),
        ("database:read", "orders", "1"),
        ("database:write", "orders", "1"),
    ];
    assert_eq!(rows.iter().map(|row| (row[0], row[1], row[2])).collect::<Vec<_>>(), expected);
    assert!(rows.iter().all(|row| row[3].ends_with('Z')), "{rows:?}");
    let told =
        told.says(&["127.0.0.1 is no public address", "allow_private", "set hosts@1.0.0 --file permissions.json"]);
    assert!(!told.stderr.contains("api.example.com"), "{told:?}");

    let list = permissions(&author, &["suggest", "hosts", "--json"]).await.done();
    assert_eq!(list.json()[0], json!({"permission": "http:write", "resource": "https://old.example/*"}));
    assert_eq!(list.json().as_array().unwrap().len(), 5);
    std::fs::write(author.path("permissions.json"), &list.stdout).unwrap();
    permissions(&author, &["set", "hosts", "--file", "permissions.json"]).await.done();
    permissions(&author, &["explain", "hosts", "GET", "https://api.example.com/orders/17"]).await.done();
    permissions(&author, &["suggest", "hosts"]).await.done().says(&["nothing to suggest"]);
    let same = permissions(&author, &["suggest", "hosts", "--json"]).await.done();
    assert_eq!(same.json(), list.json());
}
