//! Elementwise arithmetic on tensors of one shape, scaling, and broadcasts.
//!
//! | operation                 | y           | gradients, with dy                     |
//! |---------------------------|-------------|----------------------------------------|
//! | `add(a, b)`               | a + b       | dy, dy                                 |
//! | `sub(a, b)`               | a - b       | dy, -dy                                |
//! | `mul(a, b)`               | a b         | dy b, dy a                             |
//! | `div(a, b)`               | a / b       | dy / b, -dy y / b                      |
//! | `neg(x)`                  | -x          | -dy                                    |
//! | `exp(x)`                  | e^x         | dy y                                   |
//! | `log(x)`                  | ln x        | dy / x                                 |
//! | `sqrt(x)`                 | sqrt x      | dy / (2 y)                             |
//! | `square(x)`               | x^2         | 2 dy x                                 |
//! | `abs(x)`                  | abs x       | dy sign(x)                             |
//! | `sign(x)`                 | -1, 0, 1    | none                                   |
//! | `scale(x, c)`             | c x         | c dy                                   |
//! | `add_scalar(x, c)`        | x + c       | dy                                     |
//! | `scale_by(x, s)`          | s x, s `[1]`| s dy, sum(dy x)                        |
//! | `broadcast_to(x, shape)`  | x repeated  | sum(dy) for `[1]`, over rows for `[N]` |
//!
//! Special values follow IEEE 754: NaN gives NaN, `log` is minus infinity at 0 and NaN below, `sqrt` NaN below 0.
//! Subnormals are kept.
//!
//! Cost: 1 FLOP an element (`broadcast_to`: 0), every operand moved once. Neighbours in a graph fuse into a
//! [`Chain`](super::chain::Chain), on the CPU all of this but the broadcast runs there.

use std::fmt;
use std::sync::Arc;

use gpu_kernels::elementwise as kernels;

use super::chain::{self, Step, draw_shape};
use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::real::Real;

/// An operation on one tensor; the module's table has the definitions.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Square,
    Abs,
    Sign,
    /// Times the number.
    Scale(f32),
    /// Plus the number.
    AddScalar(f32),
}

impl Unary {
    /// As in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Square => "square",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Scale(_) => "scale",
            Unary::AddScalar(_) => "add_scalar",
        }
    }
    /// The kernels' number for it.
    pub(super) fn code(self) -> u32 {
        match self {
            Unary::Neg => kernels::NEG,
            Unary::Exp => kernels::EXP,
            Unary::Log => kernels::LOG,
            Unary::Sqrt => kernels::SQRT,
            Unary::Square => kernels::SQUARE,
            Unary::Abs => kernels::ABS,
            Unary::Sign => kernels::SIGN,
            Unary::Scale(_) => kernels::SCALE,
            Unary::AddScalar(_) => kernels::ADD_SCALAR,
        }
    }
    pub(super) fn immediate(self) -> f32 {
        match self {
            Unary::Scale(c) | Unary::AddScalar(c) => c,
            _ => 0.0,
        }
    }
}

impl fmt::Display for Unary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unary::Scale(c) | Unary::AddScalar(c) => write!(f, "{}({c})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// An operation on two tensors of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

impl Binary {
    /// As in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
        }
    }
    /// The kernels' number for it.
    pub(super) fn code(self) -> u32 {
        match self {
            Binary::Add => kernels::ADD,
            Binary::Sub => kernels::SUB,
            Binary::Mul => kernels::MUL,
            Binary::Div => kernels::DIV,
        }
    }
}

/// The grid of the kernels that take four elements a thread.
fn quads(n: u32) -> Launch {
    Launch::new(n.div_ceil(kernels::PER_BLOCK), kernels::BLOCK)
}

/// A [`Unary`] operation as a node. Input: any shape; output: the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryOp(pub Unary);

