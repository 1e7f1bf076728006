//! The counters of a running launch, and how they become a [`Profile`].
//!
//! Execution reports each instruction with its lanes ([`Recorder::issue`]), then the accesses it makes. An instruction whose
//! lanes reach several allocations calls in several times but is one request.

use super::flops::Precision;
use super::pattern::{SECTOR, distinct, sectors, wavefronts};
use super::{Contention, LineProfile, LocalTraffic, Pipes, Profile, SharedTraffic, Traffic};
use crate::access::Kind;
use crate::arena::Offsets;
use crate::config::LaunchConfig;
use crate::isa::Op;
use crate::link::Program;
use crate::module::Inner;
use crate::stats::{Class, LaunchStats};
use std::collections::{BTreeMap, HashMap};

/// Counts of one dense instruction.
#[derive(Clone, Debug, Default, PartialEq)]
struct Count {
    executed: u64,
    /// Lanes of the group that came here, over all executions.
    arrived: u64,
    /// Those whose guard held.
    active: u64,
    divergent: u64,
    global: Traffic,
    shared: SharedTraffic,
    local: LocalTraffic,
    constant: u64,
    atomics: Contention,
}

impl Count {
    fn add(&mut self, o: &Count) {
        self.executed += o.executed;
        self.arrived += o.arrived;
        self.active += o.active;
        self.divergent += o.divergent;
        self.global.add(&o.global);
        self.shared.add(&o.shared);
        self.local.add(&o.local);
        self.constant += o.constant;
        self.atomics.add(&o.atomics);
    }
}

/// Sectors of one allocation that were loaded and stored, one bit each.
#[derive(Clone, Debug, Default, PartialEq)]
struct Touched {
    loaded: Vec<u64>,
    stored: Vec<u64>,
}

fn mark(bits: &mut Vec<u64>, i: usize) {
    if bits.len() <= i / 64 {
        bits.resize(i / 64 + 1, 0);
    }
    bits[i / 64] |= 1 << (i % 64);
}

fn unite(into: &mut Vec<u64>, from: &[u64]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    into.iter_mut().zip(from).for_each(|(a, b)| *a |= b);
}

fn ones(bits: &[u64]) -> u64 {
    bits.iter().map(|w| w.count_ones() as u64).sum()
}

#[derive(Clone, Copy)]
enum Place {
    Global,
    Shared,
    Local,
    Constant,
}

/// Counts of a launch under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recorder {
    /// By function and program counter.
    funcs: Vec<Vec<Count>>,
    at: (u32, u32),
    /// Number of the running instruction, and of the last one that made a request, per [`Place`].
    serial: u64,
    last: [u64; 4],
    /// By [`Kind`].
    global: [Traffic; 3],
    shared: [SharedTraffic; 3],
    local: [LocalTraffic; 3],
    /// By address of the allocation.
    touched: HashMap<u64, Touched>,
}

impl Recorder {
    /// An instruction is about to execute with these lanes; `arrived` counts those its guard switches off, too.
    #[inline]
    pub(crate) fn issue(&mut self, func: u32, pc: u32, arrived: u32, active: u32, extra: bool) {
        self.at = (func, pc);
        // Touches the slot, so that later calls find it.
        let c = self.count();
        if !extra {
            c.executed += 1;
            c.arrived += arrived.count_ones() as u64;
            c.active += active.count_ones() as u64;
            self.serial += 1;
        }
    }

    #[inline]
    fn count(&mut self) -> &mut Count {
        let (f, pc) = (self.at.0 as usize, self.at.1 as usize);
        if self.funcs.len() <= f {
            self.funcs.resize(f + 1, Vec::new());
        }
        let counts = &mut self.funcs[f];
        if counts.len() <= pc {
            counts.resize(pc + 1, Count::default());
        }
        &mut counts[pc]
    }

    /// 1 for the first access of the running instruction to this place, else 0.
    fn request(&mut self, place: Place) -> u64 {
        let last = &mut self.last[place as usize];
        let fresh = *last != self.serial;
        *last = self.serial;
        fresh as u64
    }

