//! Copies from global to shared memory that bypass registers and complete later (`cp.async`, sm_80).
//!
//! A thread issues copies, closes a group of them ([`cp_async_commit`]), and waits until at most so many of its groups are
//! still under way ([`cp_async_wait`]). What other threads copied is visible after they waited and a barrier.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// Starts copying the first `bytes` (0 to 16) of 16 bytes at `global` to `shared`; the rest of the 16 there become 0. Past
/// L1 (`cp.async.cg.shared.global [shared], [global], 16, bytes`).
///
/// # Safety
/// - `shared` is the address of 16 bytes of shared memory, a multiple of 16, that no thread accesses before the copy is
///   waited for.
/// - `global` points to `bytes` readable bytes of global memory and is a multiple of 16.
#[inline(always)]
#[gpu_only]
pub unsafe fn cp_async_16(shared: u32, global: *const u8, bytes: u32) {
    asm!(
        "{{ .reg .u64 t; cvta.to.global.u64 t, {global}; cp.async.cg.shared.global [{shared}], [t], 16, {bytes}; }}",
        shared = in(reg32) shared,
        global = in(reg64) global,
        bytes = in(reg32) bytes,
        options(nostack, preserves_flags),
    );
}

/// Closes the group of the copies that this thread issued since the last one (`cp.async.commit_group`).
#[inline(always)]
#[gpu_only]
pub fn cp_async_commit() {
    // SAFETY: closing a group has no precondition.
    unsafe { asm!("cp.async.commit_group;", options(nostack, preserves_flags)) };
}

/// Waits until at most `PENDING` of this thread's groups are under way (`cp.async.wait_group`).
#[inline(always)]
#[gpu_only]
pub fn cp_async_wait<const PENDING: u32>() {
    // SAFETY: waiting has no precondition.
    unsafe { asm!("cp.async.wait_group {};", const PENDING, options(nostack, preserves_flags)) };
}
