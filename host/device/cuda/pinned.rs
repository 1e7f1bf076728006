//! Pinned host memory: pages the device copies from and to by itself.
//!
//! The pages come from the host's allocator and are then registered with the driver, so they stay valid
//! memory whatever becomes of the context. Where registering is refused (some virtual machines and containers
//! do) the buffer works all the same, at the speed of ordinary memory.
//!
//! Device and host never touch a buffer at once: each copy leaves an event behind, and [`PinnedBuffer::read`]
//! and [`PinnedBuffer::write`] wait for it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::{Arc, Mutex, MutexGuard};

use super::context::{CudaContext, Op, RawEvent, Shared, lock};
use super::error::CudaError;
use super::sys::{self, Handle};

/// The page size assumed for alignment; registering covers whole pages.
const PAGE: usize = 4096;

/// Page-aligned, zeroed host memory, registered with the driver if it let us.
pub(super) struct HostPages {
    address: Handle<u8>,
    layout: Layout,
    registered: bool,
}

impl HostPages {
    /// At least `bytes` bytes; a context is current.
    pub(super) fn pin(bytes: usize) -> Result<Self, CudaError> {
        let too_large = CudaError::Misuse {
            operation: "pinned",
            reason: "the buffer is larger than an address space: ask for fewer bytes",
        };
        let size = bytes.max(1).checked_next_multiple_of(PAGE).ok_or(too_large.clone())?;
        let layout = Layout::from_size_align(size, PAGE).map_err(|_| too_large)?;
        // SAFETY: the layout's size is not zero.
        let address = unsafe { alloc_zeroed(layout) };
        if address.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the pages are allocated, and stay so until they are unpinned or the context is gone.
        let raw = unsafe { sys::cuMemHostRegister_v2(address.cast(), size, sys::HOST_REGISTER_PORTABLE) };
        Ok(Self { address: Handle(address), layout, registered: raw == 0 })
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.address.0
    }

    /// Takes the registration back.
    ///
    /// # Safety
    /// The context is current, and the device is done with the pages.
    pub(super) unsafe fn unpin(&self) {
        if self.registered {
            // SAFETY: registered in `pin`, and the caller's promise. There is nobody to tell about an error.
            unsafe { sys::cuMemHostUnregister(self.address.0.cast()) };
        }
    }
}

impl Drop for HostPages {
    fn drop(&mut self) {
        // SAFETY: allocated in `pin` with this layout, freed once.
        unsafe { dealloc(self.address.0, self.layout) };
    }
}

/// What a buffer and the graphs that copy from it share.
pub(super) struct PinnedInner {
    shared: Arc<Shared>,
    pages: HostPages,
    bytes: usize,
    usage: Mutex<Usage>,
}

/// The device's last use of the pages.
pub(super) struct Usage {
    event: RawEvent,
    pending: bool,
}

/// Host memory the device copies from and to directly; see the module. Clones share it.
#[derive(Clone)]
pub struct PinnedBuffer {
    pub(super) inner: Arc<PinnedInner>,
}

impl std::fmt::Debug for PinnedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedBuffer({} bytes, cuda:{})", self.inner.bytes, self.inner.shared.ordinal)
    }
}

impl PinnedInner {
    /// The pages for the host alone: waits until the device is done with them, and keeps other threads away.
    fn host_turn(&self) -> Result<MutexGuard<'_, Usage>, CudaError> {
        if let Some(fault) = self.shared.fault() {
            return Err(fault.clone());
        }
        let mut usage = lock(&self.usage);
        if usage.pending {
            // SAFETY: the event is alive as long as the buffer.
            let raw = unsafe { sys::cuEventSynchronize(usage.event.0.0) };
            if raw != 0 {
                // The context's lock comes before this one, and has the names of the kernels.
                drop(usage);
                self.shared.enter()?.check("cuEventSynchronize", raw)?;
                return self.host_turn();
            }
            usage.pending = false;
        }
        Ok(usage)
    }

    fn range(&self, operation: &'static str, offset: usize, bytes: usize) -> Result<(), CudaError> {
        if offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        let address = (self.pages.address() as u64).wrapping_add(offset as u64);
        Err(CudaError::BadRange { operation, address, bytes, reason: "it is not inside the pinned buffer" })
    }

    /// Leaves an event behind the copies enqueued so far, or, in a capture, the buffer with the graph.
    fn used(self: &Arc<Self>, op: &mut Op<'_>) -> Result<(), CudaError> {
        match &mut op.state.capture {
            Some(capture) => capture.keep(self.clone()),
            None => {
                let mut usage = lock(&self.usage);
                op.record(usage.event)?;
                usage.pending = true;
            }
        }
        Ok(())
    }

    /// As [`Self::used`], after a replay of a graph that copies from or to the buffer.
    pub(super) fn replayed(self: &Arc<Self>, op: &mut Op<'_>) -> Result<(), CudaError> {
        self.used(op)
    }
}

