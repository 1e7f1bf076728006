use super::*;
use crate::nn::{Dense, Norm, WeightInit};
use proptest::prelude::*;

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        proptest::sample::select(Activation::ALL.to_vec()),
        prop_oneof![Just(0.0f32), Just(1.0), -2f32..2.0].prop_map(Activation::LeakyRelu),
        prop_oneof![Just(0.0f32), -2f32..2.0].prop_map(Activation::Elu),
    ]
}

fn zero_or<T: Clone + std::fmt::Debug + 'static>(
    zeros: [T; 2],
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![Just(zeros[0].clone()), Just(zeros[1].clone()), other]
}

fn optimizers() -> impl Strategy<Value = Optimizer> {
    let small = || zero_or([0.0, -0.0], 1e-9..0.999f64);
    (0..4, small(), small(), small(), small(), any::<bool>()).prop_map(
        |(kind, a, b, c, weight_decay, nesterov)| match kind {
            0 => {
                let nesterov = nesterov && a != 0.0;
                let dampening = if nesterov { 0.0 } else { b };
                Optimizer::Sgd { momentum: a, dampening, nesterov, weight_decay }
            }
            1 => Optimizer::RmsProp { alpha: a, eps: b, momentum: c, weight_decay },
            2 => Optimizer::Adam { beta1: a, beta2: b, eps: c, weight_decay },
            _ => Optimizer::AdamW { beta1: a, beta2: b, eps: c, weight_decay },
        },
    )
}

fn schedules() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        Just(Schedule::Constant),
        Just(Schedule::Cosine),
        Just(Schedule::OneCycle),
        (1usize..20, prop_oneof![Just(1.0), 1e-3..1.5f64])
            .prop_map(|(every, gamma)| Schedule::Step { every, gamma }),
    ]
}

/// Valid architectures, with settings that canonical form changes.
pub(crate) fn architectures() -> impl Strategy<Value = Architecture> {
    let norms = proptest::sample::select(vec![Norm::None, Norm::Layer, Norm::Batch]);
    let inits = proptest::sample::select(vec![
        WeightInit::Torch,
        WeightInit::KaimingNormal,
        WeightInit::XavierUniform,
    ]);
    let dropouts = || zero_or([0.0f32, -0.0], 1e-6..0.999f32);
    let layer = (1usize..6, activations(), dropouts(), norms, any::<bool>()).prop_map(
        |(units, activation, dropout, norm, skip)| Dense { units, activation, dropout, norm, skip },
    );
    let recipe = (
        (optimizers(), 1e-9..10f64, 1usize..5000, schedules()),
        (
            zero_or([0.0, -0.0], 1e-3..9f64),
            zero_or([0.0f32, -0.0], 1e-3..0.9f32),
            proptest::option::of(1e-3..1e9f32),
        ),
    );
    (1usize..6, proptest::collection::vec(layer, 1..6), inits, recipe).prop_map(
        |(
            inputs,
            mut layers,
            init,
            ((optimizer, learning_rate, batch, schedule), (warmup, smoothing, clip)),
        )| {
            let mut fan_in = inputs;
            for layer in &mut layers {
                layer.skip &= layer.units == fan_in;
                fan_in = layer.units;
            }
            let recipe = Recipe {
                optimizer,
                learning_rate,
                batch,
                schedule,
                warmup_epochs: warmup,
                smoothing,
                clip_norm: clip,
            };
            Architecture { net: Mlp { inputs, layers, init }, recipe }
        },
    )
}

