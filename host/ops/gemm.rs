//! Matrix products, with bias and activation in one pass.
//!
//! | operation                          | formula                                                       |
//! |------------------------------------|---------------------------------------------------------------|
//! | [`MatMul`] (`matmul`, `linear`)    | `y = act(op(a) op(b) + bias)`, op(x) = x or its transpose     |
//! | [`Addmm`](super::addmm) (`addmm`)  | `y = beta c + alpha op(a) op(b)`, in place of c                |
//! | [`AddBias`](super::addmm)          | `y[i, j] = x[i, j] + b[j]`                                     |
//!
//! Shapes: op(a) is `[M, K]`, op(b) `[K, N]`, y `[M, N]`; with a leading batch axis on both, a product for each. A linear
//! layer is `x wᵀ + b` with w `[out, in]`, as in PyTorch.
//!
//! Gradients, for `y = op(a) op(b)` and `dy`: `d op(a) = dy op(b)ᵀ` and `d op(b) = op(a)ᵀ dy`, transposed where the operand
//! was: products again, by `grad_a` and `grad_b`; nothing is transposed in memory. The bias gets the column sums of dy.
//! Activations are merged by [`Graph::fuse`] after differentiation, so a `MatMul` with one has no gradient of its own; an
//! activation's gradient after a product becomes [`MatMulGrad`](super::matmul_grad).
//!
//! A [`Precision`] other than `Fp32` rounds both factors of every product, gradients' too, on their way in
//! ([`Graph::autocast`]); tensors and sums stay f32. `Fp32Fast` rounds nothing, and is `Fp32` on `cpu`.
//!
//! Cost: `2 B M N K` FLOP. On a GPU the kernel is picked by shape from those of [`matmul`](super::matmul); on `cpu` see
//! `ops/sgemm.rs`.

mod sample;

use std::any::Any;
use std::sync::Arc;

use gpu_kernels::gemm::Tile;

use super::activation::{Activate, ActivateGrad, Activation};
use super::matmul::{Addresses, Candidate, MatmulError, Precision, Problem, choose, reference, simt};
use super::matmul_grad::MatMulGrad;
use super::precision::round;
use super::sgemm::{self, Product};
use super::{Cost, CpuCtx, KernelCtx, Op, OpError, TensorType};
use crate::device::{DType, Device, DeviceError, Target};
use crate::graph::{Graph, Value, Vjp};
pub(super) use sample::{draw_dims, draw_precision, entries, gradient_bound, operands, tolerance};

/// Extents of a product: op(a) is `m x k`, op(b) `k x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// How many products; `None` for two plain matrices.
    pub batch: Option<usize>,
    /// Rows of y.
    pub m: usize,
    /// Columns of y.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
}

impl Dims {
    pub(super) fn count(&self) -> usize {
        self.batch.unwrap_or(1)
    }
    pub(super) fn output(&self) -> TensorType {
        TensorType::f32(self.batch.into_iter().chain([self.m, self.n]).collect::<Vec<_>>())
    }
    pub(super) fn cost(&self, extra: u64, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let products = 2 * (self.count() * self.m * self.n * self.k) as u64;
        Cost::streaming(products + extra * outputs[0].len() as u64, inputs, outputs)
    }
}

