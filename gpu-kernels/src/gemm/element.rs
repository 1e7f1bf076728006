//! Elements whose type is known when a kernel is launched: f32, f16 or bf16, computed with in f32. The switch is the same
//! for all threads.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use crate::ptx::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_bf16x2, f32_to_f16, f32_to_f16x2};
use crate::vector::{load_quad, store_quad, F32x4};

/// f32.
pub const F32: u32 = 0;
/// f16.
pub const F16: u32 = 1;
/// bf16.
pub const BF16: u32 = 2;
/// 8-bit floats, which [packing](super::pack) alone moves: all other functions know the types above.
pub const E4M3: u32 = 3;
/// See [`E4M3`].
pub const E5M2: u32 = 4;

/// Bytes of an element.
#[inline(always)]
pub const fn bytes(element: u32) -> usize {
    if element == F32 {
        4
    } else {
        2
    }
}

/// One element of type `element` at index `i` of `p`.
///
/// # Safety
/// - `p` has a readable element `i` of this type.
#[inline(always)]
pub unsafe fn load1(element: u32, p: *const u8, i: usize) -> f32 {
    match element {
        F32 => *p.cast::<f32>().add(i),
        F16 => f16_to_f32(*p.cast::<u16>().add(i)),
        _ => bf16_to_f32(*p.cast::<u16>().add(i)),
    }
}

/// Writes one element.
///
/// # Safety
/// - `p` has a writable element `i` of this type.
#[inline(always)]
pub unsafe fn store1(element: u32, p: *mut u8, i: usize, x: f32) {
    match element {
        F32 => *p.cast::<f32>().add(i) = x,
        F16 => *p.cast::<u16>().add(i) = f32_to_f16(x),
        _ => *p.cast::<u16>().add(i) = f32_to_bf16(x),
    }
}

/// Two floats as one word: what a call returns in registers.
#[inline(always)]
pub(super) fn pair(x: f32, y: f32) -> u64 {
    x.to_bits() as u64 | (y.to_bits() as u64) << 32
}

/// The two floats of [`pair`].
#[inline(always)]
pub(super) fn unpair(xy: u64) -> (f32, f32) {
    (f32::from_bits(xy as u32), f32::from_bits((xy >> 32) as u32))
}

/// Elements `i` and `i + 1`, zero from the `left`-th on. A call: at the ends of rows alone, whose code would otherwise be
/// most of a kernel's.
#[inline(never)]
unsafe fn load_pair(element: u32, p: *const u8, i: usize, left: u32) -> u64 {
    let x = if left > 0 { load1(element, p, i) } else { 0.0 };
    let y = if left > 1 { load1(element, p, i + 1) } else { 0.0 };
    pair(x, y)
}

/// Writes the first `left` of two elements; a call.
#[inline(never)]
unsafe fn store_pair(element: u32, p: *mut u8, i: usize, left: u32, x: f32, y: f32) {
    if left > 0 {
        store1(element, p, i, x);
    }
    if left > 1 {
        store1(element, p, i + 1, y);
    }
}

/// Where element `i` of `p` is, if four from there on are `left` and can be moved at once.
#[inline(always)]
pub(super) fn whole(element: u32, p: *const u8, i: usize, left: u32) -> Option<*const u8> {
    let at = p.wrapping_add(i * bytes(element));
    if left >= 4 && (at as usize).is_multiple_of(4 * bytes(element)) {
        Some(at)
    } else {
        None
    }
}

/// Writes four elements at once.
///
/// # Safety
/// - `at` is of [`whole`], in writable memory.
#[inline(always)]
pub(super) unsafe fn store_whole(element: u32, at: *mut u8, v: F32x4) {
    match element {
        F32 => store_quad(at.cast(), v),
        F16 => *at.cast::<u64>() = f32_to_f16x2(v.b, v.a) as u64 | (f32_to_f16x2(v.d, v.c) as u64) << 32,
        _ => *at.cast::<u64>() = f32_to_bf16x2(v.b, v.a) as u64 | (f32_to_bf16x2(v.d, v.c) as u64) << 32,
    }
}

/// Elements `i .. i + 4` of `p`, zero from the `left`-th on.
///
/// # Safety
/// - `p` has readable elements `i .. i + min(left, 4)` of this type; `left >= 1`.
#[inline(always)]
pub unsafe fn load4(element: u32, p: *const u8, i: usize, left: u32) -> F32x4 {
    if let Some(at) = whole(element, p, i, left) {
        if element == F32 {
            return load_quad(at.cast());
        }
        let bits = *at.cast::<u64>();
        let [a, b, c, d] = [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16, (bits >> 48) as u16];
        return if element == F16 {
            F32x4 { a: f16_to_f32(a), b: f16_to_f32(b), c: f16_to_f32(c), d: f16_to_f32(d) }
        } else {
            F32x4 { a: bf16_to_f32(a), b: bf16_to_f32(b), c: bf16_to_f32(c), d: bf16_to_f32(d) }
        };
    }
    let (a, b) = unpair(load_pair(element, p, i, left));
    let (c, d) = unpair(load_pair(element, p, i + 2, left.saturating_sub(2)));
    F32x4 { a, b, c, d }
}

/// Writes the first `left` of `v` to elements `i .. i + 4` of `p`.
///
/// # Safety
/// - `p` has writable elements `i .. i + min(left, 4)` of this type; `left >= 1`.
#[inline(always)]
pub unsafe fn store4(element: u32, p: *mut u8, i: usize, left: u32, v: F32x4) {
    if let Some(at) = whole(element, p, i, left) {
        return store_whole(element, at.cast_mut(), v);
    }
    store_pair(element, p, i, left, v.a, v.b);
    store_pair(element, p, i + 2, left.saturating_sub(2), v.c, v.d);
}
