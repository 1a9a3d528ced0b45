//! What every backend has to do with definitions of jobs: the contract's part on them.

use jiff::Timestamp;

use super::contract::{FIRST, audit_entry};
use super::{AuditFilter, JobSaved, NewJob, SaveJob, Store};
use crate::model::JsonText;
use crate::model::action::{JOB_DELETE, JOB_SAVE};
use crate::model::job::{Job, JobName};

/// As [`super::contract::contract_tests`], which calls it.
macro_rules! contract_tests {
    ($open:path) => {
        crate::store::contract_jobs::contract_tests!(@sentences $open,
            a_definition_is_a_revision_once
            a_job_that_is_there_is_not_created_again
            there_are_no_more_jobs_than_may_be
            a_job_that_is_made_again_goes_on_counting
            of_saves_that_come_together_each_has_its_revision
            a_job_whose_row_is_refused_is_not_saved
        );
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            crate::store::contract_jobs::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

/// More than any of these needs.
const JOBS_MAX: u32 = 100;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn name(text: &str) -> JobName {
    text.parse().unwrap()
}

fn definition(step: &str) -> JsonText {
    JsonText::parse(&format!(r#"{{"steps": [{{"id": "{step}", "type":"wait", "duration_ms": 1.50}}]}}"#)).unwrap()
}

fn new_job(job: &str, step: &str, second: i64) -> NewJob {
    NewJob { name: name(job), definition: definition(step), at: at(second), by: "somebody".to_owned() }
}

pub(super) async fn save(store: &dyn Store, job: &str, step: &str, second: i64) -> JobSaved {
    let new = new_job(job, step, second);
    store.save_job(&new, SaveJob::CreateOrReplace, JOBS_MAX, &audit_entry(JOB_SAVE)).await.unwrap()
}

fn job(name_of: &str, step: &str, revision: u64, (created, updated): (i64, i64)) -> Job {
    Job {
        name: name(name_of),
        revision,
        definition: definition(step),
        created_at: at(created),
        updated_at: at(updated),
        updated_by: "somebody".to_owned(),
    }
}

async fn audited(store: &dyn Store) -> u64 {
    store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().total
}

pub(crate) async fn a_definition_is_a_revision_once(store: &dyn Store) {
    let (first, second) = (job("intake", "a", 1, (1, 1)), job("intake", "b", 2, (1, 3)));
    assert_eq!(save(store, "intake", "a", 1).await, JobSaved::Created(first.clone()));
    assert_eq!(save(store, "intake", "a", 2).await, JobSaved::Unchanged(first.clone()));
    assert_eq!(save(store, "intake", "b", 3).await, JobSaved::Updated(second.clone()));
    // What changed nothing has no row.
    assert_eq!(audited(store).await, 2);
    let other = job("another", "a", 1, (4, 4));
    assert_eq!(save(store, "another", "a", 4).await, JobSaved::Created(other.clone()));
    assert_eq!(store.all_jobs().await.unwrap(), [other, second.clone()]);
    for revision in [first, second] {
        let found = store.job_revision(&revision.name, revision.revision).await.unwrap();
        assert_eq!(found, Some(revision.definition));
    }
    assert_eq!(store.job_revision(&name("intake"), 3).await.unwrap(), None);
}

pub(crate) async fn a_job_that_is_there_is_not_created_again(store: &dyn Store) {
    let create = |step| {
        let new = new_job("intake", step, 1);
        async move { store.save_job(&new, SaveJob::Create, JOBS_MAX, &audit_entry(JOB_SAVE)).await.unwrap() }
    };
    assert!(matches!(create("a").await, JobSaved::Created(_)));
    assert_eq!((create("a").await, create("b").await), (JobSaved::Exists, JobSaved::Exists));
    assert_eq!(store.all_jobs().await.unwrap(), [job("intake", "a", 1, (1, 1))]);
}

pub(crate) async fn there_are_no_more_jobs_than_may_be(store: &dyn Store) {
    let save = |number: u32| {
        let new = new_job(&format!("job-{number}"), "a", 1);
        async move { store.save_job(&new, SaveJob::CreateOrReplace, 3, &audit_entry(JOB_SAVE)).await.unwrap() }
    };
    let saved = futures_util::future::join_all((0..6).map(save)).await;
    assert_eq!(saved.iter().filter(|saved| **saved == JobSaved::Full).count(), 3);
    let jobs = store.all_jobs().await.unwrap();
    assert_eq!((jobs.len(), audited(store).await), (3, 3));
    // One that is there may change, and one that was deleted makes room.
    let change = NewJob { definition: definition("b"), ..new_job(jobs[0].name.as_str(), "b", 2) };
    let changed = store.save_job(&change, SaveJob::CreateOrReplace, 3, &audit_entry(JOB_SAVE)).await.unwrap();
    assert!(matches!(changed, JobSaved::Updated(_)));
    assert!(store.delete_job(&jobs[0].name, &audit_entry(JOB_DELETE)).await.unwrap());
    assert!(matches!(save(7).await, JobSaved::Created(_)));
}

pub(crate) async fn a_job_that_is_made_again_goes_on_counting(store: &dyn Store) {
    save(store, "intake", "a", 1).await;
    assert!(store.delete_job(&name("intake"), &audit_entry(JOB_DELETE)).await.unwrap());
    assert!(!store.delete_job(&name("intake"), &audit_entry(JOB_DELETE)).await.unwrap());
    assert_eq!((store.all_jobs().await.unwrap(), audited(store).await), (Vec::new(), 2));
    assert_eq!(store.job_revision(&name("intake"), 1).await.unwrap(), Some(definition("a")));
    // Also where it is the same.
    assert_eq!(save(store, "intake", "a", 5).await, JobSaved::Created(job("intake", "a", 2, (5, 5))));
}

pub(crate) async fn of_saves_that_come_together_each_has_its_revision(store: &dyn Store) {
    let steps = ["a", "b", "c", "d", "e", "f"];
    let saved = futures_util::future::join_all(steps.map(|step| save(store, "intake", step, 1))).await;
    let mut revisions: Vec<_> = saved
        .into_iter()
        .map(|saved| match saved {
            JobSaved::Created(job) | JobSaved::Updated(job) => job.revision,
            other => panic!("{other:?}"),
        })
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [1, 2, 3, 4, 5, 6]);
    assert_eq!(store.all_jobs().await.unwrap()[0].revision, 6);
}

pub(crate) async fn a_job_whose_row_is_refused_is_not_saved(store: &dyn Store) {
    let taken = audit_entry(JOB_SAVE);
    let first = new_job("intake", "a", 1);
    store.save_job(&first, SaveJob::Create, JOBS_MAX, &taken).await.unwrap();
    store.save_job(&new_job("intake", "b", 2), SaveJob::CreateOrReplace, JOBS_MAX, &taken).await.unwrap_err();
    store.delete_job(&first.name, &taken).await.unwrap_err();
    assert_eq!(store.all_jobs().await.unwrap(), [job("intake", "a", 1, (1, 1))]);
}
