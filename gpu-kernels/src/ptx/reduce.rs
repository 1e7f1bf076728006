//! Warp shuffles for reductions.

/// The `value` of the lane whose number is this lane's with the bits of `mask` flipped.
///
/// # Safety
/// - All 32 lanes of the warp arrive together.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
pub unsafe fn shfl_xor(value: u32, mask: u32) -> u32 {
    unsafe extern "C" {
        // The intrinsic, not `asm!`: LLVM knows that it is convergent and leaves it in uniform control flow.
        #[link_name = "llvm.nvvm.shfl.sync.bfly.i32"]
        fn shfl_sync_bfly(members: u32, value: u32, mask: u32, clamp: u32) -> u32;
    }
    // SAFETY: the caller's contract; a clamp of 31 means one segment of 32 lanes.
    unsafe { shfl_sync_bfly(u32::MAX, value, mask, 31) }
}

/// The `value` of the lane whose number is this lane's with the bits of `mask` flipped.
///
/// # Safety
/// - Runs only on the GPU.
#[cfg(not(target_arch = "nvptx64"))]
pub unsafe fn shfl_xor(_value: u32, _mask: u32) -> u32 {
    panic!("`shfl_xor` runs only on the GPU")
}