    /// The running branch sent its lanes to different places.
    pub(crate) fn diverged(&mut self) {
        self.count().divergent += 1;
    }

    fn contend(&mut self, offs: &Offsets, mask: u32, requests: u64) {
        let (addresses, worst) = distinct(offs, mask);
        let lanes = mask.count_ones() as u64;
        self.count().atomics.add(&Contention { requests, lanes, addresses, worst });
    }

    /// An access to the global allocation at `base`.
    pub(crate) fn global(&mut self, base: u64, offs: &Offsets, mask: u32, bytes: usize, kind: Kind) {
        let touched = self.touched.entry(base).or_default();
        let (sectors, ideal_sectors) = sectors(offs, mask, bytes, |s| {
            if kind != Kind::Write {
                mark(&mut touched.loaded, s);
            }
            if kind != Kind::Read {
                mark(&mut touched.stored, s);
            }
        });
        let requests = self.request(Place::Global);
        let bytes = mask.count_ones() as u64 * bytes as u64;
        let t = Traffic { requests, bytes, sectors, ideal_sectors };
        self.global[kind as usize].add(&t);
        self.count().global.add(&t);
        if kind.atomic() {
            self.contend(offs, mask, requests);
        }
    }

    /// A range that a bulk copy moves, of the global allocation at `base`.
    pub(crate) fn bulk(&mut self, base: u64, offset: usize, bytes: usize, kind: Kind) {
        let (first, last) = (offset / SECTOR, (offset + bytes.max(1) - 1) / SECTOR);
        let touched = self.touched.entry(base).or_default();
        for s in first..=last {
            if kind != Kind::Write {
                mark(&mut touched.loaded, s);
            }
            if kind != Kind::Read {
                mark(&mut touched.stored, s);
            }
        }
        let t = Traffic {
            requests: self.request(Place::Global),
            bytes: bytes as u64,
            sectors: (last - first + 1) as u64,
            ideal_sectors: bytes.div_ceil(SECTOR) as u64,
        };
        self.global[kind as usize].add(&t);
        self.count().global.add(&t);
    }

    /// The shared memory that a bulk copy reads or writes: 128 bytes a wavefront.
    pub(crate) fn bulk_shared(&mut self, bytes: u64, kind: Kind) {
        let wavefronts = bytes.div_ceil(128);
        let requests = self.request(Place::Shared);
        let t = SharedTraffic { requests, bytes, wavefronts, ideal_wavefronts: wavefronts };
        self.shared[kind as usize].add(&t);
        self.count().shared.add(&t);
    }

    /// A load of constant memory.
    pub(crate) fn constant(&mut self) {
        let n = self.request(Place::Constant);
        self.count().constant += n;
    }

    /// An access to shared memory.
    pub(crate) fn shared(&mut self, offs: &Offsets, mask: u32, bytes: usize, kind: Kind) {
        let (wavefronts, ideal_wavefronts) = wavefronts(offs, mask, bytes);
        let requests = self.request(Place::Shared);
        let bytes = mask.count_ones() as u64 * bytes as u64;
        let t = SharedTraffic { requests, bytes, wavefronts, ideal_wavefronts };
        self.shared[kind as usize].add(&t);
        self.count().shared.add(&t);
        if kind.atomic() {
            self.contend(offs, mask, requests);
        }
    }

    /// An access to local memory.
    pub(crate) fn local(&mut self, mask: u32, bytes: usize, kind: Kind) {
        let t = LocalTraffic {
            requests: self.request(Place::Local),
            bytes: mask.count_ones() as u64 * bytes as u64,
        };
        self.local[kind as usize].add(&t);
        self.count().local.add(&t);
    }

    /// Adds what another part of the same launch counted.
    pub(crate) fn merge(&mut self, o: &Recorder) {
        for (f, counts) in o.funcs.iter().enumerate() {
            for (pc, c) in counts.iter().enumerate().filter(|(_, c)| **c != Count::default()) {
                self.at = (f as u32, pc as u32);
                self.count().add(c);
            }
        }
        for k in 0..3 {
            self.global[k].add(&o.global[k]);
            self.shared[k].add(&o.shared[k]);
            self.local[k].add(&o.local[k]);
        }
        for (base, t) in &o.touched {
            let mine = self.touched.entry(*base).or_default();
            unite(&mut mine.loaded, &t.loaded);
            unite(&mut mine.stored, &t.stored);
        }
    }

