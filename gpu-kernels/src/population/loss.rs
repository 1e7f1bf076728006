//! The loss of a minibatch: one thread a row, sums in a fixed tree. The formulas are those of [`crate::loss`].

use cuda_std::prelude::*;
use cuda_std::shared_array;

use super::table::{row, CROSS_ENTROPY};
use super::{word, BLOCK};
use crate::collective::{group_all, Count, Sum, LOG2_BLOCK};
use crate::loss::element;
use crate::math::{exp, ln};
use crate::ptx::{ld_shared_f32, st_shared_f32};

/// What is known of a minibatch besides the network's outputs.
#[derive(Clone, Copy)]
pub struct Targets {
    /// Labels (`u32`), or `outputs` numbers a sample (`f32` bits).
    pub y: *const u32,
    /// The minibatch's samples, or null for those from `first` on.
    pub order: *const u32,
    /// The first sample.
    pub first: u32,
}

impl Targets {
    /// The sample in row `r` of the minibatch.
    ///
    /// # Safety
    /// - `r` is a row of the minibatch.
    #[inline(always)]
    pub unsafe fn sample(&self, r: u32) -> usize {
        if self.order.is_null() {
            (self.first + r) as usize
        } else {
            // SAFETY: the order has an element for every row.
            unsafe { *self.order.add((self.first + r) as usize) as usize }
        }
    }
}

/// Which loss, and over what.
#[derive(Clone, Copy)]
pub struct Loss {
    /// Which.
    pub kind: u32,
    /// Label smoothing, or Huber's delta.
    pub param: f32,
    /// Rows of the minibatch.
    pub rows: u32,
    /// Outputs of a row.
    pub outputs: u32,
}

impl Loss {
    /// The *sum* over rows of the rows' mean losses and the number of right answers, in every thread. With `gradient`, not
    /// `u32::MAX`, the derivative of the *mean* over rows goes there.
    ///
    /// # Safety
    /// - Every thread of the block calls it; `outputs_at` (and `gradient`) are shared addresses of `rows` rows of `outputs`
    ///   numbers, written before a barrier (and not accessed by others before the next).
    #[inline(always)]
    pub unsafe fn of(self, outputs_at: u32, targets: Targets, gradient: u32) -> (f32, u32) {
        let mut sum = 0.0;
        let mut right = 0;
        let mut r = thread::thread_idx_x();
        while r < self.rows {
            let at = word(outputs_at, r * row(self.outputs));
            let to = if gradient == u32::MAX { gradient } else { word(gradient, r * row(self.outputs)) };
            // SAFETY: r is a row of the minibatch; each thread has its own rows.
            unsafe {
                let sample = targets.sample(r);
                if self.kind == CROSS_ENTROPY {
                    let (loss, hit) = self.cross_entropy(at, *targets.y.add(sample), to);
                    sum += loss;
                    right += hit;
                } else {
                    sum += self.elementwise(at, targets.y.add(sample * self.outputs as usize), to);
                }
            }
            r += BLOCK;
        }
        // SAFETY: all threads arrive.
        unsafe {
            (
                group_all::<Sum>(sum, LOG2_BLOCK, shared_array![f32; 8]),
                group_all::<Count>(right, LOG2_BLOCK, shared_array![u32; 8]),
            )
        }
    }

    /// Softmax cross-entropy of the row at `at`, and whether its largest output (the first of equals; NaN is largest) is
    /// at its label. A label past the end makes the loss NaN.
    ///
    /// # Safety
    /// - As [`of`](Loss::of), for one row.
    #[inline(always)]
    unsafe fn cross_entropy(self, at: u32, label: u32, to: u32) -> (f32, u32) {
        let n = self.outputs;
        // SAFETY: all places are in the row.
        unsafe {
            let mut max = ld_shared_f32(at);
            let mut best = 0;
            let mut j = 1;
            while j < n {
                let x = ld_shared_f32(word(at, j));
                if x > max || (x.is_nan() && !max.is_nan()) {
                    max = x;
                    best = j;
                }
                j += 1;
            }
            let mut total = 0.0;
            let mut j = 0;
            while j < n {
                total += exp(ld_shared_f32(word(at, j)) - max);
                j += 1;
            }
            let on = 1.0 - self.param;
            let off = self.param / n as f32;
            let inverse = if label < n { 1.0 / total } else { f32::NAN };
            let inverse_rows = 1.0 / self.rows as f32;
            let mut loss = if label < n { ln(total) } else { f32::NAN };
            let mut j = 0;
            while j < n {
                let d = ld_shared_f32(word(at, j)) - max;
                let target = if j == label { on + off } else { off };
                // A class without weight does not count, even if its logit is minus infinity.
                loss -= if target == 0.0 { 0.0 } else { target * d };
                if to != u32::MAX {
                    st_shared_f32(word(to, j), (exp(d) * inverse - target) * inverse_rows);
                }
                j += 1;
            }
            (loss, (best == label) as u32)
        }
    }

    /// The mean of an elementwise loss over the row at `at`, whose targets are at `y`.
    ///
    /// # Safety
    /// - As [`of`](Loss::of), for one row; `y` has a number an output.
    #[inline(always)]
    unsafe fn elementwise(self, at: u32, y: *const u32, to: u32) -> f32 {
        let inverse = 1.0 / (self.rows * self.outputs) as f32;
        let mut sum = 0.0;
        let mut j = 0;
        while j < self.outputs {
            // SAFETY: j is an output of the row.
            let (x, t) = unsafe { (ld_shared_f32(word(at, j)), f32::from_bits(*y.add(j as usize))) };
            let (loss, derivative) = element(self.kind, self.param, x, t);
            sum += loss;
            if to != u32::MAX {
                // SAFETY: as above.
                unsafe { st_shared_f32(word(to, j), derivative * inverse) };
            }
            j += 1;
        }
        sum / self.outputs as f32
    }
}
