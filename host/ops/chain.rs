//! Chains: several elementwise operations in one pass over memory.
//!
//! `acc = x; acc = step_1(acc, operand_1); ...; y = acc`, element by element. A [`Step`] is any unary or binary operation
//! of [`elementwise`](super::elementwise), a multiplication by a scalar tensor, an activation or an activation's
//! gradient. Fusion builds chains after differentiation (`absorb`), so a [`Chain`] needs no gradient of its own. Inputs:
//! x, then the operands in the order of the steps that have one: of x's shape, or `[1]` for [`Step::ScaleBy`].
//!
//! Cost: the FLOP of its steps; every input and the output move once, instead of an intermediate result for each step.
//!
//! On the CPU all pointwise operations run here, a single operation being a chain of one step: blocks of `BLOCK`
//! elements of the output stay in the first-level cache while each step's vectorised loop passes over them. Kernels
//! interpret the steps with the accumulator in a register (`gpu_kernels::elementwise::elementwise_chain`).

use std::sync::Arc;

use gpu_kernels::elementwise as kernels;

use super::activation::{self, Activate, ActivateGrad, Activation};
use super::cpu::{for_chunks, simd};
use super::elementwise::{Binary, BinaryOp, ScaleBy, Unary, UnaryOp};
use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, Slot, TensorType,
    Tolerance,
};
use crate::device::{DType, DeviceError, Launch};
use crate::kernel;
use crate::real::Real;

/// The most steps that fusion puts into one chain.
pub const MAX_STEPS: usize = 16;
/// Elements that the steps pass over at a time on the CPU: 4 KiB of `f32`.
const BLOCK: usize = 1024;

/// One step of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// acc = op(acc)
    Unary(Unary),
    /// acc = op(acc, operand)
    Binary(Binary),
    /// acc = op(operand, acc)
    BinarySwapped(Binary),
    /// acc = acc operand, the operand being one number
    ScaleBy,
    /// acc = activation(acc)
    Activate(Activation),
    /// acc = acc activation'(operand)
    ActivateGrad(Activation),
}

/// What a step reads beside the accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    None,
    Scalar,
    Tensor,
}

impl Step {
    fn operand(&self) -> Operand {
        match self {
            Step::Unary(_) | Step::Activate(_) => Operand::None,
            Step::ScaleBy => Operand::Scalar,
            Step::Binary(_) | Step::BinarySwapped(_) | Step::ActivateGrad(_) => Operand::Tensor,
        }
    }

    fn flop(&self) -> u64 {
        match self {
            Step::Activate(a) => a.flop(),
            Step::ActivateGrad(a) => a.flop() + 2,
            _ => 1,
        }
    }

    /// The kernel's opcode and immediate.
    fn code(&self) -> (u32, f32) {
        match *self {
            Step::Unary(u) => (kernels::CLASS_UNARY | u.code(), u.immediate()),
            Step::Binary(b) => (kernels::CLASS_BINARY | b.code(), 0.0),
            Step::BinarySwapped(b) => (kernels::CLASS_BINARY_SWAPPED | b.code(), 0.0),
            Step::ScaleBy => (kernels::CLASS_BINARY | kernels::SCALAR | kernels::MUL, 0.0),
            Step::Activate(a) => (kernels::CLASS_ACTIVATION | a.kind(), a.param()),
            Step::ActivateGrad(a) => (kernels::CLASS_ACTIVATION_GRAD | a.kind(), a.param()),
        }
    }

    fn text(&self) -> String {
        match self {
            Step::Unary(u) => u.to_string(),
            Step::Binary(b) => b.name().into(),
            Step::BinarySwapped(b) => format!("{} swapped", b.name()),
            Step::ScaleBy => "scale_by".into(),
            Step::Activate(a) => a.to_string(),
            Step::ActivateGrad(a) => format!("{a}'"),
        }
    }
}

/// Several steps in one pass. See the module's docs.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    steps: Vec<Step>,
}

