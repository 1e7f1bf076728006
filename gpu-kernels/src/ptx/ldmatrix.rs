//! Loads of matrix fragments from shared memory (`ldmatrix`, sm_75).
//!
//! One instruction loads four 8 x 8 matrices of 16-bit elements (or 8 x 4 of 32-bit ones): lane `8 i + r` gives the
//! address of row `r` of matrix `i`, 16 bytes; register `i` of lane `4 r + c` receives the elements `2 c` and `2 c + 1` (the
//! 32-bit element `c`) of row `r`. That is how `mma` wants them ([`super::mma`]).

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// `ldmatrix` of four matrices.
macro_rules! load_matrix {
    ($(#[$doc:meta])* $name:ident = $instruction:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// - All 32 lanes of the warp call it together.
        /// - `row` is the address of 16 written bytes in shared memory, a multiple of 16.
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name(row: u32) -> [u32; 4] {
            let (a, b, c, d): (u32, u32, u32, u32);
            asm!(
                concat!($instruction, " {{{}, {}, {}, {}}}, [{}];"),
                out(reg32) a,
                out(reg32) b,
                out(reg32) c,
                out(reg32) d,
                in(reg32) row,
                options(readonly, nostack, preserves_flags),
            );
            [a, b, c, d]
        }
    };
}

load_matrix!(
    /// Four matrices, each lane giving one row's address (`ldmatrix.x4`).
    ldmatrix_x4 = "ldmatrix.sync.aligned.m8n8.x4.shared.b16"
);
load_matrix!(
    /// Four matrices of 16-bit elements, each transposed on the way (`ldmatrix.x4.trans`).
    ldmatrix_x4_trans = "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"
);
