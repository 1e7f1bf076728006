//! Decoding of matrix instructions: shapes and types against what PTX defines, registers into [`Fragment`]s.

use super::memory::space;
use super::{Decoder, Result};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::File;
use crate::matrix::{Format, Fragment, Matrix, Multiply, Pairing, Place, Role, Rows, Shape, Tile, registers};
use crate::stats::Class;

/// Factor types, accumulator types, shapes of `mma` [PTX ISA, "mma"]. The Volta form `m8n8k4` of f16 is not executed.
fn mma_exists(shape: Shape, a: Format, b: Format, c: Format, d: Format) -> bool {
    use Format::*;
    let float = |f| matches!(f, F16 | F32);
    let Shape { m, n: 8, k } = shape else { return false };
    match (a, b) {
        (F16, F16) => float(c) && c == d && m == 16 && matches!(k, 8 | 16),
        (Bf16, Bf16) => (c, d) == (F32, F32) && m == 16 && matches!(k, 8 | 16),
        (Tf32, Tf32) => (c, d) == (F32, F32) && m == 16 && matches!(k, 4 | 8),
        (E4m3 | E5m2, E4m3 | E5m2) => float(c) && c == d && m == 16 && matches!(k, 16 | 32),
        (F64, F64) => (c, d) == (F64, F64) && ((m == 8 && k == 4) || (m == 16 && matches!(k, 4 | 8 | 16))),
        (S8 | U8, S8 | U8) => {
            (c, d) == (S32, S32) && ((m == 8 && k == 16) || (m == 16 && matches!(k, 16 | 32)))
        }
        (S4 | U4, S4 | U4) => {
            (c, d) == (S32, S32) && ((m == 8 && k == 32) || (m == 16 && matches!(k, 32 | 64)))
        }
        (B1, B1) => (c, d) == (S32, S32) && ((m == 8 && k == 128) || (m == 16 && matches!(k, 128 | 256))),
        _ => false,
    }
}

/// Registers of a `wmma` fragment, `None` where PTX has no such fragment [PTX ISA, "Matrix Fragments for WMMA"].
fn wmma_registers(shape: Shape, role: Role, format: Format) -> Option<usize> {
    use Format::*;
    let Shape { m, n, k } = shape;
    let fits = match (role, format) {
        (Role::C, F16) => k == 16,
        (Role::C, F32) => k == 16 || (m, n, k) == (16, 16, 8),
        (Role::C, S32) => k >= 16,
        (_, F16 | Bf16 | S8 | U8) => k == 16,
        (_, Tf32) => (m, n, k) == (16, 16, 8),
        (_, F64) => (m, n, k) == (8, 8, 4),
        (_, S4 | U4) => (m, n, k) == (8, 8, 32),
        (_, B1) => (m, n, k) == (8, 8, 128),
        _ => false,
    };
    let exists = match k {
        16 => matches!((m, n), (16, 16) | (32, 8) | (8, 32)),
        8 => (m, n) == (16, 16),
        4 | 32 | 128 => (m, n) == (8, 8),
        _ => false,
    };
    // f16 factors take eight registers in every shape.
    let n = if role != Role::C && format == F16 { 8 } else { registers(shape, role, format) };
    (fits && exists).then_some(n)
}

/// The words that are no type, shape or layout.
fn known(m: &str) -> bool {
    matches!(m, "sync" | "aligned" | "row" | "col" | "satfinite" | "xor" | "and" | "popc" | "rn")
}

/// What the opcode of a `wmma.load` or `wmma.store` says; `.row` is `true`.
type Words = (Shape, Role, Format, bool, usize);

pub(super) fn shape_of(op: &Opcode<'_>) -> Result<Shape> {
    op.mods.iter().find_map(|m| Shape::parse(m)).ok_or_else(|| "names no shape".to_string())
}

pub(super) fn items<'b, 'a>(o: &'b Operand<'a>) -> &'b [Operand<'a>] {
    match o {
        Operand::Vector(v) => v,
        o => std::slice::from_ref(o),
    }
}

