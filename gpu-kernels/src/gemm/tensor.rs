//! Matrix products on the tensor cores of every GPU since Ampere: `mma.sync` fed by `cp.async` and `ldmatrix`.
//!
//! ```text
//! C[z] <- epilogue(op(A[z]) op(B[z]))        see [`super::epilogue`]
//! ```
//!
//! op(A) is M x K, op(B) is K x N; each lies in memory with K contiguous ("K-major") or with its rows contiguous. 16-bit
//! factors may lie either way, 32-bit ones are K-major. Addresses, rows and batches of A and B are multiples of 16 bytes:
//! the host packs what is not (`super::pack`).
//!
//! # The tile
//!
//! A block computes `BM x BN` of C, each warp a part of it in registers. It walks K in steps of 64 bytes of a factor: 32
//! elements of 16 bits, 16 of 32. [`STAGES`] panels of both operands are under way: while one is multiplied the next
//! arrive by `cp.async`, 16 bytes a thread and copy, zeros where the matrix ends. One barrier a step.
//!
//! # Shared memory
//!
//! A K-major panel has rows of 64 bytes, the other kind 32 rows (k) of all its columns. The 16-byte chunks of a row are
//! permuted by XOR with bits of the row's number (`chunk_of_row`, `chunk_of_k`), so that both the copies, which go along
//! rows, and `ldmatrix`, which reads 8 rows at one chunk, touch all 32 banks once. The second form is read by
//! `ldmatrix.trans`.
//!
//! # The epilogue
//!
//! Sums go through shared memory (swizzled alike), so that a warp stores whole rows: [`Epilogue::store`].
//!
//! # f32 accuracy
//!
//! `Tf32x3` writes a factor as two tf32 and adds three products, `Bf16x6` as three bf16 and adds six; both hand their
//! partial sums from the tensor cores, whose adder cuts off, to f32 registers after every 16 elements of K. An infinite
//! factor, or one so large that it rounds to infinity, gives NaN.
//!
//! # Split K
//!
//! Blocks along z take `k_split` elements of K each; then C is a workspace of as many partial products, and
//! `super::split::gemm_reduce` adds them in their order.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::arithmetic::{Arithmetic, Bf16, Bf16x6, Sums, Tf32, Tf32x3, F16};
use super::epilogue::{Calls, Epilogue};
use super::sums::Gather;
use crate::ptx::{
    cp_async_16, cp_async_commit, cp_async_wait, late, ld_shared_f32x4, ldmatrix_x4, ldmatrix_x4_trans,
    shared_address, st_shared_f32x2,
};
use crate::vector::F32x4;
use cuda_std::prelude::*;
use cuda_std::shared::dynamic_shared_mem;

/// The sizes of a tile. Every warp has 32 columns of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of C a block computes.
    pub bm: u32,
    /// Columns of C a block computes.
    pub bn: u32,
    /// Rows a warp computes.
    pub wm: u32,
}

impl Tile {
    /// Threads of a block.
    pub const fn threads(self) -> u32 {
        32 * (self.bm / self.wm) * (self.bn / WN)
    }
    /// Bytes of dynamic shared memory: the stages, which the epilogue uses again.
    pub const fn shared(self) -> u32 {
        STAGES * (self.bm + self.bn) * DEPTH
    }
    /// Rows and columns of the parts whose sums (`super::sums`) a warp writes.
    pub const fn part(self) -> [u32; 2] {
        [self.wm, WN]
    }
}

/// For matrices that fill the GPU: 256 threads, 64 accumulators each.
pub const LARGE: Tile = Tile { bm: 128, bn: 128, wm: 64 };
/// For small matrices: 128 threads, 32 accumulators each.
pub const SMALL: Tile = Tile { bm: 64, bn: 64, wm: 32 };

