//! Elementwise passes over the layers of many networks, and the gradients of their biases.
//!
//! # Forward and backward passes
//!
//! What a layer does beyond its product's epilogue: dropout and a skip connection, and the way back through them.
//!
//! ```text
//! forward    y  = dropout(from) + other            other: the layer's input, if it skips
//! backward   to = act'(other) * dropout(from)      other: the activation's output or input
//! ```
//!
//! The mask is that of [`random::dropout`](mod@crate::random): element i of the layer's minibatch, row-major, comes from
//! counter (i / 4, stream, step) under the network's seed. [`PASS_WORDS`] words a problem:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0, 1, 2 | addresses of `from`, `other` (or 0), `to` | |
//! | 3 | width | slot |
//! | 4 | capacity in rows | forward: 1 if `other` begins at the live offset; backward: the activation's kind |
//! | 5 | probability of dropping (`f32`); 0: no dropout | the activation's parameter (`f32`) |
//! | 6 | seed | |
//! | 7 | stream | factor of what is kept (`f32`) |
//!
//! A task's place is a chunk of [`CHUNK`] elements.
//!
//! # Bias gradients
//!
//! Column sums, walked as `reduce` walks them: [`BIAS_WORDS`] words a problem (addresses of the gradient by the layer's
//! affine map and of the bias's; width and slot; capacity in rows). A task's place is a tile of columns, of the width that
//! [`column_log2`] says.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use super::{halves, parts, Live, BLOCK, OFFSET, STEP};
use crate::activation::{self, for_kind};
use crate::collective::{columns, group_all, Sum};
use crate::philox::{philox4x32_10, uniform};
use crate::reduce::fold;
use crate::vector::{load4, map4, store4, zip4, F32x4};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Words of a pass in the table.
pub const PASS_WORDS: usize = 8;
/// Elements that a block of a pass handles.
pub const CHUNK: u32 = 4096;
/// Words of a bias gradient in the table.
pub const BIAS_WORDS: usize = 4;

/// Dropout of one layer.
#[derive(Clone, Copy)]
struct Mask {
    p: f32,
    keep: f32,
    key: [u32; 2],
    stream: u32,
    step: [u32; 2],
}

impl Mask {
    /// `x` where element `i` of the four from a multiple of four on is kept, times the factor; else 0.
    #[inline(always)]
    fn apply(&self, i: u32, x: F32x4) -> F32x4 {
        if self.p == 0.0 {
            return x;
        }
        let w = philox4x32_10([i / 4, self.stream, self.step[0], self.step[1]], self.key);
        let value = |x: f32, word| if uniform(word) >= self.p { x * self.keep } else { 0.0 };
        [value(x.a, w[0]), value(x.b, w[1]), value(x.c, w[2]), value(x.d, w[3])].into()
    }
}

/// What both passes read of the table.
struct Pass {
    from: *const f32,
    other: *const f32,
    to: *mut f32,
    /// Elements.
    n: u32,
    /// Elements before the live offset.
    before: usize,
    kind: u32,
    parameter: f32,
    mask: Mask,
    /// This thread's first four elements, and where the block's chunk ends.
    first: u32,
    end: u32,
}

impl Pass {
    /// # Safety
    /// - As the kernels.
    #[inline(always)]
    unsafe fn of(live: *const u32, problems: *const u64, tasks: *const u64) -> Pass {
        let (problem, chunk) = parts(*tasks.add(thread::block_idx_x() as usize));
        let w = problems.add(problem as usize * PASS_WORDS);
        let ((width, slot), (capacity, kind)) = (halves(*w.add(3)), halves(*w.add(4)));
        let ((p, parameter), (stream, keep)) = (halves(*w.add(5)), halves(*w.add(7)));
        let (low, high) = halves(*w.add(6));
        let live = Live::of(live, slot);
        let n = live.rows(capacity) * width;
        let start = chunk * CHUNK;
        let left = n.saturating_sub(start);
        Pass {
            from: *w as *const f32,
            other: *w.add(1) as *const f32,
            to: *w.add(2) as *mut f32,
            n,
            before: live.word(OFFSET) as usize * width as usize,
            kind,
            parameter: f32::from_bits(parameter),
            mask: Mask {
                p: f32::from_bits(p),
                keep: f32::from_bits(keep),
                key: [low, high],
                stream,
                step: [live.word(STEP), live.word(STEP + 1)],
            },
            first: start + 4 * thread::thread_idx_x(),
            end: start + if left < CHUNK { left } else { CHUNK },
        }
    }
}