impl<'a> Decoder<'a, '_> {
    /// `mma`, `wmma`, `ldmatrix`, `stmatrix`, `movmatrix`, `wgmma`; `false` for a form the simulator does not execute.
    pub(super) fn matrix(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        match (op.base, op.mods.first().copied()) {
            ("mma", Some("sync")) => self.mma(op, operands),
            ("wmma", Some("load")) => self.wmma_load(op, operands),
            ("wmma", Some("store")) => self.wmma_store(op, operands),
            ("wmma", Some("mma")) => self.wmma(op, operands),
            ("wgmma", _) => self.wgmma(op, operands),
            ("ldmatrix" | "stmatrix", _) => self.rows(op, operands),
            ("movmatrix", _) => {
                let [d, s] = operands else { return Err("takes a destination and a source".into()) };
                let s = self.value_slot(s, File::R32)?;
                let d = self.matrix_targets(std::slice::from_ref(d))?[0];
                self.push(Op::Matrix(Box::new(Matrix::Transpose(d, s))), Class::Tensor);
                self.wrote_slot(d);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn matrix_sources(&mut self, list: &[Operand<'a>], file: File) -> Result<Box<[Slot]>> {
        list.iter().map(|o| self.value_slot(o, file)).collect()
    }

    pub(super) fn matrix_targets(&mut self, list: &[Operand<'a>]) -> Result<Box<[Slot]>> {
        list.iter()
            .map(|o| match o {
                Operand::Name(n) => self.slot(n, false),
                o => Err(format!("`{o}` cannot be a destination")),
            })
            .collect()
    }

    /// A fragment of exactly `count` registers.
    pub(super) fn fragment(
        &mut self,
        o: &Operand<'a>,
        shape: Shape,
        role: Role,
        format: Format,
        count: usize,
        target: bool,
    ) -> Result<Fragment> {
        let list = items(o);
        if list.len() != count {
            return Err(format!("needs {count} registers for a fragment, found {}", list.len()));
        }
        let file = if format == Format::F64 { File::R64 } else { File::R32 };
        let regs = if target { self.matrix_targets(list)? } else { self.matrix_sources(list, file)? };
        let fits = |s: &Slot| *s == NONE || (*s & WIDE != 0) == (file == File::R64);
        if !regs.iter().all(fits) {
            return Err("a fragment's registers have the wrong width".into());
        }
        Ok(Fragment::new(shape, role, format, regs))
    }

    fn finish_matrix(&mut self, x: Matrix, written: &[Slot]) -> Result<bool> {
        self.push(Op::Matrix(Box::new(x)), Class::Tensor);
        written.iter().for_each(|&s| self.wrote_slot(s));
        Ok(true)
    }

    /// The four factor and accumulator types at the end of an opcode: d, a, b, c.
    fn types(op: &Opcode<'_>) -> Option<[Format; 4]> {
        let formats: Vec<Format> = op.mods.iter().filter_map(|m| Format::parse(m)).collect();
        formats.try_into().ok()
    }

    fn pairing(op: &Opcode<'_>, a: Format) -> Option<Pairing> {
        match (a == Format::B1, op.has("xor"), op.has("and")) {
            (true, true, false) => Some(Pairing::Xor),
            (true, false, true) | (false, false, false) => Some(Pairing::Multiply),
            _ => None,
        }
    }

    fn mma(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let Some([dt, at, bt, ct]) = Self::types(op) else { return Ok(false) };
        let shape = shape_of(op)?;
        let words = op.mods.iter().filter(|m| !known(m) && Format::parse(m).is_none());
        let Some(pairing) = Self::pairing(op, at) else { return Ok(false) };
        let layout = op.mods.iter().position(|m| *m == "row").map(|i| op.mods.get(i + 1).copied());
        if words.count() != 1 || layout != Some(Some("col")) || !mma_exists(shape, at, bt, ct, dt) {
            return Ok(false);
        }
        let [d, a, b, c] = operands else { return Err("takes D, A, B and C".into()) };
        let a = self.fragment(a, shape, Role::A, at, registers(shape, Role::A, at), false)?;
        let b = self.fragment(b, shape, Role::B, bt, registers(shape, Role::B, bt), false)?;
        let c = self.fragment(c, shape, Role::C, ct, registers(shape, Role::C, ct), false)?;
        let d = self.fragment(d, shape, Role::C, dt, registers(shape, Role::C, dt), true)?;
        let written = d.regs.clone();
        let saturate = op.has("satfinite");
        self.finish_matrix(Matrix::Multiply(Multiply { shape, a, b, c, d, pairing, saturate }), &written)
    }

    fn wmma(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let shape = shape_of(op)?;
        // f16 names D and C only.
        let f16 = op.mods.iter().filter_map(|m| Format::parse(m)).collect::<Vec<_>>();
        let [dt, at, bt, ct] = match f16[..] {
            [d, c] => [d, Format::F16, Format::F16, c],
            [d, a, b, c] => [d, a, b, c],
            _ => return Ok(false),
        };
        let Some(pairing) = Self::pairing(op, at) else { return Ok(false) };
        let (Some(na), Some(nb), Some(nc), Some(nd)) = (
            wmma_registers(shape, Role::A, at),
            wmma_registers(shape, Role::B, bt),
            wmma_registers(shape, Role::C, ct),
            wmma_registers(shape, Role::C, dt),
        ) else {
            return Ok(false);
        };
        let integer = |f| matches!(f, Format::S8 | Format::U8 | Format::S4 | Format::U4 | Format::B1);
        let sums = match at {
            Format::F64 => ct == Format::F64 && dt == Format::F64,
            Format::F16 => ct != Format::S32 && dt != Format::S32,
            a if integer(a) => ct == Format::S32 && dt == Format::S32,
            _ => ct == Format::F32 && dt == Format::F32,
        };
        if !sums || at.bits() != bt.bits() || integer(at) != integer(bt) {
            return Ok(false);
        }
        let [d, a, b, c] = operands else { return Err("takes D, A, B and C".into()) };
        let a = self.fragment(a, shape, Role::A, at, na, false)?;
        let b = self.fragment(b, shape, Role::B, bt, nb, false)?;
        let c = self.fragment(c, shape, Role::C, ct, nc, false)?;
        let d = self.fragment(d, shape, Role::C, dt, nd, true)?;
        let written = d.regs.clone();
        let saturate = op.has("satfinite");
        self.finish_matrix(Matrix::Multiply(Multiply { shape, a, b, c, d, pairing, saturate }), &written)
    }

    /// Shape, role, type, layout and number of registers of a `wmma.load` or `wmma.store`.
    fn tile(&self, op: &Opcode<'a>) -> Result<Option<Words>> {
        let shape = shape_of(op)?;
        let role = match op.mods.get(1).copied() {
            Some("a") => Role::A,
            Some("b") => Role::B,
            Some("c" | "d") => Role::C,
            _ => return Ok(None),
        };
        let Some(format) = Format::parse(op.ty()) else { return Ok(None) };
        let Some(count) = wmma_registers(shape, role, format) else { return Ok(None) };
        let row_major = op.has("row");
        if format.bits() < 8 && row_major == (role == Role::B) {
            return Err("sub-byte factors are row-major A and column-major B".into());
        }
        Ok(Some((shape, role, format, row_major, count)))
    }

    fn stride(&mut self, rest: &[Operand<'a>]) -> Result<u32> {
        match rest {
            [] => Ok(NONE),
            [s] => self.src(s, File::R32),
            _ => Err("takes a fragment, an address and a stride".into()),
        }
    }

    fn wmma_load(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let Some((shape, role, format, row_major, count)) = self.tile(op)? else { return Ok(false) };
        let [d, a, rest @ ..] = operands else { return Err("takes a fragment and an address".into()) };
        let stride = self.stride(rest)?;
        let mut space = space(op);
        let (base, offset) = self.address(a, &mut space)?;
        let fragment = self.fragment(d, shape, role, format, count, true)?;
        let written = fragment.regs.clone();
        let tile = Tile { shape, role, fragment, row_major, stride };
        self.finish_matrix(Matrix::LoadTile(Place { space, base, offset }, tile), &written)
    }

    fn wmma_store(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let Some((shape, role, format, row_major, count)) = self.tile(op)? else { return Ok(false) };
        let [a, v, rest @ ..] = operands else { return Err("takes an address and a fragment".into()) };
        let fragment = self.fragment(v, shape, role, format, count, false)?;
        let stride = self.stride(rest)?;
        let mut space = space(op);
        let (base, offset) = self.address(a, &mut space)?;
        let tile = Tile { shape, role, fragment, row_major, stride };
        self.finish_matrix(Matrix::StoreTile(Place { space, base, offset }, tile), &[])
    }

    /// `ldmatrix.sync.aligned.m8n8.num[.trans][.ss].b16 r, [p]` and `stmatrix` with its operands the other way round.
    fn rows(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if !op.has("m8n8") || op.ty() != "b16" {
            return Ok(false);
        }
        let count = match op.mods.iter().find(|m| m.starts_with('x')) {
            Some(&"x1") => 1,
            Some(&"x2") => 2,
            Some(&"x4") => 4,
            _ => return Ok(false),
        };
        let load = op.base == "ldmatrix";
        let [x, y] = operands else { return Err("takes registers and an address".into()) };
        let (data, a) = if load { (x, y) } else { (y, x) };
        let list = items(data);
        if list.len() != count {
            return Err(format!("needs {count} registers, found {}", list.len()));
        }
        let regs = if load { self.matrix_targets(list)? } else { self.matrix_sources(list, File::R32)? };
        // Without a space the address is generic, but has to lie in shared memory.
        let mut space = space(op);
        let (base, offset) = self.address(a, &mut space)?;
        let rows = Rows { regs: regs.clone(), transposed: op.has("trans") };
        let place = Place { space, base, offset };
        if load {
            self.finish_matrix(Matrix::LoadRows(place, rows), &regs)
        } else {
            self.finish_matrix(Matrix::StoreRows(place, rows), &[])
        }
    }
}
