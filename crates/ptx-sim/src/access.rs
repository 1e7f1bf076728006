//! Every device access to memory, in every space, goes through [`Memory::part`]: alignment, bounds, lifetime and
//! initialisation are checked here, counts kept here, and a race detector needs no other place to stand.

use crate::ErrorKind;
use crate::arena::{Arena, Offsets};
use crate::config::Checks;
use crate::error::{Fault, Step};
use crate::isa::{LOCAL_BASE, NONE, Order, PARAM_BASE, RANK_SHIFT, SHARED_BASE, Space, WIDE, WINDOW};
use crate::lanes::{Lane, Regs, put};
use crate::ledger::Ledger;
use crate::memory::Global;
use crate::race::{Actor, Place, Races};
use crate::stats::LaunchStats;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Atomic,
    /// Compare and swap: an atomic whose loop may begin with a plain read.
    Swap,
}

impl Kind {
    pub(crate) fn atomic(self) -> bool {
        matches!(self, Kind::Atomic | Kind::Swap)
    }
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
    /// Bytes of host memory for so many bytes of shared memory, at most: with initialisation bits, a detector's
    /// cells and the state of asynchronous rules.
    pub(crate) fn footprint(total: usize) -> u64 {
        12 * total as u64 + total as u64 / 8
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
    /// Lanes that only repeat what another lane stores ([`crate::repeat`]).
    pub repeats: u32,
}

/// The space an address lies in, and where that starts.
#[inline(always)]
fn window(space: Space, addr: u64) -> (Space, u64) {
    match addr {
        _ if space != Space::Generic => (space, 0),
        a if a.wrapping_sub(SHARED_BASE) < WINDOW => (Space::Shared, SHARED_BASE),
        a if a.wrapping_sub(LOCAL_BASE) < WINDOW => (Space::Local, LOCAL_BASE),
        a if a.wrapping_sub(PARAM_BASE) < WINDOW => (Space::Param, PARAM_BASE),
        _ => (Space::Global, 0),
    }
}

pub(crate) fn first(mask: u32) -> usize {
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
        let mut offs = Offsets::default();
        let (arena, part) = self.part_into(space, addrs, mask, bytes, align, kind, &mut offs)?;
        Ok((arena, offs, part))
    }

    /// [`Memory::part`] of all 32 lanes where they share an allocation: what nearly all accesses are, in straight code. `None`:
    /// they do not, or there is something to report, which is for [`Memory::part`] to find.
    #[inline(always)]
    pub(crate) fn whole(
        &mut self,
        space: Space,
        addrs: &[u64; 32],
        bytes: u32,
        kind: Kind,
        offs: &mut Offsets,
    ) -> Step<Option<&mut Arena>> {
        let (space, base) = window(space, addrs[0]);
        let lead = addrs[0].wrapping_sub(base);
        let Some((start, end, origin, index)) = self.find(space, lead) else { return Ok(None) };
        let Some(room) = (end - start).checked_sub(bytes as u64) else { return Ok(None) };
        let align = if self.checks.misaligned { bytes as usize } else { 1 };
        if space == Space::Param || !offs.all_inside(addrs, base + start, room, start - origin, bytes, align)
        {
            return Ok(None);
        }
        self.admit(space, base, index, addrs, !0, bytes, kind, offs)
    }