/// Panels under way.
pub const STAGES: u32 = 4;
/// Bytes of K that a panel holds.
pub const DEPTH: u32 = 64;
/// Columns that a warp computes.
const WN: u32 = 32;
/// Its fragments of 8 columns.
const N8: usize = WN as usize / 8;
// A thread copies two chunks of each panel.
const _: () = assert!(LARGE.bm * 4 == 2 * LARGE.threads() && SMALL.bm * 4 == 2 * SMALL.threads());
// The epilogue's staging fits the stages.
const _: () = assert!(LARGE.bm * LARGE.bn * 4 <= LARGE.shared() && SMALL.bm * SMALL.bn * 4 <= SMALL.shared());

/// Bytes from the start of a K-major panel to chunk `chunk` (0 to 3) of row `row`.
#[inline(always)]
fn chunk_of_row(row: u32, chunk: u32) -> u32 {
    row * DEPTH + ((chunk ^ (row >> 1 & 3)) << 4)
}

/// Bytes from the start of the other kind of panel, with `ROWS` 16-bit columns, to chunk `chunk` of row `k`.
#[inline(always)]
fn chunk_of_k<const ROWS: u32>(k: u32, chunk: u32) -> u32 {
    k * ROWS * 2 + ((chunk ^ (k & 7)) << 4)
}

/// What one thread of `THREADS` copies of the panels of an operand, `ROWS` wide: two chunks of each.
#[derive(Clone, Copy)]
struct Copies<const KC: bool, const ROWS: u32, const THREADS: u32> {
    /// Where its first chunk of the next panel is.
    from: *const u8,
    /// From its first chunk to its second, in bytes of the matrix.
    apart: usize,
    /// From a panel to the next, in bytes of the matrix.
    step: usize,
    /// Where its chunks go, from the start of a panel.
    to: [u32; 2],
    /// K-major: the bytes of K from each chunk on, 0 outside the rows. Else: rows of K from that of each chunk on.
    left: [u32; 2],
    /// Bytes of its chunks that are in the rows, where not K-major.
    inside: u32,
}

impl<const KC: bool, const ROWS: u32, const THREADS: u32> Copies<KC, ROWS, THREADS> {
    /// The thread's copies from row `row0` on, for elements `k0 .. k1` of K, each of `bytes` bytes.
    #[inline(always)]
    unsafe fn new(x: Operand, bytes: u32, row0: u32, k0: u32, k1: u32) -> Self {
        let t = thread::thread_idx_x();
        let ld = x.ld as usize * bytes as usize;
        if KC {
            // Four neighbours copy the 64 bytes of a row.
            let (row, second, chunk) = (t / 4, t / 4 + THREADS / 4, t % 4);
            let along = k0 as usize * bytes as usize + chunk as usize * 16;
            let left = ((k1 - k0) * bytes).saturating_sub(chunk * 16);
            let of_row = |row: u32| if row0 + row < x.rows { left } else { 0 };
            Copies {
                from: x.data.wrapping_add((row0 + row) as usize * ld + along),
                apart: (THREADS / 4) as usize * ld,
                step: DEPTH as usize,
                to: [chunk_of_row(row, chunk), chunk_of_row(second, chunk)],
                left: [of_row(row), of_row(second)],
                inside: 16,
            }
        } else {
            let chunks = ROWS / 8;
            let (k, second, chunk) = (t / chunks, t / chunks + THREADS / chunks, t % chunks);
            let inside = (x.rows.saturating_sub(row0) * bytes).saturating_sub(chunk * 16);
            let along = row0 as usize * bytes as usize + chunk as usize * 16;
            Copies {
                from: x.data.wrapping_add((k0 + k) as usize * ld + along),
                apart: (THREADS / chunks) as usize * ld,
                step: (DEPTH / bytes) as usize * ld,
                to: [chunk_of_k::<ROWS>(k, chunk), chunk_of_k::<ROWS>(second, chunk)],
                left: [(k1 - k0).saturating_sub(k), (k1 - k0).saturating_sub(second)],
                inside: inside.min(16),
            }
        }
    }

