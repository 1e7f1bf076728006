use std::collections::HashSet;

use super::super::{Space, Value};
use super::*;
use crate::search::architecture::Architecture;
use crate::search::rng::Rng;
use proptest::prelude::*;

fn subset<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let n = all.len();
    proptest::sample::subsequence(all, 1..=n)
}

fn ints(low: usize, high: usize) -> impl Strategy<Value = Ints> {
    prop_oneof![
        (low..high).prop_map(Ints::from),
        proptest::collection::vec(low..high, 1..5).prop_map(Ints::from),
        (low.max(1)..high, 0..high, 1usize..4, any::<bool>()).prop_map(|(low, n, step, log)| Ints::Range {
            low,
            high: low + n,
            step,
            log
        }),
    ]
}

/// Numbers in [0, 1) with up to three digits.
fn numbers(least: u32) -> impl Strategy<Value = Numbers> {
    let x = move || (least..999).prop_map(|n| f64::from(n) / 1000.0);
    prop_oneof![
        x().prop_map(Numbers::from),
        proptest::collection::btree_set(least..999, 1..5)
            .prop_map(|s| Numbers::Of(s.into_iter().map(|n| f64::from(n) / 1000.0).collect())),
        (x(), x()).prop_map(|(a, b)| (a.min(b)..=a.max(b)).into()),
        (1u32..999, 1u32..999)
            .prop_map(|(a, b)| Numbers::log(f64::from(a.min(b)) / 1000.0, f64::from(a.max(b)) / 1000.0)),
    ]
}

pub(super) fn ranges() -> impl Strategy<Value = Ranges> {
    let leaky = Activation::LeakyRelu(0.2);
    let optimizers = vec![
        Optimizer::adam(),
        Optimizer::adamw(),
        Optimizer::sgd(),
        Optimizer::sgd().with_momentum(0.9).with_nesterov(),
        Optimizer::rmsprop(),
    ];
    let schedules = vec![Schedule::OneCycle, Schedule::Cosine, Schedule::Step { every: 3, gamma: 0.5 }];
    (
        (ints(0, 4), ints(1, 40), any::<bool>(), any::<bool>(), any::<bool>(), ints(1, 70)),
        subset(vec![Activation::Relu, Activation::Gelu, leaky, Activation::Elu(0.0)]),
        (numbers(0), numbers(1), numbers(0)),
        (proptest::option::of(numbers(1)), proptest::option::of(numbers(0))),
        subset(vec![Norm::None, Norm::Layer, Norm::Batch]),
        subset(vec![WeightInit::Torch, WeightInit::KaimingNormal]),
        subset(optimizers),
        subset(schedules),
    )
        .prop_map(
            |(
                a,
                activation,
                (dropout, lr, smoothing),
                (momentum, weight_decay),
                norm,
                init,
                optimizer,
                schedule,
            )| {
                let (depth, width, shared_width, shared_activation, skip, batch) = a;
                Ranges {
                    depth,
                    width,
                    shared_width,
                    activation,
                    shared_activation,
                    dropout,
                    norm,
                    skip,
                    init,
                    optimizer,
                    momentum,
                    lr,
                    weight_decay,
                    batch,
                    schedule,
                    smoothing,
                    ..Ranges::default()
                }
            },
        )
}

