//! Decoding of one instruction: control flow, predicates, packing, warp-level and barrier instructions here; memory in
//! [`super::memory`]; all the rest is looked up in [`crate::alu`].

use super::{Decoder, Result, Symbol};
use crate::alu::{self, Opcode};
use crate::ast::Operand;
use crate::isa::*;
use crate::lanes::{CONST, File};
use crate::module::type_bytes;
use crate::stats::Class;

/// The special register of that name.
pub(super) fn special(name: &str) -> Option<Special> {
    let axis = |rest: &str| match rest {
        ".x" => Some(0u8),
        ".y" => Some(1),
        ".z" => Some(2),
        _ => None,
    };
    let (head, rest) = match name.find('.') {
        Some(i) => name.split_at(i),
        None => (name, ""),
    };
    Some(match head {
        "%tid" => Special::Tid(axis(rest)?),
        "%ntid" => Special::Ntid(axis(rest)?),
        "%ctaid" => Special::Ctaid(axis(rest)?),
        "%nctaid" => Special::Nctaid(axis(rest)?),
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%smid" => Special::SmId,
        "%nsmid" => Special::NSmId,
        "%gridid" => Special::GridId,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo" => Special::Clock,
        "%clock_hi" | "%globaltimer_hi" => Special::ClockHigh,
        "%reserved_smem_offset_begin" => Special::Fixed(0),
        "%reserved_smem_offset_end" | "%reserved_smem_offset_cap" => Special::Fixed(1024),
        "%current_graph_exec" => Special::Fixed(0),
        _ if ["%envreg", "%pm", "%reserved_smem_offset_"].iter().any(|p| {
            let digits = name.strip_prefix(p).map(|d| d.trim_end_matches("_64"));
            digits.is_some_and(|d| !d.is_empty() && d.len() < 3 && d.bytes().all(|b| b.is_ascii_digit()))
        }) =>
        {
            Special::Fixed(0)
        }
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" | "%aggr_smem_size" => Special::TotalShared,
        "%clusterid" => Special::ClusterId(axis(rest)?),
        "%nclusterid" => Special::NClusterId(axis(rest)?),
        "%cluster_ctaid" => Special::ClusterCtaid(axis(rest)?),
        "%cluster_nctaid" => Special::ClusterNctaid(axis(rest)?),
        "%cluster_ctarank" => Special::ClusterRank,
        "%cluster_nctarank" => Special::ClusterSize,
        "%is_explicit_cluster" => Special::ExplicitCluster,
        _ => return None,
    })
}

