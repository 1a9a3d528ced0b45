//! Prometheus metrics.
//!
//! Owns the families and the handles into them. Does not own the endpoint that
//! answers them (`api`). Invariants: what is counted on the way of a request
//! is an atomic that was resolved before, but for the two histograms, whose
//! lock is held for a few additions; and a version that was deleted has no
//! series, even where one of its executions ends later.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::JobMetrics;
use super::alerts::{AlertListener, Alerts, SecurityAlert};
use crate::error::Code;
use crate::model::{Digest, ModuleName, PermissionKind, Status};

/// The content type of [`Metrics::encode`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a step that only checks its input to the default timeout and twice that.
const EXECUTION_SECONDS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// From mapping a file to compiling a large component.
const LOAD_SECONDS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Doubling from a page of WebAssembly, 64 KiB, this many times reaches 4 GiB.
const MEMORY_BUCKETS: u16 = 17;

/// A guest's answer may have any status of three digits; each is a series.
const STATUS_MIN: u16 = 100;
const STATUSES: usize = 900;

/// All metric families of the process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// The handles of one module version, resolved once. Cheap to clone.
#[derive(Clone)]
pub struct ModuleMetrics(Arc<Handles>);

/// No code, or one of the contract.
const CODES: usize = Code::ALL.len() + 1;

