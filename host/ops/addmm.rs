//! The matrix product that adds to what is there ([`Addmm`]), and a bias added to every row ([`AddBias`]).
//!
//! ```text
//! y = beta c + alpha op(a) op(b)          y[i, j] = x[i, j] + b[j]
//! ```
//!
//! Shapes, gradients and cost of the product are those of [`MatMul`](super::gemm::MatMul), scaled; c's gradient is
//! `beta dy`. A bias's gradient is the column sums of dy. A product whose only reader is an `AddBias` absorbs it.

use std::any::Any;

use gpu_kernels::gemm::{self as kernels, Tile};

use super::activation::Activation;
use super::gemm::{
    Dims, Extras, KERNELS, addresses, check, dims, draw_dims, draw_precision, grad_a, grad_b, gradient_bound,
    launch, operands, problem, product_f32, product_f64, scratch, tolerance, workspace,
};
use super::matmul::Precision;
use super::{
    Cost, CpuCtx, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance, generic_cpu,
};
use crate::device::{DType, Device, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::real::Real;

/// `y = beta c + alpha op(a) op(b)`. Inputs: a, b, c (overwritten by y); output: y. With beta = 0, c is not read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Addmm {
    /// The extents it is made for.
    pub dims: Dims,
    /// Whether a is stored transposed.
    pub ta: bool,
    /// Whether b is stored transposed.
    pub tb: bool,
    /// Multiplies the product.
    pub alpha: f32,
    /// Multiplies c.
    pub beta: f32,
    /// How the product's factors are rounded.
    pub precision: Precision,
    /// The f32 kernel's tile; `None` picks by shape.
    pub tile: Option<Tile>,
}

impl Addmm {
    fn extras<'a, T>(&self) -> Extras<'a, T> {
        let (alpha, beta) = (self.alpha, self.beta);
        Extras {
            ta: self.ta,
            tb: self.tb,
            alpha,
            beta,
            bias: None,
            activation: Activation::Identity,
            precision: self.precision,
        }
    }
}

impl Op for Addmm {
    fn name(&self) -> &'static str {
        "addmm"
    }
    fn attributes(&self) -> String {
        let precision = super::gemm::suffix(self.precision);
        format!("ta={} tb={} alpha={} beta={}{precision}", self.ta, self.tb, self.alpha, self.beta)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        check(self.name(), self.dims, self.ta, self.tb, inputs)?;
        let y = self.dims.output();
        if inputs.len() != 3 || inputs[2] != y {
            return Err(OpError::shape(self.name(), format!("the third operand must be {y}"), inputs));
        }
        Ok(vec![y])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        self.dims.cost(2, inputs, outputs)
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 0)]
    }
    fn workspace(&self, _: &[TensorType], _: &[TensorType]) -> usize {
        workspace(self.dims, self.precision)
    }
    fn scratch(&self, device: &Device) -> usize {
        scratch(&problem(self.dims, &self.extras::<f32>(), false), self.tile, device)
    }
    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        product_f32(self.dims, self.extras(), ctx.input(0), ctx.input(1), ctx.output(0), ctx.workspace());
    }
    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        product_f64(self.dims, self.extras(), ctx.input(0), ctx.input(1), ctx.output(0));
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let p = problem(self.dims, &self.extras::<f32>(), false);
        launch(ctx, &p, addresses(ctx), self.tile)
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let (a, b) = (vjp.input(0), vjp.input(1));
        for i in 0..2 {
            if vjp.needs(i) {
                let g = vjp.graph();
                let d = if i == 0 {
                    grad_a(g, dy, b, self.ta, self.tb, self.precision)?
                } else {
                    grad_b(g, dy, a, self.ta, self.tb, self.precision)?
                };
                let d = g.scale(d, self.alpha)?;
                vjp.add(i, d)?;
            }
        }
        if vjp.needs(2) {
            let dc = vjp.graph().scale(dy, self.beta)?;
            vjp.add(2, dc)?;
        }
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `y[i, j] = x[i, j] + b[j]`. Inputs: x `[.., N]`, b `[N]`; output: as x. A matrix product before it absorbs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddBias;

