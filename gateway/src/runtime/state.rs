//! What one execution carries through its host calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::bindings::sluice::step::types::HostError;
use super::denials::{Asker, Denials};
use super::host::context::Context;
use super::host::log::Log;
use super::host::outgoing::Outgoing;
use super::limits::MemoryLimiter;
use super::outside::Outside;
use super::{Bounds, Call};
use crate::model::{Denial, PermissionKind};
use crate::telemetry::Sampled;

/// Handles of WASI resources (streams, pollables) an execution may hold at once:
/// real guests hold a dozen.
const WASI_RESOURCES_MAX: usize = 1_000;

/// In-memory size of one set of headers that a guest may build: what servers take of
/// a request's head, and 16 MiB in all the resources that a guest may hold.
const HTTP_FIELDS_BYTES_MAX: usize = 16 * 1024;

/// Host calls of one execution that get a span: more than a person reads, and few
/// enough that a step in a loop doesn't push others' spans out of the exporter's
/// queue, which holds 2 048.
const HOST_CALL_SPANS_MAX: u32 = 128;

/// Long enough for the execution's timer to be first on a machine with other work.
const AFTER_THE_EXECUTION: Duration = Duration::from_secs(5);

/// The data of one store; dropped with it, never reused.
pub(super) struct State {
    pub(super) call: Call,
    pub(super) memory: MemoryLimiter,
    pub(super) log: Log,
    pub(super) context: Context,
    pub(super) deadline: Instant,
    pub(super) outside: Arc<Outside>,
    /// Requests that were sent with a key of the host's.
    pub(super) keyed_requests: u32,
    /// Whether the log has a database that can't be reached.
    pub(super) has_told_of_databases: bool,
    denials: Denials,
    host_calls_left: u32,
    host_calls_max: u32,
    host_call_spans_left: u32,
    /// Made when it is first asked for: most steps import WASI and never call it.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
    http: WasiHttpCtx,
    /// Made when it is first asked for, too.
    outgoing: Option<Box<Outgoing>>,
}

impl State {
    pub(super) fn new(mut call: Call, bounds: &Bounds, outside: Arc<Outside>, deadline: Instant) -> Self {
        let log = Log::new(bounds.log_lines, bounds.log_bytes, call.witness.clone(), bounds.clock.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HTTP_FIELDS_BYTES_MAX);
        Self {
            memory: MemoryLimiter::new(call.limits.memory_bytes),
            context: Context::new(call.data.take()),
            log,
            deadline,
            outside,
            keyed_requests: 0,
            has_told_of_databases: false,
            denials: Denials::default(),
            host_calls_left: bounds.host_calls,
            host_calls_max: bounds.host_calls,
            host_call_spans_left: HOST_CALL_SPANS_MAX,
            wasi: None,
            table,
            http,
            outgoing: None,
            call,
        }
    }

    /// Counts a host call; the number that is allowed once it is used up.
    pub(super) fn count_host_call(&mut self) -> Result<(), u32> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(self.host_calls_max)?;
        Ok(())
    }

    /// The end of a host call: after that of the execution, whose own timer drops it. At the same instant the step
    /// could go on with an answer that says it is too late.
    pub(super) fn call_deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.deadline) + AFTER_THE_EXECUTION
    }

    /// Whether the module may do this.
    ///
    /// # Errors
    /// What the step is told: the permission that it would need.
    pub(super) fn permit(&mut self, kind: PermissionKind, resource: &str) -> Result<(), HostError> {
        let checked = self.denials.check(Asker::of(&self.call), kind, resource, self.log.clock());
        checked.map_err(|denial| HostError::PermissionDenied(denial.to_string()))
    }

    /// Tells of what the operator has closed, whatever the permissions say.
    pub(super) fn deny(&mut self, denial: Denial, why: &'static str) -> Denial {
        self.denials.deny(Asker::of(&self.call), denial, why, self.log.clock())
    }

    /// All that was denied, with its lines in the log.
    pub(super) fn finish_denials(&mut self) -> Vec<Denial> {
        if let Some(outgoing) = &mut self.outgoing {
            self.denials.join(outgoing.take_denials());
        }
        let denials = self.denials.finish();
        self.log.push_denials(&denials);
        denials.into_iter().map(|(_, denial)| denial).collect()
    }

    /// The same for every attempt of a step of a run; an execution on its own is its only attempt.
    pub(super) fn idempotency_key(&self) -> String {
        self.call.execution_id.to_string()
    }

    /// The span of a host call, in an execution that is traced.
    pub(super) fn trace_host_call(&mut self, name: &'static str) -> Option<Sampled> {
        let trace = self.call.trace.as_ref()?;
        self.host_call_spans_left = self.host_call_spans_left.checked_sub(1)?;
        Some(trace.child(name))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { wasi, call, log, table, .. } = self;
        let ctx = wasi.get_or_insert_with(|| super::host::wasi::context(std::mem::take(&mut call.env), log));
        WasiCtxView { ctx, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { outgoing, call, outside, log, deadline, host_calls_left, table, http, .. } = self;
        let outgoing = outgoing.get_or_insert_with(|| {
            Box::new(Outgoing::new(
                call,
                outside,
                log.clock(),
                tokio::time::Instant::from_std(*deadline) + AFTER_THE_EXECUTION,
            ))
        });
        outgoing.settle(|made| {
            *host_calls_left = host_calls_left.saturating_sub(made);
            *host_calls_left
        });
        WasiHttpCtxView { hooks: &mut **outgoing, table, ctx: http }
    }
}
