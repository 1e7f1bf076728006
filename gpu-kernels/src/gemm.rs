//! General matrix product of f32 factors with a fused epilogue:
//!
//! ```text
//! C[z] <- epilogue(op(A[z]) op(B[z]))        op(X) = X or its transpose; see [`epilogue`]
//! ```
//!
//! op(A) is M x K, op(B) is K x N, C is M x N, all row-major. Every sum runs over k in increasing order in one register,
//! whatever the tile: the result does not depend on the grid and is the same from run to run. Where tiles are few, K is split:
//! blocks along z take `k_split` elements of it each, C is a workspace of as many partial products, and
//! [`split::gemm_reduce()`] adds them in their order.
//!
//! # The tile
//!
//! A block computes a `BM x BN` tile of C. It walks K in steps of `BK`: the two operand panels of the next step travel
//! from global memory to registers (128 bits at a time where alignment allows) while the current ones, in shared memory,
//! are multiplied; two buffers, so one barrier a step. Panels lie in shared memory with k outermost, each row padded by
//! 4 floats: rows stay aligned for 128-bit loads, and the transposing stores of a K-contiguous operand meet no bank
//! conflict in [`LARGE`] and a two-way one in the smaller tiles. A thread owns `TM x TN` elements as quads: 4 consecutive rows or columns out of each of `TM / 4`
//! (`TN / 4`) equal parts of the tile, so that the lanes of a warp, laid out 4 x 8, read whole rows of a panel.
//!
//! Three tiles are instantiated for each of the four transpose cases: [`LARGE`] for throughput, [`MEDIUM`] and [`SMALL`]
//! to give every multiprocessor a block when C is small. The host (`ops/matmul`) picks.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

mod arithmetic;
pub mod element;
pub mod epilogue;
pub mod gemv;
pub mod grouped;
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
pub mod hopper;
pub mod inline;
pub mod pack;
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
pub mod schedule;
pub mod split;
mod sums;
pub mod tensor;

use crate::ptx::{fma, ld_shared_f32x4, shared_address, st_shared_f32, st_shared_f32x4};
use crate::vector::{is_aligned4, load_quad};
use cuda_std::prelude::*;
use cuda_std::shared_array;
use epilogue::Epilogue;
use inline::Inline;

/// The sizes of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of C a block computes.
    pub bm: u32,
    /// Columns of C a block computes.
    pub bn: u32,
    /// Depth of a panel.
    pub bk: u32,
    /// Rows a thread computes.
    pub tm: u32,
    /// Columns a thread computes.
    pub tn: u32,
}

impl Tile {
    /// Threads of a block.
    pub const fn threads(self) -> u32 {
        (self.bm / self.tm) * (self.bn / self.tn)
    }
    /// Blocks that a multiprocessor must hold at once. Two of the large tile leave 128 registers a thread, which are enough
    /// for Hopper; code for Ampere would spill.
    pub const fn min_blocks(self) -> u32 {
        if self.bm > 64 && !cfg!(target_feature = "sm_90a") {
            1
        } else {
            2
        }
    }
    /// Floats of shared memory: two buffers of both panels.
    pub const fn shared(self) -> usize {
        2 * self.bk as usize * ((self.bm + PAD) + (self.bn + PAD)) as usize
    }
}

/// Floats between the rows of a panel in shared memory.
const PAD: u32 = 4;

/// For matrices that fill the GPU: 256 threads, 64 accumulators each.
pub const LARGE: Tile = Tile { bm: 128, bn: 128, bk: 8, tm: 8, tn: 8 };
/// For hundreds of rows and columns: 256 threads, 16 accumulators each.
pub const MEDIUM: Tile = Tile { bm: 64, bn: 64, bk: 16, tm: 4, tn: 4 };
/// For tiny networks: 64 threads, 16 accumulators each.
pub const SMALL: Tile = Tile { bm: 32, bn: 32, bk: 16, tm: 4, tn: 4 };

/// One operand: op(X) is `rows x K` seen from the tile, where "rows" are M for A and N for B.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    data: *const f32,
    /// Distance of consecutive rows of the stored matrix.
    ld: u32,
    rows: u32,
    k: u32,
    /// Whether every quad of a stored row that starts at a multiple of 4 is aligned to 16 bytes.
    vector: bool,
}

impl Operand {
    /// The operand stored at `data`, with `ld` elements from one stored row to the next.
    #[inline(always)]
    pub(crate) fn new(data: *const f32, ld: u32, rows: u32, k: u32) -> Operand {
        Operand { data, ld, rows, k, vector: is_aligned4(data) && ld & 3 == 0 }
    }

