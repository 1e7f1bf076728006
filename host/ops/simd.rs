//! Vector loops for CPU implementations: dispatch on the CPU's features, and rows in pieces of [`LANES`] elements.
//!
//! A loop is a struct with its operands that implements [`Body`]; [`simd`] runs it compiled for the best instruction set
//! at hand. Bodies are `#[inline(always)]` all the way down, so that the whole loop is compiled for that set. Splitting
//! over threads stays outside: [`task_len`] and [`MAX_TASKS`] fix the pieces by the size alone, so that results do not
//! depend on the number of threads.

use crate::real::Real;

/// Elements that one vector step handles.
pub(super) const LANES: usize = 16;
/// Work (in elements) from which threads pay.
pub(super) const PARALLEL: usize = 1 << 18;
/// Pieces that work is split into at most; partial results fit an array of this length.
pub(super) const MAX_TASKS: usize = 256;

/// A loop over slices.
pub(super) trait Body {
    /// What it returns.
    type Out;
    /// Runs it; implementations are `#[inline(always)]`.
    fn run(self) -> Self::Out;
}

/// Runs `body` with the best vector instructions of this CPU.
#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn simd<B: Body>(body: B) -> B::Out {
    body.run()
}

/// How many of `count` items a task takes, when an item has `size` elements.
pub(super) fn task_len(count: usize, size: usize) -> usize {
    (PARALLEL / 4).div_ceil(size.max(1)).max(count.div_ceil(MAX_TASKS)).max(1)
}

/// The first `n` elements of `x`, at most [`LANES`], and `pad` in the other lanes. `x` may go on after them: it is then
/// read in one piece.
#[inline(always)]
pub(super) fn load<T: Real>(x: &[T], n: usize, pad: T) -> [T; LANES] {
    if let Some(all) = x.first_chunk::<LANES>() {
        std::array::from_fn(|l| if l < n { all[l] } else { pad })
    } else {
        std::array::from_fn(|l| if l < n && l < x.len() { x[l] } else { pad })
    }
}

/// The first [`LANES`] elements of `x`; zeros where it ends before.
#[inline(always)]
pub(super) fn whole<T: Real>(x: &[T]) -> [T; LANES] {
    x.first_chunk().copied().unwrap_or_else(|| {
        let mut all = [T::ZERO; LANES];
        all[..x.len()].copy_from_slice(x);
        all
    })
}

/// Writes the first `n` lanes to `out`, and, where `out` is long enough, the other lanes after them: the caller goes through
/// a tensor from front to back, and what comes next is overwritten in its turn.
#[inline(always)]
pub(super) fn store<T: Real>(out: &mut [T], n: usize, value: [T; LANES]) {
    if let Some(all) = out.first_chunk_mut::<LANES>() {
        *all = value;
    } else {
        for (o, v) in out.iter_mut().zip(value).take(n) {
            *o = v;
        }
    }
}

/// Sum of the lanes, as a tree.
#[inline(always)]
pub(super) fn sum_lanes<T: Real>(a: [T; LANES]) -> T {
    let b: [T; 8] = std::array::from_fn(|l| a[l] + a[l + 8]);
    let c: [T; 4] = std::array::from_fn(|l| b[l] + b[l + 4]);
    (c[0] + c[2]) + (c[1] + c[3])
}

/// The larger number; `b` when `a` is NaN.
#[inline(always)]
pub(super) fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// Largest number among the lanes.
#[inline(always)]
pub(super) fn max_lanes<T: Real>(a: [T; LANES]) -> T {
    let b: [T; 8] = std::array::from_fn(|l| larger(a[l], a[l + 8]));
    let c: [T; 4] = std::array::from_fn(|l| larger(b[l], b[l + 4]));
    larger(larger(c[0], c[2]), larger(c[1], c[3]))
}

/// Largest number of `x`; minus infinity when there is none. NaN is passed over.
#[inline(always)]
pub(super) fn max<T: Real>(x: &[T]) -> T {
    let mut acc = [T::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for l in 0..LANES {
            acc[l] = larger(chunk[l], acc[l]);
        }
    }
    let rest = chunks.remainder();
    for (a, &v) in acc.iter_mut().zip(rest) {
        *a = larger(v, *a);
    }
    max_lanes(acc)
}

/// Elements added up without a new level of the tree.
const BLOCK: usize = 2048;

/// Sum of `x`: 32 accumulators over each [`BLOCK`], joined as a tree, and the blocks one after another.
#[inline(always)]
pub(super) fn sum<T: Real>(x: &[T]) -> T {
    let mut total = T::ZERO;
    for block in x.chunks(BLOCK) {
        let (mut a, mut b) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        let mut chunks = block.chunks_exact(2 * LANES);
        for chunk in &mut chunks {
            for l in 0..LANES {
                a[l] += chunk[l];
                b[l] += chunk[LANES + l];
            }
        }
        let mut rest = T::ZERO;
        for &v in chunks.remainder() {
            rest += v;
        }
        total += sum_lanes(std::array::from_fn(|l| a[l] + b[l])) + rest;
    }
    total
}
