//! Which values may differ between threads: a forward analysis from thread numbers, lane masks, clocks, atomics and what is
//! loaded through addresses that differ.
//!
//! Three levels: the same in the whole block; the same in each warp (`shfl` from a fixed lane, votes, warp numbers); different
//! from lane to lane. Numbers of whole warps made from `%tid.x` (`%tid.x / 32`, `%tid.x < 64`) count as the same in a warp,
//! which holds for blocks of one dimension and for rows of whole warps. A value written under a branch is as different as what decides the branch, and a read is as different as the
//! writes that reach it ([`Reach`]). The analysis looks at one function: its parameters count as uniform, what calls return does not.

use super::cfg::Cfg;
use super::flat::{Flat, names};
use super::reach::Reach;
use crate::ast::Operand;
use std::collections::HashMap;

/// How different a value is between threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Level {
    /// The same in all threads of a block.
    #[default]
    Uniform,
    /// The same in the lanes of each warp.
    Warp,
    /// Different from lane to lane.
    Lane,
}

/// The result.
pub(crate) struct Taint {
    /// Per block: how different the decision at its end is (uniform where it decides nothing).
    pub branches: Vec<Level>,
    /// Per instruction: how different its guard is.
    pub guards: Vec<Level>,
}

/// The level of a special register.
fn special(name: &str) -> Option<Level> {
    let head = name.split('.').next().unwrap_or("");
    Some(match head {
        "%tid" | "%laneid" => Level::Lane,
        h if h.starts_with("%lanemask") => Level::Lane,
        "%warpid" | "%clock" | "%clock64" | "%clock_hi" => Level::Warp,
        "%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi" => Level::Warp,
        _ => return None,
    })
}

/// Operands an instruction writes, by their number from the front.
fn written(base: &str) -> usize {
    match base {
        "st" | "red" | "bra" | "brx" | "ret" | "exit" | "trap" | "bar" | "barrier" | "membar" | "fence"
        | "prefetch" | "prefetchu" | "discard" | "applypriority" | "nanosleep" | "brkpt" | "pmevent"
        | "setmaxnreg" | "stmatrix" | "griddepcontrol" | "stackrestore" => 0,
        _ => 1,
    }
}

pub(crate) fn analyse(flat: &Flat<'_>, cfg: &Cfg) -> Taint {
    let mut keys: HashMap<(usize, &str), usize> = HashMap::new();
    let mut reads: Vec<Vec<usize>> = Vec::new();
    let mut writes: Vec<Vec<usize>> = Vec::new();
    let mut guards: Vec<Option<usize>> = Vec::new();
    let mut fixed: Vec<Level> = Vec::new();
    for (i, s) in flat.sites.iter().enumerate() {
        let mut key = |name: &str| {
            // Keys live as long as the text: take the name from the instruction itself.
            let (scope, name) = flat.register(i, name)?;
            let name = find_text(s.inst, name)?;
            let next = keys.len();
            Some(*keys.entry((scope, name)).or_insert(next))
        };
        guards.push(s.inst.guard.and_then(|g| key(g.0)));
        let (mut r, mut w, mut level) = (Vec::new(), Vec::new(), Level::Uniform);
        let bar_reduces = matches!(s.base, "bar" | "barrier") && s.inst.opcode.contains(".red");
        let outputs = if bar_reduces { 1 } else { written(s.base) };
        for (k, o) in s.inst.operands.iter().enumerate() {
            // What stands in an address is read, wherever it stands; `call` lists its results first.
            let list = match o {
                Operand::List(_) if s.base == "call" && k > 0 => &mut r,
                _ if k < outputs && !matches!(o, Operand::Address(_)) => &mut w,
                _ => &mut r,
            };
            names(o, &mut |n| {
                if let Some(id) = key(n) {
                    list.push(id);
                } else if let Some(l) = special(n) {
                    level = level.max(l);
                }
            });
        }
        level = level.max(source(flat, i));
        reads.push(r);
        writes.push(w);
        fixed.push(level);
    }
    let n = keys.len();
    let mut definitions = vec![0u32; n];
    for (i, w) in writes.iter().enumerate() {
        w.iter().for_each(|&r| definitions[r] += 1 + guards[i].is_some() as u32);
    }
    let reach = Reach::new(cfg, n, &reads, &writes, &guards);
    let copies = tid_copies(flat, &reach);
    let whole: Vec<bool> =
        (0..flat.sites.len()).map(|i| whole_warps(flat, i, &reach.reads[i], &copies)).collect();
    // One level a definition: what a register held before is no matter to who reads it after.
    let mut level = vec![Level::Uniform; reach.sites.len()];
    let of = |level: &[Level], seen: &[usize]| seen.iter().map(|&d| level[d]).max().unwrap_or_default();
    let mut branches = vec![Level::Uniform; cfg.blocks.len()];
    let influence: Vec<Vec<usize>> = (0..cfg.blocks.len())
        .map(|b| if cfg.blocks[b].next.len() > 1 { cfg.influence(b) } else { Vec::new() })
        .collect();
    let mut changed = true;
    while changed {
        changed = false;
        for (i, s) in flat.sites.iter().enumerate() {
            let mut l = of(&level, &reach.reads[i]).max(fixed[i]);
            // All threads of a barrier get what it reduced.
            if matches!(s.base, "bar" | "barrier") {
                l = Level::Uniform;
            }
            if whole[i] || evens(s.inst.opcode, &s.inst.operands) {
                l = l.min(Level::Warp);
            }
            l = l.max(of(&level, &reach.guards[i]));
            for &d in &reach.writes[i] {
                changed |= l > level[d];
                level[d] = level[d].max(l);
            }
        }
        for (b, block) in cfg.blocks.iter().enumerate() {
            if block.next.len() < 2 || block.end == 0 {
                continue;
            }
            let last = block.end - 1;
            let l = of(&level, &reach.guards[last]).max(of(&level, &reach.reads[last])).max(fixed[last]);
            if l <= branches[b] {
                continue;
            }
            branches[b] = l;
            changed = true;
            // A register that has a value from inside and one from elsewhere tells which way a thread went.
            for &x in &influence[b] {
                for i in cfg.blocks[x].start..cfg.blocks[x].end {
                    for (&w, &d) in writes[i].iter().zip(&reach.writes[i]) {
                        if definitions[w] > 1 {
                            level[d] = level[d].max(l);
                        }
                    }
                }
            }
        }
    }
    let guards = reach.guards.iter().map(|seen| of(&level, seen)).collect();
    Taint { branches, guards }
}