fn read(text: &str) -> Architecture {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

proptest! {
    #[test]
    fn text_reads_back_to_the_same_bits(a in architectures()) {
        a.validate().expect("valid");
        let text = a.to_string();
        let back = read(&text);
        // Debug shows -0, which equality does not tell from 0.
        prop_assert_eq!(format!("{:?}", &back), format!("{:?}", &a), "{}", text);
        let json = serde_json::to_string(&a).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Architecture>(&json).expect("reads"), a);
    }

    #[test]
    fn canonical_form_is_one_and_keeps_what_counts(a in architectures(), layer: usize, more in 1usize..9) {
        let canonical = a.canonical();
        canonical.validate().expect("valid");
        prop_assert_eq!(format!("{:?}", canonical.canonical()), format!("{:?}", &canonical));
        prop_assert_eq!(canonical.hash(), a.hash());
        prop_assert_eq!(read(&canonical.to_string()).hash(), a.hash());
        prop_assert_eq!((canonical.parameters(), canonical.flop()), (a.parameters(), a.flop()));
        let mut wider = a.clone();
        let layer = layer % wider.net.layers.len();
        wider.net.layers[layer].units += more;
        prop_assert_ne!(wider.hash(), a.hash());
        let mut faster = a.clone();
        faster.recipe.learning_rate *= 1.5;
        prop_assert_ne!(faster.hash(), a.hash());
    }

    #[test]
    fn counts_are_those_of_the_network(a in architectures()) {
        let tensors = a.net.parameters();
        let scalars: usize = tensors.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        prop_assert_eq!(a.parameters(), scalars as u64);
        prop_assert_eq!(a.net.parameter_count(), scalars);
        // A multiplication and an addition for each weight.
        let weights: usize = tensors.iter().filter(|p| p.shape.len() == 2).map(|p| p.shape.iter().product::<usize>()).sum();
        prop_assert_eq!(a.flop(), 2 * weights as u64);
        prop_assert!(a.memory() >= 4 * (a.parameters() * (2 + a.recipe.optimizer.moments() as u64)));
    }
}

#[test]
fn memory_is_the_stated_sum() {
    let a = read("8 > 16 relu drop=0.5 > 3 | adam lr=0.01 batch=32");
    let parameters = 8 * 16 + 16 + 16 * 3 + 3;
    // Inputs; affine map, ReLU and dropout of the first layer; logits; gradients of 8 and 16 features.
    let sample = 8 + 3 * 16 + 3 + (8 + 16);
    assert_eq!(a.memory(), 4 * (4 * parameters + 32 * sample));
    assert!(read("8 > 16 relu norm=batch > 3 | sgd lr=1 batch=32").memory() > 0);
}

#[test]
fn memory_is_near_what_a_training_step_plans() {
    use crate::train::{Loss, step::training_step};
    for text in [
        "64 > 128 relu drop=0.2 > 64 relu > 10 | adam lr=0.01 batch=64",
        "64 > 32 gelu norm=layer > 32 gelu norm=batch skip > 10 | sgd lr=0.1 momentum=0.9 batch=256",
        "13 > 16 tanh > 3 | rmsprop lr=0.01 batch=16",
        "64 > 256 silu > 256 silu skip > 256 silu > 10 | adamw lr=0.01 wd=0.01 batch=32",
    ] {
        let a = read(text);
        let (rows, batch) = (a.recipe.batch, a.recipe.batch);
        let loss = Loss::CrossEntropy { smoothing: 0.0 };
        let graph = training_step(&a.net, &a.options(1, 1), loss, rows, batch, true).expect("a graph");
        let plan = crate::graph::Plan::new(&graph.fuse()).expect("plans").summary();
        // Parameters and moments are states; the data set is one too.
        let data = 4 * rows * (a.net.inputs + 2);
        let planned = (plan.arena_bytes + plan.state_bytes - data) as f64;
        let ratio = a.memory() as f64 / planned;
        println!("{text}: {} of {planned}, {ratio}", a.memory());
        assert!((0.5..2.0).contains(&ratio), "{text}: {} of {planned}, {ratio}", a.memory());
    }
}

#[test]
fn the_same_training_has_one_hash() {
    for (a, b) in [
        ("8 > 16 relu drop=0 > 3 | adamw lr=0.01 wd=0 batch=32", "8 > 16 relu > 3 | adam lr=1e-2 batch=32"),
        (
            "8 > 16 elu(0) > 3",
            "8>16   relu norm=none>3 | adam lr=0.002 batch=64 schedule=one-cycle init=torch",
        ),
        ("8 > 3 | sgd lr=0.1 dampening=0.5 batch=8", "8 > 3 | sgd lr=0.1 momentum=0 batch=8 wd=-0"),
        ("8 > 3 | sgd lr=0.1 batch=8 schedule=step:3:1", "8 > 3 | sgd lr=0.1 batch=8 schedule=constant"),
    ] {
        assert_eq!(read(a).canonical().to_string(), read(b).canonical().to_string());
        assert_eq!(read(a).hash(), read(b).hash(), "{a} and {b}");
    }
    for (a, b) in [
        ("8 > 16 relu > 3", "8 > 17 relu > 3"),
        ("8 > 16 relu > 3", "8 > 16 relu norm=layer > 3"),
        ("8 > 16 relu > 16 relu > 3", "8 > 16 relu > 16 relu skip > 3"),
        ("8 > 16 > 3 | adam lr=0.1 wd=0.1 batch=8", "8 > 16 > 3 | adamw lr=0.1 wd=0.1 batch=8"),
        ("8 > 16 > 3", "8 > 16 > 3 | adam lr=0.002 batch=64 init=kaiming_normal"),
    ] {
        assert_ne!(read(a).hash(), read(b).hash(), "{a} and {b}");
    }
}