const PERMISSIONS: [PermissionKind; 5] = [
    PermissionKind::HttpRead,
    PermissionKind::HttpWrite,
    PermissionKind::DatabaseRead,
    PermissionKind::DatabaseWrite,
    PermissionKind::SecretUse,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModuleLabels {
    module: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutionLabels {
    module: String,
    version: String,
    status: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PermissionLabels {
    module: String,
    version: String,
    permission: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CircuitLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    kind: &'static str,
}

struct Inner {
    registry: Registry,
    families: Arc<Families>,
    /// The handles of versions that are not forgotten.
    modules: Mutex<HashMap<ModuleLabels, Arc<Handles>>>,
    /// By status, from `STATUS_MIN`; a series begins with the first answer.
    requests: Box<[OnceLock<Counter>]>,
    integrity_alerts: Counter,
    artifact_alerts: Counter,
    signature_alerts: Counter,
    alerts: Alerts,
    jobs: JobMetrics,
}

struct Families {
    executions: Family<ExecutionLabels, Counter>,
    execution_duration: Family<ModuleLabels, Histogram>,
    execution_fuel: Family<ModuleLabels, Counter>,
    execution_memory: Histogram,
    permission_denials: Family<PermissionLabels, Counter>,
    log_lines_dropped: Family<ModuleLabels, Counter>,
    security_alerts: Family<AlertLabels, Counter>,
    cache_modules: Gauge,
    cache_bytes: Gauge,
    cache_hits: Counter,
    cache_misses: Counter,
    load_duration: Histogram,
    compile_duration: Histogram,
    instances: Gauge,
    overloaded: Counter,
    requests: Family<StatusLabels, Counter>,
    records_dropped: Counter,
    circuits_open: Gauge,
    circuit_transitions: Family<CircuitLabels, Counter>,
}

impl Families {
    fn new() -> Self {
        Self {
            executions: Family::default(),
            execution_duration: Family::new_with_constructor(|| Histogram::new(EXECUTION_SECONDS)),
            execution_fuel: Family::default(),
            execution_memory: Histogram::new(exponential_buckets(65_536.0, 2.0, MEMORY_BUCKETS)),
            permission_denials: Family::default(),
            log_lines_dropped: Family::default(),
            security_alerts: Family::default(),
            cache_modules: Gauge::default(),
            cache_bytes: Gauge::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            load_duration: Histogram::new(LOAD_SECONDS),
            compile_duration: Histogram::new(LOAD_SECONDS),
            instances: Gauge::default(),
            overloaded: Counter::default(),
            requests: Family::default(),
            records_dropped: Counter::default(),
            circuits_open: Gauge::default(),
            circuit_transitions: Family::default(),
        }
    }

    // The library appends the unit, `_total` and the full stop of the help.
    fn register_executions(&self, registry: &mut Registry) {
        registry.register("executions", "Executions that ended", self.executions.clone());
        let duration = self.execution_duration.clone();
        let help = "Wall-clock time of executions that ended";
        registry.register_with_unit("execution_duration", help, Unit::Seconds, duration);
        let help = "Fuel that executions used; not counted where metering is off";
        registry.register("execution_fuel", help, self.execution_fuel.clone());
        let memory = self.execution_memory.clone();
        let help = "Peak of all memories and tables of an execution";
        registry.register_with_unit("execution_memory", help, Unit::Bytes, memory);
        let help = "Host calls that were denied for want of a permission";
        registry.register("permission_denials", help, self.permission_denials.clone());
        let help = "Log lines of executions that were over their bounds";
        registry.register("log_lines_dropped", help, self.log_lines_dropped.clone());
        let help = "Execution records that were not stored: queue full or store failed";
        registry.register("execution_records_dropped", help, self.records_dropped.clone());
    }

    fn register_circuits(&self, registry: &mut Registry) {
        registry.register("circuits_open", "Circuits that are not closed", self.circuits_open.clone());
        let help = "Circuits that came into a state";
        registry.register("circuit_transitions", help, self.circuit_transitions.clone());
    }

    fn register_process(&self, registry: &mut Registry) {
        registry.register("security_alerts", "Things that an operator should look at", self.security_alerts.clone());
        registry.register("module_cache_modules", "Compiled components in the cache", self.cache_modules.clone());
        let bytes = self.cache_bytes.clone();
        registry.register_with_unit("module_cache", "Compiled code in the cache", Unit::Bytes, bytes);
        registry.register("module_cache_hits", "Calls whose component was in the cache", self.cache_hits.clone());
        let help = "Calls whose component was not in the cache";
        registry.register("module_cache_misses", help, self.cache_misses.clone());
        let load = self.load_duration.clone();
        let help = "Time from a cache miss to code that can run";
        registry.register_with_unit("module_load_duration", help, Unit::Seconds, load);
        let compile = self.compile_duration.clone();
        let help = "Time to compile a component";
        registry.register_with_unit("module_compile_duration", help, Unit::Seconds, compile);
        registry.register("instances_running", "Instances that run now", self.instances.clone());
        registry.register("overloaded", "Calls that were refused for want of a slot", self.overloaded.clone());
        registry.register("http_requests", "HTTP requests that were answered", self.requests.clone());
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
    }
}

impl Metrics {
    /// New families, all at zero.
    #[must_use]
    pub fn new() -> Self {
        let families = Arc::new(Families::new());
        let mut registry = Registry::with_prefix("sluice");
        families.register_executions(&mut registry);
        families.register_process(&mut registry);
        families.register_circuits(&mut registry);
        let jobs = JobMetrics::default();
        jobs.register(&mut registry);
        let alerts =
            |alert: SecurityAlert| families.security_alerts.get_or_create_owned(&AlertLabels { kind: alert.as_str() });
        Self(Arc::new(Inner {
            registry,
            modules: Mutex::default(),
            requests: (0..STATUSES).map(|_| OnceLock::new()).collect(),
            integrity_alerts: alerts(SecurityAlert::Integrity),
            artifact_alerts: alerts(SecurityAlert::Artifact),
            signature_alerts: alerts(SecurityAlert::Signature),
            alerts: Alerts::default(),
            jobs,
            families,
        }))
    }

    /// Those of the job engine.
    #[must_use]
    pub fn jobs(&self) -> &JobMetrics {
        &self.0.jobs
    }

    /// The handles of a version; the same ones until it is forgotten.
    #[must_use]
    pub fn module(&self, name: &ModuleName, version: &semver::Version) -> ModuleMetrics {
        let labels = ModuleLabels { module: name.to_string(), version: version.to_string() };
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let handles = modules
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(Handles::new(Arc::clone(&self.0.families), labels)));
        ModuleMetrics(Arc::clone(handles))
    }

    /// Forgets a version that was deleted. Handles that are still held count into nothing.
    pub fn forget_module(&self, name: &ModuleName, version: &semver::Version) {
        let labels = ModuleLabels { module: name.to_string(), version: version.to_string() };
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = modules.remove(&labels) {
            handles.remove_series();
        }
    }

    /// The text that `/metrics` answers, as [`METRICS_CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // A `String` takes everything, and only native histograms, of which
        // there are none, can't be text.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        text
    }

    /// Counts an answer by its status, 100 to 999.
    pub fn request_answered(&self, status: u16) {
        let index = usize::from(status.saturating_sub(STATUS_MIN));
        if let Some(counter) = self.0.requests.get(index) {
            let family = &self.0.families.requests;
            counter.get_or_init(|| family.get_or_create_owned(&StatusLabels { status })).inc();
        }
    }

    /// Counts a refusal for want of a slot.
    pub fn overloaded(&self) {
        self.0.families.overloaded.inc();
    }

    /// A call found its component in the cache.
    pub fn cache_hit(&self) {
        self.0.families.cache_hits.inc();
    }

    /// A call's component had to be mapped or compiled.
    pub fn cache_miss(&self) {
        self.0.families.cache_misses.inc();
    }

    /// What the cache holds now.
    pub fn cache_holds(&self, modules: usize, bytes: u64) {
        self.0.families.cache_modules.set(i64::try_from(modules).unwrap_or(i64::MAX));
        self.0.families.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many instances more run now; less when negative.
    pub fn instances(&self, change: i64) {
        self.0.families.instances.inc_by(change);
    }

    /// A component was compiled.
    pub fn compiled(&self, seconds: f64) {
        self.0.families.compile_duration.observe(seconds);
    }

    /// A compiled component was loaded (mapped, or fetched and compiled).
    pub fn loaded(&self, seconds: f64) {
        self.0.families.load_duration.observe(seconds);
    }

    /// Execution records that were dropped because the queue was full or the store failed.
    pub fn records_dropped(&self, count: u64) {
        self.0.families.records_dropped.inc_by(count);
    }

    /// So many circuits more are not closed; less when negative.
    pub fn circuits_open(&self, change: i64) {
        self.0.families.circuits_open.inc_by(change);
    }

    /// A circuit of this kind came into this state.
    pub fn circuit_moved(&self, kind: &'static str, state: &'static str) {
        self.0.families.circuit_transitions.get_or_create_owned(&CircuitLabels { kind, state }).inc();
    }

    /// An operator should look at the component with this digest: counts, and tells the listener.
    pub fn security_alert(&self, alert: SecurityAlert, digest: Digest) {
        match alert {
            SecurityAlert::Integrity => self.0.integrity_alerts.inc(),
            SecurityAlert::Artifact => self.0.artifact_alerts.inc(),
            SecurityAlert::Signature => self.0.signature_alerts.inc(),
        };
        self.0.alerts.tell(alert, digest);
    }

    /// From now on `listener` is told of each alert; the first one stays.
    pub fn on_security_alert(&self, listener: AlertListener) {
        self.0.alerts.connect(listener);
    }
}

impl ModuleMetrics {
    /// An execution ended.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one number of the record, and a struct would only name them again"
    )]
    pub fn execution_ended(
        &self,
        status: Status,
        code: Option<Code>,
        duration_us: u64,
        fuel: Option<u64>,
        memory_bytes: Option<u64>,
    ) {
        let handles = &self.0;
        handles.count_execution(status, code);
        handles.duration.observe(Duration::from_micros(duration_us).as_secs_f64());
        if let Some(fuel) = fuel {
            handles.fuel.inc_by(fuel);
        }
        if let Some(memory_bytes) = memory_bytes {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB, which no guest has")]
            handles.families.execution_memory.observe(memory_bytes as f64);
        }
    }

    /// A host call was denied for want of a permission.
    pub fn permission_denied(&self, kind: PermissionKind) {
        let handles = &self.0;
        if let Some(slot) = handles.permission_denials.get(kind as usize) {
            let family = &handles.families.permission_denials;
            slot.get_or_init(|| handles.begin(family, &handles.permission_labels(kind))).inc();
        }
    }

    /// Log lines over the bounds.
    pub fn log_lines_dropped(&self, count: u64) {
        self.0.log_lines_dropped.inc_by(count);
    }
}

