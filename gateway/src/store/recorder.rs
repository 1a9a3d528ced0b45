//! The way of an execution record into the store: a bounded queue and batches.
//!
//! Owns what is queued and when it is written. Does not own rows (the store) nor
//! what is worth recording (`runtime`). What executions were denied comes with their records. Invariants: whoever records never waits,
//! every record is stored or counted as dropped, and nothing says that a record is
//! stored which isn't.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{DenialBatch, Error, SharedStore};
use crate::model::{Denial, ExecutionRecord, LogLine};

/// The bounds of the queue, and the pace of the batches.
#[derive(Debug, Clone)]
pub struct Config {
    /// Records that may be queued: some seconds of them at the highest rate, 25 MB.
    pub records_max: usize,
    /// Log lines and denials that may be queued, in bytes of memory, roughly.
    pub log_bytes_max: u64,
    /// Records of one transaction: 5 ms of writing. Larger ones are no faster a
    /// record, and other writes wait longer.
    pub batch_records: usize,
    /// Log lines and denials of one batch, in bytes of memory, roughly.
    pub batch_log_bytes: u64,
    /// How long a record waits for others to share its transaction; readers are
    /// promised a second.
    pub flush_after: Duration,
    /// How often a batch is tried before it is dropped. While the gateway serves there is
    /// no end to it: records wait in the queue until the store is back, and it is the
    /// queue's bound that says how many are lost.
    pub tries: u32,
    /// The same from the moment that the gateway stops: 4.5 s with five tries.
    pub tries_at_stop: u32,
    /// The wait after the first try; each later one is twice as long.
    pub retry_after: Duration,
    /// No wait is longer, so that a store that is back is soon found.
    pub retry_after_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            records_max: 65_536,
            log_bytes_max: 64 * 1024 * 1024,
            batch_records: 512,
            batch_log_bytes: 4 * 1024 * 1024,
            flush_after: Duration::from_millis(100),
            tries: u32::MAX,
            tries_at_stop: 5,
            retry_after: Duration::from_millis(300),
            retry_after_max: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// The defaults, with retries that a test can wait for.
    #[must_use]
    pub fn for_tests() -> Self {
        Self { tries: 2, tries_at_stop: 2, retry_after: Duration::from_millis(1), ..Self::default() }
    }
}

/// Hands records to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
}

/// Writes what is queued, until it is told to stop.
pub struct Service {
    queue: mpsc::Receiver<Queued>,
    shared: Arc<Shared>,
    store: SharedStore,
}

struct Shared {
    config: Config,
    queued: AtomicUsize,
    log_bytes: AtomicU64,
    dropped: AtomicU64,
    on_dropped: Box<dyn Fn(u64) + Send + Sync>,
    /// Tells the service that a whole batch waits. It is not woken for each record:
    /// a wake-up costs more than all the rest of `record`.
    batch_ready: Notify,
}

#[derive(Debug)]
struct Queued {
    record: ExecutionRecord,
    denials: Vec<Denial>,
    log_bytes: u64,
    /// Told when the record is stored; dropped, which wakes the other end too, when it is given up.
    done: Option<oneshot::Sender<()>>,
}

/// A record was dropped, and counted: the queue is full, or the store will not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record was dropped")]
pub struct Dropped;

impl Recorder {
    /// A queue, and the service that empties it into `store`; `on_dropped` is told
    /// how many records were lost each time some are, on the thread that records:
    /// it counts and returns.
    pub fn new(
        config: Config,
        store: SharedStore,
        on_dropped: impl Fn(u64) + Send + Sync + 'static,
    ) -> (Self, Service) {
        let (sender, receiver) = mpsc::channel(config.records_max);
        let shared = Arc::new(Shared {
            config,
            queued: AtomicUsize::new(0),
            log_bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            on_dropped: Box::new(on_dropped),
            batch_ready: Notify::new(),
        });
        (Self { queue: sender, shared: Arc::clone(&shared) }, Service { queue: receiver, shared, store })
    }

