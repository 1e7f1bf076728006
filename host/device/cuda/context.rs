//! A device opened: its primary context, its one stream, and the order in which threads use them.
//!
//! Clones of a [`CudaContext`], modules, events, pinned buffers and graphs all hold the same [`Shared`]
//! state. Every operation goes through [`Shared::enter`], which takes the state's lock, waits while another
//! thread captures a graph, refuses when the context is lost, and makes the context current on the thread.
//! The lock is held while work is enqueued, and not while [`CudaContext::synchronize`] or a download waits
//! for the device.
//!
//! A lost context (a kernel faulted) is kept until everything made from it is dropped; then the primary
//! context is reset, and the device can be opened anew. Nothing calls the driver with a handle of a lost
//! context.
//!
//! Lock order: registry of contexts; a context's state; a pinned buffer's use.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};

use cust::context::Context;
use cust::device::Device;
use cust::stream::{Stream, StreamFlags};

use super::alloc::CachingAllocator;
use super::error::{CudaError, DriverCode};
use super::graph::Capture;
use super::memory::Staging;
use super::sys::{self, CUevent, CUstream, Handle, attribute};
use super::{AllocatorStats, info};

/// `CU_EVENT_DISABLE_TIMING`: for events that only order things.
const EVENT_DISABLE_TIMING: u32 = 2;

/// A GPU opened by this process; see [the module](super). Clones share it.
#[derive(Clone)]
pub struct CudaContext {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for CudaContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CudaContext(cuda:{})", self.shared.ordinal)
    }
}

/// What the device allows a launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads_per_block: u32,
    /// Without opting in.
    pub(super) shared_bytes: u32,
    /// With opting in.
    pub(super) shared_bytes_optin: u32,
}

/// What all objects of a context share.
pub(super) struct Shared {
    pub(super) ordinal: usize,
    pub(super) limits: Limits,
    device: c_int,
    context: ManuallyDrop<Context>,
    stream: ManuallyDrop<Stream>,
    state: Mutex<State>,
    /// Signalled when a capture ends.
    turn: Condvar,
    /// Set once, when the context is lost.
    fault: OnceLock<CudaError>,
}

/// What changes, under the lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) allocator: CachingAllocator,
    pub(super) staging: Option<Staging>,
    pub(super) launches: LaunchLog,
    pub(super) capture: Option<Capture>,
    /// Events that nobody waits on at the moment.
    idle_events: Vec<RawEvent>,
}

/// The contexts of the process, by ordinal. An entry leaves when its context has been torn down, which `GONE`
/// signals.
static CONTEXTS: Mutex<BTreeMap<usize, Weak<Shared>>> = Mutex::new(BTreeMap::new());
static GONE: Condvar = Condvar::new();

