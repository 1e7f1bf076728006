//! Moving and converting elements without arithmetic: copies, fills, casts, transposes, permutations, row gathers.
//!
//! Elementwise kernels stride over the data with the whole grid, so that any grid is correct; they move 128 bits at a
//! time where pointers are aligned and treat the rest one by one. Element counts are below 2^32.
//!
//! Indices read from memory (`gather_rows`, `minibatch`) are clamped, so that no value in an index tensor leads outside a
//! buffer; that they are in range is checked on the host where they enter.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use crate::vector::{is_aligned4, load_quad, store_quad};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Threads of a block of the elementwise kernels.
pub const BLOCK: u32 = 256;
/// Elements a thread moves at once where it can.
pub const VECTOR: u32 = 4;
/// Edge of a tile of [`transpose_2d()`].
pub const TRANSPOSE_TILE: u32 = 32;
/// Rows of threads of a block of [`transpose_2d()`] (blocks are `TRANSPOSE_TILE x TRANSPOSE_ROWS`).
pub const TRANSPOSE_ROWS: u32 = 8;
/// Highest rank of [`permute_f32()`].
pub const MAX_RANK: usize = 6;

/// This thread's first element and the step to its next one, in a grid-stride loop.
#[inline(always)]
fn stride() -> (usize, usize) {
    let step = thread::grid_dim_x() as usize * thread::block_dim_x() as usize;
    (thread::block_idx_x() as usize * thread::block_dim_x() as usize + thread::thread_idx_x() as usize, step)
}

/// `y[i] <- x[i]`, for `i < n`.
///
/// # Safety
/// - `x` and `y` have `n` elements and do not overlap.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn copy_f32(n: u32, x: *const f32, y: *mut f32) {
    let (start, step) = stride();
    let vectors = if is_aligned4(x) && is_aligned4(y) { n as usize / 4 } else { 0 };
    let mut i = start;
    while i < vectors {
        store_quad(y.add(4 * i), load_quad(x.add(4 * i)));
        i += step;
    }
    let mut i = vectors * 4 + start;
    while i < n as usize {
        *y.add(i) = *x.add(i);
        i += step;
    }
}

/// Sets `n` elements to the bits `value`.
#[inline(always)]
unsafe fn fill(n: u32, value: u32, y: *mut u32) {
    let (start, step) = stride();
    let x = f32::from_bits(value);
    let vectors = if is_aligned4(y as *const f32) { n as usize / 4 } else { 0 };
    let mut i = start;
    while i < vectors {
        store_quad(y.cast::<f32>().add(4 * i), [x; 4].into());
        i += step;
    }
    let mut i = vectors * 4 + start;
    while i < n as usize {
        *y.add(i) = value;
        i += step;
    }
}

/// `y[i] <- value`, for `i < n`.
///
/// # Safety
/// - `y` has `n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn fill_f32(n: u32, value: f32, y: *mut f32) {
    fill(n, value.to_bits(), y as *mut u32);
}

/// `y[i] <- value`, for `i < n`.
///
/// # Safety
/// - `y` has `n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn fill_u32(n: u32, value: u32, y: *mut u32) {
    fill(n, value, y);
}

/// Single to half precision, nearest even; NaN stays NaN (sign and upper payload kept, made quiet).
#[inline(always)]
fn to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        sign | 0x7e00 | ((magnitude >> 13) & 0x3ff) as u16
    } else if magnitude >= 0x4780_0000 {
        // 65536 and above, infinity included; what rounds up to it carries into infinity below.
        sign | 0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: rebase the exponent, round the 13 bits that go; a carry moves into the exponent as it should.
        let rebased = magnitude - (112 << 23);
        sign | ((rebased + 0xfff + ((rebased >> 13) & 1)) >> 13) as u16
    } else {
        // Subnormal: adding 0.5 puts the unit in the last place at 2^-24, and the addition rounds to nearest even.
        let rounded = f32::from_bits(magnitude) + 0.5;
        sign | (rounded.to_bits() - 0x3f00_0000) as u16
    }
}

/// Half to single precision, exactly; NaN stays NaN (made quiet).
#[inline(always)]
fn from_f16(h: u16) -> f32 {
    let sign = (h as u32 & 0x8000) << 16;
    let magnitude = h as u32 & 0x7fff;
    let bits = if magnitude > 0x7c00 {
        0x7fc0_0000 | (magnitude << 13)
    } else if magnitude == 0x7c00 {
        0x7f80_0000
    } else if magnitude >= 0x0400 {
        (magnitude << 13) + (112 << 23)
    } else {
        // Subnormal: an integer times 2^-24, which is exact.
        (magnitude as f32 * f32::from_bits(0x3380_0000)).to_bits()
    };
    f32::from_bits(sign | bits)
}

