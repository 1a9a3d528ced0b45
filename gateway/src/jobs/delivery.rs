//! Telling others how runs ended.
//!
//! Owns when a notification is sent, and again. Does not own the signature (`webhook`) nor the way out ([`Notifier`]). Invariants: an
//! attempt's end is stored before the next one is due; a receiver that hangs holds up nobody else's.

mod schedule;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use self::schedule::After;
use super::handle::put_in;
use super::runner::{Notifier, Posted};
use super::webhook::{self, Secret};
use super::worker::{Worker, fraction, later};
use crate::model::job::{Delivery, DeliveryAttempt, DeliveryStatus};
use crate::store::{self, DeliveryTried, WorkerId};

/// Attempts at once.
const AT_ONCE: usize = 64;
/// Attempts at once at one URL: a receiver that hangs has these and no more.
const AT_ONCE_A_URL: usize = 4;
/// Between two tries at a store that is away.
const AGAIN: Duration = Duration::from_millis(500);

/// Sends notifications.
pub(super) struct Deliverer {
    worker: Arc<Worker>,
    notifier: Arc<dyn Notifier>,
    wake: Arc<Notify>,
    places: Arc<Semaphore>,
    urls: Arc<Mutex<HashMap<String, usize>>>,
}

impl Deliverer {
    pub(super) fn new(worker: Arc<Worker>, notifier: Arc<dyn Notifier>, wake: Arc<Notify>) -> Self {
        Self { worker, notifier, wake, places: Arc::new(Semaphore::new(AT_ONCE)), urls: Arc::default() }
    }

    /// Sends what is due until it is cancelled; attempts that run then are made again.
    pub(super) async fn run(&self) {
        let mut attempts: Vec<AbortOnDropHandle<()>> = Vec::new();
        loop {
            attempts.retain(|attempt| !attempt.is_finished());
            let wait = match self.send_due(&mut attempts).await {
                Ok(wait) => wait,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "notifications could not be claimed; it is tried again");
                    AGAIN
                }
            };
            let _ = tokio::time::timeout(wait, self.wake.notified()).await;
        }
    }

    async fn send_due(&self, attempts: &mut Vec<AbortOnDropHandle<()>>) -> Result<Duration, store::Error> {
        let worker = &self.worker;
        let free = self.places.available_permits();
        let Some(session) = worker.sessions.current().filter(|_| free > 0) else { return Ok(worker.config.poll) };
        let max = u32::try_from(free).unwrap_or(u32::MAX);
        for delivery in worker.store.claim_deliveries(session.id, worker.clock.now(), max).await? {
            let Ok(permit) = Arc::clone(&self.places).acquire_owned().await else { return Ok(worker.config.poll) };
            let (worker, notifier) = (Arc::clone(worker), Arc::clone(&self.notifier));
            let (wake, urls, id) = (Arc::clone(&self.wake), Arc::clone(&self.urls), session.id);
            attempts.push(AbortOnDropHandle::new(tokio::spawn(async move {
                let turn = Turn::take(&urls, &delivery.url);
                let tried = attempt(&worker, &*notifier, delivery, (id, turn.is_some())).await;
                drop(turn);
                store_tried(&worker, tried).await;
                drop(permit);
                wake.notify_one();
            })));
        }
        let Some(due) = worker.store.next_delivery_due().await? else { return Ok(worker.config.poll) };
        let left = due.duration_since(worker.clock.now());
        Ok(Duration::try_from(left).unwrap_or_default().clamp(Duration::from_millis(10), worker.config.poll))
    }
}

/// One attempt; where the URL has as many as it may, none, and it is due again a moment later.
async fn attempt(
    worker: &Worker,
    notifier: &dyn Notifier,
    delivery: Delivery,
    (session, has_turn): (WorkerId, bool),
) -> DeliveryTried {
    let at = worker.clock.now();
    let number = delivery.attempts.last().map_or(0, |last| last.number) + 1;
    let posted = if has_turn { post(worker, notifier, &delivery, at).await } else { busy() };
    let is_free_of_charge = matches!(&posted, Posted::Failed { code, .. } if code == BUSY || code == "circuit-open");
    let (status, error) = match &posted {
        Posted::Answered { status, .. } => {
            let is_taken = (200..300).contains(status);
            (Some(*status), (!is_taken).then(|| format!("the receiver answered {status}")))
        }
        Posted::Failed { code, message } => (None, Some(format!("{code}: {message}"))),
    };
    let tries = if is_free_of_charge { delivery.tries } else { delivery.tries.saturating_add(1) };
    let after = if is_free_of_charge { After::Again(AGAIN * 4) } else { schedule::after(tries, &posted, fraction()) };
    let (status_now, due_at) = match after {
        After::Delivered => (DeliveryStatus::Delivered, None),
        After::Dead | After::Gone => (DeliveryStatus::Dead, None),
        After::Again(wait) => (DeliveryStatus::Retrying, Some(later(worker.clock.now(), wait))),
    };
    worker.metrics.jobs().delivery_tried(status_now.as_str());
    DeliveryTried {
        id: delivery.id,
        worker: session,
        attempt: DeliveryAttempt { number, at, status, error },
        status: status_now,
        tries,
        due_at,
        disables_endpoint: after == After::Gone,
    }
}

const BUSY: &str = "busy";

fn busy() -> Posted {
    Posted::Failed { code: BUSY.to_owned(), message: "the receiver has as many requests as it may at once".to_owned() }
}

async fn post(worker: &Worker, notifier: &dyn Notifier, delivery: &Delivery, at: Timestamp) -> Posted {
    let no_secret = |message: &str| Posted::Failed { code: "no-secret".to_owned(), message: message.to_owned() };
    let Some(revision) = worker.revisions.get(&delivery.job, delivery.revision).await else {
        return no_secret("the definition that names the secret can't be had");
    };
    let notify = usize::try_from(delivery.notify_index).ok().and_then(|index| revision.definition.notify.get(index));
    let secret = notify.and_then(|notify| put_in(&notify.secret, |name| notifier.secret(name)));
    let Some(Ok(secret)) = secret.map(|secret| Secret::parse(secrecy::ExposeSecret::expose_secret(&secret))) else {
        return no_secret("the secret that it would be signed with is not there, or is none");
    };
    let (id, seconds) = (delivery.id.to_string(), at.as_second());
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("webhook-signature".to_owned(), webhook::sign(&secret, &id, seconds, delivery.body.as_bytes())),
        ("webhook-timestamp".to_owned(), seconds.to_string()),
        ("webhook-id".to_owned(), id),
    ];
    notifier.post(&delivery.url, headers, delivery.body.clone()).await
}

/// However long the store is away, while the session is this one: else it is sent again.
async fn store_tried(worker: &Worker, tried: DeliveryTried) {
    loop {
        match worker.store.delivery_tried(&tried).await {
            Ok(_) => return,
            Err(error) => {
                warn(&error, "what became of a notification could not be stored; it is tried again");
                if worker.sessions.current().is_none_or(|session| session.id != tried.worker) {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// In a function of its own: what is logged can't be held over an await.
fn warn(error: &store::Error, what: &'static str) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}

/// One of the attempts at a URL, until it is dropped.
struct Turn {
    urls: Arc<Mutex<HashMap<String, usize>>>,
    url: String,
}

impl Turn {
    fn take(urls: &Arc<Mutex<HashMap<String, usize>>>, url: &str) -> Option<Self> {
        let mut counts = urls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(url.to_owned()).or_default();
        if *count >= AT_ONCE_A_URL {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self { urls: Arc::clone(urls), url: url.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.url) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.url);
            }
        }
    }
}