/// A lock whose holder panicked holds no broken invariant here: every change under these locks is a single
/// step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CudaContext {
    /// Opens `cuda:ordinal`, or joins the context that this process already has on it.
    ///
    /// # Errors
    /// No CUDA here, no such device, the device refuses, or a context lost to a faulting kernel is still held
    /// somewhere.
    pub fn new(ordinal: usize) -> Result<Self, CudaError> {
        let device = info::checked_ordinal(ordinal)?;
        let mut contexts = lock(&CONTEXTS);
        while let Some(entry) = contexts.get(&ordinal) {
            if let Some(shared) = entry.upgrade() {
                // Dropping the last reference takes the registry's lock.
                drop(contexts);
                return match shared.fault.get() {
                    None => Ok(Self { shared }),
                    Some(_) => Err(CudaError::Misuse {
                        operation: "opening the device again",
                        reason: "its context was lost to a faulting kernel and is still in use: drop every tensor, \
                                 model and device made from it first",
                    }),
                };
            }
            // It is being torn down, maybe reset: wait, or the reset would hit the new one.
            contexts = GONE.wait(contexts).unwrap_or_else(PoisonError::into_inner);
        }
        let failed = |call| move |error| CudaError::Driver { call, code: DriverCode(error as u32) };
        let context = Device::get_device(ordinal as u32).map_err(failed("cuDeviceGet"))?;
        let context = Context::new(context).map_err(failed("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: the context is alive.
        let raw = unsafe { sys::cuCtxSetCurrent(context.as_raw()) };
        DriverCode::check(raw).map_err(|code| CudaError::Driver { call: "cuCtxSetCurrent", code })?;
        let stream = Stream::new(StreamFlags::DEFAULT, None).map_err(failed("cuStreamCreate"))?;
        let limits = Limits {
            threads_per_block: info::attribute(device, attribute::MAX_THREADS_PER_BLOCK),
            shared_bytes: info::attribute(device, attribute::MAX_SHARED_MEMORY_PER_BLOCK),
            shared_bytes_optin: info::attribute(device, attribute::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        };
        let shared = Arc::new(Shared {
            ordinal,
            limits,
            device,
            context: ManuallyDrop::new(context),
            stream: ManuallyDrop::new(stream),
            state: Mutex::default(),
            turn: Condvar::new(),
            fault: OnceLock::new(),
        });
        contexts.insert(ordinal, Arc::downgrade(&shared));
        Ok(Self { shared })
    }

    /// N of `cuda:N`.
    pub fn ordinal(&self) -> usize {
        self.shared.ordinal
    }

    /// Most shared memory of a block, static and dynamic, in bytes.
    pub fn shared_limit(&self) -> u32 {
        self.shared.limits.shared_bytes.max(self.shared.limits.shared_bytes_optin)
    }

    /// Waits until everything enqueued so far, by any thread, is done.
    ///
    /// # Errors
    /// The fault of a kernel that ran since the last time, and once lost always; during a capture.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let mut op = self.shared.enter()?;
        op.refuse_in_capture("synchronize")?;
        let fence = op.record_fence()?;
        self.wait(op, fence)
    }

    /// Waits for a fence just recorded, without the lock: other threads go on enqueueing meanwhile.
    pub(super) fn wait(&self, op: Op<'_>, fence: RawEvent) -> Result<(), CudaError> {
        let mark = op.state.launches.mark();
        drop(op);
        // SAFETY: the event is alive: it is in nobody else's hands until it is given back below.
        let raw = unsafe { sys::cuEventSynchronize(fence.0.0) };
        let mut op = self.shared.enter()?;
        op.check("cuEventSynchronize", raw)?;
        op.state.idle_events.push(fence);
        op.state.launches.forget(mark);
        Ok(())
    }

    /// Free and total device memory in bytes, for all processes.
    ///
    /// # Errors
    /// The context is lost.
    pub fn memory_info(&self) -> Result<(usize, usize), CudaError> {
        let op = self.shared.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the outputs are live locals, and the context is current.
        op.check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// What the caching allocator did and holds.
    pub fn allocator_stats(&self) -> AllocatorStats {
        lock(&self.shared.state).allocator.stats()
    }

    /// A new event, for timing and for waiting on a point in the stream.
    ///
    /// # Errors
    /// The context is lost.
    pub fn event(&self) -> Result<Event, CudaError> {
        let raw = self.shared.enter()?.new_event(0)?;
        Ok(Event { shared: self.shared.clone(), raw })
    }
}

/// A point in a context's stream.
pub struct Event {
    shared: Arc<Shared>,
    raw: RawEvent,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event(cuda:{})", self.shared.ordinal)
    }
}

impl Event {
    /// Marks the point behind everything enqueued so far.
    ///
    /// # Errors
    /// The context is lost; during a capture.
    pub fn record(&self) -> Result<(), CudaError> {
        let op = self.shared.enter()?;
        op.refuse_in_capture("Event::record")?;
        op.record(self.raw)
    }

    /// Waits until the device has passed the point. An event never recorded is passed.
    ///
    /// # Errors
    /// The context is lost.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        drop(self.shared.enter()?);
        // SAFETY: the event lives as long as `self`.
        let raw = unsafe { sys::cuEventSynchronize(self.raw.0.0) };
        self.shared.enter()?.check("cuEventSynchronize", raw)
    }

    /// Milliseconds of device time from this event to `end`; waits for `end`. The clock ticks at about half a
    /// microsecond.
    ///
    /// # Errors
    /// One of them was never recorded, or they belong to two devices; the context is lost.
    pub fn elapsed_ms(&self, end: &Event) -> Result<f32, CudaError> {
        end.synchronize()?;
        let mut milliseconds = 0.0;
        let op = self.shared.enter()?;
        // SAFETY: both events are alive, the output is a live local.
        let raw = unsafe { sys::cuEventElapsedTime(&mut milliseconds, self.raw.0.0, end.raw.0.0) };
        op.check("cuEventElapsedTime", raw)?;
        Ok(milliseconds)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(op) = self.shared.enter() {
            op.destroy_event(self.raw);
        }
    }
}

