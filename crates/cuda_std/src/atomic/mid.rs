//! Atomic operations that take their [`Ordering`] as an argument; with a constant, only its instructions remain. They run
//! on the GPU only. Sequential consistency is a `fence.sc` before an acquiring operation.

use crate::gpu_only;
use core::sync::atomic::Ordering;
use cuda_std_macros::__paste as paste;

#[cfg(target_arch = "nvptx64")]
use super::intrinsics;
#[cfg(target_arch = "nvptx64")]
use Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// The functions of one scope.
macro_rules! scope {
    ($($scope:ident)*) => {$(
        paste! {
            /// A fence.
            #[inline(always)]
            #[gpu_only]
            pub fn [<$scope _thread_fence>](ordering: Ordering) {
                // SAFETY: a fence has no precondition.
                unsafe {
                    match ordering {
                        SeqCst => intrinsics::[<fence_sc_ $scope>](),
                        Relaxed => {}
                        _ => intrinsics::[<fence_acqrel_ $scope>](),
                    }
                }
            }
        }
        scope!(@access $scope 32 u32);
        scope!(@access $scope 64 u64);
        scope!(@ops $scope u32 [and or xor add sub min max exch]);
        scope!(@ops $scope u64 [and or xor add sub min max exch]);
        scope!(@ops $scope i32 [and or xor add sub min max exch]);
        scope!(@ops $scope i64 [and or xor add sub min max exch]);
        scope!(@ops $scope f32 [and or xor add sub exch]);
        scope!(@ops $scope f64 [and or xor add sub exch]);
    )*};
    (@access $scope:ident $width:literal $ty:ident) => {
        paste! {
            /// The value at `ptr`.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_load_ $width _ $scope>](ptr: *mut $ty, ordering: Ordering) -> $ty {
                // SAFETY: the caller's contract.
                unsafe {
                    match ordering {
                        SeqCst => {
                            intrinsics::[<fence_sc_ $scope>]();
                            intrinsics::[<atomic_load_acquire_ $width _ $scope>](ptr)
                        }
                        Acquire => intrinsics::[<atomic_load_acquire_ $width _ $scope>](ptr),
                        Relaxed => intrinsics::[<atomic_load_relaxed_ $width _ $scope>](ptr),
                        _ => panic!("a load is not a release"),
                    }
                }
            }

            /// Stores `val` at `ptr`.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_store_ $width _ $scope>](ptr: *mut $ty, ordering: Ordering, val: $ty) {
                // SAFETY: the caller's contract.
                unsafe {
                    match ordering {
                        SeqCst => {
                            intrinsics::[<fence_sc_ $scope>]();
                            intrinsics::[<atomic_store_relaxed_ $width _ $scope>](ptr, val)
                        }
                        Release => intrinsics::[<atomic_store_release_ $width _ $scope>](ptr, val),
                        Relaxed => intrinsics::[<atomic_store_relaxed_ $width _ $scope>](ptr, val),
                        _ => panic!("a store is not an acquire"),
                    }
                }
            }
        }
    };
    (@ops $scope:ident $ty:ident [$($op:ident)*]) => {
        paste! {$(
            #[doc = concat!("Atomic `", stringify!($op), "`; returns the value from before.")]
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_ $op _ $ty _ $scope>](ptr: *mut $ty, ordering: Ordering, val: $ty) -> $ty {
                // SAFETY: the caller's contract.
                unsafe {
                    match ordering {
                        SeqCst => {
                            intrinsics::[<fence_sc_ $scope>]();
                            intrinsics::[<atomic_fetch_ $op _acquire_ $ty _ $scope>](ptr, val)
                        }
                        Acquire => intrinsics::[<atomic_fetch_ $op _acquire_ $ty _ $scope>](ptr, val),
                        AcqRel => intrinsics::[<atomic_fetch_ $op _acqrel_ $ty _ $scope>](ptr, val),
                        Release => intrinsics::[<atomic_fetch_ $op _release_ $ty _ $scope>](ptr, val),
                        _ => intrinsics::[<atomic_fetch_ $op _relaxed_ $ty _ $scope>](ptr, val),
                    }
                }
            }
        )*}
    };
}

scope!(device block system);
