//! Decoding of `wgmma`, and the table of what other instructions do to its registers.

use super::matrix::{items, shape_of};
use super::{Decoder, Result, Uses};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::File;
use crate::matrix::flight::Touch;
use crate::matrix::wgmma::{Factor, Warpgroup, Wgmma};
use crate::matrix::{Format, Fragment, Role, Shape, registers};
use crate::stats::Class;
use std::collections::HashSet;
use std::sync::Arc;

/// Shapes and types of `wgmma.mma_async` [PTX ISA, "wgmma.mma_async"].
fn exists(shape: Shape, d: Format, a: Format, b: Format) -> bool {
    use Format::*;
    let Shape { m: 64, n, k } = shape else { return false };
    let float = n % 8 == 0 && (8..=256).contains(&n);
    let integer = n == 8 || n == 24 || (n % 16 == 0 && (16..=256).contains(&n));
    match (a, b) {
        (F16, F16) => matches!(d, F16 | F32) && k == 16 && float,
        (Bf16, Bf16) => d == F32 && k == 16 && float,
        (Tf32, Tf32) => d == F32 && k == 8 && float,
        (E4m3 | E5m2, E4m3 | E5m2) => matches!(d, F16 | F32) && k == 32 && float,
        (S8 | U8, S8 | U8) => d == S32 && k == 32 && integer,
        (B1, B1) => d == S32 && k == 256 && integer,
        _ => false,
    }
}

/// An immediate that is one of two values; `true` for the second.
fn choice(o: &Operand<'_>, values: [i64; 2]) -> Result<bool> {
    match o {
        Operand::Int(v) if *v == values[0] => Ok(false),
        Operand::Int(v) if *v == values[1] => Ok(true),
        o => Err(format!("`{o}` must be {} or {}", values[0], values[1])),
    }
}

impl<'a> Decoder<'a, '_> {
    /// `wgmma.mma_async`, `wgmma.fence`, `wgmma.commit_group`, `wgmma.wait_group N`.
    pub(super) fn wgmma(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.mods.get(1) != Some(&"sync") || op.mods.get(2) != Some(&"aligned") {
            return Ok(false);
        }
        let x = match (op.mods.first().copied(), operands) {
            (Some("mma_async"), _) => return self.mma_async(op, operands),
            (Some("fence"), []) => Warpgroup::Fence,
            (Some("commit_group"), []) => Warpgroup::Commit,
            (Some("wait_group"), [Operand::Int(n)]) => {
                Warpgroup::Wait(u32::try_from(*n).map_err(|_| format!("cannot wait for {n} groups"))?)
            }
            _ => return Ok(false),
        };
        self.push(Op::Warpgroup(x), Class::Sync);
        Ok(true)
    }

    fn mma_async(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let shape = shape_of(op)?;
        let formats: Vec<Format> = op.mods.iter().filter_map(|m| Format::parse(m)).collect();
        let known = |m: &str| matches!(m, "mma_async" | "sync" | "aligned" | "satfinite" | "and" | "popc");
        let other = op.mods.iter().filter(|m| !known(m) && Format::parse(m).is_none()).count();
        let [dt, at, bt] = formats[..] else { return Ok(false) };
        if other != 1 || !exists(shape, dt, at, bt) {
            return Ok(false);
        }
        let [d, a, b, scale_d, rest @ ..] = operands else {
            return Err("takes D, A, B and scale-d".into());
        };
        let (integer, wide) = (dt == Format::S32, at.bits() == 16);
        let from_registers = matches!(a, Operand::Vector(_));
        let (mut negate, mut transposed) = ([false; 2], [false; 2]);
        let rest = match rest {
            rest if integer => rest,
            [x, y, rest @ ..] => {
                negate = [choice(x, [1, -1])?, choice(y, [1, -1])?];
                rest
            }
            _ => return Err("takes imm-scale-a and imm-scale-b".into()),
        };
        match rest {
            [] if !wide => {}
            [y] if wide && from_registers => transposed[1] = choice(y, [0, 1])?,
            [x, y] if wide && !from_registers => transposed = [choice(x, [0, 1])?, choice(y, [0, 1])?],
            _ => return Err("has the wrong number of operands".into()),
        }
        // One warp's part.
        let part = Shape { m: 16, ..shape };
        let b = self.src(b, File::R64)?;
        let a = if from_registers {
            let count = registers(part, Role::A, at);
            Factor::Registers(self.fragment(a, part, Role::A, at, count, false)?)
        } else {
            Factor::Shared(self.src(a, File::R64)?)
        };
        let scale_d = self.src(scale_d, File::Pred)?;
        let list = items(d);
        let count = registers(part, Role::C, dt);
        if list.len() != count {
            return Err(format!("D has {count} registers, found {}", list.len()));
        }
        let mut regs = Vec::new();
        for o in list {
            let Operand::Name(n) = o else { return Err(format!("`{o}` cannot be a destination")) };
            match self.slot(n, true)? {
                s if s == NONE || s & WIDE != 0 => return Err(format!("`{n}` is not a 32-bit register")),
                s => regs.push(s),
            }
        }
        let d = Fragment::new(part, Role::C, dt, regs.clone().into());
        let saturate = op.has("satfinite");
        let x = Wgmma { shape, a, b, d, formats: [at, bt], scale_d, negate, transposed, saturate };
        self.func.async_proxy = true;
        self.push(Op::Warpgroup(Warpgroup::Issue(Arc::new(x))), Class::Tensor);
        regs.into_iter().for_each(|s| self.wrote_slot(s));
        Ok(true)
    }
}

/// Fills [`Func::touches`]: the registers that `wgmma` names, those that moves connect with them, and their other uses.
pub(super) fn touches(func: &mut Func, uses: &[Uses<'_>]) {
    let mut of_interest: HashSet<u32> = HashSet::new();
    for inst in &func.code {
        if let Op::Warpgroup(Warpgroup::Issue(x)) = &inst.op {
            of_interest.extend(&x.d.regs);
            if let Factor::Registers(f) = &x.a {
                of_interest.extend(&f.regs);
            }
        }
    }
    if of_interest.is_empty() {
        return;
    }
    let copy = |u: &Uses<'_>| match (&u.reads[..], &u.writes[..]) {
        (&[(File::R32, from, _)], &[(File::R32, to)]) if u.copies => Some((to, from)),
        _ => None,
    };
    loop {
        let before = of_interest.len();
        for (to, from) in uses.iter().filter_map(copy) {
            if of_interest.contains(&to) || of_interest.contains(&from) {
                of_interest.extend([to, from]);
            }
        }
        if of_interest.len() == before {
            break;
        }
    }
    for (pc, u) in uses.iter().enumerate() {
        if matches!(func.code[pc].op, Op::Warpgroup(_)) {
            continue;
        }
        let mut list = Vec::new();
        if let Some((to, from)) = copy(u) {
            if of_interest.contains(&to) {
                list.push(Touch::Copy { to, from });
            }
        } else {
            let named = |file: File, i: u32| file == File::R32 && of_interest.contains(&i);
            list.extend(u.reads.iter().filter(|r| named(r.0, r.1)).map(|r| Touch::Read(r.1)));
            list.extend(u.writes.iter().filter(|w| named(w.0, w.1)).map(|w| Touch::Write(w.1)));
        }
        if !list.is_empty() {
            func.code[pc].touches = true;
            func.touches.insert(pc as u32, list.into());
        }
    }
}
