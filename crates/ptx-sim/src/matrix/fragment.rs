//! Fragments: which element of a matrix lies in which register of which lane.
//!
//! With `g = lane / 4` and `t = lane % 4`, and `e` elements in a register, all operands of `mma` and of `wgmma` follow one
//! pattern (PTX ISA, the figures of "Matrix Fragments for mma"):
//!
//! - A (m x k), register r, element j of it: row `g + 8 * (r % R)`, column `e * t + j + 4 * e * (r / R)`, where `R = m / 8`;
//! - B (k x n): row `e * t + j + 4 * e * (r % Q)`, column `g + 8 * (r / Q)`, where `Q = k / (4 * e)`;
//! - C and D (m x n), element i over all registers: column `2 * t + i % 2 + 8 * (i / (2 * R))`, row `g + 8 * (i / 2 % R)`.
//!
//! The fragments of `wmma` are opaque in PTX: a program may only rely on what a load, a multiplication and a store do
//! together, and on elementwise work over whole fragments. Here they follow the same three formulas. Where PTX
//! gives a fragment more registers than it has elements (f16 A and B), the elements repeat.

use super::number::{Format, canonical, f16_bits};
use crate::access::{deliver64, value};
use crate::isa::{NONE, Slot};
use crate::lanes::{Lane, Regs};

/// Which operand of a multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    A,
    B,
    /// An accumulator: C or D.
    C,
}

/// Rows of A and D, columns of B and D, and the length of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

impl Shape {
    /// Reads `m16n8k16`.
    pub(crate) fn parse(text: &str) -> Option<Shape> {
        let (m, rest) = text.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        Some(Shape { m: m.parse().ok()?, n: n.parse().ok()?, k: k.parse().ok()? })
    }

    /// Rows and columns of an operand.
    pub(crate) fn size(self, role: Role) -> (u32, u32) {
        match role {
            Role::A => (self.m, self.k),
            Role::B => (self.k, self.n),
            Role::C => (self.m, self.n),
        }
    }
}

/// An operand in registers.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub format: Format,
    pub regs: Box<[Slot]>,
    /// Place in the row-major matrix of element `j` of register `r` in lane `l`, at `(r * e + j) * 32 + l`.
    pub place: Box<[u16]>,
}

/// Row and column of element `j` of register `r` in `lane`.
fn position(shape: Shape, role: Role, format: Format, lane: u32, r: u32, j: u32) -> (u32, u32) {
    let e = format.per_register();
    let (g, t) = (lane / 4, lane % 4);
    match role {
        Role::A => {
            let (blocks, wide) = ((shape.m / 8).max(1), (shape.k / (4 * e)).max(1));
            let r = r % (blocks * wide);
            (g + 8 * (r % blocks), e * t + j + 4 * e * (r / blocks))
        }
        Role::B => {
            let (blocks, tall) = ((shape.n / 8).max(1), (shape.k / (4 * e)).max(1));
            let r = r % (blocks * tall);
            (e * t + j + 4 * e * (r % tall), g + 8 * (r / tall))
        }
        Role::C => {
            let (i, blocks) = (r * e + j, (shape.m / 8).max(1));
            (g + 8 * (i / 2 % blocks), 2 * t + i % 2 + 8 * (i / (2 * blocks)))
        }
    }
}

/// Registers that hold every element of an operand once.
pub(crate) fn registers(shape: Shape, role: Role, format: Format) -> usize {
    let (rows, columns) = shape.size(role);
    (rows * columns / 32).div_ceil(format.per_register()) as usize
}

impl Fragment {
    pub(crate) fn new(shape: Shape, role: Role, format: Format, regs: Box<[Slot]>) -> Fragment {
        let (_, columns) = shape.size(role);
        let mut place = Vec::with_capacity(regs.len() * 32 * format.per_register() as usize);
        for r in 0..regs.len() as u32 {
            for j in 0..format.per_register() {
                for lane in 0..32 {
                    let (row, column) = position(shape, role, format, lane, r, j);
                    place.push((row * columns + column) as u16);
                }
            }
        }
        Fragment { format, regs, place: place.into() }
    }

