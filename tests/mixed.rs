//! Mixed precision: every precision trains as well as f32, devices agree, f16's loss scaling skips what overflows and nothing
//! else, and runs resume with the same bits.

mod common;

use common::Rng;
use ironwarp::data::{self, Dataset, Matrix, Split, Target as Answers};
use ironwarp::device::{Device, DeviceKind, Target};
use ironwarp::graph::{Executor, Graph, Plan, States};
use ironwarp::nn::{self, Mlp, Norm};
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Precision, candidates};
use ironwarp::ops::optim::Optimizer;
use ironwarp::search::population::{Candidate, Population};
use ironwarp::train::{Adam, Control, Event, Loss, Model, Options, Trainer, step};

const NARROW: [Precision; 4] = [Precision::Tf32, Precision::Bf16, Precision::F16, Precision::Fp32Fast];

fn split(name: &str) -> Split {
    data::builtin(name).expect("built in").standardized().stratified_split(0.8, 7).expect("splits")
}

/// `cpu`, and the device that runs kernels if it has some for this precision.
fn devices(precision: Precision) -> Vec<Device> {
    let kernels = common::kernel_device();
    let has = |target: Target| candidates(target).any(|c| c.precision == precision);
    std::iter::once(Device::cpu()).chain(has(kernels.target()).then_some(kernels)).collect()
}

#[test]
fn every_precision_learns_digits_as_well_as_f32() {
    let digits = split("digits");
    let accuracy = |precision| {
        let net = nn::mlp(64, [48, 32], Activation::Relu, 10);
        let trainer = Trainer::new(net).optimizer(Adam::new(3e-3)).epochs(12).precision(precision);
        let model = trainer.fit(&Device::cpu(), &digits.train).expect("trains");
        model.evaluate(&digits.test).expect("evaluates").accuracy
    };
    let full = accuracy(Precision::Fp32);
    assert!(full > 0.93, "{full}");
    for precision in NARROW {
        let narrow = accuracy(precision);
        // Two standard errors of an accuracy near 0.96 on 360 rows.
        assert!(narrow > full - 0.02, "{precision}: {narrow}, fp32: {full}");
        // What rounds nothing on cpu gives f32's bits.
        assert!(precision.rounds() || narrow == full, "{precision}: {narrow}, fp32: {full}");
    }
}

/// The loss of every step, where that is known, and the mean loss of every epoch.
fn losses(device: &Device, precision: Precision) -> (Vec<f32>, Vec<f32>) {
    let (mut steps, mut epochs) = (vec![], vec![]);
    let net = nn::mlp(4, [16, 8], Activation::Tanh, 3).dropout(0.1);
    Trainer::new(net)
        .optimizer(Adam::new(1e-2))
        .epochs(8)
        .batch(32)
        .precision(precision)
        .observer(|event| {
            match event {
                Event::Step { loss: Some(loss), .. } => steps.push(*loss),
                Event::Epoch(record) => epochs.push(record.train_loss as f32),
                _ => {}
            }
            Control::Continue
        })
        .fit(device, &split("iris").train)
        .expect("trains");
    (steps, epochs)
}

#[test]
fn devices_agree_on_every_step() {
    for precision in Precision::TRAINING {
        let all = devices(precision);
        let (cpu, cpu_means) = losses(&all[0], precision);
        assert!(cpu.len() == 32 && cpu[31] < 0.7 * cpu[0], "it learns: {cpu:?}");
        for device in &all[1..] {
            let (steps, means) = losses(device, precision);
            // The loss of a step is not read on cuda.
            let known = if matches!(device.kind(), DeviceKind::Cuda(_)) { 0 } else { 32 };
            assert_eq!((steps.len(), means.len()), (known, 8));
            // Sums that differ in their last bit round, now and then, to neighbouring factors.
            let apart = 1e-4 + 4.0 * precision.roundoff() as f32;
            let agree = |what: &str, cpu: &[f32], kernels: &[f32]| {
                for (i, (a, b)) in cpu.iter().zip(kernels).enumerate() {
                    let close = (a - b).abs() <= apart * (1.0 + a);
                    assert!(close, "{precision}, {what} {}: cpu {a}, kernels {b}", i + 1);
                }
            };
            agree("step", &cpu, &steps);
            agree("epoch", &cpu_means, &means);
        }
    }
}

/// A training step in f16 on random rows.
struct Small {
    net: Mlp,
    options: Options,
    states: States,
    exec: Executor,
}

