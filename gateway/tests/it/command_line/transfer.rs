//! Uploads and downloads that end early, and readers that leave.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{Author, PATIENCE, Ran, entries, interrupt, put_guest};
use crate::support::TestGateway;

/// A way to `gateway` that stops after `bytes` of the request, and tells so; it breaks
/// off when the client does.
async fn stalling_way(gateway: String, bytes: usize) -> (String, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, stalled) = oneshot::channel();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(gateway).await.unwrap();
        let mut passed = vec![0; bytes];
        client.read_exact(&mut passed).await.unwrap();
        server.write_all(&passed).await.unwrap();
        tell.send(()).unwrap();
        // Takes the rest, so that the client is in the middle, and gives none of it on.
        let mut rest = vec![0; 64 * 1024];
        while client.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    });
    (address, stalled)
}

#[tokio::test]
async fn an_upload_that_is_interrupted_leaves_nothing() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    let before = author.gateway.files();
    let (server, stalled) = stalling_way(author.gateway.address().to_owned(), 50_000).await;
    let arguments = ["upload", &file, "--name", "echo", "--version", "1.0.0", "--server", &server];
    let child = author.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::time::timeout(PATIENCE, stalled).await.expect("half of the upload").unwrap();
    interrupt(&child);
    let ended: Ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into();
    let ended = ended.ended(130);
    assert_eq!(ended.stdout, "");

    assert_eq!(author.run(&["list", "--json"]).await.done().json()["total"], 0);
    assert_eq!(author.gateway.files(), before);
    author.run(&["upload", &file, "--name", "echo", "--version", "1.0.0"]).await.done();
}

/// A way to `gateway` that gives the client so many bytes of the answer and then no more.
async fn stalling_answer(gateway: String, bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(gateway).await.unwrap();
        let ((mut asks, mut hears), (answers, mut asked)) = (client.into_split(), server.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
        tokio::io::copy(&mut answers.take(bytes as u64), &mut hears).await.unwrap();
        std::future::pending::<()>().await;
        drop(hears);
    });
    address
}