/// `name` as it stands in the instruction.
fn find_text<'a>(inst: &crate::ast::Inst<'a>, name: &str) -> Option<&'a str> {
    let mut found = inst.guard.map(|g| g.0).filter(|g| *g == name);
    for o in &inst.operands {
        names(o, &mut |n: &'a str| {
            if n == name {
                found = Some(n);
            } else if n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
                found = found.or(Some(&n[..name.len()]));
            }
        });
    }
    found
}

/// What an instruction makes different by itself, whatever its operands.
fn source(flat: &Flat<'_>, site: usize) -> Level {
    let s = &flat.sites[site];
    let has = |m: &str| s.inst.opcode.split('.').any(|x| x == m);
    match s.base {
        "atom" | "elect" | "match" | "call" => Level::Lane,
        "ld" if has("local") => Level::Lane,
        // The result of a call comes back through a variable.
        "ld" if s.inst.opcode.starts_with("ld.param") => {
            let mut returned = false;
            s.inst.operands.iter().skip(1).for_each(|o| {
                names(o, &mut |n| returned |= flat.call_params.contains(&n));
            });
            if returned { Level::Lane } else { Level::Uniform }
        }
        "mbarrier" => Level::Warp,
        "mov" if has("pred") => Level::Uniform,
        _ => Level::Uniform,
    }
}

/// Whether an instruction evens its result out over the warp: a shuffle from one lane, a vote, a reduction.
fn evens(opcode: &str, operands: &[Operand<'_>]) -> bool {
    match opcode.split('.').next().unwrap_or("") {
        "vote" | "redux" | "activemask" => true,
        "shfl" => opcode.split('.').any(|m| m == "idx") && matches!(operands.get(2), Some(Operand::Int(_))),
        _ => false,
    }
}

/// The definitions that are `%tid.x`.
fn tid_copies(flat: &Flat<'_>, reach: &Reach) -> Vec<bool> {
    let mut copies = vec![false; reach.sites.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (i, s) in flat.sites.iter().enumerate() {
            let ([d], [_, from]) = (&reach.writes[i][..], &s.inst.operands[..]) else { continue };
            let copied = *from == Operand::Name("%tid.x") || all_copies(&reach.reads[i], &copies);
            if matches!(s.base, "mov" | "cvt") && copied && s.inst.guard.is_none() && !copies[*d] {
                copies[*d] = true;
                changed = true;
            }
        }
    }
    copies
}

/// Whether a read sees nothing but `%tid.x`.
fn all_copies(seen: &[usize], copies: &[bool]) -> bool {
    !seen.is_empty() && seen.iter().all(|&d| copies[d])
}

/// Whether an instruction makes of `%tid.x` something that whole warps share.
fn whole_warps(flat: &Flat<'_>, site: usize, seen: &[usize], copies: &[bool]) -> bool {
    let s = &flat.sites[site];
    let [_, a, Operand::Int(k)] = &s.inst.operands[..] else { return false };
    let k = *k;
    let of_tid = *a == Operand::Name("%tid.x") || all_copies(seen, copies);
    let compares = |list: [&str; 4]| s.inst.opcode.split('.').nth(1).is_some_and(|m| list.contains(&m));
    of_tid
        && match s.base {
            "shr" => k >= 5,
            "div" => k != 0 && k % 32 == 0,
            "and" => k & 31 == 0,
            "setp" if compares(["lt", "ge", "lo", "hs"]) => k % 32 == 0,
            "setp" if compares(["gt", "le", "hi", "ls"]) => k.wrapping_add(1) % 32 == 0,
            _ => false,
        }
}
