//! Matrix products on Hopper's tensor cores (sm_90a): tensor copies feed `wgmma` through a ring of stages.
//!
//! ```text
//! C[z] <- epilogue(op(A[z]) op(B[z]))          bf16, f16: all transposes; tf32, fp8: K-major operands
//! ```
//!
//! # The block
//!
//! A block has three warpgroups and computes tiles of [`BM`] x BN. One thread of the first, the *producer*, keeps the ring
//! full: a stage is a panel of A and one of B, 128 bytes of K deep, in the 128-byte swizzle. The other two, the *consumers*,
//! multiply 64 rows each. The producer's warpgroup gives its registers to the consumers, whose accumulators take half of
//! theirs.
//!
//! Each stage has two mbarriers. `full` takes the producer's arrival and the bytes of the stage; `empty` one arrival of each
//! consumer of the cluster. Stage `s` in round `r` of the ring is full after phase `r` of `full[s]`, and may be overwritten
//! after phase `r - 1` of `empty[s]`, which does not exist for `r = 0`: a wait for the parity before the first returns at
//! once.
//!
//! Two blocks of a cluster work on tiles one above the other, of the same columns: each loads half of the panel of B and
//! multicasts it to both. So a stage is free only when the consumers of both blocks are through with it.
//!
//! The grid is persistent: clusters work through their units of a [schedule](super::schedule), whole tiles and parts of cut
//! ones, and the producer runs ahead into the next unit while the consumers finish the last. Where the schedule cuts no
//! tile, nothing depends on the grid's size: each sum runs over k in increasing order. Where it does, the sums' order
//! depends on how many clusters there are, which the host takes from the device's multiprocessors, and on nothing else.
//!
//! # Sums of 8-bit floats
//!
//! The tensor cores keep about 14 bits of such a sum (`Accumulation::Truncating` of the simulator models it), so that long
//! sums lose their small terms. The 128-column kernels take the remedy of DeepSeek-V3's report (arXiv:2412.19437, 3.3.2): each
//! panel of 128 elements of K starts from zero, and its sums are promoted to f32 registers when it is done. While
//! one consumer adds, the other multiplies. The 256-column kernels leave sums in the tensor cores, which is faster.
//!
//! # The epilogue
//!
//! Every warp passes its 16 rows through shared memory of its own, 64 columns at a time, in one of two ways: rounded to 16
//! bits and stored by tensor copies, where C allows it and there is nothing to do but to scale; or as f32, which quads of
//! lanes then [finish](Epilogue) and store by whole sectors. The sums of a part are f32, stored as they are.
//!
//! The layouts are stated in [`ptx::wgmma`](crate::ptx::wgmma); no bank conflict is met. Of these kernels, the simulator has
//! executed all; no GPU has.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::element::{BF16, F16};
use super::epilogue::Epilogue;
use super::inline::Inline;
use super::schedule::{Schedule, Tiles};
use super::sums::Gather;
use crate::ptx::*;
use crate::vector::{store_quad, F32x4};
use core::mem::MaybeUninit;
use cuda_std::prelude::*;
use cuda_std::warp::sync_warp;

/// Rows of C that a block computes: 64 a consumer.
pub const BM: u32 = 128;
/// Threads of a block: producer and two consumers.
pub const BLOCK: u32 = 384;
/// Columns that pass through the epilogue at a time, and rows of a warp.
pub const STORE_BOX: [u32; 2] = [64, WARP_ROWS];
/// Rows (columns) of an MN-major box, and elements of K of a 16-bit panel.
pub const MN_BOX: [u32; 2] = [64, 64];