#[tokio::test]
async fn a_download_that_is_interrupted_leaves_what_was_there_and_no_part() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    std::fs::write(author.path("echo.wasm"), "the old one").unwrap();
    let server = stalling_answer(author.gateway.address().to_owned(), 20_000).await;
    let mut command = author.command(&["download", "echo", "--output", "echo.wasm", "--server", &server]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = async {
        while entries(author.folder.path()).len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("a part of the file");
    interrupt(&child);
    let ended: Ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into();
    assert_eq!(ended.ended(130).stdout, "");
    assert_eq!(entries(author.folder.path()), ["echo.wasm"]);
    assert_eq!(std::fs::read_to_string(author.path("echo.wasm")).unwrap(), "the old one");
}

/// A server that answers every request with this.
async fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
            let _ = client.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_download_replaces_a_file_only_when_it_is_whole_and_what_was_promised() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    std::fs::write(author.path("echo.wasm"), "the old one").unwrap();
    let kept = |ran: Ran, words: &str| {
        ran.failed().says(&[words]);
        assert_eq!(std::fs::read_to_string(author.path("echo.wasm")).unwrap(), "the old one");
        assert_eq!(entries(author.folder.path()), ["echo.wasm"], "no part is left");
    };
    let download =
        async |server: &str| author.run(&["download", "echo", "--output", "echo.wasm", "--server", server]).await;
    let head = |length: usize, tag: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{tag}\r\nabc");
    let tag = format!("etag: \"{}\"\r\n", "0".repeat(64));
    kept(download(&answering(head(3, &tag).into_bytes()).await).await, "nothing was saved");
    kept(download(&answering(head(3, "").into_bytes()).await).await, "digest");
    kept(download(&answering(head(30, &tag).into_bytes()).await).await, "broke");

    let saved = author.run(&["download", "echo", "--output", "echo.wasm"]).await.done();
    assert!(saved.stdout.starts_with("echo.wasm: "), "{saved:?}");
    assert_eq!(std::fs::read(author.path("echo.wasm")).unwrap(), crate::support::guest("echo"));
    author.run(&["download", "echo", "--output", "no/such/folder/x"]).await.failed().says(&["no/such/folder"]);
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_failure() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    for arguments in [&["list"][..], &["list", "--json"], &["show", "echo"], &["config", "print"], &["--help"]] {
        let mut child = author.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended: Ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into();
        let ended = ended.done();
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn an_invocation_that_is_interrupted_is_recorded_as_canceled() {
    let author = Author::with(TestGateway::start().await.module("spin").await);
    let sleep = ["invoke", "spin", "--function", "sleep", "--input", r#"{"ms": 25000}"#];
    let child = author.command(&sleep).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = "/api/v1/wasm/executions?status=running";
    author.gateway.eventually(running, |answer| answer.json()["total"] == 1).await;
    interrupt(&child);
    let ended: Ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into();
    ended.ended(130);
    let canceled = "/api/v1/wasm/executions?status=canceled";
    author.gateway.eventually(canceled, |answer| answer.json()["total"] == 1).await;
}

#[tokio::test]
async fn what_an_upload_says_of_a_module_is_kept_with_it() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    let list = r#"[{"permission": "http:read", "resource": "https://api.example.com/*"}]"#;
    std::fs::write(author.path("allowed.json"), list).unwrap();
    std::fs::write(author.path("limits.json"), r#"{"timeout_ms": 250}"#).unwrap();
    let upload = ["upload", &file, "--name", "echo", "--version", "1.0.0", "--description", "Says it again"];
    let files = ["--permissions", "allowed.json", "--limits", "limits.json"];
    author.run(&[&upload[..], &files].concat()).await.done();
    let shown = author.run(&["show", "echo", "--json"]).await.done().json();
    assert_eq!(shown["permissions"], serde_json::from_str::<serde_json::Value>(list).unwrap());
    assert_eq!((&shown["limits"]["timeout_ms"], &shown["description"]), (&250.into(), &"Says it again".into()));

    for (text, words) in [
        (r#"[{"permission": "http:raed", "resource": "*"}]"#, "/permissions/0/permission: is http:read"),
        ("[", "allowed.json is not JSON"),
    ] {
        std::fs::write(author.path("allowed.json"), text).unwrap();
        let again = ["upload", &file, "--name", "echo", "--version", "1.0.1", "--permissions", "allowed.json"];
        author.run(&again).await.failed().says(&[words]);
    }
    assert_eq!(author.run(&["list", "--json"]).await.done().json()["total"], 1);
}

#[tokio::test]
async fn permissions_are_shown_and_replaced_from_a_file() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    author.run(&["permissions", "show", "echo"]).await.done().says(&["echo@1.0.0 is allowed nothing"]);
    let list = r#"[{"permission": "http:read", "resource": "https://api.example.com/*"}]"#;
    std::fs::write(author.path("allowed.json"), list).unwrap();
    let set = author.run(&["permissions", "set", "echo", "--file", "allowed.json"]).await.done();
    assert_eq!(set.stdout, "http:read\thttps://api.example.com/*\n");
    let shown = author.run(&["permissions", "show", "echo@1.0.0", "--json"]).await.done();
    assert_eq!(shown.json(), serde_json::from_str::<serde_json::Value>(list).unwrap());

    std::fs::write(author.path("bad.json"), r#"[{"permission": "http:read", "resource": "[a"}]"#).unwrap();
    author
        .run(&["permissions", "set", "echo", "--file", "bad.json"])
        .await
        .failed()
        .says(&["/0/resource", "bad-request"]);
    assert_eq!(author.run(&["permissions", "show", "echo"]).await.done().stdout, set.stdout);
}
