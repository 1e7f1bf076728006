//! The generator as a whole: gradients, devices, the sampler's contract, and what it finds.

use std::collections::HashMap;

use proptest::prelude::*;

use super::tokens::tests::any_space;
use super::*;
use crate::graph::{Graph, HostTensor};
use crate::search::rng::Rng;
use crate::search::space::{Domain, Parameter, Space, Value};
use crate::search::table::{Dataset, Table};
use crate::search::trial::State;
use crate::search::{Direction, Goal};

/// A small and quick generator.
fn small() -> Options {
    let stretch = |steps| Stretch { steps, learning_rate: 5e-3 };
    Options {
        startup: 6,
        every: 5,
        elites: 4,
        embed: 4,
        hidden: 8,
        predictor: 8,
        batch: 8,
        pretraining: stretch(15),
        training: stretch(8),
        ..Options::default()
    }
}

fn setting(space: Space, seed: u64, lag: u64) -> Setting {
    Setting { space, goals: vec![Goal::minimize("loss")], seed, steps: 1, lag }
}

/// Conditions, shared domains, and a domain that is cut into levels.
fn mixed() -> Space {
    Space::new(vec![
        Parameter::new("depth", Domain::int(1, 3)),
        Parameter::new("width.0", Domain::levels([16, 32, 64])),
        Parameter::new("width.1", Domain::levels([16, 32, 64])).when_at_least("depth", 2),
        Parameter::new("width.2", Domain::levels([16, 32, 64])).when_at_least("depth", 3),
        Parameter::new("lr", Domain::log_float(1e-4, 1.0)),
        Parameter::new("optimizer", Domain::choice(["sgd", "adam"])),
        Parameter::new("momentum", Domain::float(0.0, 0.99)).when_one_of("optimizer", ["sgd"]),
    ])
    .expect("a space")
}

/// Best at depth 2, narrow, a learning rate about 0.01, and Adam.
fn loss(space: &Space, point: &Point) -> f64 {
    let number = |name: &str| space.get(point, name).and_then(Value::number).unwrap_or(0.0);
    let adam = space.get(point, "optimizer") == Some(Value::Choice(1));
    (number("depth") - 2.0).abs() + number("width.0") / 64.0 + (number("lr").log10() + 2.0).abs()
        - f64::from(u8::from(adam))
}

fn trial(setting: &Setting, number: u64, point: Point) -> Trial {
    let mut trial = Trial::new(number, point);
    trial.state = State::Complete;
    trial.values = vec![loss(&setting.space, &trial.point)];
    // Some fail.
    if number % 11 == 3 {
        (trial.state, trial.values) = (State::Failed, vec![]);
    }
    trial
}

/// Runs `trials` trials as a study does.
fn search(setting: &Setting, options: &Options, device: &Device, trials: u64) -> Vec<Trial> {
    let mut sampler = Generator::with(device, options.clone()).expect("options");
    let mut done: Vec<Trial> = vec![];
    for number in 0..trials {
        for trial in &done[sampler.count..setting.visible(number) as usize] {
            sampler.tell(setting, trial);
        }
        let point = sampler.ask(setting, number).expect("a point");
        assert_eq!(setting.space.check(&point), Ok(()));
        done.push(trial(setting, number, point));
    }
    done
}

/// The loss's gradient against central differences, every parameter, in `f64`.
#[test]
fn the_gradient_of_the_loss_is_right() {
    let net = Net { tokens: 5, length: 3, embed: 3, hidden: 4, predictor: 6 };
    let batch = 2;
    let mut graph = Graph::new();
    let values = net.loss(&mut graph, batch, 0.4).expect("a loss");
    let gradients = graph.gradients(values.loss, &values.parameters).expect("gradients");
    let mut rng = Rng::new(5, 0, 0);
    let mut real = |n: usize, scale: f64| HostTensor::Real((0..n).map(|_| scale * rng.normal()).collect());
    let rows = net.length * batch;
    let mut feed: HashMap<String, HostTensor> = HashMap::new();
    for (name, n) in
        [("x", rows * net.width()), ("previous", rows * net.width()), ("mask", rows * net.tokens)]
    {
        feed.insert(name.into(), real(n, 1.0));
    }
    feed.insert("target".into(), real(batch, 0.5));
    feed.insert("weight".into(), HostTensor::Real(vec![0.7, 0.2]));
    feed.insert("labels".into(), HostTensor::U32((0..rows as u32).map(|i| (i * 7 + 1) % 5).collect()));
    let parameters = net.parameters();
    for p in &parameters {
        feed.insert(p.name.clone(), real(p.shape.iter().product(), 0.5));
    }
    let exact = graph.eval(&feed).expect("a value");
    let h = 1e-5;
    let mut checked = 0;
    for (p, gradient) in parameters.iter().zip(gradients) {
        let gradient = exact.get(gradient).real();
        let start = feed[&p.name].real().to_vec();
        for i in (0..start.len()).step_by(1 + start.len() / 12) {
            let mut at = |d: f64| {
                let mut moved = start.clone();
                moved[i] += d;
                feed.insert(p.name.clone(), HostTensor::Real(moved));
                graph.eval(&feed).expect("a value").get(values.loss).real()[0]
            };
            let difference = (at(h) - at(-h)) / (2.0 * h);
            feed.insert(p.name.clone(), HostTensor::Real(start.clone()));
            // The differences' own error: rounding over h, and the third derivative times h^2.
            assert!(
                (gradient[i] - difference).abs() < 1e-7 * (1.0 + difference.abs()),
                "{} {i}: {} {difference}",
                p.name,
                gradient[i]
            );
            checked += usize::from(difference.abs() > 1e-6);
        }
    }
    assert!(checked > 100, "{checked} gradients that are not zero");
}

