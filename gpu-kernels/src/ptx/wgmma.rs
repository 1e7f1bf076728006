//! Products by a warpgroup (`wgmma`, sm_90a): four warps multiply a 64-row tile of A by a tile of B, both in shared memory,
//! into accumulators spread over their registers.
//!
//! # Operands
//!
//! Operands lie in shared memory in the 128-byte swizzle, as [tensor copies](super::tma) bring them: in lines of 128 bytes,
//! eight lines an atom of 1024 bytes in which the 16-byte chunk `c` of line `r` sits at `c ^ r`. Atoms start at multiples of
//! 1024. A panel is 128 bytes of K deep:
//!
//! * *K-major*: line `i` holds 128 bytes along K of row `i` of op(A) (column `i` of op(B)); [`k_major`].
//! * *MN-major*, 16-bit elements only: blocks of 64 rows (columns), one behind the other; in a block, line `k` holds the 64
//!   elements of one k; [`mn_major`].
//!
//! # Accumulators
//!
//! Thread `t` of the warpgroup (`lane = t % 32`) has of D's 64 x N elements, for each `j < N / 8`, in registers `4 j ..`: row
//! `t / 32 * 16 + lane / 4`, columns `8 j + lane % 4 * 2` and the next; then the same columns of the row 8 below.

use core::mem::MaybeUninit;
use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// A thread's part of D: N = 2 `R` columns. Uninitialised until the first product, which overwrites it; initialised in a
/// loop it would land in local memory.
pub type Accumulators<const R: usize> = [MaybeUninit<f32>; R];

/// Bytes of K in a panel.
pub const PANEL_BYTES: u32 = 128;
/// Bytes of a block of 64 rows of an MN-major panel: 64 elements of K, 128 bytes each.
pub const BLOCK_BYTES: u32 = 64 * 128;

/// A descriptor: the address, the two strides, and the 128-byte swizzle.
const fn descriptor(address: u32, leading: u32, stride: u32) -> u64 {
    ((address & 0x3_ffff) >> 4) as u64
        | ((leading >> 4) as u64) << 16
        | ((stride >> 4) as u64) << 32
        | 1 << 62
}

/// The descriptor of a K-major panel that starts at shared address `panel`.
#[inline(always)]
pub const fn k_major(panel: u32) -> u64 {
    // The leading stride has no meaning here.
    descriptor(panel, 16, 1024)
}

/// The descriptor of an MN-major panel that starts at shared address `panel`.
#[inline(always)]
pub const fn mn_major(panel: u32) -> u64 {
    descriptor(panel, BLOCK_BYTES, 1024)
}

/// What is added to a descriptor for the next instruction's K: 32 bytes along a line, or 16 lines.
#[cfg(target_arch = "nvptx64")]
const fn step(transposed: i32) -> i32 {
    if transposed == 1 {
        16 * 128 >> 4
    } else {
        32 >> 4
    }
}

/// The four instructions of a panel, between a fence and the wait.
#[cfg(target_arch = "nvptx64")]
macro_rules! panel {
    ($instruction:expr, $tail:literal; $acc:ident [$first:literal $($i:literal)*]; $($operands:tt)*) => {
        asm!(
            "{{ .reg .pred p; .reg .b64 x, y; setp.ne.b32 p, {accumulate}, 0; wgmma.fence.sync.aligned;",
            concat!($instruction, " {{{", $first, "}", $(", {", $i, "}",)* "}}, {a}, {b}, p, 1, 1", $tail, ";"),
            "add.s64 x, {a}, {step_a}; add.s64 y, {b}, {step_b};",
            concat!($instruction, " {{{", $first, "}", $(", {", $i, "}",)* "}}, x, y, 1, 1, 1", $tail, ";"),
            "add.s64 x, x, {step_a}; add.s64 y, y, {step_b};",
            concat!($instruction, " {{{", $first, "}", $(", {", $i, "}",)* "}}, x, y, 1, 1, 1", $tail, ";"),
            "add.s64 x, x, {step_a}; add.s64 y, y, {step_b};",
            concat!($instruction, " {{{", $first, "}", $(", {", $i, "}",)* "}}, x, y, 1, 1, 1", $tail, ";"),
            "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }}",
            inout(reg32) $acc[$first],
            $(inout(reg32) $acc[$i],)*
            $($operands)*
            options(nostack, preserves_flags),
        )
    };
}

