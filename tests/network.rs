//! Whole networks, as properties: gradients of random MLPs against finite differences, fusion that changes nothing,
//! devices that agree step by step, and runs that resume with the same bits.

mod common;

use std::collections::HashMap;

use common::Rng;
use ironwarp::data;
use ironwarp::device::Device;
use ironwarp::graph::{Graph, HostTensor, Value};
use ironwarp::nn::{self, Mode};
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::train::{Adam, Control, Event, Loss, Schedule, Trainer};
use proptest::prelude::*;

/// Activations without kinks, where central differences hold everywhere.
const SMOOTH: [Activation; 8] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Mish,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
];

const LOSSES: [Loss; 4] = [
    Loss::CrossEntropy { smoothing: 0.0 },
    Loss::CrossEntropy { smoothing: 0.1 },
    Loss::BceWithLogits,
    Loss::Mse,
];

/// A random network, its loss on a random batch, and values for every input and state.
struct Case {
    graph: Graph,
    parameters: Vec<(String, Value)>,
    loss: Value,
    feed: HashMap<String, HostTensor>,
}

fn case(widths: &[usize], activations: &[usize], loss: usize, batch: usize, seed: u64) -> Case {
    let mut rng = Rng(seed);
    let (inputs, hidden) = widths.split_first().expect("at least the input");
    let (outputs, hidden) = hidden.split_last().expect("at least the output");
    let mut net = nn::mlp(*inputs, hidden, Activation::Identity, *outputs);
    for (layer, a) in net.layers.iter_mut().zip(activations) {
        layer.activation = SMOOTH[a % SMOOTH.len()];
    }
    let loss_kind = LOSSES[loss % LOSSES.len()];
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([batch, *inputs])).expect("a valid shape");
    let labels = loss_kind.takes_labels();
    let ty = if labels { TensorType::u32([batch]) } else { TensorType::f32([batch, *outputs]) };
    let y = graph.input("y", ty).expect("a valid shape");
    let values = net.states(&mut graph).expect("valid parameters");
    let out = net.forward(&mut graph, x, &values, Mode::Inference).expect("a valid network");
    let loss = loss_kind.append(&mut graph, out, y).expect("a valid loss");
    let mut random =
        |n: usize, r: f32| HostTensor::Real((0..n).map(|_| f64::from(rng.range(-r, r))).collect());
    let mut feed = HashMap::from([("x".to_string(), random(batch * inputs, 1.0))]);
    for p in net.parameters() {
        feed.insert(p.name.clone(), random(p.shape.iter().product(), 0.8));
    }
    let target = if labels {
        HostTensor::U32((0..batch).map(|_| rng.below(*outputs as u64) as u32).collect())
    } else {
        HostTensor::Real((0..batch * outputs).map(|_| f64::from(rng.range(0.0, 1.0))).collect())
    };
    feed.insert("y".into(), target);
    let parameters = net.parameters().into_iter().map(|p| p.name).zip(values).collect();
    Case { graph, parameters, loss, feed }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn gradients_of_random_networks_are_those_of_finite_differences(
        widths in proptest::collection::vec(1usize..9, 2..6),
        activations in proptest::collection::vec(0usize..8, 5),
        loss in 0usize..4, batch in 1usize..7, seed in any::<u64>(),
    ) {
        let Case { mut graph, parameters, loss, mut feed } = case(&widths, &activations, loss, batch, seed);
        let forward = graph.clone();
        let values: Vec<Value> = parameters.iter().map(|p| p.1).collect();
        let gradients = graph.gradients(loss, &values).expect("differentiable");
        let analytic = graph.eval(&feed).expect("evaluates");
        let mut rng = Rng(seed ^ 1);
        for ((name, _), g) in parameters.iter().zip(gradients) {
            let g = analytic.get(g).real();
            let e = rng.below(g.len() as u64) as usize;
            let mut at = |delta: f64| {
                let change = |feed: &mut HashMap<String, HostTensor>, d: f64| {
                    if let Some(HostTensor::Real(v)) = feed.get_mut(name) { v[e] += d }
                };
                change(&mut feed, delta);
                let y = forward.eval(&feed).expect("evaluates").get(loss).real()[0];
                change(&mut feed, -delta);
                y
            };
            let h = 1e-5;
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            prop_assert!((numeric - g[e]).abs() < 1e-7 * (1.0 + numeric.abs()), "{name}[{e}]: {} {numeric}", g[e]);
        }
    }

    #[test]
    fn fusion_changes_nothing(
        widths in proptest::collection::vec(1usize..9, 2..6),
        activations in proptest::collection::vec(0usize..8, 5),
        loss in 0usize..4, batch in 1usize..7, seed in any::<u64>(),
    ) {
        let Case { mut graph, parameters, loss, feed } = case(&widths, &activations, loss, batch, seed);
        let values: Vec<Value> = parameters.iter().map(|p| p.1).collect();
        let gradients = graph.gradients(loss, &values).expect("differentiable");
        for (i, &g) in gradients.iter().enumerate() {
            graph.output(&format!("g{i}"), g);
        }
        graph.output("loss", loss);
        let fused = graph.fuse();
        prop_assert!(fused.len() <= graph.len(), "{} {}", fused.len(), graph.len());
        let (a, b) = (graph.eval(&feed).expect("evaluates"), fused.eval(&feed).expect("evaluates"));
        for v in gradients.into_iter().chain([loss]) {
            for (x, y) in a.get(v).real().iter().zip(b.get(v).real()) {
                prop_assert!((x - y).abs() <= 1e-12 * (1.0 + x.abs()), "{x} {y}");
            }
        }
    }
}

