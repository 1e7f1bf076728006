//! Calls, parameters in registers, and the stack that `alloca` grows.
//!
//! Arguments travel through the caller's frame. A `.reg` parameter is a frame slot that the callee loads when it starts (or
//! stores before it returns); an argument that is no `.param` variable gets a slot of eight bytes of its own.

use super::{Decoder, Result, Symbol};
use crate::alu::Opcode;
use crate::ast::{Function, Operand, Stmt, Var};
use crate::isa::*;
use crate::lanes::{CONST, File, alu, select};
use crate::module::{layout, type_bytes};
use crate::stats::Class;

/// Bytes a function's `alloca`s share.
const STACK: u64 = 32 * 1024;
const WEAK: Order = Order { sem: Sem::Weak, scope: Scope::Cta };

/// A parameter that lives in a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegParam {
    formal: Formal,
    file: File,
    row: u32,
}

impl<'a> Decoder<'a, '_> {
    /// Declares a function's parameters, and loads those that are registers.
    pub(super) fn formals(&mut self, f: &Function<'a>) -> Result<()> {
        self.first = false;
        for p in &f.returns {
            let formal = self.formal(p)?;
            if p.space == ".reg" {
                let (file, row) = self.reg_formal(p)?;
                self.reg_returns.push(RegParam { formal, file, row });
            }
            self.func.returns.push(formal);
        }
        for p in &f.params {
            let formal = self.formal(p)?;
            if p.space == ".reg" {
                let (file, row) = self.reg_formal(p)?;
                self.load_frame(RegParam { formal, file, row })?;
            }
            self.func.params.push(formal);
        }
        Ok(())
    }

    fn formal(&mut self, p: &Var<'a>) -> Result<Formal> {
        let (size, _) = layout(p).map_err(|e| e.message)?;
        let offset = self.in_frame(p)?;
        Ok(Formal { offset, size: size as u32 })
    }

    fn reg_formal(&mut self, p: &Var<'a>) -> Result<(File, u32)> {
        let file = match p.ty {
            ".pred" => File::Pred,
            ".b128" => return Err("128-bit parameters in registers are not supported".into()),
            t if type_bytes(t) == 8 => File::R64,
            _ => File::R32,
        };
        let row = self.fresh(file, 1)?;
        self.declare(p.name, Symbol::Reg(file, row));
        Ok((file, row))
    }

    fn frame_mem(&self, at: u32, size: u8, slot: Slot) -> Box<Mem> {
        let mut regs = [NONE; 8];
        regs[0] = slot;
        Box::new(Mem {
            order: WEAK,
            space: Space::Local,
            size,
            count: 1,
            signed: false,
            base: Base::Frame,
            offset: at as i64,
            regs,
        })
    }

    fn load_frame(&mut self, p: RegParam) -> Result<()> {
        let size = p.formal.size.min(8) as u8;
        match p.file {
            File::Pred => {
                let t = self.fresh(File::R32, 1)?;
                self.push(Op::Load(self.frame_mem(p.formal.offset, size, t)), Class::Move);
                self.wrote(File::R32, t);
                let s = alu!(|a: u32| -> bool { a != 0 });
                self.push(Op::Alu(s.f, [p.row, t, 0, 0, 0]), Class::Move);
            }
            file => {
                let slot = p.row | if file == File::R64 { WIDE } else { 0 };
                self.push(Op::Load(self.frame_mem(p.formal.offset, size, slot)), Class::Move);
            }
        }
        self.wrote(p.file, p.row);
        Ok(())
    }

    fn store_frame(&mut self, at: u32, size: u8, slot: Slot) {
        self.push(Op::Store(self.frame_mem(at, size, slot)), Class::Move);
    }

    /// A predicate operand as 0 or 1 in a fresh row.
    fn flag(&mut self, p: u32) -> Result<u32> {
        let t = self.fresh(File::R32, 1)?;
        let (one, zero) =
            (self.constant(File::R32, Const::Value(1)), self.constant(File::R32, Const::Value(0)));
        self.push(Op::Alu(select::<u32>, [t, one, zero, p, 0]), Class::Move);
        self.wrote(File::R32, t);
        Ok(t)
    }

    /// `ret`.
    pub(super) fn ret(&mut self) -> Result<bool> {
        for p in self.reg_returns.clone() {
            let slot = match p.file {
                File::Pred => {
                    self.pending_reads.push((File::Pred, p.row, "a return value"));
                    self.flag(p.row)?
                }
                file => {
                    self.pending_reads.push((file, p.row, "a return value"));
                    p.row | if file == File::R64 { WIDE } else { 0 }
                }
            };
            self.store_frame(p.formal.offset, p.formal.size.min(8) as u8, slot);
        }
        self.push(Op::Return, Class::Control);
        Ok(true)
    }

    /// Eight bytes of the frame for an argument or result that has no `.param` variable.
    fn frame_slot(&mut self) -> Result<u32> {
        let at = self.frame.next_multiple_of(8);
        self.reserve(at, 8)?;
        Ok(at as u32)
    }

    fn argument(&mut self, o: &Operand<'a>) -> Result<u32> {
        if let Operand::Name(n) = o
            && let Some(Symbol::Frame(at)) = self.find(n)
        {
            return Ok(at);
        }
        let at = self.frame_slot()?;
        let slot = match o {
            Operand::F32(v) => self.value_slot(&Operand::Int(*v as i64), File::R64)?,
            Operand::Name(n) if matches!(self.find(n), Some(Symbol::Reg(File::Pred, _))) => {
                let p = self.src(o, File::Pred)?;
                self.flag(p)?
            }
            Operand::Not(_) => {
                let p = self.src(o, File::Pred)?;
                self.flag(p)?
            }
            o => self.value_slot(o, File::R64)?,
        };
        self.store_frame(at, 8, slot);
        Ok(at)
    }

    /// `call[.uni] [(returns),] callee [, (args)] [, targets or prototype]`.
    pub(super) fn call(&mut self, operands: &[Operand<'a>]) -> Result<bool> {
        let (returns, rest) = match operands {
            [Operand::List(r), rest @ ..] => (r.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let [Operand::Name(callee), rest @ ..] = rest else { return Err("takes a function".into()) };
        let (args, rest) = match rest {
            [Operand::List(a), rest @ ..] => (a.as_slice(), rest),
            rest => (&[][..], rest),
        };
        if let [Operand::Name(list)] = rest
            && !matches!(self.find(list), Some(Symbol::Targets(_) | Symbol::Prototype))
            && !self.module.global_names.contains_key(*list)
        {
            return Err(format!("`{list}` is no list of call targets and no prototype"));
        }
        let frame = self.frame;
        let mut places = Vec::new();
        for a in args {
            places.push(self.argument(a)?);
        }
        // Results that are registers are loaded from a slot behind the call, which a narrow result fills in part.
        let mut into = Vec::new();
        let mut results = Vec::new();
        for r in returns {
            let Operand::Name(n) = r else { return Err(format!("`{r}` cannot be a result")) };
            match self.find(n) {
                Some(Symbol::Frame(at)) => results.push(at),
                symbol => {
                    let at = self.frame_slot()?;
                    let zero = self.value_slot(&Operand::Int(0), File::R64)?;
                    self.store_frame(at, 8, zero);
                    results.push(at);
                    match symbol {
                        Some(Symbol::Reg(file, row)) => {
                            let size = if file == File::R64 { 8 } else { 4 };
                            into.push(RegParam { formal: Formal { offset: at, size }, file, row });
                        }
                        _ if *n == "_" => {}
                        _ => return Err(format!("`{n}` is not a `.param` variable or a register")),
                    }
                }
            }
        }
        let callee = match self.find(callee) {
            Some(Symbol::Reg(File::R64, i)) => {
                self.pending_reads.push((File::R64, i, callee));
                self.func.indirect = true;
                Callee::Register(i)
            }
            _ => match self.module.func_names.get(*callee) {
                Some(&f) => {
                    self.func.calls.push(f);
                    Callee::Function(f)
                }
                None => return Err(format!("`{callee}` is not a function")),
            },
        };
        let call = Call { callee, args: places.into(), returns: results.into() };
        self.push(Op::Call(Box::new(call)), Class::Control);
        for p in into {
            self.load_frame(p)?;
        }
        self.frame = frame;
        Ok(true)
    }

    /// Readies the stack of a function that uses `alloca` or reads its stack pointer.
    pub(super) fn stack_pointer(&mut self, body: &[Stmt<'a>]) -> Result<()> {
        fn uses(body: &[Stmt<'_>]) -> bool {
            body.iter().any(|s| match s {
                Stmt::Inst(i) => {
                    matches!(i.opcode.split('.').next(), Some("alloca" | "stacksave" | "stackrestore"))
                }
                Stmt::Block(b) => uses(b),
                _ => false,
            })
        }
        if !uses(body) {
            return Ok(());
        }
        let at = self.frame.next_multiple_of(16);
        // Without room for it the instructions themselves fail, when executed.
        if self.reserve(at, STACK).is_err() {
            return Ok(());
        }
        let row = self.fresh(File::R64, 1)?;
        self.first = false;
        self.push(Op::FrameAddr(row | WIDE, at as u32), Class::Move);
        self.wrote(File::R64, row);
        self.stack = Some(row);
        Ok(())
    }

    /// `alloca.type ptr, size[, align]`, `stacksave.type d`, `stackrestore.type a`. The stack grows upwards; running out of
    /// it shows as an access outside the thread's local memory.
    pub(super) fn stack(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let Some(sp) = self.stack else {
            return Err(format!("more than {} bytes of local memory", super::MAX_FRAME));
        };
        let copy = |d: &mut Self, to: u32, from: u32| {
            let s = alu!(|a: u64| -> u64 { a });
            d.push(Op::Alu(s.f, [to, from, 0, 0, 0]), Class::Integer);
            d.wrote(File::R64, to);
        };
        match (op.base, operands) {
            ("stacksave", [d]) => {
                let (row, into) = self.dst(d, File::R64)?;
                copy(self, row, sp);
                self.finish(File::R64, row, into, false);
            }
            ("stackrestore", [a]) => {
                let a = self.src(a, File::R64)?;
                copy(self, sp, a);
            }
            ("alloca", [d, size, align @ ..]) => {
                let align = match align {
                    [] => 8,
                    [Operand::Int(n)] if (*n as u64).is_power_of_two() => *n as u64,
                    _ => return Err("the alignment must be a power of two".into()),
                };
                let size = self.src(size, File::R64)?;
                let mask = self.constant(File::R64, Const::Value(align - 1));
                debug_assert!(mask & CONST != 0);
                let up = alu!(|a: u64, m: u64| -> u64 { a.wrapping_add(m) & !m });
                let add = alu!(|a: u64, b: u64| -> u64 { a.wrapping_add(b) });
                let held = std::mem::take(&mut self.pending_reads);
                let t = self.fresh(File::R64, 1)?;
                self.push(Op::Alu(up.f, [t, sp, mask, 0, 0]), Class::Integer);
                self.wrote(File::R64, t);
                self.pending_reads = held;
                self.push(Op::Alu(add.f, [sp, t, size, 0, 0]), Class::Integer);
                self.wrote(File::R64, sp);
                let (row, into) = self.dst(d, File::R64)?;
                copy(self, row, t);
                self.finish(File::R64, row, into, false);
            }
            _ => return Err("unexpected operands".into()),
        }
        Ok(true)
    }
}