/// Registers of a thread before the warpgroups share them out, of the producer's and of the consumers': in all
/// `384 * 168 = 128 * 40 + 256 * 232`.
#[cfg(target_arch = "nvptx64")]
const REGISTERS: u32 = 168;
const PRODUCER_REGISTERS: u32 = 40;
const CONSUMER_REGISTERS: u32 = 232;
/// Bytes of a warp's part of the epilogue's shared memory.
const WARP_STAGING: u32 = 4096;
const STAGING: u32 = 8 * WARP_STAGING;
/// Rows of a tile that a warp finishes.
const WARP_ROWS: u32 = 16;

/// The sizes of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Columns of C a block computes.
    pub bn: u32,
    /// Blocks of a cluster, one above the other.
    pub cluster: u32,
    /// Stages of the ring.
    pub stages: u32,
}

impl Tile {
    /// Rows of C a cluster computes.
    pub const fn rows(self) -> u32 {
        self.cluster * BM
    }
    /// Bytes of a stage.
    pub const fn stage(self) -> u32 {
        (BM + self.bn) * PANEL_BYTES
    }
    /// Bytes of dynamic shared memory.
    pub const fn shared(self) -> u32 {
        self.stages * (self.stage() + 16) + STAGING
    }
    /// Rows of the box in which a K-major A is loaded.
    pub const fn box_a(self) -> u32 {
        BM
    }
    /// Rows and columns of the parts whose sums (`super::sums`) a warp writes.
    pub const fn part(self) -> [u32; 2] {
        [WARP_ROWS, self.bn]
    }
    /// Rows of the box in which a K-major B is loaded: a block's share.
    pub const fn box_b(self) -> u32 {
        self.bn / self.cluster
    }
}

/// For matrices that fill the GPU.
pub const LARGE: Tile = Tile { bn: 256, cluster: 2, stages: 4 };
/// For smaller ones: no clusters, so no block without work.
pub const SMALL: Tile = Tile { bn: 128, cluster: 1, stages: 6 };

/// What all threads of a launch are told.
#[derive(Clone, Copy)]
struct Work {
    map_a: *const TensorMap,
    map_b: *const TensorMap,
    map_c: *const TensorMap,
    k: u32,
    batch: u32,
    stride_c: u64,
    stride_extra: u64,
    out: Epilogue,
    whole: u32,
    share: u32,
    partial: *mut f32,
}

/// A place in the ring.
#[derive(Clone, Copy)]
struct Slot {
    index: u32,
    parity: u32,
}

impl Slot {
    #[inline(always)]
    fn next<const STAGES: u32>(self) -> Slot {
        if self.index + 1 == STAGES {
            Slot { index: 0, parity: self.parity ^ 1 }
        } else {
            Slot { index: self.index + 1, ..self }
        }
    }
}

/// Loads `ROWS` rows of a panel, from row (column) `mn` and element `k` on.
#[inline(always)]
unsafe fn load<const MN_MAJOR: bool, const ROWS: u32, const CLUSTER: u32>(
    to: u32,
    map: *const TensorMap,
    [mn, k, z]: [u32; 3],
    barrier: u32,
) {
    let mut i = 0;
    while i < if MN_MAJOR { ROWS / 64 } else { 1 } {
        let at = if MN_MAJOR { [mn + 64 * i, k, z] } else { [k, mn, z] };
        if CLUSTER > 1 {
            tma_load_multicast(to + i * BLOCK_BYTES, map, at, barrier, (1 << CLUSTER) - 1);
        } else {
            tma_load(to + i * BLOCK_BYTES, map, at, barrier);
        }
        i += 1;
    }
}

/// One chunk of a warp's sums to its staging memory, as f32: 16 rows of 64, the 32-byte piece `c` of row `r` at `c ^ (r % 8)`.
#[inline(always)]
unsafe fn stage_f32<const R: usize>(acc: &Accumulators<R>, chunk: usize, staging: u32, lane: u32) {
    let (row, pair) = (lane / 4, lane % 4);
    let mut j = 0;
    while j < 8 {
        let i = (32 * chunk + 4 * j) % R;
        let at = staging + row * 256 + (j as u32 ^ row) * 32 + pair * 8;
        st_shared_f32x2(at, [acc[i].assume_init(), acc[i + 1].assume_init()]);
        st_shared_f32x2(at + 8 * 256, [acc[i + 2].assume_init(), acc[i + 3].assume_init()]);
        j += 1;
    }
}

