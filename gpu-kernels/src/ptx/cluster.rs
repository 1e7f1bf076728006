//! Clusters (sm_90): blocks that run at the same time and reach each other's shared memory; and how the registers of a block
//! are shared out among its warpgroups. `launch_bounds(.., cluster = N)` makes them.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

#[cfg(target_arch = "nvptx64")]
extern "C" {
    #[link_name = "llvm.nvvm.barrier.cluster.arrive"]
    fn llvm_cluster_arrive();
    #[link_name = "llvm.nvvm.barrier.cluster.wait"]
    fn llvm_cluster_wait();
}

/// This block's number in its cluster (`%cluster_ctarank`).
#[inline(always)]
#[gpu_only]
pub fn cluster_rank() -> u32 {
    let rank: u32;
    // SAFETY: reading a special register has no precondition.
    unsafe {
        asm!("mov.u32 {}, %cluster_ctarank;", out(reg32) rank, options(pure, nomem, nostack, preserves_flags));
    }
    rank
}

/// The address, in the cluster's window, of what lies at `address` in the shared memory of block `rank` (`mapa`).
///
/// # Safety
/// - `address` is in shared memory, `rank` below the cluster's size.
#[inline(always)]
#[gpu_only]
pub unsafe fn map_to_rank(address: u32, rank: u32) -> u32 {
    let there: u32;
    asm!(
        "mapa.shared::cluster.u32 {}, {}, {};",
        out(reg32) there,
        in(reg32) address,
        in(reg32) rank,
        options(pure, nomem, nostack, preserves_flags),
    );
    there
}

/// Waits for all threads of the cluster, and makes what they did to shared memory before it visible after it
/// (`barrier.cluster.arrive`, `.wait`; threads of a warp need not come together).
///
/// # Safety
/// - Every thread of the cluster that has not ended comes here.
#[inline(always)]
#[gpu_only]
pub unsafe fn cluster_sync() {
    llvm_cluster_arrive();
    llvm_cluster_wait();
}

/// Gives back registers: the warp has `N` from here on (`setmaxnreg.dec`).
///
/// # Safety
/// - The kernel has a register bound (`launch_bounds(.., max_registers = ..)`); all warps of the warpgroup execute it
///   together; `N` is a multiple of 8 in 24..=256, at most what the warp has.
#[inline(always)]
#[gpu_only]
pub unsafe fn release_registers<const N: u32>() {
    asm!("setmaxnreg.dec.sync.aligned.u32 {};", const N, options(nostack, preserves_flags));
}

/// Asks for registers, and waits for other warpgroups to give them back: the warp has `N` from here on (`setmaxnreg.inc`).
///
/// # Safety
/// - As [`release_registers`], but `N` is at least what the warp has; the block's other warpgroups give back enough.
#[inline(always)]
#[gpu_only]
pub unsafe fn request_registers<const N: u32>() {
    asm!("setmaxnreg.inc.sync.aligned.u32 {};", const N, options(nostack, preserves_flags));
}