/// Single precision to bfloat16, nearest even; NaN stays NaN (made quiet).
#[inline(always)]
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        ((bits >> 16) | 0x40) as u16
    } else {
        ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
    }
}

/// bfloat16 to single precision, exactly; NaN stays NaN (made quiet).
#[inline(always)]
fn from_bf16(h: u16) -> f32 {
    let quiet = if h & 0x7fff > 0x7f80 { 0x40 } else { 0 };
    f32::from_bits(((h | quiet) as u32) << 16)
}

macro_rules! casts {
    ($($(#[$doc:meta])* $name:ident: $from:ty => $to:ty = $f:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// - `x` and `y` have `n` elements and do not overlap.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
        pub unsafe fn $name(n: u32, x: *const $from, y: *mut $to) {
            let (mut i, step) = stride();
            while i < n as usize {
                *y.add(i) = $f(*x.add(i));
                i += step;
            }
        }
    )*};
}
casts! {
    /// `y[i] <- x[i]` from `f32` to the bits of `f16`: nearest even, overflow to infinity, NaN kept.
    cast_f32_f16: f32 => u16 = to_f16;
    /// `y[i] <- x[i]` from the bits of `f16` to `f32`: exact.
    cast_f16_f32: u16 => f32 = from_f16;
    /// `y[i] <- x[i]` from `f32` to the bits of `bf16`: nearest even, overflow to infinity, NaN kept.
    cast_f32_bf16: f32 => u16 = to_bf16;
    /// `y[i] <- x[i]` from the bits of `bf16` to `f32`: exact.
    cast_bf16_f32: u16 => f32 = from_bf16;
}

/// `y[b, j, i] <- x[b, i, j]`: transposes each of `batch` matrices of `rows x cols`.
///
/// A block moves 32 x 32 tiles through shared memory (rows of 33, so that a column touches every bank once): both sides
/// read and write whole rows. Grid: x, any number of blocks (they stride over the tiles). Block: 32 x 8.
///
/// # Safety
/// - `x` and `y` have `batch * rows * cols` elements and do not overlap.
/// - Blocks are `TRANSPOSE_TILE x TRANSPOSE_ROWS` threads.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(TRANSPOSE_TILE * TRANSPOSE_ROWS))]
pub unsafe fn transpose_2d(batch: u32, rows: u32, cols: u32, x: *const f32, y: *mut f32) {
    const LD: u32 = TRANSPOSE_TILE + 1;
    let tile = shared_array![f32; (TRANSPOSE_TILE * LD) as usize];
    let (tx, ty) = (thread::thread_idx_x(), thread::thread_idx_y());
    let (tiles_r, tiles_c) = (rows.div_ceil(TRANSPOSE_TILE).max(1), cols.div_ceil(TRANSPOSE_TILE).max(1));
    let tiles = tiles_r as usize * tiles_c as usize * batch as usize;
    let mut t = thread::block_idx_x() as usize;
    while t < tiles {
        let (rest, c0) = (t as u32 / tiles_c, t as u32 % tiles_c * TRANSPOSE_TILE);
        let (b, r0) = (rest / tiles_r, rest % tiles_r * TRANSPOSE_TILE);
        let base = b as usize * rows as usize * cols as usize;
        let mut i = ty;
        while i < TRANSPOSE_TILE {
            let (r, c) = (r0 + i, c0 + tx);
            if r < rows && c < cols {
                *tile.add((i * LD + tx) as usize) = *x.add(base + r as usize * cols as usize + c as usize);
            }
            i += TRANSPOSE_ROWS;
        }
        thread::sync_threads();
        let mut i = ty;
        while i < TRANSPOSE_TILE {
            let (r, c) = (r0 + tx, c0 + i);
            if r < rows && c < cols {
                *y.add(base + c as usize * rows as usize + r as usize) = *tile.add((tx * LD + i) as usize);
            }
            i += TRANSPOSE_ROWS;
        }
        thread::sync_threads();
        t += thread::grid_dim_x() as usize;
    }
}

/// `y[i0, .., i5] <- x[sum of i_a * s_a]`: a permutation of the axes of a tensor of rank at most 6, as a gather.
///
/// `d1..d5` are the extents of the output's axes but the first; `s0..s5` the strides, in `x`, of the output's axes.
/// Lower ranks are padded in front with extent 1 and stride 0.
///
/// # Safety
/// - `y` has `n` elements; `x` has the elements that the strides lead to; they do not overlap.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn permute_f32(
    n: u32,
    d1: u32,
    d2: u32,
    d3: u32,
    d4: u32,
    d5: u32,
    s0: u32,
    s1: u32,
    s2: u32,
    s3: u32,
    s4: u32,
    s5: u32,
    x: *const f32,
    y: *mut f32,
) {
    let (d1, d2, d3, d4, d5) = (d1.max(1), d2.max(1), d3.max(1), d4.max(1), d5.max(1));
    let (mut i, step) = stride();
    while i < n as usize {
        // Indices from the innermost axis outwards.
        let r = i as u32;
        let (r, i5) = (r / d5, r % d5);
        let (r, i4) = (r / d4, r % d4);
        let (r, i3) = (r / d3, r % d3);
        let (r, i2) = (r / d2, r % d2);
        let (i0, i1) = (r / d1, r % d1);
        *y.add(i) = *x.add((i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3 + i4 * s4 + i5 * s5) as usize);
        i += step;
    }
}