/// One chunk of a warp's sums, times `alpha` and rounded to 16 bits, in the 128-byte swizzle: 16 lines of 64.
#[inline(always)]
unsafe fn stage_half<const R: usize, const HALF: u32>(
    acc: &Accumulators<R>,
    chunk: usize,
    alpha: f32,
    staging: u32,
    lane: u32,
) {
    let pack = |i: usize| {
        let (low, high) = (alpha * acc[i % R].assume_init(), alpha * acc[(i + 1) % R].assume_init());
        if HALF == F16 {
            f32_to_f16x2(high, low)
        } else {
            f32_to_bf16x2(high, low)
        }
    };
    // Matrices: rows 0 to 7 and 8 to 15 of one piece of 8 columns, then of the next.
    let (row, piece) = (lane % 16, lane / 16);
    let mut j = 0;
    while j < 8 {
        let i = 32 * chunk + 4 * j;
        let at = staging + row * 128 + ((j as u32 + piece) ^ (row % 8)) * 16;
        stmatrix_x4(at, [pack(i), pack(i + 2), pack(i + 4), pack(i + 6)]);
        j += 2;
    }
}

/// Stores a warp's 16 x BN sums by tensor copies.
#[inline(always)]
unsafe fn store_boxes<const R: usize, const HALF: u32>(
    acc: &Accumulators<R>,
    work: &Work,
    [row, column, z]: [u32; 3],
    staging: u32,
    lane: u32,
) {
    let mut chunk = 0;
    while chunk < R / 32 {
        let buffer = staging + chunk as u32 % 2 * (WARP_STAGING / 2);
        if lane == 0 {
            // Of the two buffers the older one is free.
            tma_store_wait::<1>();
        }
        sync_warp(u32::MAX);
        stage_half::<R, HALF>(acc, chunk, work.out.alpha, buffer, lane);
        fence_shared_async();
        sync_warp(u32::MAX);
        if lane == 0 {
            // Without regard to N, so that buffers alternate: what is outside C is not written.
            tma_store(work.map_c, [column + 64 * chunk as u32, row, z], buffer);
        }
        chunk += 1;
    }
}

/// Chunk `chunk` of a warp's sums to its staging memory.
#[inline(always)]
unsafe fn stage<const R: usize>(acc: &Accumulators<R>, chunk: u32, staging: u32, lane: u32) {
    sync_warp(u32::MAX);
    // The epilogue is code-heavy, and registers cannot be indexed: the loop around this stays, and here it chooses.
    match chunk {
        0 => stage_f32(acc, 0, staging, lane),
        1 => stage_f32(acc, 1, staging, lane),
        2 if R > 64 => stage_f32(acc, 2, staging, lane),
        _ if R > 64 => stage_f32(acc, 3, staging, lane),
        _ => {}
    }
    sync_warp(u32::MAX);
}

/// Quad `quad` of row `row` of what was [staged](stage).
#[inline(always)]
unsafe fn staged(staging: u32, row: u32, quad: u32) -> F32x4 {
    let [a, b, c, d] = ld_shared_f32x4(staging + row * 256 + ((quad / 2) ^ (row % 8)) * 32 + quad % 2 * 16);
    F32x4 { a, b, c, d }
}