    /// [`Memory::part`], with a place for the offsets.
    #[expect(clippy::too_many_arguments, reason = "all of it describes one access")]
    pub(crate) fn part_into(
        &mut self,
        space: Space,
        addrs: &[u64; 32],
        mask: u32,
        bytes: u32,
        align: u32,
        kind: Kind,
        offs: &mut Offsets,
    ) -> Step<(Option<&mut Arena>, u32)> {
        if self.checks.misaligned {
            let mut low = 0;
            if mask == !0 {
                addrs.iter().for_each(|&a| low |= a);
            } else {
                (0..32).filter(|l| mask >> l & 1 != 0).for_each(|l| low |= addrs[l]);
            }
            if low & (align as u64 - 1) != 0 {
                return Err(self.misaligned(space, addrs, mask, bytes, align));
            }
        }
        // Lanes in other windows are outside the leading lane's allocation: theirs is another part.
        let (space, base) = window(space, addrs[first(mask)]);
        let lead = addrs[first(mask)].wrapping_sub(base);
        let (start, end, origin, index) = self.find(space, lead).unwrap_or((0, 0, 0, usize::MAX));
        let part = match (end - start).checked_sub(bytes as u64) {
            Some(room) => offs.inside(addrs, base + start, room, start - origin, mask, bytes),
            None => 0,
        };
        if part >> first(mask) & 1 == 0 {
            let l = first(mask) as u32;
            if !self.checks.out_of_bounds {
                return Ok((None, 1 << l));
            }
            return Err(self.outside(space, l, addrs[l as usize], base, bytes, kind));
        }
        Ok((self.admit(space, base, index, addrs, part, bytes, kind, offs)?, part))
    }

    #[cold]
    fn misaligned(&self, space: Space, addrs: &[u64; 32], mask: u32, bytes: u32, align: u32) -> Box<Fault> {
        let l =
            (0..32).find(|&l| mask >> l & 1 != 0 && addrs[l as usize] & (align as u64 - 1) != 0).unwrap_or(0);
        let a = addrs[l as usize];
        let near = self.describe(space, a);
        let text = format!("{bytes} bytes at an address that is not a multiple of {align}; {near}");
        Fault::lane(ErrorKind::Misaligned, l, a, text)
    }

    #[cold]
    fn outside(&self, space: Space, lane: u32, addr: u64, base: u64, bytes: u32, kind: Kind) -> Box<Fault> {
        let verb = if kind == Kind::Read { "reading" } else { "writing" };
        let near = self.describe(space, addr.wrapping_sub(base));
        let text = format!("{verb} {bytes} bytes; the address is {near}");
        Fault::lane(ErrorKind::OutOfBounds, lane, addr, text)
    }

    /// The range that the allocation at an address spans, what to subtract from an address to get an offset, and its index.
    #[inline(always)]
    fn find(&mut self, space: Space, lead: u64) -> Option<(u64, u64, u64, usize)> {
        match space {
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
        }
    }

