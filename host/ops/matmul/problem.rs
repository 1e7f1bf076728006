//! What is multiplied: extents, layouts, element types, epilogue, and every rule they must keep.

use std::fmt;

use gpu_kernels::gemm::epilogue as kernels;

use crate::device::{DType, DeviceError};
use crate::ops::activation::Activation;

/// How products are computed. The operands' element types say how they are stored; the precision, what is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 products and sums: never anything less.
    Fp32,
    /// Factors rounded to tf32 (8 bits of exponent, 10 of mantissa), sums in f32.
    Tf32,
    /// Factors rounded to bf16, sums in f32.
    Bf16,
    /// Factors rounded to f16, sums in f32.
    F16,
    /// f32's accuracy from tensor cores: each factor is the sum of two or three narrower ones; see
    /// [`reference::sum_error`](super::reference::sum_error) for the bound. A factor that is infinite, or rounds to
    /// infinity as tf32 or bf16, gives NaN.
    Fp32Fast,
    /// 8-bit floats, as they are stored (e4m3, e5m2, or one of each); factors of another type become e4m3, the largest 448, and
    /// `alpha` undoes a scale that the caller gave them. The sums of each 128 elements of K, of which tensor cores keep about
    /// 14 bits, are added in f32. Hopper alone, and cpu.
    Fp8,
    /// As `Fp8`, but all of a sum may stay in the tensor cores: what cuBLASLt calls `FAST_ACCUM`. Long sums whose terms have one
    /// sign lose their small ones; see [`reference::sum_error`](super::reference::sum_error).
    Fp8Fast,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 7] = [
        Precision::Fp32,
        Precision::Tf32,
        Precision::Bf16,
        Precision::F16,
        Precision::Fp32Fast,
        Precision::Fp8,
        Precision::Fp8Fast,
    ];

    /// As `--precision` and caches write it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
            Precision::Fp32Fast => "fp32-fast",
            Precision::Fp8 => "fp8",
            Precision::Fp8Fast => "fp8-fast",
        }
    }

    /// Bytes of a factor in memory where the kernel reads it.
    pub(super) const fn factor_bytes(self) -> u32 {
        match self {
            Precision::Fp32 | Precision::Tf32 | Precision::Fp32Fast => 4,
            Precision::Bf16 | Precision::F16 => 2,
            Precision::Fp8 | Precision::Fp8Fast => 1,
        }
    }

    /// Whether factors are 8-bit floats.
    pub fn is_fp8(self) -> bool {
        matches!(self, Precision::Fp8 | Precision::Fp8Fast)
    }

    /// The type of a factor in memory where the kernel reads it; of 8-bit floats the one that other types become.
    pub fn factor(self) -> DType {
        match self {
            Precision::Fp32 | Precision::Tf32 | Precision::Fp32Fast => DType::F32,
            Precision::Bf16 => DType::Bf16,
            Precision::F16 => DType::F16,
            Precision::Fp8 | Precision::Fp8Fast => DType::E4m3,
        }
    }

    /// The one of `known` with this name.
    pub(crate) fn named(name: &str, known: &[Precision]) -> Result<Precision, String> {
        known.iter().copied().find(|p| p.name() == name).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|p| p.name()).collect();
            let (last, others) = names.split_last().unwrap_or((&"nothing", &[]));
            format!("unknown precision '{name}': use {} or {last}", others.join(", "))
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Precision {
    type Err = String;
    fn from_str(s: &str) -> Result<Precision, String> {
        Precision::named(s, &Precision::ALL)
    }
}

/// What the epilogue does with its extra operand E, an M x N matrix of C's element type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extra {
    /// There is none.
    #[default]
    None,
    /// `C = act(...) + E`.
    Residual,
    /// `C = (...) * act'(E)`: the gradient of a layer before the activation. E is the activation's output where
    /// [`Activation::grad_from_output`] says so, else its input.
    Gradient,
}

impl Extra {
    pub(super) fn code(self) -> u32 {
        match self {
            Extra::None => kernels::EXTRA_NONE,
            Extra::Residual => kernels::EXTRA_RESIDUAL,
            Extra::Gradient => kernels::EXTRA_GRADIENT,
        }
    }
}