    /// Queues a record of an execution that began or ended; counts it as dropped when the queue is full. Never waits.
    pub fn record(&self, record: ExecutionRecord) {
        self.offer(record, Vec::new(), None);
    }

    /// The same with what the execution was denied, each thing once.
    pub fn record_with_denials(&self, record: ExecutionRecord, denials: Vec<Denial>) {
        self.offer(record, denials, None);
    }

    /// Queues a record and waits until it is stored: for what must be readable at once. While the store is
    /// away that has no end. A call that is cancelled leaves the record in the queue.
    ///
    /// # Errors
    /// [`Dropped`] where it never will be.
    pub async fn record_durably(&self, record: ExecutionRecord) -> Result<(), Dropped> {
        let (done, stored) = oneshot::channel();
        self.offer(record, Vec::new(), Some(done));
        self.shared.batch_ready.notify_one();
        stored.await.map_err(|_| Dropped)
    }

    /// How many records were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn offer(&self, record: ExecutionRecord, denials: Vec<Denial>, done: Option<oneshot::Sender<()>>) {
        let shared = &*self.shared;
        let log_bytes = record.lines.iter().map(line_bytes).chain(denials.iter().map(denial_bytes)).sum();
        let bytes_before = shared.log_bytes.fetch_add(log_bytes, Ordering::Relaxed);
        let queued_before = shared.queued.fetch_add(1, Ordering::Relaxed);
        let fits = log_bytes == 0 || bytes_before.saturating_add(log_bytes) <= shared.config.log_bytes_max;
        if !fits || self.queue.try_send(Queued { record, denials, log_bytes, done }).is_err() {
            shared.release(1, log_bytes);
            shared.count_dropped(1);
            return;
        }
        let batch_bytes = shared.config.batch_log_bytes;
        let bytes_crossed = bytes_before < batch_bytes && bytes_before + log_bytes >= batch_bytes;
        if queued_before + 1 == shared.config.batch_records || bytes_crossed {
            shared.batch_ready.notify_one();
        }
    }
}