/// `y[i, :] <- x[min(idx[i], rows - 1), :]`, for `i < b`, rows of `d` floats.
///
/// # Safety
/// - `x` is `rows x d`, `idx` has `b` elements, `y` is `b x d`; `y` overlaps neither; `rows` and `d` are at least 1.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn gather_rows(rows: u32, d: u32, b: u32, x: *const f32, idx: *const u32, y: *mut f32) {
    let last = rows.wrapping_sub(1);
    let (mut i, step) = stride();
    if d.is_multiple_of(4) && is_aligned4(x) && is_aligned4(y) {
        let d = (d / 4).max(1);
        while i < b as usize * d as usize {
            let (row, col) = (i as u32 / d, i as u32 % d);
            let from = (*idx.add(row as usize)).min(last) as usize;
            store_quad(y.add(4 * i), load_quad(x.add(4 * (from * d as usize + col as usize))));
            i += step;
        }
    } else {
        let d = d.max(1);
        while i < b as usize * d as usize {
            let (row, col) = (i as u32 / d, i as u32 % d);
            let from = (*idx.add(row as usize)).min(last) as usize;
            *y.add(i) = *x.add(from * d as usize + col as usize);
            i += step;
        }
    }
}

/// `xs[i, :] <- x[r_i, :]` and `ys[i, :] <- y[r_i, :]`, where `r_i = min(perm[(step[2] + i) mod n], n - 1)`, for `i < b`: the
/// minibatch of a step out of an epoch's permutation. Rows of x and y have `dx` and `dy` words of 32 bits.
///
/// # Safety
/// - `x` is `n x dx`, `y` `n x dy`, `perm` has `n` elements, `step` 4, `xs` is `b x dx`, `ys` `b x dy`; the outputs overlap
///   nothing else; `n`, `dx` and `dy` are at least 1.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn minibatch(
    n: u32,
    b: u32,
    dx: u32,
    dy: u32,
    x: *const f32,
    y: *const u32,
    perm: *const u32,
    step: *const u32,
    xs: *mut f32,
    ys: *mut u32,
) {
    let n = n.max(1);
    let offset = *step.add(2) % n;
    let row_of = |i: u32| {
        // offset + i may not fit 32 bits.
        let (i, left) = (i % n, n - offset);
        let at = if i < left { offset + i } else { i - left };
        (*perm.add(at as usize)).min(n - 1) as usize
    };
    let quads = dx.is_multiple_of(4) && is_aligned4(x) && is_aligned4(xs);
    let (wide, high) = (if quads { dx / 4 } else { dx }.max(1), dy.max(1));
    let all = b as usize * wide as usize;
    let (mut i, stride) = stride();
    while i < all + b as usize * high as usize {
        if i < all {
            let (row, col) = (i as u32 / wide, i as u32 % wide);
            let from = row_of(row) * wide as usize + col as usize;
            if quads {
                store_quad(xs.add(4 * i), load_quad(x.add(4 * from)));
            } else {
                *xs.add(i) = *x.add(from);
            }
        } else {
            let i = i - all;
            let (row, col) = (i as u32 / high, i as u32 % high);
            *ys.add(i) = *y.add(row_of(row) * high as usize + col as usize);
        }
        i += stride;
    }
}

/// `y <- (0.., x, 0..)`: `x`, of `n` elements, placed at `start` in a tensor of `total` elements, zero elsewhere.
///
/// # Safety
/// - `x` has `n` elements, `y` has `total >= start + n`; they do not overlap.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn pad_f32(start: u32, n: u32, total: u32, x: *const f32, y: *mut f32) {
    let (mut i, step) = stride();
    while i < total as usize {
        let from = i.wrapping_sub(start as usize);
        *y.add(i) = if from < n as usize { *x.add(from) } else { 0.0 };
        i += step;
    }
}
