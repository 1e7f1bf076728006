//! Collectives: one value from the threads of a group, a warp or a block, in a fixed tree order.
//!
//! A *group* is `1 << log2` threads that follow one another: part of a warp (`log2 <= 5`), or the whole block of [`BLOCK`]
//! threads (`log2 == 8`). [`group_all`] leaves the total of a group in each of its threads: a butterfly of shuffles
//! inside the warps, then one round through shared memory for a block. [`columns`] adds up the threads of a block that
//! share a column. Both trees depend on the shape alone, so results are the same bits from run to run.
//!
//! What is combined is a [`Fold`]: sums, maxima, positions of maxima, and the maximum with the scaled sum of exponentials
//! that softmax needs. Every `join` is symmetric in its bits (`join(a, b)` and `join(b, a)` round alike), so a butterfly
//! leaves the same bits in every thread. The kernels of `reduce`, `softmax`, `loss` and `metrics` are the callers.

use crate::ptx::shfl_xor;
use cuda_std::prelude::*;

/// Threads of a block in every kernel that uses this file.
pub const BLOCK: u32 = 256;
/// log2 of [`BLOCK`]: the group that is the whole block.
pub const LOG2_BLOCK: u32 = 8;
const WARPS: u32 = BLOCK / 32;

/// `a / b`, for b > 0, without the check that would bring the panic machinery along.
#[inline(always)]
pub fn quotient(a: u32, b: u32) -> u32 {
    a.checked_div(b).unwrap_or(0)
}

/// Something that combines associatively.
pub trait Fold {
    /// A partial result: at most 8 bytes.
    type Acc: Copy;
    /// The result of nothing.
    fn identity() -> Self::Acc;
    /// The result of both; symmetric bit for bit.
    fn join(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The value that the lane `lane ^ mask` has.
    ///
    /// # Safety
    /// - All 32 lanes of the warp arrive together.
    unsafe fn exchange(a: Self::Acc, mask: u32) -> Self::Acc;
}

/// Sum.
pub struct Sum;
impl Fold for Sum {
    type Acc = f32;
    #[inline(always)]
    fn identity() -> f32 {
        0.0
    }
    #[inline(always)]
    fn join(a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    unsafe fn exchange(a: f32, mask: u32) -> f32 {
        // SAFETY: the caller's contract.
        f32::from_bits(unsafe { shfl_xor(a.to_bits(), mask) })
    }
}

/// Sum of counts.
pub struct Count;
impl Fold for Count {
    type Acc = u32;
    #[inline(always)]
    fn identity() -> u32 {
        0
    }
    #[inline(always)]
    fn join(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    unsafe fn exchange(a: u32, mask: u32) -> u32 {
        // SAFETY: the caller's contract.
        unsafe { shfl_xor(a, mask) }
    }
}

/// Whether `a` comes before `b` when the largest is looked for: NaN is larger than every number.
#[inline(always)]
fn larger(a: f32, b: f32) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// Largest value; NaN when there is one.
pub struct Max;
impl Fold for Max {
    type Acc = f32;
    #[inline(always)]
    fn identity() -> f32 {
        f32::NEG_INFINITY
    }
    #[inline(always)]
    fn join(a: f32, b: f32) -> f32 {
        if larger(b, a) {
            b
        } else {
            a
        }
    }
    #[inline(always)]
    unsafe fn exchange(a: f32, mask: u32) -> f32 {
        // SAFETY: the caller's contract.
        f32::from_bits(unsafe { shfl_xor(a.to_bits(), mask) })
    }
}

/// Largest value and where it is; the first of equals, the first NaN when there is one. A position of `u32::MAX` is
/// nowhere, so that a row of minus infinity has a position too.
pub struct ArgMax;
impl Fold for ArgMax {
    type Acc = (f32, u32);
    #[inline(always)]
    fn identity() -> (f32, u32) {
        (f32::NEG_INFINITY, u32::MAX)
    }
    #[inline(always)]
    fn join(a: (f32, u32), b: (f32, u32)) -> (f32, u32) {
        let tie = !larger(a.0, b.0) && b.1 < a.1;
        if larger(b.0, a.0) || tie {
            b
        } else {
            a
        }
    }
    #[inline(always)]
    unsafe fn exchange(a: (f32, u32), mask: u32) -> (f32, u32) {
        // SAFETY: the caller's contract.
        unsafe { (f32::from_bits(shfl_xor(a.0.to_bits(), mask)), shfl_xor(a.1, mask)) }
    }
}

/// `(m, s)`: the largest number m, and s = sum of e^(x - m). NaN shows up in s alone.
pub struct ExpSum;
impl Fold for ExpSum {
    type Acc = (f32, f32);
    #[inline(always)]
    fn identity() -> (f32, f32) {
        (f32::NEG_INFINITY, 0.0)
    }
    #[inline(always)]
    fn join(a: (f32, f32), b: (f32, f32)) -> (f32, f32) {
        let swap = b.0 > a.0;
        let hi = if swap { b } else { a };
        let lo = if swap { a } else { b };
        // Equal maxima (two infinities among them) need no scaling; infinity minus infinity would be NaN.
        let factor = if lo.0 == hi.0 { 1.0 } else { crate::math::exp(lo.0 - hi.0) };
        (hi.0, crate::math::fma(lo.1, factor, hi.1))
    }
    #[inline(always)]
    unsafe fn exchange(a: (f32, f32), mask: u32) -> (f32, f32) {
        // SAFETY: the caller's contract.
        unsafe {
            (f32::from_bits(shfl_xor(a.0.to_bits(), mask)), f32::from_bits(shfl_xor(a.1.to_bits(), mask)))
        }
    }
}

impl ExpSum {
    /// Takes one more `x` in, with a single exponential.
    #[inline(always)]
    pub fn push(a: (f32, f32), x: f32) -> (f32, f32) {
        let (m, s) = a;
        let above = x > m;
        // e^-|x - m| scales the old sum when x is the new maximum, and is the new term when it is not. The comparison
        // also keeps minus infinity minus itself away; NaN differs from m, and goes into the sum.
        let e = if x == m { 1.0 } else { crate::math::exp(if above { m - x } else { x - m }) };
        let e = if x == f32::NEG_INFINITY { 0.0 } else { e };
        if above {
            (x, crate::math::fma(s, e, 1.0))
        } else {
            (m, s + e)
        }
    }

