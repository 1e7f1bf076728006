//! Capturing what is enqueued into a CUDA graph, and replaying it with one call.
//!
//! During a capture nothing runs: launches, fills and copies become nodes of the graph. The capturing thread
//! alone uses the context meanwhile; other threads wait. A graph remembers device addresses and not values,
//! so what it refers to has to stay: blocks freed during the capture, pinned buffers and modules used in it
//! are kept by the graph. Blocks that stay live past the capture are the caller's, who frees them after the
//! last replay.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::context::{CudaContext, Shared};
use super::error::CudaError;
use super::module::Loaded;
use super::pinned::PinnedInner;
use super::sys::{self, Handle};

/// What the capture under way has gathered.
pub(super) struct Capture {
    thread: ThreadId,
    kernels: Vec<Arc<str>>,
    modules: Vec<Arc<Loaded>>,
    pinned: Vec<Arc<PinnedInner>>,
    held: Vec<u64>,
}

impl Capture {
    /// Begun by this thread.
    fn new() -> Self {
        let thread = thread::current().id();
        Self { thread, kernels: Vec::new(), modules: Vec::new(), pinned: Vec::new(), held: Vec::new() }
    }

    /// The thread that captures.
    pub(super) fn thread(&self) -> ThreadId {
        self.thread
    }

    /// A kernel was launched into the graph.
    pub(super) fn launched(&mut self, kernel: Arc<str>, module: &Arc<Loaded>) {
        self.kernels.push(kernel);
        if !self.modules.iter().any(|kept| Arc::ptr_eq(kept, module)) {
            self.modules.push(module.clone());
        }
    }

    /// The graph copies from or to these pages.
    pub(super) fn keep(&mut self, pages: Arc<PinnedInner>) {
        if !self.pinned.iter().any(|kept| Arc::ptr_eq(kept, &pages)) {
            self.pinned.push(pages);
        }
    }

    /// The block was freed, and the graph may use it.
    pub(super) fn hold(&mut self, address: u64) {
        self.held.push(address);
    }
}

/// A captured sequence of work, instantiated. Dropping it waits for replays under way.
pub struct CudaGraph {
    shared: Arc<Shared>,
    executable: Handle<cust::sys::CUgraphExec_st>,
    /// What the launch log says of a replay.
    label: Arc<str>,
    kernels: Vec<Arc<str>>,
    nodes: usize,
    /// Kept loaded.
    _modules: Vec<Arc<Loaded>>,
    pinned: Vec<Arc<PinnedInner>>,
    held: Vec<u64>,
}

impl std::fmt::Debug for CudaGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CudaGraph({} nodes, cuda:{})", self.nodes, self.shared.ordinal)
    }
}

/// Ends the capture whatever happens to the closure: with its result, with an error, or with a panic.
struct EndCapture<'a> {
    shared: &'a Shared,
    ended: bool,
}

/// A graph as captured, destroyed when dropped.
struct Captured(*mut cust::sys::CUgraph_st);

impl Drop for Captured {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the graph came from cuStreamEndCapture and is destroyed once.
            unsafe { sys::cuGraphDestroy(self.0) };
        }
    }
}

impl EndCapture<'_> {
    /// The graph and what was gathered for it. What was gathered must be dropped after the context's lock,
    /// hence it is returned in every case.
    fn end(&mut self) -> (Result<Captured, CudaError>, Option<Capture>) {
        self.ended = true;
        let mut op = match self.shared.enter() {
            Ok(op) => op,
            Err(fault) => {
                let capture = self.shared.take_capture();
                self.shared.capture_ended();
                return (Err(fault), capture);
            }
        };
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream is being captured by this thread, the output is a live local.
        let raw = unsafe { sys::cuStreamEndCapture(self.shared.stream(), &mut graph) };
        let capture = op.state.capture.take();
        let result = op.check("cuStreamEndCapture", raw).map(|()| Captured(graph));
        drop(op);
        self.shared.capture_ended();
        (result, capture)
    }

    /// Ends the capture and gives what it held back.
    fn abandon(&mut self) {
        let (graph, capture) = self.end();
        drop(graph);
        if let (Some(capture), Ok(mut op)) = (capture, self.shared.enter()) {
            capture.held.iter().for_each(|&address| op.state.allocator.release_held(address));
            drop(op);
        }
    }
}

impl Drop for EndCapture<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.abandon();
        }
    }
}

