//! Register names: scalars, ranges, vectors with their components, 128-bit registers, and where operands mean several.

use super::{Decoder, Result, Symbol};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::{File, alu};
use crate::module::type_bytes;
use crate::stats::Class;

/// Consecutive rows of one file under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub file: File,
    pub first: u32,
    pub count: u32,
    /// One 128-bit value, not a vector.
    pub wide: bool,
}

impl Rows {
    fn slot(self, k: u32) -> Slot {
        (self.first + k) | if self.file == File::R64 { WIDE } else { 0 }
    }
}

/// Component index that a suffix such as `.x` stands for.
fn component(suffix: &str) -> Option<u32> {
    Some(match suffix {
        "x" | "r" => 0,
        "y" | "g" => 1,
        "z" | "b" => 2,
        "w" | "a" => 3,
        _ => return None,
    })
}

impl<'a> Decoder<'a, '_> {
    /// `.reg`: rows for the names of a list. A declaration that fails is remembered for whoever uses the name.
    pub(super) fn registers(&mut self, vector: Option<&str>, ty: &str, names: &[(&'a str, Option<u32>)]) {
        let file = match ty {
            ".pred" => File::Pred,
            t if type_bytes(t) >= 8 => File::R64,
            _ => File::R32,
        };
        let wide = ty == ".b128";
        let width = match vector {
            Some(".v2") => 2,
            Some(_) => 4,
            None if wide => 2,
            None => 1,
        };
        for &(name, count) in names {
            let symbol = if (vector.is_some() && wide) || (vector.is_some() && file == File::Pred) {
                Err(format!("vectors of `{ty}` are not supported"))
            } else {
                let rows =
                    count.unwrap_or(1).checked_mul(width).ok_or_else(|| "too many registers".to_string());
                rows.and_then(|n| self.fresh(file, n)).map(|first| match (width, count) {
                    (1, Some(n)) => Symbol::Range(file, first, n),
                    (1, None) => Symbol::Reg(file, first),
                    (_, Some(n)) => Symbol::RowsRange(Rows { file, first, count: width, wide }, n),
                    (_, None) => Symbol::Rows(Rows { file, first, count: width, wide }),
                })
            };
            self.declare(name, symbol.unwrap_or_else(|why| Symbol::Unsupported(why.into())));
        }
    }

    /// What a name means here.
    pub(super) fn find(&self, name: &str) -> Option<Symbol<'a>> {
        self.scopes.iter().rev().find_map(|scope| {
            if let Some(s) = scope.get(name) {
                return Some(s.clone());
            }
            // `%v.x` of a vector register.
            if let Some((vector, suffix)) = name.rsplit_once('.')
                && let Some(k) = component(suffix)
                && let Some(Symbol::Rows(r)) = self.in_scope(scope, vector)
            {
                return (!r.wide && k < r.count).then_some(Symbol::Reg(r.file, r.first + k));
            }
            self.in_scope(scope, name)
        })
    }

    /// A name, or one of a range: `%r12` of `%r<20>`.
    fn in_scope(
        &self,
        scope: &std::collections::HashMap<&'a str, Symbol<'a>>,
        name: &str,
    ) -> Option<Symbol<'a>> {
        if let Some(s) = scope.get(name) {
            return Some(s.clone());
        }
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[prefix.len()..];
        if digits.is_empty() {
            return None;
        }
        match (scope.get(prefix)?, digits.parse::<u32>().ok()?) {
            (Symbol::Range(file, first, count), i) if i < *count => Some(Symbol::Reg(*file, first + i)),
            (Symbol::RowsRange(r, count), i) if i < *count => {
                Some(Symbol::Rows(Rows { first: r.first + i * r.count, ..*r }))
            }
            (Symbol::Unsupported(why), _) => Some(Symbol::Unsupported(why.clone())),
            _ => None,
        }
    }

    /// Destination slots of an operand: one register, the rows of a vector or 128-bit register, or a brace list of either.
    pub(super) fn targets(&mut self, o: &Operand<'a>) -> Result<Vec<Slot>> {
        match o {
            Operand::Vector(list) => {
                let mut slots = Vec::new();
                for o in list {
                    if matches!(o, Operand::Vector(_)) {
                        return Err(format!("`{o}` cannot be a destination"));
                    }
                    slots.extend(self.targets(o)?);
                }
                Ok(slots)
            }
            Operand::Name(n) => match self.find(n) {
                Some(Symbol::Rows(r)) => Ok((0..r.count).map(|k| r.slot(k)).collect()),
                _ => Ok(vec![self.slot(n, false)?]),
            },
            _ => Err(format!("`{o}` cannot be a destination")),
        }
    }

    /// Source slots of an operand, as [`Self::targets`]; other operands become rows of `file`. Registers keep their own
    /// file unless `convert` is set.
    pub(super) fn sources(&mut self, o: &Operand<'a>, file: File, convert: bool) -> Result<Vec<Slot>> {
        match o {
            Operand::Vector(list) => {
                let mut slots = Vec::new();
                for o in list {
                    if matches!(o, Operand::Vector(_)) {
                        return Err(format!("`{o}` cannot be an operand here"));
                    }
                    slots.extend(self.sources(o, file, convert)?);
                }
                Ok(slots)
            }
            Operand::Name(n) => match self.find(n) {
                Some(Symbol::Rows(r)) => {
                    for k in 0..r.count {
                        self.pending_reads.push((r.file, r.first + k, n));
                    }
                    Ok((0..r.count).map(|k| r.slot(k)).collect())
                }
                Some(Symbol::Reg(..)) if !convert => Ok(vec![self.slot(n, true)?]),
                _ => Ok(vec![self.value_slot(o, file)?]),
            },
            o => Ok(vec![self.value_slot(o, file)?]),
        }
    }

    /// `mov.b128` and `mov.v4`: rows to rows, all read before the first is written.
    pub(super) fn mov_rows(&mut self, op: &Opcode<'a>, d: &Operand<'a>, s: &Operand<'a>) -> Result<bool> {
        let file = if type_bytes(op.ty()) >= 8 { File::R64 } else { File::R32 };
        let from = self.sources(s, file, true)?;
        let reads = std::mem::take(&mut self.pending_reads);
        let to = self.targets(d)?;
        if from.len() != to.len() {
            return Err(format!("{} values for {} registers", from.len(), to.len()));
        }
        let copy = |d: &mut Self, to: Slot, from: Slot| {
            let (f, tag) = (from & !WIDE, from & WIDE);
            let s = match (tag != 0, to & WIDE != 0) {
                (true, true) => alu!(|a: u64| -> u64 { a }),
                (true, false) => alu!(|a: u64| -> u32 { a as u32 }),
                (false, true) => alu!(|a: u32| -> u64 { a as u64 }),
                (false, false) => alu!(|a: u32| -> u32 { a }),
            };
            d.push(Op::Alu(s.f, [to & !WIDE, f, 0, 0, 0]), Class::Move);
            d.wrote_slot(to);
        };
        self.pending_reads = reads;
        let mut held = Vec::new();
        for &f in &from {
            let wide = f & WIDE != 0;
            let t = self.fresh(if wide { File::R64 } else { File::R32 }, 1)? | if wide { WIDE } else { 0 };
            copy(self, t, f);
            held.push(t);
        }
        for (&t, &f) in to.iter().zip(&held).filter(|(t, _)| **t != NONE) {
            copy(self, t, f);
        }
        Ok(true)
    }
}
