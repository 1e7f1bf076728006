//! Decoding of asynchronous copies, mbarriers, proxy fences and tensor-map instructions.

use super::{Decoder, Result};
use crate::alu::Opcode;
use crate::ast::Operand;
use crate::async_ops::isa::{Addr, Async, End, Field, Wait};
use crate::isa::*;
use crate::lanes::File;
use crate::module::type_bytes;
use crate::stats::Class;

/// The operation of a reduction; `exch` and `cas` are none.
fn atom_op(op: &Opcode<'_>) -> Option<AtomOp> {
    AtomOp::among(&op.mods).filter(|k| !matches!(k, AtomOp::Exch | AtomOp::Cas))
}

/// Type of a bulk reduction, if it goes with the operation.
fn atom_type(ty: &str, op: AtomOp) -> Option<AtomType> {
    let bits = matches!(op, AtomOp::And | AtomOp::Or | AtomOp::Xor);
    let order = matches!(op, AtomOp::Add | AtomOp::Min | AtomOp::Max);
    let count = matches!(op, AtomOp::Inc | AtomOp::Dec);
    Some(match ty {
        "b32" if bits => AtomType::U32,
        "b64" if bits => AtomType::U64,
        "u32" if order || count => AtomType::U32,
        "s32" if order => AtomType::S32,
        "u64" if order => AtomType::U64,
        "s64" if order => AtomType::S64,
        "f16" if order => AtomType::F16,
        "bf16" if order => AtomType::Bf16,
        "f32" if op == AtomOp::Add => AtomType::F32,
        "f64" if op == AtomOp::Add => AtomType::F64,
        _ => return None,
    })
}

/// State space of a word of an opcode.
fn space(m: &str) -> Option<Space> {
    match m {
        "global" => Some(Space::Global),
        "shared" | "shared::cta" | "shared::cluster" => Some(Space::Shared),
        _ => None,
    }
}

/// The state spaces an opcode names, in order.
fn spaces(op: &Opcode<'_>) -> Vec<Space> {
    op.mods.iter().filter_map(|m| space(m)).collect()
}

fn field(op: &Opcode<'_>) -> Option<Field> {
    op.mods.iter().find_map(|m| {
        Some(match *m {
            "global_address" => Field::Address,
            "rank" => Field::Rank,
            "box_dim" => Field::BoxDim,
            "global_dim" => Field::GlobalDim,
            "global_stride" => Field::GlobalStride,
            "element_stride" => Field::ElementStride,
            "elemtype" => Field::ElementType,
            "interleave_layout" => Field::Interleave,
            "swizzle_mode" => Field::Swizzle,
            "fill_mode" => Field::Fill,
            _ => return None,
        })
    })
}

fn immediate(o: Option<&Operand<'_>>) -> Result<u32> {
    match o {
        Some(Operand::Int(v)) => u32::try_from(*v).map_err(|_| format!("{v} is out of range")),
        _ => Err("takes an integer constant".into()),
    }
}