impl Service {
    /// Writes batches until `shutdown` completes or every [`Recorder`] is gone,
    /// then what is queued still, and returns. A store that fails at the stop is
    /// tried for one batch; the rest is dropped and counted.
    ///
    /// Dropped instead of awaited, it loses what is queued.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let mut work = std::pin::pin!(self.work(&stop));
        tokio::select! {
            () = &mut work => return,
            () = shutdown => stop.cancel(),
        }
        work.await;
    }

    async fn work(&mut self, stop: &CancellationToken) {
        let shared = Arc::clone(&self.shared);
        while !stop.is_cancelled() {
            let first = tokio::select! {
                first = self.queue.recv() => first,
                () = stop.cancelled() => break,
            };
            // `None`: nobody is left who could record.
            let Some(first) = first else { return };
            tokio::select! {
                () = shared.batch_ready.notified() => {}
                () = tokio::time::sleep(shared.config.flush_after) => {}
                () = stop.cancelled() => {}
            }
            self.write_queued(first, stop).await;
        }
        self.drain(stop).await;
    }

    /// Writes all that is queued now, in as many batches as it takes.
    async fn write_queued(&mut self, first: Queued, stop: &CancellationToken) {
        let mut first = Some(first);
        loop {
            let batch = self.collect(first.take());
            let more = batch.is_full(&self.shared.config);
            let stored = self.commit(batch, stop).await;
            // What a store that is away leaves of the queue at a stop is the drain's.
            if !more || (!stored && stop.is_cancelled()) {
                return;
            }
        }
    }

    async fn drain(&mut self, stop: &CancellationToken) {
        self.queue.close();
        while let Some(first) = self.queue.recv().await {
            let batch = self.collect(Some(first));
            if !self.commit(batch, stop).await {
                break;
            }
        }
        while let Some(lost) = self.queue.recv().await {
            self.shared.release(1, lost.log_bytes);
            self.shared.count_dropped(1);
        }
    }

    fn collect(&mut self, first: Option<Queued>) -> Batch {
        let mut batch = Batch::default();
        let mut next = first.or_else(|| self.queue.try_recv().ok());
        while let Some(queued) = next {
            batch.push(queued);
            next = if batch.is_full(&self.shared.config) { None } else { self.queue.try_recv().ok() };
        }
        self.shared.release(batch.records.len(), batch.log_bytes);
        batch
    }

    /// Tells whether the batch is stored now; if not, it was dropped and counted.
    async fn commit(&self, batch: Batch, stop: &CancellationToken) -> bool {
        let Batch { records, denials, waiting, .. } = batch;
        if records.is_empty() {
            return true;
        }
        let records: Arc<[ExecutionRecord]> = records.into();
        let count = records.len() as u64;
        if let Err(error) = self.persist(stop, || self.store.record_executions(Arc::clone(&records))).await {
            self.shared.count_dropped(count);
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(count, error, "execution records were dropped: the store did not take them");
            return false;
        }
        for done in waiting {
            // Whoever waited may have left.
            let _ = done.send(());
        }
        self.commit_denials(denials, stop).await;
        true
    }

    /// In a transaction of their own: few executions have any, and what is tried again must not count records twice.
    async fn commit_denials(&self, denials: DenialBatch, stop: &CancellationToken) {
        if denials.is_empty() {
            return;
        }
        let denials = Arc::new(denials);
        if let Err(error) = self.persist(stop, || self.store.record_denials(Arc::clone(&denials))).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "denials were dropped: the store did not take them");
        }
    }

    /// Tries until the store takes it, or as often as it is worth while.
    async fn persist<F: Future<Output = Result<(), Error>>>(
        &self,
        stop: &CancellationToken,
        store: impl Fn() -> F,
    ) -> Result<(), Error> {
        let config = &self.shared.config;
        let mut wait = config.retry_after;
        let mut tries_left = if stop.is_cancelled() { config.tries_at_stop } else { config.tries };
        loop {
            let Err(error) = store().await else { return Ok(()) };
            tries_left = tries_left.saturating_sub(1);
            if tries_left == 0 || !is_worth_retrying(&error) {
                return Err(error);
            }
            {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "records wait: the store does not take them");
            }
            if stop.is_cancelled() {
                tokio::time::sleep(wait).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => tries_left = tries_left.min(config.tries_at_stop),
                }
            }
            wait = (wait * 2).min(config.retry_after_max);
        }
    }
}

fn is_worth_retrying(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } | Error::TooSlow { .. } => true,
        Error::Rejected { .. } | Error::Corrupt { .. } | Error::Open { .. } => false,
    }
}

#[derive(Default)]
struct Batch {
    records: Vec<ExecutionRecord>,
    denials: DenialBatch,
    log_bytes: u64,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn push(&mut self, queued: Queued) {
        self.denials.add(&queued.record, queued.denials);
        self.records.push(queued.record);
        self.log_bytes += queued.log_bytes;
        self.waiting.extend(queued.done);
    }

    fn is_full(&self, config: &Config) -> bool {
        self.records.len() >= config.batch_records || self.log_bytes >= config.batch_log_bytes
    }
}

impl Shared {
    fn release(&self, records: usize, log_bytes: u64) {
        self.queued.fetch_sub(records, Ordering::Relaxed);
        self.log_bytes.fetch_sub(log_bytes, Ordering::Relaxed);
    }

    fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        (self.on_dropped)(count);
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("queued", &self.queued)
            .field("log_bytes", &self.log_bytes)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

fn line_bytes(line: &LogLine) -> u64 {
    (size_of::<LogLine>() + line.message.len() + line.fields.as_str().len()) as u64
}

fn denial_bytes(denial: &Denial) -> u64 {
    (size_of::<Denial>() + denial.resource.len()) as u64
}

#[cfg(test)]
mod tests;
