//! What every backend has to do with notifications: the contract's part on them.

use super::contract::{FIRST, audit_entry};
use super::contract_claims::{begin, change, next_after};
use super::contract_jobs::{at, name, save};
use super::contract_runs::{create, ended, new_run, store_of};
use super::jobs::ATTEMPTS_KEPT;
use super::{
    AuditFilter, DeliveryFilter, DeliveryTried, NewRun, Page, Replayed, RunChanged, RunSaved, Store, WorkerId,
};
use crate::model::action::DELIVERY_REPLAY;
use crate::model::job::{Delivery, DeliveryAttempt, DeliveryStatus, RunStatus};
use crate::model::{DeliveryId, NameGlobs, RunId};

/// As [`super::contract::contract_tests`], which calls it.
macro_rules! contract_tests {
    ($open:path) => {
        crate::store::contract_deliveries::contract_tests!(@sentences $open,
            a_notification_is_tried_until_it_is_taken
            the_last_attempts_are_kept
            notifications_of_a_session_that_ended_are_the_next_ones
            who_does_not_hold_a_notification_stores_nothing_of_it
            an_endpoint_that_wants_nothing_more_gets_nothing_more
            what_is_tried_while_its_endpoint_closes_is_dead
            a_notification_is_sent_again_on_request
            notifications_are_listed_newest_first_as_they_are_narrowed
            notifications_go_with_their_run_or_after_it
        );
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            crate::store::contract_deliveries::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

fn delivery(job: &str, run_id: RunId, url: &str, second: i64) -> Delivery {
    Delivery {
        id: DeliveryId::generate(),
        job: name(job),
        run_id,
        url: url.to_owned(),
        notify_index: 2,
        revision: 7,
        body: r#"{"type": "run.completed", "text": "ä\u0000"}"#.to_owned(),
        status: DeliveryStatus::Retrying,
        attempts: Vec::new(),
        tries: 0,
        due_at: Some(at(second)),
        created_at: at(second),
        delivered_at: None,
    }
}

/// Notifications of one job's run that ended, each of a URL of its own.
async fn made(store: &dyn Store, worker: WorkerId, job: &str, urls: &[&str]) -> Vec<Delivery> {
    let new = NewRun { worker: Some(worker), ..new_run(job, 1) };
    let deliveries: Vec<_> = urls.iter().map(|url| delivery(job, new.id, url, 5)).collect();
    let end = RunSaved { deliveries: deliveries.clone(), ..ended(new.id, worker, RunStatus::Completed, 5) };
    assert_eq!(change(store, vec![create(&new), store_of(end)]).await, [RunChanged::Done, RunChanged::Done]);
    deliveries
}

async fn claim(store: &dyn Store, worker: WorkerId, now: i64, max: u32) -> Vec<Delivery> {
    let mut claimed = store.claim_deliveries(worker, at(now), max).await.unwrap();
    claimed.sort_by_key(|delivery| delivery.id);
    claimed
}

fn attempt(number: u32, status: Option<u16>) -> DeliveryAttempt {
    DeliveryAttempt {
        number,
        at: at(i64::from(number) + 10),
        status,
        error: status.is_none().then(|| "a\0b".to_owned()),
    }
}

fn tried(of: &Delivery, worker: WorkerId, number: u32, status: DeliveryStatus) -> DeliveryTried {
    let is_again = status == DeliveryStatus::Retrying;
    DeliveryTried {
        id: of.id,
        worker,
        attempt: attempt(number, (!is_again).then_some(204)),
        status,
        tries: number,
        due_at: is_again.then(|| at(50)),
        disables_endpoint: false,
    }
}

async fn found(store: &dyn Store, of: &Delivery) -> Delivery {
    store.delivery(of.id).await.unwrap().unwrap()
}

async fn statuses(store: &dyn Store, of: &[Delivery]) -> Vec<DeliveryStatus> {
    let mut all = Vec::new();
    for delivery in of {
        all.push(found(store, delivery).await.status);
    }
    all
}

pub(crate) async fn a_notification_is_tried_until_it_is_taken(store: &dyn Store) {
    let worker = begin(store).await;
    assert_eq!(store.next_delivery_due().await.unwrap(), None);
    let made = made(store, worker, "intake", &["https://a.example/x"]).await;
    let mut expected = made[0].clone();
    assert_eq!(
        (found(store, &made[0]).await, store.next_delivery_due().await.unwrap()),
        (expected.clone(), Some(at(5)))
    );
    assert_eq!((claim(store, worker, 4, 9).await, claim(store, worker, 5, 9).await), (Vec::new(), made.clone()));
    assert_eq!((claim(store, worker, 99, 9).await, store.next_delivery_due().await.unwrap()), (Vec::new(), None));
    let first = tried(&made[0], worker, 1, DeliveryStatus::Retrying);
    assert!(store.delivery_tried(&first).await.unwrap());
    (expected.attempts, expected.tries, expected.due_at) = (vec![first.attempt], 1, Some(at(50)));
    assert_eq!(found(store, &made[0]).await, expected);
    assert_eq!(claim(store, worker, 50, 9).await, [expected.clone()]);
    let last = tried(&made[0], worker, 2, DeliveryStatus::Delivered);
    assert!(store.delivery_tried(&last).await.unwrap());
    expected.attempts.push(last.attempt.clone());
    (expected.status, expected.tries, expected.due_at) = (DeliveryStatus::Delivered, 2, None);
    expected.delivered_at = Some(last.attempt.at);
    assert_eq!(found(store, &made[0]).await, expected);
    assert_eq!(
        (claim(store, worker, 999, 9).await, store.delivery(DeliveryId::generate()).await.unwrap()),
        (vec![], None)
    );
}

pub(crate) async fn the_last_attempts_are_kept(store: &dyn Store) {
    let worker = begin(store).await;
    let made = made(store, worker, "intake", &["https://a.example/x"]).await;
    let kept = u32::try_from(ATTEMPTS_KEPT).unwrap();
    for number in 1..=kept + 2 {
        assert_eq!(claim(store, worker, 99, 9).await.len(), 1);
        let tried = tried(&made[0], worker, number, DeliveryStatus::Retrying);
        assert!(store.delivery_tried(&tried).await.unwrap());
    }
    let expected: Vec<_> = (3..=kept + 2).map(|number| attempt(number, None)).collect();
    assert_eq!(found(store, &made[0]).await.attempts, expected);
}

pub(crate) async fn notifications_of_a_session_that_ended_are_the_next_ones(store: &dyn Store) {
    let first = begin(store).await;
    let made = made(store, first, "intake", &["https://a.example/x", "https://b.example/x"]).await;
    assert_eq!(claim(store, first, 9, 9).await, made);
    let next = next_after(store, first).await;
    assert_eq!(claim(store, first, 9, 9).await, []);
    assert_eq!(claim(store, next, 9, 9).await, made);
    assert!(!store.delivery_tried(&tried(&made[0], first, 1, DeliveryStatus::Delivered)).await.unwrap());
    store.worker_left(next).await.unwrap();
    let last = begin(store).await;
    assert_eq!(claim(store, last, 9, 9).await, made);
}

pub(crate) async fn who_does_not_hold_a_notification_stores_nothing_of_it(store: &dyn Store) {
    let worker = begin(store).await;
    let made = made(store, worker, "intake", &["https://a.example/x"]).await;
    let stranger = WorkerId(uuid::Uuid::now_v7());
    let store_of = |by| {
        let tried = tried(&made[0], by, 1, DeliveryStatus::Delivered);
        async move { store.delivery_tried(&tried).await.unwrap() }
    };
    assert!(!store_of(worker).await);
    assert_eq!(claim(store, worker, 9, 9).await.len(), 1);
    assert!(!store_of(stranger).await);
    assert_eq!(found(store, &made[0]).await, made[0]);
    assert!(store_of(worker).await && !store_of(worker).await);
}

pub(crate) async fn an_endpoint_that_wants_nothing_more_gets_nothing_more(store: &dyn Store) {
    use DeliveryStatus::{Dead, Delivered, Retrying};
    let worker = begin(store).await;
    let (gone, other) = ("https://gone.example/x", "https://other.example/x");
    let before = made(store, worker, "intake", &[gone, gone, gone, other]).await;
    let elsewhere = made(store, worker, "elsewhere", &[gone]).await;
    claim(store, worker, 9, 9).await;
    let taken = tried(&before[0], worker, 1, Delivered);
    assert!(store.delivery_tried(&taken).await.unwrap());
    let refused = DeliveryTried { disables_endpoint: true, ..tried(&before[1], worker, 1, Dead) };
    assert!(store.delivery_tried(&refused).await.unwrap());
    // Of this job and this URL, and not what was taken.
    assert_eq!(statuses(store, &before).await, [Delivered, Dead, Dead, Retrying]);
    assert_eq!(statuses(store, &elsewhere).await, [Retrying]);
    let after = made(store, worker, "intake", &[gone, other]).await;
    assert_eq!(statuses(store, &after).await, [Dead, Retrying]);
    assert_eq!(claim(store, worker, 99, 9).await, after[1..]);
    // Until the job is saved again.
    save(store, "intake", "a", 1).await;
    assert_eq!(statuses(store, &made(store, worker, "intake", &[gone]).await).await, [Retrying]);
}

pub(crate) async fn what_is_tried_while_its_endpoint_closes_is_dead(store: &dyn Store) {
    use DeliveryStatus::{Dead, Delivered, Retrying};
    let worker = begin(store).await;
    let made = made(store, worker, "intake", &["https://gone.example/x"; 3]).await;
    assert_eq!(claim(store, worker, 9, 9).await.len(), 3);
    let refused = DeliveryTried { disables_endpoint: true, ..tried(&made[0], worker, 1, Dead) };
    assert!(store.delivery_tried(&refused).await.unwrap());
    assert!(store.delivery_tried(&tried(&made[1], worker, 1, Retrying)).await.unwrap());
    assert!(store.delivery_tried(&tried(&made[2], worker, 1, Delivered)).await.unwrap());
    assert_eq!(statuses(store, &made).await, [Dead, Dead, Delivered]);
    assert_eq!((claim(store, worker, 99, 9).await, store.next_delivery_due().await.unwrap()), (vec![], None));
}

pub(crate) async fn a_notification_is_sent_again_on_request(store: &dyn Store) {
    let worker = begin(store).await;
    let url = "https://gone.example/x";
    let made_first = made(store, worker, "intake", &[url]).await;
    claim(store, worker, 9, 9).await;
    let refused = DeliveryTried { disables_endpoint: true, ..tried(&made_first[0], worker, 1, DeliveryStatus::Dead) };
    assert!(store.delivery_tried(&refused).await.unwrap());
    let row = audit_entry(DELIVERY_REPLAY);
    let replay = |id, row| async move { store.replay_delivery(id, at(70), row).await.unwrap() };
    let other = audit_entry(DELIVERY_REPLAY);
    assert_eq!(replay(DeliveryId::generate(), &other).await, Replayed::NotFound);
    assert_eq!(replay(made_first[0].id, &row).await, Replayed::Accepted);
    assert_eq!(store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().items, [row]);
    let expected = Delivery { attempts: vec![refused.attempt], due_at: Some(at(70)), ..made_first[0].clone() };
    assert_eq!((claim(store, worker, 69, 9).await, claim(store, worker, 70, 9).await), (vec![], vec![expected]));
    // Its endpoint is open again.
    let later = made(store, worker, "intake", &[url]).await;
    assert_eq!(statuses(store, &later).await, [DeliveryStatus::Retrying]);
}

pub(crate) async fn notifications_are_listed_newest_first_as_they_are_narrowed(store: &dyn Store) {
    let worker = begin(store).await;
    let mut all = made(store, worker, "a", &["https://a.example/x", "https://a.example/y"]).await;
    all.extend(made(store, worker, "b", &["https://a.example/x"]).await);
    claim(store, worker, 9, 9).await;
    assert!(store.delivery_tried(&tried(&all[0], worker, 1, DeliveryStatus::Delivered)).await.unwrap());
    let globs = |glob: &str| Some(NameGlobs::new(vec![glob.to_owned()]).unwrap());
    let filter = |job: Option<&str>, status, visible| DeliveryFilter { job: job.map(name), status, visible };
    for (filter, expected) in [
        (filter(None, None, None), &[2, 1, 0][..]),
        (filter(Some("a"), None, None), &[1, 0]),
        (filter(Some("c"), None, None), &[]),
        (filter(None, Some(DeliveryStatus::Retrying), None), &[2, 1]),
        (filter(Some("a"), Some(DeliveryStatus::Delivered), globs("*")), &[0]),
        (filter(None, None, globs("b*")), &[2]),
        (filter(Some("a"), None, globs("b*")), &[]),
    ] {
        let page = store.list_deliveries(&filter, FIRST).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|item| item.id).collect();
        let expected: Vec<_> = expected.iter().map(|place: &usize| all[*place].id).collect();
        assert_eq!((ids, page.total), (expected.clone(), expected.len() as u64), "{filter:?}");
        let past = super::PageRequest { page: 2, limit: 3 };
        let empty = Page { items: Vec::new(), total: expected.len() as u64 };
        assert_eq!(store.list_deliveries(&filter, past).await.unwrap(), empty);
    }
}

pub(crate) async fn notifications_go_with_their_run_or_after_it(store: &dyn Store) {
    let worker = begin(store).await;
    let made = made(store, worker, "intake", &["https://a.example/x", "https://b.example/x"]).await;
    let kept = async || {
        let mut kept = Vec::new();
        for delivery in &made {
            kept.push(store.delivery(delivery.id).await.unwrap().is_some());
        }
        kept
    };
    claim(store, worker, 9, 9).await;
    assert!(store.delivery_tried(&tried(&made[0], worker, 1, DeliveryStatus::Delivered)).await.unwrap());
    assert_eq!(store.delete_ended_runs(at(9), 9).await.unwrap(), 1);
    assert_eq!(kept().await, [false, true]);
    assert!(store.delivery_tried(&tried(&made[1], worker, 1, DeliveryStatus::Dead)).await.unwrap());
    // Ids begin with the time that they were made.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1);
    assert_eq!(store.delete_ended_runs(later, 9).await.unwrap(), 0);
    assert_eq!(kept().await, [false, false]);
}