#[test]
fn a_skip_that_cannot_apply_is_dropped() {
    let mut a = read("8 > 16 relu > 16 relu > 3");
    a.net.layers[0].skip = true;
    a.net.layers[1].skip = true;
    assert!(a.validate().is_err());
    assert_eq!(a.canonical(), read("8 > 16 relu > 16 relu skip > 3").canonical());
}

#[test]
fn hashes_stay_the_same() {
    // Studies on disk hold such hashes.
    assert_eq!(
        read("64 > 128 relu > 10 | adamw lr=0.001 wd=0.01 batch=64").hash(),
        fnv1a("64 > 128 relu > 10 | adamw lr=0.001 wd=0.01 batch=64".bytes())
    );
}

#[test]
fn options_carry_the_recipe() {
    let a = read("8 > 3 | adamw lr=0.004 wd=0.1 batch=16 schedule=cosine warmup=1.5 smoothing=0.1 clip=2");
    let o = a.options(7, 9);
    assert_eq!((o.epochs, o.seed, o.batch, o.learning_rate), (7, 9, Some(16), 0.004));
    assert_eq!(
        (o.schedule, o.warmup_epochs, o.smoothing, o.clip_norm),
        (Schedule::Cosine, 1.5, 0.1, Some(2.0))
    );
    assert_eq!(o.optimizer, Optimizer::adamw().with_weight_decay(0.1));
    assert_eq!(read("8 > 3").options(60, 1), Options { batch: Some(64), ..Options::default() });
}

#[test]
fn wrong_texts_name_the_word() {
    for (text, part) in [
        ("", "number of inputs"),
        ("64", "no layers"),
        ("x > 10", "'x'"),
        ("64 > relu 10", "'relu'"),
        ("64 > 16 rellu > 10", "did you mean 'relu'?"),
        ("64 > 16 drop=high > 10", "'drop=high'"),
        ("64 > 16 drop=1 > 10", "dropout 1"),
        ("64 > 16 skip > 10", "skips from width 64 to 16"),
        ("64 > 0 > 10", "width 0"),
        ("64 > 16 norm=group > 10", "norm=layer"),
        ("64 > 16 relu(2) > 10", "'relu(2)'"),
        ("64 > 10 |", "unknown optimizer ''"),
        ("64 > 10 | adma lr=0.1", "did you mean 'adam'?"),
        ("64 > 10 | adam rate=0.1", "'rate'"),
        ("64 > 10 | adam lr=fast", "'lr=fast'"),
        ("64 > 10 | adam lr=-1", "learning rate -1"),
        ("64 > 10 | adam momentum=0.9", "momentum"),
        ("64 > 10 | adam bacth=3", "did you mean 'batch'?"),
        ("64 > 10 | sgd nesterov", "nesterov needs"),
        ("64 > 10 | sgd wd=x", "'wd=x'"),
        ("64 > 10 | sgd batch=0", "batch is 0"),
        ("64 > 10 | sgd schedule=never", "unknown schedule 'never'"),
        ("64 > 10 | sgd init=ones", "kaiming_normal"),
        ("64 > 10 | sgd clip=NaN", "gradient norm limit"),
    ] {
        let error = text.parse::<Architecture>().expect_err(text).to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn optimizers_read_back() {
    for text in
        ["sgd", "sgd nesterov momentum=0.9", "adam beta1=0.8", "adamw wd=0.01", "rmsprop alpha=0.9 wd=1e-6"]
    {
        let optimizer = read_optimizer(text).expect("well-formed");
        assert_eq!(optimizer_words(&optimizer).join(" "), text);
    }
    assert!(read_optimizer("adam lr=0.1").expect_err("no constant").contains("beta1"));
}