impl Small {
    fn new(device: &Device, optimizer: Optimizer) -> Small {
        let net = nn::mlp(8, [6], Activation::Tanh, 3);
        let options =
            Options { optimizer, precision: Precision::F16, clip_norm: Some(1.0), ..Options::default() };
        let states = States::new(device);
        let mut rng = Rng(3);
        let x: Vec<f32> = (0..16 * 8).map(|_| rng.range(-1.0, 1.0)).collect();
        let y: Vec<u32> = (0..16).map(|_| rng.below(3) as u32).collect();
        let order: Vec<u32> = (0..16).collect();
        states.write("train.x", &TensorType::f32([16, 8]), &x).expect("fits");
        states.write("train.y", &TensorType::u32([16]), &y).expect("fits");
        states.write("train.order", &TensorType::u32([16]), &order).expect("fits");
        let init = Plan::new(&net.init_graph(1).expect("builds")).expect("plans");
        Executor::new(&init, &states).expect("binds").run().expect("initialises");
        step::start_scaler(&states, &options).expect("fits");
        let loss = Loss::CrossEntropy { smoothing: 0.0 };
        let graph = step::training_step(&net, &options, loss, 16, 16, false).expect("builds");
        let exec = Executor::new(&Plan::new(&graph.fuse()).expect("plans"), &states).expect("binds");
        Small { net, options, states, exec }
    }

    /// Step number `t`, from 1, as a session would run it.
    fn step(&mut self, t: u64) {
        self.exec.set("hyper", &self.options.optimizer.hyper(t, 1e-2)).expect("fits");
        self.exec.set("step", &[t as u32, 0, 0, 0]).expect("fits");
        self.exec.run().expect("runs");
    }

    fn set_scale(&self, scale: f32) {
        self.states.write("scaler.scale", &TensorType::f32([1]), &[scale]).expect("fits");
    }

    fn scaler(&self) -> (f32, Vec<u32>) {
        let scale: Vec<f32> = self.states.read("scaler.scale").expect("there");
        (scale[0], self.states.read("scaler.steps").expect("there"))
    }

    /// The bits of parameters and moments.
    fn bits(&self) -> Vec<(String, Vec<u32>)> {
        let names = self.states.list().into_iter().map(|(name, _)| name);
        let trained = names.filter(|n| n.starts_with("layers.") || n.starts_with("optim."));
        trained.map(|n| (n.clone(), self.states.read(&n).expect("there"))).collect()
    }
}

#[test]
fn an_overflow_skips_exactly_its_step_and_halves_the_scale() {
    let momentum = Optimizer::Sgd { momentum: 0.9, dampening: 0.5, nesterov: false, weight_decay: 0.01 };
    for device in devices(Precision::F16) {
        for optimizer in [Optimizer::adamw(), momentum] {
            // One run of four steps; another with overflows before the first of them and after the second.
            let mut plain = Small::new(&device, optimizer);
            (1..=4).for_each(|t| plain.step(t));
            assert_eq!(plain.scaler(), (65536.0, vec![4, 4]));
            let mut other = Small::new(&device, optimizer);
            let mut t = 0;
            for (overflow, taken) in [(true, 0u32), (false, 1), (false, 2), (true, 2), (false, 3), (false, 4)]
            {
                t += 1;
                let before = other.bits();
                other.set_scale(if overflow { 2f32.powi(60) } else { 65536.0 });
                other.step(t);
                let (scale, steps) = other.scaler();
                assert_eq!(steps[1], taken);
                assert_eq!(before == other.bits(), overflow, "step {t}");
                if overflow {
                    assert_eq!((scale, steps[0]), (2f32.powi(59), 0));
                }
            }
            assert_eq!(plain.net.parameters().len() * (1 + optimizer.moments()), plain.bits().len());
            assert_eq!(plain.bits(), other.bits(), "what is skipped leaves no trace");
        }
    }
}

#[test]
fn a_run_whose_gradients_overflow_at_every_scale_says_so() {
    // One feature above f16's largest number: units saturate, so the loss is finite, and their gradient is 0 times infinity.
    let features = Matrix::new((0..60).map(|i| 1e6 + i as f32).collect(), 60, 1).expect("60 rows");
    let labels = (0..60).map(|i| i % 2).collect();
    let target = Answers::Classes { labels, names: vec!["even".into(), "odd".into()] };
    let large = Dataset::new("large", features, target).expect("valid");
    let trainer = |precision| {
        let net = nn::mlp(1, [3], Activation::Tanh, 2);
        Trainer::new(net).batch(1).epochs(3).precision(precision).fit(&Device::cpu(), &large)
    };
    let error = trainer(Precision::F16).err().expect("no step is taken").to_string();
    assert!(error.contains("step 120") && error.contains("bf16"), "{error}");
    assert!(trainer(Precision::Bf16).is_ok());
}

