//! `atom` and `red`, and `discard`.
//!
//! Lanes act one after another, in order. Sums of floats round to nearest even; f32 sums in global memory flush subnormal
//! numbers to zero, in shared memory they do not (PTX ISA, `atom`). `min` and `max` of floats ignore a NaN operand.

use crate::access::{Kind, Memory, deliver64, value};
use crate::alu::{Half, canonical, canonical64, flush, half_add, half_extreme};
use crate::error::Step;
use crate::isa::{Atom, AtomOp, AtomType, LOCAL_BASE, Mem, NONE, SHARED_BASE, Space, WIDE, WINDOW};
use crate::lanes::{Lane, Regs};
use half::{bf16, f16};

fn half<H: Half>(op: AtomOp, old: u64, b: u64) -> u64 {
    let one = |shift: u32| {
        let (x, y) = (H::raw((old >> shift) as u16), H::raw((b >> shift) as u16));
        let r = match op {
            AtomOp::Add => half_add(x, y),
            AtomOp::Min => half_extreme(x, y, false),
            _ => half_extreme(x, y, true),
        };
        r.bits() as u64
    };
    one(0) | one(16) << 16
}

fn float32(old: u32, b: u32, ftz: bool) -> u32 {
    let f = |v: u32| if ftz { flush(f32::from_bits(v)) } else { f32::from_bits(v) };
    let sum = canonical(f(old) + f(b));
    (if ftz { flush(sum) } else { sum }).to_bits()
}

/// `old op b` (or compare-and-swap with `c`) in the bits of `ty`.
pub(crate) fn combine(op: AtomOp, ty: AtomType, old: u64, b: u64, c: u64, ftz: bool) -> u64 {
    let (o32, b32) = (old as u32, b as u32);
    match (op, ty) {
        (AtomOp::Exch, _) => b,
        (AtomOp::Cas, _) if old == b => c,
        (AtomOp::Cas, _) => old,
        (AtomOp::And, _) => old & b,
        (AtomOp::Or, _) => old | b,
        (AtomOp::Xor, _) => old ^ b,
        (AtomOp::Inc, _) if o32 >= b32 => 0,
        (AtomOp::Inc, _) => o32 as u64 + 1,
        (AtomOp::Dec, _) if o32 == 0 || o32 > b32 => b32 as u64,
        (AtomOp::Dec, _) => o32 as u64 - 1,
        (AtomOp::Add, AtomType::F32) => float32(o32, b32, ftz) as u64,
        (AtomOp::Add, AtomType::F64) => canonical64(f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (op, AtomType::F16 | AtomType::F16x2) => half::<f16>(op, old, b),
        (op, AtomType::Bf16 | AtomType::Bf16x2) => half::<bf16>(op, old, b),
        (AtomOp::Min, AtomType::F32) => {
            crate::alu::extreme32(f32::from_bits(o32), f32::from_bits(b32), false, false).to_bits() as u64
        }
        (AtomOp::Max, AtomType::F32) => {
            crate::alu::extreme32(f32::from_bits(o32), f32::from_bits(b32), true, false).to_bits() as u64
        }
        (AtomOp::Add, AtomType::U64 | AtomType::S64) => old.wrapping_add(b),
        (AtomOp::Add, _) => o32.wrapping_add(b32) as u64,
        (AtomOp::Min, AtomType::S64) => (old as i64).min(b as i64) as u64,
        (AtomOp::Max, AtomType::S64) => (old as i64).max(b as i64) as u64,
        (AtomOp::Min, AtomType::S32) => (o32 as i32).min(b32 as i32) as u32 as u64,
        (AtomOp::Max, AtomType::S32) => (o32 as i32).max(b32 as i32) as u32 as u64,
        (AtomOp::Min, _) => old.min(b),
        (AtomOp::Max, _) => old.max(b),
    }
}

/// Whether a lane's access goes to global memory.
fn global(space: Space, addr: u64) -> bool {
    match space {
        Space::Generic => addr.wrapping_sub(SHARED_BASE) >= WINDOW && addr.wrapping_sub(LOCAL_BASE) >= WINDOW,
        s => s == Space::Global,
    }
}

/// `atom` and `red`.
pub(crate) fn atomic(
    mem: &mut Memory<'_>,
    a: &Atom,
    addrs: &[u64; 32],
    regs: &mut Regs<'_>,
    mask: u32,
) -> Step {
    if a.ty == AtomType::B128 {
        return atomic128(mem, a, addrs, regs, mask);
    }
    let bytes = a.ty.bytes() as usize;
    let b = value(regs, a.b);
    let c = if a.c == NONE { [0; 32] } else { value(regs, a.c) };
    let mut out = [0u64; 32];
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(a.space, addrs, todo, bytes as u32, a.align as u32, a.kind())?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        let keep = if bytes == 8 { !0 } else { (1u64 << (8 * bytes)) - 1 };
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            let flush = global(a.space, addrs[l]);
            out[l] =
                arena.update(offs[l], bytes, |old| combine(a.op, a.ty, old, b[l] & keep, c[l] & keep, flush));
        }
    }
    deliver64(regs, a.dst, &out, mask);
    Ok(())
}

impl Atom {
    fn kind(&self) -> Kind {
        if self.op == AtomOp::Cas { Kind::Swap } else { Kind::Atomic }
    }
}

/// `atom.exch.b128` and `atom.cas.b128`.
fn atomic128(mem: &mut Memory<'_>, a: &Atom, addrs: &[u64; 32], regs: &mut Regs<'_>, mask: u32) -> Step {
    let pair = |regs: &Regs<'_>, slot: u32| {
        let (lo, hi) = (*u64::src(regs, slot & !WIDE), *u64::src(regs, (slot & !WIDE) + 1));
        let mut v = [0u128; 32];
        for l in 0..32 {
            v[l] = lo[l] as u128 | (hi[l] as u128) << 64;
        }
        v
    };
    let b = pair(regs, a.b);
    let c = if a.c == NONE { b } else { pair(regs, a.c) };
    let mut out = [0u128; 32];
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(a.space, addrs, todo, 16, a.align as u32, a.kind())?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            let slot = &mut arena.bytes[offs[l]..offs[l] + 16];
            let mut raw = [0; 16];
            raw.copy_from_slice(slot);
            let old = u128::from_le_bytes(raw);
            if a.op == AtomOp::Exch || old == b[l] {
                slot.copy_from_slice(&c[l].to_le_bytes());
            }
            out[l] = old;
        }
    }
    if a.dst != NONE {
        deliver64(regs, a.dst, &out.map(|v| v as u64), mask);
        deliver64(regs, a.dst + 1, &out.map(|v| (v >> 64) as u64), mask);
    }
    Ok(())
}

/// `discard`: the bytes count as unwritten from now on.
pub(crate) fn discard(mem: &mut Memory<'_>, m: &Mem, addrs: &[u64; 32], mask: u32) -> Step {
    let bytes = m.size as u32;
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(m.space, addrs, todo, bytes, bytes, Kind::Write)?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        let len = arena.bytes.len();
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            arena.bytes[offs[l]..offs[l] + bytes as usize].fill(crate::memory::POISON);
            arena.init.unset(offs[l], bytes as usize, len);
        }
    }
    Ok(())
}