impl Op for UnaryOp {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn attributes(&self) -> String {
        match self.0 {
            Unary::Scale(c) | Unary::AddScalar(c) => format!("value={c}"),
            _ => String::new(),
        }
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        chain::infer_same(self.name(), 1, inputs)
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        ctx.launch(
            kernel!(elementwise::elementwise_unary),
            quads(n),
            (n, self.0.code(), self.0.immediate(), ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let (x, y) = (vjp.input(0), vjp.output(0));
        let g = vjp.graph();
        let dx = match self.0 {
            Unary::Neg => g.neg(dy)?,
            Unary::Exp => g.times(dy, y)?,
            Unary::Log => g.div(dy, x)?,
            Unary::Sqrt => {
                let half = g.scale(dy, 0.5)?;
                g.div(half, y)?
            }
            Unary::Square => {
                let twice = g.scale(x, 2.0)?;
                g.times(dy, twice)?
            }
            Unary::Abs => {
                let sign = g.sign(x)?;
                g.times(dy, sign)?
            }
            Unary::Sign => return Err(OpError::NotDifferentiable("sign")),
            Unary::Scale(c) => g.scale(dy, c)?,
            Unary::AddScalar(_) => dy,
        };
        vjp.add(0, dx)
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
        chain::absorb(self, consumer, arg)
    }
    chain::pointwise_cpu!(|op| Step::Unary(op.0));
}

/// A [`Binary`] operation as a node. Inputs: two tensors of one shape; output: the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryOp(pub Binary);

impl Op for BinaryOp {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        chain::infer_same(self.name(), 2, inputs)
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        ctx.launch(
            kernel!(elementwise::elementwise_binary),
            quads(n),
            (n, self.0.code(), ctx.input::<f32>(0), ctx.input::<f32>(1), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let (a, b, y) = (vjp.input(0), vjp.input(1), vjp.output(0));
        if vjp.needs(0) {
            let da = match self.0 {
                Binary::Add | Binary::Sub => dy,
                Binary::Mul => vjp.graph().times(dy, b)?,
                Binary::Div => vjp.graph().div(dy, b)?,
            };
            vjp.add(0, da)?;
        }
        if vjp.needs(1) {
            let g = vjp.graph();
            let db = match self.0 {
                Binary::Add => dy,
                Binary::Sub => g.neg(dy)?,
                Binary::Mul => g.times(dy, a)?,
                Binary::Div => {
                    let product = g.times(dy, y)?;
                    let quotient = g.div(product, b)?;
                    g.neg(quotient)?
                }
            };
            vjp.add(1, db)?;
        }
        Ok(())
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
        chain::absorb(self, consumer, arg)
    }
    chain::pointwise_cpu!(|op| Step::Binary(op.0));
}

/// y = s x with `s` a scalar tensor. Inputs: x of any shape, s `[1]`; output: x's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleBy;

impl Op for ScaleBy {
    fn name(&self) -> &'static str {
        "scale_by"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x, s] if x.dtype == DType::F32 && *s == TensorType::f32([1]) => Ok(vec![x.clone()]),
            _ => {
                Err(OpError::shape(self.name(), "needs an f32 tensor and an f32 scalar of shape [1]", inputs))
            }
        }
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        ctx.launch(
            kernel!(elementwise::elementwise_scale_by),
            quads(n),
            (n, ctx.input::<f32>(0), ctx.input::<f32>(1), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let (x, s) = (vjp.input(0), vjp.input(1));
        if vjp.needs(0) {
            let dx = vjp.graph().scale_by(dy, s)?;
            vjp.add(0, dx)?;
        }
        if vjp.needs(1) {
            let product = vjp.graph().times(dy, x)?;
            let ds = vjp.graph().sum_all(product)?;
            vjp.add(1, ds)?;
        }
        Ok(())
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
        chain::absorb(self, consumer, arg)
    }
    chain::pointwise_cpu!(|_op| Step::ScaleBy);
}

/// y = x repeated to `shape`. Input: `[1]`, for any shape, or `[N]`, for `[B, N]`: each row is x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastTo {
    /// The output's shape.
    pub shape: Vec<usize>,
}

impl BroadcastTo {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, y) = (ctx.input(0), ctx.output(0));
        match x {
            [x] => y.fill(*x),
            _ => y.chunks_exact_mut(x.len()).for_each(|row| row.copy_from_slice(x)),
        }
    }
}

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn attributes(&self) -> String {
        format!("shape={:?}", self.shape)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let fits = match inputs {
            [x] if x.dtype == DType::F32 && x.rank() == 1 => {
                x.shape[0] == 1 || self.shape.len() == 2 && self.shape[1] == x.shape[0]
            }
            _ => false,
        };
        let len = self.shape.iter().try_fold(4usize, |n, &d| n.checked_mul(d));
        if !fits || self.shape.is_empty() || len.is_none_or(|bytes| bytes == 0 || bytes > isize::MAX as usize)
        {
            let rule = format!("needs an f32 [1], or [N] for a shape [B, N]; the shape is {:?}", self.shape);
            return Err(OpError::shape(self.name(), rule, inputs));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        let cols = ctx.inputs[0].len as u32;
        ctx.launch(
            kernel!(elementwise::broadcast_rows),
            Launch::blocks_of(n, kernels::BLOCK),
            (n, cols, ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let x = vjp.input(0);
        let g = vjp.graph();
        let dx = if g.ty(x).len() == 1 { g.sum_all(dy)? } else { g.sum(dy, 0)? };
        vjp.add(0, dx)
    }
    generic_cpu!();
}

macro_rules! unary_builders {
    ($($name:ident $kind:ident $doc:literal)*) => {
        impl Graph {
            $(
                #[doc = $doc]
                pub fn $name(&mut self, x: Value) -> Result<Value, OpError> {
                    self.push1(UnaryOp(Unary::$kind), &[x])
                }
            )*
        }
    };
}
unary_builders! {
    neg Neg "-x."
    exp Exp "e^x."
    log Log "Natural logarithm."
    sqrt Sqrt "Square root."
    square Square "x^2."
    abs Abs "Magnitude."
    sign Sign "-1, 0 or 1; no gradient."
}

macro_rules! binary_builders {
    ($($name:ident $kind:ident $doc:literal)*) => {
        impl Graph {
            $(
                #[doc = $doc]
                pub fn $name(&mut self, a: Value, b: Value) -> Result<Value, OpError> {
                    self.push1(BinaryOp(Binary::$kind), &[a, b])
                }
            )*
        }
    };
}
binary_builders! {
    add Add "a + b, of one shape."
    sub Sub "a - b, of one shape."
    mul Mul "a b, element by element, of one shape."
    div Div "a / b, element by element, of one shape."
}

impl Graph {
    /// c x.
    pub fn scale(&mut self, x: Value, c: f32) -> Result<Value, OpError> {
        self.push1(UnaryOp(Unary::Scale(c)), &[x])
    }

    /// x + c.
    pub fn add_scalar(&mut self, x: Value, c: f32) -> Result<Value, OpError> {
        self.push1(UnaryOp(Unary::AddScalar(c)), &[x])
    }

    /// x times the scalar tensor `s` (shape `[1]`).
    pub fn scale_by(&mut self, x: Value, s: Value) -> Result<Value, OpError> {
        self.push1(ScaleBy, &[x, s])
    }

    /// A scalar `[1]` repeated to any shape, or a row `[N]` repeated to `[B, N]`.
    pub fn broadcast_to(&mut self, x: Value, shape: &[usize]) -> Result<Value, OpError> {
        self.push1(BroadcastTo { shape: shape.to_vec() }, &[x])
    }

    /// `dy` b, without the multiplication when `dy` is ones.
    fn times(&mut self, dy: Value, b: Value) -> Result<Value, OpError> {
        if self.is_ones(dy) { Ok(b) } else { self.mul(dy, b) }
    }
}

/// The operations with an entry each, by index (a sample function cannot capture).
const UNARY: [Unary; 9] = [
    Unary::Neg,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Square,
    Unary::Abs,
    Unary::Sign,
    Unary::Scale(1.0),
    Unary::AddScalar(1.0),
];
const BINARY: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

fn sample_unary<const K: usize>(draw: &mut Draw) -> Sample {
    let op = match UNARY[K] {
        Unary::Scale(_) => Unary::Scale(draw.float(-3.0, 3.0)),
        Unary::AddScalar(_) => Unary::AddScalar(draw.float(-3.0, 3.0)),
        op => op,
    };
    let domain = match (op, draw.below(3)) {
        (_, 1) => Domain::Special,
        (Unary::Log | Unary::Sqrt, _) => Domain::Uniform(0.1, 4.0),
        (Unary::Abs, _) => Domain::Away { lo: -4.0, hi: 4.0, kink: 0.0, gap: 0.01 },
        _ => Domain::Uniform(-4.0, 4.0),
    };
    // `gpu_kernels::math`: exp and ln within 1.1 ulp; the others round once or not at all.
    let tolerance = match op {
        Unary::Neg | Unary::Abs | Unary::Sign => Tolerance::EXACT,
        Unary::Exp | Unary::Log => Tolerance::ulps(1.1),
        _ => Tolerance::ulps(0.5),
    };
    let shape = draw_shape(draw);
    Sample::new(UnaryOp(op), vec![SampleInput::f32(shape, domain)], tolerance)
}

fn sample_binary<const K: usize>(draw: &mut Draw) -> Sample {
    let op = BINARY[K];
    let (mut a, mut b) = (Domain::Uniform(-4.0, 4.0), Domain::Uniform(-4.0, 4.0));
    if op == Binary::Div {
        b = Domain::Away { lo: -4.0, hi: 4.0, kink: 0.0, gap: 0.3 };
    }
    match draw.below(4) {
        1 => a = Domain::Special,
        2 => (a, b) = (Domain::Special, Domain::Special),
        _ => {}
    }
    let shape = draw_shape(draw);
    let mut inputs = vec![SampleInput::f32(shape.clone(), a), SampleInput::f32(shape, b)];
    if a == Domain::Special {
        // Differences of sums with infinities and 1e30 among them say nothing about the other input.
        inputs = inputs.into_iter().map(SampleInput::constant).collect();
    }
    // Each is one correctly rounded operation.
    Sample::new(BinaryOp(op), inputs, Tolerance::ulps(0.5))
}

fn sample_scale_by(draw: &mut Draw) -> Sample {
    let domain = draw.pick(&[Domain::Uniform(-4.0, 4.0), Domain::Special]);
    let shape = draw_shape(draw);
    let inputs = vec![SampleInput::f32(shape, domain), SampleInput::f32([1], domain)];
    Sample::new(ScaleBy, inputs, Tolerance::ulps(0.5))
}

fn sample_broadcast(draw: &mut Draw) -> Sample {
    let domain = draw.pick(&[Domain::Uniform(-4.0, 4.0), Domain::Special]);
    let (x, shape) = if draw.coin() {
        let n = draw.dim();
        (n, vec![draw.dim_to(125), n])
    } else {
        (1, draw_shape(draw))
    };
    Sample::new(BroadcastTo { shape }, vec![SampleInput::f32([x], domain)], Tolerance::EXACT)
}

pub(super) fn entries() -> Vec<OpEntry> {
    fn unary<const K: usize>() -> OpEntry {
        OpEntry {
            name: UNARY[K].name(),
            kernels: &["elementwise_unary"],
            sample: sample_unary::<K>,
            differentiable: UNARY[K] != Unary::Sign,
        }
    }
    fn binary<const K: usize>() -> OpEntry {
        OpEntry {
            name: BINARY[K].name(),
            kernels: &["elementwise_binary"],
            sample: sample_binary::<K>,
            differentiable: true,
        }
    }
    let other = |name, kernels, sample| OpEntry { name, kernels, sample, differentiable: true };
    vec![
        binary::<0>(),
        binary::<1>(),
        binary::<2>(),
        binary::<3>(),
        unary::<0>(),
        unary::<1>(),
        unary::<2>(),
        unary::<3>(),
        unary::<4>(),
        unary::<5>(),
        unary::<6>(),
        unary::<7>(),
        unary::<8>(),
        other("scale_by", &["elementwise_scale_by"], sample_scale_by),
        other("broadcast_to", &["broadcast_rows"], sample_broadcast),
    ]
}
