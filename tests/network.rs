//! Whole networks, as properties: gradients of random MLPs against finite differences, fusion that changes nothing,
//! devices that agree step by step, and runs that resume with the same bits.

mod common;

use std::collections::HashMap;

use common::Rng;
use ironwarp::data;
use ironwarp::device::Device;
use ironwarp::graph::{Graph, HostTensor, Value};
use ironwarp::nn::{self, Mlp, Mode, Norm};
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::train::{Adam, Control, Event, Loss, Model, Schedule, Trainer};
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

const NORMS: [Norm; 3] = [Norm::None, Norm::Layer, Norm::Batch];

fn plain_net(widths: &[usize], activations: &[usize]) -> Mlp {
    let (inputs, hidden) = widths.split_first().expect("at least the input");
    let (outputs, hidden) = hidden.split_last().expect("at least the output");
    let mut net = nn::mlp(*inputs, hidden, Activation::Identity, *outputs);
    for (layer, a) in net.layers.iter_mut().zip(activations) {
        layer.activation = SMOOTH[a % SMOOTH.len()];
    }
    net
}

fn case(net: &Mlp, loss: usize, batch: usize, seed: u64) -> Case {
    let mut rng = Rng(seed);
    let (inputs, outputs) = (net.inputs, net.outputs());
    let loss_kind = LOSSES[loss % LOSSES.len()];
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([batch, inputs])).expect("a valid shape");
    let labels = loss_kind.takes_labels();
    let ty = if labels { TensorType::u32([batch]) } else { TensorType::f32([batch, outputs]) };
    let y = graph.input("y", ty).expect("a valid shape");
    let values = net.states(&mut graph).expect("valid parameters");
    let step = graph.input("step", TensorType::u32([4])).expect("a valid shape");
    let out = net.forward(&mut graph, x, &values, Mode::Training { seed, step }).expect("a valid network");
    let loss = loss_kind.append(&mut graph, out, y).expect("a valid loss");
    let mut random =
        |n: usize, r: f32| HostTensor::Real((0..n).map(|_| f64::from(rng.range(-r, r))).collect());
    let mut feed = HashMap::from([("x".to_string(), random(batch * inputs, 1.0))]);
    for p in net.tensors() {
        let mut value = random(p.shape.iter().product(), 0.8);
        if let (true, HostTensor::Real(v)) = (p.name.ends_with("running_var"), &mut value) {
            v.iter_mut().for_each(|x| *x += 1.0);
        }
        feed.insert(p.name.clone(), value);
    }
    feed.insert("step".into(), HostTensor::U32(vec![0; 4]));
    let target = if labels {
        HostTensor::U32((0..batch).map(|_| rng.below(outputs as u64) as u32).collect())
    } else {
        HostTensor::Real((0..batch * outputs).map(|_| f64::from(rng.range(0.0, 1.0))).collect())
    };
    feed.insert("y".into(), target);
    let parameters = net.parameters().into_iter().map(|p| p.name).zip(values).collect();
    Case { graph, parameters, loss, feed }
}

