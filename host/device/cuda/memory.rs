//! Device memory: allocation, and copies and fills in stream order.
//!
//! Every address range is checked against the live allocations first, so a wrong one is an error here and
//! never a write somewhere else.

use super::alloc::{CachingAllocator, DeviceMemory};
use super::context::{CudaContext, LaunchLog, Op, RawEvent, Shared, State};
use super::error::{CudaError, DriverCode};
use super::pinned::{HostPages, PinnedBuffer};
use super::staging::{Fences, StagingRing};
use super::sys;

/// Four segments of 1 MiB: enough that the host runs ahead of the device by several uploads, small enough to
/// pin on any machine.
const SEGMENTS: usize = 4;
const SEGMENT_BYTES: usize = 1 << 20;

/// The staging ring with its memory and fences.
pub(super) struct Staging {
    ring: StagingRing,
    pages: HostPages,
    fences: Vec<RawEvent>,
}

impl Staging {
    fn new(op: &Op<'_>) -> Result<Self, CudaError> {
        let ring = StagingRing::new(SEGMENTS, SEGMENT_BYTES);
        let pages = HostPages::pin(ring.bytes())?;
        let fences = (0..SEGMENTS).map(|_| op.new_fence()).collect::<Result<_, _>>()?;
        Ok(Self { ring, pages, fences })
    }

    /// Gives everything back.
    ///
    /// # Safety
    /// The context is current and the device is done with the ring.
    pub(super) unsafe fn destroy(self) {
        for fence in &self.fences {
            // SAFETY: the events are this ring's own, and alive.
            unsafe { sys::cuEventDestroy_v2(fence.0.0) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.pages.unpin() };
    }
}

/// The driver as the allocator sees it.
struct DriverMemory<'a> {
    shared: &'a Shared,
    launches: &'a LaunchLog,
    capturing: bool,
}

impl DeviceMemory for DriverMemory<'_> {
    type Error = CudaError;

    fn allocate(&mut self, bytes: usize) -> Result<Option<u64>, CudaError> {
        let mut address = 0;
        // SAFETY: the output is a live local, and the context is current.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes) } {
            raw if raw == DriverCode::OUT_OF_MEMORY.0 => Ok(None),
            raw => self.shared.check(self.launches, "cuMemAlloc", raw).map(|()| Some(address)),
        }
    }

    fn release(&mut self, address: u64) -> Result<(), CudaError> {
        // SAFETY: the allocator passes addresses it got above, once each, after draining.
        self.shared.check(self.launches, "cuMemFree", unsafe { sys::cuMemFree_v2(address) })
    }

    fn drain(&mut self) -> Result<bool, CudaError> {
        if self.capturing {
            return Ok(false);
        }
        // SAFETY: the stream is alive.
        let raw = unsafe { sys::cuStreamSynchronize(self.shared.stream()) };
        self.shared.check(self.launches, "cuStreamSynchronize", raw).map(|()| true)
    }
}

/// The fences of the staging ring as the driver's events.
struct RingFences<'a> {
    shared: &'a Shared,
    launches: &'a LaunchLog,
    events: &'a [RawEvent],
}

impl Fences for RingFences<'_> {
    type Error = CudaError;

    fn record(&mut self, segment: usize) -> Result<(), CudaError> {
        // SAFETY: event and stream are alive and of this context.
        let raw = unsafe { sys::cuEventRecord(self.events[segment].0.0, self.shared.stream()) };
        self.shared.check(self.launches, "cuEventRecord", raw)
    }

    fn wait(&mut self, segment: usize) -> Result<(), CudaError> {
        // SAFETY: the event is alive.
        let raw = unsafe { sys::cuEventSynchronize(self.events[segment].0.0) };
        self.shared.check(self.launches, "cuEventSynchronize", raw)
    }
}

impl Op<'_> {
    fn with_allocator<R>(&mut self, f: impl FnOnce(&mut CachingAllocator, &mut DriverMemory<'_>) -> R) -> R {
        let State { allocator, launches, capture, .. } = &mut *self.state;
        f(allocator, &mut DriverMemory { shared: self.shared, launches, capturing: capture.is_some() })
    }

    /// The range is inside one live allocation.
    pub(super) fn check_range(
        &self,
        operation: &'static str,
        address: u64,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let checked = self.state.allocator.check_range(address, bytes);
        checked.map_err(|reason| CudaError::BadRange { operation, address, bytes, reason })
    }
}

impl CudaContext {
    /// `bytes` bytes of device memory, uninitialised, aligned to 256 bytes or more; usually from the cache.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] when the device is full even after cached blocks were given back. While a
    /// graph is captured they cannot be given back: allocate before.
    pub fn alloc(&self, bytes: usize) -> Result<u64, CudaError> {
        let mut op = self.shared.enter()?;
        if let Some(address) = op.with_allocator(|allocator, memory| allocator.allocate(memory, bytes))? {
            return Ok(address);
        }
        let (mut free, mut total) = (0, 0);
        // SAFETY: the outputs are live locals, and the context is current. On an error the text says 0, which
        // is better than no text.
        unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        let in_use = op.state.allocator.stats().in_use_bytes;
        Err(CudaError::OutOfMemory { ordinal: self.ordinal(), requested: bytes, in_use, free, total })
    }