/// The series of one version. Those that most versions never have begin when
/// they are first counted, and are resolved from then on.
struct Handles {
    labels: ModuleLabels,
    families: Arc<Families>,
    duration: Histogram,
    fuel: Counter,
    log_lines_dropped: Counter,
    /// By status and code.
    executions: Box<[OnceLock<Counter>]>,
    permission_denials: [OnceLock<Counter>; PERMISSIONS.len()],
    /// Held while a series begins, so that none begins after all were removed.
    forgotten: Mutex<bool>,
}

impl Handles {
    fn new(families: Arc<Families>, labels: ModuleLabels) -> Self {
        let handles = Self {
            duration: families.execution_duration.get_or_create_owned(&labels),
            fuel: families.execution_fuel.get_or_create_owned(&labels),
            log_lines_dropped: families.log_lines_dropped.get_or_create_owned(&labels),
            executions: (0..Status::ALL.len() * CODES).map(|_| OnceLock::new()).collect(),
            permission_denials: Default::default(),
            forgotten: Mutex::new(false),
            labels,
            families,
        };
        // A rate can only be told of a series that began at zero.
        for (status, code) in [
            (Status::Completed, None),
            (Status::Invalid, Some(Code::InvalidData)),
            (Status::Failed, Some(Code::StepFailed)),
            (Status::Failed, Some(Code::Trap)),
        ] {
            handles.execution_counter(status, code);
        }
        handles
    }

