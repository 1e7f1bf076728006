//! From the syntax tree of one function to its dense form ([`crate::isa::Func`]).
//!
//! Names are resolved through a stack of scopes (a `{}` block may shadow registers, variables and labels). Registers of any
//! declared type are rows of the 32-bit or the 64-bit file; where an instruction's type and a register's width differ,
//! as PTX allows for loads, stores and conversions, the decoder inserts a widening or narrowing move.

mod asynchronous;
mod calls;
mod compare;
mod flow;
mod instruction;
mod matrix;
mod memory;
mod order;
mod registers;
mod wgmma;

use crate::alu::Opcode;
use crate::ast::{Function, Inst as AstInst, Operand, Stmt, Var};
use crate::isa::*;
use crate::lanes::{CONST, File, NEGATED, Spec, alu};
use crate::module::{Inner, layout};
use crate::profile::flops::Flops;
use crate::stats::Class;
use registers::Rows;
use std::collections::HashMap;

/// Most registers of one file in one function.
const MAX_REGISTERS: u32 = 1 << 16;
/// Most bytes of local memory and call parameters of one function.
const MAX_FRAME: u64 = 512 * 1024;

/// Why a function cannot be decoded: line, column and message.
pub(crate) type Error = (u32, u32, String);
type Result<T> = std::result::Result<T, String>;

#[derive(Clone, Debug)]
enum Symbol<'a> {
    Reg(File, u32),
    /// `%r<9>`: rows `first..first + count`.
    Range(File, u32, u32),
    /// In the frame: local variables, and parameters of functions.
    Frame(u32),
    /// Kernel parameter at an offset.
    Param(u32),
    Shared(u32),
    /// A vector register (its components in rows of one file), or a 128-bit register (two rows of the 64-bit file).
    Rows(Rows),
    /// `%v<4>` of vector or 128-bit registers.
    RowsRange(Rows, u32),
    /// Declared, but not as anything this version can execute: why.
    Unsupported(Box<str>),
    Label(u32),
    Targets(Vec<&'a str>),
    Prototype,
}

/// Registers an instruction reads and writes, for the flow analysis. Ids: 32-bit file, then 64-bit file, then predicates.
#[derive(Default)]
struct Uses<'a> {
    reads: Vec<(File, u32, &'a str)>,
    writes: Vec<(File, u32)>,
    guarded: bool,
    copies: bool,
}

struct Decoder<'a, 'm> {
    module: &'m Inner,
    func: Func,
    scopes: Vec<HashMap<&'a str, Symbol<'a>>>,
    uses: Vec<Uses<'a>>,
    /// Program counter of each label id, once placed.
    labels: Vec<Option<u32>>,
    c32: HashMap<Const, u32>,
    c64: HashMap<Const, u32>,
    frame: u64,
    line: u32,
    column: u32,
    loc: (u32, u32),
    /// State of the instruction being decoded.
    guard: u32,
    guard_name: &'a str,
    first: bool,
    flops: Flops,
    pending_reads: Vec<(File, u32, &'a str)>,
    entry: bool,
    next_shared: u32,
    shared_seen: Vec<u32>,
    /// Return parameters in registers, stored to the frame before each `ret`.
    reg_returns: Vec<calls::RegParam>,
    /// Row of the stack pointer that `alloca` moves, in functions that have one.
    stack: Option<u32>,
}

/// Decodes one function.
pub(crate) fn function(module: &Inner, f: &Function<'_>) -> std::result::Result<Func, Error> {
    let mut d = Decoder {
        module,
        func: Func { name: f.name.to_string(), preds: 1, ..Func::default() },
        scopes: vec![HashMap::new()],
        uses: Vec::new(),
        labels: Vec::new(),
        c32: HashMap::new(),
        c64: HashMap::new(),
        frame: 0,
        line: f.line.0,
        column: 1,
        loc: (0, 0),
        guard: NONE,
        guard_name: "",
        first: true,
        flops: Flops::default(),
        pending_reads: Vec::new(),
        entry: f.entry,
        next_shared: 0,
        shared_seen: Vec::new(),
        reg_returns: Vec::new(),
        stack: None,
    };
    d.whole(f).map_err(|message| (d.line, d.column, message))?;
    flow::analyse(&mut d.func, &d.uses);
    wgmma::touches(&mut d.func, &d.uses);
    Ok(d.func)
}

impl<'a> Decoder<'a, '_> {
    fn whole(&mut self, f: &Function<'a>) -> Result<()> {
        self.next_shared = self.module.shared.len() as u32 + f.start.0;
        if f.entry {
            let mut at = 0u64;
            for p in &f.params {
                let (size, align) = layout(p).map_err(|e| e.message)?;
                at = at.next_multiple_of(align.max(1) as u64);
                self.declare(p.name, Symbol::Param(at as u32));
                at += size;
            }
        } else {
            self.formals(f)?;
        }
        let body = f.body.as_deref().unwrap_or(&[]);
        self.stack_pointer(body)?;
        self.block(body)?;
        // A body that runs off its end returns.
        self.guard = NONE;
        self.ret()?;
        self.patch()?;
        self.func.frame_bytes = self.func.frame_bytes.max(self.frame as u32).next_multiple_of(16);
        Ok(())
    }

