//! One function for each atomic PTX instruction, named by operation, ordering, type and scope:
//! `atomic_fetch_add_relaxed_u32_device` is `atom.relaxed.gpu.add.u32`.
//!
//! Orderings: `relaxed`, `acquire`, `release`, `acqrel`, and `volatile`, which is PTX's form without ordering. Scopes:
//! `block` (`.cta`), `device` (`.gpu`), `system` (`.sys`). Subtraction adds the negated value; `inc` and `dec` add and
//! subtract one (PTX's own `inc` and `dec` wrap at a bound, which these signatures do not have).

use crate::gpu_only;
use cuda_std_macros::__paste as paste;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

macro_rules! fences {
    ($($name:ident = $instruction:literal, $doc:literal;)*) => {$(
        #[doc = $doc]
        ///
        /// # Safety
        ///
        /// A fence has no precondition; it is unsafe for Rust-CUDA's signature.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name() {
            // SAFETY: a fence has no precondition.
            unsafe { asm!(concat!($instruction, ";"), options(nostack, preserves_flags)) }
        }
    )*};
}

fences! {
    membar_device = "membar.gl", "The fence of old GPUs, for the device.";
    membar_block = "membar.cta", "The fence of old GPUs, for the block.";
    membar_system = "membar.sys", "The fence of old GPUs, for the system.";
    fence_sc_device = "fence.sc.gpu", "A sequentially consistent fence for the device.";
    fence_sc_block = "fence.sc.cta", "A sequentially consistent fence for the block.";
    fence_sc_system = "fence.sc.sys", "A sequentially consistent fence for the system.";
    fence_acqrel_device = "fence.acq_rel.gpu", "An acquire and release fence for the device.";
    fence_acqrel_block = "fence.acq_rel.cta", "An acquire and release fence for the block.";
    fence_acqrel_system = "fence.acq_rel.sys", "An acquire and release fence for the system.";
}

/// Loads: ordering and its text with scope.
macro_rules! loads {
    ($($ordering:ident $scope:ident $text:literal;)*) => {$(
        loads!(@ $ordering $scope $text 32 u32 reg32);
        loads!(@ $ordering $scope $text 64 u64 reg64);
    )*};
    (@ $ordering:ident $scope:ident $text:literal $width:literal $ty:ident $reg:ident) => {
        paste! {
            #[doc = concat!("`ld.", $text, ".", stringify!($ty), "`")]
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_load_ $ordering _ $width _ $scope>](ptr: *const $ty) -> $ty {
                let out: $ty;
                // SAFETY: the caller's contract.
                unsafe {
                    asm!(
                        concat!("ld.", $text, ".", stringify!($ty), " {}, [{}];"),
                        out($reg) out, in(reg64) ptr, options(nostack, preserves_flags)
                    )
                };
                out
            }
        }
    };
}

loads! {
    relaxed device "relaxed.gpu"; acquire device "acquire.gpu"; volatile device "volatile";
    relaxed block "relaxed.cta"; acquire block "acquire.cta"; volatile block "volatile";
    relaxed system "relaxed.sys"; acquire system "acquire.sys"; volatile system "volatile";
}

/// Stores: ordering and its text with scope.
macro_rules! stores {
    ($($ordering:ident $scope:ident $text:literal;)*) => {$(
        stores!(@ $ordering $scope $text 32 u32 reg32);
        stores!(@ $ordering $scope $text 64 u64 reg64);
    )*};
    (@ $ordering:ident $scope:ident $text:literal $width:literal $ty:ident $reg:ident) => {
        paste! {
            #[doc = concat!("`st.", $text, ".", stringify!($ty), "`")]
            ///
            /// # Safety
            ///
            /// `ptr` is valid for writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_store_ $ordering _ $width _ $scope>](ptr: *mut $ty, val: $ty) {
                // SAFETY: the caller's contract.
                unsafe {
                    asm!(
                        concat!("st.", $text, ".", stringify!($ty), " [{}], {};"),
                        in(reg64) ptr, in($reg) val, options(nostack, preserves_flags)
                    )
                };
            }
        }
    };
}

stores! {
    relaxed device "relaxed.gpu"; release device "release.gpu"; volatile device "volatile";
    relaxed block "relaxed.cta"; release block "release.cta"; volatile block "volatile";
    relaxed system "relaxed.sys"; release system "release.sys"; volatile system "volatile";
}

/// For each operation on a type, its function in every ordering and scope.
macro_rules! in_every_ordering {
    ($make:ident: $($args:tt)*) => {
        in_every_ordering!(@scopes $make relaxed ".relaxed" $($args)*);
        in_every_ordering!(@scopes $make acquire ".acquire" $($args)*);
        in_every_ordering!(@scopes $make release ".release" $($args)*);
        in_every_ordering!(@scopes $make acqrel ".acq_rel" $($args)*);
        in_every_ordering!(@scopes $make volatile "" $($args)*);
    };
    (@scopes $make:ident $ordering:ident $text:literal $($args:tt)*) => {
        $make!($ordering $text device ".gpu" $($args)*);
        $make!($ordering $text block ".cta" $($args)*);
        $make!($ordering $text system ".sys" $($args)*);
    };
}

/// `op type class instruction`, with the operand's value by `$operand`.
macro_rules! fetch {
    ($($op:ident $ty:ident $reg:ident $instruction:literal;)*) => {$(
        in_every_ordering!(fetch_one: $op $ty $reg $instruction);
    )*};
}
macro_rules! fetch_one {
    ($ordering:ident $order:literal $scope:ident $at:literal $op:ident $ty:ident $reg:ident $instruction:literal) => {
        paste! {
            #[doc = concat!("`atom", $order, $at, $instruction, "`: returns the value from before.")]
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_ $op _ $ordering _ $ty _ $scope>](ptr: *mut $ty, val: $ty) -> $ty {
                let out: $ty;
                // SAFETY: the caller's contract.
                unsafe {
                    asm!(
                        concat!("atom", $order, $at, $instruction, " {}, [{}], {};"),
                        out($reg) out, in(reg64) ptr, in($reg) val, options(nostack, preserves_flags)
                    )
                };
                out
            }
        }
    };
}

