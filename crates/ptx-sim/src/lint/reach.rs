//! Reaching definitions: which writes of a register a read may see.
//!
//! The classic forward analysis over the control-flow graph: a block passes on the last definition of each register in it, and
//! those that reach it and that it does not replace. A guarded write replaces nothing. Registers that are written once need
//! no flow.

use super::cfg::Cfg;

/// For each instruction, the definitions that its reads may see; a definition is numbered in the order of [`Reach::sites`].
pub(crate) struct Reach {
    /// The instruction of each definition.
    pub sites: Vec<usize>,
    /// Definitions seen by the operands of each instruction.
    pub reads: Vec<Vec<usize>>,
    /// Definitions seen by the guard of each instruction.
    pub guards: Vec<Vec<usize>>,
    /// Definitions that each instruction makes.
    pub writes: Vec<Vec<usize>>,
}

impl Reach {
    /// From the registers that each instruction reads, writes and is guarded by; `registers` are there.
    pub(crate) fn new(
        cfg: &Cfg,
        registers: usize,
        reads: &[Vec<usize>],
        writes: &[Vec<usize>],
        guards: &[Option<usize>],
    ) -> Reach {
        let (mut sites, mut of) = (vec![], vec![vec![]; registers]);
        let mut made = vec![vec![]; writes.len()];
        for (i, list) in writes.iter().enumerate() {
            for &register in list {
                of[register].push(sites.len());
                made[i].push(sites.len());
                sites.push(i);
            }
        }
        let words = sites.len().div_ceil(64);
        // One instruction's effect on the set of definitions that hold.
        let step = |i: usize, set: &mut [u64]| {
            for (&register, &d) in writes[i].iter().zip(&made[i]) {
                if guards[i].is_none() && of[register].len() > 1 {
                    of[register].iter().for_each(|&other| set[other / 64] &= !(1 << (other % 64)));
                }
                set[d / 64] |= 1 << (d % 64);
            }
        };
        let blocks = &cfg.blocks;
        let mut begin = vec![vec![0u64; words]; blocks.len()];
        let mut waiting: Vec<usize> = (0..blocks.len()).rev().collect();
        let mut listed = vec![true; blocks.len()];
        while let Some(b) = waiting.pop() {
            listed[b] = false;
            let mut set = begin[b].clone();
            (blocks[b].start..blocks[b].end).for_each(|i| step(i, &mut set));
            for &next in &blocks[b].next {
                let mut grew = false;
                for (have, new) in begin[next].iter_mut().zip(&set) {
                    grew |= new & !*have != 0;
                    *have |= new;
                }
                if grew && !listed[next] {
                    listed[next] = true;
                    waiting.push(next);
                }
            }
        }
        let mut reach = Reach {
            sites,
            reads: vec![vec![]; writes.len()],
            guards: vec![vec![]; writes.len()],
            writes: made.clone(),
        };
        for (b, block) in blocks.iter().enumerate() {
            let mut set = begin[b].clone();
            for i in block.start..block.end {
                let seen = |register: usize| -> Vec<usize> {
                    match of[register].as_slice() {
                        [one] => vec![*one],
                        many => many.iter().copied().filter(|d| set[d / 64] >> (d % 64) & 1 == 1).collect(),
                    }
                };
                reach.reads[i] = reads[i].iter().flat_map(|&r| seen(r)).collect();
                reach.guards[i] = guards[i].map_or(vec![], seen);
                step(i, &mut set);
            }
        }
        reach
    }
}
