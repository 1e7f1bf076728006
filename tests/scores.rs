//! Scores of networks without training, as properties: on each device every score of random networks is the `f64` oracle's
//! within 1e-3, with the same bits from run to run and in any population, and the simulator's checks stay silent; the oracle
//! itself gives what can be worked out by hand, and derivatives that are those of finite differences.
//!
//! `IRONWARP_SCORE_NETWORKS` sets the number of networks that are compared (by default 40 on `cpu`, and on `sim` 6 small
//! ones for each PTX target); `IRONWARP_REQUIRE_CUDA=1` makes a missing GPU a failure.

mod common;

use std::time::Instant;

use common::Rng;
use ironwarp::Device;
use ironwarp::device::{SimOptions, Target as Ptx};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::random::Init;
use ironwarp::ops::score::reference::{self, Model};
use ironwarp::ops::score::{Batch, Group, Layer, Network, Target, Values, run};

/// Every relative error allowed.
const TOLERANCE: f64 = 1e-3;
const SEED: u64 = 0x5eed_0123_4567;

/// A network that owns its parameters.
#[derive(Clone, Debug)]
struct Net {
    layers: Vec<Layer>,
    parameters: Vec<f32>,
}

impl Net {
    fn view(&self) -> Network<'_> {
        Network { layers: self.layers.clone(), parameters: &self.parameters }
    }
}

fn views(nets: &[Net]) -> Vec<Network<'_>> {
    nets.iter().map(Net::view).collect()
}

/// Widths, and what follows each layer.
fn net(inputs: usize, layers: &[(usize, Activation, bool)], init: Init, seed: u64) -> Net {
    let (mut net, mut from) = (Net { layers: vec![], parameters: vec![] }, inputs);
    for (l, &(units, activation, skip)) in layers.iter().enumerate() {
        net.layers.push(Layer { inputs: from, units, activation, skip });
        for (k, n) in [from * units, units].into_iter().enumerate() {
            let at = net.parameters.len();
            net.parameters.resize(at + n, 0.0);
            init.distribution(from, units).fill(&mut net.parameters[at..], seed, (2 * l + k) as u32);
        }
        from = units;
    }
    net
}

/// A network of 1 to 5 layers up to `widest`, any activations, skips where they fit.
fn random_net(rng: &mut Rng, inputs: usize, outputs: usize, widest: u64) -> Net {
    let mut layers: Vec<(usize, Activation, bool)> = vec![];
    let mut from = inputs;
    for _ in 0..rng.below(5) {
        let same = rng.below(3) == 0;
        let units = if same { from } else { 1 + rng.below(widest) as usize };
        let activation = match rng.below(15) {
            13 => Activation::LeakyRelu(0.2),
            14 => Activation::Elu(0.5),
            k => Activation::ALL[k as usize],
        };
        layers.push((units, activation, units == from && rng.below(2) == 0));
        from = units;
    }
    layers.push((outputs, Activation::Identity, false));
    let init = [Init::Torch, Init::Torch, Init::KaimingNormal, Init::XavierUniform][rng.below(4) as usize];
    net(inputs, &layers, init, rng.u64())
}

/// Samples of a mixture, with their targets.
struct Data {
    rows: usize,
    x: Vec<f32>,
    moved: Vec<f32>,
    labels: Vec<u32>,
    values: Vec<f32>,
    classes: bool,
}

impl Data {
    fn new(rng: &mut Rng, rows: usize, inputs: usize, outputs: usize, classes: bool) -> Data {
        let x: Vec<f32> = (0..rows * inputs).map(|_| rng.range(-1.7, 1.7)).collect();
        let moved = x.iter().map(|v| v + 0.01 * rng.range(-1.7, 1.7)).collect();
        let labels = (0..rows).map(|_| rng.below(outputs as u64) as u32).collect();
        let values = (0..rows * outputs).map(|_| rng.range(-1.0, 1.0)).collect();
        Data { rows, x, moved, labels, values, classes }
    }

    fn batch(&self) -> Batch<'_> {
        let target = if self.classes { Target::Classes(&self.labels) } else { Target::Values(&self.values) };
        Batch { rows: self.rows, x: &self.x, target, moved: &self.moved }
    }
}

