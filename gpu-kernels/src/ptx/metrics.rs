//! Atomic counters.

/// Adds `value` to the counter at `at`; the old value is not returned. Exact in any order.
///
/// # Safety
/// - `at` points to global memory that other threads touch only through this function while the kernel runs.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
pub unsafe fn atomic_add(at: *mut u32, value: u32) {
    // SAFETY: the caller's contract; the address is converted from generic to global first.
    unsafe {
        core::arch::asm!(
            "{{ .reg .u64 a; cvta.to.global.u64 a, {at}; red.relaxed.gpu.global.add.u32 [a], {value}; }}",
            at = in(reg64) at,
            value = in(reg32) value,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds `value` to the counter at `at`.
///
/// # Safety
/// - Runs only on the GPU.
#[cfg(not(target_arch = "nvptx64"))]
pub unsafe fn atomic_add(_at: *mut u32, _value: u32) {
    panic!("`atomic_add` runs only on the GPU")
}
