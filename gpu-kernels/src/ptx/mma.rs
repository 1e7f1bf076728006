//! Matrix multiply-accumulate of one warp on tensor cores (`mma.sync`, sm_80): `D = A B + D`, sums in f32.
//!
//! A is 16 x K, B is K x 8, D is 16 x 8, spread over the lanes. With `g = lane / 4`, `t = lane % 4`:
//!
//! | register | A, 16-bit, K = 16 | A, tf32, K = 8 | B, 16-bit | B, tf32 | D |
//! |---|---|---|---|---|---|
//! | 0 | row g, k 2t, 2t+1 | row g, k t | k 2t, 2t+1, col g | k t, col g | row g, col 2t |
//! | 1 | row g+8, k 2t, 2t+1 | row g+8, k t | k 2t+8, 2t+9, col g | k t+4, col g | row g, col 2t+1 |
//! | 2 | row g, k 2t+8, 2t+9 | row g, k t+4 | | | row g+8, col 2t |
//! | 3 | row g+8, k 2t+8, 2t+9 | row g+8, k t+4 | | | row g+8, col 2t+1 |
//!
//! Two 16-bit elements share a register, the lower k in the lower half. [PTX ISA, "Matrix Fragments for mma"]

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// An `mma.sync` with four, two and four registers.
macro_rules! multiply {
    ($(#[$doc:meta])* $name:ident = $instruction:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// - All 32 lanes of the warp call it together.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name(d: &mut [f32; 4], a: [u32; 4], b: [u32; 2]) {
            asm!(
                concat!($instruction, " {{{d0}, {d1}, {d2}, {d3}}}, {{{a0}, {a1}, {a2}, {a3}}}, {{{b0}, {b1}}}, {{{d0}, {d1}, {d2}, {d3}}};"),
                d0 = inout(reg32) d[0],
                d1 = inout(reg32) d[1],
                d2 = inout(reg32) d[2],
                d3 = inout(reg32) d[3],
                a0 = in(reg32) a[0],
                a1 = in(reg32) a[1],
                a2 = in(reg32) a[2],
                a3 = in(reg32) a[3],
                b0 = in(reg32) b[0],
                b1 = in(reg32) b[1],
                options(nomem, nostack, preserves_flags),
            );
        }
    };
}

multiply!(
    /// 16 x 16 times 16 x 8 of bf16.
    mma_bf16 = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
);
multiply!(
    /// 16 x 16 times 16 x 8 of f16.
    mma_f16 = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
);
multiply!(
    /// 16 x 8 times 8 x 8 of tf32, each an f32 whose low 13 bits are not looked at.
    mma_tf32 = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
);
