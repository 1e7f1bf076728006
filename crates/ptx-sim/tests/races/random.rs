//! Random programs: every thread takes the same steps, of which each concerns some. A checker that keeps, for every thread,
//! the plain set of accesses that happen before it decides which programs race; the simulator must agree.
//!
//! Flags are set once and awaited later, so that what happens before what does not depend on the schedule.

use super::rig::{Shape, kernel, launch, next};
use ptx_sim::ErrorKind;
use std::fmt::Write;

const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];

/// How a location is accessed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Load,
    Store,
    /// With a scope.
    Atomic(usize),
    StrongLoad(usize),
    StrongStore(usize),
}

#[derive(Clone, Debug)]
enum Step {
    /// Lanes of a mask of one warp of the grid access words (or bytes) of array 0 (global), or 1 (shared): word
    /// `spread * lane + at`.
    Access {
        warp: u32,
        lanes: u32,
        array: u32,
        at: u32,
        spread: u32,
        bytes: u32,
        way: Way,
    },
    Barrier,
    /// A named barrier of warps 0 and 1 of each block.
    Named,
    /// All lanes, or each half of the warps.
    WarpSync {
        halves: bool,
    },
    /// A fence of lanes of a warp.
    Fence {
        warp: u32,
        lanes: u32,
        scope: usize,
    },
    /// A thread sets the flag of this number: by a release or a relaxed store.
    Set {
        thread: u32,
        flag: u32,
        release: bool,
        scope: usize,
    },
    /// A thread waits for a flag: by acquires or relaxed loads.
    Wait {
        thread: u32,
        flag: u32,
        acquire: bool,
        scope: usize,
    },
    Cluster {
        relaxed: bool,
    },
}

fn program(state: &mut u64, s: Shape) -> Vec<Step> {
    let mut pick = |n: u64| next(state) % n;
    let warps = (s.threads / 32) as u64;
    let total = warps * s.blocks as u64;
    let mut steps: Vec<Step> = Vec::new();
    let mut flags: Vec<u32> = Vec::new();
    for _ in 0..4 + pick(9) {
        let warp = pick(total) as u32;
        let lanes: u32 = [!0, 1 << pick(32), 0xffff << (16 * pick(2)), 3 << pick(31)][pick(4) as usize];
        let scope = [3, 2, 2, 2, 1, 0][pick(6) as usize];
        let thread = 32 * warp + pick(3) as u32;
        steps.push(match pick(16) {
            0..6 => {
                let way = match pick(12) {
                    0..5 => Way::Load,
                    5..8 => Way::Store,
                    8..10 => Way::Atomic(scope),
                    10 => Way::StrongLoad(scope),
                    _ => Way::StrongStore(scope),
                };
                let bytes = if matches!(way, Way::Load | Way::Store) && pick(5) == 0 { 1 } else { 4 };
                let lanes = if way == Way::Store && pick(2) == 0 { 1 << pick(3) } else { lanes };
                let spread = if way == Way::Store && lanes.count_ones() > 1 { 1 } else { pick(2) as u32 };
                Step::Access { warp, lanes, array: pick(2) as u32, at: pick(2) as u32, spread, bytes, way }
            }
            6..9 => Step::Barrier,
            9 if warps > 2 => Step::Named,
            9 | 10 => Step::WarpSync { halves: pick(3) == 0 },
            11 => Step::Fence { warp, lanes, scope },
            12 | 13 => {
                flags.push(flags.len() as u32);
                Step::Set { thread, flag: flags.len() as u32 - 1, release: pick(3) > 0, scope }
            }
            14 if !flags.is_empty() => Step::Wait {
                thread,
                flag: flags[pick(flags.len() as u64) as usize],
                acquire: pick(3) > 0,
                scope,
            },
            14 => Step::Barrier,
            _ => Step::Cluster { relaxed: pick(4) == 0 },
        });
    }
    // Flags that nobody awaits teach little.
    if let Some(&flag) = flags.last() {
        let (thread, scope) = (32 * pick(total) as u32, 2 + pick(2) as usize);
        steps.push(Step::Wait { thread, flag, acquire: true, scope });
        let (warp, at) = (thread / 32, pick(2) as u32);
        steps.push(Step::Access { warp, lanes: 1, array: 0, at, spread: 1, bytes: 4, way: Way::Load });
    }
    steps
}

