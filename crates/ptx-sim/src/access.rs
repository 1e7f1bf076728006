//! Every device access to memory, in every space, goes through [`Memory::part`]: alignment, bounds, lifetime and
//! initialisation are checked here, counts kept here, and a race detector needs no other place to stand.

use crate::ErrorKind;
use crate::arena::{Arena, Offsets, contiguous};
use crate::error::{Fault, Step};
use crate::isa::{LOCAL_BASE, Mem, NONE, Order, PARAM_BASE, RANK_SHIFT, SHARED_BASE, Space, WIDE, WINDOW};
use crate::lanes::{Lane, Regs, put};
use crate::ledger::Ledger;
use crate::memory::Global;
use crate::race::{Actor, Place, Races};
use crate::sim::Checks;
use crate::stats::LaunchStats;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Atomic,
}

/// A shared variable in place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub name: String,
    pub start: u64,
    pub end: u64,
}

/// Shared memory of one block.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub arena: Arena,
    pub vars: Vec<Placed>,
    /// The race detector's number of the block.
    pub block: u32,
    /// All threads of the block have exited: its memory is gone for the rest of the cluster.
    pub exited: bool,
    /// Mbarriers, copies in flight, proxies.
    pub watch: crate::async_ops::watch::Watch,
    last: usize,
}

impl Shared {
    /// Bytes of host memory for so many bytes of shared memory, at most: with initialisation bits and a detector's cells.
    pub(crate) fn footprint(total: usize) -> u64 {
        9 * total as u64 + total as u64 / 8
    }

    /// A fresh block: nothing initialised. Bytes between variables count as initialised, they cannot be reached.
    pub(crate) fn reset(&mut self, vars: &[Placed], total: usize) {
        self.arena.bytes.clear();
        self.arena.bytes.resize(total, crate::memory::POISON);
        self.arena.init = crate::arena::InitBits::full();
        for v in vars.iter().filter(|v| v.end > v.start) {
            self.arena.init.unset(v.start as usize, (v.end - v.start) as usize, total);
        }
        self.vars = vars.to_vec();
        self.last = 0;
        self.exited = false;
        self.watch.reset(total);
    }

    pub(crate) fn describe(&self, addr: u64) -> String {
        let nearest = self.vars.iter().min_by_key(|v| {
            if addr < v.start { v.start - addr } else { addr.saturating_sub(v.end.saturating_sub(1)) }
        });
        match nearest {
            None => "the kernel has no shared memory".into(),
            Some(v) if addr < v.start => {
                format!("{} bytes before shared `{}` of {} bytes", v.start - addr, v.name, v.end - v.start)
            }
            Some(v) if addr >= v.end => {
                format!(
                    "{} bytes past the end of shared `{}` of {} bytes",
                    addr - v.end,
                    v.name,
                    v.end - v.start
                )
            }
            Some(v) => {
                format!("{} bytes into shared `{}` of {} bytes", addr - v.start, v.name, v.end - v.start)
            }
        }
    }
}

/// Local memory of a warp: lane `l` owns bytes `l * stride ..`.
#[derive(Debug, Default)]
pub(crate) struct Local {
    pub arena: Arena,
    pub stride: usize,
}

/// Local addresses start here, so that 0 is no address.
pub(crate) const LOCAL_FIRST: u32 = 64;
/// Most local memory of a thread.
const LOCAL_LIMIT: usize = 512 * 1024;

