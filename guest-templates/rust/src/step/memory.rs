//! The memory of a call, in the place of the C library's allocator, which is made for programs that run for years: this
//! one is 8 KB smaller, and quicker.
//!
//! Owns all memory behind the step's data. Invariant: a block is 16-aligned, and given to one owner at a time.
//! What is freed is used again for something of about the same size. Nothing goes back to the gateway, which takes all of it
//! when the call ends.
//!
//! A step that makes and frees blocks of many different sizes, tens of megabytes in all, may need less with the C library's:
//! drop this file, and the line of `step.rs` that names it.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, null_mut};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static MEMORY: Memory = Memory::new(0, 0);

const PAGE_BYTES: usize = 64 * 1024;
/// As aligned as anything in Rust and C, but for what says so.
const UNIT_BYTES: usize = 16;
/// Four between a power of two and the next, so that a fifth of a block is lost at most; enough for all of 4 GiB.
const CLASSES: usize = 108;

struct Memory {
    /// The blocks of each class that are free, as lists: each holds the address of the next.
    free: UnsafeCell<[*mut u8; CLASSES]>,
    /// What was never used begins here, and ends there.
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a call of a step has one thread.
unsafe impl Sync for Memory {}

/// The class of a block, and how long one of that class is.
fn class(bytes: usize) -> (usize, usize) {
    let units = bytes.saturating_sub(1) / UNIT_BYTES;
    let Some(shift) = (units / 4).checked_ilog2() else { return (units, (units + 1) * UNIT_BYTES) };
    let quarter = units >> shift;
    (quarter + 4 * shift as usize, ((quarter + 1) << shift) * UNIT_BYTES)
}

impl Memory {
    const fn new(next: usize, end: usize) -> Self {
        Self { free: UnsafeCell::new([null_mut(); CLASSES]), next: Cell::new(next), end: Cell::new(end) }
    }

    /// Memory that nobody had; null where there is no more.
    fn fresh(&self, bytes: usize, align: usize) -> *mut u8 {
        if self.end.get() == 0 {
            self.next.set(wasm::heap_start());
            self.end.set(wasm::pages() * PAGE_BYTES);
        }
        let start = self.next.get().next_multiple_of(align.max(UNIT_BYTES));
        if self.reaches(start.saturating_add(bytes)) { start as *mut u8 } else { null_mut() }
    }

    /// Takes all up to there.
    fn reaches(&self, next: usize) -> bool {
        if next > self.end.get() {
            let pages = (next - self.end.get()).div_ceil(PAGE_BYTES);
            if !wasm::grow(pages) {
                return false;
            }
            self.end.set(self.end.get() + pages * PAGE_BYTES);
        }
        self.next.set(next);
        true
    }
}

// SAFETY: blocks don't overlap, and are as long and as aligned as the layout asks.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (class, bytes) = class(layout.size());
        // SAFETY: one thread; in the list are whole blocks of the class, or none.
        unsafe {
            let first = &mut (*self.free.get())[class];
            // Hardly anything wants to be more aligned than all blocks are.
            if first.is_null() || !(*first as usize).is_multiple_of(layout.align()) {
                return self.fresh(bytes, layout.align());
            }
            ptr::replace(first, *first.cast())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (class, bytes) = class(layout.size());
        if block as usize + bytes == self.next.get() {
            self.next.set(block as usize);
            return;
        }
        // SAFETY: one thread; the block was given away with this layout, and is long enough for an address.
        unsafe { block.cast::<*mut u8>().write(ptr::replace(&mut (*self.free.get())[class], block)) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, new) = (class(layout.size()).1, class(size).1);
        let is_last = block as usize + old == self.next.get();
        if new == old || is_last && self.reaches(block as usize + new) {
            return block;
        }
        // SAFETY: the new size is the caller's promise; the blocks are two, and each as long as is copied.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::arch::wasm32::{memory_grow, memory_size};

    /// Behind the stack and the data.
    pub fn heap_start() -> usize {
        unsafe extern "C" {
            /// Of the linker; only its address counts.
            static __heap_base: u8;
        }
        &raw const __heap_base as usize
    }

    pub fn pages() -> usize {
        memory_size(0)
    }

    pub fn grow(pages: usize) -> bool {
        memory_grow(0, pages) != usize::MAX
    }
}

/// The C library's own few blocks, those of the environment. In front of each are its length, and where it begins.
///
/// Invariant: all that the library's allocator has is here, so that it is never linked beside this one.
#[cfg(target_arch = "wasm32")]
mod c {
    use super::{GlobalAlloc as _, Layout, MEMORY, UNIT_BYTES, null_mut, ptr};