fn ptx(steps: &[Step]) -> String {
    let mut out = String::from(
        "shr.u32 %r10, %r0, 5; mov.u32 %r11, 0xffff; setp.gt.u32 %p4, %r3, 15; @%p4 mov.u32 %r11, 0xffff0000; mov.u32 %r12, a; shl.b32 %r13, 1, %r3;\n",
    );
    let lanes = |warp: u32, lanes: u32| {
        format!(
            "and.b32 %r14, %r13, {lanes}; setp.ne.u32 %p5, %r14, 0; setp.eq.and.u32 %p5, %r10, {warp}, %p5; "
        )
    };
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Access { warp, lanes: mask, array, at, spread, bytes, way } => {
                let (space, address) = match array {
                    0 => ("global", "cvt.u64.u32 %d8, %r15; add.u64 %d8, %d0, %d8; ".to_string()),
                    _ => ("shared", "add.u32 %r16, %r12, %r15; cvt.u64.u32 %d8, %r16; ".to_string()),
                };
                let _ = write!(
                    out,
                    "{}mul.lo.u32 %r15, %r3, {spread}; add.u32 %r15, %r15, {at}; ",
                    lanes(*warp, *mask)
                );
                let _ = write!(out, "shl.b32 %r15, %r15, 2; {address}");
                let ty = if *bytes == 1 { "u8" } else { "u32" };
                let _ = match way {
                    Way::Load => write!(out, "@%p5 ld.{space}.{ty} %r17, [%d8];"),
                    Way::Store => write!(out, "@%p5 st.{space}.{ty} [%d8], %r0;"),
                    Way::Atomic(s) => {
                        write!(out, "@%p5 red.relaxed.{}.{space}.add.u32 [%d8], 1;", SCOPES[*s])
                    }
                    Way::StrongLoad(s) => {
                        write!(out, "@%p5 ld.relaxed.{}.{space}.u32 %r17, [%d8];", SCOPES[*s])
                    }
                    Way::StrongStore(s) => {
                        write!(out, "@%p5 st.relaxed.{}.{space}.u32 [%d8], %r0;", SCOPES[*s])
                    }
                };
            }
            Step::Barrier => out += "bar.sync 0;",
            Step::Named => {
                let _ = write!(out, "setp.lt.u32 %p6, %r4, 2; @!%p6 bra N{n}; bar.sync 5, 64; N{n}:");
            }
            Step::WarpSync { halves: true } => out += "bar.warp.sync %r11;",
            Step::WarpSync { halves: false } => out += "bar.warp.sync -1;",
            Step::Fence { warp, lanes: mask, scope } => {
                let _ = write!(out, "{}@%p5 fence.acq_rel.{};", lanes(*warp, *mask), SCOPES[*scope]);
            }
            Step::Set { thread, flag, release, scope } => {
                let how = if *release { "release" } else { "relaxed" };
                let _ = write!(
                    out,
                    "setp.eq.u32 %p5, %r0, {thread}; @%p5 st.{how}.{}.global.u32 [%d0+{}], 1;",
                    SCOPES[*scope],
                    2048 + 4 * flag
                );
            }
            Step::Wait { thread, flag, acquire, scope } => {
                let how = if *acquire { "acquire" } else { "relaxed" };
                let _ = write!(
                    out,
                    "setp.eq.u32 %p5, %r0, {thread}; @!%p5 bra S{n}; W{n}: ld.{how}.{}.global.u32 %r18, [%d0+{}]; setp.eq.u32 %p6, %r18, 0; @%p6 bra W{n}; S{n}:",
                    SCOPES[*scope],
                    2048 + 4 * flag
                );
            }
            Step::Cluster { relaxed } => {
                let how = if *relaxed { ".relaxed" } else { "" };
                let _ = write!(out, "barrier.cluster.arrive{how}; barrier.cluster.wait;");
            }
        }
        out.push('\n');
    }
    out
}

/// Accesses, one bit each.
type Bits = Vec<u64>;

fn add(to: &mut Bits, from: &Bits) {
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    to.iter_mut().zip(from).for_each(|(a, b)| *a |= b);
}

/// One thread's access.
struct Access {
    thread: u32,
    /// 0 for global memory, 1 + the block for its shared memory; bytes.
    space: u32,
    from: u32,
    to: u32,
    way: Way,
}

