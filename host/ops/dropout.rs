//! Inverted dropout (Srivastava et al. 2014):
//!
//! ```text
//! y[i] = x[i] / (1 - p)   where u[i] >= p, else 0            dx = the same operation applied to dy
//! ```
//!
//! with `u` uniform from Philox under (seed, stream, step, i) (`gpu_kernels::philox`): the step counter is an input, so
//! that a captured training step draws another mask each time, and the gradient draws the mask of its forward pass. A
//! dropped element is 0 even where `x` is infinite or NaN. Shapes: any; `step` is `u32[4]`, of which the first two words
//! count. Cost: about 25 integer operations an element, read and written once. Networks leave it out when they predict.

use gpu_kernels::philox::{philox4x32_10, uniform};
use gpu_kernels::random::{RANDOM_BLOCK, RANDOM_PER_THREAD};
use multiversion::multiversion;

use super::random::{GROUP, for_each_group};
use super::{
    Cost, CpuCtx, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;

/// Elements from which the work is shared between threads.
const PARALLEL: usize = 1 << 18;

#[derive(Clone, Debug)]
struct Dropout {
    p: f32,
    seed: u64,
    stream: u32,
}

/// What a mask depends on besides the element.
#[derive(Clone, Copy)]
struct Mask {
    key: [u32; 2],
    stream: u32,
    step: [u32; 2],
    p: f32,
    keep_scale: f32,
}

/// Elements `first..` (a multiple of four) of a tensor.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn apply(x: &[f32], y: &mut [f32], first: usize, mask: Mask) {
    let Mask { key, stream, step, p, keep_scale } = mask;
    let map = |w: [u32; 4]| {
        let factor = |w| if uniform(w) >= p { keep_scale } else { 0.0 };
        [factor(w[0]), factor(w[1]), factor(w[2]), factor(w[3])]
    };
    for_each_group(x.len(), first, key, stream, step, map, |j, factors| {
        let end = x.len().min(j + GROUP);
        for ((y, &x), &factor) in y[j..end].iter_mut().zip(&x[j..end]).zip(factors) {
            // A choice, not a product with 0: an infinity that is dropped is 0.
            *y = if factor != 0.0 { x * factor } else { 0.0 };
        }
    });
}

/// [`apply`], shared between threads where there is enough work; the numbers do not depend on how.
fn apply_parallel(x: &[f32], y: &mut [f32], first: usize, mask: Mask) {
    if x.len() < PARALLEL {
        return apply(x, y, first, mask);
    }
    let middle = (x.len() / 2).next_multiple_of(GROUP);
    let ((x0, x1), (y0, y1)) = (x.split_at(middle), y.split_at_mut(middle));
    rayon::join(|| apply_parallel(x0, y0, first, mask), || apply_parallel(x1, y1, first + middle, mask));
}

impl Dropout {
    fn mask(&self, step: &[u32]) -> Mask {
        Mask {
            key: [self.seed as u32, (self.seed >> 32) as u32],
            stream: self.stream,
            step: [step[0], step[1]],
            p: self.p,
            keep_scale: self.keep_scale(),
        }
    }