    /// The errno of WASI.
    const ENOMEM: i32 = 48;

    struct Front {
        bytes: usize,
        /// How much is in front; as aligned as the block.
        front: usize,
    }

    fn layout(bytes: usize, front: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(front)?, front).ok()
    }

    unsafe fn front(block: *mut u8) -> *mut Front {
        // SAFETY: of a block of `aligned`, which has that much in front.
        unsafe { block.sub(UNIT_BYTES).cast() }
    }

    unsafe fn aligned(bytes: usize, align: usize) -> *mut u8 {
        let Some(layout) = layout(bytes, align) else { return null_mut() };
        // SAFETY: the block has room for what is in front, which is at least a unit.
        unsafe {
            let start = MEMORY.alloc(layout);
            if start.is_null() {
                return start;
            }
            let block = start.add(align);
            front(block).write(Front { bytes, front: align });
            block
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn malloc(bytes: usize) -> *mut u8 {
        // SAFETY: as any block.
        unsafe { aligned(bytes, UNIT_BYTES) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
        // SAFETY: as any block; an alignment that is none makes no layout.
        unsafe { aligned(bytes, align.max(UNIT_BYTES)) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn posix_memalign(place: *mut *mut u8, align: usize, bytes: usize) -> i32 {
        // SAFETY: the place is the caller's promise.
        unsafe {
            let block = aligned_alloc(align, bytes);
            if block.is_null() {
                return ENOMEM;
            }
            place.write(block);
            0
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn malloc_usable_size(block: *mut u8) -> usize {
        // SAFETY: a block of ours, or none.
        if block.is_null() { 0 } else { unsafe { (*front(block)).bytes } }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn calloc(count: usize, bytes: usize) -> *mut u8 {
        let bytes = count.saturating_mul(bytes);
        // SAFETY: that many bytes are there, or no block.
        unsafe {
            let block = malloc(bytes);
            if !block.is_null() {
                block.write_bytes(0, bytes);
            }
            block
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(block: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: a block of ours, or none.
        unsafe {
            let moved = malloc(bytes);
            if !block.is_null() && !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, malloc_usable_size(block).min(bytes));
                free(block);
            }
            moved
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn free(block: *mut u8) {
        if block.is_null() {
            return;
        }
        // SAFETY: a block of ours, whose front made a layout then.
        unsafe {
            let Front { bytes, front } = front(block).read();
            if let Some(layout) = layout(bytes, front) {
                MEMORY.dealloc(block.sub(front), layout);
            }
        }
    }
}

/// On the author's own machine the tests bring the memory, and it doesn't grow.
#[cfg(not(target_arch = "wasm32"))]
mod wasm {
    pub fn heap_start() -> usize {
        0
    }

    pub fn pages() -> usize {
        0
    }

    pub fn grow(_: usize) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA_BYTES: usize = 1 << 20;

    /// A block, and the byte that all of it has.
    struct Block {
        start: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Block {
        fn new(memory: &Memory, size: usize, align: usize, mark: u8) -> Option<Self> {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: the layout has a size.
            let start = unsafe { memory.alloc(layout) };
            let block = (!start.is_null()).then_some(Self { start, layout, mark })?;
            block.fill();
            Some(block)
        }

        fn fill(&self) {
            assert_eq!(self.start as usize % self.layout.align(), 0, "{:?}", self.layout);
            // SAFETY: the block is that long.
            unsafe { self.start.write_bytes(self.mark, self.layout.size()) };
        }

        fn check(&self, bytes: usize) {
            // SAFETY: the block is that long, and was filled.
            let seen = unsafe { std::slice::from_raw_parts(self.start, bytes.min(self.layout.size())) };
            assert!(seen.iter().all(|byte| *byte == self.mark), "{:?} was written to by another", self.layout);
        }
    }

    #[test]
    fn a_class_is_as_long_as_what_it_is_for_and_little_longer() {
        let mut before = (0, 0);
        for bytes in (1..5_000).chain((13..31).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let (class, length) = class(bytes);
            assert!(class < CLASSES && length >= bytes && length % UNIT_BYTES == 0, "{bytes}");
            assert!(length <= bytes + UNIT_BYTES || length - bytes <= bytes / 4, "{bytes}: {length}");
            assert!(class == before.0 && length == before.1 || class > before.0 && length > before.1 || bytes == 1);
            before = (class, length);
        }
        assert_eq!(class(usize::try_from(i32::MAX).expect("it fits")).1, 1 << 31);
    }

    #[test]
    fn no_block_is_given_to_two_owners_whatever_is_made_and_freed() {
        let mut arena = vec![0_u128; ARENA_BYTES / 16];
        let start = arena.as_mut_ptr() as usize;
        let memory = Memory::new(start, start + ARENA_BYTES);
        let mut blocks: Vec<Block> = Vec::new();
        let mut random = 1_u32;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for round in 0..50_000_usize {
            let bits = 1 + draw(12);
            let size = 1 + draw(1 << bits);
            match draw(4) {
                0 | 1 => blocks.extend(Block::new(&memory, size, 1 << draw(5), round.to_le_bytes()[0])),
                2 if !blocks.is_empty() => {
                    let block = blocks.swap_remove(draw(blocks.len()));
                    block.check(usize::MAX);
                    // SAFETY: it was made so, and nobody has it any more.
                    unsafe { memory.dealloc(block.start, block.layout) };
                }
                3 if !blocks.is_empty() => {
                    let index = draw(blocks.len());
                    let block = &mut blocks[index];
                    // SAFETY: it was made so; the size is more than none.
                    let moved = unsafe { memory.realloc(block.start, block.layout, size) };
                    if !moved.is_null() {
                        let kept = block.layout.size();
                        block.start = moved;
                        block.layout = Layout::from_size_align(size, block.layout.align()).expect("a layout");
                        block.check(kept);
                        block.fill();
                    }
                }
                _ => {}
            }
            if blocks.len() > 300 {
                let block = blocks.swap_remove(0);
                block.check(usize::MAX);
                // SAFETY: it was made so, and nobody has it any more.
                unsafe { memory.dealloc(block.start, block.layout) };
            }
        }
        assert!(blocks.len() > 100, "the arena is full");
        blocks.iter().for_each(|block| block.check(usize::MAX));
    }

    #[test]
    fn a_block_is_as_aligned_as_it_has_to_be() {
        let mut arena = vec![0_u128; ARENA_BYTES / 16];
        let start = arena.as_mut_ptr() as usize;
        let memory = Memory::new(start, start + ARENA_BYTES);
        for round in 0..1_000_u16 {
            let align = 1 << (round % 8);
            let (kept, freed) = (Block::new(&memory, 40, align, 1), Block::new(&memory, 40, align, 2));
            let freed = kept.zip(freed).expect("there is memory").1;
            // SAFETY: it was made so, and nobody has it any more.
            unsafe { memory.dealloc(freed.start, freed.layout) };
        }
    }

    #[test]
    fn a_loop_that_frees_what_it_makes_needs_no_more_memory() {
        let mut arena = vec![0_u128; ARENA_BYTES / 16];
        let start = arena.as_mut_ptr() as usize;
        let memory = Memory::new(start, start + ARENA_BYTES);
        for size in (0..100).cycle().take(20_000) {
            let blocks = [1, 2, 3].map(|mark| Block::new(&memory, 1 + size * 100, 8, mark).expect("there is memory"));
            for block in blocks {
                block.check(usize::MAX);
                // SAFETY: it was made so, and nobody has it any more.
                unsafe { memory.dealloc(block.start, block.layout) };
            }
        }
    }
}