/// Finishes and stores a warp's 16 x BN sums.
#[inline(always)]
unsafe fn store_quads<const R: usize>(
    acc: &Accumulators<R>,
    work: &Work,
    [row, column, z]: [u32; 3],
    staging: u32,
    lane: u32,
) {
    let bn = 2 * R as u32;
    let out = work.out.of_batch(z as usize, work.stride_c, work.stride_extra, [WARP_ROWS, bn]);
    let mut gather = Gather::<16>::new();
    let mut chunk = 0;
    while chunk < opaque(R as u32 / 32) {
        stage(acc, chunk, staging, lane);
        let quad = lane % 16;
        let col = column + 64 * chunk + 4 * quad;
        let mut step = 0;
        while step < opaque(8) {
            let i = 2 * step + lane / 16;
            gather.store::<Inline>(&out, row + i, col, staged(staging, i, quad), step);
            step += 1;
        }
        gather.end_rows(&out, row / WARP_ROWS, col, row < out.m);
        chunk += 1;
    }
    gather.end_columns(&out, column / bn, row, 8, column < out.n);
}

/// Stores a warp's 16 x BN sums as they are, its rows of a slot at `part`.
#[inline(always)]
unsafe fn store_part<const R: usize>(acc: &Accumulators<R>, part: *mut f32, staging: u32, lane: u32) {
    let mut chunk = 0;
    while chunk < opaque(R as u32 / 32) {
        stage(acc, chunk, staging, lane);
        let quad = lane % 16;
        let mut row = lane / 16;
        while row < opaque(16) {
            let at = row * (2 * R as u32) + 64 * chunk + 4 * quad;
            store_quad(part.add(at as usize), staged(staging, row, quad));
            row += 2;
        }
        chunk += 1;
    }
}

/// The kernel: see the module's docs. `HALF` is the type of C that tensor copies store ([`F16`], [`BF16`]), 0 for none;
/// `DEPTH` the elements of K in a panel.
///
/// # Safety
/// - As the kernels'; `R` is half of `BN`; `multiply` is the product of a panel by such accumulators.
#[inline(always)]
unsafe fn product<
    const R: usize,
    const BN: u32,
    const CLUSTER: u32,
    const STAGES: u32,
    const DEPTH: u32,
    const HALF: u32,
    const TA: bool,
    const TB: bool,
