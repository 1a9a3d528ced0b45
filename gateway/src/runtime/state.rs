//! What one execution carries through its host calls.

use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::host::context::Context;
use super::host::log::Log;
use super::host::outgoing::DenyOutgoing;
use super::limits::MemoryLimiter;
use super::{Bounds, Call};
use crate::model::{Denial, Permission, PermissionKind};
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

/// Different denials of one execution that are kept: what a person looks at, and 64 KiB of long URLs.
const DENIALS_MAX: usize = 32;

/// The data of one store; dropped with it, never reused.
pub(super) struct State {
    pub(super) call: Call,
    pub(super) memory: MemoryLimiter,
    pub(super) log: Log,
    pub(super) context: Context,
    pub(super) deadline: Instant,
    /// What was denied, each once.
    pub(super) denials: Vec<Denial>,
    host_calls_left: u32,
    host_calls_max: u32,
    host_call_spans_left: u32,
    /// Made when it is first asked for: most steps import WASI and never call it.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
    http: WasiHttpCtx,
    outgoing: DenyOutgoing,
}

impl State {
    pub(super) fn new(mut call: Call, bounds: &Bounds, deadline: Instant) -> Self {
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
            denials: Vec::new(),
            host_calls_left: bounds.host_calls,
            host_calls_max: bounds.host_calls,
            host_call_spans_left: HOST_CALL_SPANS_MAX,
            wasi: None,
            table,
            http,
            outgoing: DenyOutgoing,
            call,
        }
    }

    /// Counts a host call; the number that is allowed once it is used up.
    pub(super) fn count_host_call(&mut self) -> Result<(), u32> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(self.host_calls_max)?;
        Ok(())
    }

    /// Counts and keeps what no permission covers.
    pub(super) fn deny(&mut self, kind: PermissionKind, resource: &str) {
        self.call.metrics.permission_denied(kind);
        let Permission { permission, resource } = Permission::exactly(kind, resource);
        let denial = Denial { permission, resource };
        if self.denials.len() < DENIALS_MAX && !self.denials.contains(&denial) {
            self.denials.push(denial);
        }
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
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}
