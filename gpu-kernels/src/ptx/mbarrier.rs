//! Mbarriers (`mbarrier`, sm_90): counters in shared memory that threads and asynchronous copies arrive at, and whose phases
//! threads wait for. A barrier is named by the 32-bit shared address of its 8 bytes.
//!
//! Phase 0 is the first; it is over when as many arrivals as `mbarrier_init` said came and every byte announced by
//! `mbarrier_expect` was delivered. Then phase 1 begins at once. A wait names a phase by its parity and returns once that
//! phase is over; so on a new barrier a wait for parity 1 returns immediately, and nobody may lag two phases behind.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// Makes the 8 bytes at `barrier` an mbarrier whose phases take `count` arrivals.
///
/// # Safety
/// - `barrier` is aligned to 8, in the block's own shared memory, and no mbarrier yet.
/// - `count` is at least 1. [`mbarrier_init_fence`] and a barrier come before any use by other threads.
#[inline(always)]
#[gpu_only]
pub unsafe fn mbarrier_init(barrier: u32, count: u32) {
    asm!(
        "mbarrier.init.shared::cta.b64 [{}], {};",
        in(reg32) barrier,
        in(reg32) count,
        options(nostack, preserves_flags),
    );
}

/// Makes the thread's initialised mbarriers known to the cluster and to asynchronous copies
/// (`fence.mbarrier_init.release.cluster`); a barrier of the cluster (or the block) has to follow.
#[inline(always)]
#[gpu_only]
pub fn mbarrier_init_fence() {
    // SAFETY: a fence has no precondition.
    unsafe { asm!("fence.mbarrier_init.release.cluster;", options(nostack, preserves_flags)) };
}

/// Arrives, and announces `bytes` that copies will deliver in this phase.
///
/// # Safety
/// - `barrier` is a live mbarrier of this block, and this arrival is one its phase counts on.
#[inline(always)]
#[gpu_only]
pub unsafe fn mbarrier_expect(barrier: u32, bytes: u32) {
    asm!(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{}], {};",
        in(reg32) barrier,
        in(reg32) bytes,
        options(nostack, preserves_flags),
    );
}

/// Arrives at an mbarrier of any block of the cluster (an address from [`map_to_rank`](super::map_to_rank)).
///
/// In another block, the arrival says that the thread is through with what asynchronous operations have read for it (a
/// `wgmma` it has waited for); it makes none of the thread's own accesses visible there. That would take the scope of the
/// cluster, which costs a fence of all memory each time.
///
/// # Safety
/// - `barrier` is a live mbarrier of a block that has not ended, and this arrival is one its phase counts on.
#[inline(always)]
#[gpu_only]
pub unsafe fn mbarrier_arrive_cluster(barrier: u32) {
    asm!("mbarrier.arrive.shared::cluster.b64 _, [{}];", in(reg32) barrier, options(nostack, preserves_flags));
}

/// Waits until the phase of `parity` is over, whoever arrives.
///
/// # Safety
/// - `barrier` is a live mbarrier of this block; the phase meant is the current one or the one before it.
#[inline(always)]
#[gpu_only]
#[allow(named_asm_labels)] // In braces: each expansion has its own.
pub unsafe fn mbarrier_wait(barrier: u32, parity: u32) {
    asm!(
        "{{ .reg .pred done;",
        "WAIT:",
        "mbarrier.try_wait.parity.shared::cta.b64 done, [{}], {};",
        "@!done bra WAIT; }}",
        in(reg32) barrier,
        in(reg32) parity,
        options(nostack, preserves_flags),
    );
}
