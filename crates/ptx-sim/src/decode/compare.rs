//! Decoding of `setp` and `set`: compare, combine with a predicate, deliver as a predicate, a mask or a number.

use super::{Decoder, Result};
use crate::alu::{self, Opcode};
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::{CONST, File, NEGATED, alu, select};
use crate::stats::Class;

type Combine = fn(u32, u32) -> u32;

/// How a comparison combines with the third operand.
fn combine(op: &Opcode<'_>) -> Combine {
    match op.mods.get(1).copied() {
        Some("and") => |a, b| a & b,
        Some("or") => |a, b| a | b,
        Some("xor") => |a, b| a ^ b,
        _ => |a, _| a,
    }
}

/// The value of "true" in a type that `set` delivers.
fn truth(ty: &str) -> Option<u64> {
    Some(match ty {
        "f32" => 1f32.to_bits() as u64,
        "f16" | "f16x2" => 0x3c00,
        "bf16" | "bf16x2" => 0x3f80,
        "u16" | "s16" => 0xffff,
        "u32" | "s32" => 0xffff_ffff,
        _ => return None,
    })
}

impl<'a> Decoder<'a, '_> {
    /// A comparison into a fresh predicate.
    fn compared(&mut self, cmp: &str, ty: &str, flags: u32, a: u32, b: u32) -> Result<Option<u32>> {
        let Some(spec) = alu::compare(cmp, ty, flags) else { return Ok(None) };
        let t = self.fresh(File::Pred, 1)?;
        self.push(Op::Alu(spec.f, [t, a, b, 0, spec.flags]), Class::Move);
        self.wrote(File::Pred, t);
        Ok(Some(t))
    }

    fn third(&mut self, rest: &[Operand<'a>]) -> Result<Option<u32>> {
        match rest {
            [] => Ok(None),
            [c] => Ok(Some(self.src(c, File::Pred)?)),
            _ => Err("takes at most three sources".into()),
        }
    }

    /// `p ? yes : 0` in a fresh row.
    fn choice(&mut self, p: u32, yes: u64) -> Result<u32> {
        let t = self.fresh(File::R32, 1)?;
        let one = self.constant(File::R32, Const::Value(yes));
        let zero = self.constant(File::R32, Const::Value(0));
        self.push(Op::Alu(select::<u32>, [t, one, zero, p, 0]), Class::Move);
        self.wrote(File::R32, t);
        Ok(t)
    }

    /// `setp.cmp[.bool].type p[|q], a, b[, c]` and `set.cmp[.bool].dtype.stype d, a, b[, c]`.
    pub(super) fn setp(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [d, a, b, rest @ ..] = operands else { return Err("takes a destination and two sources".into()) };
        let known = |m: &&str| matches!(*m, "and" | "or" | "xor" | "ftz");
        let types = if op.base == "set" { 2 } else { 1 };
        let words = op.mods.get(1..op.mods.len().saturating_sub(types)).unwrap_or(&[]);
        if !words.iter().all(known) {
            return Ok(false);
        }
        let ty = op.ty();
        let cmp = op.mods.first().copied().unwrap_or("");
        if matches!(ty, "f16x2" | "bf16x2") {
            return self.pair(op, operands);
        }
        let Some(spec) = alu::compare(cmp, ty, op.flags()) else { return Ok(false) };
        let a = self.src(a, spec.files[1])?;
        let b = self.src(b, spec.files[2])?;
        let Some(t) = self.compared(cmp, ty, op.flags(), a, b)? else { return Ok(false) };
        let c = self.third(rest)?;
        let combine = combine(op);
        let other = c.unwrap_or(CONST);
        if op.base == "set" {
            let [.., dtype, _] = op.mods[..] else { return Ok(false) };
            let Some(yes) = truth(dtype).filter(|_| !dtype.ends_with("x2")) else { return Ok(false) };
            let p = self.fresh(File::Pred, 1)?;
            self.pred_op(combine, p, t, other);
            let one = self.constant(File::R32, Const::Value(yes));
            let zero = self.constant(File::R32, Const::Value(0));
            let (row, into) = self.dst(d, File::R32)?;
            self.push(Op::Alu(select::<u32>, [row, one, zero, p, 0]), Class::Move);
            self.finish(File::R32, row, into, dtype.starts_with('s'));
            return Ok(true);
        }
        let (p, q) = match d {
            Operand::Name(p) => (self.pred_dst(p)?, NONE),
            Operand::Pair(p, q) => (self.pred_dst(p)?, self.pred_dst(q)?),
            _ => return Err(format!("`{d}` is not a predicate")),
        };
        if q == NONE && c.is_none() {
            // The plain case compares straight into the destination.
            if let Some(Op::Alu(_, o)) = self.func.code.last_mut().map(|i| &mut i.op) {
                o[0] = p;
            }
            if let Some(u) = self.uses.last_mut() {
                u.writes = vec![(File::Pred, p)];
            }
            return Ok(true);
        }
        // `c` may be the very register that `p` is.
        let held = self.fresh(File::Pred, 1)?;
        self.pred_op(|a, _| a, held, other, CONST);
        self.pred_op(combine, p, t, held);
        if q != NONE {
            self.pred_op(combine, q, t ^ NEGATED, held);
        }
        Ok(true)
    }

    /// The forms on pairs of 16-bit floats: `setp` gives the low half's result to `p` and the high half's to `q`, `set` a
    /// pair of numbers or masks.
    fn pair(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [d, a, b, rest @ ..] = operands else { return Err("takes a destination and two sources".into()) };
        let ty = op.ty().trim_end_matches("x2");
        let cmp = op.mods.first().copied().unwrap_or("");
        if alu::compare(cmp, ty, op.flags()).is_none() {
            return Ok(false);
        }
        let (a, b) = (self.src(a, File::R32)?, self.src(b, File::R32)?);
        let (ha, hb) = (self.fresh(File::R32, 1)?, self.fresh(File::R32, 1)?);
        let high = alu!(|a: u32| -> u32 { a >> 16 });
        for (to, from) in [(ha, a), (hb, b)] {
            self.push(Op::Alu(high.f, [to, from, 0, 0, 0]), Class::Move);
            self.wrote(File::R32, to);
        }
        let (Some(lo), Some(hi)) =
            (self.compared(cmp, ty, op.flags(), a, b)?, self.compared(cmp, ty, op.flags(), ha, hb)?)
        else {
            return Ok(false);
        };
        let other = self.third(rest)?.unwrap_or(CONST);
        let held = self.fresh(File::Pred, 1)?;
        self.pred_op(|a, _| a, held, other, CONST);
        if op.base == "setp" {
            let Operand::Pair(p, q) = d else { return Err("needs two predicates `p|q`".into()) };
            let (p, q) = (self.pred_dst(p)?, self.pred_dst(q)?);
            self.pred_op(combine(op), p, lo, held);
            self.pred_op(combine(op), q, hi, held);
            return Ok(true);
        }
        let [.., dtype, _] = op.mods[..] else { return Ok(false) };
        // Integer destinations hold a mask of 16 bits per half.
        let Some(yes) = truth(dtype).map(|v| v & 0xffff) else { return Ok(false) };
        let (pl, ph) = (self.fresh(File::Pred, 1)?, self.fresh(File::Pred, 1)?);
        self.pred_op(combine(op), pl, lo, held);
        self.pred_op(combine(op), ph, hi, held);
        let (vl, vh) = (self.choice(pl, yes)?, self.choice(ph, yes)?);
        let join = alu!(|a: u32, b: u32| -> u32 { a | b << 16 });
        let (row, into) = self.dst(d, File::R32)?;
        self.push(Op::Alu(join.f, [row, vl, vh, 0, 0]), Class::Move);
        self.finish(File::R32, row, into, false);
        Ok(true)
    }
}
