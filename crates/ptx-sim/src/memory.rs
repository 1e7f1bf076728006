//! Global memory: separate allocations with guard gaps, never reused addresses, tombstones of freed buffers.

use crate::alias::Alias;
use crate::arena::Arena;
use crate::ledger::Ledger;
use crate::{ErrorKind, SimError};

/// Address of the first allocation.
const FIRST: u64 = 0x0010_0000_0000;
/// Bytes between allocations that belong to none of them.
const GUARD: u64 = 4096;
/// Alignment of allocations.
const ALIGN: u64 = 256;
/// Freed buffers remembered, to name them in reports.
const TOMBSTONES: usize = 1 << 16;
/// What unwritten memory holds: a signalling NaN in most float formats.
pub(crate) const POISON: u8 = 0xff;

/// One allocation, live or freed.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub size: u64,
    pub arena: Arena,
    pub freed: bool,
    pub read_only: bool,
    /// A `.const` variable.
    pub constant: bool,
    /// Variable name of module variables, or what [`crate::Sim::label`] calls it.
    pub name: String,
}

/// All global allocations, by address.
#[derive(Debug, Default)]
pub(crate) struct Global {
    list: Vec<Allocation>,
    next: u64,
    freed: usize,
    /// Where the last address was found, and the one before it in another buffer.
    last: usize,
    before: usize,
}

impl Global {
    pub(crate) fn alloc(&mut self, bytes: usize, ledger: &mut Ledger) -> Result<u64, SimError> {
        ledger.take_buffer(bytes as u64)?;
        let base = if self.next == 0 { FIRST } else { self.next };
        self.next = (base + (bytes as u64).max(1) + GUARD).next_multiple_of(ALIGN);
        let mut arena = Arena::new(bytes);
        arena.bytes.fill(POISON);
        self.list.push(Allocation {
            base,
            size: bytes as u64,
            arena,
            freed: false,
            read_only: false,
            constant: false,
            name: String::new(),
        });
        Ok(base)
    }

    pub(crate) fn free(&mut self, addr: u64, ledger: &mut Ledger) -> Result<(), SimError> {
        let Some(i) = self.index(addr).filter(|&i| self.list[i].base == addr) else {
            return Err(SimError::new(
                ErrorKind::BadAddress,
                format!("no buffer starts here; {}", self.describe(addr)),
            )
            .at(addr));
        };
        let a = &mut self.list[i];
        if a.freed {
            return Err(SimError::new(ErrorKind::UseAfterFree, "this buffer was freed before").at(addr));
        }
        a.freed = true;
        ledger.give_buffer(a.size);
        a.arena = Arena::default();
        self.freed += 1;
        if self.freed > TOMBSTONES {
            // The oldest half goes; an access there is still out of bounds.
            let mut drop = TOMBSTONES / 2;
            self.list.retain(|a| {
                let go = a.freed && drop > 0;
                drop -= go as usize;
                !go
            });
            self.freed -= TOMBSTONES / 2;
            (self.last, self.before) = (0, 0);
        }
        Ok(())
    }

    /// Index of the allocation whose start is the nearest at or below `addr`, if `addr` is inside it.
    #[inline]
    pub(crate) fn index(&mut self, addr: u64) -> Option<usize> {
        if let Some(a) = self.list.get(self.last)
            && addr.wrapping_sub(a.base) < a.size
        {
            return Some(self.last);
        }
        // Kernels go back and forth between two buffers more than between others.
        if let Some(a) = self.list.get(self.before)
            && addr.wrapping_sub(a.base) < a.size
        {
            std::mem::swap(&mut self.last, &mut self.before);
            return Some(self.last);
        }
        let i = self.list.partition_point(|a| a.base <= addr).checked_sub(1)?;
        let a = &self.list[i];
        // A zero-size buffer still has an address.
        if addr - a.base < a.size.max(1) {
            self.before = std::mem::replace(&mut self.last, i);
            Some(i)
        } else {
            None
        }
    }

    /// Whether all buffers lie at addresses of the host that its atomics can work on.
    pub(crate) fn shareable(&self) -> bool {
        self.list.iter().all(|a| a.arena.bytes.is_empty() || a.arena.bytes.as_ptr().align_offset(8) == 0)
    }

    /// Views of the same memory for several threads.
    ///
    /// # Safety
    /// While views are used, this must not be; see [`Alias::new`]. [`Global::unshare`] ends that time.
    pub(crate) unsafe fn share(&mut self, threads: usize) -> Vec<Global> {
        // SAFETY: handed on to the caller.
        let aliases: Vec<Alias> = self.list.iter_mut().map(|a| unsafe { Alias::new(&mut a.arena) }).collect();
        let view = || {
            let list = self.list.iter().zip(&aliases).map(|(a, alias)| Allocation {
                arena: Arena { alias: Some(*alias), ..Arena::default() },
                name: a.name.clone(),
                ..*a
            });
            Global { list: list.collect(), next: self.next, freed: self.freed, last: 0, before: 0 }
        };
        (0..threads).map(|_| view()).collect()
    }

    /// Takes over what views have written.
    pub(crate) fn unshare(&mut self) {
        self.list.iter_mut().for_each(|a| a.arena.init.recount(a.arena.bytes.len()));
    }

    pub(crate) fn get(&self, i: usize) -> &Allocation {
        &self.list[i]
    }

    pub(crate) fn get_mut(&mut self, i: usize) -> &mut Allocation {
        &mut self.list[i]
    }

    /// What lies at or near an address, in words.
    pub(crate) fn describe(&self, addr: u64) -> String {
        let i = self.list.partition_point(|a| a.base <= addr);
        let text = |a: &Allocation| {
            let kind = if a.freed { "the freed buffer" } else { "the buffer" };
            let name = if a.name.is_empty() { String::new() } else { format!(" `{}`", a.name) };
            format!("{kind}{name} of {} bytes at {:#x}", a.size, a.base)
        };
        let below = i.checked_sub(1).map(|i| &self.list[i]);
        let above = self.list.get(i);
        match (below, above) {
            (Some(a), _) if addr - a.base < a.size => format!("{} bytes into {}", addr - a.base, text(a)),
            (Some(a), Some(b)) if b.base - addr < addr - (a.base + a.size) => {
                format!("{} bytes before {}", b.base - addr, text(b))
            }
            (Some(a), _) => format!("{} bytes past the end of {}", addr - (a.base + a.size), text(a)),
            (None, Some(b)) => format!("{} bytes before {}", b.base - addr, text(b)),
            (None, None) => "there are no buffers".into(),
        }
    }

    /// The live allocation that holds all of `addr..addr + len`, for the host.
    pub(crate) fn host(&self, addr: u64, len: usize) -> Result<usize, SimError> {
        let i = self.list.partition_point(|a| a.base <= addr).wrapping_sub(1);
        match self.list.get(i) {
            Some(a) if a.freed && addr - a.base <= a.size => {
                Err(SimError::new(ErrorKind::UseAfterFree, self.describe(addr)).at(addr))
            }
            Some(a) if addr - a.base <= a.size && len as u64 <= a.size - (addr - a.base) => Ok(i),
            _ => Err(SimError::new(
                ErrorKind::BadAddress,
                format!(
                    "{len} bytes from here are not inside one buffer; the address is {}",
                    self.describe(addr)
                ),
            )
            .at(addr)),
        }
    }
}
