//! What becomes of the sums of a tensor-core product: scaling, bias, activation or its gradient, residual, conversion.
//!
//! ```text
//! v = alpha * sum + beta * C + bias[col]
//! C <- act(v)        EXTRA_NONE           C <- act(v) + E    EXTRA_RESIDUAL         C <- v * act'(E)   EXTRA_GRADIENT
//! ```
//!
//! in f32, then rounded to C's type. Everything is chosen at run time by values that are the same for a whole launch, so
//! one kernel does every epilogue. Threads hand in four consecutive elements of a row, from shared memory where the
//! kernel staged its sums: whole sectors are read and written, and the code stands in the kernel once. The activations
//! are real calls (`call` in PTX, one body for all kernels of the module): a thread that still holds accumulators when it
//! calls [`Epilogue::store`] would have to spill them.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use crate::activation;
use crate::ptx::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::vector::{is_aligned4, load_quad, store_quad, F32x4};

/// C and E hold f32.
pub const F32: u32 = 0;
/// C and E hold f16.
pub const F16: u32 = 1;
/// C and E hold bf16.
pub const BF16: u32 = 2;

/// There is no extra operand.
pub const EXTRA_NONE: u32 = 0;
/// E is added after the activation.
pub const EXTRA_RESIDUAL: u32 = 1;
/// The sums are multiplied by the activation's derivative, taken from E.
pub const EXTRA_GRADIENT: u32 = 2;

/// The `kind` of an [`Epilogue`]: the type of C and E, and the use of E.
pub const fn kind(element: u32, extra: u32) -> u32 {
    element | extra << 8
}

/// The epilogue's operands, of one matrix of a batch.
#[derive(Clone, Copy)]
pub struct Epilogue {
    /// Factor of the sums.
    pub alpha: f32,
    /// Factor of the old C, which is not read where this is 0.
    pub beta: f32,
    /// M x N elements of the type that `kind` says.
    pub c: *mut u8,
    /// Elements from one row of C to the next.
    pub ldc: u32,
    /// Rows.
    pub m: u32,
    /// Columns.
    pub n: u32,
    /// N elements, or null.
    pub bias: *const f32,
    /// M x N elements of C's type; not read where `kind` says that there is none.
    pub extra: *const u8,
    /// Elements from one row of E to the next.
    pub ld_extra: u32,
    /// Which activation: a number of [`crate::activation`].
    pub activation: u32,
    /// Its parameter.
    pub parameter: f32,
    /// See [`kind()`].
    pub kind: u32,
}

/// Two floats as one word: what a call returns in registers.
#[inline(always)]
fn pair(x: f32, y: f32) -> u64 {
    x.to_bits() as u64 | (y.to_bits() as u64) << 32
}

/// The two floats of [`pair`].
#[inline(always)]
fn unpair(xy: u64) -> (f32, f32) {
    (f32::from_bits(xy as u32), f32::from_bits((xy >> 32) as u32))
}

/// Activation `kind` of two numbers.
#[inline(never)]
fn apply(kind: u32, parameter: f32, x: f32, y: f32) -> u64 {
    activation::for_kind!(kind, KIND => {
        pair(activation::apply(KIND, parameter, x), activation::apply(KIND, parameter, y))
    })
}

/// Derivative of activation `kind` at two numbers.
#[inline(never)]
fn derivative(kind: u32, parameter: f32, x: f32, y: f32) -> u64 {
    activation::for_kind!(kind, KIND => {
        pair(activation::derivative(KIND, parameter, x), activation::derivative(KIND, parameter, y))
    })
}

/// [`apply`], or its body in this place.
#[inline(always)]
fn activate<const CALL: bool>(kind: u32, parameter: f32, x: f32, y: f32) -> (f32, f32) {
    if CALL {
        return unpair(apply(kind, parameter, x, y));
    }
    activation::for_kind!(kind, KIND => {
        (activation::apply(KIND, parameter, x), activation::apply(KIND, parameter, y))
    })
}

/// [`derivative`], or its body in this place.
#[inline(always)]
fn differentiate<const CALL: bool>(kind: u32, parameter: f32, x: f32, y: f32) -> (f32, f32) {
    if CALL {
        return unpair(derivative(kind, parameter, x, y));
    }
    activation::for_kind!(kind, KIND => {
        (activation::derivative(KIND, parameter, x), activation::derivative(KIND, parameter, y))
    })
}

/// One element of type `element` at index `i` of `p`.
#[inline(always)]
unsafe fn load1(element: u32, p: *const u8, i: usize) -> f32 {
    match element {
        F32 => *p.cast::<f32>().add(i),
        F16 => f16_to_f32(*p.cast::<u16>().add(i)),
        _ => bf16_to_f32(*p.cast::<u16>().add(i)),
    }
}

/// Writes one element.
#[inline(always)]
unsafe fn store1(element: u32, p: *mut u8, i: usize, x: f32) {
    match element {
        F32 => *p.cast::<f32>().add(i) = x,
        F16 => *p.cast::<u16>().add(i) = f32_to_f16(x),
        _ => *p.cast::<u16>().add(i) = f32_to_bf16(x),
    }
}