>(
    work: Work,
    multiply: impl Fn(&mut Accumulators<R>, u64, u64, bool),
) {
    let stage = (BM + BN) * PANEL_BYTES;
    let ring = swizzled_shared();
    let staging = ring + STAGES * stage;
    let full = staging + STAGING;
    let empty = full + 8 * STAGES;
    let t = thread::thread_idx_x();
    let rank = if CLUSTER > 1 { cluster_rank() } else { 0 };
    if t == 0 {
        let mut s = 0;
        while s < STAGES {
            mbarrier_init(full + 8 * s, 1);
            mbarrier_init(empty + 8 * s, 2 * CLUSTER);
            s += 1;
        }
        mbarrier_init_fence();
        tma_ready(work.map_a);
        tma_ready(work.map_b);
        if HALF != 0 && !work.map_c.is_null() {
            tma_ready(work.map_c);
        }
    }
    if CLUSTER > 1 {
        cluster_sync();
    } else {
        thread::sync_threads();
    }

    let tiles = Tiles::new(work.out.m, work.out.n, CLUSTER * BM, BN);
    let cut = tiles.rows * tiles.columns * work.batch - work.whole;
    let schedule = Schedule { panels: work.k.div_ceil(DEPTH), whole: work.whole, cut, share: work.share };
    let cluster = thread::block_idx_x() / CLUSTER;
    let mut units = schedule.units(cluster, thread::grid_dim_x() / CLUSTER);
    // The same in all lanes, and known to be.
    let warp = shfl_idx(t / 32, 0);
    if warp < 4 {
        release_registers::<PRODUCER_REGISTERS>();
        if t == 0 {
            let mut slot = Slot { index: 0, parity: 1 };
            let mut unit = units.advance();
            while unit.panels > 0 {
                let [row, column, z] = tiles.at(unit.tile);
                let row = (row * CLUSTER + rank) * BM;
                let column = column * BN + rank * (BN / CLUSTER);
                let mut k = unit.first * DEPTH;
                let end = k + unit.panels * DEPTH;
                while k < end {
                    let (at, barrier) = (ring + slot.index * stage, full + 8 * slot.index);
                    mbarrier_wait(empty + 8 * slot.index, slot.parity);
                    mbarrier_expect(barrier, stage);
                    load::<TA, BM, 1>(at, work.map_a, [row, k, z], barrier);
                    let at = at + (BM + rank * (BN / CLUSTER)) * PANEL_BYTES;
                    if BN / CLUSTER == 128 {
                        load::<TB, 128, CLUSTER>(at, work.map_b, [column, k, z], barrier);
                    } else {
                        load::<TB, 64, CLUSTER>(at, work.map_b, [column, k, z], barrier);
                    }
                    slot = slot.next::<STAGES>();
                    k += DEPTH;
                }
                unit = units.advance();
            }
        }
    } else {
        request_registers::<CONSUMER_REGISTERS>();
        let (lane, warp) = (t % 32, warp - 4);
        let rows = warp / 4 * 64;
        let staging = staging + warp * WARP_STAGING;
        let mut acc: Accumulators<R> = [const { MaybeUninit::uninit() }; R];
        let mut slot = Slot { index: 0, parity: 0 };
        let mut unit = units.advance();
        while unit.panels > 0 {
            // As above: loops that depend on a number keep their state in each lane's registers unless that is known of it.
            let (mut k, end) = (0, shfl_idx(unit.panels * DEPTH, 0));
            while k < end {
                mbarrier_wait(full + 8 * slot.index, slot.parity);
                let a = ring + slot.index * stage + rows * PANEL_BYTES;
                let b = ring + slot.index * stage + BM * PANEL_BYTES;
                let a = if TA { mn_major(a) } else { k_major(a) };
                let b = if TB { mn_major(b) } else { k_major(b) };
                multiply(&mut acc, a, b, k > 0);
                if t % 128 < CLUSTER {
                    mbarrier_arrive_cluster(map_to_rank(empty + 8 * slot.index, t % 128));
                }
                slot = slot.next::<STAGES>();
                k += DEPTH;
            }
            // The warp's rows, first in the cluster's tile, then in C.
            let own = rank * BM + rows + warp % 4 * 16;
            let [row, column, z] = tiles.at(unit.tile);
            let (row, column) = (row * CLUSTER * BM + own, column * BN);
            if let Some(slot) = schedule.slot(cluster, unit.tile) {
                if HALF != 0 && lane == 0 {
                    // Tensor copies of a whole tile may still read the staging memory.
                    tma_store_wait::<0>();
                }
                let row = slot as usize * (CLUSTER * BM) as usize + own as usize;
                store_part(&acc, work.partial.add(row * BN as usize), staging, lane);
            } else if HALF != 0 && !work.map_c.is_null() {
                store_boxes::<R, HALF>(&acc, &work, [row, column, z], staging, lane);
            } else {
                store_quads(&acc, &work, [row, column, z], staging, lane);
            }
            unit = units.advance();
        }
        if HALF != 0 && lane == 0 {
            tma_store_wait::<0>();
        }
    }
    if CLUSTER > 1 {
        // The other block's copies and arrivals come here until it, too, is done.
        cluster_sync();
    }
}

/// Multiplies a panel into accumulators of its own and adds these to `acc` in f32.
#[inline(always)]
unsafe fn promote<const R: usize>(
    acc: &mut Accumulators<R>,
    accumulate: bool,
    multiply: impl FnOnce(&mut Accumulators<R>),
) {
    let mut panel: Accumulators<R> = [const { MaybeUninit::uninit() }; R];
    let mut i = 0;
    // Before the product, or the sums of the two ways would have to be moved to the same registers.
    while i < R && !accumulate {
        acc[i] = MaybeUninit::new(0.0);
        i += 1;
    }
    multiply(&mut panel);
    i = 0;
    while i < R {
        acc[i] = MaybeUninit::new(acc[i].assume_init() + panel[i].assume_init());
        i += 1;
    }
}

