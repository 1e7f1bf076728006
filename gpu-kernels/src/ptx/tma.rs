//! Tensor copies between global and shared memory (`cp.async.bulk.tensor`, sm_90): one thread moves a box of a tensor that a
//! [`TensorMap`] describes. Elements outside the tensor are read as zero and not written. The tensors here have three
//! dimensions, `x` the contiguous one.
//!
//! Loads arrive at an [mbarrier](super::mbarrier), byte by byte; stores are waited for in groups, as `cp.async` is.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// A tensor copy between the box at `$at` of the tensor of `$map` and `$shared`, by the instructions `$text`.
#[cfg(target_arch = "nvptx64")]
macro_rules! tensor_copy {
    ($map:ident, $at:ident, $shared:ident; $($text:literal),+; $($operands:tt)*) => {
        asm!(
            $($text,)+
            map = in(reg64) $map,
            x = in(reg32) $at[0],
            y = in(reg32) $at[1],
            z = in(reg32) $at[2],
            shared = in(reg32) $shared,
            $($operands)*
            options(nostack, preserves_flags),
        )
    };
}

/// The driver's description of a tensor and its boxes (`CUtensorMap`): 128 opaque bytes that the host made.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct TensorMap([u64; 16]);

/// The shared address of the block's dynamic shared memory, aligned to 1024 as boxes in the 128-byte swizzle want it.
#[inline(always)]
#[gpu_only]
pub fn swizzled_shared() -> u32 {
    let address: u32;
    // SAFETY: the asm computes an address; it reads and writes no memory.
    unsafe {
        asm!(
            "// cuda_std.declare: .extern .shared .align 1024 .b8 swizzled_dynamic_shared[];",
            "mov.u32 {}, swizzled_dynamic_shared;",
            out(reg32) address,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    address
}

/// Four 8 x 8 matrices of 16-bit elements from the warp's registers to shared memory (`stmatrix.x4`): lane `l` names the
/// row `l % 8` of matrix `l / 8`, and of matrix `i` holds in `v[i]` elements `2 (l % 4)` and the next of row `l / 4`.
///
/// # Safety
/// - All 32 lanes call it together; each `row` is the shared address of 16 bytes, aligned to 16, that no other thread accesses
///   before a barrier.
#[inline(always)]
#[gpu_only]
pub unsafe fn stmatrix_x4(row: u32, v: [u32; 4]) {
    asm!(
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [{}], {{{}, {}, {}, {}}};",
        in(reg32) row,
        in(reg32) v[0],
        in(reg32) v[1],
        in(reg32) v[2],
        in(reg32) v[3],
        options(nostack, preserves_flags),
    );
}

/// Readies a tensor map in global memory: drops what the unit that reads maps may still hold of the memory's earlier
/// contents (`fence.proxy.tensormap`), and prefetches it.
///
/// # Safety
/// - `map` points to a tensor map in global memory that nobody writes while the kernel runs.
#[inline(always)]
#[gpu_only]
pub unsafe fn tma_ready(map: *const TensorMap) {
    asm!(
        "fence.proxy.tensormap::generic.acquire.gpu [{map}], 128;",
        "prefetch.tensormap [{map}];",
        map = in(reg64) map,
        options(nostack, preserves_flags),
    );
}

/// Starts the load of the box at `at` (x, y, z) to shared memory at `to`; its bytes arrive at `barrier`.
///
/// # Safety
/// - [`tma_ready`] was called in this block for `map`, which is of rank 3; `to` is aligned to 128 (1024 with the 128-byte
///   swizzle) and has room for the box, which nobody touches until the wait at `barrier`; the phase expects the bytes.
#[inline(always)]
#[gpu_only]
pub unsafe fn tma_load(to: u32, map: *const TensorMap, at: [u32; 3], barrier: u32) {
    tensor_copy!(
        map, at, to;
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [{shared}], [{map}, {{{x}, {y}, {z}}}], [{barrier}];";
        barrier = in(reg32) barrier,
    );
}

/// As [`tma_load`], into every block of the cluster whose bit is set in `blocks`: the box goes to the same place in each,
/// and its bytes arrive at the mbarrier at the same place in each.
///
/// # Safety
/// - As for [`tma_load`], in every block named.
#[inline(always)]
#[gpu_only]
pub unsafe fn tma_load_multicast(to: u32, map: *const TensorMap, at: [u32; 3], barrier: u32, blocks: u16) {
    tensor_copy!(
        map, at, to;
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
         [{shared}], [{map}, {{{x}, {y}, {z}}}], [{barrier}], {blocks};";
        barrier = in(reg32) barrier,
        blocks = in(reg16) blocks,
    );
}

/// Starts the store of the box at `from` in shared memory to `at`, as a group of its own.
///
/// # Safety
/// - As for [`tma_load`]; the box was written before [`fence_shared_async`] by the same threads, which this one has waited
///   for, and stays until [`tma_store_wait`].
#[inline(always)]
#[gpu_only]
pub unsafe fn tma_store(map: *const TensorMap, at: [u32; 3], from: u32) {
    tensor_copy!(
        map, at, from;
        "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [{map}, {{{x}, {y}, {z}}}], [{shared}];",
        "cp.async.bulk.commit_group;";
    );
}

/// Waits until at most the latest `PENDING` of the thread's stores still read shared memory.
#[inline(always)]
#[gpu_only]
pub fn tma_store_wait<const PENDING: u32>() {
    // SAFETY: a wait has no precondition.
    unsafe { asm!("cp.async.bulk.wait_group.read {};", const PENDING, options(nostack, preserves_flags)) };
}

/// Makes the thread's stores to shared memory visible to asynchronous copies and `wgmma` (`fence.proxy.async`); threads that
/// start such work for others wait for them after it.
#[inline(always)]
#[gpu_only]
pub fn fence_shared_async() {
    // SAFETY: a fence has no precondition.
    unsafe { asm!("fence.proxy.async.shared::cta;", options(nostack, preserves_flags)) };
}