/// `to = dropout(from) + other` for chunks of many layers; see the module.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, one a task; `tasks`, `problems` and `live` cover what they name.
/// - A problem's tensors have capacity x width elements, fewer than 2^31; `to` is `from`, or overlaps nothing that another
///   thread accesses.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn grouped_forward_pass(live: *const u32, problems: *const u64, tasks: *const u64) {
    let pass = Pass::of(live, problems, tasks);
    let other = pass.other.wrapping_add(if pass.kind != 0 { pass.before } else { 0 });
    let mut i = pass.first;
    while i < pass.end {
        let mut v = pass.mask.apply(i, load4(pass.from, i, pass.n));
        if !pass.other.is_null() {
            v = zip4!(v, load4(other, i, pass.n), |v, x| v + x);
        }
        store4(pass.to, i, pass.n, v);
        i += 4 * BLOCK;
    }
}

/// `to = act'(other) * dropout(from)` for chunks of many layers; see the module.
///
/// # Safety
/// - As [`grouped_forward_pass()`].
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn grouped_backward_pass(live: *const u32, problems: *const u64, tasks: *const u64) {
    let pass = Pass::of(live, problems, tasks);
    let mut i = pass.first;
    while i < pass.end {
        let mut v = pass.mask.apply(i, load4(pass.from, i, pass.n));
        if !pass.other.is_null() {
            let (s, p) = (load4(pass.other, i, pass.n), pass.parameter);
            let d = for_kind!(pass.kind, K => map4!(s, |s| activation::derivative(K, p, s)));
            v = zip4!(d, v, |d, g| d * g);
        }
        store4(pass.to, i, pass.n, v);
        i += 4 * BLOCK;
    }
}

/// log2 of the columns that a block sums of a matrix of `rows` rows; with one column, of the threads that share it. The
/// smaller the matrix, the more columns.
#[inline(always)]
pub const fn column_log2(rows: u32, width: u32) -> u32 {
    const fn ceil_log2(x: u32) -> u32 {
        32 - x.saturating_sub(1).leading_zeros()
    }
    const fn least(a: u32, b: u32) -> u32 {
        if a < b {
            a
        } else {
            b
        }
    }
    if width == 1 {
        return if rows > 1024 { 8 } else { least(ceil_log2(rows.div_ceil(4)), 5) };
    }
    let wide = if rows <= 4 {
        8
    } else if rows <= 16 {
        6
    } else {
        least(ceil_log2(width), 5)
    };
    least(least(wide, ceil_log2(width)), 8)
}

/// Sums over the rows of many matrices: the gradients of biases; see the module.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, one a task; `tasks`, `problems` and `live` cover what they name.
/// - A problem's matrix has capacity x width elements, its sums width; they overlap nothing else that is written.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn grouped_bias_gradient(live: *const u32, problems: *const u64, tasks: *const u64) {
    let (problem, tile) = parts(*tasks.add(thread::block_idx_x() as usize));
    let w = problems.add(problem as usize * BIAS_WORDS);
    let (x, y) = (*w as *const f32, *w.add(1) as *mut f32);
    let (width, slot) = halves(*w.add(2));
    let rows = Live::of(live, slot).rows(*w.add(3) as u32);
    // The same for all threads of the block: they leave together, before any barrier.
    if rows == 0 {
        return;
    }
    let log2 = column_log2(rows, width);
    let t = thread::thread_idx_x();
    if width == 1 {
        let mine = if t >> log2 == 0 { rows as usize } else { 0 };
        let sum = fold::<Sum>(x, 0, 1, t as usize, mine, 1 << log2);
        let sum = group_all::<Sum>(sum, log2, shared_array![f32; 8]);
        if t == 0 {
            *y = sum;
        }
        return;
    }
    if tile << log2 >= width {
        return;
    }
    let column = (tile << log2) + (t & ((1 << log2) - 1));
    let end = if column < width { rows as usize } else { 0 };
    let (first, step) = ((t >> log2) as usize, (BLOCK >> log2) as usize);
    let sum = fold::<Sum>(x, column as usize, width as usize, first, end, step);
    let sum = columns::<Sum>(sum, log2, shared_array![f32; 256]);
    if t >> log2 == 0 && column < width {
        *y.add(column as usize) = sum;
    }
}