    /// The sum s, or NaN where softmax is undefined: a maximum of plus infinity, or no number above minus infinity.
    #[inline(always)]
    pub fn sum(a: (f32, f32)) -> f32 {
        // x - x is 0 for every finite number, and NaN for the rest.
        #[allow(clippy::eq_op)]
        let defined = a.0 - a.0;
        a.1 + defined
    }
}

/// The total of `acc` over the group of `1 << log2` threads, in each of them.
///
/// # Safety
/// - All threads of the block arrive, with the same `log2`, which is at most 5 or equal to [`LOG2_BLOCK`].
/// - The block has [`BLOCK`] threads; `scratch` is shared memory of 8 elements (used when `log2` is [`LOG2_BLOCK`]).
#[inline(always)]
pub unsafe fn group_all<F: Fold>(acc: F::Acc, log2: u32, scratch: *mut F::Acc) -> F::Acc {
    // SAFETY: the whole warp is here: `log2` is uniform and nothing before this diverges for good.
    let acc = unsafe { warp_all::<F>(acc, log2, 5) };
    if log2 <= 5 {
        return acc;
    }
    let thread = thread::thread_idx_x();
    // SAFETY: 8 warps and 8 elements; written before the barrier, read after it, and not overwritten before the second.
    unsafe {
        if thread & 31 == 0 {
            *scratch.add((thread >> 5) as usize) = acc;
        }
        thread::sync_threads();
        let acc = *scratch.add((thread & (WARPS - 1)) as usize);
        thread::sync_threads();
        warp_all::<F>(acc, 3, 3)
    }
}

/// A butterfly over `1 << log2` lanes, at most `1 << steps` of them. The shuffles stand in straight-line code and every
/// lane takes part in all of them; a smaller group ignores what comes from outside.
#[inline(always)]
unsafe fn warp_all<F: Fold>(acc: F::Acc, log2: u32, steps: u32) -> F::Acc {
    let mut acc = acc;
    macro_rules! step {
        ($k:literal) => {
            if $k < steps {
                // SAFETY: the caller's contract; `steps` is a constant where this is inlined.
                let other = unsafe { F::exchange(acc, 1 << $k) };
                acc = if $k < log2 { F::join(acc, other) } else { acc };
            }
        };
    }
    step!(0);
    step!(1);
    step!(2);
    step!(3);
    step!(4);
    acc
}

/// The totals of the threads that are equal modulo `1 << log2_columns`, in the first `1 << log2_columns` threads.
///
/// # Safety
/// - All threads of the block arrive, with the same `log2_columns`, at most [`LOG2_BLOCK`].
/// - The block has [`BLOCK`] threads; `scratch` is shared memory of that many elements.
#[inline(always)]
pub unsafe fn columns<F: Fold>(acc: F::Acc, log2_columns: u32, scratch: *mut F::Acc) -> F::Acc {
    let thread = thread::thread_idx_x();
    // SAFETY: `thread` and `thread + half` are below BLOCK; a barrier stands between writing and reading an element.
    unsafe {
        let mine = scratch.add(thread as usize);
        *mine = acc;
        let mut half = BLOCK / 2;
        while half >> log2_columns != 0 {
            thread::sync_threads();
            if thread < half {
                *mine = F::join(*mine, *mine.add(half as usize));
            }
            half /= 2;
        }
        *mine
    }
}
