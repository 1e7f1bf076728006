//! What happens when the threads of a block have all exited while others may still use its shared memory, and which other blocks
//! may run in between.

use super::know::bits;
use super::table::Record;
use super::touch::home;
use super::{FIRST_STREAM, Place, Races};
use crate::error::Other;
use std::collections::HashSet;

impl Races {
    /// An access by others to the shared memory of a block that nobody in the block has waited for, although all its threads
    /// have exited: on another day the memory would have been gone. Its offset, too.
    pub(crate) fn left_behind(&mut self, block: u32) -> Option<(Other, usize)> {
        let place = Place::Shared(block);
        if !self.enabled || self.overflow || !self.shadow.place(place).mixed {
            return None;
        }
        let resident = &self.blocks[block as usize];
        let waited = |r: &Record, theirs: u32| {
            (0..self.warps).any(|w| {
                let view = resident.view(w);
                (0..32).any(|lane| view.exact(r, theirs, 1 << lane))
            })
        };
        let mut judged = HashSet::new();
        for (byte, state) in self.shadow.states(place) {
            for &m in self.table.members(&state) {
                let r = self.table.record(m);
                let from = home(r.agent, self.warps, &self.stream_homes);
                let theirs = r.touched(m, byte);
                if from == resident.linear || !judged.insert((m >> 5, theirs)) || waited(r, theirs) {
                    continue;
                }
                let thread = |l| 32 * (r.agent % self.warps.max(1)) + l;
                let thread = bits(theirs).next().filter(|_| r.agent < FIRST_STREAM).map(thread);
                return Some((Other { line: r.line, block: self.shape.index(from), thread }, byte));
            }
        }
        None
    }

    /// A warp did something that other blocks may see or wait for: whether these should have a turn now. Blocks that would
    /// otherwise run one after the other so meet where programs expect them to, at locks and flags.
    pub(crate) fn pause(&mut self) -> bool {
        self.paused = self.enabled && self.shape.shared_grid();
        self.paused
    }

    /// Whether somebody paused since the last call.
    pub(crate) fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }
}
