//! A matrix by a vector: products of which M or N is 1. Bound by memory, so every byte of the matrix is read once, 16 at a
//! time where it is aligned.
//!
//! ```text
//! y[z] <- epilogue(W[z] x[z])        see [`super::epilogue`]
//! ```
//!
//! W has an output a row and K columns. With N = 1 it is op(A), x is op(B) and y a column of C; with M = 1 it is op(B)
//! transposed, x is op(A) and y a row. There is a kernel for each way that W may lie in memory:
//!
//! * [`gemv_rows()`], K contiguous: a group of lanes takes [`ROWS`] outputs, neighbours read neighbouring elements of K, and
//!   a butterfly adds the lanes' sums. The group is part of a warp, or the block where outputs are few and K is long.
//! * [`gemv_columns()`], outputs contiguous: a lane owns as many outputs as 16 bytes hold, groups of lanes take rows of K
//!   in turn, and a tree in shared memory adds the groups' sums.
//!
//! Either way x comes first to shared memory, [`CHUNK`] elements at a time, as factors in f32: whatever its type and
//! spacing, the inner loops know one. Products and sums are f32's. What is not whole and aligned 16 bytes (the end of a row, a
//! matrix whose rows begin anywhere) is read element by element, neighbours by neighbours.
//!
//! # Factors
//!
//! A factor's kind says what memory holds and what it is rounded to: f32 as it is or rounded to tf32, bf16 or f16, and f16 or
//! bf16 as they are, for they are exact in f32. The kind of W is a constant of the inner loops.
//!
//! # Split K
//!
//! As in [`super::tensor`]: blocks along z take `k_split` elements each, and `super::split::gemm_reduce` adds their
//! sums in order. Every sum has a fixed order, so results are the same from run to run.
//!
//! The simulator has executed these kernels; no GPU has.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::element::{self, load1};
use super::epilogue::Epilogue;
use super::inline::Inline;
use super::split::PART;
use crate::math::fma;
use crate::ptx::{
    bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, f32_to_tf32, ld_shared_f32, ld_shared_f32x4,
    shared_address, shfl_xor_f32, st_shared_f32, st_shared_f32x4,
};
use crate::vector::{load_quad, map4, switch, zip4, F32x4};
use cuda_std::prelude::*;
use cuda_std::shared_array;

pub use crate::collective::{BLOCK, LOG2_BLOCK};

/// f32 as it is.
pub const F32: u32 = 0;
/// f32 rounded to tf32.
pub const F32_AS_TF32: u32 = 1;
/// f32 rounded to bf16.
pub const F32_AS_BF16: u32 = 2;
/// f32 rounded to f16.
pub const F32_AS_F16: u32 = 3;
/// f16.
pub const F16: u32 = 4;
/// bf16.
pub const BF16: u32 = 5;

/// The type in memory of a factor of this kind.
const fn stored(kind: u32) -> u32 {
    match kind {
        F16 => element::F16,
        BF16 => element::BF16,
        _ => element::F32,
    }
}

/// Elements of this kind in 16 bytes.
pub const fn width(kind: u32) -> u32 {
    16 / element::bytes(stored(kind)) as u32
}

/// What a launch multiplies: the kinds of matrix and vector, the log2 of the threads along K or the outputs, and whether the
/// outputs are a column of C (N = 1), not a row.
pub const fn form(matrix: u32, vector: u32, log2: u32, column: bool) -> u32 {
    matrix | vector << 8 | log2 << 16 | (column as u32) << 24
}

/// Outputs that a group of lanes of [`gemv_rows()`] sums at a time: as many loads are under way, and x is read once for all.
pub const ROWS: u32 = 4;
/// Elements of x that a block keeps at a time.
pub const CHUNK: u32 = 2048;
/// Floats by which the second half of a chunk is moved, so that stores to both halves meet all banks.
const GAP: u32 = 16;
/// Floats of shared memory: a chunk, or a block's sums.
const SHARED: u32 = CHUNK + GAP;
const _: () = assert!(BLOCK * 8 <= CHUNK && BLOCK * ROWS <= CHUNK);

