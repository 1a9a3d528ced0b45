//! What goes wrong between an author and a gateway, and what to do next.

use serde_json::json;
use tokio::net::TcpListener;

use super::{Author, Ran, put_guest};
use crate::support::{TestGateway, guest};

#[tokio::test]
async fn a_server_that_is_down_is_named_with_the_command_that_starts_one() {
    let author = Author::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = format!("http://{nobody}");
    for command in [&["list"][..], &["show", "a"], &["invoke", "a"], &["delete", "a", "--yes"]] {
        let ran = author.run(&[command, &["--server", &server]].concat()).await.failed();
        let ran = ran.says(&["no connection to", &nobody.to_string(), "sluice serve", "--server"]);
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test]
async fn a_server_that_is_no_gateway_is_told_as_one() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let author = Author::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let stranger = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n<h1>Hello</h1>\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let ran = author.run(&["list", "--server", &server]).await.failed();
    ran.says(&["does not answer like a Sluice gateway", "<h1>Hello</h1>", "--server"]);
    stranger.await.unwrap();
}

/// The head of the one request that a proxy on this machine is sent, which then says that there was no valid key.
async fn asked_through_a_proxy(author: &Author, arguments: &[&str], data_dir: Option<&str>) -> (String, Ran) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = crate::support::process::command(author.folder.path(), arguments);
    command.env("http_proxy", format!("http://{}", proxy.local_addr().unwrap())).env_remove("no_proxy");
    command.env_remove("NO_PROXY").envs(data_dir.map(|folder| ("SLUICE_DATA_DIR", folder)));
    let asked = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let body = r#"{"code": "unauthenticated", "status": 401, "title": "No valid key", "detail": "no"}"#;
        let head_of_answer = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\nconnection: close";
        let answer = format!("{head_of_answer}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let ran = Ran::of(command).await;
    (asked.await.unwrap(), ran)
}

#[tokio::test]
async fn the_admin_key_that_is_found_by_itself_is_sent_to_no_other_machine() {
    let author = Author::new().await;
    std::fs::create_dir(author.path("data")).unwrap();
    std::fs::write(author.path("data/admin.key"), "sk_local").unwrap();
    let list = ["list", "--server", "http://gateway.example"];
    let (head, ran) = asked_through_a_proxy(&author, &list, None).await;
    assert!(head.starts_with("GET http://gateway.example/api/v1/wasm/modules"), "{head}");
    assert!(!head.contains("sk_local") && !head.contains("authorization"), "{head}");
    ran.failed().says(&["no key was sent", "--key", "SLUICE_KEY", "--data-dir"]);
    // Who names a key means it.
    for (flags, data_dir) in
        [(vec!["--key", "sk_local"], None), (vec!["--data-dir", "data"], None), (vec![], Some("data"))]
    {
        let (head, ran) = asked_through_a_proxy(&author, &[&list[..], &flags].concat(), data_dir).await;
        assert!(head.contains("authorization: Bearer sk_local\r\n"), "{flags:?}: {head}");
        ran.failed();
    }
}

#[tokio::test]
async fn the_flag_comes_before_the_variable_and_that_before_the_data_folder() {
    let author = Author::new().await;
    let key = author.gateway.key().to_owned();
    let wrong = "sk_wrong";
    let list = async |variable: Option<&str>, flag: Option<&str>| {
        let flags: Vec<&str> = flag.map_or_else(Vec::new, |key| vec!["--key", key]);
        let mut command = author.command(&[&["list"], flags.as_slice()].concat());
        command.envs(variable.map(|key| ("SLUICE_KEY", key)));
        Ran::of(command).await
    };
    list(None, None).await.done();
    list(Some(""), None).await.done();
    list(Some(wrong), Some(&key)).await.done();
    list(Some(&key), None).await.done();
    for refused in [list(Some(wrong), None).await, list(Some(&key), Some(wrong)).await] {
        let refused = refused.failed().says(&["unauthenticated", "--key or SLUICE_KEY"]);
        assert!(!format!("{refused:?}").contains(wrong), "a key is not shown: {refused:?}");
    }
    let mut json = author.command(&["list", "--json"]);
    json.env("SLUICE_KEY", wrong);
    assert_eq!(Ran::of(json).await.failed().json()["code"], "unauthenticated");
}

#[tokio::test]
async fn the_key_is_found_in_the_nearest_data_folder_above() {
    let author = Author::new().await;
    std::fs::create_dir_all(author.path("data")).unwrap();
    std::fs::create_dir_all(author.path("steps/price-check")).unwrap();
    let from = |folder: &str| {
        let mut command = author.command(&["list"]);
        command.env_remove("SLUICE_DATA_DIR").current_dir(author.path(folder));
        command
    };
    let none = Ran::of(from("steps/price-check")).await.failed();
    none.says(&["no key was found", "admin.key", "--data-dir"]);
    std::fs::write(author.path("data/admin.key"), author.gateway.key()).unwrap();
    Ran::of(from("steps/price-check")).await.done();
    Ran::of(from(".")).await.done();
}