/// Which sums of C are computed beside it, in f32, of the values before they are rounded to C's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// None.
    #[default]
    None,
    /// `R[z][j] = sum over i of C[z][i][j]`: the rows are added and their index disappears, N numbers are left. With
    /// [`Extra::Gradient`], C is the gradient of a layer before its activation, and R that of its bias.
    Rows,
    /// `R[z][i] = sum over j of C[z][i][j]`: the columns are added and their index disappears, M numbers are left.
    Columns,
}

impl Reduce {
    pub(super) fn code(self) -> u32 {
        match self {
            Reduce::None => kernels::REDUCE_NONE,
            Reduce::Rows => kernels::REDUCE_ROWS,
            Reduce::Columns => kernels::REDUCE_COLUMNS,
        }
    }
}

/// A product: `C <- epilogue(alpha op(A) op(B) + beta C + bias)` for each of a batch. See the [module](super).
///
/// ```
/// use ironwarp::device::DType;
/// use ironwarp::ops::matmul::{Precision, Problem};
/// let p = Problem::new(512, 256, 1024).transposed(false, true).operands(DType::Bf16, DType::Bf16, DType::F32);
/// assert_eq!((p.lda, p.ldb, p.ldc, p.precision), (1024, 1024, 256, Precision::Bf16));
/// assert!(p.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// How many products.
    pub batch: usize,
    /// Whether A is stored transposed: K rows of M.
    pub ta: bool,
    /// Whether B is stored transposed: N rows of K.
    pub tb: bool,
    /// Element type of A: f32, bf16, f16 or an 8-bit float.
    pub a: DType,
    /// Element type of B.
    pub b: DType,
    /// Element type of C and of the extra operand: f32, bf16 or f16.
    pub c: DType,
    /// Elements from one stored row of A to the next.
    pub lda: usize,
    /// The same of B.
    pub ldb: usize,
    /// The same of C.
    pub ldc: usize,
    /// The same of the extra operand.
    pub ld_extra: usize,
    /// Elements from one A of the batch to the next; 0: the same A for all.
    pub stride_a: usize,
    /// The same of B.
    pub stride_b: usize,
    /// The same of C; never 0 for more than one product.
    pub stride_c: usize,
    /// The same of the extra operand.
    pub stride_extra: usize,
    /// What the addresses of A and B are multiples of at least, in bytes, up to 16. Whole buffers have 16; [`matmul`](super::matmul())
    /// looks at its operands.
    pub align: usize,
    /// How factors are multiplied.
    pub precision: Precision,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the old C; with 0 it is not read.
    pub beta: f32,
    /// Whether a bias, N elements of f32, is added to each row.
    pub bias: bool,
    /// Applied to the sum, or differentiated ([`Extra::Gradient`]).
    pub activation: Activation,
    /// The use of the extra operand.
    pub extra: Extra,
    /// Which sums of C are wanted: N or M of them for each of the batch, one batch after the other without gaps.
    pub reduce: Reduce,
}

/// Which operand a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Name {
    A,
    B,
    C,
    Bias,
    Extra,
    Sums,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Name::A => "A",
            Name::B => "B",
            Name::C => "C",
            Name::Bias => "the bias",
            Name::Extra => "the extra operand",
            Name::Sums => "the output for sums",
        })
    }
}

/// Why a candidate does not do a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{candidate}: {reason}")]
pub struct Unsupported {
    /// The candidate, or the family that was asked.
    pub candidate: String,
    /// The rule that is broken.
    pub reason: String,
}

impl Unsupported {
    /// From anything printable.
    pub fn new(candidate: impl Into<String>, reason: impl Into<String>) -> Unsupported {
        Unsupported { candidate: candidate.into(), reason: reason.into() }
    }
}