    /// Starts copying the next panel to shared address `panel`; past the end of K it is zeros.
    #[inline(always)]
    unsafe fn next(&mut self, panel: u32) {
        let [first, second] = self.left;
        let (bytes, depth) = if KC {
            ([first.min(16), second.min(16)], DEPTH)
        } else {
            let of = |left: u32| if left > 0 { self.inside } else { 0 };
            ([of(first), of(second)], DEPTH / 2)
        };
        cp_async_16(panel + self.to[0], self.from, bytes[0]);
        cp_async_16(panel + self.to[1], self.from.wrapping_add(self.apart), bytes[1]);
        self.left = [first.saturating_sub(depth), second.saturating_sub(depth)];
        self.from = self.from.wrapping_add(self.step);
    }
}

/// Where a lane's rows of A's 16 x 16 (16 x 8) fragments are, from the start of a panel: fragment 0 of the warp's rows
/// `first ..`, step 0.
#[inline(always)]
fn rows_of_a<const KC: bool, const ROWS: u32>(first: u32) -> u32 {
    let lane = thread::thread_idx_x() % 32;
    if KC {
        chunk_of_row(first + lane % 16, lane / 16)
    } else {
        chunk_of_k::<ROWS>(lane % 8 + lane / 16 * 8, first / 8 + lane / 8 % 2)
    }
}

/// The same of B's, for two fragments of 8 columns at once.
#[inline(always)]
fn rows_of_b<const KC: bool, const ROWS: u32>(first: u32) -> u32 {
    let lane = thread::thread_idx_x() % 32;
    if KC {
        chunk_of_row(first + lane % 8 + lane / 16 * 8, lane / 8 % 2)
    } else {
        chunk_of_k::<ROWS>(lane % 8 + lane / 8 % 2 * 8, first / 8 + lane / 16)
    }
}

/// Fragment `i` of 16 rows, of half `step` of the panel's depth, for a lane whose rows begin at `at`. Stages and fragments
/// begin at multiples of 128 bytes, so that moving along a row is XOR with the chunk.
#[inline(always)]
unsafe fn fragment<const KC: bool, const ROWS: u32>(at: u32, i: u32, step: u32) -> [u32; 4] {
    if KC {
        ldmatrix_x4((at ^ (step << 5)) + i * 16 * DEPTH)
    } else {
        ldmatrix_x4_trans((at ^ (i << 5)) + step * 16 * ROWS * 2)
    }
}

/// An operand of a product.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub data: *const u8,
    /// Elements from one stored row to the next.
    pub ld: u32,
    /// M for A, N for B.
    pub rows: u32,
}

/// One tile of C, sums over elements `k0 .. k1` of K; `shared` is the address of [`Tile::shared`] bytes. The epilogue is asked
/// for when the sums are there: before, its addresses would take registers.
///
/// # Safety
/// - All threads of a block of `THREADS` arrive with the same arguments, after a barrier if they used `shared` before.
/// - Operands cover their matrices and are aligned as the module says; the epilogue is [`Epilogue::store`]'s.
#[inline(always)]
pub(super) unsafe fn tile<
    X: Arithmetic,
    const AKC: bool,
    const BKC: bool,
    const BM: u32,
    const BN: u32,
    const WM: u32,
    const MI: usize,
    const THREADS: u32,
