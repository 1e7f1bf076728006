//! A [`Way`] without calls, for threads that still hold accumulators: those of `wgmma` fill half of a thread's registers,
//! and a call would have to save them.
//!
//! Instead of a call, what is long stands here once and is done to one element after the other, which take turns in a
//! register: the activation, and loads and stores at the ends of rows. Results are the same bits.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::element::{load1, store1, store_whole, whole, F16, F32};
use super::epilogue::{Way, EXTRA_GRADIENT, EXTRA_RESIDUAL};
use crate::activation;
use crate::ptx::{bf16_to_f32, f16_to_f32, opaque};
use crate::vector::{load_quad, F32x4};

/// One element after the other.
pub struct Inline;

/// The next element comes first, and `last` last.
#[inline(always)]
fn turn(v: F32x4, last: f32) -> F32x4 {
    F32x4 { a: v.b, b: v.c, c: v.d, d: last }
}

impl Way for Inline {
    #[inline(always)]
    unsafe fn load(element: u32, p: *const u8, i: usize, left: u32) -> F32x4 {
        let mut v = F32x4::from([0.0; 4]);
        let mut j = 0;
        if let Some(at) = whole(element, p, i, left) {
            if element == F32 {
                return load_quad(at.cast());
            }
            let bits = *at.cast::<u64>();
            while j < opaque(4) {
                let x = (bits >> (16 * j)) as u16;
                v = turn(v, if element == F16 { f16_to_f32(x) } else { bf16_to_f32(x) });
                j += 1;
            }
            return v;
        }
        while j < opaque(4) {
            v = turn(v, if j < left { load1(element, p, i + j as usize) } else { 0.0 });
            j += 1;
        }
        v
    }

    #[inline(always)]
    unsafe fn store(element: u32, p: *mut u8, i: usize, left: u32, mut v: F32x4) {
        if let Some(at) = whole(element, p, i, left) {
            return store_whole(element, at.cast_mut(), v);
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

    #[inline(always)]
    fn activate(kind: u32, parameter: f32, extra: u32, mut v: F32x4, mut e: F32x4) -> F32x4 {
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
        v
    }
}