/// The shipped kernels train the same network as the CPU, up to rounding, and decode the same points.
#[test]
fn devices_agree() {
    let options = small();
    let setting = setting(mixed(), 3, 1);
    let vocabulary = Vocabulary::new(&setting.space, options.levels);
    let drawn = (0..12).map(|i| setting.space.draw(&mut Rng::new(1, 0, i)).expect("a point"));
    let sequences: Vec<Vec<Token>> = drawn.map(|point| vocabulary.encode(&point)).collect();
    let example = |i: usize| Example { tokens: sequences[i].clone(), target: Some(i as f32) };
    let examples = [example(0), example(1)];
    let train = |device: &Device| {
        let short = Options {
            pretraining: Stretch { steps: 3, learning_rate: 5e-3 },
            training: Stretch { steps: 3, learning_rate: 5e-3 },
            ..options.clone()
        };
        let mut model = pretrained(device, &setting, &short).expect("a model");
        fit(&mut model, &setting, &short, &examples, &mut Rng::new(2, 0, 0)).expect("trained");
        let said = model.predict(&sequences).expect("predictions");
        let points: Vec<Point> =
            (0..5).map(|i| setting.space.draw(&mut Rng::new(9, 0, i)).expect("a point")).collect();
        (said, model.improve(&points, 0.3, true, &mut Rng::new(4, 0, 0)).expect("points"))
    };
    let (cpu, sim) = (train(&Device::cpu()), train(&Device::sim()));
    for (a, b) in cpu.0.iter().zip(&sim.0) {
        // Adam divides by the gradient's size, so that a few steps turn rounding into a share of a step.
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
    assert_eq!(cpu.1, sim.1);
    assert!(cpu.0.iter().any(|a| (a - cpu.0[0]).abs() > 1e-3), "the predictions say nothing: {:?}", cpu.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Networks that learned nothing decode points of the space, wherever in latent space.
    #[test]
    fn random_weights_decode_valid_points(space in any_space(), seed: u64, lambda in 0f32..9.0) {
        let options = Options { pretraining: Stretch { steps: 0, learning_rate: 1e-3 }, ..small() };
        let setting = setting(space, seed, 1);
        let mut model = pretrained(&Device::cpu(), &setting, &options).expect("a model");
        let mut rng = Rng::new(seed, 0, 0);
        let parents: Vec<Point> = (0..70).map(|_| setting.space.draw(&mut rng).expect("a point")).collect();
        let decoded = model.improve(&parents, lambda, seed % 2 == 0, &mut rng).expect("points");
        prop_assert_eq!(decoded.len(), parents.len());
        for (point, tokens) in decoded {
            prop_assert_eq!(setting.space.check(&point), Ok(()));
            prop_assert_eq!(model.vocabulary().encode(&point), tokens);
        }
    }
}

/// What is proposed depends on the setting, the number and what was told, whoever asks and whatever was asked before.
#[test]
fn asks_keep_the_contract() {
    for lag in [1, 4, 9] {
        let setting = setting(mixed(), 11, lag);
        let trials = search(&setting, &small(), &Device::cpu(), 34);
        // Of another seed nothing but chance is the same.
        let other = search(&Setting { seed: 12, ..setting.clone() }, &small(), &Device::cpu(), 8);
        assert!((0..8).any(|i| other[i].point != trials[i].point));
        // One who comes late, is asked for some trials only, and twice.
        for first in [2u64, 13, 22, 33] {
            let mut sampler = Generator::with(&Device::cpu(), small()).expect("options");
            let mut told = 0;
            for number in [first, first + 1, first + 5] {
                if number >= trials.len() as u64 {
                    continue;
                }
                let visible = setting.visible(number) as usize;
                trials[told..visible].iter().for_each(|t| sampler.tell(&setting, t));
                told = visible;
                for _ in 0..2 {
                    let point = sampler.ask(&setting, number).expect("a point");
                    assert_eq!(
                        point, trials[number as usize].point,
                        "lag {lag}, trial {number} after {first}"
                    );
                }
            }
        }
    }
}

/// Where the space has nothing new, trials repeat, and nothing fails; nor where every trial fails.
#[test]
fn small_spaces_and_failing_trials_are_no_trouble() {
    let space = Space::new(vec![
        Parameter::new("a", Domain::choice(["x", "y"])),
        Parameter::new("b", Domain::int(0, 2)).when_one_of("a", ["x"]),
    ])
    .expect("a space");
    let tiny = setting(
        space.allow(|_, p| if p.0[1] == Some(Value::Int(1)) { Err("b is 1".into()) } else { Ok(()) }),
        1,
        2,
    );
    assert_eq!(search(&tiny, &small(), &Device::cpu(), 30).len(), 30);
    let setting = setting(mixed(), 1, 1);
    let mut sampler = Generator::with(&Device::cpu(), small()).expect("options");
    for number in 0..20 {
        let mut trial = Trial::new(number, sampler.ask(&setting, number).expect("a point"));
        trial.state = State::Failed;
        sampler.tell(&setting, &trial);
    }
}

/// However many trials: what is remembered of them stays bounded, but for a key each.
#[test]
fn memory_is_bounded() {
    let setting = setting(mixed(), 1, 1);
    let mut sampler = Generator::with(&Device::cpu(), small()).expect("options");
    for number in 0..20_000 {
        let point = setting.space.draw(&mut Rng::new(1, 0, number)).expect("a point");
        sampler.tell(&setting, &trial(&setting, number, point));
    }
    assert!(sampler.told.len() <= REMEMBERED + small().most, "{}", sampler.told.len());
    let [Some(now), Some(before)] = &sampler.snapshots else { panic!("two snapshots") };
    assert_eq!(now.start + now.start.div_ceil(5).min(1000), sampler.next);
    assert!(before.start < now.start && now.examples.len() == 1024 && now.elites.len() == 4);
    // The best of all trials is still there.
    let best = sampler.told.iter().map(|t| t.losses[0]).fold(f64::INFINITY, f64::min);
    assert_eq!(loss(&setting.space, &now.elites[0]).min(best), best);
    let ask = sampler.ask(&setting, 20_000).expect("a point");
    assert_eq!(setting.space.check(&ask), Ok(()));
}

/// Options out of range are refused by name.
#[test]
fn wrong_options_are_refused() {
    let refused = |options: Options| {
        Generator::with(&Device::cpu(), options).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused(Options { hidden: 0, ..small() }).contains("hidden"));
    assert!(refused(Options { levels: 1, ..small() }).contains("levels"));
    assert!(refused(Options { explore: 1.5, ..small() }).contains("explore"));
    assert!(refused(Options { clip: f32::NAN, ..small() }).contains("norm"));
    let rate = Stretch { steps: 1, learning_rate: 0.0 };
    assert!(refused(Options { training: rate, ..small() }).contains("learning rate"));
}

/// On NAS-Bench-201: the predictor ranks cells it has not seen, sequences come out again, all that is decoded is valid, and
/// what is generated is better than what it was generated from.
#[test]
fn it_learns_a_table() {
    let table = Table::nasbench201(Dataset::Cifar10).expect("the table");
    let setting = table.setting(&["val_acc"], 1).expect("a setting");
    let trials = table.search(&setting, &mut crate::search::sampler::Random, 200).expect("trials");
    let held_out: Vec<Point> =
        (0..400).map(|i| setting.space.draw(&mut Rng::new(77, 0, i)).expect("a point")).collect();
    let value = |point: &Point| table.mean(point, "val_acc").ok();
    let report =
        measure(&Device::cpu(), &Options::default(), &setting, &trials, &held_out, value).expect("a report");
    assert!(report.pairwise > 0.75 && report.reconstruction >= 0.99 && report.valid == 1.0, "{report:?}");
    assert!(report.generated > report.seeds && report.selected_mean > report.seeds_mean, "{report:?}");
}

/// Forty trials after the start, it has found a better cell than the start's best.
#[test]
fn it_improves_on_its_start() {
    let table = Table::nasbench201(Dataset::Cifar10).expect("the table");
    let setting = table.setting(&["val_acc"], 2).expect("a setting");
    let trials = table.search(&setting, &mut Generator::new(&Device::cpu()), 80).expect("trials");
    let best = |trials: &[Trial]| table.best_mean(trials, "val_acc", Direction::Maximize).expect("a mean");
    assert!(best(&trials) > best(&trials[..40]));
    let median = |trials: &[Trial]| {
        let mut values: Vec<f64> = trials.iter().map(|t| t.values[0]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    assert!(median(&trials[40..]) > median(&trials[..40]) + 1.0);
    let mut points: Vec<u64> = trials.iter().map(|t| key(&t.point)).collect();
    points.sort();
    points.dedup();
    assert_eq!(points.len(), 80, "no cell twice");
}