#[test]
fn the_scale_decides_nothing_while_nothing_overflows_or_underflows() {
    // Powers of two: factors round alike, so the bits are the same.
    let mut runs = [256.0, 4096.0].map(|scale| {
        let small = Small::new(&Device::cpu(), Optimizer::adam());
        small.set_scale(scale);
        small
    });
    for t in 1..=3 {
        runs.iter_mut().for_each(|small| small.step(t));
    }
    // Gradients of this network are far above 2^-14 / 256 but for single elements, whose subnormals round.
    for ((name, a), (_, b)) in runs[0].bits().into_iter().zip(runs[1].bits()) {
        for (a, b) in a.into_iter().map(f32::from_bits).zip(b.into_iter().map(f32::from_bits)) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_run_in_f16_that_stopped_and_resumed_ends_with_the_same_bits() {
    let digits = data::builtin("digits").expect("built in").standardized().prepared().expect("prepares");
    let device = Device::cpu();
    let folder = tempfile::tempdir().expect("a folder");
    let trainer = |name: &str| {
        let net = nn::mlp(64, [16], Activation::Gelu, 10).dropout(0.2).norm(Norm::Batch);
        Trainer::new(net).epochs(3).seed(5).precision(Precision::F16).directory(folder.path().join(name))
    };
    let whole = trainer("whole").fit(&device, &digits).expect("trains");
    for stop in [17u64, 61] {
        let stopped = trainer("parts").resume(true).observer(move |event| match event {
            Event::Step { step, .. } if *step == stop => Control::Stop,
            _ => Control::Continue,
        });
        assert!(stopped.fit(&device, &digits).is_err(), "it was stopped");
    }
    let other = trainer("parts").resume(true).precision(Precision::Bf16).fit(&device, &digits);
    let error = other.err().expect("another precision is another run").to_string();
    assert!(error.contains("other options"), "{error}");
    let parts = trainer("parts").resume(true).fit(&device, &digits).expect("goes on");
    for p in whole.net().tensors() {
        let bits = |m: &Model| -> Vec<u32> {
            m.parameter(&p.name).expect("there").into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&whole), bits(&parts), "{}", p.name);
    }
    // The scaler's states are in the checkpoint, and the same.
    let scaler = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name).join("checkpoint.safetensors")).expect("there");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
        ["scaler.scale", "scaler.steps"].map(|t| tensors.tensor(t).expect("there").data().to_vec())
    };
    assert_eq!(scaler("whole"), scaler("parts"));
    // 29 steps an epoch of 1797 rows.
    assert_eq!(scaler("whole")[1], bytemuck::cast_slice::<u32, u8>(&[87, 87]));

    let file = folder.path().join("model.safetensors");
    parts.save(&file).expect("saves");
    let loaded = Model::load(&file, &device).expect("loads");
    assert_eq!(loaded.options().precision, Precision::F16);
    let outputs = |m: &Model| m.predict(&digits).expect("predicts").outputs;
    assert_eq!(outputs(&loaded), outputs(&whole));
}

#[test]
fn options_without_a_precision_are_f32() {
    let mut json = serde_json::to_value(Options::default()).expect("writes");
    assert_eq!(json.as_object_mut().expect("an object").remove("precision"), Some("fp32".into()));
    let read: Options = serde_json::from_value(json).expect("reads files of before");
    assert_eq!(read, Options::default());
}

#[test]
fn a_layer_and_both_its_gradients_round_alike_and_nothing_else_does() {
    for precision in Precision::TRAINING {
        let net = nn::mlp(5, [7], Activation::Relu, 3);
        let options = Options { precision, ..Options::default() };
        let loss = Loss::CrossEntropy { smoothing: 0.0 };
        let graph = step::training_step(&net, &options, loss, 9, 4, false).expect("builds").fuse();
        let text = graph.to_string();
        // Two layers forward, two gradients of weights, one of the hidden units.
        let products = text.lines().filter(|l| l.contains("ta=")).count();
        let rounded = text.matches(&format!("precision={precision}")).count();
        assert_eq!((products, rounded), (5, if precision == Precision::Fp32 { 0 } else { 5 }), "{text}");
        assert_eq!(text.contains("unscale"), precision == Precision::F16, "{text}");
    }
    let mut g = Graph::new();
    let a = g.input("a", TensorType::f32([2, 3])).expect("an input");
    let b = g.input("b", TensorType::f32([3, 2])).expect("an input");
    g.matmul(a, b).expect("fits");
    assert!(!g.to_string().contains("precision"), "f32 unless asked: {g}");
}

#[test]
fn populations_say_that_they_train_in_f32() {
    let iris = split("iris");
    let mut population = Population::new(&Device::cpu(), &iris.train, &iris.test).expect("prepares");
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let net = nn::mlp(4, [8], Activation::Relu, 3);
    let error = population.add(Candidate { net, options }).expect_err("refused").to_string();
    assert!(error.contains("bf16") && error.contains("fp32"), "{error}");
}