    /// Four consecutive elements of a stored row: along k if `KC` (K-contiguous), else along the rows; 0 outside.
    #[inline(always)]
    unsafe fn quad<const KC: bool>(&self, row: u32, k: u32) -> [f32; 4] {
        // (outer, inner): where the quad starts in the stored matrix; its extents.
        let (outer, inner, outers, inners) =
            if KC { (row, k, self.rows, self.k) } else { (k, row, self.k, self.rows) };
        let mut v = [0.0f32; 4];
        if outer < outers {
            let p = self.data.add(outer as usize * self.ld as usize + inner as usize);
            if self.vector && inner + 3 < inners {
                v = load_quad(p).into();
            } else {
                if inner < inners {
                    v[0] = *p;
                }
                if inner + 1 < inners {
                    v[1] = *p.add(1);
                }
                if inner + 2 < inners {
                    v[2] = *p.add(2);
                }
                if inner + 3 < inners {
                    v[3] = *p.add(3);
                }
            }
        }
        v
    }
}

/// The part of a panel that one thread moves: `V` quads of a `BK x ROWS` panel starting at (`row0`, `k0`).
#[inline(always)]
unsafe fn fetch<const KC: bool, const ROWS: u32, const BK: u32, const THREADS: u32, const V: usize>(
    x: &Operand,
    row0: u32,
    k0: u32,
    t: u32,
) -> [[f32; 4]; V] {
    let mut quads = [[0.0f32; 4]; V];
    let mut v = 0;
    while v < V {
        let q = t + v as u32 * THREADS;
        let (row, k) =
            if KC { (q / (BK / 4), q % (BK / 4) * 4) } else { (q % (ROWS / 4) * 4, q / (ROWS / 4)) };
        quads[v] = x.quad::<KC>(row0 + row, k0 + k);
        v += 1;
    }
    quads
}

/// Stores what [`fetch`] got into the panel at shared address `panel`, k outermost.
#[inline(always)]
unsafe fn stash<const KC: bool, const ROWS: u32, const BK: u32, const THREADS: u32, const V: usize>(
    panel: u32,
    quads: &[[f32; 4]; V],
    t: u32,
) {
    let ld = ROWS + PAD;
    let mut v = 0;
    while v < V {
        let q = t + v as u32 * THREADS;
        if KC {
            let (row, k) = (q / (BK / 4), q % (BK / 4) * 4);
            let at = panel + 4 * (k * ld + row);
            st_shared_f32(at, quads[v][0]);
            st_shared_f32(at + 4 * ld, quads[v][1]);
            st_shared_f32(at + 8 * ld, quads[v][2]);
            st_shared_f32(at + 12 * ld, quads[v][3]);
        } else {
            let (row, k) = (q % (ROWS / 4) * 4, q / (ROWS / 4));
            st_shared_f32x4(panel + 4 * (k * ld + row), quads[v]);
        }
        v += 1;
    }
}

/// What becomes of the sums of a tile.
pub(crate) trait Finish: Copy {
    /// Finishes four consecutive elements of a row and stores those inside C.
    ///
    /// # Safety
    /// - What the epilogue's operands point to covers C; no other thread stores these elements.
    unsafe fn store(&self, row: u32, col: u32, sum: [f32; 4]);
}

impl Finish for Epilogue {
    #[inline(always)]
    unsafe fn store(&self, row: u32, col: u32, sum: [f32; 4]) {
        let _ = self.store::<Inline>(row, col, sum.into());
    }
}

/// The row and column of thread `t` in its block: warps of 4 x 8 threads.
#[inline(always)]
fn place<const BN: u32, const TN: u32>(t: u32) -> (u32, u32) {
    let (lane, warp, warps_n) = (t % 32, t / 32, BN / TN / 8);
    (warp / warps_n * 4 + lane / 8, warp % warps_n * 8 + lane % 8)
}

/// The sums of a thread of one tile of C: see the module's docs. `AKC` and `BKC` say which operands are K-contiguous (A not
/// transposed, B transposed); `VA`, `VB` are the quads of each panel a thread moves, `QUADS` those of C it owns.
///
/// # Safety
/// - All threads of a block of `THREADS` arrive with the same arguments; `shared` is the address of the tile's shared memory.
/// - The operands cover their matrices.
#[inline(always)]
pub(crate) unsafe fn sums<
    const AKC: bool,
    const BKC: bool,
    const BM: u32,
    const BN: u32,
    const BK: u32,
    const TM: u32,
    const TN: u32,
    const VA: usize,
    const VB: usize,
    const QUADS: usize,
    const THREADS: u32,