    /// Everything but bounds and alignment: lifetime, races, initialisation, counts. `None` stands for "ignore this access".
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all of it describes one access")]
    fn admit(
        &mut self,
        space: Space,
        base: u64,
        index: usize,
        addrs: &[u64; 32],
        part: u32,
        bytes: u32,
        kind: Kind,
        offs: &mut Offsets,
    ) -> Step<Option<&mut Arena>> {
        match space {
            Space::Global | Space::Generic => {
                self.count(offs, part, bytes as usize, kind);
                let a = self.global.get(index);
                if let Some(r) = &mut self.stats.recorder {
                    match a.constant {
                        true => r.constant(),
                        false => r.global(a.base, offs, part, bytes as usize, kind),
                    }
                }
                let l = first(part) as u32;
                let address = addrs[l as usize];
                if a.freed {
                    if !self.checks.use_after_free {
                        return Ok(None);
                    }
                    let what = self.global.describe(address.wrapping_sub(base));
                    return Err(Fault::lane(ErrorKind::UseAfterFree, l, address, what));
                }
                if a.read_only && kind != Kind::Read {
                    let what = self.global.describe(address.wrapping_sub(base));
                    return Err(Fault::lane(ErrorKind::ReadOnly, l, address, what));
                }
                if self.checks.global_races {
                    let (place, n) = (Place::Global(index as u32), bytes as usize);
                    let (a, o) = (self.actor, self.order);
                    let r = self.races.access(a, place, offs, part & !self.repeats, n, kind, o, self.line);
                    r.map_err(|f| self.raced(f, space, addrs, base))?;
                }
                let arena = &mut self.global.get_mut(index).arena;
                let found = settle(arena, offs, part, bytes as usize, kind, self.checks.uninitialised_global);
                if let Some(l) = found {
                    let a = addrs[l as usize].wrapping_sub(base);
                    let what = self.global.describe(a);
                    return Err(Fault::lane(ErrorKind::UninitialisedGlobal, l, addrs[l as usize], what));
                }
                Ok(Some(&mut self.global.get_mut(index).arena))
            }
            Space::Shared => {
                if let Some(r) = &mut self.stats.recorder {
                    r.shared(offs, part, bytes as usize, kind);
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
                    self.watch(index, offs, part, bytes as usize, kind)?;
                }
                let shared = &mut self.shared[index];
                if self.checks.shared_races {
                    let place = Place::Shared(shared.block);
                    let (a, o, n) = (self.actor, self.order, bytes as usize);
                    let r = self.races.access(a, place, offs, part & !self.repeats, n, kind, o, self.line);
                    r.map_err(|f| self.raced(f, space, addrs, base))?;
                }
                let found = settle(
                    &mut self.shared[index].arena,
                    offs,
                    part,
                    bytes as usize,
                    kind,
                    self.checks.uninitialised_shared,
                );
                if let Some(l) = found {
                    let what = self.describe(Space::Shared, addrs[l as usize].wrapping_sub(base));
                    return Err(Fault::lane(ErrorKind::UninitialisedShared, l, addrs[l as usize], what));
                }
                Ok(Some(&mut self.shared[index].arena))
            }
            Space::Local => {
                if let Some(r) = &mut self.stats.recorder {
                    r.local(part, bytes as usize, kind);
                }
                offs.spread(self.local.stride);
                let arena = &mut self.local.arena;
                let found = settle(arena, offs, part, bytes as usize, kind, self.checks.uninitialised_local);
                if let Some(l) = found {
                    let what = format!(
                        "offset {} of the thread's local memory",
                        addrs[l as usize].wrapping_sub(base)
                    );
                    return Err(Fault::lane(ErrorKind::UninitialisedLocal, l, addrs[l as usize], what));
                }
                Ok(Some(&mut self.local.arena))
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

    #[inline(always)]
    fn count(&mut self, offs: &Offsets, mask: u32, bytes: usize, kind: Kind) {
        let total = mask.count_ones() as u64 * bytes as u64;
        self.stats.requests += 1;
        if kind != Kind::Write {
            self.stats.global_load_bytes += total;
        }
        if kind != Kind::Read {
            self.stats.global_store_bytes += total;
        }
        match offs.sectors(mask, bytes) {
            Some(n) => self.stats.sectors += n as u64,
            None => self.count_scattered(offs, mask, bytes),
        }
    }

    #[inline(never)]
    fn count_scattered(&mut self, offs: &Offsets, mask: u32, bytes: usize) {
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
}

/// Checks or records initialisation; the lane that reads a missing byte, if one does.
#[inline]
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

/// Values for a slot, converted to its width; the sink `_` drops them.
#[inline]
pub(crate) fn deliver32(regs: &mut Regs<'_>, slot: u32, v: &[u32; 32], signed: bool, mask: u32) {
    if slot & WIDE == 0 {
        put::<u32>(regs, slot, v, mask);
    } else if slot != NONE {
        let wide = v.map(|x| if signed { x as i32 as i64 as u64 } else { x as u64 });
        put::<u64>(regs, slot & !WIDE, &wide, mask);
    }
}

/// As [`deliver32`].
#[inline]
pub(crate) fn deliver64(regs: &mut Regs<'_>, slot: u32, v: &[u64; 32], mask: u32) {
    if slot & WIDE == 0 {
        put::<u32>(regs, slot, &v.map(|x| x as u32), mask);
    } else if slot != NONE {
        put::<u64>(regs, slot & !WIDE, v, mask);
    }
}
