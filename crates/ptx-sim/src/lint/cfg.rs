//! The control-flow graph of a function: basic blocks, dominators, post-dominators and natural loops.
//!
//! Dominators follow Cooper, Harvey and Kennedy ("A Simple, Fast Dominance Algorithm"): immediate dominators improve over the
//! blocks in reverse post-order until nothing changes. Post-dominators are the dominators of the reversed graph, from one
//! virtual exit behind all returns; a block that cannot leave (an endless loop) has none.

use super::flat::Flat;

/// No block.
pub(crate) const NO_BLOCK: usize = usize::MAX;

/// A run of instructions that is entered at its start and left at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// First instruction.
    pub start: usize,
    /// Behind the last instruction.
    pub end: usize,
    pub next: Vec<usize>,
    pub previous: Vec<usize>,
}

/// A natural loop.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    /// The block every way into the loop passes.
    pub header: usize,
    /// All blocks of the loop, the header included.
    pub blocks: Vec<usize>,
}

/// The graph; the last block is the virtual exit.
#[derive(Clone, Debug)]
pub(crate) struct Cfg {
    pub blocks: Vec<Block>,
    /// Immediate dominator of each block; its own for the entry, [`NO_BLOCK`] where the entry does not lead.
    pub dominator: Vec<usize>,
    /// Immediate post-dominator of each block; its own for the exit, [`NO_BLOCK`] where no way leads out.
    pub post_dominator: Vec<usize>,
    pub loops: Vec<Loop>,
    block_of: Vec<usize>,
}

impl Cfg {
    pub(crate) fn new(flat: &Flat<'_>) -> Cfg {
        let n = flat.sites.len();
        let mut leader = vec![false; n + 1];
        leader[0] = true;
        for i in 0..n {
            let next = flat.successors(i);
            if next != [i + 1] || flat.leaves(i) {
                leader[i + 1] = true;
                next.iter().for_each(|&t| leader[t] = true);
            }
        }
        let starts: Vec<usize> = (0..n).filter(|&i| leader[i]).collect();
        let exit = starts.len();
        let mut block_of = vec![exit; n + 1];
        let mut blocks: Vec<Block> = Vec::with_capacity(exit + 1);
        for (b, &start) in starts.iter().enumerate() {
            let end = starts.get(b + 1).copied().unwrap_or(n);
            block_of[start..end].fill(b);
            blocks.push(Block { start, end, ..Block::default() });
        }
        blocks.push(Block { start: n, end: n, ..Block::default() });
        for b in 0..exit {
            // No successor: the function is left.
            let mut next: Vec<usize> =
                flat.successors(blocks[b].end - 1).iter().map(|&t| block_of[t]).collect();
            if next.is_empty() || flat.leaves(blocks[b].end - 1) {
                next.push(exit);
            }
            next.sort_unstable();
            next.dedup();
            for &s in &next {
                blocks[s].previous.push(b);
            }
            blocks[b].next = next;
        }
        let forward: Vec<&[usize]> = blocks.iter().map(|b| &b.next[..]).collect();
        let backward: Vec<&[usize]> = blocks.iter().map(|b| &b.previous[..]).collect();
        let dominator = dominators(&forward, &backward, 0);
        let post_dominator = dominators(&backward, &forward, exit);
        let mut cfg = Cfg { dominator, post_dominator, loops: Vec::new(), block_of, blocks };
        cfg.loops = cfg.natural_loops();
        cfg
    }

    /// The block an instruction lies in.
    pub(crate) fn block_of(&self, site: usize) -> usize {
        self.block_of[site]
    }

    /// The virtual exit.
    pub(crate) fn exit(&self) -> usize {
        self.blocks.len() - 1
    }

    pub(crate) fn reachable(&self, block: usize) -> bool {
        self.dominator[block] != NO_BLOCK
    }

    /// Whether every way from the entry to `b` passes `a`.
    pub(crate) fn dominates(&self, a: usize, b: usize) -> bool {
        let mut at = b;
        while at != NO_BLOCK {
            if at == a {
                return true;
            }
            if self.dominator[at] == at {
                return false;
            }
            at = self.dominator[at];
        }
        false
    }

    /// The innermost loop around a block, by its index.
    pub(crate) fn innermost(&self, block: usize) -> Option<usize> {
        let around = self.loops.iter().enumerate().filter(|(_, l)| l.blocks.contains(&block));
        around.min_by_key(|(_, l)| l.blocks.len()).map(|(i, _)| i)
    }