    fn count_execution(&self, status: Status, code: Option<Code>) {
        if let Some(counter) = self.execution_counter(status, code) {
            counter.inc();
        }
    }

    /// Never `None`: every status and code has a slot.
    fn execution_counter(&self, status: Status, code: Option<Code>) -> Option<&Counter> {
        let column = code.map_or(0, |code| 1 + code as usize);
        let slot = self.executions.get(status as usize * CODES + column)?;
        Some(slot.get_or_init(|| self.begin(&self.families.executions, &self.execution_labels(status, code))))
    }

    /// A series of a family; one that is nowhere once the version was forgotten.
    fn begin<L: Clone + Hash + Eq>(&self, family: &Family<L, Counter>, labels: &L) -> Counter {
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        if *forgotten { Counter::default() } else { family.get_or_create_owned(labels) }
    }

    fn remove_series(&self) {
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        *forgotten = true;
        self.families.execution_duration.remove(&self.labels);
        self.families.execution_fuel.remove(&self.labels);
        self.families.log_lines_dropped.remove(&self.labels);
        for status in Status::ALL {
            for code in Code::ALL.iter().copied().map(Some).chain([None]) {
                self.families.executions.remove(&self.execution_labels(status, code));
            }
        }
        for kind in PERMISSIONS {
            self.families.permission_denials.remove(&self.permission_labels(kind));
        }
    }

    fn execution_labels(&self, status: Status, code: Option<Code>) -> ExecutionLabels {
        let ModuleLabels { module, version } = self.labels.clone();
        ExecutionLabels { module, version, status: status.as_str(), code: code.map_or("", Code::as_str) }
    }

    fn permission_labels(&self, kind: PermissionKind) -> PermissionLabels {
        let ModuleLabels { module, version } = self.labels.clone();
        PermissionLabels { module, version, permission: kind.as_str() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for ModuleMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleMetrics").field(&self.0.labels).finish()
    }
}

#[cfg(test)]
mod tests;
