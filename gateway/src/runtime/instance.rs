//! One execution: a fresh instance, called once within its bounds, dropped.
//!
//! Owns the store for as long as the call takes. Invariant: a store is entered for
//! one call only, and never again after a trap, a timeout or a cancellation.

use std::time::{Duration, Instant};

use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use super::bindings::sluice::step::types as wit;
use super::engine::WASM_STACK_BYTES;
use super::limits::LimitReached;
use super::state::State;
use super::{Bounds, Call, Execution, Failure, Ready, Usage, outcome};
use crate::error::Code;
use crate::model::EffectiveLimits;

/// Live component-model handles a guest may have; real ones have a few hundred.
const HANDLES_MAX: usize = 10_000;

/// What a guest may hand over in one call beyond all of its memory: strings that
/// share the same memory could else fill the host's, while none that don't ever
/// reach it. The slack is what lists are larger on the host's side.
const COPY_BYTES_SLACK: u64 = 16 * 1024 * 1024;

/// How wasmtime words the error of that bound; its type is private. A test keeps
/// this true.
const COPY_LIMIT_MESSAGE: &str = "fuel allocated for hostcalls has been exhausted";

/// Runs `call` on a fresh instance. Cancelled, the instance is dropped in the
/// middle of what it did, and the call's witness is told what that was.
pub(super) async fn run(engine: &Engine, ready: &Ready, call: Call, bounds: &Bounds) -> Execution {
    let started = Instant::now();
    let timeout = Duration::from_millis(call.limits.timeout_ms);
    let deadline = started.checked_add(timeout).unwrap_or(started);
    let limits = call.limits;
    let mut entered =
        Entered { store: store(engine, call, bounds, deadline), fuel: limits.fuel, started, has_returned: false };

    // The timer is set only once the call has to wait for something, so a short
    // call pays nothing for it.
    let returned = tokio::time::timeout_at(deadline.into(), invoke(&mut entered.store, ready)).await;

    entered.has_returned = true;
    let usage = entered.usage();
    let state = entered.store.data_mut();
    let result = match returned {
        Ok(Ok(returned)) => outcome::check(returned, bounds.output_bytes),
        Ok(Err(error)) => Err(classify(&error, &limits, &usage, bounds)),
        Err(_) => Err(timed_out(limits.timeout_ms, &usage)),
    };
    let (lines, lines_dropped) = state.log.finish();
    let denials = std::mem::take(&mut state.denials);
    Execution { result, data: state.context.finish(), usage, lines, lines_dropped, denials }
}

/// A store from its one call to its end.
struct Entered {
    store: Store<State>,
    fuel: Option<u64>,
    started: Instant,
    /// The call is over, and `run` tells of it.
    has_returned: bool,
}

impl Entered {
    fn usage(&self) -> Usage {
        Usage {
            fuel: self.store.get_fuel().ok().zip(self.fuel).map(|(left, given)| given.saturating_sub(left)),
            memory_bytes: self.store.data().memory.peak_bytes(),
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.has_returned {
            let usage = self.usage();
            self.store.data_mut().log.cancel(usage);
        }
    }
}

fn store(engine: &Engine, call: Call, bounds: &Bounds, deadline: Instant) -> Store<State> {
    let limits = call.limits;
    let mut store = Store::new(engine, State::new(call, bounds, deadline));
    store.limiter(|state| &mut state.memory);
    if let Some(fuel) = limits.fuel {
        // Fails only on an engine that doesn't meter, and then there is no bound to set.
        let _ = store.set_fuel(fuel);
    }
    // A new store's deadline has passed already: without this it would trap at once.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        if Instant::now() >= store.data().deadline {
            return Err(LimitReached::Time.into());
        }
        // wasmtime's own yield wakes the task at once, into the worker's private
        // slot, and starves its neighbours; tokio's goes to the end of the queue.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store.set_hostcall_fuel(usize::try_from(copy_bytes_max(&limits, bounds)).unwrap_or(usize::MAX));
    store.set_max_component_handles(HANDLES_MAX);
    store
}