impl<'a> Decoder<'a, '_> {
    /// Decodes one instruction; `false` when the simulator does not know it.
    pub(super) fn decode(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if matches!(op.base, "mma" | "wmma" | "ldmatrix" | "stmatrix" | "movmatrix" | "wgmma") {
            return self.matrix(op, operands);
        }
        if let Some(done) = self.asynchronous(op, operands) {
            return done;
        }
        if op.has("async") || op.has("bulk") || op.has("reduce") {
            return Ok(false);
        }
        match op.base {
            "ld" | "ldu" => self.load(op, operands),
            "st" => self.store(op, operands),
            "atom" | "red" => self.atom(op, operands),
            "createpolicy" => self.createpolicy(operands),
            "cvta" => self.cvta(op, operands),
            "mapa" | "getctarank" => self.mapa(op, operands),
            "isspacep" => self.isspacep(op, operands),
            "mov" => self.mov(op, operands),
            "bra" => {
                let [t] = operands else { return Err("takes one label".into()) };
                let t = self.label(t)?;
                self.push(Op::Branch(t), Class::Control);
                Ok(true)
            }
            "brx" => {
                let [i, Operand::Name(list)] = operands else {
                    return Err("takes an index and a list".into());
                };
                let Some(Symbol::Targets(names)) = self.find(list) else {
                    return Err(format!("`{list}` is not a list of branch targets"));
                };
                let targets =
                    names.iter().map(|n| self.label(&Operand::Name(n))).collect::<Result<Box<[u32]>>>()?;
                let i = self.src(i, File::R32)?;
                self.push(Op::BranchIndexed(i, targets), Class::Control);
                Ok(true)
            }
            "call" => self.call(operands),
            "ret" => self.ret(),
            "exit" => self.plain(Op::Exit, Class::Control),
            "trap" => self.plain(Op::Trap, Class::Control),
            "discard" => self.discard(op, operands),
            "alloca" | "stacksave" | "stackrestore" => self.stack(op, operands),
            "brkpt" | "nanosleep" | "prefetch" | "prefetchu" | "applypriority" | "pmevent" => {
                self.plain(Op::Nop, Class::Control)
            }
            "membar" | "fence" => {
                self.plain(super::order::of_fence(op).map_or(Op::Nop, Op::Fence), Class::Sync)
            }
            "griddepcontrol" => self.plain(Op::Nop, Class::Sync),
            "bar" | "barrier" => self.barrier(op, operands),
            "shfl" | "vote" | "match" | "redux" | "elect" | "activemask" => self.collective(op, operands),
            "setp" | "set" => self.setp(op, operands),
            "and" | "or" | "xor" | "not" if op.ty() == "pred" => self.predicate(op, operands),
            "testp" => self.arithmetic(op, operands),
            "lop3" if op.mods.first().is_some_and(|m| matches!(*m, "or" | "and")) => {
                self.lop3_pred(op, operands)
            }
            _ => self.arithmetic(op, operands),
        }
    }

    fn plain(&mut self, op: Op, class: Class) -> Result<bool> {
        self.push(op, class);
        Ok(true)
    }

    fn arithmetic(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let found = match op.base {
            "min" | "max" if operands.len() == 4 => alu::three(op).map(|s| (s, Class::Float)),
            _ => alu::lookup(op),
        };
        let Some((spec, class)) = found else { return Ok(false) };
        // The destination's type is the first of two, and the last of one.
        let target = match op.mods[..] {
            [.., a, _] if op.base == "cvt" || op.base == "set" => a,
            _ => op.ty(),
        };
        // An optional `f32x2`-style trailing operand never occurs here; `shf`/`prmt` modes are part of the opcode.
        self.emit(spec, class, operands, target.starts_with('s'))?;
        Ok(true)
    }

    pub(super) fn pred_dst(&mut self, name: &'a str) -> Result<u32> {
        if name == "_" {
            return self.fresh(File::Pred, 1);
        }
        match self.find(name) {
            Some(Symbol::Reg(File::Pred, i)) => Ok(i),
            _ => Err(format!("`{name}` is not a predicate register")),
        }
    }

    pub(super) fn pred_op(&mut self, f: fn(u32, u32) -> u32, d: u32, a: u32, b: u32) {
        self.push(Op::Pred(f, [d, a, b]), Class::Move);
        self.wrote(File::Pred, d);
    }

    fn predicate(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let (Some(Operand::Name(d)), Some(a)) = (operands.first(), operands.get(1)) else {
            return Err("takes a destination and sources".into());
        };
        let a = self.src(a, File::Pred)?;
        let b = match operands.get(2) {
            Some(b) => self.src(b, File::Pred)?,
            None => CONST,
        };
        let d = self.pred_dst(d)?;
        let f: fn(u32, u32) -> u32 = match op.base {
            "and" => |a, b| a & b,
            "or" => |a, b| a | b,
            "xor" => |a, b| a ^ b,
            "not" => |a, _| !a,
            _ => |a, _| a,
        };
        self.pred_op(f, d, a, b);
        Ok(true)
    }

    /// `lop3.or.b32 d|p, a, b, c, lut, q`.
    fn lop3_pred(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [Operand::Pair(d, p), a, b, c, lut, q] = operands else {
            return Err("takes `d|p, a, b, c, lut, q`".into());
        };
        let plain = Opcode::new("lop3.b32");
        let p = self.pred_dst(p)?;
        let value = match *d {
            "_" => {
                let t = self.fresh(File::R32, 1)?;
                let Some((spec, _)) = alu::lookup(&plain) else { return Ok(false) };
                let mut o = [t, 0, 0, 0, 0];
                for (k, s) in [a, b, c, lut].into_iter().enumerate() {
                    o[k + 1] = self.src(s, File::R32)?;
                }
                self.push(Op::Alu(spec.f, o), Class::Integer);
                self.wrote(File::R32, t);
                t
            }
            d => {
                let list = [Operand::Name(d), a.clone(), b.clone(), c.clone(), lut.clone()];
                self.arithmetic(&plain, &list)?;
                self.src(&Operand::Name(d), File::R32)?
            }
        };
        let t = self.fresh(File::Pred, 1)?;
        let test = crate::lanes::alu!(|a: u32| -> bool { a != 0 });
        self.push(Op::Alu(test.f, [t, value, 0, 0, 0]), Class::Move);
        self.wrote(File::Pred, t);
        let q = self.src(q, File::Pred)?;
        let f: fn(u32, u32) -> u32 = if op.has("or") { |a, b| a | b } else { |a, b| a & b };
        self.pred_op(f, p, t, q);
        Ok(true)
    }

    fn mov(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let [d, s] = operands else { return Err("takes a destination and a source".into()) };
        if op.ty() == "b128" || op.has("v2") || op.has("v4") || op.has("v8") {
            return self.mov_rows(op, d, s);
        }
        let bytes = type_bytes(op.ty());
        match (d, s) {
            _ if op.ty() == "pred" => {
                let done = self.predicate(op, operands)?;
                if let Some(u) = self.uses.last_mut() {
                    u.copies = true;
                }
                return Ok(done);
            }
            (Operand::Vector(parts), s) => {
                let file = if bytes == 8 { File::R64 } else { File::R32 };
                let from = self.value_slot(s, file)?;
                let mut slots = Vec::new();
                for p in parts {
                    let Operand::Name(n) = p else { return Err(format!("`{p}` cannot be a destination")) };
                    slots.push(self.slot(n, false)?);
                }
                let bits = 8 * bytes / slots.len().max(1) as u32;
                self.push(Op::Unpack(slots.clone().into(), from, bits), Class::Move);
                slots.into_iter().for_each(|s| self.wrote_slot(s));
                return Ok(true);
            }
            (Operand::Name(n), Operand::Vector(parts)) => {
                let bits = 8 * bytes / parts.len().max(1) as u32;
                let file = if bits == 64 { File::R64 } else { File::R32 };
                let mut slots = Vec::new();
                for p in parts {
                    slots.push(self.value_slot(p, file)?);
                }
                let d = self.slot(n, false)?;
                self.push(Op::Pack(d, slots.into(), bits), Class::Move);
                self.wrote_slot(d);
                return Ok(true);
            }
            _ => {}
        }
        // A special register goes straight into its destination.
        if let (Operand::Name(d), Operand::Name(s)) = (d, s)
            && s.starts_with('%')
            && self.find(s).is_none()
            && let Some(which) = special(s)
        {
            let d = self.slot(d, false)?;
            self.push(Op::Special(which, d), Class::Move);
            self.wrote_slot(d);
            return Ok(true);
        }
        self.arithmetic(op, operands)?;
        if let Some(u) = self.uses.last_mut() {
            u.copies = u.reads.len() == 1 && !u.guarded;
        }
        Ok(true)
    }

    fn barrier(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.has("cluster") {
            let bar =
                ClusterBar { wait: op.has("wait"), relaxed: op.has("relaxed"), aligned: op.has("aligned") };
            return self.plain(Op::ClusterBar(bar), Class::Sync);
        }
        if op.has("warp") {
            let [m] = operands else { return Err("takes a member mask".into()) };
            let members = self.src(m, File::R32)?;
            let w = Warp {
                kind: Collective::Sync,
                dst: NONE,
                pred: NONE,
                a: NONE,
                b: 0,
                c: 0,
                members,
                source: NONE,
            };
            self.push(Op::Collective(Box::new(w)), Class::Sync);
            return Ok(true);
        }
        let aligned = op.base == "bar" || op.has("aligned");
        let kind = if op.has("arrive") {
            BarKind::Arrive
        } else if op.has("popc") {
            BarKind::Popc
        } else if op.has("red") && op.has("and") {
            BarKind::And
        } else if op.has("red") {
            BarKind::Or
        } else {
            BarKind::Sync
        };
        let reduces = matches!(kind, BarKind::Popc | BarKind::And | BarKind::Or);
        let (d, rest) =
            if reduces { (operands.first(), operands.get(1..).unwrap_or(&[])) } else { (None, operands) };
        let (rest, source) = match rest {
            [rest @ .., p] if reduces => (rest, self.src(p, File::Pred)?),
            rest => (rest, NONE),
        };
        let [id, count @ ..] = rest else { return Err("takes a barrier number".into()) };
        let id = self.src(id, File::R32)?;
        let count = match count {
            [c, ..] => self.src(c, File::R32)?,
            [] => NONE,
        };
        let dst = match d {
            Some(Operand::Name(n)) if kind == BarKind::Popc => self.slot(n, false)?,
            Some(Operand::Name(n)) => self.pred_dst(n)?,
            Some(o) => return Err(format!("`{o}` cannot be a destination")),
            None if reduces => return Err("takes a destination".into()),
            None => NONE,
        };
        self.push(Op::Bar(Box::new(Bar { kind, aligned, id, count, dst, source })), Class::Sync);
        match kind {
            BarKind::Popc => self.wrote_slot(dst),
            BarKind::And | BarKind::Or => self.wrote(File::Pred, dst),
            _ => {}
        }
        Ok(true)
    }

    fn collective(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.base == "activemask" {
            let [Operand::Name(d)] = operands else { return Err("takes a destination".into()) };
            let d = self.slot(d, false)?;
            self.push(Op::Special(Special::ActiveMask, d), Class::Sync);
            self.wrote_slot(d);
            return Ok(true);
        }
        if op.base != "elect" && !op.has("sync") {
            return Err("the form without `.sync` is gone since sm_70".into());
        }
        let mut w = Warp {
            kind: Collective::Sync,
            dst: NONE,
            pred: NONE,
            a: NONE,
            b: CONST,
            c: CONST,
            members: 0,
            source: NONE,
        };
        w.kind = match (op.base, op.mods.get(1).copied().unwrap_or("")) {
            ("shfl", "up") => Collective::ShflUp,
            ("shfl", "down") => Collective::ShflDown,
            ("shfl", "bfly") => Collective::ShflBfly,
            ("shfl", "idx") => Collective::ShflIdx,
            ("vote", "all") => Collective::VoteAll,
            ("vote", "any") => Collective::VoteAny,
            ("vote", "uni") => Collective::VoteUni,
            ("vote", "ballot") => Collective::Ballot,
            ("elect", _) => Collective::Elect,
            _ if op.base == "match" => {
                if op.has("any") {
                    Collective::MatchAny
                } else {
                    Collective::MatchAll
                }
            }
            _ if op.base == "redux" && op.ty() == "f32" => {
                Collective::ReduxFloat { max: op.has("max"), abs: op.has("abs"), nan: op.has("NaN") }
            }
            _ if op.base == "redux" => match (op.mods.get(1).copied().unwrap_or(""), op.ty()) {
                ("add", "u32" | "s32") => Collective::ReduxAdd,
                ("min", "s32") => Collective::ReduxMinS,
                ("max", "s32") => Collective::ReduxMaxS,
                ("min", "u32") => Collective::ReduxMinU,
                ("max", "u32") => Collective::ReduxMaxU,
                ("and", "b32") => Collective::ReduxAnd,
                ("or", "b32") => Collective::ReduxOr,
                ("xor", "b32") => Collective::ReduxXor,
                _ => return Ok(false),
            },
            _ => return Ok(false),
        };
        let [d, rest @ ..] = operands else { return Err("takes a destination".into()) };
        let (d, p) = match d {
            Operand::Name(d) => (*d, "_"),
            Operand::Pair(d, p) => (*d, *p),
            _ => return Err(format!("`{d}` cannot be a destination")),
        };
        let [inputs @ .., members] = rest else { return Err("takes a member mask".into()) };
        w.members = self.src(members, File::R32)?;
        match op.base {
            "shfl" => {
                let [a, b, c] = inputs else { return Err("takes a value, a lane and a clamp".into()) };
                w.a = self.value_slot(a, File::R32)?;
                w.b = self.src(b, File::R32)?;
                w.c = self.src(c, File::R32)?;
            }
            "vote" => {
                let [s] = inputs else { return Err("takes one predicate".into()) };
                w.source = self.src(s, File::Pred)?;
            }
            "match" | "redux" => {
                let [a] = inputs else { return Err("takes one value".into()) };
                w.a = self.value_slot(a, if op.ty() == "b64" { File::R64 } else { File::R32 })?;
            }
            _ => {}
        }
        let votes = matches!(w.kind, Collective::VoteAll | Collective::VoteAny | Collective::VoteUni);
        if votes {
            w.pred = self.pred_dst(d)?;
        } else {
            w.dst = self.slot(d, false)?;
            if p != "_" {
                w.pred = self.pred_dst(p)?;
            }
        }
        self.push(Op::Collective(Box::new(w)), Class::Sync);
        self.wrote_slot(w.dst);
        if w.pred != NONE {
            self.wrote(File::Pred, w.pred);
        }
        Ok(true)
    }
}
