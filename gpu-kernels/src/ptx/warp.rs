//! Communication between the 32 lanes of a warp. A kernel with a partial warp (a block size that is no multiple of 32) must
//! not use these: every function here names all 32 lanes.

use cuda_std::gpu_only;

/// All lanes.
#[cfg(target_arch = "nvptx64")]
const FULL: u32 = u32::MAX;
/// The clamp of a shuffle over the whole warp.
#[cfg(target_arch = "nvptx64")]
const WHOLE: u32 = 31;

#[cfg(target_arch = "nvptx64")]
#[allow(improper_ctypes)]
extern "C" {
    #[link_name = "llvm.nvvm.shfl.sync.down.i32"]
    fn llvm_shfl_down(mask: u32, value: u32, delta: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.shfl.sync.up.i32"]
    fn llvm_shfl_up(mask: u32, value: u32, delta: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.shfl.sync.bfly.i32"]
    fn llvm_shfl_bfly(mask: u32, value: u32, lane_mask: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.shfl.sync.idx.i32"]
    fn llvm_shfl_idx(mask: u32, value: u32, lane: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.vote.ballot.sync"]
    fn llvm_ballot(mask: u32, predicate: bool) -> u32;
    #[link_name = "llvm.nvvm.vote.any.sync"]
    fn llvm_any(mask: u32, predicate: bool) -> bool;
    #[link_name = "llvm.nvvm.vote.all.sync"]
    fn llvm_all(mask: u32, predicate: bool) -> bool;
    #[link_name = "llvm.nvvm.activemask"]
    fn llvm_activemask() -> u32;
    #[link_name = "llvm.nvvm.redux.sync.add"]
    fn llvm_redux_add(value: u32, mask: u32) -> u32;
    #[link_name = "llvm.nvvm.redux.sync.umin"]
    fn llvm_redux_min(value: u32, mask: u32) -> u32;
    #[link_name = "llvm.nvvm.redux.sync.umax"]
    fn llvm_redux_max(value: u32, mask: u32) -> u32;
}

/// A shuffle for `u32` and one for `f32`.
macro_rules! shuffle {
    ($(#[$doc:meta])* $name:ident, $name_f32:ident, $by:ident, $intrinsic:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// - All 32 lanes of the warp call it together.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name(value: u32, $by: u32) -> u32 {
            $intrinsic(FULL, value, $by, WHOLE)
        }

        $(#[$doc])*
        ///
        /// # Safety
        /// - All 32 lanes of the warp call it together.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name_f32(value: f32, $by: u32) -> f32 {
            f32::from_bits($intrinsic(FULL, value.to_bits(), $by, WHOLE))
        }
    };
}

shuffle!(
    /// The `value` of the lane `delta` above this one; this lane's own where that is past lane 31 (`shfl.sync.down`).
    shfl_down, shfl_down_f32, delta, llvm_shfl_down
);
shuffle!(
    /// The `value` of lane `lane ^ lane_mask` (`shfl.sync.bfly`).
    shfl_xor, shfl_xor_f32, lane_mask, llvm_shfl_bfly
);
shuffle!(
    /// The `value` of lane `source`, modulo 32 (`shfl.sync.idx`).
    shfl_idx, shfl_idx_f32, source, llvm_shfl_idx
);

/// The `value` of the lane `delta` below this one; this lane's own where that is before lane 0 (`shfl.sync.up`).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn shfl_up(value: u32, delta: u32) -> u32 {
    llvm_shfl_up(FULL, value, delta, 0)
}

/// A bit for each lane whose `predicate` is true (`vote.sync.ballot`).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn ballot(predicate: bool) -> u32 {
    llvm_ballot(FULL, predicate)
}

/// Whether `predicate` is true in at least one lane (`vote.sync.any`).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn any(predicate: bool) -> bool {
    llvm_any(FULL, predicate)
}

/// Whether `predicate` is true in every lane (`vote.sync.all`).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn all(predicate: bool) -> bool {
    llvm_all(FULL, predicate)
}

/// A bit for each lane that happens to execute this together with the calling one (`activemask`). It says nothing about
/// which lanes *will* come to the next instruction.
#[inline(always)]
#[gpu_only]
pub fn activemask() -> u32 {
    // SAFETY: reading the mask has no precondition.
    unsafe { llvm_activemask() }
}

/// The sum of `value` over the warp, modulo 2^32, in every lane (`redux.sync.add`, sm_80).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn redux_add(value: u32) -> u32 {
    llvm_redux_add(value, FULL)
}

/// The smallest `value` of the warp, in every lane (`redux.sync.min.u32`, sm_80).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn redux_min(value: u32) -> u32 {
    llvm_redux_min(value, FULL)
}

/// The largest `value` of the warp, in every lane (`redux.sync.max.u32`, sm_80).
///
/// # Safety
/// - All 32 lanes of the warp call it together.
#[inline(always)]
#[gpu_only]
pub unsafe fn redux_max(value: u32) -> u32 {
    llvm_redux_max(value, FULL)
}