/// What a thread knows, and what it could publish or acquire through a fence.
#[derive(Clone, Default)]
struct Thread {
    knows: Bits,
    fences: Vec<(usize, Bits)>,
    pending: Vec<(usize, usize)>,
}

/// Runs the steps in order, and looks at every pair of accesses.
struct Checker {
    s: Shape,
    threads: Vec<Thread>,
    accesses: Vec<Access>,
    /// Per flag: block, scope and knowledge of each thing published.
    flags: Vec<Vec<(u32, usize, Bits)>>,
    race: bool,
}

impl Checker {
    fn block(&self, thread: u32) -> u32 {
        thread / self.s.threads
    }

    fn reaches(&self, scope: usize, a: u32, b: u32) -> bool {
        a == b || scope >= 2 || (scope == 1 && a / self.s.cluster == b / self.s.cluster)
    }

    /// All of one step act at once: none of them knows of the others' accesses.
    fn touch(&mut self, list: Vec<Access>) {
        let first = self.accesses.len();
        for a in list {
            let strong = |w: Way| match w {
                Way::Load | Way::Store => None,
                Way::Atomic(s) | Way::StrongLoad(s) | Way::StrongStore(s) => Some(s),
            };
            let reads = |w: Way| matches!(w, Way::Load | Way::StrongLoad(_));
            let knows = &self.threads[a.thread as usize].knows;
            for (i, b) in self.accesses.iter().enumerate() {
                let before = knows.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 != 0) && i < first;
                let meet = a.space == b.space && a.from < b.to && b.from < a.to;
                let (here, there) = (self.block(a.thread), self.block(b.thread));
                let both = match (strong(a.way), strong(b.way)) {
                    (Some(s), Some(t)) => self.reaches(s, here, there) && self.reaches(t, here, there),
                    _ => false,
                };
                self.race |=
                    meet && !before && a.thread != b.thread && !both && !(reads(a.way) && reads(b.way));
            }
            self.accesses.push(a);
        }
        for i in first..self.accesses.len() {
            let mut bit = vec![0; i / 64 + 1];
            bit[i / 64] = 1 << (i % 64);
            add(&mut self.threads[self.accesses[i].thread as usize].knows, &bit);
        }
    }

    fn meet(&mut self, group: &[u32]) {
        let mut all = Bits::new();
        group.iter().for_each(|&t| add(&mut all, &self.threads[t as usize].knows));
        group.iter().for_each(|&t| self.threads[t as usize].knows = all.clone());
    }

    /// What a flag tells a thread that acquires it with a scope.
    fn told(&self, flag: usize, scope: usize, thread: u32) -> Bits {
        let mut out = Bits::new();
        let me = self.block(thread);
        for (from, s, bits) in &self.flags[flag] {
            if self.reaches(*s, *from, me) && self.reaches(scope, *from, me) {
                add(&mut out, bits);
            }
        }
        out
    }

    fn step(&mut self, step: &Step) {
        let total = self.s.blocks * self.s.threads;
        let range = |from: u32, n: u32| (from..from + n).collect::<Vec<u32>>();
        match *step {
            Step::Access { warp, lanes, array, at, spread, bytes, way } => {
                let list = (0..32).filter(|l| lanes >> l & 1 != 0).map(|l| {
                    let (thread, from) = (32 * warp + l, 4 * (spread * l + at));
                    let space = if array == 0 { 0 } else { 1 + self.block(thread) };
                    Access { thread, space, from, to: from + bytes, way }
                });
                let list = list.collect();
                self.touch(list);
            }
            Step::Barrier => {
                for b in 0..self.s.blocks {
                    let group = range(b * self.s.threads, self.s.threads);
                    // Relaxed reads before a barrier and fences before it count for the whole block.
                    let mut fences = Vec::new();
                    for &t in &group {
                        for (flag, scope) in std::mem::take(&mut self.threads[t as usize].pending) {
                            let told = self.told(flag, scope, t);
                            add(&mut self.threads[t as usize].knows, &told);
                        }
                        for (scope, bits) in &self.threads[t as usize].fences {
                            match fences.iter_mut().find(|(s, _): &&mut (usize, Bits)| s == scope) {
                                Some((_, all)) => add(all, bits),
                                None => fences.push((*scope, bits.clone())),
                            }
                        }
                    }
                    for &t in &group {
                        self.threads[t as usize].fences = fences.clone();
                    }
                    self.meet(&group);
                }
            }
            Step::Named => (0..self.s.blocks).for_each(|b| self.meet(&range(b * self.s.threads, 64))),
            Step::WarpSync { halves } => {
                let n = if halves { 16 } else { 32 };
                (0..total / n).for_each(|k| self.meet(&range(k * n, n)));
            }
            Step::Fence { warp, lanes, scope } => {
                for t in (0..32).filter(|l| lanes >> l & 1 != 0).map(|l| 32 * warp + l) {
                    for (flag, s) in self.threads[t as usize].pending.clone() {
                        let told = self.told(flag, s.min(scope), t);
                        add(&mut self.threads[t as usize].knows, &told);
                    }
                    let knows = self.threads[t as usize].knows.clone();
                    self.threads[t as usize].fences.push((scope, knows));
                }
            }
            Step::Set { thread, flag, release, scope } => {
                let from = 2048 + 4 * flag;
                self.touch(vec![Access {
                    thread,
                    space: 0,
                    from,
                    to: from + 4,
                    way: Way::StrongStore(scope),
                }]);
                let t = &self.threads[thread as usize];
                let mut out: Vec<_> = t.fences.iter().map(|(s, b)| (*s.min(&scope), b.clone())).collect();
                if release {
                    out.push((scope, t.knows.clone()));
                }
                let block = self.block(thread);
                self.flags.resize(self.flags.len().max(flag as usize + 1), Vec::new());
                self.flags[flag as usize] = out.into_iter().map(|(s, b)| (block, s, b)).collect();
            }
            Step::Wait { thread, flag, acquire, scope } => {
                let from = 2048 + 4 * flag;
                self.touch(vec![Access {
                    thread,
                    space: 0,
                    from,
                    to: from + 4,
                    way: Way::StrongLoad(scope),
                }]);
                if acquire {
                    let told = self.told(flag as usize, scope, thread);
                    add(&mut self.threads[thread as usize].knows, &told);
                } else {
                    self.threads[thread as usize].pending.push((flag as usize, scope));
                }
            }
            Step::Cluster { relaxed: true } => {}
            Step::Cluster { relaxed: false } => {
                let n = self.s.cluster * self.s.threads;
                (0..total / n).for_each(|k| self.meet(&range(k * n, n)));
            }
        }
    }
}

