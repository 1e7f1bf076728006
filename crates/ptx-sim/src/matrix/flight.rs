//! What the registers of a warp have to do with `wgmma` under way: which will receive a result, which are factors being
//! read, which were written since the last `wgmma.fence`.
//!
//! Only registers that some `wgmma` of the function names (or that plain moves connect with those) are looked at: the
//! decoder lists for each instruction what it does to them ([`Touch`]). Moves pass the state on instead of counting as a
//! use, since compilers leave such moves to the assembler to remove.

use crate::isa::NONE;

/// What an instruction does to a 32-bit register that matters to `wgmma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read(u32),
    Write(u32),
    /// A plain move.
    Copy {
        to: u32,
        from: u32,
    },
}

/// A use of a register against the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hazard {
    /// Number of the `wgmma` in the warpgroup.
    pub operation: u64,
    /// Register of its D (or of its A) concerned.
    pub register: u16,
    /// It is a factor, not an accumulator.
    pub factor: bool,
    pub written: bool,
}

/// State of one register. Operations are numbered from 1 here; 0 stands for none.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Written since the last fence.
    dirty: bool,
    /// The operation whose result it is to receive, and which of its registers it is.
    result: u64,
    index: u16,
    /// The last operation that reads it as a part of A, and which register of A it is.
    factor: u64,
    factor_index: u16,
}

/// The registers of one warp.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The frame that executed `wgmma.fence`; `NONE` before the first.
    pub frame: u32,
    registers: Vec<State>,
    /// Operations in flight.
    pub pending: u32,
}

impl Default for Flight {
    fn default() -> Self {
        Flight { frame: NONE, registers: Vec::new(), pending: 0 }
    }
}

/// What stands in the accumulator registers that a new operation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accumulator {
    /// Values.
    Ready,
    /// The result, still to come, of that operation.
    Chained(u64),
    Broken(Hazard),
}

impl Flight {
    pub(crate) fn reset(&mut self) {
        self.frame = NONE;
        self.pending = 0;
        self.registers.clear();
    }

    /// `wgmma.fence`, by a frame of so many registers.
    pub(crate) fn fence(&mut self, frame: u32, registers: usize) {
        if self.frame != frame {
            self.registers.clear();
            self.frame = frame;
        }
        self.registers.resize(registers, State::default());
        self.registers.iter_mut().for_each(|s| s.dirty = false);
    }

    /// An instruction other than `wgmma` uses registers. The state follows whatever the answer.
    pub(crate) fn touch(&mut self, list: &[Touch]) -> Result<(), Hazard> {
        let mut found = Ok(());
        let mut note = |s: &State, written: bool, moved: bool| {
            if found.is_ok() && s.result != 0 {
                found = Err(Hazard { operation: s.result - 1, register: s.index, factor: false, written });
            } else if found.is_ok() && s.factor != 0 && !moved {
                found =
                    Err(Hazard { operation: s.factor - 1, register: s.factor_index, factor: true, written });
            }
        };
        for t in list {
            match *t {
                Touch::Read(r) => note(&self.registers[r as usize], false, false),
                Touch::Write(r) => {
                    let s = &mut self.registers[r as usize];
                    note(s, true, false);
                    s.dirty = true;
                }
                Touch::Copy { to, from } => {
                    let from = self.registers[from as usize];
                    let to = &mut self.registers[to as usize];
                    // A result to come may replace an older one to come.
                    let overwritten = if from.result != 0 { State { result: 0, ..*to } } else { *to };
                    note(&overwritten, true, false);
                    *to = State { factor: to.factor, factor_index: to.factor_index, ..from };
                }
            }
        }
        found
    }

    /// What the accumulator `regs` hold.
    pub(crate) fn accumulator(&self, regs: &[u32]) -> Accumulator {
        let at = |i: usize| self.registers.get(regs[i] as usize).copied().unwrap_or_default();
        let first = at(0).result;
        for i in 0..regs.len() {
            let s = at(i);
            if s.factor != 0 {
                let (operation, register) = (s.factor - 1, s.factor_index);
                return Accumulator::Broken(Hazard { operation, register, factor: true, written: true });
            }
            if s.result != first || (first != 0 && s.index as usize != i) {
                let operation = s.result.max(first) - 1;
                return Accumulator::Broken(Hazard {
                    operation,
                    register: s.index,
                    factor: false,
                    written: true,
                });
            }
        }
        if first == 0 { Accumulator::Ready } else { Accumulator::Chained(first - 1) }
    }

    /// The first register of A that is still to receive a result.
    pub(crate) fn factor(&self, regs: &[u32]) -> Option<Hazard> {
        let s = regs.iter().filter_map(|&r| self.registers.get(r as usize)).find(|s| s.result != 0)?;
        Some(Hazard { operation: s.result - 1, register: s.index, factor: false, written: false })
    }

    /// The first of `regs` written since the last fence.
    pub(crate) fn unfenced(&self, regs: &[u32]) -> Option<usize> {
        regs.iter().position(|&r| self.registers.get(r as usize).is_some_and(|s| s.dirty && s.result == 0))
    }

    /// Operation `number` is issued by this frame.
    pub(crate) fn issue(&mut self, frame: u32, registers: usize, number: u64, d: &[u32], a: &[u32]) {
        if self.frame != frame {
            self.fence(frame, registers);
        }
        self.pending += 1;
        for (i, &r) in d.iter().enumerate() {
            let s = &mut self.registers[r as usize];
            (s.result, s.index, s.dirty) = (number + 1, i as u16, false);
        }
        for (i, &r) in a.iter().enumerate() {
            let s = &mut self.registers[r as usize];
            (s.factor, s.factor_index) = (number + 1, i as u16);
        }
    }

    /// Operation `number` has landed: the registers that receive its result, each with its place in D.
    pub(crate) fn land(&mut self, number: u64) -> Vec<(u32, usize)> {
        self.pending -= 1;
        let mut out = Vec::new();
        for (r, s) in self.registers.iter_mut().enumerate() {
            if s.factor == number + 1 {
                s.factor = 0;
            }
            if s.result == number + 1 {
                s.result = 0;
                out.push((r as u32, s.index as usize));
            }
        }
        out
    }
}
