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

/// The detector of one block.
#[derive(Debug, Default)]
pub(crate) struct Races {
    cells: Vec<Cell>,
    size: usize,
    epoch: u32,
    /// Per warp: how many warp-level syncs it has passed.
    steps: Vec<u32>,
}

impl Races {
    /// A new block with `size` bytes of shared memory.
    pub(crate) fn reset(&mut self, size: usize) {
        self.size = size;
        // Old cells expire by their epoch, they need no clearing.
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.cells.clear();
            self.epoch = 1;
        }
    }

    /// A barrier of the whole block completed.
    pub(crate) fn barrier(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Lanes of a warp synchronised.
    pub(crate) fn warp_sync(&mut self, warp: usize) {
        if self.steps.len() <= warp {
            self.steps.resize(warp + 1, 0);
        }
        self.steps[warp] = self.steps[warp].wrapping_add(1);
    }

    pub(crate) fn access(&mut self, offs: &Offsets, mask: u32, bytes: usize, kind: Kind, thread0: u32, line: u32) -> Step {
        if self.cells.len() < self.size {
            self.cells.resize(self.size, EMPTY);
        }
        let step = self.steps.get(thread0 as usize / 32).copied().unwrap_or(0);
        let epoch = self.epoch;
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            let me = thread0 + l as u32;
            for cell in &mut self.cells[offs[l]..offs[l] + bytes] {
                if cell.epoch != epoch {
                    *cell = Cell { epoch, ..EMPTY };
                }
                // Unordered: another thread, and not an earlier warp step of my own warp.
                let warp = me / 32;
                let unordered = |who: u32, at: u32| match who {
                    NOBODY => false,
                    MANY => true,
                    w if w & WARP != 0 => w & !WARP != warp || at == step,
                    w => w != me && (w / 32 != warp || at == step),
                };
                let write_clash = unordered(cell.writer, cell.write_step) && !(cell.atomic && kind == Kind::Atomic);
                let read_clash = kind != Kind::Read && unordered(cell.reader, cell.read_step);
                if write_clash || read_clash {
                    let (who, at, verb) = if write_clash {
                        (cell.writer, cell.write_line, "written")
                    } else {
                        (cell.reader, cell.read_line, "read")
                    };
                    let who = if who >= WARP { "several threads".into() } else { format!("thread {who}") };
                    let mine = if kind == Kind::Read { "reads" } else { "writes" };
                    return Err(Fault::lane(
                        ErrorKind::SharedRace,
                        l as u32,
                        offs[l] as u64,
                        format!("thread {me} {mine} what {who} has {verb} (PTX line {at}) with no barrier in between"),
                    ));
                }
                if kind == Kind::Read {
                    cell.reader = match cell.reader {
                        NOBODY => me,
                        MANY => MANY,
                        r if r == me => me,
                        r if r & WARP != 0 && r & !WARP == warp => r,
                        r if r & WARP == 0 && r / 32 == warp => WARP | warp,
                        _ => MANY,
                    };
                    cell.read_step = step;
                    cell.read_line = line;
                } else {
                    cell.atomic = kind == Kind::Atomic;
                    cell.writer = me;
                    cell.write_step = step;
                    cell.write_line = line;
                }
            }
        }
        Ok(())
    }
}