impl<'a> Decoder<'a, '_> {
    /// `None`: not an instruction of this file.
    pub(super) fn asynchronous(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Option<Result<bool>> {
        Some(match op.base {
            "cp" if op.has("tensor") => self.tensor(op, operands),
            "cp" if op.has("bulk") => self.bulk(op, operands),
            "cp" if op.mods.first() == Some(&"async") => self.copy_async(op, operands),
            "st" | "red" if op.mods.first() == Some(&"async") => self.store_async(op, operands),
            "mbarrier" => self.mbarrier(op, operands),
            "fence" if op.has("proxy") => self.proxy_fence(op, operands),
            "tensormap" => self.tensormap(op, operands),
            "setmaxnreg" => immediate(operands.first())
                .map(|n| self.issue(Async::MaxRegisters(n, op.has("inc")), Class::Sync)),
            _ => return None,
        })
    }

    fn issue(&mut self, a: Async, class: Class) -> bool {
        self.push(Op::Async(Box::new(a)), class);
        true
    }

    /// The address operand `o` in a space.
    fn place(&mut self, o: Option<&Operand<'a>>, space: Space) -> Result<Addr> {
        let Some(o @ Operand::Address(_)) = o else { return Err("takes an address here".into()) };
        let mut space = space;
        let (base, offset) = self.address(o, &mut space)?;
        Ok(Addr { space, base, offset })
    }

    fn row(&mut self, o: Option<&Operand<'a>>) -> Result<u32> {
        match o {
            Some(o) => self.src(o, File::R32),
            None => Err("lacks an operand".into()),
        }
    }

    fn copy_async(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.has("commit_group") {
            return Ok(self.issue(Async::CopyCommit, Class::Sync));
        }
        if op.has("wait_all") {
            return Ok(self.issue(Async::CopyWait(None), Class::Sync));
        }
        if op.has("wait_group") {
            let keep = immediate(operands.first())?;
            return Ok(self.issue(Async::CopyWait(Some(keep)), Class::Sync));
        }
        if op.has("mbarrier") {
            let space = spaces(op).first().copied().unwrap_or(Space::Generic);
            let at = self.place(operands.first(), space)?;
            return Ok(self.issue(Async::CopyArrive { at, noinc: op.has("noinc") }, Class::Sync));
        }
        let &[to, from] = &spaces(op)[..] else { return Ok(false) };
        let dst = self.place(operands.first(), to)?;
        let src = self.place(operands.get(1), from)?;
        let bytes = immediate(operands.get(2))?;
        if !matches!(bytes, 4 | 8 | 16) || (op.has("cg") && bytes != 16) {
            return Err(format!("copies of {bytes} bytes; 4, 8 and 16 are possible, 16 with `.cg`"));
        }
        // What follows is a source size, a predicate, or (with a cache hint) only a policy.
        let hint = op.mods.iter().any(|m| m.starts_with("L2::cache_hint")) as usize;
        let (mut size, mut ignore) = (NONE, NONE);
        if operands.len() > 3 + hint {
            let o = &operands[3];
            let predicate = match o {
                Operand::Name(n) => matches!(self.find(n), Some(super::Symbol::Reg(File::Pred, _))),
                Operand::Not(_) => true,
                _ => false,
            };
            if predicate {
                ignore = self.src(o, File::Pred)?;
            } else {
                size = self.src(o, File::R32)?;
            }
        }
        Ok(self.issue(Async::Copy { dst, src, bytes: bytes as u8, size, ignore }, Class::Global))
    }

    /// `st.async` and `red.async`.
    fn store_async(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        // The forms for global memory are of later architectures.
        if op.has("global") || !op.has("mbarrier::complete_tx::bytes") {
            return Ok(false);
        }
        let [dst, data, mbar] = operands else {
            return Err("takes an address, a value and an mbarrier".into());
        };
        let reduce = match op.base {
            "red" => {
                let Some(kind) = atom_op(op) else { return Ok(false) };
                let Some(ty) = atom_type(op.ty(), kind) else { return Ok(false) };
                Some((kind, ty))
            }
            _ => None,
        };
        let size = type_bytes(op.ty());
        let count = if op.has("v4") {
            4
        } else if op.has("v2") {
            2
        } else {
            1
        };
        let list = match data {
            Operand::Vector(v) => v.as_slice(),
            one => std::slice::from_ref(one),
        };
        if list.len() != count || !matches!(size, 4 | 8) {
            return Err(format!("needs {count} registers, found {}", list.len()));
        }
        let file = if size == 8 { File::R64 } else { File::R32 };
        let values = list.iter().map(|v| self.value_slot(v, file)).collect::<Result<Box<[Slot]>>>()?;
        let dst = self.place(Some(dst), Space::Shared)?;
        let mbar = self.place(Some(mbar), Space::Shared)?;
        Ok(self.issue(Async::Store { dst, values, size: size as u8, mbar, reduce }, Class::Shared))
    }

    fn mbarrier(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let space = spaces(op).first().copied().unwrap_or(Space::Generic);
        let relaxed = op.has("relaxed");
        let what = op.mods.first().copied().unwrap_or("");
        let a = match what {
            "init" => {
                let at = self.place(operands.first(), space)?;
                Async::Init { at, count: self.row(operands.get(1))? }
            }
            "inval" => Async::Invalidate(self.place(operands.first(), space)?),
            "expect_tx" | "complete_tx" => {
                let at = self.place(operands.first(), space)?;
                Async::Bytes { at, bytes: self.row(operands.get(1))?, complete: what == "complete_tx" }
            }
            "arrive" | "arrive_drop" => {
                let (d, rest) = match operands {
                    [Operand::Name(d), rest @ ..] => (*d, rest),
                    rest => ("_", rest),
                };
                let at = self.place(rest.first(), space)?;
                let number = match rest.get(1) {
                    Some(o) => self.src(o, File::R32)?,
                    None => NONE,
                };
                let expects = op.has("expect_tx");
                let token = self.slot(d, false)?;
                let a = Async::Arrive {
                    at,
                    token,
                    count: if expects { NONE } else { number },
                    expect: if expects { number } else { NONE },
                    drop: what == "arrive_drop",
                    no_complete: op.has("noComplete"),
                    relaxed,
                };
                self.issue(a, Class::Sync);
                self.wrote_slot(token);
                return Ok(true);
            }
            "test_wait" | "try_wait" => {
                let [Operand::Name(d), at, phase, ..] = operands else {
                    return Err("takes a predicate, an address and a phase".into());
                };
                let at = self.place(Some(at), space)?;
                let parity = op.has("parity");
                let phase = self.src(phase, if parity { File::R32 } else { File::R64 })?;
                let done = self.pred_dst(d)?;
                self.issue(Async::Wait(Wait { at, done, phase, parity, relaxed }), Class::Sync);
                self.wrote(File::Pred, done);
                return Ok(true);
            }
            "pending_count" => {
                let [d, token] = operands else { return Err("takes a destination and a token".into()) };
                let token = self.src(token, File::R64)?;
                let (row, into) = self.dst(d, File::R32)?;
                self.issue(Async::PendingCount(row, token), Class::Sync);
                self.finish(File::R32, row, into, false);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        Ok(self.issue(a, Class::Sync))
    }

    /// The operands behind a copy's addresses: mbarrier and multicast mask, or nothing.
    fn end(&mut self, op: &Opcode<'a>, rest: &[Operand<'a>]) -> Result<End> {
        if op.has("bulk_group") {
            return Ok(End::Group);
        }
        if !op.has("mbarrier::complete_tx::bytes") {
            return Err("needs `.bulk_group` or `.mbarrier::complete_tx::bytes`".into());
        }
        let at = self.place(rest.first(), Space::Shared)?;
        let mask = if op.has("multicast::cluster") { self.row(rest.get(1))? } else { NONE };
        Ok(End::Mbarrier(at, mask))
    }

    fn bulk(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.has("commit_group") {
            return Ok(self.issue(Async::BulkCommit, Class::Sync));
        }
        if op.has("wait_group") {
            let keep = immediate(operands.first())?;
            return Ok(self.issue(Async::BulkWait(keep, op.has("read")), Class::Sync));
        }
        if op.has("prefetch") {
            let from = self.place(operands.first(), Space::Global)?;
            let size = self.row(operands.get(1))?;
            return Ok(self.issue(Async::Prefetch(from, size), Class::Global));
        }
        if op.has("cp_mask") || op.has("ignore_oob") {
            return Ok(false);
        }
        let &[to, from] = &spaces(op)[..] else { return Ok(false) };
        let reduce = match op.has("reduce") {
            true => {
                let Some(kind) = atom_op(op) else { return Ok(false) };
                let Some(ty) = atom_type(op.ty(), kind) else { return Ok(false) };
                Some((kind, ty))
            }
            false => None,
        };
        let dst = self.place(operands.first(), to)?;
        let src = self.place(operands.get(1), from)?;
        let size = self.row(operands.get(2))?;
        let end = self.end(op, operands.get(3..).unwrap_or(&[]))?;
        if matches!(end, End::Group) != (to == Space::Global) {
            return Err("copies to global memory end by `.bulk_group`, others at an mbarrier".into());
        }
        self.func.async_proxy |= from == Space::Shared;
        Ok(self.issue(Async::Bulk { dst, src, size, end, reduce }, Class::Global))
    }

    /// `[map, {coordinates}]`.
    fn tensor_place(&mut self, op: &Opcode<'a>, o: Option<&Operand<'a>>) -> Result<(Addr, Box<[u32]>)> {
        let Some(Operand::Address(parts)) = o else { return Err("takes a tensor map here".into()) };
        let [map, coordinates] = &parts[..] else {
            return Err("takes `[tensor map, {coordinates}]`".into());
        };
        let map = self.place(Some(&Operand::Address(vec![map.clone()])), Space::Generic)?;
        let list = match coordinates {
            Operand::Vector(v) => v.as_slice(),
            one => std::slice::from_ref(one),
        };
        let rank = ["1d", "2d", "3d", "4d", "5d"].iter().position(|d| op.has(d)).map_or(0, |i| i + 1);
        if rank != list.len() {
            return Err(format!("needs {rank} coordinates, found {}", list.len()));
        }
        let rows = list.iter().map(|c| self.src(c, File::R32)).collect::<Result<Box<[u32]>>>()?;
        Ok((map, rows))
    }

    fn tensor(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        let known =
            |m: &&&str| m.starts_with("im2col") || m.starts_with("tile::") || m.starts_with("cta_group");
        if op.mods.iter().any(|m| known(&m)) {
            return Ok(false);
        }
        if op.has("prefetch") {
            let (map, coordinates) = self.tensor_place(op, operands.first())?;
            return Ok(self.issue(Async::PrefetchTensor(map, coordinates), Class::Global));
        }
        let reduce = match op.has("reduce") {
            true => match atom_op(op) {
                Some(r) => Some(r),
                None => return Ok(false),
            },
            false => None,
        };
        let &[to, _] = &spaces(op)[..] else { return Ok(false) };
        let load = to == Space::Shared;
        let (tensor, shared) = if load { (1, 0) } else { (0, 1) };
        let (map, coordinates) = self.tensor_place(op, operands.get(tensor))?;
        let shared = self.place(operands.get(shared), Space::Shared)?;
        let end = self.end(op, operands.get(2..).unwrap_or(&[]))?;
        if matches!(end, End::Group) == load {
            return Err("copies to global memory end by `.bulk_group`, others at an mbarrier".into());
        }
        self.func.async_proxy |= !load;
        Ok(self.issue(Async::Tensor { map, coordinates, shared, load, end, reduce }, Class::Global))
    }

    fn proxy_fence(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.has("async") || op.has("async::generic") {
            let only = op.has("global");
            return Ok(self.issue(Async::ProxyFence { shared: !only }, Class::Sync));
        }
        if op.has("tensormap::generic") && op.has("acquire") {
            let map = self.place(operands.first(), Space::Generic)?;
            return Ok(self.issue(Async::MapAcquire(map), Class::Sync));
        }
        if op.has("alias") || op.has("tensormap::generic") {
            self.push(Op::Nop, Class::Sync);
            return Ok(true);
        }
        Ok(false)
    }

    fn tensormap(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<bool> {
        if op.has("cp_fenceproxy") {
            let &[to, from] = &spaces(op)[..] else { return Ok(false) };
            let dst = self.place(operands.first(), to)?;
            let src = self.place(operands.get(1), from)?;
            return Ok(self.issue(Async::MapCopy(dst, src), Class::Global));
        }
        let (true, Some(field)) = (op.has("replace") && op.has("tile"), field(op)) else { return Ok(false) };
        let space = spaces(op).first().copied().unwrap_or(Space::Generic);
        let map = self.place(operands.first(), space)?;
        let indexed =
            matches!(field, Field::BoxDim | Field::GlobalDim | Field::GlobalStride | Field::ElementStride);
        let dim = if indexed { immediate(operands.get(1))? } else { 0 };
        let Some(value) = operands.get(1 + indexed as usize) else { return Err("takes a new value".into()) };
        let value = self.src(value, File::R64)?;
        Ok(self.issue(Async::Replace { map, field, dim, value }, Class::Global))
    }
}
