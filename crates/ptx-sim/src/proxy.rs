//! Shared memory as the async proxy sees it: what `wgmma` (and other asynchronous units) read there by themselves.

use crate::ErrorKind;
use crate::access::{Kind, Memory};
use crate::async_ops::watch::proxy_read;
use crate::error::{Fault, Step};
use crate::race::{Actor, Place};
use std::ops::Range;

impl Memory<'_> {
    /// A read of the block's own shared memory by an asynchronous unit, at its issue: the offset of its first byte in the arena,
    /// `None` if the access is to be ignored. Checks bounds, initialisation, copies in flight and proxy fences.
    pub(crate) fn proxy_read(&mut self, address: u64, bytes: usize) -> Step<Option<usize>> {
        let shared = &self.shared[self.rank];
        let end = address.saturating_add(bytes as u64);
        if !shared.vars.iter().any(|v| address >= v.start && end <= v.end) {
            if !self.checks.out_of_bounds {
                return Ok(None);
            }
            let text =
                format!("an asynchronous read of {bytes} bytes; the address is {}", shared.describe(address));
            return Err(Fault::lane(ErrorKind::OutOfBounds, 0, address, text));
        }
        let at = address as usize;
        if self.checks.uninitialised_shared && !shared.arena.init.test(at, bytes) {
            let missing = shared.arena.init.first_missing(at, bytes).unwrap_or(at) as u64;
            let text = format!("an asynchronous read; {}", shared.describe(missing));
            if self.checks.shared_races {
                // Should the writer still come, this is the read it races with.
                let block = Place::Shared(shared.block);
                self.races.access_range(self.actor, block, at..at + bytes, Kind::Read, self.line)?;
            }
            return Err(Fault::lane(ErrorKind::UninitialisedShared, 0, missing, text));
        }
        if self.checks.async_rules
            && let Some((kind, place, text)) = shared.watch.conflict(address, bytes as u64, false, true)
        {
            // The watch speaks of copies as the readers.
            let text = text.replacen("a copy", "an asynchronous read", 1);
            return Err(Fault::lane(kind, 0, place, text));
        }
        let reader = 32 * self.actor.warp + (self.actor.lanes.trailing_zeros() & 31);
        proxy_read(self.shared, self.rank, address, bytes as u64, reader, self.checks)?;
        Ok(Some(at))
    }

    /// An asynchronous unit reads ranges of the block's shared memory: races with what others do there.
    pub(crate) fn asynchronous_reads(
        &mut self,
        actor: Actor,
        ranges: impl Iterator<Item = Range<usize>>,
        line: u32,
    ) -> Step {
        if !self.checks.shared_races {
            return Ok(());
        }
        let block = self.shared[self.rank].block;
        for range in ranges {
            let r = self.races.access_range(actor, Place::Shared(block), range, Kind::Read, line);
            r.map_err(|mut f| {
                let at = f.address.unwrap_or(0);
                f.message = format!("{}; {}", f.message, self.shared[self.rank].describe(at));
                f
            })?;
        }
        Ok(())
    }
}
