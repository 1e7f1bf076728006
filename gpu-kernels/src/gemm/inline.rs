//! [`Epilogue::store`] without calls, for threads that still hold accumulators: those of `wgmma` fill half of a thread's
//! registers, and a call would have to save them.
//!
//! Instead of a call, what is long stands here once and is done to one element after the other, which take turns in a
//! register: the activation, and loads and stores at the ends of rows. Results are the same bits.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::element::{load1, store1, F16, F32};
use super::epilogue::{Epilogue, EXTRA_GRADIENT, EXTRA_NONE, EXTRA_RESIDUAL};
use crate::activation;
use crate::ptx::{bf16_to_f32, f16_to_f32, f32_to_bf16x2, f32_to_f16x2, opaque};
use crate::vector::{load_quad, store_quad, F32x4};

const ZERO: F32x4 = F32x4 { a: 0.0, b: 0.0, c: 0.0, d: 0.0 };

/// The next element comes first, and `last` last.
#[inline(always)]
fn turn(v: F32x4, last: f32) -> F32x4 {
    F32x4 { a: v.b, b: v.c, c: v.d, d: last }
}

/// Where element `i` of `p` is, if four from there on are `left` and can be moved at once.
#[inline(always)]
fn whole(element: u32, p: *const u8, i: usize, left: u32) -> Option<*const u8> {
    let bytes = if element == F32 { 4 } else { 2 };
    let at = p.wrapping_add(i * bytes);
    if left >= 4 && (at as usize).is_multiple_of(4 * bytes) {
        Some(at)
    } else {
        None
    }
}

/// Elements `i .. i + 4` of `p`, zero from the `left`-th on.
#[inline(always)]
unsafe fn load(element: u32, p: *const u8, i: usize, left: u32) -> F32x4 {
    let mut v = ZERO;
    if let Some(at) = whole(element, p, i, left) {
        if element == F32 {
            return load_quad(at.cast());
        }
        let bits = *at.cast::<u64>();
        let mut j = 0;
        while j < opaque(4) {
            let x = (bits >> (16 * j)) as u16;
            v = turn(v, if element == F16 { f16_to_f32(x) } else { bf16_to_f32(x) });
            j += 1;
        }
        return v;
    }
    let mut j = 0;
    while j < opaque(4) {
        v = turn(v, if j < left { load1(element, p, i + j as usize) } else { 0.0 });
        j += 1;
    }
    v
}

/// Writes the first `left` of `v` to elements `i .. i + 4` of `p`.
#[inline(always)]
unsafe fn store(element: u32, p: *mut u8, i: usize, left: u32, mut v: F32x4) {
    if let Some(at) = whole(element, p, i, left) {
        let at = at.cast_mut();
        match element {
            F32 => store_quad(at.cast(), v),
            F16 => *at.cast::<u64>() = f32_to_f16x2(v.b, v.a) as u64 | (f32_to_f16x2(v.d, v.c) as u64) << 32,
            _ => *at.cast::<u64>() = f32_to_bf16x2(v.b, v.a) as u64 | (f32_to_bf16x2(v.d, v.c) as u64) << 32,
        }
        return;
    }
    let mut j = 0;
    while j < opaque(4) {
        if j < left {
            store1(element, p, i + j as usize, v.a);
        }
        v = turn(v, 0.0);
        j += 1;
    }
}

impl Epilogue {
    /// As [`store`](Epilogue::store).
    ///
    /// # Safety
    /// - As there.
    #[inline(always)]
    pub unsafe fn store_inline(&self, row: u32, col: u32, sum: F32x4) {
        if row >= self.m || col >= self.n {
            return;
        }
        let (element, extra) = (self.kind & 0xff, self.kind >> 8);
        let left = self.n - col;
        let at = row as usize * self.ldc as usize + col as usize;
        let alpha = self.alpha;
        let mut v = F32x4 { a: alpha * sum.a, b: alpha * sum.b, c: alpha * sum.c, d: alpha * sum.d };
        if self.beta != 0.0 {
            let old = load(element, self.c, at, left);
            v.a = crate::math::fma(self.beta, old.a, v.a);
            v.b = crate::math::fma(self.beta, old.b, v.b);
            v.c = crate::math::fma(self.beta, old.c, v.c);
            v.d = crate::math::fma(self.beta, old.d, v.d);
        }
        if !self.bias.is_null() {
            let bias = load(F32, self.bias.cast(), col as usize, left);
            v = F32x4 { a: v.a + bias.a, b: v.b + bias.b, c: v.c + bias.c, d: v.d + bias.d };
        }
        if self.activation != activation::IDENTITY || extra != EXTRA_NONE {
            let mut e = ZERO;
            if extra != EXTRA_NONE {
                e = load(element, self.extra, row as usize * self.ld_extra as usize + col as usize, left);
            }
            let (kind, parameter) = (self.activation, self.parameter);
            let mut j = 0;
            while j < opaque(4) {
                let mut x = v.a;
                if extra == EXTRA_GRADIENT {
                    x *= activation::for_kind!(kind, K => activation::derivative(K, parameter, e.a));
                } else {
                    x = activation::for_kind!(kind, K => activation::apply(K, parameter, x));
                    if extra == EXTRA_RESIDUAL {
                        x += e.a;
                    }
                }
                (v, e) = (turn(v, x), turn(e, e.a));
                j += 1;
            }
        }
        store(element, self.c, at, left, v);
    }
}