#[tokio::test]
async fn a_component_that_can_not_run_here_is_refused_with_both_signatures() {
    let author = Author::new().await;
    let upload = async |name: &str| {
        let file = put_guest(&author, name);
        author.run(&["upload", &file, "--name", name, "--version", "1.0.0"]).await.failed()
    };
    let ran = upload("wrong-type").await.says(&["invalid-module", "func(n: u32) -> u32"]);
    ran.says(&["func(input: string) -> variant { completed("]);
    upload("unknown-import").await.says(&["acme:mystery/thing@1.0.0", "unknown-import"]);
    std::fs::write(author.path("text.wasm"), "an order").unwrap();
    let text = author.run(&["upload", "text.wasm", "--name", "text", "--version", "1.0.0"]).await.failed();
    text.says(&["not WebAssembly"]);
    assert_eq!(author.run(&["list", "--json"]).await.done().json()["total"], 0);
}

#[tokio::test]
async fn a_version_that_is_taken_is_refused_with_the_flag_that_helps() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    let file = put_guest(&author, "trap");
    let taken = author.run(&["upload", &file, "--name", "echo", "--version", "1.0.0"]).await.failed();
    taken.says(&["echo 1.0.0", "version-exists", "--version", "sluice.step.toml"]);
    author.run(&["upload", &file, "--name", "echo", "--version", "1.0.1"]).await.done();
}

#[tokio::test]
async fn a_list_of_several_pages_says_where_the_next_is_while_there_is_one() {
    let author = Author::with(TestGateway::start().await.module("echo").await.module("trap").await);
    let page = async |number: &str| author.run(&["list", "--limit", "1", "--page", number]).await.done();
    assert_eq!(page("1").await.says(&["1 to 1 of 2; the next are on --page 2"]).stdout.lines().count(), 1);
    assert_eq!(page("2").await.stderr, "2 to 2 of 2\n");
    assert_eq!(page("3").await.stderr, "nothing is on this page\n");
    author.run(&["list", "--limit", "0"]).await.failed().says(&["limit"]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    author.run(&["show", "eccho"]).await.failed().says(&["there is no module eccho", "sluice list"]);
    author.run(&["invoke", "echo@^2"]).await.failed().says(&["echo@^2"]);
    let function = author.run(&["invoke", "echo", "--function", "nope"]).await.failed();
    function.says(&["no function nope", "nothing, route, run, shout, twice"]);
    author.run(&["upload", "no.wasm", "--name", "a", "--version", "1.0.0"]).await.ended(2).says(&["no.wasm"]);
    author.run(&["invoke", "echo", "--input", "@no.json"]).await.failed().says(&["no.json"]);
    let over = author.run(&["invoke", "echo", "--timeout-ms", "999999999"]).await.failed();
    let over = over.says(&["timeout_ms may be at most"]);
    assert_eq!(over.stderr.matches("may be at most").count(), 1, "said once: {over:?}");
}

#[tokio::test]
async fn a_guests_failures_tell_what_kind_they_are_and_where_the_log_is() {
    let gw = TestGateway::start().await.module("trap").await.module("outcomes").await.module("spin").await;
    let author = Author::with(gw);
    let message = json!({"message": "no such order"}).to_string();
    let trap = author.run(&["invoke", "trap", "--input", &message]).await.failed().says(&["trap", "sluice logs "]);
    let execution = trap.stderr.trim_end().rsplit(' ').next().unwrap();
    let log = author.run(&["logs", execution]).await.done();
    assert!(log.stdout.contains("no such order"), "the panic's own words are in the log: {log:?}");

    let failure = json!({"failed": {"code": "upstream-down", "message": "no answer", "retryable": true}}).to_string();
    let failed = author.run(&["invoke", "outcomes", "--input", &failure]).await.failed();
    failed.says(&["no answer (upstream-down)", "another attempt may succeed"]);
    let sleep = ["invoke", "spin", "--function", "sleep", "--input", r#"{"ms": 25000}"#, "--timeout-ms", "100"];
    let slow = author.run(&sleep).await.failed();
    slow.says(&["timed-out", "limit: 100 ms"]);
    let hungry = author.run(&["invoke", "spin", "--fuel", "100000"]).await.failed();
    hungry.says(&["fuel-exhausted", "limit: 100,000 fuel"]);
}

#[tokio::test]
async fn what_a_guest_writes_can_not_act_on_a_terminal() {
    let author = Author::with(TestGateway::start().await.module("echo").await.module("log-spam").await);
    // The harness looks for escapes in whatever is printed.
    author.run(&["invoke", "echo", "--input", r#""[2J\r""#]).await.done();
    let line = json!({"input": {"level": "warn", "message": "\u{1b}[2Jgone\r", "fields": []}});
    let answer = author.gateway.invoke_with("log-spam", "fields", line).await.expect_status(200).json();
    let log = author.run(&["logs", answer["execution_id"].as_str().unwrap()]).await.done();
    assert!(log.stdout.contains("\\u{1b}[2Jgone"), "{log:?}");
    let described = author.gateway.upload_form(
        reqwest::multipart::Form::new()
            .part("module", reqwest::multipart::Part::bytes(guest("trap")).file_name("m"))
            .text("name", "trap")
            .text("version", "1.0.0")
            .text("description", "\u{1b}]0;title"),
    );
    described.await.expect_status(201);
    author.run(&["show", "trap"]).await.done();
}