impl Drop for PinnedInner {
    fn drop(&mut self) {
        let event = self.usage.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).event;
        let Ok(op) = self.shared.enter() else { return };
        // SAFETY: the event is alive; after it the device is done with the pages, as this was the last
        // reference to them.
        unsafe {
            sys::cuEventSynchronize(event.0.0);
            self.pages.unpin();
        }
        op.destroy_event(event);
    }
}

impl PinnedBuffer {
    /// A buffer made while the context's lock is held, holding a copy of `bytes`.
    pub(super) fn within(op: &Op<'_>, shared: &Arc<Shared>, bytes: &[u8]) -> Result<Self, CudaError> {
        let buffer = Self::zeroed(op, shared, bytes.len())?;
        // SAFETY: the pages are at least that long, new, and nobody else's.
        unsafe { buffer.inner.pages.address().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(buffer)
    }

    fn zeroed(op: &Op<'_>, shared: &Arc<Shared>, bytes: usize) -> Result<Self, CudaError> {
        let pages = HostPages::pin(bytes)?;
        let event = op.new_fence()?;
        let usage = Mutex::new(Usage { event, pending: false });
        Ok(Self { inner: Arc::new(PinnedInner { shared: shared.clone(), pages, bytes, usage }) })
    }

    /// Enqueues the copy to the device; ranges are checked.
    pub(super) fn copy_in(
        &self,
        op: &mut Op<'_>,
        to: u64,
        offset: usize,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: the offset is inside the pages, and they live until the device is done: see `used` and the
        // drop above.
        let raw = unsafe {
            let from = self.inner.pages.address().add(offset);
            sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, op.shared.stream())
        };
        self.inner.used(op)?;
        op.check("cuMemcpyHtoDAsync", raw)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.inner.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.inner.bytes == 0
    }

    /// Whether the driver pinned it. If not it works, more slowly.
    pub fn is_pinned(&self) -> bool {
        self.inner.pages.registered
    }

    /// Copies `from` into the buffer at `offset`, once the device is done with it.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), CudaError> {
        self.inner.range("write to a pinned buffer", offset, from.len())?;
        let _turn = self.inner.host_turn()?;
        // SAFETY: the range is inside the pages; the device is done with them, and the lock keeps other
        // threads away.
        unsafe { self.inner.pages.address().add(offset).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }

    /// Copies the buffer's bytes from `offset` on into `to`, once the device is done with it.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), CudaError> {
        self.inner.range("read of a pinned buffer", offset, to.len())?;
        let _turn = self.inner.host_turn()?;
        // SAFETY: as in `write`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(self.inner.pages.address().add(offset), to.len()) };
        Ok(())
    }
}

impl CudaContext {
    /// A zeroed buffer of pinned host memory.
    ///
    /// # Errors
    /// The context is lost.
    pub fn pinned(&self, bytes: usize) -> Result<PinnedBuffer, CudaError> {
        PinnedBuffer::zeroed(&self.shared.enter()?, &self.shared, bytes)
    }

    /// Copies `bytes` bytes of a pinned buffer to the device, in stream order, without waiting. In a captured
    /// graph each replay copies what the buffer holds then.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; a buffer of another context; the context is lost.
    pub fn upload_pinned(
        &self,
        to: u64,
        from: &PinnedBuffer,
        offset: usize,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let mut op = self.enter_with(from, "upload_pinned", offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        op.check_range("upload_pinned", to, bytes)?;
        from.copy_in(&mut op, to, offset, bytes)
    }

    /// Copies device bytes into a pinned buffer, in stream order, without waiting: [`PinnedBuffer::read`]
    /// waits.
    ///
    /// # Errors
    /// As [`Self::upload_pinned`].
    pub fn download_pinned(
        &self,
        from: u64,
        to: &PinnedBuffer,
        offset: usize,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let mut op = self.enter_with(to, "download_pinned", offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        op.check_range("download_pinned", from, bytes)?;
        // SAFETY: both ranges were checked; the pages live until the device is done with them.
        let raw = unsafe {
            let to = to.inner.pages.address().add(offset);
            sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, op.shared.stream())
        };
        to.inner.used(&mut op)?;
        op.check("cuMemcpyDtoHAsync", raw)
    }

    fn enter_with(
        &self,
        buffer: &PinnedBuffer,
        operation: &'static str,
        offset: usize,
        bytes: usize,
    ) -> Result<Op<'_>, CudaError> {
        if !Arc::ptr_eq(&self.shared, &buffer.inner.shared) {
            return Err(CudaError::Misuse {
                operation,
                reason: "the pinned buffer belongs to another device",
            });
        }
        buffer.inner.range(operation, offset, bytes)?;
        self.shared.enter()
    }
}
