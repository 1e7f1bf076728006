//! The operands of a product: device memory with an element type, and what a [`Problem`] asks of it.

use std::marker::PhantomData;

use super::problem::{Extra, MatmulError, Name, Problem, Reduce};
use crate::device::{Buffer, DType, E4m3, E5m2, Element};

/// A type that matrices are made of.
pub trait MatrixElement: Element {
    /// Its name at run time.
    const DTYPE: DType;
}
impl MatrixElement for f32 {
    const DTYPE: DType = DType::F32;
}
impl MatrixElement for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}
impl MatrixElement for half::f16 {
    const DTYPE: DType = DType::F16;
}
impl MatrixElement for E4m3 {
    const DTYPE: DType = DType::E4m3;
}
impl MatrixElement for E5m2 {
    const DTYPE: DType = DType::E5m2;
}

/// Device memory that a product reads.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub(super) address: u64,
    pub(super) len: usize,
    pub(super) dtype: DType,
    memory: PhantomData<&'a ()>,
}

/// Device memory that a product writes.
#[derive(Debug)]
pub struct OperandMut<'a> {
    pub(super) at: Operand<'a>,
    memory: PhantomData<&'a mut ()>,
}

impl<'a> Operand<'a> {
    /// The elements of `buffer` from `start` on; none where `start` is past its end.
    pub fn new<T: MatrixElement>(buffer: &'a Buffer<T>, start: usize) -> Operand<'a> {
        let start = start.min(buffer.len());
        let address = buffer.address() + (start * size_of::<T>()) as u64;
        Operand { address, len: buffer.len() - start, dtype: T::DTYPE, memory: PhantomData }
    }
}

impl<'a> OperandMut<'a> {
    /// The elements of `buffer` from `start` on; none where `start` is past its end.
    pub fn new<T: MatrixElement>(buffer: &'a mut Buffer<T>, start: usize) -> OperandMut<'a> {
        OperandMut { at: Operand::new(buffer, start), memory: PhantomData }
    }
}

impl<'a, T: MatrixElement> From<&'a Buffer<T>> for Operand<'a> {
    fn from(buffer: &'a Buffer<T>) -> Self {
        Operand::new(buffer, 0)
    }
}
impl<'a, T: MatrixElement> From<&'a mut Buffer<T>> for OperandMut<'a> {
    fn from(buffer: &'a mut Buffer<T>) -> Self {
        OperandMut::new(buffer, 0)
    }
}

/// The operands of a product's epilogue: each is given exactly where the problem has it.
#[derive(Debug, Default)]
pub struct Epilogue<'a> {
    /// Read where [`Problem::bias`] says so: N elements of f32.
    pub bias: Option<Operand<'a>>,
    /// Read as [`Problem::extra`] says: M x N elements of C's type.
    pub extra: Option<Operand<'a>>,
    /// Written as [`Problem::reduce`] says: for each of the batch N (M) elements of f32, one batch after the other.
    pub sums: Option<OperandMut<'a>>,
}

/// Where the operands are; what kernels are launched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// A.
    pub a: u64,
    /// B.
    pub b: u64,
    /// C.
    pub c: u64,
    /// The bias, or 0.
    pub bias: u64,
    /// The extra operand, or 0.
    pub extra: u64,
    /// The sums, or 0.
    pub sums: u64,
}

impl Problem {
    /// With the alignment of these addresses.
    pub(super) fn aligned_as(self, a: Operand<'_>, b: Operand<'_>) -> Problem {
        let of = |x: Operand<'_>| 1 << x.address.trailing_zeros().min(4);
        Problem { align: of(a).min(of(b)), ..self }
    }

    /// The operands' addresses, once each is long enough, of its type, there if needed and only then.
    pub(super) fn addresses(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        c: &OperandMut<'_>,
        epilogue: &Epilogue<'_>,
    ) -> Result<Addresses, MatmulError> {
        self.check()?;
        let one = |name: Name, operand: Option<Operand<'_>>, used: bool| {
            let (operand, dtype) = match (operand, used) {
                (Some(operand), true) => (operand, self.matrix(name).4),
                (None, false) => return Ok(0),
                (Some(_), false) => return Err(MatmulError::Operands { name, state: "not used" }),
                (None, true) => return Err(MatmulError::Operands { name, state: "missing" }),
            };
            let (got, needed, address) = (operand.len, self.span(name)?, operand.address);
            if operand.dtype != dtype {
                let expected = format!("the problem says {dtype}");
                return Err(MatmulError::Type { name, got: operand.dtype, expected });
            }
            if got < needed {
                return Err(MatmulError::Short { name, got, needed });
            }
            Ok(address)
        };
        Ok(Addresses {
            a: one(Name::A, Some(a), true)?,
            b: one(Name::B, Some(b), true)?,
            c: one(Name::C, Some(c.at), true)?,
            bias: one(Name::Bias, epilogue.bias, self.bias)?,
            extra: one(Name::Extra, epilogue.extra, self.extra != Extra::None)?,
            sums: one(Name::Sums, epilogue.sums.as_ref().map(|x| x.at), self.reduce != Reduce::None)?,
        })
    }
}
