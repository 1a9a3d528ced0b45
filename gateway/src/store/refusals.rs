//! The way of a refusal into the audit: counted, so that nobody can fill a disk
//! by being refused.
//!
//! Owns what is not written yet, and how much is written. Does not own rows (the
//! store) nor what a refusal is (`http`). Invariants: whoever is refused never
//! waits; at most twice `GROUPS_MAX` rows and one are written a window, whatever
//! is asked; and every refusal is in a row's `count`, or is counted in the log as lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::SharedStore;
use crate::clock::Clock;
use crate::model::{AuditEntry, AuditId, AuditOutcome, KeyHolder, action};

/// Who is refused for what from where, told apart in a window. With windows of a
/// minute 65 rows a minute are the most: 20 MB a day under an attack that never ends.
const GROUPS_MAX: usize = 32;

/// Of a path: enough to see what was wanted.
const RESOURCE_CHARACTERS_MAX: usize = 200;

/// The pace of writing.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long the first refusal of a group waits for its row.
    pub first_after: Duration,
    /// In which all further refusals of a group are one row.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { first_after: Duration::from_millis(500), window: Duration::from_mins(1) }
    }
}

/// A request that was not let through.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The contract's code.
    pub code: &'static str,
    /// The key, where it was proved.
    pub actor: Option<KeyHolder>,
    /// The key whose public part was given with another secret.
    pub claimed: Option<KeyHolder>,
    /// The request's method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Its id.
    pub request_id: String,
    /// Where it came from.
    pub address: String,
    /// What refusals are counted together by: the address, or the network that it is of.
    pub network: String,
}

/// Takes refusals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refusals(Arc<Shared>);

/// Writes them, until it is told to stop.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    config: Config,
    store: Store,
}

struct Store(SharedStore);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    groups: HashMap<Group, Tally>,
    /// What found no group left.
    others: Tally,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Group {
    code: &'static str,
    actor: Option<KeyHolder>,
    claimed: Option<KeyHolder>,
    network: String,
}

/// Refusals of one group that are not written.
#[derive(Debug, Default)]
struct Tally {
    first: Option<AuditEntry>,
    count: u64,
    /// Whether the window has a row of the group already.
    written: bool,
}

impl Refusals {
    /// Where refusals go, and the service that takes them to `store`.
    #[must_use]
    pub fn new(config: Config, store: SharedStore, clock: Clock) -> (Self, Service) {
        let shared = Arc::new(Shared { clock, pending: Mutex::default(), arrived: Notify::new() });
        (Self(Arc::clone(&shared)), Service { shared, config, store: Store(store) })
    }

    /// Counts a refusal. Never waits but for others that do the same.
    pub fn record(&self, refusal: Refusal) {
        let Refusal { code, actor, claimed, method, path, request_id, address, network } = refusal;
        let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |clock: &Clock| {
            let path: String = path.chars().take(RESOURCE_CHARACTERS_MAX).collect();
            let mut entry = AuditEntry {
                actor: actor.as_ref().map(|key| key.name.to_string()),
                outcome: AuditOutcome::Refused,
                request_id: Some(request_id),
                address: Some(address),
                ..AuditEntry::by_gateway(clock.now(), action::REQUEST, path)
            };
            if let Some(claimed) = &claimed {
                entry = entry.with("key", &*claimed.name);
            }
            if let Some(key) = actor.as_ref().or(claimed.as_ref()) {
                entry = entry.with(AuditEntry::KEY_ID, key.id.to_string());
            }
            entry.with("code", code).with("method", method)
        };
        let group = Group { code, actor: actor.clone(), claimed: claimed.clone(), network };
        let is_full = pending.groups.len() >= GROUPS_MAX && !pending.groups.contains_key(&group);
        let tally = if is_full { &mut pending.others } else { pending.groups.entry(group).or_default() };
        if tally.first.is_none() {
            let entry = entry(&self.0.clock);
            tally.first = Some(if is_full { anonymous(&entry) } else { entry });
        }
        tally.count = tally.count.saturating_add(1);
        drop(pending);
        self.0.arrived.notify_one();
    }
}

/// A row that stands for many: of whom and what is not said.
fn anonymous(entry: &AuditEntry) -> AuditEntry {
    AuditEntry::by_gateway(entry.at, action::REQUEST, "various").refused().with("code", "various")
}

impl Tally {
    fn take(&mut self) -> Option<AuditEntry> {
        let first = self.first.take()?;
        self.written = true;
        let count = std::mem::take(&mut self.count);
        Some(AuditEntry { id: AuditId::generate(), ..first.with("count", count) })
    }
}

impl Service {
    /// Writes refusals until `shutdown` completes, then what is left, and returns.
    ///
    /// Dropped instead of awaited, it loses what is not written.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = self.shared.arrived.notified() => {}
                () = &mut shutdown => break,
            }
            let window_ends = Instant::now() + self.config.window;
            let mut stopping = false;
            while !stopping && Instant::now() < window_ends {
                tokio::select! {
                    () = tokio::time::sleep(self.config.first_after) => {}
                    () = &mut shutdown => stopping = true,
                }
                self.write(self.shared.take_first_of_groups()).await;
                // Nothing to do before the next one comes or the window ends.
                if !stopping {
                    tokio::select! {
                        () = self.shared.arrived.notified() => {}
                        () = tokio::time::sleep_until(window_ends) => {}
                        () = &mut shutdown => stopping = true,
                    }
                }
            }
            self.write(self.shared.take_all()).await;
            if stopping {
                return;
            }
        }
        self.write(self.shared.take_all()).await;
    }

    async fn write(&self, entries: Vec<AuditEntry>) {
        if entries.is_empty() {
            return;
        }
        let entries: Arc<[AuditEntry]> = entries.into();
        if let Err(error) = self.store.0.append_audit(Arc::clone(&entries)).await {
            let count: u64 = entries.iter().filter_map(|entry| entry.detail.get("count")?.as_u64()).sum();
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(count, error, "refusals are missing in the audit: the store did not take them");
        }
    }
}