/// The extents, or which rule `a` and `b` break.
pub(super) fn dims(op: &'static str, ta: bool, tb: bool, inputs: &[TensorType]) -> Result<Dims, OpError> {
    let err = |reason: &str| Err(OpError::shape(op, reason, inputs));
    let (Some(a), Some(b)) = (inputs.first(), inputs.get(1)) else { return err("needs two matrices") };
    if inputs.iter().any(|t| t.dtype != DType::F32) {
        return err("operands must be f32");
    }
    let (batch_a, r, c, batch_b, s, t) = match (a.shape.as_slice(), b.shape.as_slice()) {
        (&[r, c], &[s, t]) => (None, r, c, None, s, t),
        (&[x, r, c], &[y, s, t]) => (Some(x), r, c, Some(y), s, t),
        _ => return err("operands must be two matrices, or two batches of matrices"),
    };
    let (m, k) = if ta { (c, r) } else { (r, c) };
    let (k2, n) = if tb { (t, s) } else { (s, t) };
    if batch_a != batch_b {
        return err("the batches differ");
    }
    if k != k2 {
        let (of_a, of_b) = (if ta { "rows" } else { "columns" }, if tb { "columns" } else { "rows" });
        return err(&format!("the first operand has {k} {of_a}, the second {k2} {of_b}"));
    }
    if [m, n, k].iter().any(|&d| d >= 1 << 31) {
        return err("extents must be below 2^31");
    }
    Ok(Dims { batch: batch_a, m, n, k })
}

/// As [`dims`], and the same as when the operation was made.
pub(super) fn check(
    op: &'static str,
    want: Dims,
    ta: bool,
    tb: bool,
    inputs: &[TensorType],
) -> Result<(), OpError> {
    let got = dims(op, ta, tb, inputs)?;
    if got == want {
        return Ok(());
    }
    Err(OpError::shape(op, format!("made for {want:?}"), inputs))
}

/// What a product does beyond multiplying.
#[derive(Clone, Copy)]
pub(super) struct Extras<'a, T> {
    pub ta: bool,
    pub tb: bool,
    pub alpha: f32,
    pub beta: f32,
    pub bias: Option<&'a [T]>,
    pub activation: Activation,
    pub precision: Precision,
}

/// Floats of workspace: panels, and where factors are rounded a copy of both operands.
pub(super) fn workspace(d: Dims, precision: Precision) -> usize {
    let copies = if precision.rounds() { d.count() * (d.m * d.k + d.k * d.n) } else { 0 };
    copies + sgemm::workspace(d.m, d.n, d.k)
}

/// The product as the library of kernels sees it.
pub(super) fn problem<T>(d: Dims, x: &Extras<'_, T>, bias: bool) -> Problem {
    Problem {
        precision: x.precision,
        alpha: x.alpha,
        beta: x.beta,
        bias,
        activation: x.activation,
        ..Problem::new(d.m, d.n, d.k).transposed(x.ta, x.tb).batched(d.count())
    }
}

/// The kernel: by `tile` if there is one and it is f32's, else by what is known of the shape.
fn candidate(p: &Problem, tile: Option<Tile>, target: Target) -> Result<&'static Candidate, MatmulError> {
    match tile {
        Some(tile) if p.precision == Precision::Fp32 => Ok(simt::of(tile)),
        _ => choose(p, target),
    }
}

/// Bytes that the kernel wants on `device` beyond operands; `tile` is that of f32's kernels, if it is not for the shape to
/// say.
pub(super) fn scratch(p: &Problem, tile: Option<Tile>, device: &Device) -> usize {
    // A product that no kernel does is refused when it runs, with the reason.
    candidate(p, tile, device.target()).map_or(0, |candidate| candidate.workspace(p, device))
}

/// `c <- act(alpha op(a) op(b) + beta c + bias)` for each of the batch, in f32.
pub(super) fn product_f32(
    d: Dims,
    x: Extras<'_, f32>,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    space: &mut [f32],
) {
    let Dims { m, n, k, .. } = d;
    let (mut a, mut b, mut space) = (a, b, space);
    if x.precision.rounds() {
        let (left, rest) = space.split_at_mut(a.len());
        let (right, panels) = rest.split_at_mut(b.len());
        round(x.precision, a, left);
        round(x.precision, b, right);
        (a, b, space) = (left, right, panels);
    }
    for ((a, b), c) in a.chunks_exact(m * k).zip(b.chunks_exact(k * n)).zip(c.chunks_exact_mut(m * n)) {
        let (a_row, a_k) = if x.ta { (1, m) } else { (k, 1) };
        let (b_k, b_col) = if x.tb { (1, k) } else { (n, 1) };
        let Extras { alpha, beta, bias, activation, .. } = x;
        let product = Product { m, n, k, a, a_row, a_k, b, b_k, b_col, alpha, beta, bias, activation };
        sgemm::sgemm(&product, c, space);
    }
}