    /// The blocks that run or not depending on which way a branch at the end of `block` goes: all that can be reached from
    /// it before its post-dominator.
    pub(crate) fn influence(&self, block: usize) -> Vec<usize> {
        let join = self.post_dominator[block];
        let mut seen = vec![false; self.blocks.len()];
        let mut work = self.blocks[block].next.clone();
        let mut out = Vec::new();
        while let Some(b) = work.pop() {
            if b == join || b == self.exit() || std::mem::replace(&mut seen[b], true) {
                continue;
            }
            out.push(b);
            work.extend(&self.blocks[b].next);
        }
        out.sort_unstable();
        out
    }

    fn natural_loops(&self) -> Vec<Loop> {
        let mut loops: Vec<Loop> = Vec::new();
        for (tail, b) in self.blocks.iter().enumerate() {
            if !self.reachable(tail) {
                continue;
            }
            for &header in b.next.iter().filter(|&&h| self.dominates(h, tail)) {
                // Everything that reaches the back edge without passing the header.
                let mut body = vec![header];
                let mut work = vec![tail];
                while let Some(b) = work.pop() {
                    if !body.contains(&b) && self.reachable(b) {
                        body.push(b);
                        work.extend(&self.blocks[b].previous);
                    }
                }
                match loops.iter_mut().find(|l| l.header == header) {
                    Some(l) => l.blocks.extend(body),
                    None => loops.push(Loop { header, blocks: body }),
                }
            }
        }
        for l in &mut loops {
            l.blocks.sort_unstable();
            l.blocks.dedup();
        }
        loops
    }
}

/// Immediate dominators of a graph from `root`.
fn dominators(next: &[&[usize]], previous: &[&[usize]], root: usize) -> Vec<usize> {
    let n = next.len();
    // Post-order by depth-first search with an explicit stack.
    let mut order = Vec::with_capacity(n);
    let mut number = vec![NO_BLOCK; n];
    let mut seen = vec![false; n];
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((b, i)) = stack.last_mut() {
        match next[*b].get(*i) {
            Some(&s) => {
                *i += 1;
                if !std::mem::replace(&mut seen[s], true) {
                    stack.push((s, 0));
                }
            }
            None => {
                number[*b] = order.len();
                order.push(*b);
                stack.pop();
            }
        }
    }
    let mut idom = vec![NO_BLOCK; n];
    idom[root] = root;
    let mut changed = true;
    while changed {
        changed = false;
        for &b in order.iter().rev().filter(|&&b| b != root) {
            let mut new = NO_BLOCK;
            for &p in previous[b].iter().filter(|&&p| idom[p] != NO_BLOCK) {
                if new == NO_BLOCK {
                    new = p;
                    continue;
                }
                // The nearest common ancestor: the higher number is nearer to the root.
                let mut other = p;
                while new != other {
                    while number[new] < number[other] {
                        new = idom[new];
                    }
                    while number[other] < number[new] {
                        other = idom[other];
                    }
                }
            }
            if new != idom[b] {
                idom[b] = new;
                changed = true;
            }
        }
    }
    idom
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Is `b` reachable from `root` without passing `without`?
    fn reaches(next: &[Vec<usize>], root: usize, without: usize, b: usize) -> bool {
        let mut seen = vec![false; next.len()];
        let mut work = if root == without { vec![] } else { vec![root] };
        while let Some(x) = work.pop() {
            if x == b {
                return true;
            }
            if !std::mem::replace(&mut seen[x], true) {
                work.extend(next[x].iter().filter(|&&s| s != without));
            }
        }
        false
    }

    proptest! {
        /// Against the definition, on random graphs.
        #[test]
        fn dominators_are_what_they_are_defined_to_be(next in prop::collection::vec(prop::collection::vec(0usize..12, 0..3), 12)) {
            let mut previous = vec![Vec::new(); 12];
            for (b, list) in next.iter().enumerate() {
                list.iter().for_each(|&s| previous[s].push(b));
            }
            let f: Vec<&[usize]> = next.iter().map(|v| &v[..]).collect();
            let p: Vec<&[usize]> = previous.iter().map(|v| &v[..]).collect();
            let idom = dominators(&f, &p, 0);
            for b in 0..12 {
                let reachable = reaches(&next, 0, 99, b);
                prop_assert_eq!(idom[b] != NO_BLOCK, reachable);
                if !reachable || b == 0 {
                    continue;
                }
                let strict: Vec<usize> = (0..12).filter(|&d| d != b && reaches(&next, 0, 99, d) && !reaches(&next, 0, d, b)).collect();
                // The immediate one is dominated by all others.
                prop_assert!(strict.contains(&idom[b]));
                prop_assert!(strict.iter().all(|&d| d == idom[b] || !reaches(&next, 0, d, idom[b])));
            }
        }
    }
}
