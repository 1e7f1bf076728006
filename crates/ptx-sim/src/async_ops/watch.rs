//! What a block's shared memory remembers for the asynchronous rules: where mbarriers live, which bytes copies in flight are about to
//! write or read, and which words were written through the generic proxy without a proxy fence since.
//!
//! One 32-bit state per word says all an ordinary access needs; it is allocated when the first mbarrier or copy appears, so that other
//! kernels pay one comparison. The proxy state, 8 bytes per word, exists only in kernels that have an instruction that reads shared
//! memory through the async proxy.
//!
//! A generic write counts as fenced for an asynchronous read when its thread has executed `fence.proxy.async` since, or when the
//! thread that issues the read has, after something (a barrier, a wait) ordered it behind the write. The second form is the one where
//! an elected thread fences for all.

use crate::ErrorKind;
use crate::access::{Kind, Memory, Shared};
use crate::arena::Offsets;
use crate::config::Checks;
use crate::error::{Fault, Step};

/// Word state: copies in flight that write it.
const WRITES: u32 = 0xffff;
/// Word state: one copy in flight that reads it; there is room for 15 bits of them.
const READ: u32 = 1 << 16;
/// Word state: part of an mbarrier.
const BARRIER: u32 = 1 << 31;

/// A range that a copy in flight writes or reads, to name it in reports.
#[derive(Clone, Copy, Debug)]
struct Held {
    id: u64,
    start: u64,
    end: u64,
    line: u32,
}

/// The generic proxy's last write to a word.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Rank of the block << 10 | thread, plus 1; 0: not written, or through the async proxy.
    writer: u16,
    /// The writer's proxy fences up to then.
    fences: u16,
    /// [`Watch::clock`] then.
    at: u32,
}

/// A thread's proxy fences.
#[derive(Clone, Copy, Debug, Default)]
struct Fences {
    count: u16,
    /// Writes of others before this time are ordered before the thread.
    synced: u32,
    /// Writes of others before this time are fenced for the thread.
    covered: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// An mbarrier or a copy exists: ordinary accesses are to be looked at.
    pub active: bool,
    /// The kernel reads shared memory through the async proxy.
    pub proxies: bool,
    size: usize,
    words: Vec<u32>,
    held: Vec<Held>,
    written: Vec<Written>,
    fences: Vec<Fences>,
    /// Counts generic writes.
    clock: u32,
}

impl Watch {
    /// A fresh block with `size` bytes of shared memory.
    pub(crate) fn reset(&mut self, size: usize) {
        self.active = false;
        self.proxies = false;
        self.size = size;
        self.words.clear();
        self.held.clear();
        self.written.clear();
        self.fences.clear();
        self.clock = 1;
    }

    /// The kernel has instructions of the async proxy: keep its state.
    pub(crate) fn watch_proxies(&mut self) {
        self.proxies = true;
        self.active = true;
        self.written.resize(self.size.div_ceil(4), Written::default());
    }

    fn wake(&mut self) {
        self.active = true;
        if self.words.is_empty() {
            self.words.resize(self.size.div_ceil(4), 0);
        }
    }

    fn words(&mut self, at: u64, bytes: u64) -> &mut [u32] {
        let (first, end) = (at as usize / 4, (at + bytes).div_ceil(4) as usize);
        &mut self.words[first..end]
    }

    /// The 8 bytes at `at` become an mbarrier, or cease to be one.
    pub(crate) fn barrier(&mut self, at: u64, live: bool) {
        self.wake();
        for w in self.words(at, 8) {
            *w = if live { *w | BARRIER } else { *w & !BARRIER };
        }
    }