fn points(space: &Space, n: u64) -> Vec<super::super::Point> {
    (0..n).map(|i| space.draw(&mut Rng::new(11, 0, i)).expect("a point")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn points_decode_to_valid_networks_and_back(ranges in ranges(), skips: bool) {
        let networks = NetworkSpace::new(5, 3, Ranges { skip: skips, ..ranges });
        let Ok(space) = networks.space() else {
            // Nothing to choose is the one reason left.
            let single = networks.space().expect_err("refused").to_string();
            prop_assert!(single.contains("single network"), "{}", single);
            return Ok(());
        };
        for point in points(&space, 20) {
            let a = networks.decode(&point);
            a.validate().map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(a.canonical().to_string(), a.to_string());
            let r = networks.ranges();
            let hidden = a.net.layers.len() - 1;
            prop_assert!((r.depth.bounds().0..=r.depth.bounds().1).contains(&hidden));
            for layer in &a.net.layers[..hidden] {
                prop_assert!((r.width.bounds().0..=r.width.bounds().1).contains(&layer.units));
                prop_assert!(r.norm.contains(&layer.norm));
                prop_assert!(!r.shared_width || layer.units == a.net.layers[0].units);
            }
            let back = networks.encode(&a);
            prop_assert!(back.is_some(), "{} of {}", a, space.show(&point));
            let back = back.unwrap_or_default();
            prop_assert_eq!(space.check(&back), Ok(()));
            prop_assert_eq!(networks.decode(&back).to_string(), a.to_string());
        }
    }

    #[test]
    fn limits_hold_for_drawn_points(params in 200u64..3000, flop in 500u64..6000, memory in 20_000u64..200_000) {
        let networks = NetworkSpace::default_for(8, 3, 1000).width(4..=64).batch(16..=64)
            .max_params(params).max_flop(flop).max_memory(memory)
            .max_latency(60.0).latency(|a: &Architecture| a.net.layers[0].units as f64);
        let space = networks.space().expect("a space");
        for point in points(&space, 10) {
            let a = networks.decode(&point);
            prop_assert!(a.parameters() <= params && a.flop() <= flop && a.memory() <= memory, "{}", a);
            prop_assert!(a.net.layers[0].units <= 60);
        }
    }
}

#[test]
fn the_parameters_are_those_of_the_table() {
    let space = NetworkSpace::mlp(64, 10)
        .depth(0..=3)
        .width([16, 32])
        .activations([Activation::Relu, Activation::Gelu])
        .dropout(0.0..=0.5)
        .norms([Norm::None, Norm::Layer])
        .skips(true)
        .inits([WeightInit::Torch, WeightInit::KaimingNormal])
        .optimizers([Optimizer::adamw(), Optimizer::sgd()])
        .momentum([0.0, 0.9])
        .lr(1e-4..=3e-2)
        .weight_decay(1e-6..=1e-2)
        .batch([32, 64])
        .schedules([Schedule::OneCycle, Schedule::Cosine])
        .smoothing([0.0, 0.1])
        .space()
        .expect("a space");
    let names: Vec<&str> = space.parameters().iter().map(|p| p.name.as_str()).collect();
    let expected = "depth width.0 width.1 width.2 activation.0 activation.1 activation.2 skip.1 skip.2 dropout norm init \
                    optimizer momentum lr weight_decay batch schedule smoothing";
    assert_eq!(names.join(" "), expected);
    let text = "depth=1 width.0=32 activation.0=gelu dropout=0.1 norm=layer init=torch optimizer=sgd momentum=0.9 lr=0.01 \
                weight_decay=0.001 batch=32 schedule=cosine smoothing=0.1";
    let point = space.read(text).expect("a point");
    assert_eq!(space.check(&point), Ok(()));
    assert!(space.read("depth=0 dropout=0.1").is_err());
    let log = |name: &str| {
        format!("{:?}", space.parameters()[space.index(name).expect("there")].domain).contains("log: true")
    };
    assert!(log("lr") && log("weight_decay") && !log("dropout"));
}

#[test]
fn every_point_of_a_small_space_is_another_network() {
    let networks =
        NetworkSpace::mlp(4, 2).depth(1..=2).width([3, 4]).optimizers([Optimizer::adam(), Optimizer::sgd()]);
    let space = networks.space().expect("a space");
    assert_eq!(space.count(), Some((2 + 4) * 2));
    let hashes: HashSet<u64> = points(&space, 300).iter().map(|p| networks.decode(p).hash()).collect();
    assert_eq!(hashes.len(), 12);
}

#[test]
fn settings_without_effect_do_not_change_the_hash() {
    // Between different widths a skip connection is none; with momentum 0 SGD is one.
    let networks = NetworkSpace::mlp(4, 2).depth(2).width([3, 5]).skips(true);
    let space = networks.space().expect("a space");
    let hash = |text: &str| networks.decode(&space.read(text).expect("a point")).hash();
    assert_eq!(hash("width.0=3 width.1=5 skip.1=yes"), hash("width.0=3 width.1=5 skip.1=no"));
    assert_ne!(hash("width.0=3 width.1=3 skip.1=yes"), hash("width.0=3 width.1=3 skip.1=no"));
}

#[test]
fn the_default_space_holds_the_networks_of_the_issue() {
    let networks = NetworkSpace::default_for(64, 10, 1000);
    let space = networks.space().expect("a space");
    let known = "64 > 128 relu > 64 relu > 10 | adamw lr=0.002 wd=0.01 batch=64";
    let point = networks.encode(&known.parse().expect("well-formed")).expect("in the space");
    assert_eq!(networks.decode(&point).to_string(), known);
    assert_eq!(space.check(&point), Ok(()));
    assert_eq!(space.get(&point, "depth"), Some(Value::Int(2)));
    for foreign in
        ["64 > 10", "64 > 100 relu > 10", "64 > 16 relu > 9", "64 > 16 relu > 10 | rmsprop lr=0.01 batch=64"]
    {
        assert_eq!(networks.encode(&foreign.parse().expect("well-formed")), None, "{foreign}");
    }
    let small = NetworkSpace::default_for(4, 3, 10);
    assert!(points(&small.space().expect("a space"), 20).iter().all(|p| small.decode(p).recipe.batch <= 10));
}

#[test]
fn batches_are_no_larger_than_the_data() {
    let networks = NetworkSpace::mlp(4, 2).depth(1..=2).batch([16, 64, 256]).rows(100);
    let space = networks.space().expect("a space");
    assert!(points(&space, 50).iter().all(|p| networks.decode(p).recipe.batch <= 64));
    let none = NetworkSpace::mlp(4, 2).depth(1..=2).batch(64).rows(40).space().expect("a space");
    let error = none.draw(&mut Rng::new(1, 0, 0)).expect_err("no batch fits").to_string();
    assert!(error.contains("a batch of 64 exceeds the 40 rows"), "{error}");
}

#[test]
fn an_impossible_limit_is_one_clear_error() {
    let space = NetworkSpace::default_for(64, 10, 1000).max_params(100).space().expect("a space");
    let error = space.draw(&mut Rng::new(1, 0, 0)).expect_err("nothing fits").to_string();
    for part in ["max_params = 100", "parameters exceed", "loosen"] {
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn wrong_spaces_name_the_setting() {
    let mlp = || NetworkSpace::mlp(4, 2).depth(1..=2);
    for (networks, part) in [
        (NetworkSpace::mlp(4, 2), "single network"),
        (NetworkSpace::mlp(0, 2).depth(1..=2), "0 inputs"),
        (mlp().width(Vec::<usize>::new()), "width"),
        (mlp().width([0, 4]), "width of 0"),
        (mlp().depth(1..=1000), "depth of 1000"),
        (mlp().activations([]), "activation may be nothing"),
        (mlp().activations([Activation::Elu(f32::NAN)]), "finite"),
        (mlp().optimizers([Optimizer::sgd().with_nesterov()]), "nesterov"),
        (mlp().optimizers([Optimizer::adam(), Optimizer::adam()]), "twice"),
        (mlp().dropout(0.0..=1.0), "dropout of 1"),
        (mlp().dropout(0.999_999_999), "dropout"),
        (mlp().dropout(Vec::<f64>::new()), "dropout"),
        (mlp().lr(0.0..=1.0), "lr of 0"),
        (mlp().lr(f64::NAN), "lr of NaN"),
        (mlp().momentum(1.0), "momentum of 1"),
        (mlp().weight_decay(-1.0), "weight_decay of -1"),
        (mlp().batch(0), "batch of 0"),
        (mlp().max_latency(1e-3), "max_latency needs a model"),
        (mlp().max_latency(f64::NAN).latency(|_: &Architecture| 1.0), "positive number of seconds"),
    ] {
        let error = networks.space().expect_err(part).to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{part}: {error}");
    }
}

#[test]
fn foreign_points_decode_without_panic() {
    let networks = NetworkSpace::default_for(8, 3, 100);
    for point in [vec![], vec![None; 40], vec![Some(Value::Choice(9)); 40], vec![Some(Value::Int(-3)); 40]] {
        networks.decode(&super::super::Point(point));
    }
}

#[test]
fn a_latency_model_is_found_again_from_its_own_predictions() {
    let networks = NetworkSpace::default_for(16, 4, 400);
    let space = networks.space().expect("a space");
    let truth = LinearLatency { fixed: 4e-6, per_layer: 1.5e-6, per_flop: 3e-10 };
    let measured: Vec<_> = points(&space, 30)
        .iter()
        .map(|p| networks.decode(p))
        .map(|a| (a.clone(), truth.seconds(&a)))
        .collect();
    let fitted = LinearLatency::fit(&measured).expect("a model");
    for (a, b) in
        [(fitted.fixed, truth.fixed), (fitted.per_layer, truth.per_layer), (fitted.per_flop, truth.per_flop)]
    {
        assert!((a / b - 1.0).abs() < 1e-6, "{fitted:?}");
    }
    // Times that fall with the size would ask for coefficients below 0.
    let falling: Vec<_> = measured.iter().map(|(a, _)| (a.clone(), 1.0 / a.flop() as f64)).collect();
    let fitted = LinearLatency::fit(&falling).expect("a model");
    assert!(fitted.fixed >= 0.0 && fitted.per_layer >= 0.0 && fitted.per_flop >= 0.0);
    assert_eq!(LinearLatency::fit(&[]), None);
}

#[test]
fn calibration_measures_something() {
    let model = LinearLatency::calibrate(&crate::Device::cpu(), 8, 3).expect("measured");
    let a: Architecture = "8 > 64 relu > 3".parse().expect("well-formed");
    assert!(model.seconds(&a) > 0.0);
}

/// The commented example of the documentation.
const EXAMPLE: &str = include_str!("../../../../examples/space.toml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn files_round_trip(
        ranges in ranges(), skips: bool,
        params in proptest::option::of(any::<u32>()), flop in proptest::option::of(any::<u32>()),
        memory in proptest::option::of(any::<u32>()), latency in proptest::option::of(1e-9..10f64), model: bool,
    ) {
        let limits = Limits {
            params: params.map(u64::from),
            flop: flop.map(u64::from),
            memory: memory.map(u64::from),
            latency,
        };
        let model = model.then_some(LinearLatency { fixed: 1e-6, per_layer: 2.5e-7, per_flop: 3e-11 });
        let networks =
            NetworkSpace::new(5, 3, Ranges { skip: skips, limits, latency_model: model, ..ranges });
        let text = networks.to_toml();
        let back = NetworkSpace::from_toml(&text, 5, 3).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(back.ranges(), networks.ranges(), "{}", text);
        prop_assert_eq!(back.to_toml(), text);
    }
}

#[test]
fn the_example_names_every_setting() {
    let networks = NetworkSpace::from_toml(EXAMPLE, 64, 10).expect("the example reads");
    let space = networks.space().expect("a space");
    let point = space.draw(&mut Rng::new(3, 0, 0)).expect("a point");
    let a = networks.decode(&point);
    a.validate().expect("valid");
    assert!(a.parameters() <= 100_000 && a.flop() <= 200_000 && a.memory() <= 4 << 20);
    assert_eq!(networks.ranges().limits.latency, Some(1e-4));
    // Every field that the reader knows is in the example.
    let error = NetworkSpace::from_toml("nothing_like_it = 1", 64, 10).expect_err("unknown").to_string();
    let known = error.split("one of ").nth(1).expect("names").trim_end_matches(')').to_string();
    for field in known.split(", ") {
        assert!(EXAMPLE.lines().any(|l| l.starts_with(&format!("{field} ="))), "{field}");
    }
    assert_eq!(
        NetworkSpace::from_toml(&networks.to_toml(), 64, 10).expect("reads").ranges(),
        networks.ranges()
    );
}

#[test]
fn an_empty_file_is_the_default_network() {
    let networks = NetworkSpace::from_toml("# nothing\n", 64, 10).expect("reads");
    assert_eq!(networks.ranges(), &Ranges::default());
    assert_eq!(networks.to_toml(), "");
    assert!(networks.space().is_err());
}

#[test]
fn wrong_files_name_the_field() {
    let cases = [
        ("depht = 3", vec!["line 1", "'depht'", "did you mean 'depth'?"]),
        ("depth = 2\nwidth = \"wide\"", vec!["line 2, width", "a number, a list"]),
        ("\n\nwidth = { low = 1, top = 4 }", vec!["line 3, width", "'top'"]),
        ("width = -3", vec!["line 1, width", "-3"]),
        ("width = [16, 32.5]", vec!["line 1, width", "32.5"]),
        ("depth = { low = 1 }", vec!["line 1, depth", "high"]),
        ("width = { low = 16, high = 64, step = 0 }", vec!["width", "step of 0"]),
        ("skip = 1", vec!["line 1, skip", "bool"]),
        ("activation = \"reluu\"", vec!["activation", "did you mean 'relu'?"]),
        ("activation = 3", vec!["line 1, activation", "a name or a list of names"]),
        ("norm = [\"layer\", \"bath\"]", vec!["norm", "did you mean 'batch'?"]),
        ("init = \"touch\"", vec!["init", "did you mean 'torch'?"]),
        ("optimizer = \"adamww\"", vec!["optimizer", "did you mean 'adamw'?"]),
        ("optimizer = \"adam lr=1\"", vec!["optimizer", "'lr=1'", "beta1"]),
        ("schedule = \"linear\"", vec!["schedule", "one-cycle"]),
        ("lr = { low = 0.1, high = 1, step = 0.1 }", vec!["lr", "no step"]),
        ("lr = { low = 0, high = 1 }", vec!["lr of 0"]),
        ("dropout = [0.5, 1.5]", vec!["dropout of 1.5"]),
        ("max_memory = \"4 pages\"", vec!["line 1, max_memory", "'4 pages'", "MiB"]),
        ("max_memory = -4", vec!["max_memory of -4"]),
        ("max_latency = \"fast\"", vec!["line 1, max_latency", "ms"]),
        ("max_latency = 0", vec!["max_latency of 0"]),
        ("latency_model = { fixed = 1 }", vec!["line 1, latency_model", "per_layer"]),
        ("depth = 1\ndepth = 2", vec!["line 2, depth", "duplicate"]),
        ("depth 3", vec!["line 1"]),
    ];
    let mut wrong = vec![];
    for (text, parts) in cases {
        let error =
            NetworkSpace::from_toml(text, 64, 10).map_or_else(|e| e.to_string(), |_| "nothing".into());
        if error.contains('\n') || !parts.iter().all(|p| error.contains(p)) {
            wrong.push(format!("{text}: {error}, not {parts:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn quantities_have_units() {
    let limits = |text: &str| NetworkSpace::from_toml(text, 4, 2).expect("reads").ranges().limits.clone();
    assert_eq!(limits("max_memory = \"1.5 KiB\"").memory, Some(1536));
    assert_eq!(limits("max_memory = \"2_000kB\"").memory, Some(2_000_000));
    assert_eq!(limits("max_memory = 77").memory, Some(77));
    assert_eq!(limits("max_latency = \"2ms\"").latency, Some(0.002));
    assert_eq!(limits("max_latency = 0.5").latency, Some(0.5));
}
