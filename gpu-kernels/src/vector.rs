//! Four elements a thread: 16-byte loads and stores for elementwise kernels.
//!
//! Thread `t` of the grid has elements `4 t .. 4 t + 4` ([`quad`]). Where all four exist and the address is a multiple of
//! 16 the access is one `ld.global.v4.f32` or `st.global.v4.f32`; at the end of a tensor, or in a view that starts off a
//! 16-byte boundary, it is up to four single accesses. The vector access is an instruction of its own ([`load_quad`],
//! [`store_quad`]): of a plain one LLVM shares parts with the single accesses of the other branch, and a request for 512
//! bytes becomes up to four of 128 that touch as many sectors each. The values are a struct, not an array, because an array indexed
//! in a loop can end up in local memory; `map4` and `zip4` expand in place, so that nothing depends on a closure
//! being inlined.

use cuda_std::prelude::*;

/// Four consecutive elements.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct F32x4 {
    /// Element 0.
    pub a: f32,
    /// Element 1.
    pub b: f32,
    /// Element 2.
    pub c: f32,
    /// Element 3.
    pub d: f32,
}

/// `F32x4` of an expression for each element.
macro_rules! map4 {
    ($v:expr, |$x:ident| $body:expr) => {{
        let v: $crate::vector::F32x4 = $v;
        $crate::vector::F32x4 {
            a: {
                let $x = v.a;
                $body
            },
            b: {
                let $x = v.b;
                $body
            },
            c: {
                let $x = v.c;
                $body
            },
            d: {
                let $x = v.d;
                $body
            },
        }
    }};
}
pub(crate) use map4;

/// `F32x4` of an expression for each pair of elements.
macro_rules! zip4 {
    ($v:expr, $w:expr, |$x:ident, $y:ident| $body:expr) => {{
        let (v, w): ($crate::vector::F32x4, $crate::vector::F32x4) = ($v, $w);
        $crate::vector::F32x4 {
            a: {
                let ($x, $y) = (v.a, w.a);
                $body
            },
            b: {
                let ($x, $y) = (v.b, w.b);
                $body
            },
            c: {
                let ($x, $y) = (v.c, w.c);
                $body
            },
            d: {
                let ($x, $y) = (v.d, w.d);
                $body
            },
        }
    }};
}
pub(crate) use zip4;

/// `$body` with `$const` the constant that `$value` equals, the last one when it equals none: one arm for each, so that the
/// switch over a launch's operation is taken once, outside the arithmetic of four elements.
macro_rules! switch {
    ($value:expr, $const:ident in [$($name:ident)*; $last:ident] => $body:expr) => {
        $crate::vector::switch!(@ $value, $const, $body, $last, $($name)*)
    };
    (@ $value:expr, $const:ident, $body:expr, $last:ident, $($name:ident)*) => {
        match $value {
            $($name => { const $const: u32 = $name; $body })*
            _ => { const $const: u32 = $last; $body }
        }
    };
}
pub(crate) use switch;

impl From<[f32; 4]> for F32x4 {
    #[inline(always)]
    fn from([a, b, c, d]: [f32; 4]) -> F32x4 {
        F32x4 { a, b, c, d }
    }
}

impl From<F32x4> for [f32; 4] {
    #[inline(always)]
    fn from(v: F32x4) -> [f32; 4] {
        [v.a, v.b, v.c, v.d]
    }
}

/// Whether `p` may be accessed by [`load_quad`] and [`store_quad`].
#[inline(always)]
pub fn is_aligned4(p: *const f32) -> bool {
    (p as usize).is_multiple_of(16)
}

/// The four elements at `p`, in one access.
///
/// # Safety
/// - `p` is valid for reading four elements of global memory and a multiple of 16.
#[inline(always)]
pub unsafe fn load_quad(p: *const f32) -> F32x4 {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "nvptx64")]
        return crate::ptx::ld_global_f32x4(p).into();
        #[cfg(not(target_arch = "nvptx64"))]
        *p.cast()
    }
}

/// Writes four elements at `p`, in one access.
///
/// # Safety
/// - `p` is valid for writing four elements of global memory and a multiple of 16.
#[inline(always)]
pub unsafe fn store_quad(p: *mut f32, v: F32x4) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "nvptx64")]
        crate::ptx::st_global_f32x4(p, v.into());
        #[cfg(not(target_arch = "nvptx64"))]
        p.cast::<F32x4>().write(v);
    }
}

/// The first of this thread's four elements. Saturates, so that counts near 2^32 cannot wrap around.
#[inline(always)]
pub fn quad() -> u32 {
    thread::index_1d().saturating_mul(4)
}

/// Elements `i .. i + 4` of `p`, zero from `n` on.
///
/// # Safety
/// - `p` holds `n` readable elements and is aligned for `f32`; `i < n`.
#[inline(always)]
pub unsafe fn load4(p: *const f32, i: u32, n: u32) -> F32x4 {
    let left = n - i;
    // SAFETY: element `i + k` is touched only where `k < left`; the vector load only at a multiple of 16.
    unsafe {
        let p = p.add(i as usize);
        if left >= 4 && is_aligned4(p) {
            load_quad(p)
        } else {
            F32x4 {
                a: *p,
                b: if left > 1 { *p.add(1) } else { 0.0 },
                c: if left > 2 { *p.add(2) } else { 0.0 },
                d: if left > 3 { *p.add(3) } else { 0.0 },
            }
        }
    }
}

/// Writes `v` to elements `i .. i + 4` of `p`, up to `n`.
///
/// # Safety
/// - `p` holds `n` writable elements and is aligned for `f32`; `i < n`.
#[inline(always)]
pub unsafe fn store4(p: *mut f32, i: u32, n: u32, v: F32x4) {
    let left = n - i;
    // SAFETY: as in `load4`.
    unsafe {
        let p = p.add(i as usize);
        if left >= 4 && is_aligned4(p) {
            store_quad(p, v);
        } else {
            *p = v.a;
            if left > 1 {
                *p.add(1) = v.b;
            }
            if left > 2 {
                *p.add(2) = v.c;
            }
            if left > 3 {
                *p.add(3) = v.d;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{load4, store4};

    #[test]
    fn loads_and_stores_stop_at_the_end() {
        let data: Vec<f32> = (0..12).map(|i| 1.5 + i as f32).collect();
        // Views that start on and off a 16-byte boundary, of every length.
        for start in 0..4 {
            for n in 1..=data.len() - start {
                let view = &data[start..start + n];
                let mut out = vec![-1.0f32; 12];
                for i in (0..n as u32).step_by(4) {
                    // SAFETY: both have `n` elements from their start, and `i < n`.
                    unsafe {
                        let v = load4(view.as_ptr(), i, n as u32);
                        store4(out.as_mut_ptr(), i, n as u32, map4!(v, |x| x * 2.0));
                    }
                }
                assert!(out.iter().zip(view).all(|(y, x)| *y == x * 2.0), "{n} elements from {start}");
                assert!(out[n..].iter().all(|&y| y == -1.0), "wrote past the end: {n} elements from {start}");
            }
        }
    }
}