/// An event's handle. Whoever holds it gives it back through [`Op::destroy_event`] or [`State::idle_events`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEvent(pub(super) Handle<<CUevent as Pointee>::Target>);

/// Names what a handle type points to.
pub(super) trait Pointee {
    type Target;
}
impl<T> Pointee for *mut T {
    type Target = T;
}

/// The right to call the driver for a context: its lock is held and it is current on this thread.
pub(super) struct Op<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: MutexGuard<'a, State>,
}

impl Shared {
    /// See the module.
    pub(super) fn enter(&self) -> Result<Op<'_>, CudaError> {
        let mut state = lock(&self.state);
        while state.capture.as_ref().is_some_and(|capture| capture.thread() != current_thread()) {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(fault) = self.fault.get() {
            return Err(fault.clone());
        }
        let op = Op { shared: self, state };
        // SAFETY: the context is alive as long as `self`.
        op.check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.context.as_raw()) })?;
        Ok(op)
    }

    /// The fault that lost the context, if it is lost.
    pub(super) fn fault(&self) -> Option<&CudaError> {
        self.fault.get()
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream.as_inner()
    }

    /// The capture under way, taken from a context that was lost during it.
    pub(super) fn take_capture(&self) -> Option<Capture> {
        lock(&self.state).capture.take()
    }

    /// Wakes the threads that wait for a capture to end.
    pub(super) fn capture_ended(&self) {
        self.turn.notify_all();
    }

    /// Turns a driver result into ours; a code that the driver will repeat for ever loses the context.
    pub(super) fn check(&self, launches: &LaunchLog, call: &'static str, raw: u32) -> Result<(), CudaError> {
        let Err(code) = DriverCode::check(raw) else { return Ok(()) };
        if !code.is_sticky() {
            return Err(CudaError::Driver { call, code });
        }
        let fault = || CudaError::Fault { ordinal: self.ordinal, code, kernels: launches.sentence() };
        Err(self.fault.get_or_init(fault).clone())
    }
}

fn current_thread() -> ThreadId {
    thread::current().id()
}

