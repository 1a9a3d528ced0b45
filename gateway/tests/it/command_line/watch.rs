//! `sluice build --watch` on a gateway.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Author, PATIENCE, interrupt, put_step};
use crate::support::guest;

#[tokio::test]
async fn a_change_is_built_and_takes_the_place_of_the_upload_before_until_it_is_interrupted() {
    let author = Author::new().await;
    put_step(&author, "echo");
    let mut command = author.command(&["build", "step", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut uploaded = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("an upload").unwrap();
        line.expect("it goes on").strip_prefix("uploaded echo@").unwrap().to_owned()
    };
    let first = uploaded().await;
    assert!(first.starts_with("1.0.0-dev."), "{first}");
    author.gateway.get(&format!("/api/v1/wasm/modules/echo@{first}")).await.expect_status(200);

    std::fs::write(author.path("step/in.wasm"), guest("trap")).unwrap();
    let second = uploaded().await;
    assert_ne!(first, second);
    let only_the_second = |answer: &crate::support::Answer| {
        let page = answer.json();
        page["total"] == 1 && page["items"][0]["version"] == second.as_str()
    };
    author.gateway.eventually("/api/v1/wasm/modules?name=echo", only_the_second).await;
    // It didn't take its own output for a change: the next upload is of the next change.
    std::fs::write(author.path("step/in.wasm"), "no component").unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let refused =
        async { while !notes.next_line().await.unwrap().expect("it goes on").contains("the gateway would refuse") {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("the refusal");
    interrupt(&child);
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(130));
    assert_eq!(lines.next_line().await.unwrap(), None, "a build that is refused is not uploaded");
    author.gateway.eventually("/api/v1/wasm/modules?name=echo", only_the_second).await;
}