fn verdict(steps: &[Step], s: Shape) -> bool {
    let threads = vec![Thread::default(); (s.blocks * s.threads) as usize];
    let mut c = Checker { s, threads, accesses: Vec::new(), flags: Vec::new(), race: false };
    steps.iter().for_each(|step| c.step(step));
    c.race
}

#[test]
fn random_programs_race_when_the_checker_says_so() {
    let (mut racy, mut clean) = (0, 0);
    let mut state = 0x5eed;
    for round in 0..3000 {
        let blocks = 1 + (next(&mut state) % 4) as u32;
        let threads = 32 * (1 + (next(&mut state) % 3) as u32);
        let cluster = if blocks.is_multiple_of(2) { 1 + (next(&mut state) % 2) as u32 } else { 1 };
        let s = Shape { blocks, threads, cluster };
        let steps = program(&mut state, s);
        let expected = verdict(&steps, s);
        racy += expected as u32;
        clean += !expected as u32;
        let body = ptx(&steps);
        // Shared memory is read before it is written: this is about races alone.
        let body = format!(
            "setp.lt.u32 %p7, %r1, 32; @%p7 st.shared.u32 [%r5], %r1; @%p7 st.shared.u32 [%r5+128], 0; bar.sync 0;\n{body}"
        );
        let module = kernel(&body);
        for seed in 0..2 {
            let found = launch(&module, s, seed ^ round << 8);
            let raced = match &found {
                Ok(()) => false,
                Err(e) if matches!(e.kind, ErrorKind::GlobalRace | ErrorKind::SharedRace) => true,
                Err(e) => panic!("round {round}: {e}\n{body}"),
            };
            assert_eq!(raced, expected, "round {round}, {s:?}: {found:?}\n{steps:#?}\n{body}");
        }
    }
    assert!(racy > 200 && clean > 200, "{racy} racy, {clean} clean");
}