>(
    a: Operand,
    b: Operand,
    out: impl FnOnce() -> Epilogue,
    row0: u32,
    col0: u32,
    k0: u32,
    k1: u32,
    shared: u32,
) {
    let warp = thread::thread_idx_x() / 32;
    let (warp_row, warp_col) = (warp / (BN / WN) * WM, warp % (BN / WN) * WN);
    // A stage is a panel of A, then one of B.
    let (of_b, stage) = (BM * DEPTH, (BM + BN) * DEPTH);
    let end = shared + STAGES * stage;

    let mut next_a = Copies::<AKC, BM, THREADS>::new(a, X::BYTES, row0, k0, k1);
    let mut next_b = Copies::<BKC, BN, THREADS>::new(b, X::BYTES, col0, k0, k1);
    let mut into = shared;
    while into < end - stage {
        next_a.next(into);
        next_b.next(into + of_b);
        cp_async_commit();
        into += stage;
    }

    let (rows, cols) = (rows_of_a::<AKC, BM>(warp_row), of_b + rows_of_b::<BKC, BN>(warp_col));
    let mut sums: Sums<MI, N8> = [[[0.0; 4]; N8]; MI];
    let mut from = shared;
    let mut panels = (k1 - k0).div_ceil(DEPTH / X::BYTES);
    while panels > 0 {
        cp_async_wait::<{ STAGES - 2 }>();
        // The oldest panel is there, and everyone is done with the one before it, which the next replaces.
        thread::sync_threads();
        next_a.next(into);
        next_b.next(into + of_b);
        cp_async_commit();
        into = if into + stage == end { shared } else { into + stage };
        let (a, b) = (from + rows, from + cols);
        X::panel(
            |i, step| fragment::<AKC, BM>(a, i, step),
            |j, step| fragment::<BKC, BN>(b, j, step),
            &mut sums,
        );
        from = if from + stage == end { shared } else { from + stage };
        panels -= 1;
    }
    cp_async_wait::<0>();
    thread::sync_threads();

    // Addresses of the epilogue are not to take registers of the main loop.
    let t = late(thread::thread_idx_x());
    let (lane, warp) = (t % 32, t / 32);
    let (first_row, first_col) = (row0 + warp / (BN / WN) * WM, col0 + warp % (BN / WN) * WN);
    // The warp's part of the tile: rows of 32 floats, their groups of 8 permuted by XOR with the row, so that the lanes of
    // a fragment, and those of a row, meet all banks.
    let part = shared + warp * (WM * WN * 4);
    let at = part + (lane / 4) * (WN * 4) + ((lane / 4 % 4) << 5) + lane % 4 * 8;
    let mut i = 0;
    while i < MI {
        let mut n = 0;
        while n < N8 {
            let s = &sums[i][n];
            let to = (at ^ ((n as u32) << 5)) + i as u32 * 16 * (WN * 4);
            st_shared_f32x2(to, [s[0], s[1]]);
            st_shared_f32x2(to + 8 * (WN * 4), [s[2], s[3]]);
            n += 1;
        }
        i += 1;
    }
    thread::sync_threads();
    let (row, quad) = (lane / 8, lane % 8);
    let mut at = part + row * (WN * 4) + (((quad / 2) ^ row) << 5) + quad % 2 * 16;
    let col = first_col + quad * 4;
    let out = &out();
    let mut gather = Gather::<8>::new();
    let mut step = 0;
    while step < WM / 4 {
        let sum: F32x4 = ld_shared_f32x4(at).into();
        gather.store::<Calls>(out, first_row + 4 * step + row, col, sum, step % 8);
        if step % 8 == 7 {
            gather.end_columns(out, first_col / WN, first_row + 4 * (step - 7), 8, first_col < out.n);
        }
        step += 1;
        at += 4 * (WN * 4);
    }
    gather.end_rows(out, first_row / WM, col, first_row < out.m);
}

/// Rows of tiles in a group: see [`place`].
pub(super) const GROUP: u32 = 8;

/// The row and column of tile `i` of `rows` by `columns`: groups of `GROUP` rows, column by column in each. Tiles that are
/// computed together share panels in the L2 cache.
#[inline(always)]
pub(super) fn place<const GROUP: u32>(i: u32, rows: u32, columns: u32) -> (u32, u32) {
    let group = (GROUP * columns).max(1);
    let first = i / group * GROUP;
    let high = (rows - first).clamp(1, GROUP);
    let i = i % group;
    (first + i % high, i / high)
}

