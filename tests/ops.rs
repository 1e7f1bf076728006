//! Every operation of the registry, as properties: on each device the result is the `f64` oracle's within the stated
//! tolerance and the same bits from run to run, the simulator's checks stay silent, and gradients are those of central
//! finite differences.
//!
//! The number of cases an operation gets is `PROPTEST_CASES` (64 by default); `IRONWARP_OP=softmax` restricts the run to
//! one operation. Where a GPU is there, the same properties run on `cuda`; `IRONWARP_REQUIRE_CUDA=1` makes a missing GPU
//! a failure (`scripts/gpu-check`).

mod common;

use std::collections::HashMap;

use common::{Data, Rng, compare, draw_data, feed, graph_of, run_on};
use ironwarp::device::{DType, Device, SimOptions, Target};
use ironwarp::graph::{Graph, HostTensor, Value};
use ironwarp::ops::{Draw, OpEntry, Sample, registry};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The longest axis of a sampled tensor on `cpu`, and on devices that run kernels (a simulator among them).
const MAX_DIM: usize = 160;

fn selected() -> Vec<OpEntry> {
    let only = std::env::var("IRONWARP_OP").ok();
    registry().into_iter().filter(|e| only.as_deref().is_none_or(|name| name == e.name)).collect()
}

/// Runs `property` on instances of every selected operation; a failure names the operation and the shrunk instance.
fn for_every_op(keep: fn(&OpEntry) -> bool, property: impl Fn(&Sample, u64) -> Result<(), String>) {
    let mut failures = vec![];
    for entry in selected().into_iter().filter(keep) {
        // The same cases in every run: a failure is found again by running the test again.
        let seed = entry.name.bytes().fold([7u8; 32], |mut s, b| {
            s.rotate_left(3);
            s[0] ^= b;
            s
        });
        let config = Config { failure_persistence: None, ..Config::with_cases(cases()) };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let strategy = (proptest::collection::vec(any::<u32>(), 24), any::<u64>());
        let result = runner.run(&strategy, |(choices, seed)| {
            let sample = (entry.sample)(&mut Draw::new(choices, MAX_DIM));
            property(&sample, seed).map_err(|reason| {
                let inputs: Vec<String> =
                    sample.inputs.iter().map(|i| format!("{} {:?}", i.ty, i.domain)).collect();
                TestCaseError::fail(format!("{:?} on {}: {reason}", sample.op, inputs.join(", ")))
            })
        });
        if let Err(e) = result {
            failures.push(format!("{}: {e}", entry.name));
        }
    }
    assert!(failures.is_empty(), "{} operations fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

fn draw(sample: &Sample, seed: u64) -> Vec<Data> {
    let mut rng = Rng(seed);
    sample.inputs.iter().map(|input| draw_data(input, &mut rng)).collect()
}

/// Forward on `device` (and again on `again`) against the oracle.
fn forward(device: &Device, again: &Device, sample: &Sample, seed: u64) -> Result<(), String> {
    let data = draw(sample, seed);
    let (graph, _, outputs) = graph_of(sample);
    let want = graph.eval(&feed(&data)).map_err(|e| e.to_string())?;
    let got = run_on(device, &graph, &outputs, &data).map_err(|e| e.to_string())?;
    for (k, (&v, got)) in outputs.iter().zip(&got).enumerate() {
        compare(got, want.get(v), sample.tolerance).map_err(|e| format!("output {k}: {e}"))?;
    }
    let second = run_on(again, &graph, &outputs, &data).map_err(|e| e.to_string())?;
    for (k, (a, b)) in got.iter().zip(&second).enumerate() {
        let same = match (a, b) {
            (Data::F32(a), Data::F32(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
            (Data::U32(a), Data::U32(b)) => a == b,
            (Data::Half(a), Data::Half(b)) => a == b,
            _ => false,
        };
        if !same {
            return Err(format!("output {k}: a second run gives other bits"));
        }
    }
    Ok(())
}

#[test]
fn cpu_agrees_with_the_oracle() {
    let device = Device::cpu();
    for_every_op(|_| true, |sample, seed| forward(&device, &device, sample, seed));
}

#[test]
fn sim_agrees_with_the_oracle_and_finds_nothing() {
    // The second run has its warps and blocks in another order: bits that depend on it are a race.
    let pairs = [Target::Sm80, Target::Sm90a].map(|target| {
        [0, 0x5eed].map(|seed| Device::sim_with(SimOptions { seed, target, ..SimOptions::default() }))
    });
    for_every_op(
        |_| true,
        |sample, seed| {
            let [device, shuffled] = &pairs[(seed & 1) as usize];
            forward(device, shuffled, sample, seed)
        },
    );
}

#[test]
fn cuda_agrees_with_the_oracle() {
    if let Some(device) = common::gpu() {
        for_every_op(|_| true, |sample, seed| forward(&device, &device, sample, seed));
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for_every_op(|e| e.differentiable, gradient);
}

/// What the gradient checks compare.
struct Differentiated {
    /// The operation alone.
    forward: Graph,
    output: Value,
    cotangent: Vec<f32>,
    /// Inputs that are perturbed, each with its gradient.
    gradients: Vec<(usize, Vec<f64>)>,
}

/// <cotangent, output 0> differentiated by the graph, in f64.
fn differentiated(sample: &Sample, data: &[Data], seed: u64) -> Result<Differentiated, String> {
    let (mut graph, inputs, outputs) = graph_of(sample);
    let mut rng = Rng(seed ^ 0xc07a);
    let shape = graph.shape(outputs[0]).to_vec();
    let n: usize = shape.iter().product();
    let cotangent: Vec<f32> = (0..n).map(|_| rng.range(-1.0, 1.0)).collect();
    let c = graph.constant(&cotangent, &shape).map_err(|e| e.to_string())?;
    let wrt: Vec<usize> = (0..inputs.len())
        .filter(|&i| sample.inputs[i].differentiable && sample.inputs[i].ty.dtype == DType::F32)
        .collect();
    let forward = graph.clone();
    let mut gradients = vec![];
    if !wrt.is_empty() {
        let values: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
        let of = graph.vjps(&[(outputs[0], c)], &values).map_err(|e| e.to_string())?;
        let analytic = graph.eval(&feed(data)).map_err(|e| e.to_string())?;
        gradients.extend(wrt.into_iter().zip(of.into_iter().map(|g| analytic.get(g).real().to_vec())));
    }
    Ok(Differentiated { forward, output: outputs[0], cotangent, gradients })
}

/// The graph's gradient of <cotangent, output 0> against central differences, both in f64; of an operation that rounds its
/// operands, against the gradient of the one that does not.
fn gradient(sample: &Sample, seed: u64) -> Result<(), String> {
    let data = draw(sample, seed);
    let Differentiated { forward, output, cotangent, gradients } = differentiated(sample, &data, seed)?;
    if let Some((exact, bound)) = &sample.unrounded {
        let exact = differentiated(&Sample { op: exact.clone(), ..sample.clone() }, &data, seed)?;
        for ((i, got), (_, want)) in gradients.iter().zip(&exact.gradients) {
            for (e, (got, want)) in got.iter().zip(want).enumerate() {
                if (got - want).abs() > bound + 1e-9 {
                    return Err(format!(
                        "d/d x{i}[{e}]: {got} with rounding, {want} without; allowed {bound:e}"
                    ));
                }
            }
        }
        return Ok(());
    }
    let mut rng = Rng(seed ^ 0xe1e);
    let mut feed: HashMap<String, HostTensor> = feed(&data);
    let objective = |feed: &HashMap<String, HostTensor>| -> Result<f64, String> {
        let y = forward.eval(feed).map_err(|e| e.to_string())?;
        Ok(y.get(output).real().iter().zip(&cotangent).map(|(y, &c)| y * f64::from(c)).sum())
    };
    for (i, g) in gradients {
        let typical = g.iter().map(|x| x.abs()).fold(0.0, f64::max);
        for _ in 0..6 {
            let e = rng.below(g.len() as u64) as usize;
            let name = format!("x{i}");
            let mut at = |delta: f64| -> Result<f64, String> {
                let HostTensor::Real(v) = feed.get_mut(&name).expect("fed above") else { unreachable!() };
                let old = v[e];
                v[e] = old + delta;
                let y = objective(&feed);
                let HostTensor::Real(v) = feed.get_mut(&name).expect("fed above") else { unreachable!() };
                v[e] = old;
                y
            };
            let h = 1e-5;
            let numeric = (at(h)? - at(-h)?) / (2.0 * h);
            // Central differences: O(h^2) truncation and eps/h cancellation, both below 1e-6 of the gradient's scale.
            if (numeric - g[e]).abs() > 1e-6 * (1.0 + typical + numeric.abs()) {
                return Err(format!("d/d x{i}[{e}]: the graph says {}, finite differences {numeric}", g[e]));
            }
        }
    }
    Ok(())
}

#[test]
fn every_kernel_belongs_to_an_operation() {
    let module = ptx_sim::Module::parse(ironwarp::device::BUILTIN.sm_80).expect("the shipped PTX parses");
    let mut used: Vec<&str> = registry().iter().flat_map(|e| e.kernels.iter().copied()).collect();
    // Those that work on populations, outside graphs.
    used.extend(ironwarp::ops::score::KERNELS);
    used.extend(ironwarp::ops::population::KERNELS);
    used.extend(ironwarp::ops::grouped::KERNELS);
    used.extend(ironwarp::ops::matmul::kernels());
    let tutorial = ["saxpy"];
    for kernel in module.kernels() {
        let name = kernel.name.as_str();
        assert!(used.contains(&name) || tutorial.contains(&name), "kernel {name} is named by no operation");
    }
    for name in used {
        assert!(module.kernel(name).is_some(), "an operation names kernel {name}, which is not in the PTX");
    }
}