/// Elements `i .. i + 4` of `p`, zero from the `left`-th on.
#[inline(always)]
unsafe fn load4(element: u32, p: *const u8, i: usize, left: u32) -> F32x4 {
    if left >= 4 {
        if element == F32 {
            let p = p.cast::<f32>().add(i);
            if is_aligned4(p) {
                return load_quad(p);
            }
        } else {
            let p = p.cast::<u16>().add(i);
            if (p as usize).is_multiple_of(8) {
                let bits = *p.cast::<u64>();
                let [a, b, c, d] =
                    [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16, (bits >> 48) as u16];
                return if element == F16 {
                    F32x4 { a: f16_to_f32(a), b: f16_to_f32(b), c: f16_to_f32(c), d: f16_to_f32(d) }
                } else {
                    F32x4 { a: bf16_to_f32(a), b: bf16_to_f32(b), c: bf16_to_f32(c), d: bf16_to_f32(d) }
                };
            }
        }
    }
    F32x4 {
        a: load1(element, p, i),
        b: if left > 1 { load1(element, p, i + 1) } else { 0.0 },
        c: if left > 2 { load1(element, p, i + 2) } else { 0.0 },
        d: if left > 3 { load1(element, p, i + 3) } else { 0.0 },
    }
}

/// Writes the first `left` of `v` to elements `i .. i + 4` of `p`.
#[inline(always)]
unsafe fn store4(element: u32, p: *mut u8, i: usize, left: u32, v: F32x4) {
    if left >= 4 {
        if element == F32 {
            let p = p.cast::<f32>().add(i);
            if is_aligned4(p) {
                return store_quad(p, v);
            }
        } else {
            let p = p.cast::<u16>().add(i);
            if (p as usize).is_multiple_of(8) {
                let [a, b, c, d] = if element == F16 {
                    [f32_to_f16(v.a), f32_to_f16(v.b), f32_to_f16(v.c), f32_to_f16(v.d)]
                } else {
                    [f32_to_bf16(v.a), f32_to_bf16(v.b), f32_to_bf16(v.c), f32_to_bf16(v.d)]
                };
                *p.cast::<u64>() = a as u64 | (b as u64) << 16 | (c as u64) << 32 | (d as u64) << 48;
                return;
            }
        }
    }
    store1(element, p, i, v.a);
    if left > 1 {
        store1(element, p, i + 1, v.b);
    }
    if left > 2 {
        store1(element, p, i + 2, v.c);
    }
    if left > 3 {
        store1(element, p, i + 3, v.d);
    }
}

impl Epilogue {
    /// The operands of matrix `z` of a batch, from those of matrix 0 and the strides in elements.
    ///
    /// # Safety
    /// - There is a matrix `z`.
    #[inline(always)]
    pub unsafe fn of_batch(self, z: usize, stride_c: u64, stride_extra: u64) -> Epilogue {
        let bytes = if self.kind & 0xff == F32 { 4 } else { 2 };
        let c = self.c.add(z * stride_c as usize * bytes);
        let extra = if self.kind >> 8 == EXTRA_NONE {
            self.extra
        } else {
            self.extra.add(z * stride_extra as usize * bytes)
        };
        Epilogue { c, extra, ..self }
    }

    /// Finishes elements `col .. col + 4` of `row`, from their sums, and writes those that are inside C.
    ///
    /// # Safety
    /// - The operands cover C; no other thread stores these elements.
    #[inline(always)]
    pub unsafe fn store(&self, row: u32, col: u32, sum: F32x4) {
        self.finish::<true>(row, col, sum);
    }

    /// As [`store`](Epilogue::store), without calls: for threads that still hold accumulators.
    ///
    /// # Safety
    /// - As there.
    #[inline(always)]
    pub unsafe fn store_inline(&self, row: u32, col: u32, sum: F32x4) {
        self.finish::<false>(row, col, sum);
    }

    #[inline(always)]
    unsafe fn finish<const CALL: bool>(&self, row: u32, col: u32, sum: F32x4) {
        if row >= self.m || col >= self.n {
            return;
        }
        let (element, extra) = (self.kind & 0xff, self.kind >> 8);
        let left = self.n - col;
        let at = row as usize * self.ldc as usize + col as usize;
        let mut v = F32x4 {
            a: self.alpha * sum.a,
            b: self.alpha * sum.b,
            c: self.alpha * sum.c,
            d: self.alpha * sum.d,
        };
        if self.beta != 0.0 {
            let old = load4(element, self.c, at, left);
            v.a = crate::math::fma(self.beta, old.a, v.a);
            v.b = crate::math::fma(self.beta, old.b, v.b);
            v.c = crate::math::fma(self.beta, old.c, v.c);
            v.d = crate::math::fma(self.beta, old.d, v.d);
        }
        if !self.bias.is_null() {
            let bias = load4(F32, self.bias.cast(), col as usize, left);
            v = F32x4 { a: v.a + bias.a, b: v.b + bias.b, c: v.c + bias.c, d: v.d + bias.d };
        }
        let mut e = F32x4 { a: 0.0, b: 0.0, c: 0.0, d: 0.0 };
        if extra != EXTRA_NONE {
            e = load4(element, self.extra, row as usize * self.ld_extra as usize + col as usize, left);
        }
        if extra == EXTRA_GRADIENT {
            let (a, b) = differentiate::<CALL>(self.activation, self.parameter, e.a, e.b);
            let (c, d) = differentiate::<CALL>(self.activation, self.parameter, e.c, e.d);
            v = F32x4 { a: v.a * a, b: v.b * b, c: v.c * c, d: v.d * d };
        } else {
            if self.activation != activation::IDENTITY {
                let (a, b) = activate::<CALL>(self.activation, self.parameter, v.a, v.b);
                let (c, d) = activate::<CALL>(self.activation, self.parameter, v.c, v.d);
                v = F32x4 { a, b, c, d };
            }
            if extra == EXTRA_RESIDUAL {
                v = F32x4 { a: v.a + e.a, b: v.b + e.b, c: v.c + e.c, d: v.d + e.d };
            }
        }
        store4(element, self.c, at, left, v);
    }
}