impl Local {
    /// Makes room for frames up to `top` and marks `base..top` of the lanes as unwritten.
    pub(crate) fn enter(&mut self, base: u32, top: u32, lanes: u32, ledger: &Ledger) -> Step {
        let top = top as usize;
        if top > LOCAL_LIMIT {
            return Err(Fault::new(
                ErrorKind::StackOverflow,
                format!("the call stack needs {top} bytes of local memory, the limit is {LOCAL_LIMIT}"),
            ));
        }
        if top == base as usize {
            return Ok(());
        }
        if top > self.stride {
            let stride = (2 * top).next_power_of_two().min(LOCAL_LIMIT.next_power_of_two());
            ledger.grow(36 * (stride - self.stride) as u64)?;
            let mut arena = Arena::new(32 * stride);
            for l in 0..32 {
                let (from, to) = (l * self.stride, l * stride);
                arena.bytes[to..to + self.stride]
                    .copy_from_slice(&self.arena.bytes[from..from + self.stride]);
                for i in 0..self.stride {
                    if self.arena.init.test(from + i, 1) {
                        arena.init.set(to + i, 1);
                    }
                }
            }
            *self = Local { arena, stride };
        }
        let len = self.arena.bytes.len();
        for l in (0..32).filter(|l| lanes >> l & 1 != 0) {
            let at = l * self.stride + base as usize;
            self.arena.init.unset(at, top - base as usize, len);
        }
        Ok(())
    }
}

/// Everything an instruction of a running warp can reach.
pub(crate) struct Memory<'a> {
    pub global: &'a mut Global,
    /// Of every block of the cluster, by rank.
    pub shared: &'a mut [Shared],
    /// Rank of the running block in its cluster.
    pub rank: usize,
    pub local: &'a mut Local,
    pub params: &'a [u8],
    pub checks: &'a Checks,
    pub stats: &'a mut LaunchStats,
    pub ledger: &'a Ledger,
    /// End of the running frame's local memory.
    pub local_top: u64,
    pub races: &'a mut Races,
    /// Who accesses, how, and at which line, for the race detector.
    pub actor: Actor,
    pub order: Order,
    pub line: u32,
}

fn first(mask: u32) -> usize {
    mask.trailing_zeros() as usize & 31
}

