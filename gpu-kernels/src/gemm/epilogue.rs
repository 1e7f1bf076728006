//! What becomes of the sums of a tensor-core product: scaling, bias, activation or its gradient, residual, conversion.
//!
//! ```text
//! v = alpha * sum + beta * C + bias[col]
//! C <- act(v)        EXTRA_NONE           C <- act(v) + E    EXTRA_RESIDUAL         C <- v * act'(E)   EXTRA_GRADIENT
//! ```
//!
//! in f32, then rounded to C's type; its rows or columns may be summed (`super::sums`) on the way. Everything is chosen at run time by values that are the same for a whole launch, so
//! one kernel does every epilogue. Threads hand in four consecutive elements of a row, from shared memory where the
//! kernel staged its sums: whole sectors are read and written, and the code stands in the kernel once. The activations
//! are real calls (`call` in PTX, one body for all kernels of the module) where that is the [`Way`]: a thread that still
//! holds accumulators would have to spill them, and goes the other.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use crate::activation;
use crate::gemm::element::{self, load4, pair, store4, unpair, F32};
use crate::math::fma;
use crate::vector::{map4, zip4, F32x4};

/// There is no extra operand.
pub const EXTRA_NONE: u32 = 0;
/// E is added after the activation.
pub const EXTRA_RESIDUAL: u32 = 1;
/// The sums are multiplied by the activation's derivative, taken from E.
pub const EXTRA_GRADIENT: u32 = 2;

/// Nothing is summed.
pub const REDUCE_NONE: u32 = 0;
/// The rows of C are summed: a number for each column.
pub const REDUCE_ROWS: u32 = 1;
/// The columns of C are summed: a number for each row.
pub const REDUCE_COLUMNS: u32 = 2;

/// The `kind` of an [`Epilogue`]: the [type](element) of C and E, the use of E, and which sums of C are wanted.
pub const fn kind(element: u32, extra: u32, reduce: u32) -> u32 {
    element | extra << 8 | reduce << 16
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
    /// Where the partial sums (`super::sums`) of C go; not written where `kind` says that there are none.
    pub sums: *mut f32,
    /// Which activation: a number of [`crate::activation`].
    pub activation: u32,
    /// Its parameter.
    pub parameter: f32,
    /// See [`kind()`].
    pub kind: u32,
}

/// How an [`Epilogue`] moves four elements and does what is long: [`Calls`] or [`Inline`](super::inline::Inline).
pub trait Way {
    /// Elements `i .. i + 4` of `p`, zero from the `left`-th on.
    ///
    /// # Safety
    /// - `p` has readable elements `i .. i + min(left, 4)` of this type; `left >= 1`.
    unsafe fn load(element: u32, p: *const u8, i: usize, left: u32) -> F32x4;

    /// Writes the first `left` of `v` to elements `i .. i + 4` of `p`.
    ///
    /// # Safety
    /// - `p` has writable elements `i .. i + min(left, 4)` of this type; `left >= 1`.
    unsafe fn store(element: u32, p: *mut u8, i: usize, left: u32, v: F32x4);

    /// `v` through the activation, and the use of `e` that `extra` says.
    fn activate(activation: u32, parameter: f32, extra: u32, v: F32x4, e: F32x4) -> F32x4;
}

/// By calls, whose bodies all kernels share.
pub struct Calls;

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

impl Way for Calls {
    #[inline(always)]
    unsafe fn load(element: u32, p: *const u8, i: usize, left: u32) -> F32x4 {
        load4(element, p, i, left)
    }

    #[inline(always)]
    unsafe fn store(element: u32, p: *mut u8, i: usize, left: u32, v: F32x4) {
        store4(element, p, i, left, v);
    }

    #[inline(always)]
    fn activate(activation: u32, parameter: f32, extra: u32, mut v: F32x4, e: F32x4) -> F32x4 {
        if extra == EXTRA_GRADIENT {
            let (a, b) = unpair(derivative(activation, parameter, e.a, e.b));
            let (c, d) = unpair(derivative(activation, parameter, e.c, e.d));
            return zip4!(v, F32x4 { a, b, c, d }, |x, slope| x * slope);
        }
        if activation != activation::IDENTITY {
            let (a, b) = unpair(apply(activation, parameter, v.a, v.b));
            let (c, d) = unpair(apply(activation, parameter, v.c, v.d));
            v = F32x4 { a, b, c, d };
        }
        if extra == EXTRA_RESIDUAL {
            v = zip4!(v, e, |x, y| x + y);
        }
        v
    }
}

impl Epilogue {
    /// The [type](element) of C and E.
    #[inline(always)]
    fn element(&self) -> u32 {
        self.kind & 0xff
    }

    /// The use of E.
    #[inline(always)]
    fn extra(&self) -> u32 {
        self.kind >> 8 & 0xff
    }

    /// Which sums of C are wanted.
    #[inline(always)]
    pub(super) fn reduce(&self) -> u32 {
        self.kind >> 16
    }

    /// The operands of matrix `z` of a batch, from those of matrix 0 and the strides in elements. Partial sums are of parts
    /// of this many rows and columns.
    ///
    /// # Safety
    /// - There is a matrix `z`.
    #[inline(always)]
    pub unsafe fn of_batch(self, z: usize, stride_c: u64, stride_extra: u64, part: [u32; 2]) -> Epilogue {
        let bytes = element::bytes(self.element());
        let c = self.c.add(z * stride_c as usize * bytes);
        let extra = if self.extra() == EXTRA_NONE {
            self.extra
        } else {
            self.extra.add(z * stride_extra as usize * bytes)
        };
        let partial = match self.reduce() {
            REDUCE_NONE => 0,
            REDUCE_ROWS => self.m.div_ceil(part[0]) as usize * self.n as usize,
            _ => self.n.div_ceil(part[1]) as usize * self.m as usize,
        };
        Epilogue { c, extra, sums: self.sums.wrapping_add(z * partial), ..self }
    }

    /// Finishes elements `col .. col + 4` of `row`, from their sums, and writes those that are inside C. Gives them in f32;
    /// what is outside is arbitrary.
    ///
    /// # Safety
    /// - The operands cover C; no other thread stores these elements.
    #[inline(always)]
    pub unsafe fn store<W: Way>(&self, row: u32, col: u32, sum: F32x4) -> F32x4 {
        if row >= self.m || col >= self.n {
            return sum;
        }
        let (element, extra) = (self.element(), self.extra());
        let left = self.n - col;
        let at = row as usize * self.ldc as usize + col as usize;
        let mut v = map4!(sum, |x| self.alpha * x);
        if self.beta != 0.0 {
            v = zip4!(v, W::load(element, self.c, at, left), |x, old| fma(self.beta, old, x));
        }
        if !self.bias.is_null() {
            v = zip4!(v, W::load(F32, self.bias.cast(), col as usize, left), |x, bias| x + bias);
        }
        if self.activation != activation::IDENTITY || extra != EXTRA_NONE {
            let mut e = F32x4::from([0.0; 4]);
            if extra != EXTRA_NONE {
                e = W::load(element, self.extra, row as usize * self.ld_extra as usize + col as usize, left);
            }
            v = W::activate(self.activation, self.parameter, extra, v, e);
        }
        W::store(element, self.c, at, left, v);
        v
    }
}
