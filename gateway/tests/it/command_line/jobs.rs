//! Jobs with the command.

use super::Author;

const JOB: &str = "name: intake\nsteps:\n  - {id: pause, type: wait, duration_ms: 1}\n";

#[tokio::test]
async fn a_job_is_applied_run_followed_and_looked_at() {
    let author = Author::new().await;
    std::fs::write(author.path("job.yaml"), JOB).unwrap();
    author.run(&["job", "validate", "job.yaml"]).await.done();
    author.run(&["job", "apply", "job.yaml"]).await.done().says(&["sluice job run intake"]);
    let followed = author.run(&["job", "run", "intake", "--follow", "--input", "{\"order\": 1}"]).await.done();
    assert!(followed.stdout.contains("pause  completed"), "{followed:?}");
    let waited = author.run(&["job", "run", "intake", "--wait", "--json"]).await.done().json();
    assert_eq!(waited["status"], "completed");
    let runs = author.run(&["job", "runs", "intake"]).await.done();
    assert_eq!(runs.stdout.lines().count(), 2, "{runs:?}");
    let id = waited["id"].as_str().unwrap();
    assert!(author.run(&["job", "show", id]).await.done().stdout.contains("pause\tcompleted"));
    author.run(&["job", "show", "intake"]).await.done();
    author.run(&["job", "list"]).await.done();
    author.run(&["job", "cancel", id]).await.failed().says(&["run-ended"]);
    author.run(&["job", "delete", "intake"]).await.ended(2).says(&["--yes"]);
    author.run(&["job", "delete", "intake", "--yes"]).await.done();
    author.run(&["job", "run", "intake"]).await.failed().says(&["no such job", "sluice job list"]);
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    let author = Author::new().await;
    std::fs::write(author.path("job.yaml"), JOB.replace("pause", "Pause")).unwrap();
    author.run(&["job", "validate", "job.yaml"]).await.failed().says(&["/steps/0/id"]);
    author.run(&["job", "apply", "nothing.yaml"]).await.failed().says(&["nothing.yaml can't be read"]);
    author.run(&["job", "run", "intake", "--input", "hello"]).await.ended(2).says(&["needs quotes"]);
}
