//! Circuit breakers: who fails again and again is left alone for a while.
//!
//! Owns one circuit for each origin, database and module revision that failed lately. Does not know what a failure
//! is of whom: who asks says so. Invariants: of who never failed nothing is kept, and while nothing failed lately asking
//! is one load of an atomic; there is a bound on how many are kept, and where it is reached others go through unwatched.
//!
//! Whose failures count for whom: what the operator's jobs meet (http and database steps, notifications) is one circuit
//! an origin or database, for all of them. A module is a stranger: it chooses whom it asks and how long it waits, so
//! its failures open a circuit of its module only, and could not shut others out. It sees the jobs' circuits all the
//! same: while one is open, no module asks there either.

mod breaker;

pub use breaker::Position;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sha2::Digest as _;

use self::breaker::{Breaker, Micros, Rules, Ticket};
use crate::clock::Clock;
use crate::config::CircuitBounds;
use crate::model::{Module, ModuleId, ModuleName};
use crate::telemetry::Metrics;

/// Circuits that are kept, of jobs and as many of modules: some megabytes, and far more than fail at once.
const KEPT_MAX: usize = 10_000;

/// Of one module: hosts that it makes up take no place from other modules.
const OF_ONE_MODULE_MAX: usize = 128;

/// Locks, so that who asks for one does not wait for who asks for another.
const SHARDS: usize = 16;

/// What may fail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// `scheme://host:port`.
    Origin(Box<str>),
    /// `[databases.NAME]`.
    Database(Box<str>),
    /// One revision.
    Module(ModuleId, ModuleName, semver::Version),
}

/// All circuits. Cheap to clone.
#[derive(Clone)]
pub struct Circuits(Arc<Inner>);

struct Inner {
    rules: Rules,
    clock: Clock,
    metrics: Metrics,
    hasher: RandomState,
    jobs: [Shard; SHARDS],
    modules: [Shard; SHARDS],
    /// In all shards.
    kept: AtomicUsize,
    /// The last recovery that began.
    epoch: AtomicU64,
}

type Shard = Mutex<HashMap<Place, Breaker>>;

/// Whose circuit, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    /// `None`: the jobs'.
    module: Option<ModuleName>,
    key: Key,
}

/// A circuit is open: nothing was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is failing and is left alone for {} s", seconds(*retry_after))]
pub struct Open {
    /// Which, for people.
    pub name: String,
    /// When to ask again.
    pub retry_after: Duration,
}

/// Somebody who was let through. Dropped, nothing is known of how it went.
#[must_use]
pub struct Permit {
    circuits: Circuits,
    place: Place,
    /// `None` once it was used.
    ticket: Option<Ticket>,
}

/// One circuit, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct CircuitState {
    /// The same for the same thing, also after a restart.
    #[schema(example = "9d1f6c0ab3e24c7f5a8b6d2e4f1c3a70")]
    pub id: String,
    /// `origin`, `database` or `module`.
    pub kind: &'static str,
    /// Which: `https://api.example.com:443`, the name of a database, `order-rules@1.2.0`.
    pub name: String,
    /// The module whose circuit it is; `null` for the one of all jobs.
    #[schema(required = true)]
    pub module: Option<String>,
    /// Whether others are let through.
    pub state: Position,
    /// How often it failed lately.
    pub failures: usize,
    /// Since when it is not closed.
    #[schema(required = true)]
    pub opened_at: Option<Timestamp>,
    /// When somebody may see whether it is back; `null` where that is now.
    #[schema(required = true)]
    pub next_probe_at: Option<Timestamp>,
}

impl Key {
    /// The server at this host and port.
    #[must_use]
    pub fn origin(scheme: &str, host: &str, port: u16) -> Self {
        Self::Origin(format!("{scheme}://{host}:{port}").into())
    }

    /// The database of this name.
    #[must_use]
    pub fn database(name: &str) -> Self {
        Self::Database(name.into())
    }

    /// This revision.
    #[must_use]
    pub fn module(module: &Module) -> Self {
        Self::Module(module.id, module.name.clone(), module.version.clone())
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Origin(_) => "origin",
            Self::Database(_) => "database",
            Self::Module(..) => "module",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => f.write_str(origin),
            Self::Database(name) => f.write_str(name),
            Self::Module(_, name, version) => write!(f, "{name}@{version}"),
        }
    }
}

/// Whether an answer of this status says that the server fails. 501 says that it never does this, and 429 that
/// it is asked too often: both work.
#[must_use]
pub const fn is_failing(status: u16) -> bool {
    status >= 500 && status != 501
}

