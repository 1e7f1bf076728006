//! Normalisation of a layer's features `x` `[batch, n]`, as PyTorch's `nn.LayerNorm` and `nn.BatchNorm1d` do it:
//!
//! ```text
//! y = (x - mean) / sqrt(variance + eps) * gain + shift,     eps = 1e-5
//! ```
//!
//! Layer normalisation takes mean and variance over the features of each sample (Ba et al. 2016), batch normalisation over
//! the samples of each feature (Ioffe and Szegedy 2015); the variance is the biased one, divided by the count. Batch
//! normalisation keeps running statistics for inference:
//!
//! ```text
//! running_mean <- running_mean + 0.1 (mean - running_mean)
//! running_var  <- running_var + 0.1 (variance * batch / (batch - 1) - running_var)
//! ```
//!
//! A minibatch of one sample has no variance, and PyTorch refuses to train on it; here it is normalised by the running
//! statistics and leaves them alone, so that the rest of an epoch may be a single sample.

use crate::graph::{Graph, Value};
use crate::ops::OpError;

/// Added to variances.
pub const EPS: f32 = 1e-5;
/// Weight of a minibatch in the running statistics.
pub const MOMENTUM: f32 = 0.1;

/// Gain and shift of the features, `[n]` each.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Factor of each normalised feature.
    pub gain: Value,
    /// Added to it.
    pub shift: Value,
}

/// Running mean and variance of the features, `[n]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Running mean.
    pub mean: Value,
    /// Running variance, unbiased.
    pub variance: Value,
}

/// Appends the layer normalisation of `x` `[batch, n]`.
pub fn layer_norm(g: &mut Graph, x: Value, affine: Affine) -> Result<Value, OpError> {
    let shape = matrix(g, "layer_norm", x)?;
    let mean = g.mean(x, 1)?;
    let mean = g.expand(mean, 1, shape[1])?;
    let centred = g.sub(x, mean)?;
    let squares = g.square(centred)?;
    let variance = g.mean(squares, 1)?;
    let deviation = deviation(g, variance)?;
    let deviation = g.expand(deviation, 1, shape[1])?;
    let normal = g.div(centred, deviation)?;
    let gain = g.broadcast_to(affine.gain, &shape)?;
    let scaled = g.mul(normal, gain)?;
    g.add_bias(scaled, affine.shift)
}

/// Appends the batch normalisation of the minibatch `x` `[batch, n]` while training; also what the running statistics
/// become.
pub fn batch_norm(
    g: &mut Graph,
    x: Value,
    affine: Affine,
    running: Running,
) -> Result<(Value, Running), OpError> {
    let shape = matrix(g, "batch_norm", x)?;
    let batch = shape[0];
    if batch == 1 {
        return Ok((running_norm(g, x, affine, running)?, running));
    }
    let mean = g.mean(x, 0)?;
    let means = g.broadcast_to(mean, &shape)?;
    let centred = g.sub(x, means)?;
    let squares = g.square(centred)?;
    let variance = g.mean(squares, 0)?;
    let unbiased = g.scale(variance, batch as f32 / (batch - 1) as f32)?;
    let mut update = |state: Value, seen: Value| {
        let change = g.sub(seen, state)?;
        let change = g.scale(change, MOMENTUM)?;
        g.add(state, change)
    };
    let updated =
        Running { mean: update(running.mean, mean)?, variance: update(running.variance, unbiased)? };
    let deviation = deviation(g, variance)?;
    let factor = g.div(affine.gain, deviation)?;
    let factors = g.broadcast_to(factor, &shape)?;
    let scaled = g.mul(centred, factors)?;
    Ok((g.add_bias(scaled, affine.shift)?, updated))
}

/// Appends the batch normalisation of `x` `[batch, n]` by the running statistics, for inference.
pub fn running_norm(g: &mut Graph, x: Value, affine: Affine, running: Running) -> Result<Value, OpError> {
    let shape = matrix(g, "batch_norm", x)?;
    let means = g.broadcast_to(running.mean, &shape)?;
    let centred = g.sub(x, means)?;
    let deviation = deviation(g, running.variance)?;
    let factor = g.div(affine.gain, deviation)?;
    let factors = g.broadcast_to(factor, &shape)?;
    let scaled = g.mul(centred, factors)?;
    g.add_bias(scaled, affine.shift)
}

/// sqrt(variance + eps)
fn deviation(g: &mut Graph, variance: Value) -> Result<Value, OpError> {
    let shifted = g.add_scalar(variance, EPS)?;
    g.sqrt(shifted)
}

fn matrix(g: &Graph, op: &'static str, x: Value) -> Result<Vec<usize>, OpError> {
    let shape = g.shape(x).to_vec();
    if shape.len() == 2 {
        Ok(shape)
    } else {
        Err(OpError::shape(op, "give features of shape [batch, n]", std::slice::from_ref(g.ty(x))))
    }
}