/// What is wrong with a product.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatmulError {
    /// An extent is 0 or too long, or there are too many sums.
    #[error("matmul: {what} is {value}; it must be at least 1 and below 2^31")]
    Extent {
        /// `M`, `N`, `K`, `the batch` or `the number of sums`.
        what: &'static str,
        /// Its value.
        value: usize,
    },
    /// An operand's bytes do not fit the address space.
    #[error(
        "matmul: {name} of {rows} rows of {ld} elements, {batch} times, has more bytes than memory; split the product"
    )]
    Overflow {
        /// The operand.
        name: Name,
        /// Stored rows.
        rows: usize,
        /// Elements from row to row.
        ld: usize,
        /// Products.
        batch: usize,
    },
    /// Rows, or matrices of C's batch, overlap.
    #[error("matmul: {name}: {what} is {value}, but needs at least {least}")]
    Stride {
        /// The operand.
        name: Name,
        /// `the leading dimension` or `the stride of the batch`.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The least that is allowed.
        least: usize,
    },
    /// An operand is shorter than its matrix.
    #[error("matmul: {name} has {got} elements, {needed} are needed")]
    Short {
        /// The operand.
        name: Name,
        /// Elements it has.
        got: usize,
        /// Elements the problem reaches.
        needed: usize,
    },
    /// An operand has another element type than the problem says, or one that no product takes.
    #[error("matmul: {name} holds {got}; {expected}")]
    Type {
        /// The operand.
        name: Name,
        /// Its element type.
        got: DType,
        /// What was expected.
        expected: String,
    },
    /// An operand that the epilogue needs is missing, or one that it has no use for is given.
    #[error(
        "matmul: {name} is {state}; Problem::bias, Problem::extra and Problem::reduce say what a call passes"
    )]
    Operands {
        /// The operand.
        name: Name,
        /// `missing` or `not used`.
        state: &'static str,
    },
    /// No kernel.
    #[error("matmul: no kernel for {problem}: {}", .reasons.iter().map(|r| r.to_string()).collect::<Vec<_>>().join("; "))]
    Unsupported {
        /// The problem, in a line.
        problem: String,
        /// What each candidate says.
        reasons: Vec<Unsupported>,
    },
    /// What was tuned cannot be read.
    #[error(transparent)]
    Tuning(#[from] super::tune::CacheError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// The name of a dtype mix, for messages and caches: `bf16 x bf16 -> f32`.
pub(super) fn mix(p: &Problem) -> String {
    format!("{} x {} -> {}", p.a, p.b, p.c)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = |t: bool| if t { 't' } else { 'n' };
        write!(f, "{}x{}x{} {}{} {}", self.m, self.n, self.k, t(self.ta), t(self.tb), mix(self))?;
        write!(f, " in {}", self.precision)?;
        if self.batch > 1 {
            write!(f, ", batch {}", self.batch)?;
        }
        Ok(())
    }
}

impl Problem {
    /// `C = A B` of contiguous f32 matrices: A is M x K, B is K x N.
    pub fn new(m: usize, n: usize, k: usize) -> Problem {
        Problem {
            m,
            n,
            k,
            batch: 1,
            ta: false,
            tb: false,
            a: DType::F32,
            b: DType::F32,
            c: DType::F32,
            lda: k,
            ldb: n,
            ldc: n,
            ld_extra: n,
            stride_a: m.saturating_mul(k),
            stride_b: k.saturating_mul(n),
            stride_c: m.saturating_mul(n),
            stride_extra: m.saturating_mul(n),
            align: 16,
            precision: Precision::Fp32,
            alpha: 1.0,
            beta: 0.0,
            bias: false,
            activation: Activation::Identity,
            extra: Extra::None,
            reduce: Reduce::None,
        }
    }

    /// With A (B) stored transposed, contiguous.
    pub fn transposed(self, ta: bool, tb: bool) -> Problem {
        let (lda, ldb) = (if ta { self.m } else { self.k }, if tb { self.k } else { self.n });
        Problem { ta, tb, lda, ldb, ..self }
    }

    /// A batch of `batch` products.
    pub fn batched(self, batch: usize) -> Problem {
        Problem { batch, ..self }
    }

    /// With these element types; the precision becomes that of A, `Fp32` for f32, `Fp8` for 8-bit floats.
    pub fn operands(self, a: DType, b: DType, c: DType) -> Problem {
        let precision = match a {
            DType::Bf16 => Precision::Bf16,
            DType::F16 => Precision::F16,
            DType::E4m3 | DType::E5m2 => Precision::Fp8,
            DType::F32 | DType::U32 => Precision::Fp32,
        };
        Problem { a, b, c, precision, ..self }
    }

    /// The type in which the kernel reads A (B): the precision's, but 8-bit floats stay what they are.
    pub(super) fn factor(&self, name: Name) -> DType {
        let stored = self.matrix(name).4;
        if self.precision.is_fp8() && stored.bytes() == 1 { stored } else { self.precision.factor() }
    }

