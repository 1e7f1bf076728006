//! Random tensors and dropout on [`philox`](crate::philox): one thread a block of four elements.
//!
//! Results do not depend on the launch shape: element `i` comes from counter `(i / 4, stream, step)`.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use crate::philox::{normal4, philox4x32_10, uniform};
use crate::vector::{load4, store4};

/// Threads of a block of every kernel here.
pub const RANDOM_BLOCK: u32 = 256;
/// Elements a thread handles.
pub const RANDOM_PER_THREAD: u32 = 4;

/// The first element of this thread's four, or `None` past the end of `n`.
#[inline(always)]
fn first_of_four(n: u32) -> Option<u32> {
    let quad = thread::index_1d();
    // n.div_ceil(4) blocks of four; 4 * quad cannot overflow below it.
    if quad < n / 4 + !n.is_multiple_of(4) as u32 {
        Some(quad * 4)
    } else {
        None
    }
}

/// `out[i] = lo + width * u`, u uniform in [0, 1), rounded once.
///
/// # Safety
/// - `out` covers `n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(RANDOM_BLOCK))]
pub unsafe fn random_uniform(
    n: u32,
    out: *mut f32,
    seed_low: u32,
    seed_high: u32,
    stream: u32,
    lo: f32,
    width: f32,
) {
    if let Some(base) = first_of_four(n) {
        let w = philox4x32_10([base / 4, stream, 0, 0], [seed_low, seed_high]);
        let value = |word| uniform(word).mul_add(width, lo);
        // SAFETY: base < n, and out covers n elements (the kernel's contract).
        unsafe { store4(out, base, n, [value(w[0]), value(w[1]), value(w[2]), value(w[3])].into()) }
    }
}

/// `out[i] = mean + std * z`, z standard normal.
///
/// # Safety
/// - `out` covers `n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(RANDOM_BLOCK))]
pub unsafe fn random_normal(
    n: u32,
    out: *mut f32,
    seed_low: u32,
    seed_high: u32,
    stream: u32,
    mean: f32,
    std: f32,
) {
    if let Some(base) = first_of_four(n) {
        let w = philox4x32_10([base / 4, stream, 0, 0], [seed_low, seed_high]);
        let z = normal4(w);
        let value = |z: f32| z.mul_add(std, mean);
        // SAFETY: base < n, and out covers n elements (the kernel's contract).
        unsafe { store4(out, base, n, [value(z[0]), value(z[1]), value(z[2]), value(z[3])].into()) }
    }
}

/// Inverted dropout: `y[i] = x[i] * keep_scale` where the uniform number of element `i` is at least `p`, else 0.
/// `step` points to the low and high words of the step counter.
///
/// # Safety
/// - `x` and `y` cover `n` elements and do not overlap unless they are equal; `step` covers 2 words.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(RANDOM_BLOCK))]
pub unsafe fn dropout(
    n: u32,
    x: *const f32,
    y: *mut f32,
    step: *const u32,
    seed_low: u32,
    seed_high: u32,
    stream: u32,
    p: f32,
    keep_scale: f32,
) {
    if let Some(base) = first_of_four(n) {
        // SAFETY: step covers 2 words; base < n and x covers n elements (the kernel's contract).
        let (low, high, x) = unsafe { (*step, *step.add(1), load4(x, base, n)) };
        let w = philox4x32_10([base / 4, stream, low, high], [seed_low, seed_high]);
        let x: [f32; 4] = x.into();
        let value = |x: f32, word| if uniform(word) >= p { x * keep_scale } else { 0.0 };
        let v = [value(x[0], w[0]), value(x[1], w[1]), value(x[2], w[2]), value(x[3], w[3])];
        // SAFETY: as above, for y.
        unsafe { store4(y, base, n, v.into()) }
    }
}