/// The same in f64, term by term: the oracle.
pub(super) fn product_f64(d: Dims, x: Extras<'_, f64>, a: &[f64], b: &[f64], c: &mut [f64]) {
    let Dims { m, n, k, .. } = d;
    let rounded =
        |v: &[f64]| v.iter().map(|&v| reference::rounded(x.precision, DType::F32, v)).collect::<Vec<_>>();
    let (a, b) = (rounded(a), rounded(b));
    for ((a, b), c) in a.chunks_exact(m * k).zip(b.chunks_exact(k * n)).zip(c.chunks_exact_mut(m * n)) {
        for (i, row) in c.chunks_exact_mut(n).enumerate() {
            for (j, y) in row.iter_mut().enumerate() {
                let at = |p: usize| if x.ta { a[p * m + i] } else { a[i * k + p] };
                let bt = |p: usize| if x.tb { b[j * k + p] } else { b[p * n + j] };
                let mut sum: f64 = f64::from(x.alpha) * (0..k).map(|p| at(p) * bt(p)).sum::<f64>();
                if x.beta != 0.0 {
                    sum += f64::from(x.beta) * *y;
                }
                *y = x.activation.apply(sum + x.bias.map_or(0.0, |b| b[j]));
            }
        }
    }
}

/// Of inputs 0 and 1, and output 0.
pub(super) fn addresses(ctx: &KernelCtx<'_>) -> Addresses {
    let (a, b, c) = (ctx.inputs[0].address, ctx.inputs[1].address, ctx.outputs[0].address);
    Addresses { a, b, c, ..Addresses::default() }
}

/// Launches the product of operands at these addresses; `tile` as for [`scratch`].
pub(super) fn launch(
    ctx: &KernelCtx<'_>,
    p: &Problem,
    at: Addresses,
    tile: Option<Tile>,
) -> Result<(), DeviceError> {
    let (scratch, bytes) = ctx.scratch;
    let launched = p.check().and_then(|()| {
        let candidate = candidate(p, tile, ctx.device.target())?;
        let needed = candidate.workspace(p, ctx.device);
        if needed > bytes {
            // The choice changed since the plan was bound.
            let reason =
                format!("{p} by {} needs {needed} bytes of scratch, {bytes} are planned", candidate.name);
            return Err(DeviceError::InvalidLaunch { kernel: candidate.name.into(), reason }.into());
        }
        candidate.run(ctx.device, p, at, scratch)
    });
    launched.map_err(|error| match error {
        MatmulError::Device(error) => error,
        other => DeviceError::InvalidLaunch { kernel: "matmul".into(), reason: other.to_string() },
    })
}

/// The gradient of a stored `a`, from dy and b.
pub(super) fn grad_a(
    g: &mut Graph,
    dy: Value,
    b: Value,
    ta: bool,
    tb: bool,
    precision: Precision,
) -> Result<Value, OpError> {
    if ta { g.product(b, dy, tb, true, precision) } else { g.product(dy, b, false, !tb, precision) }
}

/// The gradient of a stored `b`, from dy and a.
pub(super) fn grad_b(
    g: &mut Graph,
    dy: Value,
    a: Value,
    ta: bool,
    tb: bool,
    precision: Precision,
) -> Result<Value, OpError> {
    if tb { g.product(dy, a, true, ta, precision) } else { g.product(a, dy, !ta, false, precision) }
}

/// How attributes say it: nothing of f32.
pub(super) fn suffix(precision: Precision) -> String {
    if precision == Precision::Fp32 { String::new() } else { format!(" precision={precision}") }
}

