//! Definite assignment: which register reads could see a register nobody wrote.
//!
//! A forward data-flow analysis over the control-flow graph (a register is assigned at a block's entry if it is at the exit
//! of every predecessor). Reads it can clear cost nothing at run time; the few others keep a mask of written lanes.

use super::Uses;
use crate::isa::{Func, Op, Track};
use crate::lanes::{CARRY, File};
use std::collections::HashMap;

pub(super) fn analyse(func: &mut Func, uses: &[Uses<'_>]) {
    let (n32, n64) = (func.n32, func.n64);
    let total = n32 + n64 + func.preds;
    let id = |file: File, i: u32| match file {
        File::R32 => i as usize,
        File::R64 => n32 + i as usize,
        File::Pred => n32 + n64 + i as usize,
    };
    let words = total.div_ceil(64);
    let n = func.code.len();

    // Leaders of basic blocks.
    let mut leader = vec![false; n + 1];
    leader[0] = true;
    for (pc, inst) in func.code.iter().enumerate() {
        match &inst.op {
            Op::Branch(t) => leader[*t as usize] = true,
            Op::BranchIndexed(_, list) => list.iter().for_each(|t| leader[*t as usize] = true),
            Op::Return | Op::Exit => {}
            _ => continue,
        }
        leader[pc + 1] = true;
    }
    let starts: Vec<usize> = (0..n).filter(|&i| leader[i]).collect();
    let mut block_of = HashMap::new();
    for (b, &s) in starts.iter().enumerate() {
        block_of.insert(s, b);
    }
    let end = |b: usize| starts.get(b + 1).copied().unwrap_or(n);
    let successors = |b: usize| -> Vec<usize> {
        let last = end(b) - 1;
        let inst = &func.code[last];
        let mut s: Vec<usize> = match &inst.op {
            Op::Branch(t) => vec![*t as usize],
            Op::BranchIndexed(_, list) => list.iter().map(|t| *t as usize).collect(),
            Op::Return | Op::Exit => vec![],
            _ => vec![last + 1],
        };
        if inst.guard != crate::isa::NONE {
            s.push(last + 1);
        }
        s.iter().filter_map(|t| block_of.get(t).copied()).collect()
    };

    // Sets per block: `None` stands for "not reached yet", i.e. everything.
    let mut entry: Vec<Option<Vec<u64>>> = vec![None; starts.len()];
    if let Some(e) = entry.first_mut() {
        *e = Some(vec![0; words]);
    }
    let mut work = vec![0usize];
    while let Some(b) = work.pop() {
        let Some(mut set) = entry[b].clone() else { continue };
        for u in &uses[starts[b]..end(b)] {
            if !u.guarded {
                for &(file, i) in &u.writes {
                    let r = id(file, i);
                    set[r / 64] |= 1 << (r % 64);
                }
            }
        }
        for s in successors(b) {
            match &mut entry[s] {
                Some(have) => {
                    let mut changed = false;
                    for (h, v) in have.iter_mut().zip(&set) {
                        changed |= *h & !*v != 0;
                        *h &= *v;
                    }
                    if changed {
                        work.push(s);
                    }
                }
                none => {
                    *none = Some(set.clone());
                    work.push(s);
                }
            }
        }
    }

    // Reads that may see an unwritten register.
    let mut tracked: HashMap<(u8, u32), u32> = HashMap::new();
    let key = |file: File, i: u32| (file as u8, i);
    for (b, &start) in starts.iter().enumerate() {
        let Some(mut set) = entry[b].clone() else { continue };
        for pc in start..end(b) {
            for &(file, i, _) in &uses[pc].reads {
                let r = id(file, i);
                if set[r / 64] >> (r % 64) & 1 == 0 && !(file == File::Pred && i == CARRY) {
                    let next = tracked.len() as u32;
                    tracked.entry(key(file, i)).or_insert_with(|| {
                        func.tracked.push((file, i));
                        next
                    });
                }
            }
            if !uses[pc].guarded {
                for &(file, i) in &uses[pc].writes {
                    let r = id(file, i);
                    set[r / 64] |= 1 << (r % 64);
                }
            }
        }
    }
    // Moves that copy a tracked register make their target tracked, too, until nothing is new.
    loop {
        let mut grew = false;
        for u in uses.iter().filter(|u| u.copies) {
            let from = u.reads.first().is_some_and(|&(f, i, _)| tracked.contains_key(&key(f, i)));
            for &(file, i) in u.writes.iter().filter(|_| from) {
                let next = tracked.len() as u32;
                tracked.entry(key(file, i)).or_insert_with(|| {
                    func.tracked.push((file, i));
                    grew = true;
                    next
                });
            }
        }
        if !grew {
            break;
        }
    }
    if tracked.is_empty() {
        return;
    }
    for (pc, u) in uses.iter().enumerate() {
        let reads: Vec<(u32, Box<str>)> = u
            .reads
            .iter()
            .filter_map(|&(file, i, name)| tracked.get(&key(file, i)).map(|&t| (t, name.into())))
            .collect();
        let writes: Vec<u32> =
            u.writes.iter().filter_map(|&(file, i)| tracked.get(&key(file, i)).copied()).collect();
        if !reads.is_empty() || !writes.is_empty() {
            func.code[pc].tracked = true;
            func.tracks.insert(pc as u32, Track { reads, writes, copies: u.copies });
        }
    }
}
