//! The minibatches of many networks: networks that read the same rows in the same order share one.
//!
//! [`GATHER_WORDS`] words a minibatch:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0, 1 | addresses of the features `N x d` and the targets `N x e` (words of 32 bits) | |
//! | 2 | address of the epoch's permutation, `N` row numbers | |
//! | 3, 4 | where the minibatch's features and targets go | |
//! | 5 | N | slot of one of its networks |
//! | 6 | d | e |
//! | 7 | capacity in rows | |
//!
//! A task's place is a group of [`ROWS_PER_BLOCK`] rows of the minibatch, a warp a row.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use super::{halves, parts, Live, BLOCK, OFFSET};
use crate::vector::{is_aligned4, load_quad, store_quad};
use cuda_std::prelude::*;

/// Words of a minibatch in the table.
pub const GATHER_WORDS: usize = 8;
/// Rows that a block copies.
pub const ROWS_PER_BLOCK: u32 = BLOCK / 32;

/// Copies the rows of many minibatches; see the module. A row number past the data counts as the last row's.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, one a task; `tasks`, `problems` and `live` cover what they name.
/// - A minibatch's tensors have the extents of the table; what is written overlaps nothing else.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn grouped_gather(live: *const u32, problems: *const u64, tasks: *const u64) {
    let (problem, group) = parts(*tasks.add(thread::block_idx_x() as usize));
    let w = problems.add(problem as usize * GATHER_WORDS);
    let ((n, slot), (d, e)) = (halves(*w.add(5)), halves(*w.add(6)));
    let live = Live::of(live, slot);
    let (lane, warp) = (thread::thread_idx_x() % 32, thread::thread_idx_x() / 32);
    let row = group * ROWS_PER_BLOCK + warp;
    if row >= live.rows(*w.add(7) as u32) {
        return;
    }
    let last = n - 1;
    let place = live.word(OFFSET) + row;
    let from = *(*w.add(2) as *const u32).add((if place < last { place } else { last }) as usize);
    let from = (if from < last { from } else { last }) as usize;
    let x = (*w as *const f32).add(from * d as usize);
    let y = (*w.add(3) as *mut f32).add(row as usize * d as usize);
    let quads = if is_aligned4(x) && is_aligned4(y) { d / 4 } else { 0 };
    let mut q = lane;
    while q < quads {
        store_quad(y.add(4 * q as usize), load_quad(x.add(4 * q as usize)));
        q += 32;
    }
    let mut j = 4 * quads + lane;
    while j < d {
        *y.add(j as usize) = *x.add(j as usize);
        j += 32;
    }
    let x = (*w.add(1) as *const u32).add(from * e as usize);
    let y = (*w.add(4) as *mut u32).add(row as usize * e as usize);
    let mut j = lane;
    while j < e {
        *y.add(j as usize) = *x.add(j as usize);
        j += 32;
    }
}