/// `y = act(op(a) op(b) + bias)`. Inputs: a, b, and the bias `[N]` if there is one; output: y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// The extents it is made for.
    pub dims: Dims,
    /// Whether a is stored transposed.
    pub ta: bool,
    /// Whether b is stored transposed.
    pub tb: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Applied last.
    pub activation: Activation,
    /// How the factors are rounded.
    pub precision: Precision,
}

impl MatMul {
    pub(super) fn extras<'a, T>(&self, bias: Option<&'a [T]>) -> Extras<'a, T> {
        let MatMul { ta, tb, activation, precision, .. } = *self;
        Extras { ta, tb, alpha: 1.0, beta: 0.0, bias, activation, precision }
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        if self.bias || self.activation != Activation::Identity { "linear" } else { "matmul" }
    }
    fn attributes(&self) -> String {
        let mut text = format!("ta={} tb={}", self.ta, self.tb);
        if self.bias {
            text += " bias";
        }
        if self.activation != Activation::Identity {
            text += &format!(" activation={}", self.activation);
        }
        text + &suffix(self.precision)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        check(self.name(), self.dims, self.ta, self.tb, inputs)?;
        if inputs.len() != 2 + usize::from(self.bias) {
            return Err(OpError::shape(self.name(), "takes two matrices, and a bias if it has one", inputs));
        }
        if self.bias && inputs[2].shape != [self.dims.n] {
            return Err(OpError::shape(self.name(), format!("the bias must be [{}]", self.dims.n), inputs));
        }
        Ok(vec![self.dims.output()])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        self.dims.cost(u64::from(self.bias) + self.activation.flop(), inputs, outputs)
    }
    fn workspace(&self, _: &[TensorType], _: &[TensorType]) -> usize {
        workspace(self.dims, self.precision)
    }
    fn scratch(&self, device: &Device) -> usize {
        scratch(&problem(self.dims, &self.extras::<f32>(None), self.bias), None, device)
    }
    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        let x = self.extras(self.bias.then(|| ctx.input(2)));
        product_f32(self.dims, x, ctx.input(0), ctx.input(1), ctx.output(0), ctx.workspace());
    }
    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let x = self.extras(self.bias.then(|| ctx.input(2)));
        product_f64(self.dims, x, ctx.input(0), ctx.input(1), ctx.output(0));
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let bias = if self.bias { ctx.inputs[2].address } else { 0 };
        let p = problem(self.dims, &self.extras::<f32>(None), self.bias);
        launch(ctx, &p, Addresses { bias, ..addresses(ctx) }, None)
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        if self.activation != Activation::Identity {
            return Err(OpError::NotDifferentiable("a matrix product fused with its activation"));
        }
        let (a, b) = (vjp.input(0), vjp.input(1));
        if vjp.needs(0) {
            let da = grad_a(vjp.graph(), dy, b, self.ta, self.tb, self.precision)?;
            vjp.add(0, da)?;
        }
        if vjp.needs(1) {
            let db = grad_b(vjp.graph(), dy, a, self.ta, self.tb, self.precision)?;
            vjp.add(1, db)?;
        }
        if self.bias && vjp.needs(2) {
            let mut sums = vjp.graph().sum(dy, 0)?;
            if self.dims.batch.is_some() {
                sums = vjp.graph().sum(sums, 0)?;
            }
            vjp.add(2, sums)?;
        }
        Ok(())
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<Arc<dyn Op>> {
        if arg != 0 || self.activation != Activation::Identity {
            return None;
        }
        let consumer = consumer.as_any();
        if let Some(next) = consumer.downcast_ref::<Activate>() {
            return Some(Arc::new(MatMul { activation: next.activation, ..*self }));
        }
        if let Some(next) = consumer.downcast_ref::<ActivateGrad>() {
            return Some(Arc::new(MatMulGrad::of(self, next.activation)?));
        }
        if !self.bias && consumer.is::<super::addmm::AddBias>() {
            return Some(Arc::new(MatMul { bias: true, ..*self }));
        }
        None
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Graph {
    /// op(a) op(b), for two matrices or two batches of them.
    fn product(
        &mut self,
        a: Value,
        b: Value,
        ta: bool,
        tb: bool,
        precision: Precision,
    ) -> Result<Value, OpError> {
        let dims = dims("matmul", ta, tb, &self.types(&[a, b]))?;
        self.push1(MatMul { dims, ta, tb, bias: false, activation: Activation::Identity, precision }, &[a, b])
    }

    /// The product of a `[M, K]` and b `[K, N]`: `[M, N]`.
    pub fn matmul(&mut self, a: Value, b: Value) -> Result<Value, OpError> {
        self.matmul_t(a, b, false, false)
    }

    /// The product of matrices a and b, each read transposed if `ta` (`tb`).
    pub fn matmul_t(&mut self, a: Value, b: Value, ta: bool, tb: bool) -> Result<Value, OpError> {
        if self.shape(a).len() != 2 {
            return Err(OpError::shape("matmul", "operands must be matrices", &self.types(&[a, b])));
        }
        self.product(a, b, ta, tb, self.precision)
    }

    /// The products of a batch: a `[B, M, K]`, b `[B, K, N]` (each matrix read transposed if `ta`, `tb`) give `[B, M, N]`.
    pub fn batch_matmul(&mut self, a: Value, b: Value, ta: bool, tb: bool) -> Result<Value, OpError> {
        if self.shape(a).len() != 3 {
            return Err(OpError::shape(
                "matmul",
                "operands must be batches of matrices",
                &self.types(&[a, b]),
            ));
        }
        self.product(a, b, ta, tb, self.precision)
    }

    /// A linear layer: x `[B, in]` times w `[out, in]` transposed, plus the bias `[out]`: `[B, out]`.
    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value, OpError> {
        let Some(bias) = bias else { return self.matmul_t(x, w, false, true) };
        let dims = dims("linear", false, true, &self.types(&[x, w]))?;
        let (activation, precision) = (Activation::Identity, self.precision);
        let op = MatMul { dims, ta: false, tb: true, bias: true, activation, precision };
        self.push1(op, &[x, w, bias])
    }
}

pub(super) const KERNELS: &[&str] = &[
    "gemm_nn_32",
    "gemm_nt_32",
    "gemm_tn_32",
    "gemm_tt_32",
    "gemm_nn_64",
    "gemm_nt_64",
    "gemm_tn_64",
    "gemm_tt_64",
    "gemm_nn_128",
    "gemm_nt_128",
    "gemm_tn_128",
    "gemm_tt_128",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_takes_bias_and_activation_and_nothing_more() {
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32([5, 3])).expect("an input");
        let w = g.input("w", TensorType::f32([3, 4])).expect("an input");
        let b = g.input("b", TensorType::f32([4])).expect("an input");
        let product = g.matmul(x, w).expect("shapes fit");
        let sum = g.add_bias(product, b).expect("shapes fit");
        let y = g.relu(sum).expect("any shape");
        let z = g.tanh(y).expect("any shape");
        g.output("z", z);
        let fused = g.fuse();
        let names: Vec<&str> = fused.nodes.iter().map(|n| n.op.name()).collect();
        assert_eq!(names, ["linear", "activation"]);
        assert!(
            fused.nodes[0].op.attributes().contains("activation=relu"),
            "{}",
            fused.nodes[0].op.attributes()
        );
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_by_name() {
        let mut g = Graph::new();
        let a = g.input("a", TensorType::f32([5, 3])).expect("an input");
        let b = g.input("b", TensorType::f32([4, 2])).expect("an input");
        let error = g.matmul(a, b).expect_err("3 columns, 4 rows").to_string();
        assert!(error.contains("3 columns") && error.contains("4 rows"), "{error}");
        let bias = g.input("bias", TensorType::f32([3])).expect("an input");
        let w = g.input("w", TensorType::f32([4, 3])).expect("an input");
        let error = g.linear(a, w, Some(bias)).expect_err("a bias of 3 for 4 columns").to_string();
        assert!(error.contains("[4]"), "{error}");
    }
}