/// What a guest may hand to the host in one call, and return.
fn copy_bytes_max(limits: &EffectiveLimits, bounds: &Bounds) -> u64 {
    limits.memory_bytes.max(bounds.output_bytes).saturating_add(COPY_BYTES_SLACK)
}

async fn invoke(store: &mut Store<State>, ready: &Ready) -> wasmtime::Result<wit::Outcome> {
    let instance = ready.artifact.pre().instantiate_async(&mut *store).await?;
    let function = instance.get_typed_func::<(&str,), (wit::Outcome,)>(&mut *store, &ready.function)?;
    let input = store.data().call.input.clone();
    let (outcome,) = function.call_async(&mut *store, (input.as_str(),)).await?;
    Ok(outcome)
}

/// The error of the contract for what ended the call.
fn classify(error: &wasmtime::Error, limits: &EffectiveLimits, usage: &Usage, bounds: &Bounds) -> Failure {
    match error.downcast_ref::<LimitReached>() {
        Some(LimitReached::Memory { limit, used }) => {
            return Failure {
                code: Code::MemoryExceeded,
                message: format!("{used} bytes of memory were asked for; {limit} are allowed"),
                limit: Some(*limit),
                used: Some(*used),
            };
        }
        Some(LimitReached::Time) => return timed_out(limits.timeout_ms, usage),
        None => {}
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Failure {
            code: Code::FuelExhausted,
            message: "the step used up its fuel".to_owned(),
            limit: limits.fuel,
            used: usage.fuel,
        },
        Some(Trap::StackOverflow) => Failure {
            code: Code::StackExhausted,
            message: format!("the step's calls nested deeper than {WASM_STACK_BYTES} bytes of stack"),
            limit: Some(WASM_STACK_BYTES as u64),
            used: None,
        },
        Some(Trap::Interrupt) => timed_out(limits.timeout_ms, usage),
        Some(trap) => trapped(&trap.to_string()),
        None => unclassified(error, limits, bounds),
    }
}

fn unclassified(error: &wasmtime::Error, limits: &EffectiveLimits, bounds: &Bounds) -> Failure {
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return trapped(&format!("the step exited with status {}", exit.0));
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        // Admission leaves room in the pool for all that it lets in, so this would be a
        // mistake of ours; the next try may find room all the same.
        let message = "the pool has no room for this component's instances now".to_owned();
        return Failure { code: Code::Overloaded, message, limit: None, used: None };
    }
    let text = format!("{error:#}");
    if is_of_the_host(error) {
        tracing::error!(error = text, "the operating system refused what an execution needs");
        let message = "the gateway could not run the step".to_owned();
        return Failure { code: Code::Internal, message, limit: None, used: None };
    }
    if text.contains(COPY_LIMIT_MESSAGE) {
        let used = copy_bytes_max(limits, bounds);
        return Failure {
            code: Code::OutputTooLarge,
            message: format!("more than {used} bytes were handed to the host at once"),
            limit: Some(bounds.output_bytes),
            used: Some(used),
        };
    }
    trapped(&text)
}

/// Whether a system call failed, as when there is no memory to map. What WASI refuses
/// a guest is told to the guest and doesn't end the execution.
fn is_of_the_host(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>())
}

fn trapped(what: &str) -> Failure {
    Failure { code: Code::Trap, message: what.to_owned(), limit: None, used: None }
}

fn timed_out(limit_ms: u64, usage: &Usage) -> Failure {
    Failure {
        code: Code::TimedOut,
        message: format!("the step ran longer than {limit_ms} ms"),
        limit: Some(limit_ms),
        used: Some(usage.duration_us / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_operating_system_is_not_the_guests() {
        let failed = wasmtime::Error::from(std::io::Error::from_raw_os_error(12)).context("mmap failed");
        assert!(is_of_the_host(&failed));
        assert!(is_of_the_host(&wasmtime::Error::from(rustix::io::Errno::NOMEM).context("mprotect failed")));
        assert!(!is_of_the_host(&wasmtime::Error::msg("unknown handle index 12")));
    }
}
