//! Warp-level instructions: shuffle, vote, match, redux, elect, warp sync.

use crate::ErrorKind;
use crate::access::{deliver32, value};
use crate::config::Checks;
use crate::error::{Fault, Step};
use crate::isa::{Collective, NONE, Warp};
use crate::lanes::{Lane, Regs};

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

/// The sets of lanes that act together, of those that are active.
pub(crate) fn sets(members: &[u32; 32], active: u32) -> impl Iterator<Item = u32> {
    let mut todo = active;
    std::iter::from_fn(move || {
        let set = members[(todo != 0).then(|| todo.trailing_zeros() as usize)?] & active;
        todo &= !set;
        (set != 0).then_some(set)
    })
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
                Collective::ReduxFloat { max, abs, nan } => {
                    let value =
                        |bits: u32| if abs { f32::from_bits(bits).abs() } else { f32::from_bits(bits) };
                    let first = value(a[set.trailing_zeros() as usize & 31]);
                    all.fold(first, |x, y| crate::alu::extreme32(x, value(y), max, nan)).to_bits()
                }
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
