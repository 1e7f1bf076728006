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
use crate::gemm::element::{self, load4, pair, store4, unpair, F32};
use crate::vector::F32x4;

/// There is no extra operand.
pub const EXTRA_NONE: u32 = 0;
/// E is added after the activation.
pub const EXTRA_RESIDUAL: u32 = 1;
/// The sums are multiplied by the activation's derivative, taken from E.
pub const EXTRA_GRADIENT: u32 = 2;

/// The `kind` of an [`Epilogue`]: the [type](element) of C and E, and the use of E.
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

impl Epilogue {
    /// The operands of matrix `z` of a batch, from those of matrix 0 and the strides in elements.
    ///
    /// # Safety
    /// - There is a matrix `z`.
    #[inline(always)]
    pub unsafe fn of_batch(self, z: usize, stride_c: u64, stride_extra: u64) -> Epilogue {
        let bytes = element::bytes(self.kind & 0xff);
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
            let (a, b) = unpair(derivative(self.activation, self.parameter, e.a, e.b));
            let (c, d) = unpair(derivative(self.activation, self.parameter, e.c, e.d));
            v = F32x4 { a: v.a * a, b: v.b * b, c: v.c * c, d: v.d * d };
        } else {
            if self.activation != activation::IDENTITY {
                let (a, b) = unpair(apply(self.activation, self.parameter, v.a, v.b));
                let (c, d) = unpair(apply(self.activation, self.parameter, v.c, v.d));
                v = F32x4 { a, b, c, d };
            }
            if extra == EXTRA_RESIDUAL {
                v = F32x4 { a: v.a + e.a, b: v.b + e.b, c: v.c + e.c, d: v.d + e.d };
            }
        }
        store4(element, self.c, at, left, v);
    }
}
