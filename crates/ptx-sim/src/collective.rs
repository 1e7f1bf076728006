//! Warp-level instructions (shuffle, vote, match, redux, elect, warp sync) and atomics.

use crate::ErrorKind;
use crate::access::{Kind, Memory, deliver32, deliver64, value};
use crate::error::{Fault, Step};
use crate::isa::{Atom, AtomOp, AtomType, Collective, NONE, WIDE, Warp};
use crate::lanes::{Lane, Regs};
use crate::sim::Checks;
use half::{bf16, f16};

/// Executes a warp-level instruction for the lanes of `active`. `false`: lanes its member masks
/// name have not arrived yet, so the group has to wait for them.
pub(crate) fn execute(w: &Warp, regs: &mut Regs<'_>, active: u32, live: u32, checks: &Checks) -> Step<bool> {
    let members = *u32::src(regs, w.members);
    // Different lanes may name different (disjoint) sets: each set acts on its own.
    let mut todo = active;
    let mut sets = [0u32; 32];
    let mut n = 0;
    while todo != 0 {
        let l = todo.trailing_zeros();
        let set = members[l as usize];
        if set >> l & 1 == 0 {
            let mut f = Fault::new(
                ErrorKind::DivergentCollective,
                format!("lane {l} executes this with a member mask of {set:#010x} that does not name it"),
            );
            f.lane = Some(l);
            return Err(f);
        }
        if set & !active != 0 {
            let gone = set & !live;
            if gone != 0 && checks.barriers {
                let mut f = Fault::new(
                    ErrorKind::DivergentCollective,
                    format!(
                        "the member mask {set:#010x} names lane {}, which has exited",
                        gone.trailing_zeros()
                    ),
                );
                f.lane = Some(l);
                return Err(f);
            }
            if set & !active & !gone != 0 {
                return Ok(false);
            }
        }
        sets[n] = set & active;
        n += 1;
        todo &= !set;
    }
    for &set in &sets[..n] {
        one(w, regs, set, checks)?;
    }
    Ok(true)
}

fn one(w: &Warp, regs: &mut Regs<'_>, set: u32, checks: &Checks) -> Step {
    let lanes = || (0..32u32).filter(move |l| set >> l & 1 != 0);
    let mut out = [0u32; 32];
    let mut pred = 0u32;
    match w.kind {
        Collective::ShflUp | Collective::ShflDown | Collective::ShflBfly | Collective::ShflIdx => {
            let a = *u32::src(regs, w.a);
            let (b, c) = (u32::src(regs, w.b), u32::src(regs, w.c));
            for l in lanes() {
                let (b, c) = (b[l as usize] & 31, c[l as usize]);
                let (segment, clamp) = (c >> 8 & 31, c & 31);
                let low = l & segment;
                let high = low | (clamp & !segment & 31);
                let (from, ok) = match w.kind {
                    Collective::ShflUp => (l.wrapping_sub(b), l as i32 - b as i32 >= high as i32),
                    Collective::ShflDown => (l + b, l + b <= high),
                    Collective::ShflBfly => (l ^ b, l ^ b <= high),
                    _ => (low | (b & !segment & 31), low | (b & !segment & 31) <= high),
                };
                let from = if ok { from } else { l };
                if set >> (from & 31) & 1 == 0 && checks.barriers {
                    let mut f = Fault::new(
                        ErrorKind::DivergentCollective,
                        format!("lane {l} reads lane {from}, which does not take part ({set:#010x} do)"),
                    );
                    f.lane = Some(l);
                    return Err(f);
                }
                out[l as usize] = a[(from & 31) as usize];
                pred |= (ok as u32) << l;
            }
        }
        Collective::VoteAll | Collective::VoteAny | Collective::VoteUni | Collective::Ballot => {
            let p = regs.pred(w.source) & set;
            out = [p; 32];
            let yes = match w.kind {
                Collective::VoteAll => p == set,
                Collective::VoteAny => p != 0,
                _ => p == set || p == 0,
            };
            pred = if yes { !0 } else { 0 };
        }
        Collective::MatchAny | Collective::MatchAll => {
            let a = value(regs, w.a);
            for l in lanes() {
                out[l as usize] =
                    lanes().filter(|&k| a[k as usize] == a[l as usize]).fold(0, |m, k| m | 1 << k);
            }
            if w.kind == Collective::MatchAll {
                let all = lanes().all(|l| out[l as usize] == set);
                pred = if all { !0 } else { 0 };
                out = [if all { set } else { 0 }; 32];
            }
        }
        Collective::Sync => return Ok(()),
        Collective::Elect => {
            let lead = set.trailing_zeros();
            out = [lead; 32];
            pred = 1 << lead;
        }
        _ => {
            let a = *u32::src(regs, w.a);
            let all = lanes().map(|l| a[l as usize]);
            let signed = lanes().map(|l| a[l as usize] as i32);
            let v = match w.kind {
                Collective::ReduxAdd => all.fold(0, u32::wrapping_add),
                Collective::ReduxMinU => all.min().unwrap_or(0),
                Collective::ReduxMaxU => all.max().unwrap_or(0),
                Collective::ReduxMinS => signed.min().unwrap_or(0) as u32,
                Collective::ReduxMaxS => signed.max().unwrap_or(0) as u32,
                Collective::ReduxAnd => all.fold(!0, |x, y| x & y),
                Collective::ReduxOr => all.fold(0, |x, y| x | y),
                _ => all.fold(0, |x, y| x ^ y),
            };
            out = [v; 32];
        }
    }
    if w.dst != NONE {
        deliver32(regs, w.dst, &out, false, set);
    }
    if w.pred != NONE {
        regs.set_pred(w.pred, pred, set);
    }
    Ok(())
}