/// The `multiply` of a kernel that promotes the sums of each panel.
macro_rules! promoted {
    ($multiply:ident) => {
        |acc: &mut Accumulators<64>, a: u64, b: u64, accumulate: bool| {
            promote(acc, accumulate, |panel| $multiply(panel, a, b, false))
        }
    };
}

/// A kernel.
macro_rules! kernels {
    ($($name:ident = $tile:ident, $multiply:expr, depth $depth:literal, half $half:expr, $ta:literal $tb:literal, $what:literal;)*) => {$(
        #[doc = concat!("`C <- epilogue(", $what, ")` with the tile [`", stringify!($tile), "`].")]
        ///
        /// Grid: any number of whole clusters. Block: [`BLOCK`], with the tile's [`shared`](Tile::shared) bytes. Strides are
        /// in elements from one matrix of the batch to the next.
        ///
        /// # Safety
        /// - `map_a`, `map_b` describe A and B as three-dimensional tensors (stored columns, stored rows, batch) in the 128-byte
        ///   swizzle: boxes of 128 bytes by [`box_a`](Tile::box_a) ([`box_b`](Tile::box_b)) rows where K is contiguous, else of
        ///   [`MN_BOX`]. `map_c` is null, or describes C so in boxes of [`STORE_BOX`]; then C has 16-bit elements, the type
        ///   that A has (bf16 for fp8), and the epilogue nothing but `alpha`.
        /// - The epilogue's operands cover C: see [`Epilogue`]. C overlaps no other operand, nor do its matrices each other.
        /// - Extents are at least 1 and below 2^31, as is the number of tiles, each cluster's and the grid's together.
        /// - `whole` and `share` are those of a [`Schedule`] for this tile ([`rows`](Tile::rows) by BN) and grid; `partial` has its
        ///   [`slots`](Schedule::slots), each a tile of f32, and is a multiple of 16 (any address where it has none).
        #[kernel]
        #[cfg_attr(
            target_arch = "nvptx64",
            cuda_std::launch_bounds(exact = BLOCK, max_registers = REGISTERS, cluster = $tile.cluster)
        )]
        pub unsafe fn $name(
            map_a: *const TensorMap, map_b: *const TensorMap, map_c: *const TensorMap,
            m: u32, n: u32, k: u32, batch: u32, alpha: f32, beta: f32, c: *mut u8, ldc: u32, stride_c: u64,
            bias: *const f32, extra: *const u8, ld_extra: u32, stride_extra: u64,
            sums: *mut f32, activation: u32, parameter: f32, kind: u32, whole: u32, share: u32, partial: *mut f32,
        ) {
            const T: Tile = $tile;
            let out = Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
            let work = Work { map_a, map_b, map_c, k, batch, stride_c, stride_extra, out, whole, share, partial };
            let multiply = $multiply;
            product::<{ T.bn as usize / 2 }, { T.bn }, { T.cluster }, { T.stages }, $depth, { $half }, $ta, $tb>(
                work,
                |acc, a, b, accumulate| multiply(acc, a, b, accumulate),
            );
        }
    )*};
}

