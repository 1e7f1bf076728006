//! Warps: 32 threads of a block that run together. (Shuffles and votes are not in Rust-CUDA's `cuda_std` 0.2; a kernel
//! crate brings its own.)

use crate::gpu_only;

#[cfg(target_arch = "nvptx64")]
unsafe extern "C" {
    #[link_name = "llvm.nvvm.bar.warp.sync"]
    fn bar_warp_sync(mask: u32);
}

/// Waits for the threads of this warp whose bit in `mask` is set, and makes their memory accesses before it visible to
/// each other after it.
///
/// # Safety
///
/// The calling thread must be in `mask`, and no thread in `mask` may have left the kernel.
#[inline(always)]
#[gpu_only]
pub unsafe fn sync_warp(mask: u32) {
    // SAFETY: the caller's contract.
    unsafe { bar_warp_sync(mask) }
}

/// This thread's lane in its warp, `0..32`.
#[inline(always)]
#[gpu_only]
pub fn lane_id() -> u32 {
    let lane: u32;
    // SAFETY: reading a special register has no precondition, and a lane is below the warp's size.
    unsafe {
        core::arch::asm!("mov.u32 {}, %laneid;", out(reg32) lane, options(pure, nomem, nostack, preserves_flags));
        core::hint::assert_unchecked(lane < 32);
    }
    lane
}
