//! Sums over the rows or the columns of C, of its finished values in f32, before they are rounded to C's type.
//!
//! ```text
//! REDUCE_ROWS      R[j] = sum over i of C[i, j]            REDUCE_COLUMNS      R[i] = sum over j of C[i, j]
//! ```
//!
//! Whoever finishes a *part* of C, so many rows by so many columns (a warp in the products, a block in
//! [`split`](super::split)), writes the sums of that part: `partial[matrix][part][j]` for parts of rows, `partial[matrix][part][i]`
//! for parts of columns. What is outside C is not written. A kernel of [`crate::reduce`] then adds the parts. There are no
//! atomics, and the order of every sum depends on shape and tile alone: the same bits in every run.
//!
//! A warp goes through its part in steps. In each, [`Gather`]'s `LANES` neighbouring lanes hold a row, four elements each,
//! and the warp's groups of so many lanes consecutive rows. Where nothing is summed a step costs a branch, the same for all.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::epilogue::{Epilogue, Way, REDUCE_COLUMNS, REDUCE_NONE, REDUCE_ROWS};
use crate::ptx::shfl_xor_f32;
use crate::vector::{store4, zip4, F32x4};
use cuda_std::prelude::*;

/// The first `left` of four elements, and zeros.
#[inline(always)]
fn first(left: u32, v: F32x4) -> F32x4 {
    F32x4 {
        a: if left > 0 { v.a } else { 0.0 },
        b: if left > 1 { v.b } else { 0.0 },
        c: if left > 2 { v.c } else { 0.0 },
        d: if left > 3 { v.d } else { 0.0 },
    }
}

/// The sum of each row that a warp holds, in all of its lanes.
///
/// # Safety
/// - All 32 lanes arrive together.
#[inline(always)]
pub(super) unsafe fn over_columns<const LANES: u32>(v: F32x4) -> f32 {
    let mut sum = (v.a + v.b) + (v.c + v.d);
    let mut apart = LANES / 2;
    while apart > 0 {
        sum += shfl_xor_f32(sum, apart);
        apart /= 2;
    }
    sum
}

/// The sums over the rows that a warp holds, of the columns of each lane.
///
/// # Safety
/// - All 32 lanes arrive together.
#[inline(always)]
pub(super) unsafe fn over_rows<const LANES: u32>(mut v: F32x4) -> F32x4 {
    let mut apart = LANES;
    while apart < 32 {
        let other = F32x4 {
            a: shfl_xor_f32(v.a, apart),
            b: shfl_xor_f32(v.b, apart),
            c: shfl_xor_f32(v.c, apart),
            d: shfl_xor_f32(v.d, apart),
        };
        v = zip4!(v, other, |x, y| x + y);
        apart *= 2;
    }
    v
}

impl Epilogue {
    /// As [`store`](Epilogue::store); gives what it stored, in f32, and zeros for what is outside C, where sums are wanted.
    ///
    /// # Safety
    /// - As `store`.
    #[inline(always)]
    pub(super) unsafe fn store_for_sums<W: Way>(&self, row: u32, col: u32, sum: F32x4) -> F32x4 {
        let v = self.store::<W>(row, col, sum);
        if self.reduce() == REDUCE_NONE {
            return v;
        }
        first(if row < self.m { self.n.saturating_sub(col) } else { 0 }, v)
    }
}

/// The sums of a warp's part so far: of REDUCE_ROWS, those of a lane's four columns; of REDUCE_COLUMNS, in `a`, that of
/// one row, the lane's in step `lane % LANES`.
#[derive(Clone, Copy)]
pub(super) struct Gather<const LANES: u32>(F32x4);

impl<const LANES: u32> Gather<LANES> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Gather(F32x4 { a: 0.0, b: 0.0, c: 0.0, d: 0.0 })
    }

    /// Finishes and stores four elements as [`Epilogue::store`], in step `step`, which is below `LANES`.
    ///
    /// # Safety
    /// - As `store`; all 32 lanes arrive together.
    #[inline(always)]
    pub(super) unsafe fn store<W: Way>(&mut self, out: &Epilogue, row: u32, col: u32, sum: F32x4, step: u32) {
        let v = out.store_for_sums::<W>(row, col, sum);
        if out.reduce() == REDUCE_ROWS {
            self.0 = zip4!(self.0, v, |x, y| x + y);
        } else if out.reduce() == REDUCE_COLUMNS {
            let sum = over_columns::<LANES>(v);
            if thread::thread_idx_x() % LANES == step {
                self.0.a += sum;
            }
        }
    }

    /// Where rows are summed: after the steps of part `part`, writes the sums of its columns, from column `col` on for this
    /// lane, and begins anew. `inside`: the part has rows.
    ///
    /// # Safety
    /// - `out.sums` covers the partial sums; all 32 lanes arrive together.
    #[inline(always)]
    pub(super) unsafe fn end_rows(&mut self, out: &Epilogue, part: u32, col: u32, inside: bool) {
        if out.reduce() == REDUCE_ROWS {
            let sums = over_rows::<LANES>(self.0);
            if thread::thread_idx_x() % 32 < LANES && col < out.n && inside {
                store4(out.sums.add(part as usize * out.n as usize), col, out.n, sums);
            }
            *self = Gather::new();
        }
    }

    /// Where columns are summed: after steps `0 .. steps` of part `part`, writes the sums of their rows, of which `row` is the
    /// first, and begins anew. `inside`: the part has columns.
    ///
    /// # Safety
    /// - As `end_rows`.
    #[inline(always)]
    pub(super) unsafe fn end_columns(
        &mut self,
        out: &Epilogue,
        part: u32,
        row: u32,
        steps: u32,
        inside: bool,
    ) {
        if out.reduce() == REDUCE_COLUMNS {
            let lane = thread::thread_idx_x() % 32;
            let (step, group) = (lane % LANES, lane / LANES);
            let row = row + step * (32 / LANES) + group;
            if step < steps && row < out.m && inside {
                *out.sums.add(part as usize * out.m as usize + row as usize) = self.0.a;
            }
            *self = Gather::new();
        }
    }
}