impl Memory<'_> {
    /// Serves the first lanes of `mask` that share a space and an allocation: the arena they are in, their offsets, and
    /// which lanes. Callers loop until no lane is left. `None` in place of an arena means "ignore this access".
    pub(crate) fn part(
        &mut self,
        space: Space,
        addrs: &[u64; 32],
        mask: u32,
        bytes: u32,
        align: u32,
        kind: Kind,
    ) -> Step<(Option<&mut Arena>, Offsets, u32)> {
        let mut low = 0;
        for (l, &a) in addrs.iter().enumerate() {
            low |= if mask >> l & 1 != 0 { a } else { 0 };
        }
        if low & (align as u64 - 1) != 0 && self.checks.misaligned {
            let l = (0..32)
                .find(|&l| mask >> l & 1 != 0 && addrs[l as usize] & (align as u64 - 1) != 0)
                .unwrap_or(0);
            let a = addrs[l as usize];
            return Err(Fault::lane(
                ErrorKind::Misaligned,
                l,
                a,
                format!(
                    "{bytes} bytes at an address that is not a multiple of {align}; {}",
                    self.describe(space, a)
                ),
            ));
        }
        if space != Space::Generic {
            return self.in_space(space, 0, addrs, mask, bytes, kind);
        }
        let lead = addrs[first(mask)];
        let (space, base) = match lead {
            a if a.wrapping_sub(SHARED_BASE) < WINDOW => (Space::Shared, SHARED_BASE),
            a if a.wrapping_sub(LOCAL_BASE) < WINDOW => (Space::Local, LOCAL_BASE),
            a if a.wrapping_sub(PARAM_BASE) < WINDOW => (Space::Param, PARAM_BASE),
            _ => (Space::Global, 0),
        };
        let mut part = 0;
        for (l, &a) in addrs.iter().enumerate() {
            let here = if base != 0 {
                a.wrapping_sub(base) < WINDOW
            } else {
                a.wrapping_sub(SHARED_BASE) >= 3 * WINDOW
            };
            part |= (here as u32) << l;
        }
        self.in_space(space, base, addrs, part & mask, bytes, kind)
    }

    fn in_space(
        &mut self,
        space: Space,
        base: u64,
        addrs: &[u64; 32],
        mask: u32,
        bytes: u32,
        kind: Kind,
    ) -> Step<(Option<&mut Arena>, Offsets, u32)> {
        let lead = addrs[first(mask)].wrapping_sub(base);
        // The range the leading lane's allocation spans, and what to subtract from an address to get an offset.
        let found = match space {
            Space::Global | Space::Generic => self.global.index(lead).map(|i| {
                let a = self.global.get(i);
                (a.base, a.base + a.size, a.base, i)
            }),
            Space::Shared => {
                let (rank, high) = self.owner(lead);
                self.shared.get_mut(rank).and_then(|s| {
                    let at = lead - high;
                    let hit = |v: &Placed| at >= v.start && at < v.end;
                    if !s.vars.get(s.last).is_some_and(hit) {
                        s.last = s.vars.iter().position(hit).unwrap_or(0);
                    }
                    s.vars.get(s.last).filter(|v| hit(v)).map(|v| (v.start + high, v.end + high, high, rank))
                })
            }
            Space::Local => Some((LOCAL_FIRST as u64, self.local_top, 0, 0)),
            Space::Param => Some((0, self.params.len() as u64, 0, 0)),
        };
        let (start, end, origin, index) = found.unwrap_or((0, 0, 0, usize::MAX));
        let mut offs = [0usize; 32];
        let mut part = 0;
        let last = end.wrapping_sub(bytes as u64);
        if end >= start + bytes as u64 {
            for l in 0..32 {
                let a = addrs[l].wrapping_sub(base);
                let inside = a >= start && a <= last;
                offs[l] = if inside { (a - origin) as usize } else { 0 };
                part |= (inside as u32) << l;
            }
            part &= mask;
        }
        if part >> first(mask) & 1 == 0 {
            let l = first(mask) as u32;
            let a = addrs[l as usize];
            if !self.checks.out_of_bounds {
                return Ok((None, offs, 1 << l));
            }
            let verb = if kind == Kind::Read { "reading" } else { "writing" };
            return Err(Fault::lane(
                ErrorKind::OutOfBounds,
                l,
                a,
                format!(
                    "{verb} {bytes} bytes; the address is {}",
                    self.describe(space, a.wrapping_sub(base))
                ),
            ));
        }
        match space {
            Space::Global | Space::Generic => {
                self.count(&offs, part, bytes as usize, kind);
                let a = self.global.get(index);
                if let Some(r) = &mut self.stats.recorder {
                    match a.constant {
                        true => r.constant(),
                        false => r.global(a.base, &offs, part, bytes as usize, kind),
                    }
                }
                let l = first(part) as u32;
                let address = addrs[l as usize];
                if a.freed {
                    if !self.checks.use_after_free {
                        return Ok((None, offs, part));
                    }
                    return Err(Fault::lane(ErrorKind::UseAfterFree, l, address, self.global.describe(lead)));
                }
                if a.read_only && kind != Kind::Read {
                    return Err(Fault::lane(ErrorKind::ReadOnly, l, address, self.global.describe(lead)));
                }
                if self.checks.global_races {
                    let (place, n) = (Place::Global(index as u32), bytes as usize);
                    let (a, o) = (self.actor, self.order);
                    let r = self.races.access(a, place, &offs, part, n, kind, o, self.line);
                    r.map_err(|f| self.raced(f, space, addrs, base))?;
                }
                let arena = &mut self.global.get_mut(index).arena;
                let found =
                    settle(arena, &offs, part, bytes as usize, kind, self.checks.uninitialised_global);
                if let Some(l) = found {
                    let a = addrs[l as usize].wrapping_sub(base);
                    let what = self.global.describe(a);
                    return Err(Fault::lane(ErrorKind::UninitialisedGlobal, l, addrs[l as usize], what));
                }
                Ok((Some(&mut self.global.get_mut(index).arena), offs, part))
            }
            Space::Shared => {
                if let Some(r) = &mut self.stats.recorder {
                    r.shared(&offs, part, bytes as usize, kind);
                }
                let shared = &self.shared[index];
                if shared.exited && self.checks.cluster {
                    let l = first(part) as u32;
                    return Err(Fault::lane(
                        ErrorKind::ClusterExited,
                        l,
                        addrs[l as usize],
                        format!(
                            "shared memory of block {index} of the cluster, whose threads have all exited"
                        ),
                    ));
                }
                if self.shared[index].watch.active {
                    self.watch(index, &offs, part, bytes as usize, kind)?;
                }
                let shared = &mut self.shared[index];
                if self.checks.shared_races {
                    let place = Place::Shared(shared.block);
                    let (a, o, n) = (self.actor, self.order, bytes as usize);
                    let r = self.races.access(a, place, &offs, part, n, kind, o, self.line);
                    r.map_err(|f| self.raced(f, space, addrs, base))?;
                }
                let found = settle(
                    &mut self.shared[index].arena,
                    &offs,
                    part,
                    bytes as usize,
                    kind,
                    self.checks.uninitialised_shared,
                );
                if let Some(l) = found {
                    let what = self.describe(Space::Shared, addrs[l as usize].wrapping_sub(base));
                    return Err(Fault::lane(ErrorKind::UninitialisedShared, l, addrs[l as usize], what));
                }
                Ok((Some(&mut self.shared[index].arena), offs, part))
            }
            Space::Local => {
                if let Some(r) = &mut self.stats.recorder {
                    r.local(part, bytes as usize, kind);
                }
                for (l, o) in offs.iter_mut().enumerate() {
                    *o += l * self.local.stride;
                }
                let arena = &mut self.local.arena;
                let found = settle(arena, &offs, part, bytes as usize, kind, self.checks.uninitialised_local);
                if let Some(l) = found {
                    let what = format!(
                        "offset {} of the thread's local memory",
                        addrs[l as usize].wrapping_sub(base)
                    );
                    return Err(Fault::lane(ErrorKind::UninitialisedLocal, l, addrs[l as usize], what));
                }
                Ok((Some(&mut self.local.arena), offs, part))
            }
            Space::Param => {
                let l = first(part) as u32;
                Err(Fault::lane(
                    if kind == Kind::Read { ErrorKind::UnsupportedInstruction } else { ErrorKind::ReadOnly },
                    l,
                    addrs[l as usize],
                    "kernel parameters can only be loaded",
                ))
            }
        }
    }

    /// A race, with the address as the lane named it.
    #[cold]
    fn raced(&self, mut fault: Box<Fault>, space: Space, addrs: &[u64; 32], base: u64) -> Box<Fault> {
        let address = addrs[fault.lane.unwrap_or(0) as usize & 31];
        fault.address = Some(address);
        fault.message = format!("{}; {}", fault.message, self.describe(space, address.wrapping_sub(base)));
        fault
    }

    /// The block of the cluster whose shared memory an address lies in, and the address bits that say so.
    pub(crate) fn owner(&self, addr: u64) -> (usize, u64) {
        let high = addr >> RANK_SHIFT;
        let rank = if high == 0 { self.rank } else { usize::try_from(high - 1).unwrap_or(usize::MAX) };
        (rank, high << RANK_SHIFT)
    }

    pub(crate) fn describe(&self, space: Space, addr: u64) -> String {
        match space {
            Space::Shared => {
                let (rank, high) = self.owner(addr);
                match self.shared.get(rank) {
                    Some(s) if rank == self.rank => s.describe(addr - high),
                    Some(s) => format!("{} of block {rank} of the cluster", s.describe(addr - high)),
                    None => {
                        format!("in no block's shared memory: the cluster has {} blocks", self.shared.len())
                    }
                }
            }
            Space::Local => {
                format!("outside the thread's local memory of {} bytes", self.local_top - LOCAL_FIRST as u64)
            }
            Space::Param => format!("outside the {} bytes of kernel parameters", self.params.len()),
            Space::Generic if addr.wrapping_sub(SHARED_BASE) < WINDOW => {
                self.describe(Space::Shared, addr - SHARED_BASE)
            }
            _ if addr < 4096 => "a null pointer".into(),
            _ => self.global.describe(addr),
        }
    }

    fn count(&mut self, offs: &Offsets, mask: u32, bytes: usize, kind: Kind) {
        let total = mask.count_ones() as u64 * bytes as u64;
        self.stats.requests += 1;
        if kind != Kind::Write {
            self.stats.global_load_bytes += total;
        }
        if kind != Kind::Read {
            self.stats.global_store_bytes += total;
        }
        if contiguous(offs, mask, bytes) {
            let (a, b) = (offs[0] / 32, (offs[0] + 32 * bytes - 1) / 32);
            self.stats.sectors += (b - a + 1) as u64;
            return;
        }
        let mut seen = [0usize; 64];
        let mut n = 0;
        let mut previous = usize::MAX;
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            for sector in [offs[l] / 32, (offs[l] + bytes - 1) / 32] {
                if sector != previous {
                    seen[n] = sector;
                    n += 1;
                    previous = sector;
                }
            }
        }
        let seen = &mut seen[..n];
        if n > 1 && !seen.is_sorted() {
            seen.sort_unstable();
        }
        self.stats.sectors += n as u64 - seen.windows(2).filter(|w| w[0] == w[1]).count() as u64;
    }

    /// `ld`.
    pub(crate) fn load(&mut self, m: &Mem, addrs: &[u64; 32], regs: &mut Regs<'_>, mask: u32) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        let mut todo = mask;
        while todo != 0 {
            let in_params = m.space == Space::Param
                || (m.space == Space::Generic && addrs[first(todo)].wrapping_sub(PARAM_BASE) < WINDOW);
            if in_params {
                todo &= !self.load_param(m, addrs, regs, todo)?;
                continue;
            }
            let (arena, offs, part) = self.part(m.space, addrs, todo, bytes, bytes, Kind::Read)?;
            todo &= !part;
            let poison = u64::from_le_bytes([crate::memory::POISON; 8]);
            for k in 0..m.count as usize {
                let slot = m.regs[k];
                if slot == NONE {
                    continue;
                }
                let add = k * m.size as usize;
                match (&arena, m.size) {
                    (Some(a), 4) => deliver32(regs, slot, &a.gather32(&offs, add, part), m.signed, part),
                    (Some(a), 8) => deliver64(regs, slot, &a.gather64(&offs, add, part), part),
                    (Some(a), 2) => {
                        let v = a.gather16(&offs, add, part);
                        let wide = v.map(|x| if m.signed { x as i16 as i32 as u32 } else { x as u32 });
                        deliver32(regs, slot, &wide, m.signed, part);
                    }
                    (Some(a), _) => {
                        let v = a.gather8(&offs, add, part);
                        let wide = v.map(|x| if m.signed { x as i8 as i32 as u32 } else { x as u32 });
                        deliver32(regs, slot, &wide, m.signed, part);
                    }
                    (None, 8) => deliver64(regs, slot, &[poison; 32], part),
                    (None, _) => deliver32(regs, slot, &[poison as u32; 32], m.signed, part),
                }
            }
        }
        Ok(())
    }

    fn load_param(&mut self, m: &Mem, addrs: &[u64; 32], regs: &mut Regs<'_>, mask: u32) -> Step<u32> {
        let base = if m.space == Space::Param { 0 } else { PARAM_BASE };
        let lead = addrs[first(mask)];
        let at = lead.wrapping_sub(base);
        // Lanes that ask for the same place: nearly always all of them.
        let part = (0..32).filter(|&l| addrs[l] == lead).fold(0, |p, l| p | 1u32 << l) & mask;
        let bytes = m.size as usize * m.count as usize;
        let Some(data) = usize::try_from(at).ok().and_then(|a| self.params.get(a..a.checked_add(bytes)?))
        else {
            let l = first(mask) as u32;
            return Err(Fault::lane(ErrorKind::OutOfBounds, l, lead, self.describe(Space::Param, at)));
        };
        if at % bytes.max(1) as u64 != 0 && self.checks.misaligned {
            let text = format!("{bytes} bytes at offset {at} of the kernel's parameters");
            return Err(Fault::lane(ErrorKind::Misaligned, first(mask) as u32, lead, text));
        }
        for k in 0..m.count as usize {
            let mut raw = [0; 8];
            raw[..m.size as usize].copy_from_slice(&data[k * m.size as usize..(k + 1) * m.size as usize]);
            let v = u64::from_le_bytes(raw);
            let v = match (m.signed, m.size) {
                (true, 1) => v as i8 as i64 as u64,
                (true, 2) => v as i16 as i64 as u64,
                (true, 4) => v as i32 as i64 as u64,
                _ => v,
            };
            if m.regs[k] != NONE {
                deliver64(regs, m.regs[k], &[v; 32], part);
            }
        }
        Ok(part)
    }

    /// `st`.
    pub(crate) fn store(&mut self, m: &Mem, addrs: &[u64; 32], regs: &Regs<'_>, mask: u32) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        let mut todo = mask;
        while todo != 0 {
            let (arena, offs, part) = self.part(m.space, addrs, todo, bytes, bytes, Kind::Write)?;
            todo &= !part;
            let Some(arena) = arena else { continue };
            for k in 0..m.count as usize {
                let (slot, add) = (m.regs[k], k * m.size as usize);
                match m.size {
                    4 if slot & WIDE == 0 => arena.scatter32(&offs, add, part, u32::src(regs, slot)),
                    8 if slot & WIDE != 0 => arena.scatter64(&offs, add, part, u64::src(regs, slot & !WIDE)),
                    4 => arena.scatter32(&offs, add, part, &value(regs, slot).map(|v| v as u32)),
                    8 => arena.scatter64(&offs, add, part, &value(regs, slot)),
                    2 => arena.scatter16(&offs, add, part, &value(regs, slot).map(|v| v as u16)),
                    _ => arena.scatter8(&offs, add, part, &value(regs, slot).map(|v| v as u8)),
                }
            }
        }
        Ok(())
    }
}

