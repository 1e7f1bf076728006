//! Limits on networks, and a model of their latency.
//!
//! A point whose network breaks a limit is not allowed ([`Space::allow`](crate::search::space::Space::allow)), so samplers
//! never propose it. Parameters, FLOP and memory follow from the architecture
//! ([`Architecture::parameters`], [`flop`](Architecture::flop), [`memory`](Architecture::memory)). Latency comes from a
//! [`LatencyModel`]: a [`LinearLatency`] fitted to measurements, or any function, which may measure by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::Verdict;
use crate::device::Device;
use crate::graph::{Executor, Plan, States};
use crate::nn;
use crate::ops::activation::Activation;
use crate::ops::matmul::Precision;
use crate::search::SearchError;
use crate::search::architecture::{Architecture, Recipe, number};
use crate::train::{TrainError, step};

/// The most that a network may need; `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Trainable scalars.
    pub params: Option<u64>,
    /// Floating-point operations of a forward pass of one sample.
    pub flop: Option<u64>,
    /// Bytes while training.
    pub memory: Option<u64>,
    /// Seconds of a forward pass of one sample.
    pub latency: Option<f64>,
}

impl Limits {
    /// Whether the architecture keeps them; the reason names the first limit that it breaks, with both numbers.
    pub fn check(&self, architecture: &Architecture, latency: Option<&Latency>) -> Verdict {
        let counts = [
            ("parameters", "max_params", architecture.parameters(), self.params),
            ("FLOP a sample", "max_flop", architecture.flop(), self.flop),
            ("bytes of memory", "max_memory", architecture.memory(), self.memory),
        ];
        for (what, limit, value, most) in counts {
            if let Some(most) = most
                && value > most
            {
                return Err(format!("{value} {what} exceed {limit} = {most}"));
            }
        }
        if let (Some(most), Some(latency)) = (self.latency, latency) {
            let seconds = latency.seconds(architecture);
            // So written that NaN is refused.
            if !matches!(
                seconds.partial_cmp(&most),
                Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
            ) {
                return Err(format!(
                    "a latency of {} s exceeds max_latency = {}",
                    number(seconds),
                    number(most)
                ));
            }
        }
        Ok(())
    }
}

/// Says how long a forward pass takes.
pub trait LatencyModel: Send + Sync {
    /// Seconds of a forward pass of one sample.
    fn seconds(&self, architecture: &Architecture) -> f64;
}

impl<F: Fn(&Architecture) -> f64 + Send + Sync> LatencyModel for F {
    fn seconds(&self, architecture: &Architecture) -> f64 {
        self(architecture)
    }
}

/// A shared [`LatencyModel`].
#[derive(Clone)]
pub struct Latency(Arc<dyn LatencyModel>);

impl Latency {
    /// Wraps a model or a function.
    pub fn new(model: impl LatencyModel + 'static) -> Latency {
        Latency(Arc::new(model))
    }
    /// Seconds of a forward pass of one sample.
    pub fn seconds(&self, architecture: &Architecture) -> f64 {
        self.0.seconds(architecture)
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Latency(..)")
    }
}

/// `seconds = fixed + per_layer * layers + per_flop * FLOP`: launches cost a fixed time each, matrix products run at the
/// rate at which the weights come from memory (one sample reads each weight once, for 2 FLOP). The same numbers give the
/// same predictions everywhere, so a study that keeps them stays reproducible; measuring anew would not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearLatency {
    /// Seconds of any pass.
    pub fixed: f64,
    /// Seconds of a layer.
    pub per_layer: f64,
    /// Seconds of a floating-point operation.
    pub per_flop: f64,
}

impl LatencyModel for LinearLatency {
    fn seconds(&self, architecture: &Architecture) -> f64 {
        let layers = architecture.net.layers.len() as f64;
        self.fixed + self.per_layer * layers + self.per_flop * architecture.flop() as f64
    }
}

