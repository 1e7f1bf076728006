//! `mma` and `wmma.mma`: D = A * B + C by one warp, every operand a fragment in registers.

use super::dot::{self, Accumulation, Pairing};
use super::fragment::{Fragment, Role, Shape};
use super::number::Format;
use crate::lanes::Regs;
use crate::stats::TensorType;

/// A decoded multiplication.
#[derive(Clone, Debug)]
pub(crate) struct Multiply {
    pub shape: Shape,
    pub a: Fragment,
    pub b: Fragment,
    pub c: Fragment,
    pub d: Fragment,
    pub pairing: Pairing,
    /// `.satfinite`: integer results clamp.
    pub saturate: bool,
}

/// The kind of arithmetic that [`crate::LaunchStats::tensor_flop`] counts an A operand under.
pub(crate) fn kind(format: Format) -> TensorType {
    match format {
        Format::F16 => TensorType::F16,
        Format::Bf16 => TensorType::Bf16,
        Format::Tf32 | Format::F32 => TensorType::Tf32,
        Format::F64 => TensorType::F64,
        Format::E4m3 | Format::E5m2 => TensorType::Fp8,
        Format::S8 | Format::U8 | Format::S32 => TensorType::Int8,
        Format::S4 | Format::U4 => TensorType::Int4,
        Format::B1 => TensorType::Binary,
    }
}

impl Multiply {
    /// Type and number of its operations: a multiplication and an addition per product.
    pub(crate) fn cost(&self) -> (TensorType, u64) {
        let Shape { m, n, k } = self.shape;
        (kind(self.a.format), 2 * m as u64 * n as u64 * k as u64)
    }

    pub(crate) fn execute(&self, regs: &mut Regs<'_>, mask: u32, mode: Accumulation) {
        let len = |role| {
            let (rows, columns) = self.shape.size(role);
            (rows * columns) as usize
        };
        let (na, nb, nc) = (len(Role::A), len(Role::B), len(Role::C));
        match self.a.format {
            Format::F64 => {
                let (mut a, mut b, mut c) = (vec![0.0; na], vec![0.0; nb], vec![0.0; nc]);
                self.a.doubles(regs, &mut a);
                self.b.doubles(regs, &mut b);
                self.c.doubles(regs, &mut c);
                dot::doubles(self.shape, &a, &b, &mut c);
                self.d.write(regs, mask, |at| c[at].to_bits());
            }
            Format::S8 | Format::U8 | Format::S4 | Format::U4 | Format::B1 | Format::S32 => {
                let (mut a, mut b, mut c) = (vec![0; na], vec![0; nb], vec![0; nc]);
                self.a.integers(regs, &mut a);
                self.b.integers(regs, &mut b);
                self.c.integers(regs, &mut c);
                dot::integers(self.shape, &a, &b, &mut c, self.pairing, self.saturate);
                self.d.write(regs, mask, |at| c[at] as u32 as u64);
            }
            format => {
                let (mut a, mut b, mut c) = (vec![0.0; na], vec![0.0; nb], vec![0.0; nc]);
                self.a.floats(regs, &mut a);
                self.b.floats(regs, &mut b);
                self.c.floats(regs, &mut c);
                let half = self.d.format == Format::F16;
                dot::floats(self.shape, format, &a, &b, &mut c, half, mode);
                self.d.put_floats(regs, mask, &c);
            }
        }
    }
}