impl Shared {
    /// The groups that the window has no row of yet.
    fn take_first_of_groups(&self) -> Vec<AuditEntry> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.groups.values_mut().filter(|tally| !tally.written).filter_map(Tally::take).collect()
    }

    /// Everything; the next refusal begins anew.
    fn take_all(&self) -> Vec<AuditEntry> {
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let groups = pending.groups.values_mut().filter_map(Tally::take);
        let mut entries: Vec<_> = groups.collect();
        entries.extend(pending.others.take());
        entries
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyId;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Audit as _, AuditFilter, PageRequest};

    struct Kept {
        refusals: Refusals,
        service: Option<Service>,
        store: Arc<SqliteStore>,
        _folder: tempfile::TempDir,
    }

    async fn kept() -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap());
        let config = Config { first_after: Duration::ZERO, window: Duration::from_hours(1) };
        let (refusals, service) = Refusals::new(config, Arc::clone(&store) as SharedStore, Clock::system());
        Kept { refusals, service: Some(service), store, _folder: folder }
    }

    fn refusal(actor: &KeyHolder, path: &str) -> Refusal {
        Refusal {
            code: "forbidden",
            actor: Some(actor.clone()),
            claimed: None,
            method: "DELETE".to_owned(),
            path: path.to_owned(),
            request_id: "r-1".to_owned(),
            address: "192.0.2.1".to_owned(),
            network: "192.0.2.1".to_owned(),
        }
    }

    fn holder(name: &str) -> KeyHolder {
        KeyHolder { id: KeyId::generate(), name: name.into() }
    }

    impl Kept {
        async fn rows(&self) -> Vec<AuditEntry> {
            let all = PageRequest { page: 1, limit: PageRequest::LIMIT_MAX };
            self.store.list_audit(&AuditFilter::default(), all).await.unwrap().items
        }
    }

    #[tokio::test]
    async fn the_first_of_a_group_is_told_soon_and_the_rest_in_one_row() {
        let mut kept = kept().await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(kept.service.take().unwrap().run(async {
            let _ = stopped.await;
        }));
        let ci = holder("ci");
        kept.refusals.record(refusal(&ci, "/first"));
        while kept.rows().await.is_empty() {
            tokio::task::yield_now().await;
        }
        let first = &kept.rows().await[0];
        assert_eq!((first.actor.as_deref(), first.resource.as_str()), (Some("ci"), "/first"));
        assert_eq!((first.outcome, &first.detail["count"]), (AuditOutcome::Refused, &1.into()));
        assert_eq!(first.detail["key_id"], ci.id.to_string());
        assert_eq!((&first.detail["code"], &first.detail["method"]), (&"forbidden".into(), &"DELETE".into()));
        for _ in 0..1000 {
            kept.refusals.record(refusal(&ci, "/more"));
        }
        stop.send(()).unwrap();
        running.await.unwrap();
        let rows = kept.rows().await;
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].resource.as_str(), &rows[0].detail["count"]), ("/more", &1000.into()));
    }

    #[tokio::test]
    async fn who_is_refused_in_many_names_makes_few_rows_and_all_are_counted() {
        let mut kept = kept().await;
        for number in 0..500 {
            let key = holder(&format!("key-{number}"));
            kept.refusals.record(refusal(&key, &"/x".repeat(500)));
            kept.refusals.record(refusal(&key, "/y"));
        }
        kept.service.take().unwrap().run(std::future::ready(())).await;
        let rows = kept.rows().await;
        assert_eq!(rows.len(), GROUPS_MAX + 1);
        let counts = rows.iter().map(|row| row.detail["count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 1000);
        assert!(rows.iter().all(|row| row.resource.len() <= RESOURCE_CHARACTERS_MAX));
        assert_eq!(rows.iter().filter(|row| row.actor.is_none()).count(), 1);
    }

    #[tokio::test]
    async fn two_keys_of_one_name_have_a_row_each() {
        let mut kept = kept().await;
        let keys = [holder("ci"), holder("ci")];
        for key in &keys {
            kept.refusals.record(refusal(key, "/"));
        }
        kept.service.take().unwrap().run(std::future::ready(())).await;
        let mut told: Vec<_> = kept.rows().await.into_iter().map(|row| row.detail["key_id"].clone()).collect();
        told.sort_by_key(|id| id.as_str().map(str::to_owned));
        assert_eq!(told, keys.map(|key| key.id.to_string()));
    }

    #[tokio::test]
    async fn a_store_that_fails_holds_nobody_up() {
        use crate::store::Store as _;
        let mut kept = kept().await;
        kept.store.close().await;
        kept.refusals.record(refusal(&holder("ci"), "/first"));
        kept.service.take().unwrap().run(std::future::ready(())).await;
    }
}