    /// A copy that was issued at PTX line `line` is going to write (or read) a range.
    pub(crate) fn hold(&mut self, id: u64, at: u64, bytes: u64, write: bool, line: u32) {
        if bytes == 0 {
            return;
        }
        self.wake();
        self.words(at, bytes).iter_mut().for_each(|w| *w += if write { 1 } else { READ });
        match self.held.last_mut() {
            // The lanes of one instruction are neighbours as a rule.
            Some(h) if h.id == id && h.end == at => h.end = at + bytes,
            _ => self.held.push(Held { id, start: at, end: at + bytes, line }),
        }
    }

    /// The copy no longer writes (or reads) the range.
    pub(crate) fn release(&mut self, id: u64, at: u64, bytes: u64, write: bool) {
        if bytes == 0 {
            return;
        }
        self.words(at, bytes).iter_mut().for_each(|w| *w -= if write { 1 } else { READ });
        if let Some(i) = self.held.iter().position(|h| h.id == id && h.start <= at && at < h.end) {
            let h = self.held[i];
            match (h.start == at, h.end == at + bytes) {
                (true, true) => drop(self.held.swap_remove(i)),
                (true, false) => self.held[i].start = at + bytes,
                (false, true) => self.held[i].end = at,
                (false, false) => {
                    self.held[i].end = at;
                    self.held.push(Held { start: at + bytes, ..h });
                }
            }
        }
    }

    /// What a copy, or an ordinary access (`copy` is false), finds in its way.
    pub(crate) fn conflict(
        &self,
        at: u64,
        bytes: u64,
        writes: bool,
        copy: bool,
    ) -> Option<(ErrorKind, u64, String)> {
        if self.words.is_empty() || bytes == 0 {
            return None;
        }
        let (first, end) = (at as usize / 4, (at + bytes).div_ceil(4) as usize);
        let bad = if writes { !0 } else { BARRIER | WRITES };
        let i = (first..end).find(|&i| self.words[i] & bad != 0)?;
        let (state, place) = (self.words[i], (4 * i as u64).max(at));
        let what = if copy { "a copy" } else { "an ordinary access" };
        if state & BARRIER != 0 {
            let text = format!("{what} touches a live mbarrier, whose content is opaque");
            return Some((ErrorKind::MbarrierAccess, place, text));
        }
        let line = self.held.iter().find(|h| h.start < place + 4 && place < h.end).map_or(0, |h| h.line);
        let verb = if writes { "overwrites" } else { "reads" };
        if state & WRITES != 0 {
            let text = format!("{what} {verb} the destination of a copy in flight (PTX line {line})");
            return Some((ErrorKind::AsyncInFlight, place, text));
        }
        let text = format!("{what} overwrites what a copy in flight (PTX line {line}) may still read");
        Some((ErrorKind::AsyncSourceOverwritten, place, text))
    }

    /// An asynchronous write landed: nothing of the generic proxy is left there.
    pub(crate) fn landed(&mut self, at: u64, bytes: u64) {
        if self.proxies && bytes > 0 {
            let (first, end) = (at as usize / 4, (at + bytes).div_ceil(4) as usize);
            self.written[first..end].fill(Written::default());
        }
    }

    /// Thread `thread` of block `rank`, whose memory this is, writes through the generic proxy.
    pub(crate) fn wrote(&mut self, rank: usize, thread: u32, at: u64, bytes: u64) {
        if !self.proxies {
            return;
        }
        let fences = self.thread(thread as usize).count;
        let entry = Written { writer: ((rank as u32) << 10 | thread) as u16 + 1, fences, at: self.clock };
        let (first, end) = (at as usize / 4, (at + bytes).div_ceil(4) as usize);
        self.written[first..end].fill(entry);
        self.clock = self.clock.wrapping_add(1);
    }

    fn thread(&mut self, thread: usize) -> &mut Fences {
        if self.fences.len() <= thread {
            self.fences.resize((thread + 1).next_multiple_of(32), Fences::default());
        }
        &mut self.fences[thread]
    }