/// The factor that a value in memory stands for.
#[inline(always)]
fn rounded(kind: u32, x: f32) -> f32 {
    match kind {
        F32_AS_TF32 => f32::from_bits(f32_to_tf32(x)),
        F32_AS_BF16 => bf16_to_f32(f32_to_bf16(x)),
        F32_AS_F16 => f16_to_f32(f32_to_f16(x)),
        _ => x,
    }
}

/// Factor `i` of `p`.
#[inline(always)]
unsafe fn factor(kind: u32, p: *const u8, i: usize) -> f32 {
    rounded(kind, load1(stored(kind), p, i))
}

/// The factors in 16 bytes: four, or eight of 16 bits.
#[inline(always)]
fn factors<const KIND: u32>(v: F32x4) -> [F32x4; 2] {
    if width(KIND) == 4 {
        return [map4!(v, |x| rounded(KIND, x)), F32x4::from([0.0; 4])];
    }
    let low = |x: f32| half::<KIND>(x.to_bits() as u16);
    let high = |x: f32| half::<KIND>((x.to_bits() >> 16) as u16);
    [
        F32x4 { a: low(v.a), b: high(v.a), c: low(v.b), d: high(v.b) },
        F32x4 { a: low(v.c), b: high(v.c), c: low(v.d), d: high(v.d) },
    ]
}

/// A 16-bit factor.
#[inline(always)]
fn half<const KIND: u32>(bits: u16) -> f32 {
    if KIND == F16 {
        f16_to_f32(bits)
    } else {
        bf16_to_f32(bits)
    }
}

/// Where element `i` of a chunk is, in floats. Lanes that read eight elements each, four at a time, find their fours next to
/// each other: a chunk of 16-bit factors' partners is kept in two halves.
#[inline(always)]
fn place(width: u32, i: u32) -> u32 {
    if width == 4 {
        i
    } else {
        i / 8 * 4 + i % 4 + (i / 4 % 2) * (CHUNK / 2 + GAP)
    }
}

/// A matrix and a vector of a batch.
#[derive(Clone, Copy)]
struct Operands {
    matrix: *const u8,
    /// Elements from one stored row of the matrix to the next.
    ld: usize,
    vector: *const u8,
    vector_kind: u32,
    /// Elements of memory from one of the vector to the next.
    step: usize,
    /// Rows of W.
    outputs: u32,
    /// Whether stored rows of the matrix begin at multiples of 16 bytes.
    aligned: bool,
}

impl Operands {
    /// Puts elements `k .. k + count` of the vector into shared memory at `to`, for inner loops of this [`width`].
    #[inline(always)]
    unsafe fn stage(&self, width: u32, k: u32, count: u32, to: u32) {
        let mut i = thread::thread_idx_x();
        while i < count {
            let x = factor(self.vector_kind, self.vector, (k + i) as usize * self.step);
            st_shared_f32(to + 4 * place(width, i), x);
            i += BLOCK;
        }
    }
}

/// Adds to the sums of `rows` outputs the products of `U` times 16 bytes of each, `lanes` apart, of which `at` is the first;
/// `from` is the first output's row and `pitch` the bytes to the next.
#[inline(always)]
unsafe fn dot<const KIND: u32, const U: usize>(
    from: *const u8,
    pitch: usize,
    rows: u32,
    x: u32,
    at: u32,
    lanes: u32,
    sums: &mut [f32; ROWS as usize],
) {
    let mut raw = [[F32x4::from([0.0; 4]); ROWS as usize]; U];
    let mut u = 0;
    while u < U {
        let from = from.add(16 * (at as usize + u * lanes as usize));
        let mut j = 0;
        while j < ROWS {
            if j < rows {
                raw[u][j as usize] = load_quad(from.add(j as usize * pitch).cast());
            }
            j += 1;
        }
        u += 1;
    }
    let mut u = 0;
    while u < U {
        let x = x + 16 * (at + u as u32 * lanes);
        let first: F32x4 = ld_shared_f32x4(x).into();
        let mut second = first;
        if width(KIND) == 8 {
            second = ld_shared_f32x4(x + 4 * (CHUNK / 2 + GAP)).into();
        }
        let mut j = 0;
        while j < ROWS as usize {
            let [v, w] = factors::<KIND>(raw[u][j]);
            let s = fma(v.d, first.d, fma(v.c, first.c, fma(v.b, first.b, fma(v.a, first.a, sums[j]))));
            sums[j] = s;
            if width(KIND) == 8 {
                sums[j] = fma(w.d, second.d, fma(w.c, second.c, fma(w.b, second.b, fma(w.a, second.a, s))));
            }
            j += 1;
        }
        u += 1;
    }
}