impl Chain {
    /// A chain of `steps`. Error: none, or more than [`MAX_STEPS`].
    pub fn new(steps: Vec<Step>) -> Result<Chain, OpError> {
        if (1..=MAX_STEPS).contains(&steps.len()) {
            return Ok(Chain { steps });
        }
        Err(OpError::attribute("chain", format!("{} steps; a chain has 1 to {MAX_STEPS}", steps.len())))
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Op for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }
    fn attributes(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(Step::text).collect();
        format!("steps={}", steps.join(" > "))
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let operands: Vec<Operand> =
            self.steps.iter().map(Step::operand).filter(|&o| o != Operand::None).collect();
        let fits = |ty: &TensorType, o: &Operand| match o {
            Operand::Scalar => *ty == TensorType::f32([1]),
            _ => *ty == inputs[0],
        };
        if inputs.len() != 1 + operands.len()
            || inputs[0].dtype != DType::F32
            || !inputs[1..].iter().zip(&operands).all(|(ty, o)| fits(ty, o))
        {
            let rule =
                format!("needs an f32 tensor and {} operands of its shape, [1] for scale_by", operands.len());
            return Err(OpError::shape(self.name(), rule, inputs));
        }
        Ok(vec![inputs[0].clone()])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flop: u64 = self.steps.iter().map(Step::flop).sum();
        Cost::streaming(outputs[0].len() as u64 * flop, inputs, outputs)
    }
    fn table(&self, inputs: &[Slot], _outputs: &[Slot]) -> Vec<u64> {
        let mut operands = inputs[1..].iter();
        let words = self.steps.iter().flat_map(|step| {
            let (opcode, immediate) = step.code();
            let address = match step.operand() {
                Operand::None => 0,
                _ => operands.next().map_or(0, |slot| slot.address),
            };
            [u64::from(opcode) | u64::from(immediate.to_bits()) << 32, address]
        });
        words.collect()
    }
    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        run_f32(&self.steps, ctx);
    }
    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        run_f64(&self.steps, ctx);
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = len_u32(self.name(), ctx.outputs[0].len)?;
        ctx.launch(
            kernel!(elementwise::elementwise_chain),
            Launch::new(n.div_ceil(kernels::BLOCK), kernels::BLOCK),
            (n, ctx.table, self.steps.len() as u32, ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
        absorb(self, consumer, arg)
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// `op` as steps on its input `arg`, if it is a pointwise operation of that input.
fn steps_of(op: &dyn Op, arg: usize) -> Option<Vec<Step>> {
    let any = op.as_any();
    if let Some(b) = any.downcast_ref::<BinaryOp>() {
        return Some(vec![if arg == 0 { Step::Binary(b.0) } else { Step::BinarySwapped(b.0) }]);
    }
    if arg != 0 {
        return None;
    }
    if let Some(u) = any.downcast_ref::<UnaryOp>() {
        Some(vec![Step::Unary(u.0)])
    } else if any.is::<ScaleBy>() {
        Some(vec![Step::ScaleBy])
    } else if let Some(a) = any.downcast_ref::<Activate>() {
        Some(vec![Step::Activate(a.activation)])
    } else if let Some(a) = any.downcast_ref::<ActivateGrad>() {
        Some(vec![Step::ActivateGrad(a.activation)])
    } else {
        any.downcast_ref::<Chain>().map(|c| c.steps.clone())
    }
}

/// [`Op::absorb`] of all pointwise operations: the chain that does `producer` and then `consumer`, whose input `arg` is
/// the producer's output.
pub(super) fn absorb(producer: &dyn Op, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
    let mut steps = steps_of(producer, 0)?;
    steps.extend(steps_of(consumer, arg)?);
    Some(Arc::new(Chain::new(steps).ok()?))
}

/// The shape rule of pointwise operations: `arity` `f32` tensors of one shape.
pub(super) fn infer_same(
    op: &'static str,
    arity: usize,
    inputs: &[TensorType],
) -> Result<Vec<TensorType>, OpError> {
    let same = inputs.len() == arity && inputs.iter().all(|t| t.dtype == DType::F32 && *t == inputs[0]);
    if !same {
        let rule = if arity == 1 {
            "needs one f32 tensor".into()
        } else {
            format!("needs {arity} f32 tensors of one shape")
        };
        return Err(OpError::shape(op, rule, inputs));
    }
    Ok(vec![inputs[0].clone()])
}

/// An element count as kernels take it.
pub(super) fn len_u32(op: &'static str, len: usize) -> Result<u32, DeviceError> {
    u32::try_from(len).map_err(|_| DeviceError::InvalidLaunch {
        kernel: op.into(),
        reason: format!("{len} elements; kernels index at most 2^32 - 1: use smaller tensors"),
    })
}

/// Writes the CPU half of a pointwise [`Op`] from the step that it is.
macro_rules! pointwise_cpu {
    (|$op:ident| $step:expr) => {
        fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
            let $op = self;
            $crate::ops::chain::run_f32(&[$step], ctx);
        }
        fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
            let $op = self;
            $crate::ops::chain::run_f64(&[$step], ctx);
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(super) use pointwise_cpu;

/// Runs `steps` on input 0 into output 0, further inputs being the operands.
pub(super) fn run_f32(steps: &[Step], ctx: &CpuCtx<'_, f32>) {
    let mut inputs: [&[f32]; MAX_STEPS + 1] = [&[]; MAX_STEPS + 1];
    inputs.iter_mut().take(ctx.inputs()).enumerate().for_each(|(i, slot)| *slot = ctx.input(i));
    for_chunks(ctx.output(0), |start, y| run_range_f32(steps, &inputs, start, y));
}

/// Runs `steps` on `inputs`, the first of them what they begin with, into `y`.
pub(super) fn apply_f32(steps: &[Step], inputs: &[&[f32]], y: &mut [f32]) {
    let mut all: [&[f32]; MAX_STEPS + 1] = [&[]; MAX_STEPS + 1];
    all.iter_mut().zip(inputs).for_each(|(slot, input)| *slot = input);
    for_chunks(y, |start, y| run_range_f32(steps, &all, start, y));
}

/// The oracle: the same steps in `f64`.
pub(super) fn run_f64(steps: &[Step], ctx: &CpuCtx<'_, f64>) {
    let mut inputs: [&[f64]; MAX_STEPS + 1] = [&[]; MAX_STEPS + 1];
    inputs.iter_mut().take(ctx.inputs()).enumerate().for_each(|(i, slot)| *slot = ctx.input(i));
    run_range(steps, &inputs, 0, ctx.output(0));
}

simd! {
    fn run_range_f32(steps: &[Step], inputs: &[&[f32]; MAX_STEPS + 1], start: usize, y: &mut [f32]) {
        run_range(steps, inputs, start, y)
    }
}

/// Elements `start ..` of the output, as many as `y` has.
#[inline(always)]
fn run_range<T: Real>(steps: &[Step], inputs: &[&[T]; MAX_STEPS + 1], start: usize, y: &mut [T]) {
    let mut at = start;
    for block in y.chunks_mut(BLOCK) {
        let range = at..at + block.len();
        block.copy_from_slice(&inputs[0][range.clone()]);
        let mut operands = inputs[1..].iter();
        for step in steps {
            let operand: &[T] = match step.operand() {
                Operand::None => &[],
                Operand::Scalar => operands.next().map_or(&[], |o| &o[..1]),
                Operand::Tensor => operands.next().map_or(&[], |o| &o[range.clone()]),
            };
            run_step(step, block, operand);
        }
        at += block.len();
    }
}

/// `$v = $body` for each element. A macro, because a closure may stay a call outside the SIMD versions.
macro_rules! each {
    ($acc:expr, |$v:ident| $body:expr) => {
        for slot in $acc.iter_mut() {
            let $v = *slot;
            *slot = $body;
        }
    };
    ($acc:expr, $operand:expr, |$v:ident, $o:ident| $body:expr) => {
        for (slot, &$o) in $acc.iter_mut().zip($operand) {
            let $v = *slot;
            *slot = $body;
        }
    };
}

/// One loop for each activation, with the choice outside: `$a` becomes the activation itself.
macro_rules! for_activation {
    ($value:expr, |$a:ident| $body:expr) => {
        for_activation!(@ $value, $a, $body,
            [LeakyRelu Elu] [Identity Relu Selu Gelu GeluTanh Silu Mish Sigmoid Tanh Softplus HardSwish])
    };
    (@ $value:expr, $a:ident, $body:expr, [$($with:ident)*] [$($plain:ident)*]) => {
        match $value {
            $(Activation::$with(p) => { let $a = Activation::$with(p); $body })*
            $(Activation::$plain => { let $a = Activation::$plain; $body })*
        }
    };
}

#[inline(always)]
fn run_step<T: Real>(step: &Step, acc: &mut [T], operand: &[T]) {
    match *step {
        Step::Unary(u) => match u {
            Unary::Neg => each!(acc, |v| -v),
            Unary::Exp => each!(acc, |v| v.exp()),
            Unary::Log => each!(acc, |v| v.ln()),
            Unary::Sqrt => each!(acc, |v| v.sqrt()),
            Unary::Square => each!(acc, |v| v * v),
            Unary::Abs => each!(acc, |v| v.abs()),
            Unary::Sign => each!(acc, |v| {
                let below = if v < T::ZERO { -T::ONE } else { v };
                if v > T::ZERO { T::ONE } else { below }
            }),
            Unary::Scale(c) => {
                let c = T::of(f64::from(c));
                each!(acc, |v| v * c)
            }
            Unary::AddScalar(c) => {
                let c = T::of(f64::from(c));
                each!(acc, |v| v + c)
            }
        },
        Step::Binary(Binary::Add) | Step::BinarySwapped(Binary::Add) => each!(acc, operand, |v, o| v + o),
        Step::Binary(Binary::Mul) | Step::BinarySwapped(Binary::Mul) => each!(acc, operand, |v, o| v * o),
        Step::Binary(Binary::Sub) => each!(acc, operand, |v, o| v - o),
        Step::Binary(Binary::Div) => each!(acc, operand, |v, o| v / o),
        Step::BinarySwapped(Binary::Sub) => each!(acc, operand, |v, o| o - v),
        Step::BinarySwapped(Binary::Div) => each!(acc, operand, |v, o| o / v),
        Step::ScaleBy => {
            let s = operand[0];
            each!(acc, |v| v * s)
        }
        Step::Activate(a) => for_activation!(a, |a| each!(acc, |v| a.apply(v))),
        Step::ActivateGrad(a) => for_activation!(a, |a| each!(acc, operand, |v, o| v * a.derivative(o))),
    }
}

/// A shape of one to three axes: at most 20 000 elements, from one element to many blocks.
pub(super) fn draw_shape(draw: &mut Draw) -> Vec<usize> {
    match draw.below(4) {
        0 => vec![draw.dim()],
        1 => vec![draw.dim(), draw.dim_to(125)],
        2 => vec![draw.dim_to(7), draw.dim_to(31), draw.dim_to(64)],
        _ => vec![1 + draw.below(9) * 1024 + draw.below(5) * 3],
    }
}

/// A random chain with the bounds that its tolerance follows from: `size` on |acc|, and `error` in units of 2^-23 on
/// how far the `f32` result may be from the exact one, by the derivative of each step.
struct Bounded {
    steps: Vec<Step>,
    inputs: Vec<SampleInput>,
    size: f64,
    error: f64,
}

impl Bounded {
    /// Appends a step with |step'| <= `slope` whose result is at most `size`, and which rounds 8 times.
    fn push(&mut self, step: Step, slope: f64, size: f64) {
        self.steps.push(step);
        self.error = self.error * slope + 8.0 * size;
        self.size = size;
    }

    fn operand(&mut self, shape: &[usize], domain: Domain) {
        self.inputs.push(SampleInput::f32(shape, domain).constant());
    }

    fn extend(&mut self, draw: &mut Draw, shape: &[usize]) {
        let (m, e) = (self.size, self.error);
        match draw.below(11) {
            0 => self.push(Step::Unary(draw.pick(&[Unary::Neg, Unary::Abs])), 1.0, m),
            1 => {
                let c = draw.float(-1.5, 1.5);
                self.push(Step::Unary(Unary::Scale(c)), 1.5, 1.5 * m);
            }
            2 => self.push(Step::Unary(Unary::AddScalar(draw.float(-2.0, 2.0))), 1.0, m + 2.0),
            3 if m <= 8.0 => self.push(Step::Unary(Unary::Square), 2.0 * m, m * m),
            4 if m <= 3.0 => self.push(Step::Unary(Unary::Exp), (m + e * 1e-6).exp(), m.exp()),
            5 if m <= 8.0 => {
                // Squares plus one: bounded away from the singularities of the root and the logarithm.
                self.push(Step::Unary(Unary::Square), 2.0 * m, m * m);
                self.push(Step::Unary(Unary::AddScalar(1.0)), 1.0, m * m + 1.0);
                self.push(Step::Unary(draw.pick(&[Unary::Sqrt, Unary::Log])), 1.0, m + 1.0);
            }
            6 => {
                let op = draw.pick(&[Binary::Add, Binary::Sub]);
                let step = if draw.coin() { Step::BinarySwapped(op) } else { Step::Binary(op) };
                self.push(step, 1.0, m + 4.0);
                self.operand(shape, Domain::Uniform(-4.0, 4.0));
            }
            7 => {
                let step =
                    if draw.coin() { Step::BinarySwapped(Binary::Mul) } else { Step::Binary(Binary::Mul) };
                self.push(step, 2.0, 2.0 * m);
                self.operand(shape, Domain::Uniform(-2.0, 2.0));
            }
            8 => {
                self.push(Step::Binary(Binary::Div), 2.0, 2.0 * m);
                self.operand(shape, Domain::Away { lo: -2.0, hi: 2.0, kink: 0.0, gap: 0.5 });
            }
            9 => {
                self.push(Step::ScaleBy, 2.0, 2.0 * m);
                self.operand(&[1], Domain::Uniform(-2.0, 2.0));
            }
            k => {
                let a = activation::draw(draw);
                let p = f64::from(a.param().abs()).max(1.0);
                if k == 10 && draw.coin() {
                    // |f'| <= 1.8 for every function, p for the parametrised; from outputs within [-1, 1] too.
                    self.push(Step::ActivateGrad(a), 1.8 * p + 1.0, (1.8 * p + 1.0) * m);
                    self.operand(shape, Domain::Uniform(-1.0, 1.0));
                } else {
                    self.push(Step::Activate(a), 1.8 * p, 1.8 * p * m + 1.0);
                }
            }
        }
    }
}

/// A short random chain; a division by the accumulator and the discontinuous sign come first, where the
/// accumulator is still exact and away from 0.
fn draw_chain(draw: &mut Draw) -> Sample {
    let shape = draw_shape(draw);
    let x = Domain::Away { lo: -2.0, hi: 2.0, kink: 0.0, gap: 0.5 };
    let inputs = vec![SampleInput::f32(shape.clone(), x).constant()];
    let mut chain = Bounded { steps: vec![], inputs, size: 2.0, error: 0.0 };
    match draw.below(4) {
        1 => chain.push(Step::Unary(Unary::Sign), 0.0, 1.0),
        2 => {
            chain.push(Step::BinarySwapped(Binary::Div), 4.0, 4.0);
            chain.operand(&shape, Domain::Uniform(-2.0, 2.0));
        }
        _ => {}
    }
    // Each call adds up to three steps.
    for _ in 0..1 + draw.below(5) {
        chain.extend(draw, &shape);
    }
    Sample::new(Chain { steps: chain.steps }, chain.inputs, Tolerance::ulps(chain.error).absolute(1.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "chain",
        kernels: &["elementwise_chain"],
        sample: draw_chain,
        differentiable: false,
    }]
}