    /// Threads of this block (lanes `mask` of the warp that starts at `thread0`) executed a proxy fence.
    pub(crate) fn fence(&mut self, thread0: u32, mask: u32) {
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            let f = self.thread((thread0 + l) as usize);
            f.count = f.count.wrapping_add(1);
            f.covered = f.synced;
        }
    }

    /// Threads of this block synchronised with others: what was written up to now is ordered before them.
    pub(crate) fn synced(&mut self, thread0: u32, mask: u32) {
        if self.proxies {
            let now = self.clock;
            for l in (0..32).filter(|l| mask >> l & 1 != 0) {
                self.thread((thread0 + l) as usize).synced = now;
            }
        }
    }
}

/// Reading `bytes` at offset `at` of block `rank`'s shared memory through the async proxy, on behalf of thread `reader` of the same
/// block: everything that was written there through the generic proxy must have been fenced. Bulk stores and `wgmma` call it when
/// they are issued.
pub(crate) fn proxy_read(
    shared: &[Shared],
    rank: usize,
    at: u64,
    bytes: u64,
    reader: u32,
    checks: &Checks,
) -> Step {
    let own = &shared[rank];
    if !checks.proxy || !own.watch.proxies || bytes == 0 {
        return Ok(());
    }
    let covered = own.watch.fences.get(reader as usize).map_or(0, |f| f.covered);
    let (first, end) = (at as usize / 4, (at + bytes).div_ceil(4) as usize);
    for (i, w) in own.watch.written[first..end].iter().enumerate() {
        let Some(writer) = w.writer.checked_sub(1) else { continue };
        let (block, thread) = ((writer >> 10) as usize, (writer & 1023) as usize);
        let fences = shared.get(block).and_then(|s| s.watch.fences.get(thread)).map_or(0, |f| f.count);
        if fences != w.fences || w.at < covered {
            continue;
        }
        let place = ((first + i) * 4) as u64;
        let whose = if block == rank { String::new() } else { format!(" of block {block} of the cluster") };
        let text = format!(
            "thread {thread}{whose} wrote this ({}) with ordinary stores; the async proxy reads it with no `fence.proxy.async` in between",
            own.describe(place)
        );
        let mut f = Fault::new(ErrorKind::MissingProxyFence, text);
        f.address = Some(place);
        return Err(f);
    }
    Ok(())
}

impl Memory<'_> {
    /// An ordinary access to the shared memory of block `index` of the cluster, for the asynchronous rules.
    #[cold]
    #[inline(never)]
    pub(crate) fn watch(
        &mut self,
        index: usize,
        offs: &Offsets,
        part: u32,
        bytes: usize,
        kind: Kind,
    ) -> Step {
        let lanes = || (0..32usize).filter(|l| part >> l & 1 != 0);
        let writes = kind != Kind::Read;
        if self.checks.async_rules && !self.shared[index].watch.words.is_empty() {
            let watch = &self.shared[index].watch;
            for l in lanes() {
                if let Some((kind, place, text)) = watch.conflict(offs[l] as u64, bytes as u64, writes, false)
                {
                    let text = format!("{text}: {}", self.shared[index].describe(place));
                    return Err(Fault::lane(kind, l as u32, offs[l] as u64, text));
                }
            }
        }
        if writes && self.shared[index].watch.proxies {
            let mut entries = [Written::default(); 32];
            for l in lanes() {
                let thread = 32 * self.actor.warp + l as u32;
                entries[l].writer = ((self.rank as u32) << 10 | thread) as u16 + 1;
                entries[l].fences = self.shared[self.rank].watch.thread(thread as usize).count;
            }
            let watch = &mut self.shared[index].watch;
            for l in lanes() {
                entries[l].at = watch.clock;
                let (first, end) = (offs[l] / 4, (offs[l] + bytes).div_ceil(4));
                watch.written[first..end].fill(entries[l]);
            }
            watch.clock = watch.clock.wrapping_add(1);
        }
        Ok(())
    }
}
