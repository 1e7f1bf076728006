//! What a simulator's memory adds up to, and its limit: device buffers with their initialisation bits, and the working
//! memory of launches (shared memory, registers, local memory, printed text).
//!
//! Working memory is counted where it grows and forgotten as a whole when the simulator drops its idle clusters, so a kernel
//! that recurses, or a grid whose blocks wait for each other, ends in an error and not in the machine's swap space.

use crate::error::{Fault, Step};
use crate::{ErrorKind, SimError};
use std::sync::atomic::{AtomicU64, Ordering};

/// Default of [`SimBuilder::memory_limit`](crate::SimBuilder::memory_limit).
pub(crate) const DEFAULT_LIMIT: u64 = 8 << 30;
/// Working memory that launches may leave behind for the next ones.
const IDLE: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Ledger {
    limit: u64,
    /// Bytes of buffers.
    buffers: u64,
    /// Bytes that clusters hold; threads of one launch add to it.
    working: AtomicU64,
}

/// A buffer with a bit for each of its bytes, and what describes it.
fn of_buffer(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 8).saturating_add(256)
}

impl Ledger {
    pub(crate) fn new(limit: u64) -> Self {
        Ledger { limit, buffers: 0, working: AtomicU64::new(0) }
    }

    fn refused(&self, wanted: u64, used: u64) -> String {
        format!(
            "{wanted} bytes of simulated memory on top of {used}, the limit is {}; raise it with `SimBuilder::memory_limit`",
            self.limit
        )
    }

    /// Room for a buffer of so many bytes.
    pub(crate) fn take_buffer(&mut self, bytes: u64) -> Result<(), SimError> {
        let (used, wanted) = (self.buffers + *self.working.get_mut(), of_buffer(bytes));
        if wanted > self.limit.saturating_sub(used) {
            return Err(SimError::new(ErrorKind::MemoryLimit, self.refused(wanted, used)));
        }
        self.buffers += wanted;
        Ok(())
    }

    pub(crate) fn give_buffer(&mut self, bytes: u64) {
        self.buffers = self.buffers.saturating_sub(of_buffer(bytes));
    }

    /// Working memory grows by so many bytes.
    pub(crate) fn grow(&self, bytes: u64) -> Step {
        if bytes == 0 {
            return Ok(());
        }
        let before = self.working.fetch_add(bytes, Ordering::Relaxed);
        let used = self.buffers + before;
        if bytes > self.limit.saturating_sub(used) {
            return Err(Fault::new(ErrorKind::MemoryLimit, self.refused(bytes, used)));
        }
        Ok(())
    }

    /// Whether working memory could grow by so many bytes.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let used = self.buffers + self.working.load(Ordering::Relaxed);
        bytes <= self.limit.saturating_sub(used)
    }

    /// Idle clusters hold more than is worth keeping.
    pub(crate) fn crowded(&mut self) -> bool {
        *self.working.get_mut() > IDLE.min(self.limit / 4)
    }

    /// All clusters are gone.
    pub(crate) fn forget_working(&mut self) {
        *self.working.get_mut() = 0;
    }
}