/// The kernels of one arithmetic and tile.
macro_rules! kernels {
    ($x:ty, $tile:ident, $blocks:literal: $($name:ident $akc:literal $bkc:literal $what:literal;)*) => {$(
        #[doc = concat!("`C <- epilogue(", $what, ")` in `", stringify!($x), "` with the tile [`", stringify!($tile), "`].")]
        ///
        /// Grid: x = tiles of C, y = batches (any number: blocks stride over them), z = parts of K, of `k_split` each. Block:
        /// the tile's [`threads`](Tile::threads), with its [`shared`](Tile::shared) bytes. Strides are in elements from one
        /// batch to the next. Part z of batch b writes matrix `z batch + b` of C.
        ///
        /// # Safety
        /// - Each batch of `a`, `b`, `c`, `extra` covers its matrix at the given leading dimension and stride; `c` overlaps
        ///   no other, nor its batches each other.
        /// - `a` and `b`, their leading dimensions and strides are multiples of 16 bytes; K times an element's size is below
        ///   2^32.
        /// - `bias` is null or has `n` elements; `kind` is of [`super::epilogue::kind`]. Where it says so, `sums` has room for the
        ///   partial sums (`super::sums`) of parts of [`Tile::part`], and nothing is split.
        /// - `m`, `n`, `k`, `batch` are at least 1, and `m`, `n` below 2^31; `k_split` is a multiple of the panel's depth or
        ///   at least `k`, and the last part has an element.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds($tile.threads(), $blocks))]
        pub unsafe fn $name(
            m: u32, n: u32, k: u32, batch: u32, k_split: u32,
            a: *const u8, lda: u32, stride_a: u64,
            b: *const u8, ldb: u32, stride_b: u64,
            alpha: f32, beta: f32, c: *mut u8, ldc: u32, stride_c: u64,
            bias: *const f32, extra: *const u8, ld_extra: u32, stride_extra: u64,
            sums: *mut f32, activation: u32, parameter: f32, kind: u32,
        ) {
            const T: Tile = $tile;
            let shared = shared_address(dynamic_shared_mem::<u8>());
            let (tm, tn) = place::<GROUP>(thread::block_idx_x(), m.div_ceil(T.bm), n.div_ceil(T.bn));
            let k0 = thread::block_idx_z() * k_split;
            let k1 = k0.saturating_add(k_split).min(k);
            let out = Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
            let mut z = thread::block_idx_y();
            while z < batch {
                let bytes = <$x>::BYTES as usize;
                let a = Operand { data: a.add(z as usize * stride_a as usize * bytes), ld: lda, rows: m };
                let b = Operand { data: b.add(z as usize * stride_b as usize * bytes), ld: ldb, rows: n };
                let part = thread::block_idx_z() as usize * batch as usize + z as usize;
                tile::<$x, $akc, $bkc, { T.bm }, { T.bn }, { T.wm }, { T.wm as usize / 16 }, { T.threads() }>(
                    a, b, || out.of_batch(part, stride_c, stride_extra, T.part()), tm * T.bm, tn * T.bn, k0, k1, shared,
                );
                z += thread::grid_dim_y();
                thread::sync_threads();
            }
        }
    )*};
}

kernels! { Bf16, LARGE, 2:
    gemm_bf16_nn_128 true false "A B";
    gemm_bf16_nt_128 true true "A B^T";
    gemm_bf16_tn_128 false false "A^T B";
    gemm_bf16_tt_128 false true "A^T B^T";
}
kernels! { Bf16, SMALL, 4:
    gemm_bf16_nn_64 true false "A B";
    gemm_bf16_nt_64 true true "A B^T";
    gemm_bf16_tn_64 false false "A^T B";
    gemm_bf16_tt_64 false true "A^T B^T";
}
kernels! { F16, LARGE, 2:
    gemm_f16_nn_128 true false "A B";
    gemm_f16_nt_128 true true "A B^T";
    gemm_f16_tn_128 false false "A^T B";
    gemm_f16_tt_128 false true "A^T B^T";
}
kernels! { F16, SMALL, 4:
    gemm_f16_nn_64 true false "A B";
    gemm_f16_nt_64 true true "A B^T";
    gemm_f16_tn_64 false false "A^T B";
    gemm_f16_tt_64 false true "A^T B^T";
}
kernels! { Tf32, LARGE, 2: gemm_tf32_128 true true "A B^T"; }
kernels! { Tf32, SMALL, 4: gemm_tf32_64 true true "A B^T"; }
kernels! { Tf32x3, LARGE, 1: gemm_tf32x3_128 true true "A B^T"; }
kernels! { Tf32x3, SMALL, 2: gemm_tf32x3_64 true true "A B^T"; }
kernels! { Bf16x6, LARGE, 1: gemm_bf16x6_128 true true "A B^T"; }
kernels! { Bf16x6, SMALL, 2: gemm_bf16x6_64 true true "A B^T"; }
