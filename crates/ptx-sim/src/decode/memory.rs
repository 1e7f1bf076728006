//! Decoding of loads, stores, atomics and address arithmetic.

use super::{Decoder, Result, Symbol, order};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::{CONST, File, alu};
use crate::module::type_bytes;
use crate::stats::Class;

pub(super) fn space(op: &Opcode<'_>) -> Space {
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

/// Elements of a vector access.
fn vector(op: &Opcode<'_>) -> u8 {
    [("v8", 8), ("v4", 4), ("v2", 2)].iter().find(|v| op.has(v.0)).map_or(1, |v| v.1)
}

/// Whether a modifier is one that a load, store or atomic may carry without another meaning than the decoder gives it:
/// spaces, semantics and scopes, vector widths, and cache hints.
fn known(m: &str) -> bool {
    const WORDS: [&str; 30] = [
        "global", "const", "shared", "local", "param", "weak", "volatile", "mmio", "relaxed", "acquire",
        "release", "acq_rel", "cta", "cluster", "gpu", "sys", "v2", "v4", "v8", "nc", "ca", "cg", "cs", "lu",
        "cv", "wb", "wt", "unified", "level", "L2",
    ];
    WORDS.contains(&m)
        || ["L1::", "L2::", "param::", "shared::", "level::"].iter().any(|prefix| m.starts_with(prefix))
}

/// Up to eight slots, as many as there are elements.
fn eight(slots: Vec<Slot>, count: u8) -> Result<[Slot; 8]> {
    if slots.len() != count as usize || count > 8 {
        return Err(format!("needs {count} registers, found {}", slots.len()));
    }
    let mut regs = [NONE; 8];
    regs[..slots.len()].copy_from_slice(&slots);
    Ok(regs)
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
    pub(super) fn address(&mut self, o: &Operand<'a>, space: &mut Space) -> Result<(Base, i64)> {
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

    /// Bytes and number of elements, and whether they are signed. A 128-bit element is two of 64 bits.
    fn mem(&self, op: &Opcode<'_>) -> Result<(u8, u8, bool)> {
        let ty = op.ty();
        if let Some(m) = op.mods.iter().find(|m| !known(m) && **m != ty) {
            return Err(format!("unknown modifier `.{m}`"));
        }
        if !matches!(ty, "b8" | "u8" | "s8") && type_bytes(ty) == 1 {
            return Err(format!("unknown type `{ty}`"));
        }
        let count = vector(op);
        if ty == "b128" {
            return Ok((8, 2 * count, false));
        }
        Ok((type_bytes(ty) as u8, count, ty.starts_with('s')))
    }

    pub(super) fn load(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        // A trailing cache-policy operand is only a hint.
        let [d, a, ..] = operands else { return Err("takes a destination and an address".into()) };
        let (size, count, signed) = self.mem(op)?;
        let order = order::of_access(op);
        let mut space = if op.base == "ldu" { Space::Global } else { space(op) };
        let (base, offset) = self.address(a, &mut space)?;
        let regs = eight(self.targets(d)?, count)?;
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
        let file = if size == 8 { File::R64 } else { File::R32 };
        let regs = eight(self.sources(v, file, false)?, count)?;
        let (base, offset) = self.address(a, &mut space)?;
        self.push(
            Op::Store(Box::new(Mem { order, space, size, count, signed, base, offset, regs })),
            class(space),
        );
        Ok(true)
    }

    /// `discard.global.L2 [a], 128`: the bytes lose their values.
    pub(super) fn discard(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [a, Operand::Int(128)] = operands else { return Err("takes an address and the size 128".into()) };
        let mut space = space(op);
        let (base, offset) = self.address(a, &mut space)?;
        let order = order::of_access(op);
        let mem = Mem { order, space, size: 128, count: 1, signed: false, base, offset, regs: [NONE; 8] };
        self.push(Op::Discard(Box::new(mem)), class(space));
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
        let kind = AtomOp::among(&op.mods);
        let Some(kind) = kind else { return Ok(false) };
        let ty = match op.ty() {
            "b16" | "u16" => AtomType::B16,
            "u32" | "b32" => AtomType::U32,
            "s32" => AtomType::S32,
            "u64" | "b64" => AtomType::U64,
            "s64" => AtomType::S64,
            "b128" => AtomType::B128,
            "f32" => AtomType::F32,
            "f64" => AtomType::F64,
            "f16" => AtomType::F16,
            "bf16" => AtomType::Bf16,
            "f16x2" => AtomType::F16x2,
            "bf16x2" => AtomType::Bf16x2,
            _ => return Ok(false),
        };
        let atom = |m: &&&str| {
            !known(m)
                && !matches!(
                    **m,
                    "add" | "min" | "max" | "and" | "or" | "xor" | "exch" | "cas" | "inc" | "dec" | "noftz"
                )
        };
        if let Some(m) = op.mods.iter().find(atom).filter(|m| **m != op.ty()) {
            return Err(format!("unknown modifier `.{m}`"));
        }
        let exchanges = matches!(kind, AtomOp::Exch | AtomOp::Cas);
        if (ty == AtomType::B128 || op.ty() == "b16") && !exchanges {
            return Ok(false);
        }
        let order = order::of_atomic(op);
        let red = op.base == "red";
        let (d, rest) =
            if red { (None, operands) } else { (operands.first(), operands.get(1..).unwrap_or(&[])) };
        let [a, b, more @ ..] = rest else { return Err("takes an address and a value".into()) };
        let file = if ty.bytes() >= 8 { File::R64 } else { File::R32 };
        let count = vector(op);
        let c = match more {
            [c, ..] if kind == AtomOp::Cas => self.sources(c, file, true)?,
            _ if kind == AtomOp::Cas => return Err("needs a value to compare and one to swap".into()),
            _ => vec![NONE],
        };
        let sources = self.sources(b, file, true)?;
        let targets = match d {
            Some(d) => self.targets(d)?,
            None => vec![NONE; sources.len()],
        };
        let mut space = space(op);
        let (base, offset) = self.address(a, &mut space)?;
        if ty == AtomType::B128 {
            let pair = |s: &[Slot]| matches!(s, [a, b] if a & WIDE != 0 && *b == a + 1).then(|| s[0]);
            let dst = if red || targets == [NONE] { Some(NONE) } else { pair(&targets) };
            let b = pair(&sources);
            let c = if kind == AtomOp::Cas { pair(&c) } else { Some(NONE) };
            let (Some(dst), Some(b), Some(c)) = (dst, b, c) else {
                return Err("needs 128-bit registers".into());
            };
            let align = 16;
            let atom = Atom { order, space, op: kind, ty, base, offset, align, dst, b, c };
            self.push(Op::Atom(Box::new(atom)), Class::Atomic);
            if dst != NONE {
                self.wrote_slot(dst);
                self.wrote_slot(dst + 1);
            }
            return Ok(true);
        }
        if sources.len() != count as usize || targets.len() != count as usize {
            return Err(format!("needs {count} registers, found {}", sources.len()));
        }
        // Each element is an atomic of its own; the address is aligned to all of them.
        for (k, (&b, &dst)) in sources.iter().zip(&targets).enumerate() {
            let align = if k == 0 { ty.bytes() * count } else { ty.bytes() };
            let offset = offset + k as i64 * ty.bytes() as i64;
            let atom = Atom { order, space, op: kind, ty, base, offset, align, dst, b, c: c[0] };
            self.push(Op::Atom(Box::new(atom)), Class::Atomic);
            self.wrote_slot(dst);
        }
        Ok(true)
    }

    /// `createpolicy`: a policy is a hint without effect here, any value will do.
    pub(super) fn createpolicy(&mut self, operands: &[Operand<'a>]) -> Result<bool> {
        let [d, ..] = operands else { return Err("takes a destination".into()) };
        let zero = self.constant(File::R64, Const::Value(0));
        let (row, into) = self.dst(d, File::R64)?;
        self.push(Op::Alu(alu!(|a: u64| -> u64 { a }).f, [row, zero, 0, 0, 0]), Class::Move);
        self.finish(File::R64, row, into, false);
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