    /// Reserves frame memory for a local variable or call parameter.
    fn in_frame(&mut self, v: &Var<'a>) -> Result<u32> {
        let (size, align) = layout(v).map_err(|e| e.message)?;
        let at = self.frame.next_multiple_of(align.max(1) as u64);
        self.reserve(at, size)?;
        self.declare(v.name, Symbol::Frame(at as u32));
        Ok(at as u32)
    }

    /// Takes `size` bytes of the frame from offset `at`.
    fn reserve(&mut self, at: u64, size: u64) -> Result<()> {
        let end = at.saturating_add(size);
        if end > MAX_FRAME {
            return Err(format!("more than {MAX_FRAME} bytes of local memory"));
        }
        self.frame = end;
        self.func.frame_bytes = self.func.frame_bytes.max(end as u32);
        Ok(())
    }

    fn declare(&mut self, name: &'a str, s: Symbol<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, s);
        }
    }

    fn fresh(&mut self, file: File, count: u32) -> Result<u32> {
        let n = match file {
            File::R32 => &mut self.func.n32,
            File::R64 => &mut self.func.n64,
            File::Pred => &mut self.func.preds,
        };
        let first = *n as u32;
        if count > MAX_REGISTERS || first + count > MAX_REGISTERS {
            return Err(format!("more than {MAX_REGISTERS} registers"));
        }
        *n += count as usize;
        Ok(first)
    }

    fn block(&mut self, body: &[Stmt<'a>]) -> Result<()> {
        for s in body {
            match s {
                Stmt::Label(l) => {
                    let id = self.labels.len() as u32;
                    self.labels.push(None);
                    self.declare(l, Symbol::Label(id));
                }
                Stmt::Targets(l, kind, list) => {
                    if *kind == ".calltargets" {
                        let known = list.iter().filter_map(|n| self.module.func_names.get(*n));
                        self.func.calls.extend(known);
                    }
                    self.declare(l, Symbol::Targets(list.clone()));
                }
                Stmt::Prototype(l, ..) => self.declare(l, Symbol::Prototype),
                _ => {}
            }
        }
        for s in body {
            self.stmt(s)?;
        }
        Ok(())
    }

    fn stmt(&mut self, s: &Stmt<'a>) -> Result<()> {
        match s {
            Stmt::Label(l) => {
                if let Some(Symbol::Label(id)) = self.find(l) {
                    self.labels[id as usize] = Some(self.func.code.len() as u32);
                }
            }
            Stmt::Reg(vector, ty, names) => self.registers(*vector, ty, names),
            // What a declaration cannot do is held against those who use it.
            Stmt::Var(v) => {
                if let Err(why) = self.variable(v) {
                    self.declare(v.name, Symbol::Unsupported(why.into()));
                }
            }
            Stmt::Loc(file, line, _) => self.loc = (*file, *line),
            Stmt::Block(b) => {
                let frame = self.frame;
                self.scopes.push(HashMap::new());
                let r = self.block(b);
                self.scopes.pop();
                self.frame = frame;
                r?;
            }
            Stmt::Inst(i) => self.inst(i)?,
            Stmt::Targets(..) | Stmt::Prototype(..) | Stmt::Pragma(_) => {}
        }
        Ok(())
    }

    fn variable(&mut self, v: &Var<'a>) -> Result<()> {
        match v.space {
            ".local" | ".param" => {
                self.in_frame(v)?;
            }
            s if s.starts_with(".shared") => {
                let (size, align) = layout(v).map_err(|e| e.message)?;
                let id = self.next_shared;
                self.next_shared += 1;
                let dynamic = v.linkage.contains(&".extern") && size == 0;
                self.func.shared.push(SharedVar { id, name: v.name.to_string(), size, align, dynamic });
                self.shared_seen.push(id);
                self.declare(v.name, Symbol::Shared(id));
            }
            s => return Err(format!("a variable in `{s}` inside a function is not supported")),
        }
        Ok(())
    }

    fn inst(&mut self, i: &AstInst<'a>) -> Result<()> {
        self.line = i.line.0;
        self.first = true;
        self.guard = NONE;
        self.guard_name = "";
        self.column = i.column.0;
        let mut bad_guard = None;
        if let Some((p, negated)) = i.guard {
            match self.find(p) {
                Some(Symbol::Reg(File::Pred, r)) => {
                    self.guard = r | if negated { NEGATED } else { 0 };
                    self.guard_name = p;
                }
                _ => bad_guard = Some(format!("`{p}` is not a predicate register")),
            }
        }
        let (code, uses) = (self.func.code.len(), self.uses.len());
        let op = Opcode::new(i.opcode);
        self.flops = Flops::of(&op);
        let decoded = match bad_guard {
            Some(why) => Err(why),
            None => self.decode(&op, &i.operands),
        };
        match decoded {
            Ok(true) => {}
            // Unknown, or known with operands this version cannot take: an error only when executed.
            outcome => {
                let why = match outcome {
                    Err(e) => format!("`{}`: {e}", i.opcode),
                    _ => format!("`{}`", i.opcode),
                };
                self.func.code.truncate(code);
                self.func.lines.truncate(code);
                self.uses.truncate(uses);
                self.pending_reads.clear();
                self.first = true;
                self.push(Op::Unsupported(why.into()), Class::Control);
            }
        }
        self.guard = NONE;
        self.flops = Flops::default();
        Ok(())
    }

    /// Appends a dense instruction under the current guard; operands fetched since the last one are its reads.
    fn push(&mut self, op: Op, class: Class) {
        let mut uses = Uses {
            reads: std::mem::take(&mut self.pending_reads),
            guarded: self.guard != NONE,
            ..Uses::default()
        };
        if self.guard != NONE && self.first {
            uses.reads.push((File::Pred, self.guard & !NEGATED, self.guard_name));
        }
        self.uses.push(uses);
        self.func.lines.push((self.line, self.loc.0, self.loc.1));
        self.func.code.push(Inst {
            op,
            guard: self.guard,
            class,
            tracked: false,
            touches: false,
            extra: !self.first,
            flops: self.flops,
        });
        self.first = false;
    }

    fn wrote(&mut self, file: File, i: u32) {
        if let Some(u) = self.uses.last_mut() {
            u.writes.push((file, i));
        }
    }

    /// The table row of a constant.
    fn constant(&mut self, file: File, c: Const) -> u32 {
        if file == File::Pred {
            let Const::Value(v) = c else { return CONST };
            return CONST | (v != 0) as u32;
        }
        let (map, rows) = match file {
            File::R64 => (&mut self.c64, &mut self.func.c64),
            _ => (&mut self.c32, &mut self.func.c32),
        };
        let c = match (file, c) {
            (File::R32, Const::Value(v)) => Const::Value(v & 0xffff_ffff),
            _ => c,
        };
        let i = *map.entry(c).or_insert_with(|| {
            rows.push(c);
            rows.len() as u32 - 1
        });
        i | CONST
    }

    /// The constant a symbol's address is, if it is one.
    fn address_of(&mut self, name: &str, offset: i64) -> Result<Option<Const>> {
        let sym = self.find(name);
        Ok(Some(match sym {
            Some(Symbol::Shared(id)) => Const::Shared(id, offset),
            Some(Symbol::Param(at)) => Const::Value((at as i64).wrapping_add(offset) as u64),
            Some(_) => return Ok(None),
            None => {
                if let Some(&id) = self.module.global_names.get(name) {
                    self.func.globals.push(id);
                    Const::Global(id, offset)
                } else if let Some(&id) = self.module.shared_names.get(name) {
                    if !self.shared_seen.contains(&id) {
                        self.shared_seen.push(id);
                        self.func.shared.push(self.module.shared[id as usize].clone());
                    }
                    Const::Shared(id, offset)
                } else if let Some(&f) = self.module.func_names.get(name) {
                    self.func.indirect = true;
                    self.func.calls.push(f);
                    Const::Value((FUNC_BASE + 16 * f as u64).wrapping_add(offset as u64))
                } else {
                    return Ok(None);
                }
            }
        }))
    }

    /// A source operand as a row of `file`. `float` is the float type the bits are meant for, if any.
    fn src(&mut self, o: &Operand<'a>, file: File) -> Result<u32> {
        let constant = match o {
            Operand::Int(v) => Const::Value(*v as u64),
            Operand::F32(v) if file == File::R64 => Const::Value((f32::from_bits(*v) as f64).to_bits()),
            Operand::F32(v) => Const::Value(*v as u64),
            Operand::F64(v) if file == File::R32 => {
                Const::Value((f64::from_bits(*v) as f32).to_bits() as u64)
            }
            Operand::F64(v) => Const::Value(*v),
            Operand::Not(_) if file != File::Pred => {
                return Err(format!("`{o}` cannot be an operand here: `!` is for predicates"));
            }
            Operand::Not(n) => return Ok(self.src(&Operand::Name(n), File::Pred)? ^ NEGATED),
            Operand::Name("WARP_SZ") => Const::Value(32),
            Operand::Name(n) => return self.named(n, 0, file),
            Operand::Offset(n, a) => return self.named(n, *a, file),
            Operand::Generic(n, a) => match self.address_of(n, *a)? {
                Some(c @ Const::Global(..)) => c,
                _ => return Err(format!("`generic({n})` is not supported here")),
            },
            _ => return Err(format!("`{o}` cannot be an operand here")),
        };
        Ok(self.constant(file, constant))
    }

    fn named(&mut self, name: &'a str, offset: i64, file: File) -> Result<u32> {
        match self.find(name) {
            Some(Symbol::Reg(have, i)) if offset == 0 => self.converted(have, i, name, file),
            Some(Symbol::Frame(at)) => {
                let t = self.fresh(File::R64, 1)?;
                self.push(Op::FrameAddr(t | WIDE, at.wrapping_add(offset as u32)), Class::Move);
                self.wrote(File::R64, t);
                self.converted(File::R64, t, name, file)
            }
            Some(Symbol::Unsupported(why)) => Err(format!("`{name}`: {why}")),
            None if name.starts_with('%') => {
                let special =
                    instruction::special(name).ok_or_else(|| format!("`{name}` is not declared"))?;
                if file == File::Pred {
                    return Err(format!("`{name}` is no predicate"));
                }
                // 64-bit special registers are few; their low half serves 32-bit readers.
                let t = self.fresh(file, 1)?;
                self.push(Op::Special(special, t | if file == File::R64 { WIDE } else { 0 }), Class::Move);
                self.wrote(file, t);
                Ok(t)
            }
            _ => match self.address_of(name, offset)? {
                Some(c) => Ok(self.constant(file, c)),
                None => Err(format!("`{name}` is not declared")),
            },
        }
    }

    /// Register `i` of file `have` as an operand of file `want`.
    fn converted(&mut self, have: File, i: u32, name: &'a str, want: File) -> Result<u32> {
        if have == want {
            self.pending_reads.push((have, i, name));
            return Ok(i);
        }
        let s = match (have, want) {
            (File::R64, File::R32) => alu!(|a: u64| -> u32 { a as u32 }),
            (File::R32, File::R64) => alu!(|a: u32| -> u64 { a as u64 }),
            _ => return Err(format!("`{name}` has the wrong kind of type for this operand")),
        };
        // The move must not swallow reads already collected for the instruction itself.
        let held = std::mem::take(&mut self.pending_reads);
        self.pending_reads.push((have, i, name));
        let t = self.fresh(want, 1)?;
        self.push(Op::Alu(s.f, [t, i, 0, 0, 0]), Class::Move);
        self.wrote(want, t);
        self.pending_reads = held;
        Ok(t)
    }

    /// A destination as a row of `file`: the row, and the register to convert it into afterwards.
    fn dst(&mut self, o: &Operand<'a>, file: File) -> Result<(u32, Option<(File, u32)>)> {
        let name = match o {
            Operand::Name("_") => return Ok((self.fresh(file, 1)?, None)),
            Operand::Name(n) => *n,
            _ => return Err(format!("`{o}` cannot be a destination")),
        };
        match self.find(name) {
            Some(Symbol::Reg(have, i)) if have == file => Ok((i, None)),
            Some(Symbol::Reg(have, i)) if have != File::Pred && file != File::Pred => {
                Ok((self.fresh(file, 1)?, Some((have, i))))
            }
            Some(Symbol::Reg(..)) => Err(format!("`{name}` has the wrong kind of type for a destination")),
            _ => Err(format!("`{name}` is not a declared register")),
        }
    }

    fn finish(&mut self, file: File, row: u32, into: Option<(File, u32)>, signed: bool) {
        self.wrote(file, row);
        if let Some((have, i)) = into {
            let s = match (have, signed) {
                (File::R64, true) => alu!(|a: i32| -> i64 { a as i64 }),
                (File::R64, false) => alu!(|a: u32| -> u64 { a as u64 }),
                _ => alu!(|a: u64| -> u32 { a as u32 }),
            };
            self.push(Op::Alu(s.f, [i, row, 0, 0, 0]), Class::Move);
            self.wrote(have, i);
        }
    }

    /// Emits an arithmetic instruction: destination, then as many sources as the function takes.
    fn emit(&mut self, s: Spec, class: Class, operands: &[Operand<'a>], signed: bool) -> Result<()> {
        let n = s.sources as usize;
        if operands.len() != n + 1 {
            return Err(format!("takes {} operands, found {}", n + 1, operands.len()));
        }
        let mut o = [0, 0, 0, 0, s.flags];
        for k in 0..n {
            o[k + 1] = self.src(&operands[k + 1], s.files[k + 1])?;
        }
        let (row, into) = self.dst(&operands[0], s.files[0])?;
        o[0] = row;
        self.push(Op::Alu(s.f, o), class);
        self.finish(s.files[0], row, into, signed);
        Ok(())
    }

    fn slot(&mut self, name: &'a str, reading: bool) -> Result<Slot> {
        if name == "_" {
            return Ok(NONE);
        }
        match self.find(name) {
            Some(Symbol::Unsupported(why)) => Err(format!("`{name}`: {why}")),
            Some(Symbol::Reg(File::Pred, _)) => Err(format!("predicate `{name}` cannot be used here")),
            Some(Symbol::Reg(file, i)) => {
                if reading {
                    self.pending_reads.push((file, i, name));
                }
                Ok(if file == File::R64 { i | WIDE } else { i })
            }
            _ => Err(format!("`{name}` is not a declared register")),
        }
    }

    fn wrote_slot(&mut self, s: Slot) {
        if s != NONE {
            self.wrote(if s & WIDE != 0 { File::R64 } else { File::R32 }, s & !WIDE);
        }
    }

    fn label(&self, o: &Operand<'a>) -> Result<u32> {
        if let Operand::Name(n) = o
            && let Some(Symbol::Label(id)) = self.find(n)
        {
            return Ok(id);
        }
        Err(format!("`{o}` is not a label"))
    }

    /// Replaces label ids by program counters.
    fn patch(&mut self) -> Result<()> {
        let place = |labels: &[Option<u32>], id: u32| labels.get(id as usize).copied().flatten().unwrap_or(0);
        for inst in &mut self.func.code {
            match &mut inst.op {
                Op::Branch(t) => *t = place(&self.labels, *t),
                Op::BranchIndexed(_, list) => list.iter_mut().for_each(|t| *t = place(&self.labels, *t)),
                _ => {}
            }
        }
        Ok(())
    }
}