    /// With another precision.
    pub fn precision(self, precision: Precision) -> Problem {
        Problem { precision, ..self }
    }

    /// Stored rows and columns of A.
    pub fn stored_a(&self) -> (usize, usize) {
        if self.ta { (self.k, self.m) } else { (self.m, self.k) }
    }
    /// Stored rows and columns of B.
    pub fn stored_b(&self) -> (usize, usize) {
        if self.tb { (self.n, self.k) } else { (self.k, self.n) }
    }

    /// Sums of each of the batch: none, one a column or one a row of C.
    pub fn sums(&self) -> usize {
        match self.reduce {
            Reduce::None => 0,
            Reduce::Rows => self.n,
            Reduce::Columns => self.m,
        }
    }

    /// Floating-point operations; `u64::MAX` where they are more.
    pub fn flop(&self) -> u64 {
        [self.batch, self.m, self.n, self.k].iter().fold(2, |all: u64, &n| all.saturating_mul(n as u64))
    }

    /// Rows, columns, leading dimension, stride and type of a matrix operand.
    pub(super) fn matrix(&self, name: Name) -> (usize, usize, usize, usize, DType) {
        match name {
            Name::A => {
                let (r, c) = self.stored_a();
                (r, c, self.lda, self.stride_a, self.a)
            }
            Name::B => {
                let (r, c) = self.stored_b();
                (r, c, self.ldb, self.stride_b, self.b)
            }
            Name::C => (self.m, self.n, self.ldc, self.stride_c, self.c),
            Name::Extra => (self.m, self.n, self.ld_extra, self.stride_extra, self.c),
            Name::Bias => (1, self.n, self.n, 0, DType::F32),
            Name::Sums => (1, self.sums(), self.sums(), self.sums(), DType::F32),
        }
    }

    /// Elements from the first of an operand to past its last.
    pub fn span(&self, name: Name) -> Result<usize, MatmulError> {
        let (rows, cols, ld, stride, dtype) = self.matrix(name);
        let span = (rows - 1)
            .checked_mul(ld)
            .and_then(|x| x.checked_add(cols))
            .and_then(|x| (self.batch - 1).checked_mul(stride)?.checked_add(x))
            .filter(|x| x.checked_mul(dtype.bytes()).is_some_and(|b| b <= isize::MAX as usize));
        span.ok_or(MatmulError::Overflow { name, rows, ld, batch: self.batch })
    }

    /// Every rule that holds whatever the kernel: extents, strides, sizes, element types.
    pub fn check(&self) -> Result<(), MatmulError> {
        for (what, value) in [("M", self.m), ("N", self.n), ("K", self.k), ("the batch", self.batch)] {
            if value == 0 || value >= 1 << 31 {
                return Err(MatmulError::Extent { what, value });
            }
        }
        for name in [Name::A, Name::B, Name::C, Name::Extra] {
            if name == Name::Extra && self.extra == Extra::None {
                continue;
            }
            let (_, cols, ld, _, dtype) = self.matrix(name);
            let expected = match (dtype, name) {
                (DType::U32, _) => Some("f32, bf16, f16, e4m3 and e5m2 are multiplied"),
                (DType::E4m3 | DType::E5m2, Name::C | Name::Extra) => Some("results are f32, bf16 or f16"),
                _ => None,
            };
            if let Some(expected) = expected {
                return Err(MatmulError::Type { name, got: dtype, expected: expected.into() });
            }
            if ld < cols || ld >= 1 << 31 {
                let (what, value) = ("the leading dimension", ld);
                if ld < cols {
                    return Err(MatmulError::Stride { name, what, value, least: cols });
                }
                return Err(MatmulError::Extent { what, value });
            }
            self.span(name)?;
        }
        let sums = self.batch.saturating_mul(self.sums());
        if sums >= 1 << 31 {
            return Err(MatmulError::Extent { what: "the number of sums", value: sums });
        }
        // The span of one C is known to fit.
        let least = (self.m - 1) * self.ldc + self.n;
        if self.batch > 1 && self.stride_c < least {
            let (name, what) = (Name::C, "the stride of the batch");
            return Err(MatmulError::Stride { name, what, value: self.stride_c, least });
        }
        Ok(())
    }
}