>(
    a: Operand,
    b: Operand,
    row0: u32,
    col0: u32,
    shared: u32,
) -> [[f32; 4]; QUADS] {
    let t = thread::thread_idx_x();
    let (ty, tx) = place::<BN, TN>(t);
    let (lda, ldb) = (BM + PAD, BN + PAD);
    let (bytes_a, bytes_b) = (4 * BK * lda, 4 * BK * ldb);
    let (panel_a, panel_b) = (shared, shared + 2 * bytes_a);
    let mut acc = [[0.0f32; 4]; QUADS];

    let first_a = fetch::<AKC, BM, BK, THREADS, VA>(&a, row0, 0, t);
    let first_b = fetch::<BKC, BN, BK, THREADS, VB>(&b, col0, 0, t);
    stash::<AKC, BM, BK, THREADS, VA>(panel_a, &first_a, t);
    stash::<BKC, BN, BK, THREADS, VB>(panel_b, &first_b, t);
    thread::sync_threads();

    let k = a.k;
    let mut k0 = 0;
    let mut current = 0;
    while k0 < k {
        let next = k0 + BK;
        let mut next_a = [[0.0f32; 4]; VA];
        let mut next_b = [[0.0f32; 4]; VB];
        if next < k {
            next_a = fetch::<AKC, BM, BK, THREADS, VA>(&a, row0, next, t);
            next_b = fetch::<BKC, BN, BK, THREADS, VB>(&b, col0, next, t);
        }
        let (at_a, at_b) = (panel_a + current * bytes_a + 16 * ty, panel_b + current * bytes_b + 16 * tx);
        let mut kk = 0;
        while kk < BK {
            let mut rows = [[0.0f32; 4]; 2];
            let mut cols = [[0.0f32; 4]; 2];
            rows[0] = ld_shared_f32x4(at_a + 4 * kk * lda);
            cols[0] = ld_shared_f32x4(at_b + 4 * kk * ldb);
            if TM == 8 {
                rows[1] = ld_shared_f32x4(at_a + 4 * (kk * lda + BM / 2));
            }
            if TN == 8 {
                cols[1] = ld_shared_f32x4(at_b + 4 * (kk * ldb + BN / 2));
            }
            let mut i = 0;
            while i < TM as usize {
                let mut q = 0;
                while q < TN as usize / 4 {
                    let (x, w, s) = (rows[i / 4][i % 4], cols[q], &mut acc[i * (TN as usize / 4) + q]);
                    s[0] = fma(x, w[0], s[0]);
                    s[1] = fma(x, w[1], s[1]);
                    s[2] = fma(x, w[2], s[2]);
                    s[3] = fma(x, w[3], s[3]);
                    q += 1;
                }
                i += 1;
            }
            kk += 1;
        }
        current ^= 1;
        if next < k {
            stash::<AKC, BM, BK, THREADS, VA>(panel_a + current * bytes_a, &next_a, t);
            stash::<BKC, BN, BK, THREADS, VB>(panel_b + current * bytes_b, &next_b, t);
        }
        thread::sync_threads();
        k0 = next;
    }
    acc
}

/// Finishes the sums of a thread: those of [`sums`] for the same sizes, row and column.
///
/// # Safety
/// - `out` is [`Finish::store`]'s.
#[inline(always)]
pub(crate) unsafe fn finish<
    E: Finish,
    const BM: u32,
    const BN: u32,
    const TM: u32,
    const TN: u32,
    const QUADS: usize,
>(
    out: E,
    mut acc: [[f32; 4]; QUADS],
    row0: u32,
    col0: u32,
) {
    let (ty, tx) = place::<BN, TN>(thread::thread_idx_x());
    // The quads move through acc[0], so that this loop need not be unrolled: the epilogue is code-heavy, and registers
    // cannot be indexed.
    let per_row = TN / 4;
    let mut q = 0;
    while q < QUADS as u32 {
        let (i, part) = (q / per_row, q % per_row);
        let row = row0 + i / 4 * (BM / 2) + ty * 4 + i % 4;
        let col = col0 + part * (BN / 2) + tx * 4;
        out.store(row, col, acc[0]);
        let mut j = 1;
        while j < QUADS {
            acc[j - 1] = acc[j];
            j += 1;
        }
        q += 1;
    }
}

/// One tile of C: [`sums`], finished.
///
/// # Safety
/// - As for both.
#[inline(always)]
pub(crate) unsafe fn tile<
    E: Finish,
    const AKC: bool,
    const BKC: bool,
    const BM: u32,
    const BN: u32,
    const BK: u32,
    const TM: u32,
    const TN: u32,
    const VA: usize,
    const VB: usize,
    const QUADS: usize,
    const THREADS: u32,
>(
    a: Operand,
    b: Operand,
    out: E,
    row0: u32,
    col0: u32,
    shared: u32,
) {
    let acc = sums::<AKC, BKC, BM, BN, BK, TM, TN, VA, VB, QUADS, THREADS>(a, b, row0, col0, shared);
    finish::<E, BM, BN, TM, TN, QUADS>(out, acc, row0, col0);
}