kernels! {
    hopper_bf16_nn_256 = LARGE, wgmma_bf16_n256::<0, 1>, depth 64, half BF16, false true, "A B of bf16";
    hopper_bf16_nt_256 = LARGE, wgmma_bf16_n256::<0, 0>, depth 64, half BF16, false false, "A Bᵀ of bf16";
    hopper_bf16_tn_256 = LARGE, wgmma_bf16_n256::<1, 1>, depth 64, half BF16, true true, "Aᵀ B of bf16";
    hopper_bf16_tt_256 = LARGE, wgmma_bf16_n256::<1, 0>, depth 64, half BF16, true false, "Aᵀ Bᵀ of bf16";
    hopper_bf16_nn_128 = SMALL, wgmma_bf16_n128::<0, 1>, depth 64, half BF16, false true, "A B of bf16";
    hopper_bf16_nt_128 = SMALL, wgmma_bf16_n128::<0, 0>, depth 64, half BF16, false false, "A Bᵀ of bf16";
    hopper_bf16_tn_128 = SMALL, wgmma_bf16_n128::<1, 1>, depth 64, half BF16, true true, "Aᵀ B of bf16";
    hopper_bf16_tt_128 = SMALL, wgmma_bf16_n128::<1, 0>, depth 64, half BF16, true false, "Aᵀ Bᵀ of bf16";
    hopper_f16_nn_256 = LARGE, wgmma_f16_n256::<0, 1>, depth 64, half F16, false true, "A B of f16";
    hopper_f16_nt_256 = LARGE, wgmma_f16_n256::<0, 0>, depth 64, half F16, false false, "A Bᵀ of f16";
    hopper_f16_tn_256 = LARGE, wgmma_f16_n256::<1, 1>, depth 64, half F16, true true, "Aᵀ B of f16";
    hopper_f16_tt_256 = LARGE, wgmma_f16_n256::<1, 0>, depth 64, half F16, true false, "Aᵀ Bᵀ of f16";
    hopper_f16_nn_128 = SMALL, wgmma_f16_n128::<0, 1>, depth 64, half F16, false true, "A B of f16";
    hopper_f16_nt_128 = SMALL, wgmma_f16_n128::<0, 0>, depth 64, half F16, false false, "A Bᵀ of f16";
    hopper_f16_tn_128 = SMALL, wgmma_f16_n128::<1, 1>, depth 64, half F16, true true, "Aᵀ B of f16";
    hopper_f16_tt_128 = SMALL, wgmma_f16_n128::<1, 0>, depth 64, half F16, true false, "Aᵀ Bᵀ of f16";
    hopper_tf32_256 = LARGE, wgmma_tf32_n256, depth 32, half 0, false false, "A Bᵀ of f32, in tf32";
    hopper_tf32_128 = SMALL, wgmma_tf32_n128, depth 32, half 0, false false, "A Bᵀ of f32, in tf32";
    hopper_e4m3_e4m3_256 = LARGE, wgmma_e4m3_e4m3_n256, depth 128, half BF16, false false, "A Bᵀ of e4m3 by e4m3";
    hopper_e4m3_e5m2_256 = LARGE, wgmma_e4m3_e5m2_n256, depth 128, half BF16, false false, "A Bᵀ of e4m3 by e5m2";
    hopper_e5m2_e4m3_256 = LARGE, wgmma_e5m2_e4m3_n256, depth 128, half BF16, false false, "A Bᵀ of e5m2 by e4m3";
    hopper_e5m2_e5m2_256 = LARGE, wgmma_e5m2_e5m2_n256, depth 128, half BF16, false false, "A Bᵀ of e5m2 by e5m2";
    hopper_e4m3_e4m3_128 = SMALL, promoted!(wgmma_e4m3_e4m3_n128), depth 128, half BF16, false false, "A Bᵀ of e4m3 by e4m3, promoted";
    hopper_e4m3_e5m2_128 = SMALL, promoted!(wgmma_e4m3_e5m2_n128), depth 128, half BF16, false false, "A Bᵀ of e4m3 by e5m2, promoted";
    hopper_e5m2_e4m3_128 = SMALL, promoted!(wgmma_e5m2_e4m3_n128), depth 128, half BF16, false false, "A Bᵀ of e5m2 by e4m3, promoted";
    hopper_e5m2_e5m2_128 = SMALL, promoted!(wgmma_e5m2_e5m2_n128), depth 128, half BF16, false false, "A Bᵀ of e5m2 by e5m2, promoted";
}