#[test]
fn an_activation_goes_into_the_product_before_it() {
    let mut graph = Graph::new();
    let net = nn::mlp(5, [7, 3], Activation::Relu, 2);
    let x = graph.input("x", TensorType::f32([4, 5])).expect("a valid shape");
    let parameters = net.states(&mut graph).expect("valid parameters");
    let y = net.forward(&mut graph, x, &parameters, Mode::Inference).expect("a valid network");
    graph.output("y", y);
    let (text, dot) = (graph.fuse().to_string(), graph.fuse().to_dot());
    assert_eq!((graph.len(), graph.fuse().len()), (5, 3), "{text}");
    assert!(text.contains("relu") && dot.starts_with("digraph") && dot.contains("relu"), "{text}{dot}");
}

/// The loss of every step of a run.
fn losses(device: &Device, epochs: usize) -> Vec<f32> {
    let iris =
        data::builtin("iris").expect("built in").standardized().stratified_split(0.8, 7).expect("splits");
    let net = nn::mlp(4, [16, 8], Activation::Tanh, 3).dropout(0.1);
    let mut seen = vec![];
    Trainer::new(net)
        .optimizer(Adam::new(1e-2))
        .schedule(Schedule::Cosine)
        .epochs(epochs)
        .batch(32)
        .observer(|event| {
            if let Event::Step { loss: Some(loss), .. } = event {
                seen.push(*loss);
            }
            Control::Continue
        })
        .fit(device, &iris.train)
        .expect("trains");
    seen
}

#[test]
fn sim_and_cpu_agree_on_every_step_of_a_training_run() {
    let (cpu, sim) = (losses(&Device::cpu(), 25), losses(&Device::sim(), 25));
    assert_eq!(cpu.len(), 100);
    assert_eq!(cpu.len(), sim.len());
    assert!(cpu[99] < 0.5 * cpu[0], "it learns: {} -> {}", cpu[0], cpu[99]);
    for (i, (a, b)) in cpu.iter().zip(&sim).enumerate() {
        assert!((a - b).abs() <= 1e-4, "step {}: cpu {a}, sim {b}", i + 1);
    }
}

#[test]
fn same_seed_same_bits_and_another_seed_others() {
    let device = Device::cpu();
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(losses(&device, 3)), bits(losses(&device, 3)));
    let digits = data::builtin("digits").expect("built in").standardized().prepared().expect("prepares");
    let weights = |seed| {
        let net = nn::mlp(64, [8], Activation::Relu, 10);
        let model = Trainer::new(net).epochs(1).seed(seed).fit(&device, &digits).expect("trains");
        bits(model.parameter("layers.0.weight").expect("there"))
    };
    assert_ne!(weights(1), weights(2));
}

#[test]
fn a_run_that_stopped_and_resumed_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let digits = data::builtin("digits").expect("built in").standardized().prepared().expect("prepares");
    let trainer = |name: &str| {
        let net = nn::mlp(64, [16], Activation::Gelu, 10).dropout(0.2);
        Trainer::new(net).early_stopping(0.2, 3).epochs(6).seed(11).directory(folder.path().join(name))
    };
    let device = Device::cpu();
    let whole = trainer("whole").fit(&device, &digits).expect("trains");
    // Stopped in the middle of an epoch, twice.
    for stop in [17u64, 61] {
        let stopped = trainer("parts").resume(true).observer(move |event| match event {
            Event::Step { step, .. } if *step == stop => Control::Stop,
            _ => Control::Continue,
        });
        let error = stopped.fit(&device, &digits).err().expect("it was stopped").to_string();
        assert!(error.contains(&format!("interrupted at step {stop}")), "{error}");
    }
    let parts = trainer("parts").resume(true).fit(&device, &digits).expect("goes on");
    for p in whole.net().parameters() {
        let bits = |m: &ironwarp::train::Model| -> Vec<u32> {
            m.parameter(&p.name).expect("there").into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&whole), bits(&parts), "{}", p.name);
    }
    assert_eq!(whole.history.epochs.len(), parts.history.epochs.len());
}