/// Leaves the sums over elements `k0 .. k1` of outputs `first ..`, `ROWS` for each group of `1 << log2` threads, in shared
/// memory at `at` in their order.
#[inline(always)]
unsafe fn rows<const KIND: u32>(x: &Operands, first: u32, k0: u32, k1: u32, log2: u32, at: u32) {
    let bytes = element::bytes(stored(KIND));
    let (t, lanes) = (thread::thread_idx_x(), 1 << log2);
    let (group, lane) = (t >> log2, t & (lanes - 1));
    let row = first + group * ROWS;
    let mine = x.outputs.saturating_sub(row).min(ROWS);
    let pitch = x.ld * bytes;
    let mut from = x.matrix.wrapping_add(row as usize * pitch + k0 as usize * bytes);
    let mut sums = [0.0f32; ROWS as usize];
    let mut k = k0;
    while k < k1 {
        let count = (k1 - k).min(CHUNK);
        x.stage(width(KIND), k, count, at);
        thread::sync_threads();
        let whole = if x.aligned { count / width(KIND) } else { 0 };
        let mut i = lane;
        while i + lanes < whole {
            dot::<KIND, 2>(from, pitch, mine, at, i, lanes, &mut sums);
            i += 2 * lanes;
        }
        if i < whole {
            dot::<KIND, 1>(from, pitch, mine, at, i, lanes, &mut sums);
        }
        let mut i = whole * width(KIND) + lane;
        while i < count {
            let v = ld_shared_f32(at + 4 * place(width(KIND), i));
            let mut j = 0;
            while j < ROWS {
                if j < mine {
                    let w = factor(KIND, from.add(j as usize * pitch), i as usize);
                    sums[j as usize] = fma(w, v, sums[j as usize]);
                }
                j += 1;
            }
            i += lanes;
        }
        thread::sync_threads();
        k += count;
        from = from.wrapping_add(CHUNK as usize * bytes);
    }
    // The lanes of a group, by a butterfly; a smaller group ignores what comes from outside.
    let mut sums = F32x4::from(sums);
    let mut step = 1;
    while step < 32 {
        let other = map4!(sums, |x| shfl_xor_f32(x, step));
        if step < lanes {
            sums = zip4!(sums, other, |x, y| x + y);
        }
        step *= 2;
    }
    let within = log2.min(5);
    if t & ((1 << within) - 1) == 0 {
        st_shared_f32x4(at + 16 * (t >> within), sums.into());
    }
    // The warps of a block that is one group.
    if log2 == LOG2_BLOCK {
        thread::sync_threads();
        if t == 0 {
            let mut warp = 1;
            while warp < BLOCK / 32 {
                sums = zip4!(sums, ld_shared_f32x4(at + 16 * warp).into(), |x, y| x + y);
                warp += 1;
            }
            st_shared_f32x4(at, sums.into());
        }
    }
}