/// The function of one instruction and number of columns.
macro_rules! multiply {
    ($(#[$doc:meta])* $name:ident, $r:literal $list:tt, $instruction:expr, transposed) => {
        $(#[$doc])*
        ///
        /// `TA`, `TB`: 1 where the operand is MN-major.
        ///
        /// # Safety
        /// - All threads of a warpgroup call it together with the same arguments; `a` and `b` are descriptors of panels
        ///   that were written and stay until it returns. Without `accumulate`, `acc` may be uninitialised.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name<const TA: i32, const TB: i32>(acc: &mut Accumulators<$r>, a: u64, b: u64, accumulate: bool) {
            panel!(
                $instruction, ", {ta}, {tb}"; acc $list;
                a = in(reg64) a,
                b = in(reg64) b,
                accumulate = in(reg32) accumulate as u32,
                step_a = const step(TA),
                step_b = const step(TB),
                ta = const TA,
                tb = const TB,
            );
        }
    };
    ($(#[$doc:meta])* $name:ident, $r:literal $list:tt, $instruction:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// - As for [`wgmma_bf16_n256`], both operands K-major.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name(acc: &mut Accumulators<$r>, a: u64, b: u64, accumulate: bool) {
            panel!(
                $instruction, ""; acc $list;
                a = in(reg64) a,
                b = in(reg64) b,
                accumulate = in(reg32) accumulate as u32,
                step_a = const step(0),
                step_b = const step(0),
            );
        }
    };
}

/// The functions of one instruction, for 256 and for 128 columns.
macro_rules! products {
    ($(($what:literal, $n256:ident, $n128:ident, $shape:literal, $types:literal $(, $transposed:ident)?))*) => {$(
        multiply!(
            #[doc = concat!("D (64 x 256) `+=` a panel of A times one of B, ", $what, ", and waits for it.")]
            $n256, 128 [
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
        64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95
        96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119 120 121 122 123 124 125 126 127
            ], concat!("wgmma.mma_async.sync.aligned.m64n256", $shape, $types) $(, $transposed)?
        );
        multiply!(
            #[doc = concat!("D (64 x 128) `+=` a panel of A times one of B, ", $what, ", and waits for it.")]
            $n128, 64 [
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
            ], concat!("wgmma.mma_async.sync.aligned.m64n128", $shape, $types) $(, $transposed)?
        );
    )*};
}

products! {
    ("bf16, sums in f32", wgmma_bf16_n256, wgmma_bf16_n128, "k16", ".f32.bf16.bf16", transposed)
    ("f16, sums in f32", wgmma_f16_n256, wgmma_f16_n128, "k16", ".f32.f16.f16", transposed)
    ("tf32 (f32 whose low 13 bits are ignored), sums in f32", wgmma_tf32_n256, wgmma_tf32_n128, "k8", ".f32.tf32.tf32")
    ("e4m3 by e4m3, sums in f32", wgmma_e4m3_e4m3_n256, wgmma_e4m3_e4m3_n128, "k32", ".f32.e4m3.e4m3")
    ("e4m3 by e5m2, sums in f32", wgmma_e4m3_e5m2_n256, wgmma_e4m3_e5m2_n128, "k32", ".f32.e4m3.e5m2")
    ("e5m2 by e4m3, sums in f32", wgmma_e5m2_e4m3_n256, wgmma_e5m2_e4m3_n128, "k32", ".f32.e5m2.e4m3")
    ("e5m2 by e5m2, sums in f32", wgmma_e5m2_e5m2_n256, wgmma_e5m2_e5m2_n128, "k32", ".f32.e5m2.e5m2")
}
