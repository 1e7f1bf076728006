//! `y <- a x + y`: the tutorial kernel.

use cuda_std::prelude::*;

/// Threads of a block.
pub const BLOCK: u32 = 256;

/// `y[i] += a * x[i]` for every `i < n`. One thread an element: launch at least `n` threads, in one dimension.
///
/// # Safety
///
/// `x` and `y` point to at least `n` elements and do not overlap.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn saxpy(n: u32, a: f32, x: *const f32, y: *mut f32) {
    let i = thread::index_1d();
    if i < n {
        *y.add(i as usize) += a * *x.add(i as usize);
    }
}
