//! What commands show in a terminal, and what of it stays away from a pipe.

use super::{Author, put_guest, put_step};
use crate::support::TestGateway;
use crate::support::terminal::{Streams, run};

/// What the progress bar is drawn with.
const BAR: [char; 2] = ['█', '░'];
const RED: &str = "\u{1b}[1;31m";
const GREEN: &str = "\u{1b}[32m";

#[tokio::test]
async fn an_upload_shows_how_far_it_is_in_a_terminal_and_only_the_result_in_a_pipe() {
    let author = Author::new().await;
    let file = put_guest(&author, "echo");
    let upload = |version| author.command(&["upload", &file, "--name", "echo", "--version", version]);
    let shown = run(upload("1.0.0"), Streams::All).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.screen.contains(BAR) && shown.screen.contains("uploaded echo 1.0.0: "), "{shown:?}");

    let shown = run(upload("1.0.1"), Streams::AllButOutput).await;
    assert!(shown.screen.contains(BAR), "{shown:?}");
    assert!(shown.stdout.starts_with("uploaded echo 1.0.1: ") && shown.stdout.lines().count() == 1, "{shown:?}");
    assert!(!shown.stdout.contains('\u{1b}') && !shown.stdout.contains(BAR), "{shown:?}");

    let piped = author.run(&["upload", &file, "--name", "echo", "--version", "1.0.2"]).await.done();
    assert!(!piped.stderr.contains(BAR) && piped.stdout.lines().count() == 1, "{piped:?}");
}

#[tokio::test]
async fn a_list_is_a_table_in_a_terminal_and_lines_for_scripts_in_a_pipe() {
    let author = Author::with(TestGateway::start().await.module("echo").await);
    let shown = run(author.command(&["list"]), Streams::All).await;
    assert!(shown.screen.contains("NAME") && shown.screen.contains('─') && shown.screen.contains("echo"), "{shown:?}");
    let shown = run(author.command(&["list"]), Streams::AllButOutput).await;
    assert!(shown.stdout.starts_with("echo\t1.0.0\t") && shown.stdout.lines().count() == 1, "{shown:?}");
    let shown = run(author.command(&["list", "--json"]), Streams::All).await;
    let indented: serde_json::Value = serde_json::from_str(&shown.screen[..=shown.screen.rfind('}').unwrap()]).unwrap();
    assert_eq!(indented["total"], 1);
    assert!(shown.screen.contains("\n  \"items\""), "{shown:?}");
}

#[tokio::test]
async fn errors_and_cases_are_coloured_in_a_terminal_unless_nobody_wants_colours() {
    let author = Author::new().await;
    put_step(&author, "order-check");
    std::fs::write(author.path("step/tests/a.json"), r#"{"input": {}, "expect": {"status": "invalid"}}"#).unwrap();
    std::fs::write(author.path("step/tests/b.json"), r#"{"input": {}, "expect": {"status": "completed"}}"#).unwrap();
    let shown = run(author.command(&["test", "step"]), Streams::All).await;
    assert_eq!(shown.code, Some(1));
    assert!(shown.screen.contains(&format!("{GREEN}ok ")), "{shown:?}");
    assert!(shown.screen.contains(&format!("{RED}FAILED\u{1b}[0m  b ")), "{shown:?}");

    let shown = run(author.command(&["show", "nope"]), Streams::All).await;
    assert!(shown.code == Some(1) && shown.screen.contains(&format!("{RED}error: ")), "{shown:?}");
    let mut plain = author.command(&["show", "nope"]);
    plain.env("NO_COLOR", "1");
    let shown = run(plain, Streams::All).await;
    assert!(shown.screen.contains("error: ") && !shown.screen.contains('\u{1b}'), "{shown:?}");
}
