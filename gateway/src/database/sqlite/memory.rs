//! What one statement may have in memory.
//!
//! Owns SQLite's allocator: the usual one, counted by thread. Invariant: a statement that wants more than its budget, or
//! more stack than there is, is told that there is no memory, wherever in SQLite it is, also where a statement can't be interrupted; what
//! other threads have, the gateway's own store above all, is not counted.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

use rusqlite::ffi;

/// The allocator that SQLite would have used.
struct Methods {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static METHODS: OnceLock<Methods> = OnceLock::new();
static IS_COUNTED: OnceLock<()> = OnceLock::new();

#[derive(Debug, Clone, Copy)]
struct Account {
    left: i64,
    /// An address on the stack where the statement begins.
    stack_start: usize,
    is_checked: bool,
}

thread_local! {
    /// Of the statement that this thread runs.
    static ACCOUNT: Cell<Option<Account>> = const { Cell::new(None) };
}

/// Of the stack, from where a statement begins: half of what threads have. SQLite recurses through views, common tables,
/// triggers and foreign keys that are made of one another, and takes memory at each level, so the depth is
/// known here; what it does at all levels without taking memory needs no more stack at each.
const STACK_BYTES_MAX: usize = 1024 * 1024;

/// While it is there, this thread takes no more than its bytes for SQLite. It stays on its thread.
#[derive(Debug)]
pub(super) struct Budget(PhantomData<*const ()>);

impl Budget {
    pub(super) fn new(bytes: i64) -> Self {
        ACCOUNT.set(Some(Account { left: bytes, stack_start: stack_address(), is_checked: true }));
        Self(PhantomData)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        ACCOUNT.set(None);
    }
}

/// Does `work` within a part of the budget.
pub(super) fn within<T>(bytes: i64, work: impl FnOnce() -> T) -> T {
    let Some(before) = ACCOUNT.get() else { return work() };
    let bytes = bytes.min(before.left);
    ACCOUNT.set(Some(Account { left: bytes, ..before }));
    let done = work();
    let taken = bytes - ACCOUNT.get().map_or(bytes, |after| after.left);
    ACCOUNT.set(Some(Account { left: before.left - taken, ..before }));
    done
}

/// Does `work`, which has a bound of its own, and takes what is gone afterwards from the budget.
pub(super) fn unchecked<T>(work: impl FnOnce() -> T) -> T {
    let check = |is_checked| {
        ACCOUNT.set(ACCOUNT.get().map(|account| Account { is_checked, ..account }));
    };
    check(false);
    let done = work();
    check(true);
    done
}

/// Whether budgets are kept. They are not where another library of the process was first to set SQLite up.
pub(super) fn is_counted() -> bool {
    IS_COUNTED.get().is_some()
}

/// Before `main`: SQLite takes an allocator only while nothing has used it, and the gateway's store, which knows
/// nothing of statements of steps, is opened first.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
#[expect(unsafe_code, reason = "nothing else runs before main")]
static INSTALL: extern "C" fn() = install;

#[expect(unsafe_code, reason = "rusqlite has no safe call for it")]
extern "C" fn install() {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: std::ptr::null_mut(),
    };
    // SAFETY: there is one thread yet, and SQLite writes one such structure.
    let read = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) };
    let (Some(malloc), Some(free), Some(realloc), Some(size)) =
        (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize)
    else {
        return;
    };
    if read != ffi::SQLITE_OK || METHODS.set(Methods { malloc, free, realloc, size }).is_err() {
        return;
    }
    methods.xMalloc = Some(counted_malloc);
    methods.xFree = Some(counted_free);
    methods.xRealloc = Some(counted_realloc);
    // SAFETY: there is one thread yet, and SQLite copies the structure, whose functions are there for ever.
    if unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw mut methods) } == ffi::SQLITE_OK {
        let _ = IS_COUNTED.set(());
    }
}

fn has_room(bytes: i64) -> bool {
    ACCOUNT.get().is_none_or(|account| {
        let is_deep = stack_address().abs_diff(account.stack_start) > STACK_BYTES_MAX;
        !account.is_checked || (bytes <= account.left && !is_deep)
    })
}

/// Where the stack is, to a few hundred bytes.
fn stack_address() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}

fn take(bytes: i64) {
    ACCOUNT.set(ACCOUNT.get().map(|account| Account { left: account.left - bytes, ..account }));
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    let Some(methods) = METHODS.get().filter(|_| has_room(bytes.into())) else { return std::ptr::null_mut() };
    // SAFETY: as SQLite asks for it.
    let block = unsafe { (methods.malloc)(bytes) };
    if !block.is_null() {
        // SAFETY: it is the block of this allocator.
        take(unsafe { (methods.size)(block) }.into());
    }
    block
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn counted_free(block: *mut c_void) {
    let Some(methods) = METHODS.get().filter(|_| !block.is_null()) else { return };
    // SAFETY: SQLite gives back a block of this allocator, once.
    unsafe {
        take(-i64::from((methods.size)(block)));
        (methods.free)(block);
    }
}

#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn counted_realloc(block: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(methods) = METHODS.get() else { return std::ptr::null_mut() };
    // SAFETY: SQLite has a block of this allocator grow or shrink, and never an empty one.
    unsafe {
        let before = i64::from((methods.size)(block));
        if !has_room(i64::from(bytes) - before) {
            return std::ptr::null_mut();
        }
        let grown = (methods.realloc)(block, bytes);
        if !grown.is_null() {
            take(i64::from((methods.size)(grown)) - before);
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_its_budget_and_other_threads_are_not_in_its_account() {
        assert!(is_counted());
        let large = "select length(hex(zeroblob(4000000)))";
        let run = move || rusqlite::Connection::open_in_memory()?.query_row(large, [], |row| row.get::<_, i64>(0));
        assert_eq!(run().unwrap(), 8_000_000);
        let _budget = Budget::new(1024 * 1024);
        assert_eq!(run().unwrap_err().sqlite_error_code(), Some(rusqlite::ErrorCode::OutOfMemory));
        assert_eq!(unchecked(run).unwrap(), 8_000_000);
        assert_eq!(std::thread::spawn(run).join().unwrap().unwrap(), 8_000_000);
        let left = || ACCOUNT.get().unwrap().left;
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let before = left();
        let refused = within(1_000, || connection.execute_batch("create table a (b); create table c (d)"));
        assert!(refused.is_err());
        drop(connection);
        assert!(left() > before, "what is given back is in the account again");
    }
}
