//! Operations: one file each, found through [`registry`].
//!
//! An operation's file opens with its formula and gradient, and holds: the type that implements [`Op`] (shape rule, cost,
//! CPU implementation generic over `f32`/`f64`, kernel launch, gradient as graph operations), the builder method on
//! [`Graph`](crate::graph::Graph) that users call, and an [`OpEntry`] that tells the property tests how to draw
//! instances. Adding an operation touches its file, its kernels' file in `gpu-kernels`, and one line of [`registry`].
//!
//! This is the only module that names kernels, and the graph knows operations only through [`Op`].

pub mod activation;
pub mod addmm;
pub mod chain;
pub mod clip;
mod context;
pub(crate) mod cpu;
pub mod dropout;
pub mod elementwise;
pub mod expand;
pub mod gather;
pub mod gemm;
pub mod grouped;
mod lanes;
pub mod layout;
pub mod loss;
mod loss_cpu;
pub mod matmul;
pub mod metrics;
pub mod minibatch;
pub mod optim;
pub mod population;
mod precision;
pub mod random;
pub mod reduce;
mod reduce_cpu;
pub mod sample;
pub mod scaler;
pub mod score;
mod sgemm;
mod simd;
pub mod softmax;

use std::fmt;
use std::sync::Arc;

pub use context::{CpuCtx, KernelCtx, Slot};
pub use sample::{Domain, Draw, Sample, SampleInput, Tolerance};

use crate::device::{DType, DeviceError, Target};
use crate::graph::Vjp;

/// Element type and shape of a tensor; row-major and contiguous. A scalar has shape `[1]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis, outermost first; each at least 1.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A tensor of `f32`.
    pub fn f32(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype: DType::F32, shape: shape.into() }
    }
    /// A tensor of `u32`.
    pub fn u32(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype: DType::U32, shape: shape.into() }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether there are none (a shape with a zero, which graphs refuse).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.bytes()
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Why an operation cannot be built.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// Operand types do not fit.
    #[error("{op}: {reason}; got {inputs}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The rule that is broken.
        reason: String,
        /// The operand types.
        inputs: String,
    },
    /// An attribute is out of its range.
    #[error("{op}: {reason}")]
    Attribute {
        /// The operation.
        op: &'static str,
        /// What is wrong, and the range.
        reason: String,
    },
    /// No gradient exists.
    #[error("{0} has no gradient with respect to an input that needs one")]
    NotDifferentiable(&'static str),
    /// A graph rule is broken.
    #[error("graph: {0}")]
    Graph(String),
}

impl OpError {
    /// A [`OpError::Shape`] that lists `inputs`.
    pub fn shape(op: &'static str, reason: impl Into<String>, inputs: &[TensorType]) -> OpError {
        let inputs = inputs.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
        OpError::Shape { op, reason: reason.into(), inputs }
    }
    /// An [`OpError::Attribute`].
    pub fn attribute(op: &'static str, reason: impl Into<String>) -> OpError {
        OpError::Attribute { op, reason: reason.into() }
    }
}

/// What one execution costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations (a fused multiply-add counts two; a transcendental one).
    pub flop: u64,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
}

impl Cost {
    /// `flop` operations over every input and output moved once.
    pub fn streaming(flop: u64, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flop, bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as u64).sum() }
    }
}

/// One operation with its attributes: what a graph node is made of.
///
/// In-place operations (optimisers, accumulators) declare pairs in [`in_place`](Op::in_place): output `k` then starts out
/// holding input `j`'s value; the operation reads it there and never reads input `j` itself.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// The operation's name: lower case, as in PyTorch where it exists there.
    fn name(&self) -> &'static str;

    /// The attributes as `key=value` text, for printing a graph.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The types of the outputs, or what is wrong with the inputs.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError>;

    /// Work and traffic.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost;

    /// Pairs (input, output) that share memory; see the trait's docs.
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// As [`in_place`](Op::in_place), for operations whose pairs depend on the number of inputs.
    fn in_place_pairs(&self, _inputs: usize) -> Vec<(usize, usize)> {
        self.in_place().to_vec()
    }

    /// Scratch memory on the device, in `f32` elements.
    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        0
    }

    /// More scratch memory for kernels on `target`, in bytes, aligned to 256: what only the kernels chosen there know. Reserved
    /// when a plan is bound; `cpu` never asks for it.
    fn scratch(&self, _target: Target) -> usize {
        0
    }

    /// A constant table of 64-bit words that kernels of this operation read (pointers, sizes); made once when a plan is
    /// bound, from the final addresses. `cpu` never asks for it.
    fn table(&self, _inputs: &[Slot], _outputs: &[Slot]) -> Vec<u64> {
        Vec::new()
    }

    /// Computes the outputs on the host in `f32`. Must not allocate.
    fn run_f32(&self, ctx: &CpuCtx<'_, f32>);

    /// Computes the outputs on the host in `f64`: the oracle.
    fn run_f64(&self, ctx: &CpuCtx<'_, f64>);

    /// Computes the outputs by kernels.
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError>;

    /// Appends the operations of the vector-Jacobian product and reports the inputs' gradients to `vjp`.
    fn vjp(&self, _vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        Err(OpError::NotDifferentiable(self.name()))
    }

    /// Fusion: this operation's only output is used once, as input `arg` of `consumer`. Returns the operation that does
    /// both, with inputs = this operation's inputs followed by `consumer`'s other inputs in order, and `consumer`'s
    /// outputs; or `None` when the two do not fuse.
    fn absorb(&self, _consumer: &dyn Op, _arg: usize) -> Option<Arc<dyn Op>> {
        None
    }

    /// For [`absorb`](Op::absorb): lets a producer look at a consumer's attributes.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Writes [`Op::run_f32`], [`Op::run_f64`] and [`Op::as_any`] from a generic `fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>)`.
macro_rules! generic_cpu {
    () => {
        fn run_f32(&self, ctx: &$crate::ops::CpuCtx<'_, f32>) {
            self.run(ctx)
        }
        fn run_f64(&self, ctx: &$crate::ops::CpuCtx<'_, f64>) {
            self.run(ctx)
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(crate) use generic_cpu;

/// One operation family in the registry.
pub struct OpEntry {
    /// Name, as [`Op::name`].
    pub name: &'static str,
    /// The kernels it may launch (entry names in the PTX).
    pub kernels: &'static [&'static str],
    /// Draws an instance with inputs for the property tests: every attribute and shape class that the operation accepts.
    pub sample: fn(&mut Draw) -> Sample,
    /// Whether gradients with respect to its `f32` inputs are to be checked against finite differences.
    pub differentiable: bool,
}

/// Every operation, in the order of the documentation.
pub fn registry() -> Vec<OpEntry> {
    let families: &[fn() -> Vec<OpEntry>] = &[
        // One line an operation file.
        reduce::entries,
        expand::entries,
        softmax::entries,
        loss::entries,
        metrics::entries,
        activation::entries,
        elementwise::entries,
        chain::entries,
        random::entries,
        dropout::entries,
        optim::entries,
        clip::entries,
        scaler::entries,
        gemm::entries,
        addmm::entries,
        layout::entries,
        gather::entries,
        minibatch::entries,
    ];
    families.iter().flat_map(|f| f()).collect()
}