const NAMES: [(Group, &[&str]); 7] = [
    (Group::Gradients, &["grad_norm", "snip", "fisher", "zico"]),
    (Group::Grasp, &["grasp"]),
    (Group::Codes, &["naswot", "swap"]),
    (Group::Jacobian, &["jacob_cov"]),
    (Group::Synflow, &["synflow"]),
    (Group::Zen, &["zen"]),
    (Group::AzNas, &["expressivity", "progressivity", "trainability"]),
];

/// Compares all scores of `nets` with the oracle; prints the largest relative error of each.
fn compare(device: &Device, nets: &[Net], data: &Data) {
    let batch = data.batch();
    let began = Instant::now();
    let found = run(device, &Group::ALL, &views(nets), &batch, SEED).expect("scores");
    let seconds = began.elapsed().as_secs_f64();
    let mut failures = vec![];
    for ((group, names), found) in NAMES.iter().zip(&found) {
        let mut worst = vec![0.0f64; names.len()];
        for (net, got) in nets.iter().zip(found) {
            let want = reference::values(*group, &Model::<f64>::new(&net.view()), &batch, SEED);
            for (k, name) in names.iter().enumerate() {
                let (got, want) = (got[k], want[k]);
                let error = if got == want { 0.0 } else { (got - want).abs() / want.abs() };
                worst[k] = worst[k].max(error);
                // Also caught with NaN.
                if error.is_nan() || error > TOLERANCE {
                    failures.push(format!("{name} is {got}, the oracle says {want}: {:?}", net.layers));
                }
            }
            if *group == Group::Synflow && (got[1].is_nan() || got[1] > 1e-5) {
                failures.push(format!("synflow is conserved to {} only: {:?}", got[1], net.layers));
            }
        }
        for (name, worst) in names.iter().zip(worst) {
            println!("{} {name}: {worst:.1e}", device.kind());
        }
    }
    println!("{}: {} networks in {seconds:.2} s", device.kind(), nets.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn count(default: usize) -> usize {
    std::env::var("IRONWARP_SCORE_NETWORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn cpu_agrees_with_the_oracle() {
    let mut rng = Rng(11);
    let n = count(40);
    for (classes, inputs, outputs, rows) in [(true, 64, 10, 32), (false, 13, 3, 23)] {
        let data = Data::new(&mut rng, rows, inputs, outputs, classes);
        let nets: Vec<Net> = (0..n / 2).map(|_| random_net(&mut rng, inputs, outputs, 48)).collect();
        compare(&Device::cpu(), &nets, &data);
    }
}

#[test]
fn sim_agrees_with_the_oracle_and_finds_nothing() {
    let mut rng = Rng(12);
    for (target, classes) in [(Ptx::Sm80, true), (Ptx::Sm90a, false)] {
        let data = Data::new(&mut rng, 9, 11, 3, classes);
        let nets: Vec<Net> = (0..count(6).div_ceil(2)).map(|_| random_net(&mut rng, 11, 3, 14)).collect();
        compare(&Device::sim_with(SimOptions { target, ..SimOptions::default() }), &nets, &data);
    }
}

#[test]
fn cuda_agrees_with_the_oracle() {
    let Some(device) = common::gpu() else { return };
    let mut rng = Rng(13);
    for classes in [true, false] {
        let data = Data::new(&mut rng, 64, 64, 10, classes);
        let nets: Vec<Net> = (0..count(40)).map(|_| random_net(&mut rng, 64, 10, 128)).collect();
        compare(&device, &nets, &data);
    }
}

fn bits(values: &[Vec<Values>]) -> Vec<u64> {
    values.iter().flatten().flatten().map(|v| v.to_bits()).collect()
}

/// The values of a population are, bit for bit, those of its networks alone, and of another run.
fn same_bits(device: &Device, again: &Device, nets: &[Net], data: &Data) {
    let batch = data.batch();
    let all = run(device, &Group::ALL, &views(nets), &batch, SEED).expect("scores");
    assert_eq!(bits(&all), bits(&run(again, &Group::ALL, &views(nets), &batch, SEED).expect("scores")));
    for (i, net) in nets.iter().enumerate() {
        // Group by group too: what was computed before leaves nothing behind.
        for (g, &group) in Group::ALL.iter().enumerate() {
            let alone = run(device, &[group], &[net.view()], &batch, SEED).expect("scores");
            assert_eq!(bits(&alone), bits(&[vec![all[g][i]]]), "{group:?} of network {i}");
        }
    }
}

#[test]
fn scores_do_not_depend_on_the_population() {
    let mut rng = Rng(21);
    let data = Data::new(&mut rng, 16, 10, 4, true);
    let nets: Vec<Net> = (0..12).map(|_| random_net(&mut rng, 10, 4, 40)).collect();
    let cpu = Device::cpu();
    same_bits(&cpu, &cpu, &nets, &data);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| bits(&run(&cpu, &Group::ALL, &views(&nets), &data.batch(), SEED).expect("scores")))
    };
    assert_eq!(with(1), with(3));

    let data = Data::new(&mut rng, 7, 6, 3, true);
    let nets: Vec<Net> = (0..3).map(|_| random_net(&mut rng, 6, 3, 8)).collect();
    let shuffled = Device::sim_with(SimOptions { seed: 77, ..SimOptions::default() });
    same_bits(&Device::sim(), &shuffled, &nets, &data);
}

/// A network of one hidden layer with these weights.
fn by_hand(w1: &[f32], b1: &[f32], activation: Activation, w2: &[f32], b2: &[f32]) -> Net {
    let (units, outputs) = (b1.len(), b2.len());
    let layer = |inputs, units, activation| Layer { inputs, units, activation, skip: false };
    let layers =
        vec![layer(w1.len() / units, units, activation), layer(units, outputs, Activation::Identity)];
    Net { layers, parameters: [w1, b1, w2, b2].concat() }
}

/// One group of one network, on `cpu` and on `sim`, as close to `want`.
fn gives(net: &Net, batch: &Batch<'_>, group: Group, want: &[f64]) {
    for device in [Device::cpu(), Device::sim()] {
        let got = run(&device, &[group], &[net.view()], batch, SEED).expect("scores")[0][0];
        for (got, want) in got.iter().zip(want) {
            let close = (got - want).abs() <= 2e-6 * want.abs().max(1e-3);
            assert!(close, "{group:?} on {}: {got} for {want}", device.kind());
        }
    }
}

#[test]
fn small_networks_score_what_a_hand_computes() {
    let none = Batch { rows: 2, x: &[1.0, 2.0, -3.0, 0.5], target: Target::None, moved: &[] };
    let net = by_hand(&[1.0, -2.0, 3.0, 0.5], &[7.0, 8.0], Activation::Tanh, &[-1.0, 2.0], &[9.0]);
    // Ones through |W1|: 3 and 3.5; through |W2|: 3 + 7 = 10, which each of two layers passes on.
    gives(&net, &none, Group::Synflow, &[20f64.ln()]);

    // z: (1 - 4, 3 + 1) and (-3 - 1, -9 + 0.25), before the biases 1 and 6: signs (-, +) and (-, -).
    let net = by_hand(&[1.0, -2.0, 3.0, 0.5], &[1.0, 6.0], Activation::Relu, &[-1.0, 2.0], &[0.0]);
    // K = [[2, 1], [1, 2]] + 1e-6 I; two units with two codes.
    gives(&net, &none, Group::Codes, &[((2.0 + 1e-6f64).powi(2) - 1.0).ln(), 2.0]);

    // A linear network has the same J at each sample: eigenvalues 2 and 0.
    let net = by_hand(&[1.0, -2.0, 3.0, 0.5], &[1.0, 6.0], Activation::Identity, &[-1.0, 2.0], &[0.0]);
    let of = |v: f64| (v + 1e-5).ln() + 1.0 / (v + 1e-5);
    gives(&net, &none, Group::Jacobian, &[-(of(2.0) + of(0.0))]);
    // f(x) = (-1, 2) W1 x = 5 x1 + 3 x2: it moves by 5 * 0.25 and by 3 * 0.5.
    let moved = Batch { moved: &[1.25, 2.0, -3.0, 1.0], ..none };
    gives(&net, &moved, Group::Zen, &[(0.5f64 * (1.25 + 1.5)).ln()]);

    // One weight, w = 2, squared error at x = (1, 3), t = (1, 2): L = ((w - 1)^2 + (3 w - 2)^2) / 2.
    let line = Layer { inputs: 1, units: 1, activation: Activation::Identity, skip: false };
    let net = Net { layers: vec![line], parameters: vec![2.0, 0.0] };
    let batch = Batch { rows: 2, x: &[1.0, 3.0], target: Target::Values(&[1.0, 2.0]), moved: &[] };
    // dL/dw = (w - 1) + 3 (3 w - 2) = 13; H = 10. The minibatches' gradients are 2 and 24; dL/dz 1 and 4, z 2 and 6.
    let zico = (26.0 / (22.0 + 26e-4f64)).ln();
    gives(&net, &batch, Group::Gradients, &[13.0, 26.0, 0.5 * (4.0 + 576.0) / 2.0, zico]);
    gives(&net, &batch, Group::Grasp, &[-2.0 * 10.0 * 13.0]);
}

#[test]
fn the_oracle_s_derivatives_are_those_of_differences() {
    let mut rng = Rng(31);
    for case in 0..30 {
        let data = Data::new(&mut rng, 5, 4, 3, case % 2 == 0);
        let batch = data.batch();
        let layers = [(4, Activation::ALL[case % 13], true), (5, Activation::ALL[(case + 5) % 13], false)];
        let layers = [layers[0], layers[1], (3, Activation::Identity, false)];
        let net = net(4, &layers, Init::Torch, rng.u64());
        let model = Model::<f64>::new(&net.view());
        let gradient = reference::gradient(&model, &batch, 0, 5);
        let loss = |model: &Model<f64>| mean_loss(model, &data);
        let h = 1e-5;
        let moved = |by: f64, along: &[Vec<f64>]| {
            let mut model = model.clone();
            for (w, v) in model.weights.iter_mut().flatten().zip(along.iter().flatten()) {
                *w += by * v;
            }
            model
        };
        // dL along a random direction.
        let v: Vec<Vec<f64>> = model
            .weights
            .iter()
            .map(|w| w.iter().map(|_| f64::from(rng.range(-1.0, 1.0))).collect())
            .collect();
        let flat = |a: &[Vec<f64>], b: &[Vec<f64>]| -> f64 {
            a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
        };
        let numeric = (loss(&moved(h, &v)) - loss(&moved(-h, &v))) / (2.0 * h);
        let exact = flat(&gradient, &v);
        assert!(
            (numeric - exact).abs() < 1e-7 * (1.0 + exact.abs()),
            "gradient: {exact}, differences say {numeric}"
        );
        // w H g, with H g the change of the gradient along itself.
        let at = |by: f64| reference::gradient(&moved(by, &gradient), &batch, 0, 5);
        let (up, down) = (at(h), at(-h));
        let numeric = -(flat(&model.weights, &up) - flat(&model.weights, &down)) / (2.0 * h);
        let exact = reference::grasp(&model, &batch);
        assert!(
            (numeric - exact).abs() < 1e-6 * (1.0 + exact.abs()),
            "grasp: {exact}, differences say {numeric}"
        );
    }
}

/// Cross-entropy or squared error, written out.
fn mean_loss(model: &Model<f64>, data: &Data) -> f64 {
    let inputs = data.x.len() / data.rows;
    let sum: f64 = (0..data.rows)
        .map(|n| {
            let x = data.x[n * inputs..(n + 1) * inputs].iter().map(|&v| f64::from(v)).collect();
            let y = model.trace(x).h.pop().expect("outputs");
            if data.classes {
                y.iter().map(|v| v.exp()).sum::<f64>().ln() - y[data.labels[n] as usize]
            } else {
                let target = &data.values[n * y.len()..];
                y.iter().zip(target).map(|(y, &t)| (y - f64::from(t)).powi(2)).sum::<f64>() / y.len() as f64
            }
        })
        .sum();
    sum / data.rows as f64
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut rng = Rng(41);
    let data = Data::new(&mut rng, 4, 6, 3, true);
    let refused = |net: &Net, batch: &Batch<'_>, group| {
        run(&Device::cpu(), &[group], &[net.view()], batch, 1).expect_err("refused").to_string()
    };
    let fits = random_net(&mut rng, 6, 3, 8);
    let other = random_net(&mut rng, 5, 3, 8);
    assert!(refused(&other, &data.batch(), Group::Codes).contains("takes 5 features"));
    let narrow = random_net(&mut rng, 6, 1, 8);
    let labels = Batch { target: Target::Classes(&[0, 1, 0, 1]), ..data.batch() };
    assert!(refused(&narrow, &labels, Group::Gradients).contains("1 outputs"));
    let none = Batch { target: Target::None, ..data.batch() };
    assert!(refused(&fits, &none, Group::Grasp).contains("need targets"));
    let short = Net { parameters: fits.parameters[1..].to_vec(), ..fits.clone() };
    assert!(refused(&short, &data.batch(), Group::Synflow).contains("parameters"));
    let unmoved = Batch { moved: &[], ..data.batch() };
    assert!(refused(&fits, &unmoved, Group::Zen).contains("moved"));
}
