//! Decoding of loads, stores, atomics and address arithmetic.

use super::{Decoder, Result, Symbol, order};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::{CONST, File, alu};
use crate::module::type_bytes;
use crate::stats::Class;

fn space(op: &Opcode<'_>) -> Space {
    for m in &op.mods {
        match *m {
            "global" | "const" => return Space::Global,
            m if m.starts_with("shared") => return Space::Shared,
            "local" => return Space::Local,
            m if m.starts_with("param") => return Space::Param,
            _ => {}
        }
    }
    Space::Generic
}

fn class(space: Space) -> Class {
    match space {
        Space::Shared => Class::Shared,
        Space::Local => Class::Local,
        _ => Class::Global,
    }
}

/// A shared address as block `rank` of the cluster would see it, seen from anywhere in the cluster.
fn mapped(a: u64, rank: u32) -> u64 {
    (a & ((1 << RANK_SHIFT) - 1)) | (rank as u64 + 1) << RANK_SHIFT
}

/// The block whose shared memory holds an address.
fn rank(a: u64, own: u32) -> u32 {
    match (a.wrapping_sub(SHARED_BASE).min(a) >> RANK_SHIFT) as u32 {
        0 => own,
        high => high - 1,
    }
}

impl<'a> Decoder<'a, '_> {
    /// Base and offset of an address operand; a symbol may also change the space (parameters of functions are local).
    fn address(&mut self, o: &Operand<'a>, space: &mut Space) -> Result<(Base, i64)> {
        let Operand::Address(parts) = o else { return Err(format!("`{o}` is not an address")) };
        let [inner] = &parts[..] else { return Err(format!("`{o}` is not a plain address")) };
        let (name, offset) = match inner {
            Operand::Name(n) => (*n, 0),
            Operand::Offset(n, a) => (*n, *a),
            Operand::Int(v) => return Ok((Base::Abs, *v)),
            _ => return Err(format!("`{o}` is not a plain address")),
        };
        match self.find(name) {
            Some(Symbol::Reg(File::R64, i)) => {
                self.pending_reads.push((File::R64, i, name));
                if *space == Space::Param && !self.entry {
                    *space = Space::Local;
                }
                Ok((Base::R64(i), offset))
            }
            Some(Symbol::Reg(File::R32, i)) => {
                self.pending_reads.push((File::R32, i, name));
                if *space == Space::Param && !self.entry {
                    *space = Space::Local;
                }
                Ok((Base::R32(i), offset))
            }
            Some(Symbol::Frame(at)) => {
                *space = Space::Local;
                Ok((Base::Frame, at as i64 + offset))
            }
            Some(Symbol::Param(at)) => {
                *space = Space::Param;
                Ok((Base::Abs, at as i64 + offset))
            }
            _ => match self.address_of(name, offset)? {
                Some(c) => {
                    if matches!(c, Const::Shared(..)) {
                        *space = Space::Shared;
                    }
                    Ok((Base::R64(self.constant(File::R64, c)), 0))
                }
                None => Err(format!("`{name}` is not declared")),
            },
        }
    }

    fn mem(&self, op: &Opcode<'_>) -> Result<(u8, u8, bool)> {
        let ty = op.ty();
        if ty == "b128" {
            return Err("128-bit registers are not supported".into());
        }
        if !matches!(ty, "b8" | "u8" | "s8") && type_bytes(ty) == 1 {
            return Err(format!("unknown type `{ty}`"));
        }
        let count = if op.has("v8") {
            8
        } else if op.has("v4") {
            4
        } else if op.has("v2") {
            2
        } else {
            1
        };
        Ok((type_bytes(ty) as u8, count, ty.starts_with('s')))
    }

    fn data<'b>(&self, o: &'b Operand<'a>, count: u8) -> Result<Vec<&'b Operand<'a>>> {
        let list: Vec<&Operand<'a>> = match o {
            Operand::Vector(v) => v.iter().collect(),
            o => vec![o],
        };
        if list.len() != count as usize {
            return Err(format!("needs {count} registers, found {}", list.len()));
        }
        Ok(list)
    }

    pub(super) fn load(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        // A trailing cache-policy operand is only a hint.
        let [d, a, ..] = operands else { return Err("takes a destination and an address".into()) };
        let (size, count, signed) = self.mem(op)?;
        let order = order::of_access(op);
        let mut space = if op.base == "ldu" { Space::Global } else { space(op) };
        let (base, offset) = self.address(a, &mut space)?;
        let mut regs = [NONE; 8];
        for (r, o) in regs.iter_mut().zip(self.data(d, count)?) {
            let Operand::Name(n) = o else { return Err(format!("`{o}` cannot be a destination")) };
            *r = self.slot(n, false)?;
        }
        self.push(
            Op::Load(Box::new(Mem { order, space, size, count, signed, base, offset, regs })),
            class(space),
        );
        for r in regs {
            self.wrote_slot(r);
        }
        Ok(true)
    }

    pub(super) fn store(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [a, v, ..] = operands else { return Err("takes an address and a value".into()) };
        let (size, count, signed) = self.mem(op)?;
        let order = order::of_access(op);
        let mut space = space(op);
        let mut regs = [NONE; 8];
        let file = if size == 8 { File::R64 } else { File::R32 };
        for (r, o) in regs.iter_mut().zip(self.data(v, count)?) {
            *r = match o {
                Operand::Name(n) if matches!(self.find(n), Some(Symbol::Reg(..))) => self.slot(n, true)?,
                o => self.value_slot(o, file)?,
            };
        }
        let (base, offset) = self.address(a, &mut space)?;
        self.push(
            Op::Store(Box::new(Mem { order, space, size, count, signed, base, offset, regs })),
            class(space),
        );
        Ok(true)
    }

    /// Any operand as a register slot; constants are moved into a temporary register first.
    pub(super) fn value_slot(&mut self, o: &Operand<'a>, file: File) -> Result<Slot> {
        let held = std::mem::take(&mut self.pending_reads);
        let row = self.src(o, file)?;
        let wide = if file == File::R64 { WIDE } else { 0 };
        if row & CONST == 0 {
            self.pending_reads.splice(0..0, held);
            return Ok(row | wide);
        }
        let t = self.fresh(file, 1)?;
        let s = if file == File::R64 { alu!(|a: u64| -> u64 { a }) } else { alu!(|a: u32| -> u32 { a }) };
        self.push(Op::Alu(s.f, [t, row, 0, 0, 0]), Class::Move);
        self.wrote(file, t);
        self.pending_reads = held;
        Ok(t | wide)
    }

    pub(super) fn atom(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let kind = op.mods.iter().find_map(|m| {
            Some(match *m {
                "add" => AtomOp::Add,
                "min" => AtomOp::Min,
                "max" => AtomOp::Max,
                "and" => AtomOp::And,
                "or" => AtomOp::Or,
                "xor" => AtomOp::Xor,
                "exch" => AtomOp::Exch,
                "cas" => AtomOp::Cas,
                "inc" => AtomOp::Inc,
                "dec" => AtomOp::Dec,
                _ => return None,
            })
        });
        let Some(kind) = kind else { return Ok(false) };
        let ty = match op.ty() {
            "b16" | "u16" => AtomType::B16,
            "u32" | "b32" => AtomType::U32,
            "s32" => AtomType::S32,
            "u64" | "b64" => AtomType::U64,
            "s64" => AtomType::S64,
            "f32" => AtomType::F32,
            "f64" => AtomType::F64,
            "f16" => AtomType::F16,
            "bf16" => AtomType::Bf16,
            "f16x2" => AtomType::F16x2,
            "bf16x2" => AtomType::Bf16x2,
            _ => return Ok(false),
        };
        let order = order::of_atomic(op);
        let red = op.base == "red";
        let (d, rest) =
            if red { (None, operands) } else { (operands.first(), operands.get(1..).unwrap_or(&[])) };
        let [a, b, more @ ..] = rest else { return Err("takes an address and a value".into()) };
        let file = if ty.bytes() == 8 { File::R64 } else { File::R32 };
        let count = if op.has("v8") {
            8
        } else if op.has("v4") {
            4
        } else if op.has("v2") {
            2
        } else {
            1
        };
        let sources = self.data(b, count)?;
        let targets = match d {
            Some(d) => self.data(d, count)?.into_iter().map(Some).collect(),
            None => vec![None; count as usize],
        };
        for (k, (b, d)) in sources.into_iter().zip(targets).enumerate() {
            let b = self.value_slot(b, file)?;
            let c = match more {
                [c, ..] if kind == AtomOp::Cas => self.value_slot(c, file)?,
                _ if kind == AtomOp::Cas => return Err("needs a value to compare and one to swap".into()),
                _ => NONE,
            };
            let mut space = space(op);
            let (base, offset) = self.address(a, &mut space)?;
            let dst = match d {
                Some(Operand::Name(n)) => self.slot(n, false)?,
                None => NONE,
                Some(o) => return Err(format!("`{o}` cannot be a destination")),
            };
            let offset = offset + k as i64 * ty.bytes() as i64;
            self.push(
                Op::Atom(Box::new(Atom { order, space, op: kind, ty, base, offset, dst, b, c })),
                Class::Atomic,
            );
            self.wrote_slot(dst);
        }
        Ok(true)
    }

    /// `cvta` between windows and the generic address space, and `isspacep`.
    pub(super) fn cvta(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let to = op.mods.first() == Some(&"to");
        let base = match space(op) {
            Space::Shared => SHARED_BASE,
            Space::Local => LOCAL_BASE,
            // Parameters of functions lie in local memory.
            Space::Param if self.entry => PARAM_BASE,
            Space::Param => LOCAL_BASE,
            _ => 0,
        };
        macro_rules! shift {
            ($base:expr) => {
                if to {
                    alu!(|a: u64| -> u64 { a.wrapping_sub($base) })
                } else {
                    alu!(|a: u64| -> u64 { a.wrapping_add($base) })
                }
            };
        }
        let s = match base {
            SHARED_BASE => shift!(SHARED_BASE),
            LOCAL_BASE => shift!(LOCAL_BASE),
            PARAM_BASE => shift!(PARAM_BASE),
            _ => alu!(|a: u64| -> u64 { a }),
        };
        self.emit(s, Class::Integer, operands, false)?;
        Ok(true)
    }

    /// `mapa`: the address of the same place in another block of the cluster; `getctarank`: whose memory an address is in.
    pub(super) fn mapa(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let (wide, window) = (op.ty() == "u64", !op.mods.iter().any(|m| m.starts_with("shared")));
        let file = if wide { File::R64 } else { File::R32 };
        if op.base == "mapa" {
            let s = match (wide, window) {
                (true, true) => alu!(|a: u64, b: u32| -> u64 { SHARED_BASE | mapped(a, b) }),
                (true, false) => alu!(|a: u64, b: u32| -> u64 { mapped(a, b) }),
                (false, _) => alu!(|a: u32, b: u32| -> u32 { mapped(a as u64, b) as u32 }),
            };
            self.emit(s, Class::Integer, operands, false)?;
            return Ok(true);
        }
        let [d, a] = operands else { return Err("takes a destination and an address".into()) };
        let a = self.src(a, file)?;
        let held = std::mem::take(&mut self.pending_reads);
        let own = self.fresh(File::R32, 1)?;
        self.push(Op::Special(Special::ClusterRank, own), Class::Move);
        self.wrote(File::R32, own);
        self.pending_reads = held;
        let s = match wide {
            true => alu!(|a: u64, own: u32| -> u32 { rank(a, own) }),
            false => alu!(|a: u32, own: u32| -> u32 { rank(a as u64, own) }),
        };
        let (row, into) = self.dst(d, File::R32)?;
        self.push(Op::Alu(s.f, [row, a, own, 0, 0]), Class::Integer);
        self.finish(File::R32, row, into, false);
        Ok(true)
    }

    pub(super) fn isspacep(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let s = match space(op) {
            Space::Shared if op.has("shared::cluster") => {
                alu!(|a: u64| -> bool { (SHARED_BASE..SHARED_BASE + WINDOW).contains(&a) })
            }
            Space::Shared => {
                alu!(|a: u64| -> bool { (SHARED_BASE..SHARED_BASE + (1 << RANK_SHIFT)).contains(&a) })
            }
            Space::Local => alu!(|a: u64| -> bool { (LOCAL_BASE..LOCAL_BASE + WINDOW).contains(&a) }),
            Space::Param => alu!(|a: u64| -> bool { (PARAM_BASE..PARAM_BASE + WINDOW).contains(&a) }),
            _ => alu!(|a: u64| -> bool { !(SHARED_BASE..FUNC_BASE).contains(&a) }),
        };
        self.emit(s, Class::Integer, operands, false)?;
        Ok(true)
    }
}
