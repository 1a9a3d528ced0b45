//! What one execution carries through its host calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::denials::Denials;
use super::host::call::HostCalls;
use super::host::context::Context;
use super::host::log::Log;
use super::host::outgoing::Outgoing;
use super::limits::MemoryLimiter;
use super::outside::Outside;
use super::{Bounds, Call};
use crate::model::Denial;
use crate::{database, egress};

/// Handles of WASI resources (streams, pollables) an execution may hold at once:
/// real guests hold a dozen.
const WASI_RESOURCES_MAX: usize = 1_000;

/// In-memory size of one set of headers that a guest may build: what servers take of
/// a request's head, and 16 MiB in all the resources that a guest may hold.
const HTTP_FIELDS_BYTES_MAX: usize = 16 * 1024;

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
    /// Made with the first statement.
    pub(super) database_caller: Option<database::Caller>,
    /// Whether the log has a database that can't be reached.
    pub(super) has_told_of_databases: bool,
    pub(super) denials: Denials,
    pub(super) host_calls: HostCalls,
    /// Made when it is first asked for.
    allowance: Option<egress::Allowance>,
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
            database_caller: None,
            has_told_of_databases: false,
            denials: Denials::of(&call, &bounds.clock),
            host_calls: HostCalls::new(bounds.host_calls),
            allowance: None,
            wasi: None,
            table,
            http,
            outgoing: None,
            call,
        }
    }

    /// The end of a host call: after that of the execution, whose own timer drops it. At the same instant the step
    /// could go on with an answer that says it is too late.
    pub(super) fn call_deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.deadline) + AFTER_THE_EXECUTION
    }

    /// Its part of what all exchanges share.
    pub(super) fn allowance(&mut self) -> egress::Allowance {
        let Self { allowance, call, outside, .. } = self;
        allowance.get_or_insert_with(|| outside.egress.allowance(call.module.name.as_str())).clone()
    }

    /// All that was denied, with its lines in the log.
    pub(super) fn finish_denials(&mut self) -> Vec<Denial> {
        let denials = self.denials.finish();
        self.log.push_denials(&denials);
        denials.into_iter().map(|(_, denial)| denial).collect()
    }

    /// The same for every attempt of a step of a run; an execution on its own is its only attempt.
    pub(super) fn idempotency_key(&self) -> String {
        let of_run = self.call.in_run.as_ref().map(|run| run.idempotency_key.clone());
        of_run.unwrap_or_else(|| self.call.execution_id.to_string())
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
        let hooks = self.outgoing.take().unwrap_or_else(|| Box::new(Outgoing::of(self)));
        let Self { outgoing, table, http, .. } = self;
        WasiHttpCtxView { hooks: &mut **outgoing.insert(hooks), table, ctx: http }
    }
}
