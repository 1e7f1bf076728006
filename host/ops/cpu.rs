//! How CPU implementations get the machine's vector width and its cores.
//!
//! A loop over slices is written once, as an `#[inline(always)]` body generic over [`Real`](crate::real::Real), and
//! compiled for AVX-512, AVX2 and the baseline by [`simd!`], which picks one when the program runs:
//!
//! ```text
//! simd! { fn relu_f32(x: &[f32], y: &mut [f32]) { relu_loop(x, y) } }
//! ```
//!
//! Work is split among cores by [`for_chunks`] in ranges that depend on the length alone, never on the number of
//! threads, so results do not either. Nothing here allocates.

use rayon::prelude::*;

/// Elements from which a pass over memory is split among cores: below, waking a thread costs more than it saves.
pub const PARALLEL_FROM: usize = 1 << 18;
/// Elements of one range of [`for_chunks`]: 256 KiB of `f32`, half of a core's second-level cache.
pub const CHUNK: usize = 1 << 16;

/// A function compiled for AVX-512, AVX2 with FMA, and the baseline, chosen at run time. Its body must be made of
/// `#[inline(always)]` functions and loops written out in place (a closure may stay a call, compiled for the baseline).
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        $vis fn $name($($arg: $ty),*) $body
    };
}
pub(crate) use simd;

/// Calls `body(start, range)` for consecutive ranges of `y`, where `range` begins at element `start`: all of `y` at once
/// when it is short, else [`CHUNK`] elements a call, on all cores.
pub fn for_chunks<T: Send>(y: &mut [T], body: impl Fn(usize, &mut [T]) + Sync) {
    if y.len() < PARALLEL_FROM {
        body(0, y);
    } else {
        y.par_chunks_mut(CHUNK).enumerate().for_each(|(i, range)| body(i * CHUNK, range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_once_whatever_the_length() {
        for n in [0, 1, CHUNK, PARALLEL_FROM - 1, PARALLEL_FROM, PARALLEL_FROM + 1, 5 * CHUNK + 17] {
            let mut y = vec![0usize; n];
            for_chunks(&mut y, |start, range| {
                for (i, v) in range.iter_mut().enumerate() {
                    *v += start + i + 1;
                }
            });
            assert!(y.iter().enumerate().all(|(i, &v)| v == i + 1), "n = {n}");
        }
    }
}