fetch! {
    and u32 reg32 ".and.b32"; and u64 reg64 ".and.b64"; and i32 reg32 ".and.b32"; and i64 reg64 ".and.b64";
    and f32 reg32 ".and.b32"; and f64 reg64 ".and.b64";
    or u32 reg32 ".or.b32"; or u64 reg64 ".or.b64"; or i32 reg32 ".or.b32"; or i64 reg64 ".or.b64";
    or f32 reg32 ".or.b32"; or f64 reg64 ".or.b64";
    xor u32 reg32 ".xor.b32"; xor u64 reg64 ".xor.b64"; xor i32 reg32 ".xor.b32"; xor i64 reg64 ".xor.b64";
    xor f32 reg32 ".xor.b32"; xor f64 reg64 ".xor.b64";
    exch u32 reg32 ".exch.b32"; exch u64 reg64 ".exch.b64"; exch i32 reg32 ".exch.b32"; exch i64 reg64 ".exch.b64";
    exch f32 reg32 ".exch.b32"; exch f64 reg64 ".exch.b64";
    add u32 reg32 ".add.u32"; add u64 reg64 ".add.u64"; add i32 reg32 ".add.s32"; add i64 reg64 ".add.u64";
    add f32 reg32 ".add.f32"; add f64 reg64 ".add.f64";
    min u32 reg32 ".min.u32"; min u64 reg64 ".min.u64"; min i32 reg32 ".min.s32"; min i64 reg64 ".min.s64";
    max u32 reg32 ".max.u32"; max u64 reg64 ".max.u64"; max i32 reg32 ".max.s32"; max i64 reg64 ".max.s64";
}

/// Operations that are an addition of something else: `op type = |val| addend`.
macro_rules! by_addition {
    ($($ty:ident $negate:expr, $one:expr;)*) => {$(
        in_every_ordering!(sub_one: $ty $negate);
        in_every_ordering!(inc_one: $ty $one, $negate);
    )*};
    ($($ty:ident $negate:expr;)*) => {$(
        in_every_ordering!(sub_one: $ty $negate);
    )*};
}
macro_rules! sub_one {
    ($ordering:ident $order:literal $scope:ident $at:literal $ty:ident $negate:expr) => {
        paste! {
            /// Subtracts and returns the value from before.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_sub_ $ordering _ $ty _ $scope>](ptr: *mut $ty, val: $ty) -> $ty {
                let negate: fn($ty) -> $ty = $negate;
                // SAFETY: the caller's contract.
                unsafe { [<atomic_fetch_add_ $ordering _ $ty _ $scope>](ptr, negate(val)) }
            }
        }
    };
}
macro_rules! inc_one {
    ($ordering:ident $order:literal $scope:ident $at:literal $ty:ident $one:expr, $negate:expr) => {
        paste! {
            /// Adds one and returns the value from before.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_inc_ $ordering _ $ty _ $scope>](ptr: *mut $ty) -> $ty {
                // SAFETY: the caller's contract.
                unsafe { [<atomic_fetch_add_ $ordering _ $ty _ $scope>](ptr, $one) }
            }

            /// Subtracts one and returns the value from before.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_dec_ $ordering _ $ty _ $scope>](ptr: *mut $ty) -> $ty {
                let negate: fn($ty) -> $ty = $negate;
                // SAFETY: the caller's contract.
                unsafe { [<atomic_fetch_add_ $ordering _ $ty _ $scope>](ptr, negate($one)) }
            }
        }
    };
}

by_addition! {
    u32 u32::wrapping_neg, 1;
    u64 u64::wrapping_neg, 1;
    i32 i32::wrapping_neg, 1;
    i64 i64::wrapping_neg, 1;
}
by_addition! {
    f32 |x| -x;
    f64 |x| -x;
}

macro_rules! cas {
    ($($ty:ident $reg:ident $instruction:literal;)*) => {$(
        in_every_ordering!(cas_one: $ty $reg $instruction);
    )*};
}
macro_rules! cas_one {
    ($ordering:ident $order:literal $scope:ident $at:literal $ty:ident $reg:ident $instruction:literal) => {
        paste! {
            /// Stores `second_val` if the bits are those of `first_val`; returns the value from before.
            ///
            /// # Safety
            ///
            /// `ptr` is valid for reading and writing and only accessed atomically meanwhile.
            #[inline(always)]
            #[gpu_only]
            pub unsafe fn [<atomic_fetch_cas_ $ordering _ $ty _ $scope>](
                ptr: *mut $ty,
                first_val: $ty,
                second_val: $ty,
            ) -> $ty {
                let out: $ty;
                // SAFETY: the caller's contract.
                unsafe {
                    asm!(
                        concat!("atom", $order, $at, $instruction, " {}, [{}], {}, {};"),
                        out($reg) out, in(reg64) ptr, in($reg) first_val, in($reg) second_val,
                        options(nostack, preserves_flags)
                    )
                };
                out
            }
        }
    };
}

cas! {
    u32 reg32 ".cas.b32"; u64 reg64 ".cas.b64"; i32 reg32 ".cas.b32"; i64 reg64 ".cas.b64";
    f32 reg32 ".cas.b32"; f64 reg64 ".cas.b64";
}