/// Leaves the sums over elements `k0 .. k1` of the [`width`]` << log2` outputs `first ..` in shared memory at `at` in their order.
#[inline(always)]
unsafe fn columns<const KIND: u32>(x: &Operands, first: u32, k0: u32, k1: u32, log2: u32, at: u32) {
    let bytes = element::bytes(stored(KIND));
    let (t, lanes) = (thread::thread_idx_x(), 1 << log2);
    let (group, lane, groups) = (t >> log2, t & (lanes - 1), BLOCK >> log2);
    let outputs = width(KIND) << log2;
    // The same for the whole block. Else a lane's outputs are `lanes` apart: neighbours read neighbours.
    let whole = x.aligned && first + outputs <= x.outputs;
    let mut sums = [F32x4::from([0.0; 4]); 2];
    let mut k = k0;
    while k < k1 {
        let count = (k1 - k).min(CHUNK);
        x.stage(4, k, count, at);
        thread::sync_threads();
        let mut i = group;
        if whole {
            let pitch = groups as usize * x.ld * bytes;
            let along = first as usize * bytes + 16 * lane as usize;
            let mut from = x.matrix.wrapping_add((k + group) as usize * x.ld * bytes + along);
            while i + 3 * groups < count {
                quads::<KIND, 4>(from, pitch, at + 4 * i, 4 * groups, &mut sums);
                from = from.wrapping_add(4 * pitch);
                i += 4 * groups;
            }
            while i < count {
                quads::<KIND, 1>(from, pitch, at + 4 * i, 4 * groups, &mut sums);
                from = from.wrapping_add(pitch);
                i += groups;
            }
        } else {
            while i < count {
                let v = ld_shared_f32(at + 4 * i);
                let one = |e: u32| {
                    let output = first + e * lanes + lane;
                    if output >= x.outputs {
                        return 0.0;
                    }
                    factor(KIND, x.matrix, (k + i) as usize * x.ld + output as usize)
                };
                let w = F32x4 { a: one(0), b: one(1), c: one(2), d: one(3) };
                sums[0] = zip4!(w, sums[0], |w, s| fma(w, v, s));
                if width(KIND) == 8 {
                    let w = F32x4 { a: one(4), b: one(5), c: one(6), d: one(7) };
                    sums[1] = zip4!(w, sums[1], |w, s| fma(w, v, s));
                }
                i += groups;
            }
        }
        thread::sync_threads();
        k += count;
    }

    let mine = at + 4 * group * outputs;
    if !whole {
        let put = |e: u32, x: f32| st_shared_f32(mine + 4 * (e * lanes + lane), x);
        put(0, sums[0].a);
        put(1, sums[0].b);
        put(2, sums[0].c);
        put(3, sums[0].d);
        if width(KIND) == 8 {
            put(4, sums[1].a);
            put(5, sums[1].b);
            put(6, sums[1].c);
            put(7, sums[1].d);
        }
    } else if width(KIND) == 4 {
        st_shared_f32x4(mine + 16 * lane, sums[0].into());
    } else {
        // Fours of lanes take turns with the halves: together they meet all banks.
        let turn = lane / 4 % 2;
        let (now, then) = if turn == 0 { (sums[0], sums[1]) } else { (sums[1], sums[0]) };
        st_shared_f32x4(mine + 32 * lane + 16 * turn, now.into());
        st_shared_f32x4(mine + 32 * lane + 16 * (1 - turn), then.into());
    }
    let mut half = groups / 2;
    while half > 0 {
        thread::sync_threads();
        let mut i = t;
        while i < half * outputs / 4 {
            let (to, from) = (at + 16 * i, at + 16 * i + 4 * half * outputs);
            let sum = zip4!(ld_shared_f32x4(to).into(), ld_shared_f32x4(from).into(), |x, y| x + y);
            st_shared_f32x4(to, sum.into());
            i += BLOCK;
        }
        half /= 2;
    }
}

/// Adds the products of 16 bytes of `U` rows of K, `pitch` bytes apart, with elements of x, `step` bytes of shared memory
/// apart.
#[inline(always)]
unsafe fn quads<const KIND: u32, const U: usize>(
    from: *const u8,
    pitch: usize,
    x: u32,
    step: u32,
    sums: &mut [F32x4; 2],
) {
    let mut raw = [F32x4::from([0.0; 4]); U];
    let mut u = 0;
    while u < U {
        raw[u] = load_quad(from.add(u * pitch).cast());
        u += 1;
    }
    let mut u = 0;
    while u < U {
        let v = ld_shared_f32(x + u as u32 * step);
        let [first, second] = factors::<KIND>(raw[u]);
        sums[0] = zip4!(first, sums[0], |w, s| fma(w, v, s));
        if width(KIND) == 8 {
            sums[1] = zip4!(second, sums[1], |w, s| fma(w, v, s));
        }
        u += 1;
    }
}

/// Finishes outputs `first .. first + count`, whose sums are in shared memory: those of a column one by one, of a row four
/// at a time.
#[inline(always)]
unsafe fn finish(out: &Epilogue, first: u32, count: u32, sums: u32) {
    let column = out.n == 1;
    let each = if column { 1 } else { 4 };
    let mut i = thread::thread_idx_x() * each;
    while i < count {
        let (row, col) = if column { (first + i, 0) } else { (0, first + i) };
        let mut sum = F32x4::from([0.0; 4]);
        if column {
            sum.a = ld_shared_f32(sums + 4 * i);
        } else {
            sum = ld_shared_f32x4(sums + 4 * i).into();
        }
        let _ = out.store::<Inline>(row, col, sum);
        i += BLOCK * each;
    }
}