impl AddBias {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, b, y) = (ctx.input(0), ctx.input(1), ctx.output(0));
        for (x, y) in x.chunks_exact(b.len()).zip(y.chunks_exact_mut(b.len())) {
            for ((y, &x), &b) in y.iter_mut().zip(x).zip(b) {
                *y = x + b;
            }
        }
    }
}

impl Op for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x, b] if x.dtype == DType::F32 && b.dtype == DType::F32 => {
                if b.rank() != 1 || x.shape.last() != b.shape.last() {
                    return Err(OpError::shape(
                        self.name(),
                        "the bias must have one element a column",
                        inputs,
                    ));
                }
                Ok(vec![x.clone()])
            }
            _ => Err(OpError::shape(self.name(), "takes two f32 tensors", inputs)),
        }
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (n, cols) = (super::layout::len_u32("add_bias", ctx.outputs[0].len)?, ctx.inputs[1].len as u32);
        ctx.launch(
            kernel!(gemm::add_bias),
            Launch::blocks_of(n, kernels::BLOCK),
            (n, cols, ctx.input::<f32>(0), ctx.input::<f32>(1), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        if vjp.needs(0) {
            vjp.add(0, dy)?;
        }
        if vjp.needs(1) {
            let mut sums = dy;
            while vjp.graph().shape(sums).len() > 1 {
                sums = vjp.graph().sum(sums, 0)?;
            }
            vjp.add(1, sums)?;
        }
        Ok(())
    }
    generic_cpu!();
}

impl Graph {
    /// `beta c + alpha op(a) op(b)`.
    pub fn addmm(
        &mut self,
        c: Value,
        (a, ta): (Value, bool),
        (b, tb): (Value, bool),
        alpha: f32,
        beta: f32,
    ) -> Result<Value, OpError> {
        if !alpha.is_finite() || !beta.is_finite() {
            return Err(OpError::attribute("addmm", "alpha and beta must be finite"));
        }
        let dims = dims("addmm", ta, tb, &self.types(&[a, b]))?;
        let precision = self.precision;
        self.push1(Addmm { dims, ta, tb, alpha, beta, precision, tile: None }, &[a, b, c])
    }

    /// x `[.., N]` plus b `[N]` in every row.
    pub fn add_bias(&mut self, x: Value, b: Value) -> Result<Value, OpError> {
        self.push1(AddBias, &[x, b])
    }
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry {
            name: "addmm",
            kernels: KERNELS,
            sample: |d| {
                let (ta, tb) = d.pick(&[(false, false), (false, true), (true, false), (true, true)]);
                let dims = draw_dims(d);
                let (alpha, beta) = (d.float(-2.0, 2.0), d.float(-2.0, 2.0));
                let (alpha, beta) = (d.pick(&[1.0, 0.0, alpha]), d.pick(&[1.0, 0.0, beta]));
                let tile = d.pick(&[None, Some(kernels::SMALL), Some(kernels::MEDIUM), Some(kernels::LARGE)]);
                let mut inputs = operands(dims, ta, tb);
                inputs.push(SampleInput::uniform(dims.output().shape, -1.0, 1.0));
                let precision = draw_precision(d);
                let op = Addmm { dims, ta, tb, alpha, beta, precision, tile };
                let sample = Sample::new(op, inputs, tolerance(precision, dims.k, 4.0));
                let exact = Addmm { precision: Precision::Fp32, ..op };
                sample.unrounded(exact, f64::from(alpha).abs() * gradient_bound(precision, dims))
            },
            differentiable: true,
        },
        OpEntry {
            name: "add_bias",
            kernels: &["add_bias"],
            sample: |d| {
                let cols = d.dim();
                let mut shape = vec![cols];
                for _ in 0..d.below(3) {
                    let n: usize = shape.iter().product();
                    shape.insert(0, d.dim_to((20_000 / n).max(1)));
                }
                let b = SampleInput::uniform([cols], -4.0, 4.0);
                // One rounding of the sum.
                Sample::new(AddBias, vec![SampleInput::uniform(shape, -4.0, 4.0), b], Tolerance::ulps(1.0))
            },
            differentiable: true,
        },
    ]
}