/// `old op b` (or compare-and-swap with `c`) in the bits of `ty`.
fn combine(op: AtomOp, ty: AtomType, old: u64, b: u64, c: u64) -> u64 {
    let (o32, b32) = (old as u32, b as u32);
    let halves = |f: &dyn Fn(u16, u16) -> u16| {
        f(old as u16, b as u16) as u64 | (f((old >> 16) as u16, (b >> 16) as u16) as u64) << 16
    };
    macro_rules! float {
        ($t:ty, $u:ty, $old:expr, $b:expr) => {{
            let (x, y) = (<$t>::from_bits($old as $u), <$t>::from_bits($b as $u));
            let r = match op {
                AtomOp::Add => <$t>::from_bits((x + y).to_bits()),
                AtomOp::Min => {
                    if y < x || x.is_nan() {
                        y
                    } else {
                        x
                    }
                }
                _ => {
                    if y > x || x.is_nan() {
                        y
                    } else {
                        x
                    }
                }
            };
            r.to_bits()
        }};
    }
    match (op, ty) {
        (AtomOp::Exch, _) => b,
        (AtomOp::Cas, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (AtomOp::And, _) => old & b,
        (AtomOp::Or, _) => old | b,
        (AtomOp::Xor, _) => old ^ b,
        (AtomOp::Inc, _) => {
            if o32 >= b32 {
                0
            } else {
                o32 as u64 + 1
            }
        }
        (AtomOp::Dec, _) => {
            if o32 == 0 || o32 > b32 {
                b32 as u64
            } else {
                o32 as u64 - 1
            }
        }
        (_, AtomType::F32) => float!(f32, u32, old, b) as u64,
        (_, AtomType::F64) => float!(f64, u64, old, b),
        (_, AtomType::F16) => float!(f16, u16, old, b) as u64,
        (_, AtomType::Bf16) => float!(bf16, u16, old, b) as u64,
        (_, AtomType::F16x2) => halves(&|x, y| float!(f16, u16, x, y)),
        (_, AtomType::Bf16x2) => halves(&|x, y| float!(bf16, u16, x, y)),
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

/// `atom` and `red`: the lanes one after another, in order.
pub(crate) fn atomic(
    mem: &mut Memory<'_>,
    a: &Atom,
    addrs: &[u64; 32],
    regs: &mut Regs<'_>,
    mask: u32,
) -> Step {
    let bytes = a.ty.bytes() as usize;
    let b = value(regs, a.b);
    let c = if a.c == NONE { [0; 32] } else { value(regs, a.c) };
    let mut out = [0u64; 32];
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(a.space, addrs, todo, bytes as u32, bytes as u32, Kind::Atomic)?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        let keep = if bytes == 8 { !0 } else { (1u64 << (8 * bytes)) - 1 };
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            let slot = &mut arena.bytes[offs[l]..offs[l] + bytes];
            let mut raw = [0; 8];
            raw[..bytes].copy_from_slice(slot);
            let old = u64::from_le_bytes(raw);
            let new = combine(a.op, a.ty, old, b[l] & keep, c[l] & keep).to_le_bytes();
            slot.copy_from_slice(&new[..bytes]);
            out[l] = old;
        }
    }
    if a.dst != NONE {
        if a.dst & WIDE != 0 {
            deliver64(regs, a.dst, &out, mask);
        } else {
            deliver32(regs, a.dst, &out.map(|v| v as u32), false, mask);
        }
    }
    Ok(())
}