/// The kernels of one tile size: the four transpose cases.
macro_rules! kernels {
    ($tile:ident: $($name:ident $akc:literal $bkc:literal $what:literal;)*) => {$(
        #[doc = concat!("`C <- epilogue(", $what, ")` of f32 factors with the tile [`", stringify!($tile), "`].")]
        ///
        /// Grid: x = tiles of C, column by column within a row of tiles; y = batches (any number: blocks stride over
        /// them); z = parts of K, of `k_split` each. Block: the tile's [`threads`](Tile::threads). Strides are in elements
        /// from one batch to the next. Part z of batch b writes matrix `z batch + b` of C.
        ///
        /// # Safety
        /// - Each batch of `a`, `b` (f32), `c` and `extra` covers its matrix at the given leading dimension and stride; `c`
        ///   overlaps no other, nor its batches each other.
        /// - `bias` is null or has `n` elements; `kind` is of [`epilogue::kind`], without sums of C.
        /// - `m`, `n`, `k`, `batch` are at least 1, and `m`, `n`, `k` below 2^31; `k_split` is a multiple of 4 or at least
        ///   `k`, and the last part has an element.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds($tile.threads(), $tile.min_blocks()))]
        pub unsafe fn $name(
            m: u32, n: u32, k: u32, batch: u32, k_split: u32,
            a: *const u8, lda: u32, stride_a: u64,
            b: *const u8, ldb: u32, stride_b: u64,
            alpha: f32, beta: f32, c: *mut u8, ldc: u32, stride_c: u64,
            bias: *const f32, extra: *const u8, ld_extra: u32, stride_extra: u64,
            sums: *mut f32, activation: u32, parameter: f32, kind: u32,
        ) {
            const T: Tile = $tile;
            let shared = shared_address(shared_array![f32; $tile.shared()]);
            let tiles_n = n.div_ceil(T.bn).max(1);
            let (row0, col0) = (thread::block_idx_x() / tiles_n * T.bm, thread::block_idx_x() % tiles_n * T.bn);
            let k0 = thread::block_idx_z() * k_split;
            let depth = k_split.min(k - k0);
            let out =
                Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
            let mut z = thread::block_idx_y();
            while z < batch {
                let at = |x: *const u8, stride: u64, kc: bool, ld: u32| {
                    let skip = if kc { k0 as usize } else { k0 as usize * ld as usize };
                    x.cast::<f32>().add(z as usize * stride as usize + skip)
                };
                let a = Operand::new(at(a, stride_a, $akc, lda), lda, m, depth);
                let b = Operand::new(at(b, stride_b, $bkc, ldb), ldb, n, depth);
                let part = thread::block_idx_z() as usize * batch as usize + z as usize;
                let out = out.of_batch(part, stride_c, stride_extra, split::PART);
                tile::<_, $akc, $bkc, { T.bm }, { T.bn }, { T.bk }, { T.tm }, { T.tn },
                    { (T.bm * T.bk / 4 / T.threads()) as usize },
                    { (T.bn * T.bk / 4 / T.threads()) as usize },
                    { (T.tm * T.tn / 4) as usize },
                    { T.threads() }>(a, b, out, row0, col0, shared);
                z += thread::grid_dim_y();
            }
        }
    )*};
}

kernels! { LARGE:
    gemm_nn_128 true false "A B";
    gemm_nt_128 true true "A B^T";
    gemm_tn_128 false false "A^T B";
    gemm_tt_128 false true "A^T B^T";
}
kernels! { MEDIUM:
    gemm_nn_64 true false "A B";
    gemm_nt_64 true true "A B^T";
    gemm_tn_64 false false "A^T B";
    gemm_tt_64 false true "A^T B^T";
}
kernels! { SMALL:
    gemm_nn_32 true false "A B";
    gemm_nt_32 true true "A B^T";
    gemm_tn_32 false false "A^T B";
    gemm_tt_32 false true "A^T B^T";
}

/// Threads of a block of [`add_bias()`].
pub const BLOCK: u32 = 256;

/// `y[i, j] <- x[i, j] + b[j]`, for `n` elements in rows of `cols`. Any grid in x: threads stride over the elements.
///
/// # Safety
/// - `x` and `y` have `n` elements, `b` has `cols >= 1`; `y` overlaps neither.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn add_bias(n: u32, cols: u32, x: *const f32, b: *const f32, y: *mut f32) {
    let step = thread::grid_dim_x() as usize * thread::block_dim_x() as usize;
    let mut i =
        thread::block_idx_x() as usize * thread::block_dim_x() as usize + thread::thread_idx_x() as usize;
    while i < n as usize {
        *y.add(i) = *x.add(i) + *b.add((i as u32 % cols.max(1)) as usize);
        i += step;
    }
}