    /// The profile of a finished launch.
    pub(crate) fn finish(
        self,
        module: &Inner,
        program: &Program,
        config: &LaunchConfig,
        stats: &LaunchStats,
    ) -> Profile {
        let mut p = Profile {
            kernel: module.funcs[program.entry as usize].name.clone(),
            grid: config.grid,
            block: config.block,
            cluster: config.cluster,
            shared_bytes: u32::try_from(program.shared_bytes(config.shared_bytes)).unwrap_or(u32::MAX),
            ..Profile::default()
        };
        p.adopt(stats);
        let [loads, stores, atomics] = self.global;
        (p.global.loads, p.global.stores, p.global.atomics) = (loads, stores, atomics);
        let [loads, stores, atomics] = self.shared;
        (p.shared.loads, p.shared.stores, p.shared.atomics) = (loads, stores, atomics);
        for t in self.local {
            p.local.add(&t);
        }
        for t in self.touched.values() {
            p.global.footprint_loads += ones(&t.loaded) * SECTOR as u64;
            p.global.footprint_stores += ones(&t.stored) * SECTOR as u64;
            let mut both = t.loaded.clone();
            unite(&mut both, &t.stored);
            p.global.footprint += ones(&both) * SECTOR as u64;
        }
        p.pipes.memory = p.global.total().requests + p.shared.total().requests + p.local.requests;
        let mut lines: BTreeMap<u32, LineProfile> = BTreeMap::new();
        for (f, counts) in self.funcs.iter().enumerate() {
            let Some(func) = program.funcs.get(f).and_then(|l| l.as_ref()).map(|l| &l.func) else { continue };
            for (pc, c) in counts.iter().enumerate().filter(|(_, c)| **c != Count::default()) {
                let (inst, (line, file, row)) = (&func.code[pc], func.lines[pc]);
                p.arrived_lanes += c.arrived;
                p.pipes.count(inst.class, inst.flops, c.executed);
                let operations = if inst.extra { 0 } else { c.active * inst.flops.operations() };
                match inst.flops.precision() {
                    Precision::Half => p.flops.half += operations,
                    Precision::Single => p.flops.single += operations,
                    Precision::Double => p.flops.double += operations,
                }
                if matches!(inst.op, Op::Branch(_) | Op::BranchIndexed(..)) {
                    p.branches.executed += c.executed;
                    p.branches.divergent += c.divergent;
                }
                p.constant_requests += c.constant;
                p.atomics.add(&c.atomics);
                let l = lines.entry(line).or_insert_with(|| LineProfile {
                    line,
                    text: module.line_text(line),
                    function: func.name.clone(),
                    source: module.files.get(&file).filter(|_| row > 0).map(|n| (n.clone(), row)),
                    ..LineProfile::default()
                });
                l.warp_instructions += c.executed;
                l.arrived_lanes += c.arrived;
                l.lane_instructions += c.active;
                l.divergent_branches += c.divergent;
                l.flops += operations;
                l.global.add(&c.global);
                l.shared.add(&c.shared);
                l.local.add(&c.local);
                l.atomics.add(&c.atomics);
            }
        }
        p.lines = lines.into_values().collect();
        p
    }
}

impl Pipes {
    /// Sorts so many executions of an instruction to the unit that runs it.
    fn count(&mut self, class: Class, flops: super::flops::Flops, executed: u64) {
        match class {
            Class::Integer => self.integer += executed,
            Class::Float if flops.results() > 0 && flops.precision() == Precision::Half => {
                self.half += executed * flops.results();
            }
            Class::Float => self.single += executed * flops.results().max(1),
            Class::Double => self.double += executed,
            Class::Special => self.special += executed,
            Class::Convert => self.convert += executed,
            _ => {}
        }
    }
}