    /// Takes a block back. Work that was enqueued before may still use it; whoever gets it next comes after
    /// that work.
    ///
    /// A block freed during a capture stays with the graph until that is dropped, as each replay uses it.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]: there is no live block at this address.
    pub fn free(&self, address: u64) -> Result<(), CudaError> {
        let mut op = self.shared.enter()?;
        let State { allocator, capture, .. } = &mut *op.state;
        let known = match capture {
            None => allocator.free(address),
            Some(capture) => {
                let known = allocator.hold(address);
                if known {
                    capture.hold(address);
                }
                known
            }
        };
        let reason = "no live allocation starts there: was it freed twice?";
        if known { Ok(()) } else { Err(CudaError::BadRange { operation: "free", address, bytes: 0, reason }) }
    }

    /// Gives cached blocks back to the driver, for other programs on the GPU.
    ///
    /// # Errors
    /// During a capture; the context is lost.
    pub fn trim(&self) -> Result<(), CudaError> {
        let mut op = self.shared.enter()?;
        op.refuse_in_capture("trim")?;
        op.with_allocator(|allocator, memory| allocator.trim(memory)).map(|_| ())
    }

    /// Copies host bytes to the device. `from` may be changed as soon as this returns; the copy itself is in
    /// stream order.
    ///
    /// During a capture the bytes of this moment become part of the graph. For bytes that change from replay
    /// to replay use [`Self::upload_pinned`], or upload before each replay.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn upload(&self, to: u64, from: &[u8]) -> Result<(), CudaError> {
        let mut op = self.shared.enter()?;
        if from.is_empty() {
            return Ok(());
        }
        op.check_range("upload", to, from.len())?;
        if op.state.capture.is_some() {
            let frozen = PinnedBuffer::within(&op, &self.shared, from)?;
            return frozen.copy_in(&mut op, to, 0, from.len());
        }
        if op.state.staging.is_none() {
            op.state.staging = Some(Staging::new(&op)?);
        }
        let State { staging, launches, .. } = &mut *op.state;
        let Some(Staging { ring, pages, fences }) = staging else { return Ok(()) };
        let mut fences = RingFences { shared: &self.shared, launches, events: fences };
        let (mut to, mut rest) = (to, from);
        while !rest.is_empty() {
            let range = ring.reserve(rest.len(), &mut fences)?;
            let (piece, tail) = rest.split_at(range.len());
            // SAFETY: the ring gives out ranges inside its pages, and only such as the device is done with;
            // the lock is held, so no other thread writes there.
            let raw = unsafe {
                let staged = pages.address().add(range.start);
                staged.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                sys::cuMemcpyHtoDAsync_v2(to, staged.cast(), piece.len(), self.shared.stream())
            };
            self.shared.check(launches, "cuMemcpyHtoDAsync", raw)?;
            to += piece.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Copies device bytes to the host, after everything enqueued so far, and waits for them.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; during a capture; a kernel that ran before faulted.
    pub fn download(&self, from: u64, to: &mut [u8]) -> Result<(), CudaError> {
        let mut op = self.shared.enter()?;
        op.refuse_in_capture("download")?;
        if to.is_empty() {
            return Ok(());
        }
        op.check_range("download", from, to.len())?;
        let stream = self.shared.stream();
        // Below the stream is waited for. Where that fails the context is lost, and copies nothing any more.
        // SAFETY: the device range was checked; `to` is borrowed mutably until this function returns, and it
        // does not return before the copy is done or will not be.
        let copied = unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len(), stream) };
        op.check("cuMemcpyDtoHAsync", copied)?;
        match op.record_fence() {
            Ok(fence) => self.wait(op, fence),
            Err(error) => {
                // SAFETY: the stream is alive.
                unsafe { sys::cuStreamSynchronize(stream) };
                Err(error)
            }
        }
    }

    /// Copies between two places of the device that do not overlap, in stream order.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), CudaError> {
        let op = self.shared.enter()?;
        if bytes == 0 {
            return Ok(());
        }
        op.check_range("copy (source)", from, bytes)?;
        op.check_range("copy (destination)", to, bytes)?;
        if to.abs_diff(from) < bytes as u64 {
            let reason = "source and destination overlap";
            return Err(CudaError::BadRange { operation: "copy", address: to, bytes, reason });
        }
        // SAFETY: both ranges were checked.
        op.check("cuMemcpyDtoDAsync", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to, from, bytes, self.shared.stream())
        })
    }

    /// Sets `count` bytes to `value`, in stream order.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn fill_u8(&self, to: u64, value: u8, count: usize) -> Result<(), CudaError> {
        let op = self.shared.enter()?;
        if count == 0 {
            return Ok(());
        }
        op.check_range("fill_u8", to, count)?;
        // SAFETY: the range was checked.
        op.check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to, value, count, self.shared.stream()) })
    }

    /// Sets `count` 32-bit words to `value`, in stream order; `to` is a multiple of 4.
    ///
    /// # Errors
    /// [`CudaError::BadRange`]; the context is lost.
    pub fn fill_u32(&self, to: u64, value: u32, count: usize) -> Result<(), CudaError> {
        let op = self.shared.enter()?;
        if count == 0 {
            return Ok(());
        }
        let bytes = count.saturating_mul(4);
        op.check_range("fill_u32", to, bytes)?;
        if !to.is_multiple_of(4) {
            let reason = "the address is not a multiple of 4";
            return Err(CudaError::BadRange { operation: "fill_u32", address: to, bytes, reason });
        }
        // SAFETY: the range and its alignment were checked.
        op.check("cuMemsetD32Async", unsafe { sys::cuMemsetD32Async(to, value, count, self.shared.stream()) })
    }
}