impl LinearLatency {
    /// The model with coefficients of 0 or more that is nearest to measurements (architecture, seconds) in the sum of
    /// squared relative errors; `None` without a measurement above 0.
    pub fn fit(measured: &[(Architecture, f64)]) -> Option<LinearLatency> {
        let rows: Vec<[f64; 3]> = measured
            .iter()
            .filter(|(_, s)| s.is_finite() && *s > 0.0)
            .map(|(a, s)| [1.0 / s, a.net.layers.len() as f64 / s, a.flop() as f64 / s])
            .collect();
        if rows.is_empty() {
            return None;
        }
        // With three coefficients, the best under signs is the best of the seven subsets that have the right signs.
        let mut best: Option<(f64, [f64; 3])> = None;
        for subset in 1..8usize {
            let columns: Vec<usize> = (0..3).filter(|c| subset >> c & 1 == 1).collect();
            let Some(solution) = least_squares(&rows, &columns) else { continue };
            if solution.iter().any(|c| *c < 0.0) {
                continue;
            }
            let error =
                |row: &[f64; 3]| (row.iter().zip(&solution).map(|(x, c)| x * c).sum::<f64>() - 1.0).powi(2);
            let total = rows.iter().map(error).sum();
            if best.is_none_or(|(least, _)| total < least) {
                best = Some((total, solution));
            }
        }
        best.map(|(_, [fixed, per_layer, per_flop])| LinearLatency { fixed, per_layer, per_flop })
    }

    /// Measures a few networks with `inputs` and `outputs` on `device` and fits the model to them; takes some milliseconds a
    /// network. Keep the result with the study.
    pub fn calibrate(device: &Device, inputs: usize, outputs: usize) -> Result<LinearLatency, SearchError> {
        let mut measured = vec![];
        for depth in [1usize, 2, 4] {
            for width in [16usize, 128, 512] {
                let net = nn::mlp(inputs, vec![width; depth], Activation::Relu, outputs);
                let architecture = Architecture { net, recipe: Recipe::default() };
                let seconds = measure(device, &architecture)?;
                measured.push((architecture, seconds));
            }
        }
        LinearLatency::fit(&measured).ok_or_else(|| {
            SearchError::Options("the clock is too coarse to measure latencies: give [latency]".into())
        })
    }
}

/// Seconds of a forward pass of one sample on `device`: the median of 31 passes after 5 that warm up, from the input's upload
/// to the outputs' arrival on the host.
pub fn measure(device: &Device, architecture: &Architecture) -> Result<f64, SearchError> {
    let (net, train) = (&architecture.net, |e: crate::ops::OpError| TrainError::from(e));
    let states = States::new(device);
    let init = Plan::new(&net.init_graph(1).map_err(train)?).map_err(train)?;
    Executor::new(&init, &states)?.run()?;
    let plan = Plan::new(&step::inference(net, Precision::Fp32, 1).map_err(train)?.fuse()).map_err(train)?;
    let mut exec = Executor::new(&plan, &states)?;
    let (x, y) = (exec.input("x")?, exec.output("outputs")?);
    let sample: Vec<f32> = (0..net.inputs).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut outputs = vec![0f32; net.outputs()];
    let mut seconds = vec![];
    for _ in 0..36 {
        let began = Instant::now();
        exec.write(x, &sample)?;
        exec.run()?;
        exec.read(y, &mut outputs)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let mut timed = seconds.split_off(5);
    timed.sort_by(f64::total_cmp);
    Ok(timed[timed.len() / 2])
}

/// Least squares of `sum_c x_c coefficient_c = 1` over the columns given, by the normal equations; `None` when they are
/// singular.
fn least_squares(rows: &[[f64; 3]], columns: &[usize]) -> Option<[f64; 3]> {
    let n = columns.len();
    // Columns are scaled to unit length, or FLOP would swamp the rest.
    let length = |c: usize| rows.iter().map(|r| r[c] * r[c]).sum::<f64>().sqrt();
    let scale: Vec<f64> = columns.iter().map(|&c| length(c)).collect();
    if scale.iter().any(|s| *s <= 0.0) {
        return None;
    }
    let entry = |r: &[f64; 3], i: usize| r[columns[i]] / scale[i];
    let mut a: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let products = (0..n).map(|j| rows.iter().map(|r| entry(r, i) * entry(r, j)).sum());
            products.chain([rows.iter().map(|r| entry(r, i)).sum()]).collect()
        })
        .collect();
    for i in 0..n {
        let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs()))?;
        a.swap(i, pivot);
        if a[i][i].abs() < 1e-12 {
            return None;
        }
        for j in 0..n {
            if j != i {
                let factor = a[j][i] / a[i][i];
                let row = a[i].clone();
                a[j].iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
            }
        }
    }
    let mut solution = [0.0; 3];
    for i in 0..n {
        solution[columns[i]] = a[i][n] / a[i][i] / scale[i];
    }
    Some(solution)
}