impl Circuits {
    /// None has failed yet.
    #[must_use]
    pub fn new(bounds: &CircuitBounds, clock: Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            rules: Rules::new(bounds),
            clock,
            metrics,
            hasher: RandomState::new(),
            jobs: Default::default(),
            modules: Default::default(),
            kept: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
        }))
    }

    /// With the defaults, and metrics that nobody reads.
    #[must_use]
    pub fn unwatched() -> Self {
        Self::new(&CircuitBounds::default(), Clock::system(), Metrics::new())
    }

    /// A job's step or a notification wants to go there.
    ///
    /// # Errors
    /// It is left alone.
    pub fn ask(&self, key: &Key) -> Result<Permit, Open> {
        self.ask_at(Place { module: None, key: key.clone() })
    }

    /// An execution of this module wants to.
    ///
    /// # Errors
    /// It is left alone, by this module or by all.
    pub fn ask_for_module(&self, module: &ModuleName, key: &Key) -> Result<Permit, Open> {
        let shared = Place { module: None, key: key.clone() };
        if let Some(retry_after) = self.left_alone_for(&shared) {
            return Err(Open { name: key.to_string(), retry_after });
        }
        self.ask_at(Place { module: Some(module.clone()), ..shared })
    }

    /// Those that failed lately, the open ones first, then by name.
    #[must_use]
    pub fn list(&self) -> Vec<CircuitState> {
        let now = self.now();
        let mut found = Vec::new();
        for shard in self.0.jobs.iter().chain(&self.0.modules) {
            let known = lock(shard);
            let lately = known.iter().filter(|(_, breaker)| !breaker.is_idle(now, &self.0.rules));
            found.extend(lately.map(|(place, breaker)| self.state(place, breaker, now)));
        }
        let order =
            |one: &CircuitState| (one.state == Position::Closed, one.kind, one.name.clone(), one.module.clone());
        found.sort_by_cached_key(order);
        found
    }

    /// Forgets what failed there, so that all go through again. Whether there is such a circuit.
    pub fn close(&self, id: &str) -> bool {
        for shard in self.0.jobs.iter().chain(&self.0.modules) {
            let mut known = lock(shard);
            let Some(place) = known.keys().find(|place| place.id() == id).cloned() else { continue };
            if let Some(breaker) = known.remove(&place) {
                self.forgotten(&place, &breaker);
            }
            return true;
        }
        false
    }

    fn ask_at(&self, place: Place) -> Result<Permit, Open> {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return Ok(self.permit(place, Ticket::Free));
        }
        let asked = {
            let mut known = lock(self.shard(&place));
            match known.get_mut(&place) {
                None => Ok(Ticket::Free),
                Some(breaker) => {
                    let before = breaker.position();
                    let epoch = self.0.epoch.fetch_add(1, Ordering::Relaxed);
                    let asked = breaker.ask(self.now(), epoch);
                    self.tell(&place, before, breaker.position());
                    asked
                }
            }
        };
        match asked {
            Ok(ticket) => Ok(self.permit(place, ticket)),
            Err(retry_after) => Err(Open { name: place.key.to_string(), retry_after }),
        }
    }

    fn left_alone_for(&self, place: &Place) -> Option<Duration> {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return None;
        }
        lock(self.shard(place)).get(place)?.left_alone_for(self.now())
    }

    fn permit(&self, place: Place, ticket: Ticket) -> Permit {
        Permit { circuits: self.clone(), place, ticket: Some(ticket) }
    }

    fn succeeded(&self, place: &Place, ticket: Ticket) {
        self.change(place, |breaker| breaker.succeeded(ticket));
    }

    fn dropped(&self, place: &Place, ticket: Ticket) {
        if ticket != Ticket::Free {
            self.change(place, |breaker| breaker.dropped(ticket));
        }
    }

    /// Changes one that is kept, and keeps it no longer than it says something.
    fn change(&self, place: &Place, change: impl FnOnce(&mut Breaker)) {
        if self.0.kept.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut known = lock(self.shard(place));
        let Some(breaker) = known.get_mut(place) else { return };
        let before = breaker.position();
        change(breaker);
        self.tell(place, before, breaker.position());
        if breaker.is_idle(self.now(), &self.0.rules) {
            self.remove(&mut known, place);
        }
    }

    fn failed(&self, place: &Place, ticket: Ticket) {
        let now = self.now();
        let mut known = lock(self.shard(place));
        if !known.contains_key(place) {
            // What a probe was of has been forgotten meanwhile.
            if ticket != Ticket::Free || !self.has_room(&mut known, place, now) {
                return;
            }
            known.insert(place.clone(), Breaker::new());
            self.0.kept.fetch_add(1, Ordering::Relaxed);
        }
        let Some(breaker) = known.get_mut(place) else { return };
        let before = breaker.position();
        breaker.failed(ticket, now, &self.0.rules);
        self.tell(place, before, breaker.position());
    }

    /// Makes room among those that say nothing any more.
    fn has_room(&self, known: &mut HashMap<Place, Breaker>, place: &Place, now: Micros) -> bool {
        let is_full = |known: &HashMap<Place, Breaker>| {
            let of_module = || known.keys().filter(|other| other.module == place.module).count();
            known.len() >= KEPT_MAX / SHARDS || place.module.is_some() && of_module() >= OF_ONE_MODULE_MAX / SHARDS
        };
        if !is_full(known) {
            return true;
        }
        let idle: Vec<_> =
            known.iter().filter(|(_, one)| one.is_idle(now, &self.0.rules)).map(|(place, _)| place.clone()).collect();
        for place in idle {
            self.remove(known, &place);
        }
        !is_full(known)
    }

    fn remove(&self, known: &mut HashMap<Place, Breaker>, place: &Place) {
        if let Some(breaker) = known.remove(place) {
            self.forgotten(place, &breaker);
        }
    }

    fn forgotten(&self, place: &Place, breaker: &Breaker) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
        self.tell(place, breaker.position(), Position::Closed);
    }

    /// Counts and logs what changed.
    fn tell(&self, place: &Place, before: Position, after: Position) {
        if before == after {
            return;
        }
        let kind = place.key.kind();
        self.0.metrics.circuit_moved(kind, after.as_str());
        match (before, after) {
            (Position::Closed, _) => self.0.metrics.circuits_open(1),
            (_, Position::Closed) => self.0.metrics.circuits_open(-1),
            (Position::Open | Position::HalfOpen, Position::Open | Position::HalfOpen) => {}
        }
        let module = place.module.as_ref().map(ModuleName::as_str).unwrap_or_default();
        match after {
            // A module may do this as often as it likes.
            Position::Open if place.module.is_none() => {
                tracing::warn!(kind, name = %place.key, "a circuit opened");
            }
            Position::Open | Position::HalfOpen | Position::Closed => {
                tracing::debug!(kind, name = %place.key, module, state = after.as_str(), "a circuit changed");
            }
        }
    }

    fn state(&self, place: &Place, breaker: &Breaker, now: Micros) -> CircuitState {
        let time = |micros: Option<Micros>| micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let (opened_at, next_probe_at) = breaker.times();
        CircuitState {
            id: place.id(),
            kind: place.key.kind(),
            name: place.key.to_string(),
            module: place.module.as_ref().map(ToString::to_string),
            state: breaker.position(),
            failures: breaker.failures(now, &self.0.rules),
            opened_at: time(opened_at),
            next_probe_at: time(next_probe_at),
        }
    }

    fn shard(&self, place: &Place) -> &Shard {
        let shards = if place.module.is_some() { &self.0.modules } else { &self.0.jobs };
        let [first, ..] = shards;
        let at = self.0.hasher.hash_one(place) % SHARDS as u64;
        usize::try_from(at).ok().and_then(|at| shards.get(at)).unwrap_or(first)
    }

    fn now(&self) -> Micros {
        self.0.clock.now().as_microsecond()
    }
}

impl Place {
    /// Half of a SHA-256 is enough to tell ten thousand apart.
    fn id(&self) -> String {
        let module = self.module.as_ref().map(ModuleName::as_str).unwrap_or_default();
        let mut hash = sha2::Sha256::new();
        hash.update(format!("{}\n{}\n{module}", self.key.kind(), self.key));
        let mut id = hex::encode(hash.finalize());
        id.truncate(32);
        id
    }
}

impl Permit {
    /// It went well.
    pub fn succeeded(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.circuits.succeeded(&self.place, ticket);
        }
    }

    /// It failed, and that is the fault of what was asked.
    pub fn failed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.circuits.failed(&self.place, ticket);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.circuits.dropped(&self.place, ticket);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Debug for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits").field("kept", &self.0.kept).finish_non_exhaustive()
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<Place, Breaker>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole ones, and never less than it takes.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