impl CudaContext {
    /// Runs `f`, whose launches, fills, copies and uploads on this context become a graph instead of running,
    /// and makes it ready for [`Self::replay`]. Load modules and allocate before, where possible;
    /// synchronising and downloading inside `f` are errors.
    ///
    /// # Errors
    /// What `f` returns; a capture inside a capture; what the driver refuses to capture.
    pub fn capture<E: From<CudaError>>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<CudaGraph, E> {
        {
            let mut op = self.shared.enter()?;
            op.refuse_in_capture("capture")?;
            let stream = self.shared.stream();
            // SAFETY: the stream is alive and not being captured.
            let raw = unsafe { sys::cuStreamBeginCapture_v2(stream, sys::CAPTURE_MODE_RELAXED) };
            op.check("cuStreamBeginCapture", raw)?;
            op.state.capture = Some(Capture::new());
        }
        let mut end = EndCapture { shared: &self.shared, ended: false };
        f()?;
        let (graph, capture) = end.end();
        let Some(Capture { kernels, modules, pinned, held, .. }) = capture else {
            let reason = "the capture was ended by something else";
            return Err(CudaError::Misuse { operation: "capture", reason }.into());
        };
        let instantiated = graph.and_then(|graph| self.instantiate(&graph));
        let (executable, nodes) = match instantiated {
            Ok(done) => done,
            Err(error) => {
                if let Ok(mut op) = self.shared.enter() {
                    held.iter().for_each(|&address| op.state.allocator.release_held(address));
                }
                return Err(error.into());
            }
        };
        let mut names: Vec<&str> = Vec::new();
        for name in kernels.iter().rev() {
            if !names.contains(&&**name) && names.len() < 8 {
                names.push(name);
            }
        }
        let label =
            format!("a graph of {} kernels (among them, latest first: {})", kernels.len(), names.join(" "));
        Ok(CudaGraph {
            shared: self.shared.clone(),
            executable,
            label: label.into(),
            kernels,
            nodes,
            _modules: modules,
            pinned,
            held,
        })
    }

    fn instantiate(&self, graph: &Captured) -> Result<(Handle<cust::sys::CUgraphExec_st>, usize), CudaError> {
        let op = self.shared.enter()?;
        let (mut nodes, mut executable) = (0, std::ptr::null_mut());
        // SAFETY: the graph is alive; a null list asks for the number alone; the outputs are live locals.
        let (counted, instantiated) = unsafe {
            let counted = sys::cuGraphGetNodes(graph.0, std::ptr::null_mut(), &mut nodes);
            (counted, sys::cuGraphInstantiateWithFlags(&mut executable, graph.0, 0))
        };
        op.check("cuGraphGetNodes", counted)?;
        op.check("cuGraphInstantiate", instantiated)?;
        // Done now, so that the first replay is as fast as the next. A driver that cannot does it at the
        // first replay.
        // SAFETY: the executable graph and the stream are alive.
        unsafe { sys::cuGraphUpload(executable, self.shared.stream()) };
        Ok((Handle(executable), nodes))
    }

    /// Enqueues the graph, in stream order.
    ///
    /// # Errors
    /// A graph of another context; during a capture; the context is lost.
    pub fn replay(&self, graph: &CudaGraph) -> Result<(), CudaError> {
        if !Arc::ptr_eq(&self.shared, &graph.shared) {
            return Err(CudaError::Misuse {
                operation: "replay",
                reason: "the graph belongs to another device",
            });
        }
        let mut op = self.shared.enter()?;
        op.refuse_in_capture("replay")?;
        if !graph.kernels.is_empty() {
            op.state.launches.push(graph.label.clone());
        }
        // SAFETY: the executable graph is alive, and so is all it refers to: see the module.
        let raw = unsafe { sys::cuGraphLaunch(graph.executable.0, self.shared.stream()) };
        op.check("cuGraphLaunch", raw)?;
        graph.pinned.iter().try_for_each(|pages| pages.replayed(&mut op))
    }
}

impl CudaGraph {
    /// Nodes: kernels, copies and fills.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The kernels in the order they were launched.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|name| &**name)
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        let Ok(mut op) = self.shared.enter() else { return };
        // Inside a capture the stream cannot be waited for; the driver itself then puts the destruction off
        // until the graph has run.
        // SAFETY: the executable graph is alive and destroyed once. No replay is under way after the wait.
        unsafe {
            if op.state.capture.is_none() {
                sys::cuStreamSynchronize(self.shared.stream());
            }
            sys::cuGraphExecDestroy(self.executable.0);
        }
        self.held.iter().for_each(|&address| op.state.allocator.release_held(address));
    }
}