/// Hidden layers normalised as `norms` say (indices into [`NORMS`]), with skip connections where they fit.
fn with_norms(mut net: Mlp, norms: &[usize], skips: bool) -> Mlp {
    let hidden = net.layers.len() - 1;
    for (layer, norm) in net.layers[..hidden].iter_mut().zip(norms) {
        layer.norm = NORMS[norm % NORMS.len()];
    }
    if skips { net.skips() } else { net }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn gradients_of_random_networks_are_those_of_finite_differences(
        widths in proptest::collection::vec(1usize..9, 2..6),
        activations in proptest::collection::vec(0usize..8, 5),
        norms in proptest::collection::vec(0usize..3, 5), skips in any::<bool>(),
        loss in 0usize..4, batch in 1usize..7, seed in any::<u64>(),
    ) {
        let net = with_norms(plain_net(&widths, &activations), &norms, skips);
        let Case { mut graph, parameters, loss, mut feed } = case(&net, loss, batch, seed);
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
            let mut central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
            let (wide, numeric) = (central(1e-5), central(5e-6));
            // Where a variance is small, a normalisation bends within a step; a step half as wide shows how much.
            let error = 1e-7 * (1.0 + numeric.abs()) + (wide - numeric).abs();
            prop_assert!((numeric - g[e]).abs() < error, "{name}[{e}]: {} {numeric}", g[e]);
        }
    }

    #[test]
    fn fusion_changes_nothing(
        widths in proptest::collection::vec(1usize..9, 2..6),
        activations in proptest::collection::vec(0usize..8, 5),
        norms in proptest::collection::vec(0usize..3, 5), skips in any::<bool>(),
        loss in 0usize..4, batch in 1usize..7, seed in any::<u64>(),
    ) {
        let net = with_norms(plain_net(&widths, &activations), &norms, skips);
        let Case { mut graph, parameters, loss, feed } = case(&net, loss, batch, seed);
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

/// The loss of every step of a run, with dropout or with batch normalisation, layer normalisation and skip connections.
fn losses(device: &Device, epochs: usize, normalised: bool) -> Vec<f32> {
    let iris =
        data::builtin("iris").expect("built in").standardized().stratified_split(0.8, 7).expect("splits");
    let net = if normalised {
        let mut net = nn::mlp(4, [8, 8, 8], Activation::Tanh, 3).norm(Norm::Batch).skips();
        net.layers[2].norm = Norm::Layer;
        net
    } else {
        nn::mlp(4, [16, 8], Activation::Tanh, 3).dropout(0.1)
    };
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
    for (epochs, normalised) in [(25, false), (8, true)] {
        let (cpu, sim) =
            (losses(&Device::cpu(), epochs, normalised), losses(&Device::sim(), epochs, normalised));
        assert_eq!(cpu.len(), 4 * epochs);
        assert_eq!(cpu.len(), sim.len());
        assert!(cpu[cpu.len() - 1] < 0.5 * cpu[0], "it learns: {cpu:?}");
        for (i, (a, b)) in cpu.iter().zip(&sim).enumerate() {
            assert!((a - b).abs() <= 1e-4, "step {}: cpu {a}, sim {b}", i + 1);
        }
    }
}

#[test]
fn same_seed_same_bits_and_another_seed_others() {
    let device = Device::cpu();
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for normalised in [false, true] {
        assert_eq!(bits(losses(&device, 3, normalised)), bits(losses(&device, 3, normalised)));
    }
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
    let digits = data::builtin("digits").expect("built in").standardized().prepared().expect("prepares");
    let device = Device::cpu();
    let mlp = |hidden: &[usize]| nn::mlp(64, hidden, Activation::Gelu, 10).dropout(0.2);
    for net in [mlp(&[16]), mlp(&[16, 16]).norm(Norm::Batch).skips()] {
        let folder = tempfile::tempdir().expect("a folder");
        let trainer = |name: &str| {
            let directory = folder.path().join(name);
            Trainer::new(net.clone()).early_stopping(0.2, 3).epochs(6).seed(11).directory(directory)
        };
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
        let file = folder.path().join("model.safetensors");
        parts.save(&file).expect("saves");
        let loaded = Model::load(&file, &device).expect("loads");
        for p in whole.net().tensors() {
            let bits = |m: &Model| -> Vec<u32> {
                m.parameter(&p.name).expect("there").into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(&whole), bits(&parts), "{}", p.name);
            assert_eq!(bits(&loaded), bits(&parts), "{}", p.name);
        }
        assert_eq!(whole.history.epochs.len(), parts.history.epochs.len());
        let accuracy = |m: &Model| m.evaluate(&digits).expect("evaluates").accuracy;
        assert_eq!(accuracy(&loaded), accuracy(&whole));
    }
}

#[test]
fn running_statistics_are_those_of_the_data() {
    // After many steps the running statistics are near those of the first layer's output over the whole data, and
    // inference, which uses them, is good.
    let digits =
        data::builtin("digits").expect("built in").standardized().stratified_split(0.8, 7).expect("splits");
    let net = nn::mlp(64, [24], Activation::Relu, 10).norm(Norm::Batch);
    assert_eq!(net.tensors().len(), 8);
    assert_eq!(
        net.parameters().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(" "),
        "layers.0.weight layers.0.bias layers.1.weight layers.1.bias norms.0.weight norms.0.bias"
    );
    let model = Trainer::new(net)
        .optimizer(Adam::new(3e-3))
        .epochs(15)
        .fit(&Device::cpu(), &digits.train)
        .expect("trains");
    let read = |name: &str| model.parameter(name).expect("there");
    let (w, b, mean, var) = (
        read("layers.0.weight"),
        read("layers.0.bias"),
        read("norms.0.running_mean"),
        read("norms.0.running_var"),
    );
    let x = digits.train.features();
    for unit in 0..24 {
        let outputs: Vec<f64> = x
            .values
            .chunks(64)
            .map(|row| {
                f64::from(b[unit])
                    + row.iter().zip(&w[64 * unit..]).map(|(x, w)| f64::from(x * w)).sum::<f64>()
            })
            .collect();
        let n = outputs.len() as f64;
        let m = outputs.iter().sum::<f64>() / n;
        let v = outputs.iter().map(|o| (o - m).powi(2)).sum::<f64>() / n;
        // A mean of about 20 minibatches of 64 (weights 0.1 * 0.9^k): standard errors of a fraction of a deviation.
        assert!((f64::from(mean[unit]) - m).abs() < 0.25 * v.sqrt(), "unit {unit}: {} {m}", mean[unit]);
        assert!((f64::from(var[unit]) / v - 1.0).abs() < 0.4, "unit {unit}: {} {v}", var[unit]);
    }
    assert!(model.evaluate(&digits.test).expect("evaluates").accuracy > 0.9);
}

#[test]
fn an_epoch_may_end_with_a_single_sample() {
    // 129 rows in minibatches of 32 leave one, which has no variance.
    let iris = data::builtin("iris").expect("built in").standardized().prepared().expect("prepares");
    let rows: Vec<usize> = (0..129).collect();
    let iris = iris.subset(&rows).expect("rows");
    let net = nn::mlp(4, [8], Activation::Relu, 3).norm(Norm::Batch);
    let model = Trainer::new(net).batch(32).epochs(3).fit(&Device::cpu(), &iris).expect("trains");
    assert!(model.parameter("norms.0.running_var").expect("there").iter().all(|v| v.is_finite() && *v > 0.0));
}