/// Checks or records initialisation; the lane that reads a missing byte, if one does.
fn settle(
    arena: &mut Arena,
    offs: &Offsets,
    mask: u32,
    bytes: usize,
    kind: Kind,
    check: bool,
) -> Option<u32> {
    if check
        && kind != Kind::Write
        && let Some(l) = arena.uninitialised(offs, mask, bytes)
    {
        return Some(l);
    }
    if kind != Kind::Read {
        arena.initialise(offs, mask, bytes);
    }
    None
}

/// A slot's lanes, widened.
pub(crate) fn value(regs: &Regs<'_>, slot: u32) -> [u64; 32] {
    if slot & WIDE != 0 { *u64::src(regs, slot & !WIDE) } else { u32::src(regs, slot).map(u64::from) }
}

#[inline]
pub(crate) fn deliver32(regs: &mut Regs<'_>, slot: u32, v: &[u32; 32], signed: bool, mask: u32) {
    if slot & WIDE == 0 {
        put::<u32>(regs, slot, v, mask);
    } else {
        let wide = v.map(|x| if signed { x as i32 as i64 as u64 } else { x as u64 });
        put::<u64>(regs, slot & !WIDE, &wide, mask);
    }
}

#[inline]
pub(crate) fn deliver64(regs: &mut Regs<'_>, slot: u32, v: &[u64; 32], mask: u32) {
    if slot & WIDE != 0 {
        put::<u64>(regs, slot & !WIDE, v, mask)
    } else {
        put::<u32>(regs, slot, &v.map(|x| x as u32), mask)
    }
}