impl Op<'_> {
    pub(super) fn check(&self, call: &'static str, raw: u32) -> Result<(), CudaError> {
        self.shared.check(&self.state.launches, call, raw)
    }

    pub(super) fn refuse_in_capture(&self, operation: &'static str) -> Result<(), CudaError> {
        match self.state.capture {
            None => Ok(()),
            Some(_) => Err(CudaError::Misuse {
                operation,
                reason: "not possible while a graph is captured: do it before or after the capture",
            }),
        }
    }

    pub(super) fn new_event(&self, flags: u32) -> Result<RawEvent, CudaError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: the output is a live local, and the context is current.
        self.check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        Ok(RawEvent(Handle(event)))
    }

    pub(super) fn new_fence(&self) -> Result<RawEvent, CudaError> {
        self.new_event(EVENT_DISABLE_TIMING)
    }

    pub(super) fn record(&self, event: RawEvent) -> Result<(), CudaError> {
        // SAFETY: event and stream are alive and of this context.
        self.check("cuEventRecord", unsafe { sys::cuEventRecord(event.0.0, self.shared.stream()) })
    }

    /// An event behind everything enqueued so far, taken from the idle ones.
    pub(super) fn record_fence(&mut self) -> Result<RawEvent, CudaError> {
        let event = match self.state.idle_events.pop() {
            Some(event) => event,
            None => self.new_fence()?,
        };
        self.record(event)?;
        Ok(event)
    }

    pub(super) fn destroy_event(&self, event: RawEvent) {
        // SAFETY: the event is alive and its holder gives it up. Destroying one the device has not passed is
        // allowed. There is nobody to tell about an error.
        unsafe { sys::cuEventDestroy_v2(event.0.0) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut contexts = lock(&CONTEXTS);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Where the context is lost, which the first two calls find out at the latest, only the reset and the
        // release of the reference count follow. Errors have nobody to go to.
        // SAFETY: this is the last reference, so nobody else uses any of these handles, and they are alive
        // unless the context is lost.
        unsafe {
            let healthy = self.fault.get().is_none()
                && sys::cuCtxSetCurrent(self.context.as_raw()) == 0
                && sys::cuStreamSynchronize(self.stream.as_inner()) == 0;
            if healthy {
                state.allocator.take_all().into_iter().for_each(|address| _ = sys::cuMemFree_v2(address));
                if let Some(staging) = state.staging.take() {
                    staging.destroy();
                }
                state.idle_events.drain(..).for_each(|event| _ = sys::cuEventDestroy_v2(event.0.0));
                ManuallyDrop::drop(&mut self.stream);
            } else {
                sys::cuDevicePrimaryCtxReset_v2(self.device);
            }
            ManuallyDrop::drop(&mut self.context);
        }
        contexts.remove(&self.ordinal);
        GONE.notify_all();
    }
}

/// The names of the kernels launched since the last successful synchronise, the latest few of them.
#[derive(Debug, Default)]
pub(super) struct LaunchLog {
    names: VecDeque<(u64, Arc<str>)>,
    next: u64,
}

impl LaunchLog {
    const KEPT: usize = 16;

    pub(super) fn push(&mut self, name: Arc<str>) {
        if self.names.len() == Self::KEPT {
            self.names.pop_front();
        }
        self.names.push_back((self.next, name));
        self.next += 1;
    }

    /// The point behind the launches so far.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    /// The launches before `mark` are known to have ended well.
    pub(super) fn forget(&mut self, mark: u64) {
        while self.names.front().is_some_and(|(number, _)| *number < mark) {
            self.names.pop_front();
        }
    }

    fn sentence(&self) -> String {
        if self.names.is_empty() {
            return "No kernel was launched since the last synchronise".to_owned();
        }
        let names: Vec<&str> = self.names.iter().rev().map(|(_, name)| &**name).collect();
        format!("Kernels launched since the last synchronise, latest first: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launch_log_names_the_latest_first_and_forgets_what_ended_well() {
        let mut log = LaunchLog::default();
        log.push("a".into());
        log.push("b".into());
        let mark = log.mark();
        log.push("c".into());
        assert!(log.sentence().ends_with("latest first: c, b, a"), "{}", log.sentence());
        log.forget(mark);
        assert!(log.sentence().ends_with("latest first: c"), "{}", log.sentence());
        (0..40).for_each(|i| log.push(format!("k{i}").into()));
        assert_eq!(log.names.len(), LaunchLog::KEPT);
        log.forget(log.mark());
        assert!(log.sentence().starts_with("No kernel"));
    }
}
