//! Shared memory as the async proxy sees it: what `wgmma` (and other asynchronous units) read there by themselves.

use crate::ErrorKind;
use crate::access::Memory;
use crate::error::{Fault, Step};

impl Memory<'_> {
    /// A read of the block's own shared memory by an asynchronous unit: the offset of its first byte in the arena, `None` if
    /// the access is to be ignored. Checks bounds and initialisation.
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
            return Err(Fault::lane(ErrorKind::UninitialisedShared, 0, missing, text));
        }
        Ok(Some(at))
    }
}