    /// The matrix, row by row, of a fragment in 32-bit registers: `f` of the bits of each element.
    #[inline(always)]
    fn elements<T: Copy + Default>(&self, regs: &Regs<'_>, out: &mut [T], f: impl Fn(u32) -> T) {
        let (e, bits) = (self.format.per_register() as usize, self.format.bits());
        let keep = if bits == 32 { !0 } else { (1u32 << bits) - 1 };
        for (r, &slot) in self.regs.iter().enumerate() {
            let v = u32::src(regs, slot);
            for j in 0..e {
                let at = &self.place[(r * e + j) * 32..][..32];
                let mut x = [T::default(); 32];
                for l in 0..32 {
                    x[l] = f(v[l] >> (j as u32 * bits) & keep);
                }
                for l in 0..32 {
                    out[at[l] as usize] = x[l];
                }
            }
        }
    }

    /// The matrix of a float fragment, row by row.
    pub(crate) fn floats(&self, regs: &Regs<'_>, out: &mut [f32]) {
        match self.format {
            Format::F16 => self.elements(regs, out, |v| Format::F16.float(v)),
            Format::Bf16 => self.elements(regs, out, |v| Format::Bf16.float(v)),
            Format::Tf32 => self.elements(regs, out, |v| Format::Tf32.float(v)),
            Format::F32 => self.elements(regs, out, f32::from_bits),
            f => self.elements(regs, out, |v| f.float(v)),
        }
    }

    /// Bits of the elements.
    pub(crate) fn raw(&self, regs: &Regs<'_>, out: &mut [u32]) {
        self.elements(regs, out, |v| v);
    }

    pub(crate) fn integers(&self, regs: &Regs<'_>, out: &mut [i32]) {
        match self.format {
            Format::S8 => self.elements(regs, out, |v| Format::S8.integer(v)),
            Format::U8 => self.elements(regs, out, |v| Format::U8.integer(v)),
            Format::S32 => self.elements(regs, out, |v| v as i32),
            f => self.elements(regs, out, |v| f.integer(v)),
        }
    }

    pub(crate) fn doubles(&self, regs: &Regs<'_>, out: &mut [f64]) {
        for (r, &slot) in self.regs.iter().enumerate() {
            let v = value(regs, slot);
            for l in 0..32 {
                out[self.place[r * 32 + l] as usize] = f64::from_bits(v[l]);
            }
        }
    }

    /// Writes the registers of the lanes in `mask` from `bits(place)`.
    pub(crate) fn write(&self, regs: &mut Regs<'_>, mask: u32, mut bits: impl FnMut(usize) -> u64) {
        let (e, size) = (self.format.per_register() as usize, self.format.bits());
        for (r, &slot) in self.regs.iter().enumerate() {
            if slot == NONE {
                continue;
            }
            let mut v = [0u64; 32];
            for j in 0..e {
                let at = &self.place[(r * e + j) * 32..][..32];
                for l in 0..32 {
                    v[l] |= bits(at[l] as usize) << (j as u32 * size);
                }
            }
            deliver64(regs, slot, &v, mask);
        }
    }

    /// Writes an accumulator of floats, rounded to f16 where that is its type.
    pub(crate) fn put_floats(&self, regs: &mut Regs<'_>, mask: u32, v: &[f32]) {
        match self.format {
            Format::F16 => self.write(regs, mask, |at| f16_bits(v[at]) as u64),
            _ => self.write(regs, mask, |at| canonical(v[at]).to_bits() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of every operand lies in exactly one place, in each shape there is.
    #[test]
    fn fragments_cover_each_element_once() {
        let shapes = [
            ("m16n8k8", Format::F16),
            ("m16n8k16", Format::Bf16),
            ("m16n8k4", Format::Tf32),
            ("m16n8k8", Format::Tf32),
            ("m8n8k4", Format::F64),
            ("m16n8k16", Format::F64),
            ("m8n8k16", Format::S8),
            ("m16n8k32", Format::E4m3),
            ("m16n8k64", Format::U4),
            ("m16n8k256", Format::B1),
            ("m16n16k16", Format::Bf16),
            ("m32n8k16", Format::S8),
            ("m8n32k16", Format::F16),
            ("m16n16k8", Format::Tf32),
        ];
        for (name, format) in shapes {
            let shape = Shape::parse(name).unwrap();
            for role in [Role::A, Role::B, Role::C] {
                let format = match (role, format) {
                    (Role::C, Format::F64) => Format::F64,
                    (Role::C, _) => Format::F32,
                    _ => format,
                };
                let (rows, columns) = shape.size(role);
                let n = registers(shape, role, format);
                let f = Fragment::new(shape, role, format, vec![0; n].into());
                let mut seen: Vec<u32> = f.place.iter().map(|&p| p as u32).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..rows * columns).collect::<Vec<_>>(), "{name} {role:?}");
            }
        }
    }
}
