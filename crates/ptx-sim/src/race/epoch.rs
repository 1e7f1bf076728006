//! Races in shared memory: two accesses of different threads to one byte, at least one of them a write and not both
//! atomic, with no block barrier in between.
//!
//! Time is cut into epochs by block barriers. Per byte the detector keeps the last writer and the last reader of the
//! current epoch; "several readers" is one state. Lanes of one warp that meet in one instruction are unordered, too: lanes
//! that store to one place together race unless they store through atomics. A warp-level sync (`bar.warp.sync`,
//! `shfl.sync`, ...) orders the lanes of its own warp: epochs have a second part per warp.

use crate::ErrorKind;
use crate::access::Kind;
use crate::arena::Offsets;
use crate::error::{Fault, Step};

const NOBODY: u32 = u32::MAX;
const MANY: u32 = u32::MAX - 1;
/// Flag of a reader: several lanes of the warp in the low bits.
const WARP: u32 = 1 << 30;

/// State of one byte.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Block epoch of the fields below.
    epoch: u32,
    writer: u32,
    reader: u32,
    /// Warp epochs at the write and at the read.
    write_step: u32,
    read_step: u32,
    write_line: u32,
    read_line: u32,
    atomic: bool,
}

const EMPTY: Cell = Cell {
    epoch: 0,
    writer: NOBODY,
    reader: NOBODY,
    write_step: 0,
    read_step: 0,
    write_line: 0,
    read_line: 0,
    atomic: false,
};

/// The detector of one block. Words that are only accessed whole need one cell; the first access to a part of a word
/// splits it into four.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    words: Vec<Cell>,
    /// Epoch in which a word was split.
    split: Vec<u32>,
    bytes: Vec<Cell>,
    size: usize,
    epoch: u32,
    /// Per warp: how many warp-level syncs it has passed.
    steps: Vec<u32>,
}

/// One lane's access.
#[derive(Clone, Copy)]
struct Access {
    me: u32,
    kind: Kind,
    step: u32,
    epoch: u32,
    line: u32,
}

impl Cell {
    /// Records an access; who it races with otherwise, where, and whether that one wrote.
    #[inline(always)]
    fn touch(&mut self, a: Access) -> Result<(), (u32, u32, bool)> {
        if self.epoch != a.epoch {
            *self = Cell { epoch: a.epoch, ..EMPTY };
        }
        let warp = a.me / 32;
        // Unordered: another thread, and not an earlier warp step of my own warp.
        let unordered = |who: u32, at: u32| match who {
            NOBODY => false,
            MANY => true,
            w if w & WARP != 0 => w & !WARP != warp || at == a.step,
            w => w != a.me && (w / 32 != warp || at == a.step),
        };
        if unordered(self.writer, self.write_step) && !(self.atomic && a.kind == Kind::Atomic) {
            return Err((self.writer, self.write_line, true));
        }
        if a.kind == Kind::Read {
            self.reader = match self.reader {
                NOBODY => a.me,
                MANY => MANY,
                r if r == a.me => a.me,
                r if r & WARP != 0 && r & !WARP == warp => r,
                r if r & WARP == 0 && r / 32 == warp => WARP | warp,
                _ => MANY,
            };
            self.read_step = a.step;
            self.read_line = a.line;
        } else {
            if unordered(self.reader, self.read_step) {
                return Err((self.reader, self.read_line, false));
            }
            self.atomic = a.kind == Kind::Atomic;
            self.writer = a.me;
            self.write_step = a.step;
            self.write_line = a.line;
        }
        Ok(())
    }
}

impl Epochs {
    /// A new block with `size` bytes of shared memory.
    pub(super) fn reset(&mut self, size: usize) {
        self.size = size;
        // Old cells expire by their epoch, they need no clearing.
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.words.clear();
            self.bytes.clear();
            self.split.clear();
            self.epoch = 1;
        }
    }

    /// A barrier of the whole block completed.
    pub(super) fn barrier(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Lanes of a warp synchronised.
    pub(super) fn warp_sync(&mut self, warp: usize) {
        if self.steps.len() <= warp {
            self.steps.resize(warp + 1, 0);
        }
        self.steps[warp] = self.steps[warp].wrapping_add(1);
    }

    pub(super) fn access(
        &mut self,
        offs: &Offsets,
        mask: u32,
        bytes: usize,
        kind: Kind,
        thread0: u32,
        line: u32,
    ) -> Step {
        let words = self.size.div_ceil(4);
        if self.words.len() < words {
            self.words.resize(words, EMPTY);
            self.split.resize(words, 0);
        }
        let step = self.steps.get(thread0 as usize / 32).copied().unwrap_or(0);
        let epoch = self.epoch;
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            let a = Access { me: thread0 + l as u32, kind, step, epoch, line };
            let (first, last) = (offs[l] / 4, (offs[l] + bytes - 1) / 4);
            for w in first..=last {
                let from = offs[l].max(4 * w);
                let to = (offs[l] + bytes).min(4 * w + 4);
                let clash = if to - from == 4 && self.split[w] != epoch {
                    self.words[w].touch(a)
                } else {
                    self.part(w, from, to, a)
                };
                if let Err((who, at, wrote)) = clash {
                    let verb = if wrote { "written" } else { "read" };
                    let who = if who >= WARP { "several threads".into() } else { format!("thread {who}") };
                    let mine = if kind == Kind::Read { "reads" } else { "writes" };
                    return Err(Fault::lane(
                        ErrorKind::SharedRace,
                        l as u32,
                        offs[l] as u64,
                        format!(
                            "thread {} {mine} what {who} has {verb} (PTX line {at}) with no barrier in between",
                            a.me
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// An access to bytes `from..to` of word `w`, byte by byte.
    #[cold]
    fn part(&mut self, w: usize, from: usize, to: usize, a: Access) -> Result<(), (u32, u32, bool)> {
        if self.bytes.len() < 4 * self.words.len() {
            self.bytes.resize(4 * self.words.len(), EMPTY);
        }
        if self.split[w] != a.epoch {
            self.split[w] = a.epoch;
            self.bytes[4 * w..4 * w + 4].fill(self.words[w]);
        }
        self.bytes[from..to].iter_mut().try_for_each(|c| c.touch(a))
    }
}