/// The two kernels: `$sums` with so many outputs a block.
macro_rules! kernel {
    ($name:ident, $sums:ident, |$kind:ident, $log2:ident| $outputs:expr, $what:literal, $lanes:literal) => {
        #[doc = concat!("`y <- epilogue(W x)`, ", $what, " contiguous; see the module.")]
        ///
        /// Grid: x = outputs, y = batches (any number: blocks stride over them), z = parts of K, of `k_split` each. Block:
        /// [`BLOCK`] threads. Strides are in elements from one batch to the next; `step` elements of the vector's memory from
        /// one to the next. Part z of batch b writes matrix `z batch + b` of C.
        ///
        #[doc = concat!("`form` is of [`form()`], with the threads ", $lanes)]
        ///
        /// # Safety
        /// - `outputs`, `k` and `batch` are at least 1 and below 2^31; `k_split` is a multiple of 8 or at least `k`, and the last
        ///   part has an element.
        /// - Each batch of the matrix, the vector, `c` and `extra` covers its extents at its leading dimension and stride;
        ///   `c` overlaps no other, nor its batches each other.
        /// - `bias` is null or has an element for each column of C; `kind` is of
        ///   [`super::epilogue::kind`], without sums of C.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, 2))]
        pub unsafe fn $name(
            form: u32,
            outputs: u32,
            k: u32,
            batch: u32,
            k_split: u32,
            matrix: *const u8,
            ld: u32,
            stride: u64,
            vector: *const u8,
            step: u32,
            stride_vector: u64,
            alpha: f32,
            beta: f32,
            c: *mut u8,
            ldc: u32,
            stride_c: u64,
            bias: *const f32,
            extra: *const u8,
            ld_extra: u32,
            stride_extra: u64,
            sums: *mut f32,
            activation: u32,
            parameter: f32,
            kind: u32,
        ) {
            let shared = shared_address(shared_array![f32; SHARED as usize]);
            let bytes = |kind: u32| element::bytes(stored(kind));
            let (matrix_kind, vector_kind, log2) = (form & 0xff, form >> 8 & 0xff, form >> 16 & 0xff);
            let (m, n) = if form >> 24 != 0 { (outputs, 1) } else { (1, outputs) };
            let per_block = {
                let ($kind, $log2) = (matrix_kind, log2);
                $outputs
            };
            let first = thread::block_idx_x() * per_block;
            let k0 = thread::block_idx_z() * k_split;
            let k1 = k0.saturating_add(k_split).min(k);
            let out =
                Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
            let mut z = thread::block_idx_y();
            while z < batch {
                let matrix = matrix.add(z as usize * stride as usize * bytes(matrix_kind));
                let pitch = ld as usize * bytes(matrix_kind);
                let x = Operands {
                    matrix,
                    ld: ld as usize,
                    vector: vector.add(z as usize * stride_vector as usize * bytes(vector_kind)),
                    vector_kind,
                    step: step as usize,
                    outputs,
                    aligned: (matrix as usize | pitch).is_multiple_of(16),
                };
                switch!(matrix_kind, KIND in [F32 F32_AS_TF32 F32_AS_BF16 F32_AS_F16 F16; BF16] => {
                    $sums::<KIND>(&x, first, k0, k1, log2, shared)
                });
                thread::sync_threads();
                let part = thread::block_idx_z() as usize * batch as usize + z as usize;
                finish(&out.of_batch(part, stride_c, stride_extra, PART), first, per_block, shared);
                thread::sync_threads();
                z += thread::grid_dim_y();
            }
        }
    };
}

kernel!(
    gemv_rows,
    rows,
    |_kind, log2| ROWS * (BLOCK >> log2),
    "K",
    "of an output; at most 5, or 8 for the block."
);
kernel!(gemv_columns, columns, |kind, log2| width(kind) << log2, "outputs", "along the outputs; at most 8.");
