//! The engine: how guests are compiled and where their memory comes from.
//!
//! Owns wasmtime's configuration and the epoch ticker. Does not own compiled
//! code (`artifact`, `cache`) or instances (`instance`). Invariant: one engine a
//! process configuration, and a ticker for as long as it lives.

use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::model::RESIDENT_MEMORY_BYTES;

/// How often guests that compute are asked whether they may go on. Short enough
/// that a neighbour waits a few milliseconds at most, long enough that an idle
/// process hardly wakes.
const EPOCH_TICK: Duration = Duration::from_millis(5);

/// The stack of a guest's own calls. wasmtime's default; what C and Rust guests
/// recurse with. Told as the `limit` of `stack-exhausted`.
pub(super) const WASM_STACK_BYTES: usize = 512 * 1024;

/// The fiber's stack: the guest's part and what host calls need on top.
const FIBER_STACK_BYTES: usize = WASM_STACK_BYTES + 1024 * 1024;

const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// Sizes that Python and JavaScript components need, with room.
const CORE_INSTANCE_BYTES_MAX: usize = 10 * 1024 * 1024;
const COMPONENT_INSTANCE_BYTES_MAX: usize = 10 * 1024 * 1024;
const TABLE_ELEMENTS_MAX: usize = 100_000;
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 200;
const MEMORIES_PER_COMPONENT_MAX: u32 = 32;
const TABLES_PER_COMPONENT_MAX: u32 = 64;

/// Tables of the pool for each execution at once: a component made by wit-component
/// has the module's and its shim's.
pub(super) const TABLES_PER_SLOT: u32 = 2;

/// Whether guests' instructions are counted. Two kinds of code, two engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metering {
    /// Fuel is counted and bounded.
    Fuel,
    /// Only time bounds a computation.
    Off,
}

/// An engine, and how many executions at once its pool has room for.
pub(super) struct Pool {
    pub(super) engine: Engine,
    pub(super) slots: u32,
}

/// Makes an engine with room for `instances` executions at once, or for fewer where
/// the address space is too small, and starts its ticker.
///
/// # Errors
/// When not even a small pool can be reserved.
pub(super) fn open(instances: u32, metering: Metering) -> wasmtime::Result<Pool> {
    let mut slots = instances.max(1);
    let engine = loop {
        match Engine::new(&pooled(slots, metering)) {
            Ok(engine) => break engine,
            // Each slot reserves 4 GiB and a guard of addresses: containers and
            // `ulimit -v` may not have them.
            Err(error) if slots > 1 => {
                tracing::warn!(slots, %error, "no room for this many instances; trying with half");
                slots /= 2;
            }
            Err(error) => return Err(error),
        }
    };
    start_ticker(&engine)?;
    Ok(Pool { engine, slots })
}

/// An engine that only compiles, and so reserves no addresses: a bound on those is then one on
/// memory. Its code fits the pools of the same metering.
pub(super) fn for_compiling(metering: Metering) -> wasmtime::Result<Engine> {
    Engine::new(&config(metering))
}

/// An engine with a small pool.
#[cfg(test)]
pub(super) fn for_tests(metering: Metering) -> Engine {
    Engine::new(&pooled(2, metering)).unwrap()
}

fn pooled(slots: u32, metering: Metering) -> Config {
    let mut config = config(metering);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    config
}

/// All that compiled code depends on.
fn config(metering: Metering) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(metering == Metering::Fuel)
        .epoch_interruption(true)
        // WASI p2 needs none of the component model's async; without it a call is cheaper.
        .concurrency_support(false)
        // 64-bit memories can't be guarded by address space alone.
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // Counted too: one for each execution, whatever components are within it.
    pool.total_component_instances(slots)
        // The pool only counts core instances, it reserves nothing for them. Admission
        // doesn't weigh them, so there is room for the largest component in every slot.
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX))
        .total_memories(slots)
        // Tables cost next to nothing until they are used, so even the smallest pool has
        // room for the largest component.
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT).max(TABLES_PER_COMPONENT_MAX))
        .total_stacks(slots)
        .max_core_instance_size(CORE_INSTANCE_BYTES_MAX)
        .max_component_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        // One core module may have them all; what they hold together is limited anyway.
        .max_memories_per_module(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_module(TABLES_PER_COMPONENT_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(RESIDENT_MEMORY_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        // It looks at present pages only: one that is swapped out or being migrated
        // at that moment would reach the next instance dirty.
        .pagemap_scan(Enabled::No);
    // Each memory of the pool reserves its addresses, so there are no more than slots.
    // A component that needs more of them is refused at upload, not at every call.
    pool.max_memories_per_component(MEMORIES_PER_COMPONENT_MAX.min(slots));
    pool
}

/// The ticker is a thread of the operating system, so that guests that keep every
/// worker busy can't stop it; it ends with the engine.
fn start_ticker(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch-ticker".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(EPOCH_TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::{Component, Linker};

    use super::*;

    #[test]
    fn every_slot_has_room_for_a_component_with_as_many_core_instances_as_one_may_have() {
        let pool = open(2, Metering::Off).unwrap();
        let instances = "(core instance (instantiate $m))".repeat(CORE_INSTANCES_PER_COMPONENT_MAX as usize);
        let bytes = wat::parse_str(format!("(component (core module $m) {instances})")).unwrap();
        let component = Component::new(&pool.engine, bytes).unwrap();
        let linker = Linker::<()>::new(&pool.engine);
        let mut stores = [Store::new(&pool.engine, ()), Store::new(&pool.engine, ())];
        for store in &mut stores {
            linker.instantiate(store, &component).unwrap();
        }
    }
}
