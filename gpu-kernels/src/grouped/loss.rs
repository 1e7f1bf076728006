//! The losses of many networks with their gradients, and what is counted of them: one block a network.
//!
//! The losses are those of [`loss`](crate::loss), each network's own; gradients are those of the mean over the minibatch. The
//! sums of the losses, the right predictions and the squared residuals add up from launch to launch; the host clears them.
//!
//! [`LOSS_WORDS`] words a network:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0 | address of the outputs, `rows x n` | |
//! | 1 | address of the targets: labels (`u32`), or `rows x n` numbers | |
//! | 2 | address of the gradient, or 0 | |
//! | 3 | address of the sum of the losses (`f32`) | |
//! | 4 | address of the number of right predictions (`u32`), or 0 | |
//! | 5 | address of the `n` sums of squared residuals (`f32`), or 0 | |
//! | 6 | n | slot |
//! | 7 | capacity in rows | kind of the loss |
//! | 8 | label smoothing or Huber's delta (`f32`) | 1: the targets start at the live offset |
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use super::{halves, Live, BLOCK, OFFSET};
use crate::collective::{group_all, Count, Sum, LOG2_BLOCK};
use crate::loss::{cross_entropy_row, element};
pub use crate::loss::{BCE, CROSS_ENTROPY, HUBER, MAE, MSE};
use crate::metrics::predict;
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Words of a network in the table.
pub const LOSS_WORDS: usize = 9;

/// log2 of the threads that share a row of `n` logits: those of the kernel for one network.
#[inline(always)]
const fn row_log2(n: u32) -> u32 {
    if n > crate::softmax::WARP_ROW {
        return LOG2_BLOCK;
    }
    let log2 = 32 - (n.div_ceil(2).saturating_sub(1)).leading_zeros();
    if log2 < 5 {
        log2
    } else {
        5
    }
}

/// Loss, gradient and counts of the minibatches of many networks; see the module.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, one a network; `problems` covers them, `live` every slot that one names.
/// - A network's tensors have capacity rows (targets with an offset: offset + rows); what is written overlaps nothing else.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn grouped_loss(live: *const u32, problems: *const u64) {
    let w = problems.add(thread::block_idx_x() as usize * LOSS_WORDS);
    let ((n, slot), (capacity, kind)) = (halves(*w.add(6)), halves(*w.add(7)));
    let (parameter, shifted) = halves(*w.add(8));
    let live = Live::of(live, slot);
    let rows = live.rows(capacity);
    // The same for all threads of the block: they leave together, before any barrier.
    if rows == 0 {
        return;
    }
    let parameter = f32::from_bits(parameter);
    let offset = if shifted != 0 { live.word(OFFSET) as usize } else { 0 };
    let (x, dx) = (*w as *const f32, *w.add(2) as *mut f32);
    let right = *w.add(4) as *mut u32;
    let t = thread::thread_idx_x();
    let mut loss = 0.0;
    if kind == CROSS_ENTROPY {
        let labels = (*w.add(1) as *const u32).add(offset);
        let log2 = row_log2(n);
        let lane = (t & ((1 << log2) - 1)) as usize;
        let inverse_rows = 1.0 / rows as f32;
        let mut hits = 0;
        // Every thread goes round as often: the rows of a round are shared by the whole block.
        let mut base = 0;
        while base < rows {
            let row = base + (t >> log2);
            let len = if row < rows { n as usize } else { 0 };
            let at = row as usize * n as usize;
            let label = if len > 0 { *labels.add(row as usize) } else { 0 };
            let x = x.wrapping_add(at);
            let store = |j, g: f32| {
                if !dx.is_null() {
                    *dx.add(at + j) = g * inverse_rows;
                }
            };
            loss += cross_entropy_row(x, label as usize, n, (len, lane, log2), parameter, store);
            if !right.is_null() {
                let hit = predict(x, len, lane, log2) == label;
                hits += (hit && lane == 0 && len > 0) as u32;
            }
            base += BLOCK >> log2;
        }
        let hits = group_all::<Count>(hits, LOG2_BLOCK, shared_array![u32; 8]);
        if t == 0 && !right.is_null() {
            *right = (*right).wrapping_add(hits);
        }
    } else {
        let targets = (*w.add(1) as *const f32).add(offset * n as usize);
        let count = rows as usize * n as usize;
        let inverse = 1.0 / count as f32;
        let mut i = t as usize;
        while i < count {
            let (value, slope) = element(kind, parameter, *x.add(i), *targets.add(i));
            loss += value;
            if !dx.is_null() {
                *dx.add(i) = slope * inverse;
            }
            i += BLOCK as usize;
        }
        let residuals = *w.add(5) as *mut f32;
        if !residuals.is_null() {
            let mut j = 0;
            while j < n as usize {
                let mut sum = 0.0;
                let mut row = t as usize;
                while row < rows as usize {
                    let d = *x.add(row * n as usize + j) - *targets.add(row * n as usize + j);
                    sum += d * d;
                    row += BLOCK as usize;
                }
                let sum = group_all::<Sum>(sum, LOG2_BLOCK, shared_array![f32; 8]);
                if t == 0 {
                    *residuals.add(j) += sum;
                }
                j += 1;
            }
        }
        // The mean of a row's outputs is the row's loss, as in cross-entropy.
        loss /= n as f32;
    }
    let loss = group_all::<Sum>(loss, LOG2_BLOCK, shared_array![f32; 8]);
    if t == 0 {
        *(*w.add(3) as *mut f32) += loss;
    }
}