    fn keep_scale(&self) -> f32 {
        (1.0 / (1.0 - f64::from(self.p))) as f32
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn attributes(&self) -> String {
        format!("p={} seed={} stream={}", self.p, self.seed, self.stream)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(OpError::attribute(
                "dropout",
                format!("the probability {} must be in [0, 1)", self.p),
            ));
        }
        match inputs {
            [x, step] if x.dtype == DType::F32 && *step == TensorType::u32([4]) => {
                if x.len() > u32::MAX as usize {
                    return Err(OpError::shape("dropout", "at most 2^32 - 1 elements", inputs));
                }
                Ok(vec![x.clone()])
            }
            _ => Err(OpError::shape("dropout", "takes an f32 tensor and the step counter u32[4]", inputs)),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(2 * outputs[0].len() as u64, &inputs[..1], outputs)
    }

    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        apply_parallel(ctx.input(0), ctx.output(0), 0, self.mask(ctx.integers(1)));
    }

    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let mask = self.mask(ctx.integers(1));
        let y = ctx.output(0);
        for (quad, (x, y)) in ctx.input(0).chunks(4).zip(y.chunks_mut(4)).enumerate() {
            let block = philox4x32_10([quad as u32, mask.stream, mask.step[0], mask.step[1]], mask.key);
            for ((x, y), word) in x.iter().zip(y).zip(block) {
                *y = if uniform(word) >= mask.p { x * f64::from(mask.keep_scale) } else { 0.0 };
            }
        }
    }

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = ctx.outputs[0].len as u32;
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        ctx.launch(
            kernel!(random::dropout),
            Launch::blocks_of(n.div_ceil(RANDOM_PER_THREAD), RANDOM_BLOCK),
            (n, ctx.input(0), ctx.output(0), ctx.input(1), low, high, self.stream, self.p, self.keep_scale()),
        )
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        if let (Some(dy), true) = (vjp.grad(0), vjp.needs(0)) {
            let step = vjp.input(1);
            let dx = vjp.graph().push1(self.clone(), &[dy, step])?;
            vjp.add(0, dx)?;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Graph {
    /// Drops each element of `x` with probability `p` and scales the others by 1 / (1 - p); see the module's docs. `step`
    /// is the step counter, `u32[4]`. Dropout layers of one network take different `stream`s.
    ///
    /// Errors: `p` outside [0, 1), a wrong `step`.
    pub fn dropout(
        &mut self,
        x: Value,
        p: f32,
        step: Value,
        seed: u64,
        stream: u32,
    ) -> Result<Value, OpError> {
        self.push1(Dropout { p, seed, stream }, &[x, step])
    }
}

fn sample(draw: &mut Draw) -> Sample {
    let shape = match draw.below(3) {
        0 => vec![draw.dim()],
        1 => vec![draw.dim(), draw.dim_to(40)],
        _ => vec![draw.pick(&[4099, 1024, 2053, 8191])],
    };
    let op = Dropout {
        p: draw.pick(&[0.5, 0.0, 0.1, 0.25, 0.9, 0.99]),
        seed: u64::from(draw.below(u32::MAX as usize) as u32) << 32 | draw.below(u32::MAX as usize) as u64,
        stream: draw.below(u32::MAX as usize) as u32,
    };
    let inputs = vec![SampleInput::uniform(shape, -4.0, 4.0), SampleInput::index([4], u32::MAX)];
    // One rounded product; a wrong mask is off by the whole element.
    Sample::new(op, inputs, Tolerance::ulps(1.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry { name: "dropout", kernels: &["dropout"], sample, differentiable: true }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(n: usize, p: f32, step: [u32; 2]) -> Vec<f32> {
        let op = Dropout { p, seed: 99, stream: 4 };
        let x: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / n as f32).collect();
        let mut y = vec![f32::NAN; n];
        apply_parallel(&x, &mut y, 0, op.mask(&step));
        for (x, y) in x.iter().zip(&y) {
            assert!(*y == 0.0 || *y == x * op.keep_scale());
        }
        y
    }

    #[test]
    fn threads_do_not_change_the_mask() {
        let n = 2 * PARALLEL + 77;
        let op = Dropout { p: 0.3, seed: 99, stream: 4 };
        let x: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / n as f32).collect();
        let mut y = vec![f32::NAN; n];
        apply(&x, &mut y, 0, op.mask(&[5, 6]));
        assert_eq!(y, dropped(n, 0.3, [5, 6]));
    }

    #[test]
    fn the_share_of_dropped_elements_is_p_and_steps_differ() {
        let n = 1 << 17;
        for p in [0.1f32, 0.5, 0.9] {
            let a = dropped(n, p, [7, 0]);
            let zeros = a.iter().filter(|&&y| y == 0.0).count() as f64;
            let deviation = (n as f64 * f64::from(p) * f64::from(1.0 - p)).sqrt();
            assert!((zeros - n as f64 * f64::from(p)).abs() < 5.0 * deviation, "{zeros} of {n} at {p}");
            for other in [[8, 0], [7, 1]] {
                let b = dropped(n, p, other);
                let agree = a.iter().zip(&b).filter(|(a, b)| (**a == 0.0) == (**b == 0.0)).count() as f64;
                let chance = f64::from(p * p + (1.0 - p) * (1.0 - p));
                assert!(
                    (agree / n as f64 - chance).abs() < 0.01,
                    "masks of two steps agree in {agree} of {n}"
                );
            }
        }
    }

    #[test]
    fn a_dropped_infinity_is_zero() {
        let op = Dropout { p: 0.5, seed: 1, stream: 1 };
        let mut y = vec![1.0; 100];
        apply(&[f32::INFINITY; 100], &mut y, 0, op.mask(&[0, 0]));
        assert!(y.iter().all(|&y| y == 0.0 || y == f32::INFINITY));
        assert!(y.contains(&0.0) && y.contains(&f32::INFINITY));
    }

    #[test]
    fn probabilities_out_of_range_are_refused() {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32([4])).unwrap();
        let step = graph.input("step", TensorType::u32([4])).unwrap();
        for p in [-0.1, 1.0, f32::NAN] {
            assert!(matches!(graph.dropout(x, p, step, 0, 0), Err(OpError::Attribute { .. })));
        }
        assert!(matches!(graph.dropout(x, 0.5, x, 0, 0), Err(OpError::Shape { .. })));
    }
}
