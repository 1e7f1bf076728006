//! What a hidden layer's backward pass does between two products, in the epilogue of the first ([`MatMulGrad`]):
//!
//! ```text
//! dz = (op(a) op(b)) * act'(s)          db[j] = sum over i of dz[i, j]
//! ```
//!
//! With a the gradient of a layer's output and b its weights, `op(a) op(b)` is the gradient of the layer's input; s is what
//! the activation before it saved, dz the gradient before that activation, and db that of the bias which was added there.
//! [`Graph::fuse`](crate::graph::Graph::fuse) makes it of a product, an activation's gradient and a sum over rows, where the
//! product is not `Fp32`: there grouped training ([`ops::grouped`](super::grouped)) has the bits of the graph, whose sums
//! over rows are in another order here. It has no gradient of its own.
//!
//! Cost: the product's, and an activation's derivative and two operations for each element of dz. On a device C goes to memory
//! once; see [`matmul::Extra::Gradient`](super::matmul::Extra) and [`matmul::Reduce`](super::matmul::Reduce).

use std::any::Any;
use std::sync::Arc;

use super::activation::{self, Activation};
use super::chain::{self, Step};
use super::gemm::{self, MatMul, product_f32, product_f64};
use super::matmul::{Addresses, Extra, Precision, Problem, Reduce};
use super::reduce::{View, is_sum_over_rows};
use super::{
    Cost, CpuCtx, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance, reduce_cpu,
};
use crate::device::{Device, DeviceError};

/// `dz = (op(a) op(b)) * act'(s)` and, where asked for, the sum of its rows. Inputs: a, b, s of dz's shape; outputs: dz, db.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMulGrad {
    /// The product, without bias and activation.
    pub product: MatMul,
    /// The activation whose derivative is taken: at its output where [`Activation::grad_from_output`], else at its input.
    pub activation: Activation,
    /// Whether there is db; of a plain product only, not of a batch.
    pub sums: bool,
}

impl MatMulGrad {
    /// The product in `product` and its derivative, if the product can be asked for it.
    pub(super) fn of(product: &MatMul, activation: Activation) -> Option<MatMulGrad> {
        let plain = !product.bias && product.activation == Activation::Identity;
        let fits = plain && product.precision != Precision::Fp32;
        fits.then_some(MatMulGrad { product: *product, activation, sums: false })
    }

    fn problem(&self) -> Problem {
        let reduce = if self.sums { Reduce::Rows } else { Reduce::None };
        let (activation, extra) = (self.activation, Extra::Gradient);
        Problem {
            activation,
            extra,
            reduce,
            ..gemm::problem(self.product.dims, &self.product.extras::<f32>(None), false)
        }
    }

    fn len(&self) -> usize {
        let d = self.product.dims;
        d.count() * d.m * d.n
    }

    /// dz as the sum sees it.
    fn view(&self) -> View {
        View { outer: 1, n: self.product.dims.m, inner: self.product.dims.n }
    }
}

impl Op for MatMulGrad {
    fn name(&self) -> &'static str {
        "matmul_grad"
    }
    fn attributes(&self) -> String {
        let sums = if self.sums { " sums" } else { "" };
        format!("{} activation={}{sums}", self.product.attributes(), self.activation)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        self.activation.check()?;
        let dims = self.product.dims;
        gemm::check(self.name(), dims, self.product.ta, self.product.tb, inputs)?;
        let dz = dims.output();
        if inputs.len() != 3 || inputs[2] != dz {
            return Err(OpError::shape(self.name(), format!("the third operand must be {dz}"), inputs));
        }
        if self.sums && dims.batch.is_some() {
            return Err(OpError::shape(self.name(), "sums are of one matrix, not of a batch", inputs));
        }
        Ok([dz].into_iter().chain(self.sums.then(|| TensorType::f32([dims.n]))).collect())
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        self.product.dims.cost(self.activation.flop() + 2 + u64::from(self.sums), inputs, outputs)
    }
    fn workspace(&self, _: &[TensorType], _: &[TensorType]) -> usize {
        // The product, and what it takes.
        self.len() + gemm::workspace(self.product.dims, self.product.precision)
    }
    fn scratch(&self, device: &Device) -> usize {
        gemm::scratch(&self.problem(), None, device)
    }
    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        let (product, space) = ctx.workspace().split_at_mut(self.len());
        let dz = ctx.output(0);
        product_f32(self.product.dims, self.product.extras(None), ctx.input(0), ctx.input(1), product, space);
        chain::apply_f32(&[Step::ActivateGrad(self.activation)], &[product, ctx.input(2)], dz);
        if self.sums {
            reduce_cpu::sum(self.view(), 1.0, dz, ctx.output(1));
        }
    }
    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let dz = ctx.output(0);
        product_f64(self.product.dims, self.product.extras(None), ctx.input(0), ctx.input(1), dz);
        for (x, &s) in dz.iter_mut().zip(ctx.input(2)) {
            *x *= self.activation.derivative(s);
        }
        if self.sums {
            reduce_cpu::sum(self.view(), 1.0, dz, ctx.output(1));
        }
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let at = Addresses {
            extra: ctx.inputs[2].address,
            sums: if self.sums { ctx.outputs[1].address } else { 0 },
            ..gemm::addresses(ctx)
        };
        gemm::launch(ctx, &self.problem(), at, None)
    }
    fn absorb_reader(&self, reader: &dyn Op) -> Option<Arc<dyn Op>> {
        let fits = !self.sums && self.product.dims.batch.is_none() && is_sum_over_rows(reader);
        fits.then(|| Arc::new(MatMulGrad { sums: true, ..*self }) as Arc<dyn Op>)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "matmul_grad",
        kernels: &["sum_rows", "sum_columns"],
        sample: |d| {
            let (ta, tb) = d.pick(&[(false, false), (false, true), (true, false), (true, true)]);
            let dims = gemm::draw_dims(d);
            let activation = activation::draw(d);
            let precision = gemm::draw_precision(d);
            let sums = dims.batch.is_none() && d.coin();
            let mut inputs = gemm::operands(dims, ta, tb);
            // Derivatives at outputs are given for what an activation puts out: between 0 and 1 all do.
            inputs.push(SampleInput::uniform(dims.output().shape, 0.0, 1.0));
            let product = MatMul { dims, ta, tb, bias: false, activation: Activation::Identity, precision };
            // The derivative is off by a few units in the last place of terms of order 1, and multiplies what is at most k; m of
            // these are summed.
            let slope = 2.0 * f64::from(activation.param().abs().max(1.0));
            let Tolerance { constant, k, scale } = gemm::tolerance(precision, dims.k, slope);
            let terms = if sums { dims.m as f64 } else { 1.0 };
            let tolerance =
                Tolerance { constant: constant + 8.0, k, scale: (scale + slope * dims.k as f64) * terms };
            Sample::new(MatMulGrad { product, activation, sums }, inputs, tolerance)
        },
        differentiable: false,
    }]
}
