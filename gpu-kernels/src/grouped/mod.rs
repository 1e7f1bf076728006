//! Many networks in one launch: every kernel here walks a table of problems, one entry a network (or a layer of one), and a
//! list of tasks, one entry a block.
//!
//! A training step of a whole population is a fixed number of launches, whatever the number of networks: the networks
//! differ in widths, depths, activations, optimisers and rates, and all of that is in tables. Two kinds of tables:
//!
//! * **Problems and tasks** say where tensors lie and what is done to them. They change only when the set of networks does
//!   (one is added, or dropped by a pruner). A task is one 64-bit word, `problem << 32 | place` ([`task`]); block `b` takes
//!   task `b`.
//! * **Live numbers** change from step to step: [`LIVE_WORDS`] 32-bit words a network (its *slot*). The host writes those of
//!   many steps at once and passes each launch the address of its step's.
//!
//! | live word | meaning |
//! |---|---|
//! | [`ROWS`] | rows of the network's minibatch; 0: the network rests, and all its tasks end at once |
//! | [`OFFSET`] | first row: a place in the epoch's permutation, or a row of the data |
//! | [`STEP`] | low and high word of the step counter that keys dropout |
//! | [`HYPER`] | the numbers of `optim::HYPER_LEN`, as `f32` |
//!
//! A problem's tensors have room for a *capacity* of rows; a live number above it counts as the capacity, so that no value
//! in a live table leads outside a buffer.
//!
//! The arithmetic is that of the kernels that handle one network (`gemm`, `random`, `loss`, `reduce`, `optim`), by the same
//! functions, with sums in an order that depends on the network's own shapes alone: what a network computes has the same
//! bits whatever else is in the tables.

pub mod data;
pub mod loss;
pub mod optim;
pub mod passes;
pub mod products;

/// 32-bit words of a network's live numbers.
pub const LIVE_WORDS: usize = 16;
/// Rows of the minibatch; 0 lets the network rest.
pub const ROWS: usize = 0;
/// First row.
pub const OFFSET: usize = 1;
/// Step counter: low word here, high word next.
pub const STEP: usize = 2;
/// First of the optimiser's `HYPER_LEN` numbers.
pub const HYPER: usize = 8;

/// Threads of a block of every kernel here but the products.
pub const BLOCK: u32 = crate::collective::BLOCK;

/// The word of a task: which problem, and which part of it.
pub const fn task(problem: u32, place: u32) -> u64 {
    (problem as u64) << 32 | place as u64
}

/// Problem and place of a task.
#[inline(always)]
pub const fn parts(task: u64) -> (u32, u32) {
    ((task >> 32) as u32, task as u32)
}

/// The two halves of a word, low first.
#[inline(always)]
pub(crate) const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The live numbers of a network.
#[derive(Clone, Copy)]
pub(crate) struct Live(*const u32);

impl Live {
    /// Those of `slot` in the table at `live`.
    ///
    /// # Safety
    /// - The table has that slot.
    #[inline(always)]
    pub(crate) unsafe fn of(live: *const u32, slot: u32) -> Live {
        // SAFETY: the caller's contract.
        Live(unsafe { live.add(slot as usize * LIVE_WORDS) })
    }

    /// Word `k`.
    #[inline(always)]
    pub(crate) fn word(self, k: usize) -> u32 {
        debug_assert!(k < LIVE_WORDS);
        // SAFETY: a slot has LIVE_WORDS words, and every caller's `k` is a constant below that.
        unsafe { *self.0.add(k) }
    }

    /// Rows, at most `capacity`.
    #[inline(always)]
    pub(crate) fn rows(self, capacity: u32) -> u32 {
        let rows = self.word(ROWS);
        if rows < capacity {
            rows
        } else {
            capacity
        }
    }

    /// Number `k` of the optimiser.
    #[inline(always)]
    pub(crate) fn hyper(self, k: usize) -> f32 {
        f32::from_bits(self.word(HYPER + k))
    }
}
