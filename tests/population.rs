//! Populations: the same bits as training each network alone, failures that stay where they are, one launch for all.

mod common;

use common::{kernel_device, kernel_devices};
use ironwarp::Device;
use ironwarp::data::{self, Dataset};
use ironwarp::nn::{self, Dense, Mlp, WeightInit};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::optim::Optimizer;
use ironwarp::search::population::{Candidate, Failure, Population, Progress};
use ironwarp::search::rng::Rng;
use ironwarp::train::{Loss, Options, Schedule, Session, Trainer};

/// The first `rows` of a built-in set, prepared, in two parts.
fn parts(name: &str) -> (Dataset, Dataset) {
    let split =
        data::builtin(name).expect("built in").standardized().stratified_split(0.8, 3).expect("splits");
    (split.train, split.test)
}

fn options(seed: u64) -> Options {
    let schedule = [Schedule::Constant, Schedule::Cosine, Schedule::OneCycle][seed as usize % 3];
    let optimizer = match seed % 5 {
        0 => Optimizer::adam(),
        1 => Optimizer::adamw(),
        2 => Optimizer::rmsprop(),
        3 => Optimizer::sgd().with_momentum(0.9),
        _ => Optimizer::sgd(),
    };
    Options {
        epochs: 3,
        batch: Some(16 + seed as usize % 30),
        learning_rate: 5e-3,
        schedule,
        optimizer,
        clip_norm: seed.is_multiple_of(2).then_some(1.0),
        seed,
        ..Options::default()
    }
}

/// Some networks for 13 features and 3 classes.
fn candidates(count: u64) -> Vec<Candidate> {
    let all = Activation::ALL;
    (0..count)
        .map(|seed| {
            let widths: Vec<usize> =
                (0..1 + seed % 3).map(|k| 5 + (7 * seed + 11 * k) as usize % 40).collect();
            let mut net = nn::mlp(13, widths, all[seed as usize % all.len()], 3);
            net = net.dropout(if seed % 3 == 1 { 0.2 } else { 0.0 });
            Candidate { net, options: options(seed) }
        })
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Epoch, losses and metrics of a progress, as bits.
type Numbers = (usize, u64, u64, Option<u64>, Option<u64>);

/// Everything of a progress but the time.
fn numbers(p: &Progress) -> Numbers {
    let b = f64::to_bits;
    (p.epoch, b(p.train_loss), b(p.val_loss), p.val_accuracy.map(b), p.val_r2.map(b))
}

/// Trains `candidates` in a population, in steps of these epochs; the histories and parameters.
fn population(
    mut population: Population,
    candidates: &[Candidate],
    epochs: &[usize],
) -> Vec<(Vec<Numbers>, Vec<Vec<u32>>)> {
    let ids: Vec<_> = candidates.iter().map(|c| population.add(c.clone()).expect("fits")).collect();
    for &epochs in epochs {
        for outcome in population.advance(&ids, epochs) {
            outcome.expect("trains");
        }
    }
    ids.iter()
        .map(|&id| {
            let history: Vec<_> = population.history(id).expect("there").iter().map(numbers).collect();
            let recorded = population.model(id).expect("is finite").history.epochs;
            let recorded = recorded.iter().map(|e| (e.epoch, e.train_loss.to_bits(), e.val_accuracy));
            let wanted = history.iter().map(|h| (h.0, h.1, h.3.map(f64::from_bits)));
            assert!(recorded.eq(wanted), "a model knows its epochs on every device");
            let parameters = population.parameters(id).expect("there");
            (history, parameters.iter().map(|t| bits(&t.values)).collect())
        })
        .collect()
}

#[test]
fn on_cpu_a_population_has_the_bits_of_training_alone() {
    let (train, validation) = parts("wine");
    let device = Device::cpu();
    let candidates = candidates(9);
    let new = || Population::new(&device, &train, &validation).expect("opens");
    let together = population(new().threads(2), &candidates, &[3]);
    assert_eq!(together, population(new().threads(1), &candidates, &[1, 2]));
    assert_eq!(together, population(new().threads(5), &candidates, &[2, 7]));
    let mut reversed = candidates.clone();
    reversed.reverse();
    let mut backwards = population(new(), &reversed, &[3]);
    backwards.reverse();
    assert_eq!(together, backwards);
    for (candidate, (history, parameters)) in candidates.iter().zip(&together) {
        let Candidate { net, options } = candidate.clone();
        let model = Trainer::new(net.clone()).options(options.clone()).fit(&device, &train).expect("trains");
        let alone: Vec<Vec<u32>> =
            net.parameters().iter().map(|p| bits(&model.parameter(&p.name).expect("there"))).collect();
        assert_eq!(parameters, &alone, "{candidate:?}");
        let losses: Vec<u64> = model.history.epochs.iter().map(|e| e.train_loss.to_bits()).collect();
        assert_eq!(losses, history.iter().map(|h| h.1).collect::<Vec<_>>());
        let evaluation = model.evaluate(&validation).expect("evaluates");
        assert_eq!(evaluation.loss.to_bits(), history[2].2);
    }
}

#[test]
fn a_session_is_what_fit_does() {
    let (train, validation) = parts("iris");
    let net = nn::mlp(4, [12, 7], Activation::Tanh, 3).dropout(0.1);
    let options = Options { epochs: 4, batch: Some(17), ..options(1) };
    let device = Device::cpu();
    let fitted = Trainer::new(net.clone()).options(options.clone()).fit(&device, &train).expect("trains");
    let mut session = Session::new(&device, net.clone(), options, &train, Some(&validation)).expect("opens");
    let early = session.epoch().expect("trains");
    let copy = session.model().expect("is finite");
    while !session.finished() {
        session.epoch().expect("trains");
    }
    let model = session.model().expect("is finite");
    for p in net.parameters() {
        let of = |m: &ironwarp::train::Model| bits(&m.parameter(&p.name).expect("there"));
        assert_eq!(of(&fitted), of(&model), "{}", p.name);
        assert_ne!(of(&copy), of(&model), "a model stays as it was when it was taken");
    }
    assert_eq!(early.train_loss, fitted.history.epochs[0].train_loss);
    assert_eq!(model.history.epochs.len(), 4);
}

#[test]
fn failures_stay_with_their_network() {
    let (train, validation) = parts("wine");
    let mut population = Population::new(&Device::cpu(), &train, &validation).expect("opens");
    let good = candidates(3);
    let first = population.add(good[0].clone()).expect("fits");
    let mut wild = good[1].clone();
    wild.options =
        Options { learning_rate: 1e30, optimizer: Optimizer::sgd(), clip_norm: None, ..wild.options };
    let wild = population.add(wild).expect("fits");
    let last = population.add(good[2].clone()).expect("fits");
    let outcomes = population.advance(&[last, wild, first, wild], 2);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(matches!(outcomes[1], Err(Failure::Diverged { .. })), "{:?}", outcomes[1]);
    let text = |o: &Result<Progress, Failure>| o.as_ref().map_err(|e| e.to_string()).map(numbers);
    assert_eq!(text(&outcomes[1]), text(&outcomes[3]));
    // It stays failed, and says so in one line.
    let again = population.advance(&[wild], 1).remove(0).expect_err("failed before");
    assert_eq!(again.to_string().lines().count(), 1);
    assert_eq!(population.parameters(wild).expect_err("has none").to_string(), again.to_string());
    population.remove(wild);
    assert_eq!(population.advance(&[wild], 1), [Err(Failure::Unknown(wild))]);
    assert!(population.advance(&[first, last], 1).iter().all(|o| o.as_ref().is_ok_and(|p| p.epoch == 3)));

    let mut population = population.memory_limit(1 << 20);
    let huge = nn::mlp(13, [300, 300], Activation::Relu, 3);
    let failure = population.add(Candidate { net: huge, options: options(0) }).expect_err("far too large");
    assert!(matches!(failure, Failure::TooLarge { bytes, limit } if bytes > limit), "{failure}");
    let wrong = nn::mlp(12, [8], Activation::Relu, 3);
    let failure = population.add(Candidate { net: wrong, options: options(0) }).expect_err("13 features");
    assert!(failure.to_string().contains("13 features"), "{failure}");
    assert_eq!(population.len(), 2);
}

/// `rows` samples of `inputs` features, with labels below `outputs` or as many numbers.
fn random_data(rng: &mut Rng, rows: usize, inputs: usize, outputs: usize, labels: bool) -> Dataset {
    let mut text: Vec<String> = (0..inputs).map(|j| format!("x{j}")).collect();
    text.push("y".into());
    let mut csv = text.join(",") + "\n";
    for r in 0..rows {
        let mut row: Vec<String> = (0..inputs).map(|_| format!("{:.4}", rng.uniform() * 2.0 - 1.0)).collect();
        row.push(if labels {
            // Every class occurs, also in a small part.
            format!("c{}", if r < 3 * outputs { r % outputs } else { rng.below(outputs) })
        } else {
            format!("{:.4}", rng.normal())
        });
        csv += &(row.join(",") + "\n");
    }
    let folder = tempfile::tempdir().expect("makes a folder");
    let path = folder.path().join("random.csv");
    std::fs::write(&path, csv).expect("writes");
    data::load(&path, &data::LoadOptions::default()).expect("loads")
}

/// A network and options of every kind that the chip takes: odd widths, each activation, dropout, skips, optimisers,
/// losses, schedules, clipping, a last minibatch that is smaller.
fn random_candidate(rng: &mut Rng, number: usize, inputs: usize, outputs: usize, labels: bool) -> Candidate {
    let mut fan_in = inputs;
    let mut layers: Vec<Dense> = (0..rng.below(3) + usize::from(number > 0))
        .map(|l| {
            let skip = rng.below(3) == 0;
            let units = if skip { fan_in } else { 1 + rng.below(9) };
            fan_in = units;
            let activation = Activation::ALL[(number + 5 * l) % Activation::ALL.len()];
            let dropout = if rng.below(3) == 0 { 0.3 } else { 0.0 };
            Dense { skip, dropout, ..Dense::new(units, activation) }
        })
        .collect();
    layers.push(Dense::new(outputs, Activation::Identity));
    let init = [WeightInit::Torch, WeightInit::KaimingNormal, WeightInit::XavierUniform][rng.below(3)];
    let decay = if rng.below(2) == 0 { 0.05 } else { 0.0 };
    let optimizer = match number % 7 {
        0 => Optimizer::sgd(),
        1 => Optimizer::sgd().with_momentum(0.8),
        2 => Optimizer::sgd().with_momentum(0.8).with_nesterov(),
        3 => Optimizer::rmsprop(),
        4 => Optimizer::rmsprop().with_momentum(0.5),
        5 => Optimizer::adam(),
        _ => Optimizer::adamw(),
    }
    .with_weight_decay(decay);
    let loss = match (labels, number % 4) {
        (true, _) => None,
        (false, 0) => Some(Loss::BceWithLogits),
        (false, 1) => Some(Loss::Mae),
        (false, 2) => Some(Loss::Huber { delta: 0.7 }),
        (false, _) => Some(Loss::Mse),
    };
    let options = Options {
        epochs: 2,
        batch: Some(5 + rng.below(14)),
        learning_rate: 3e-3,
        schedule: [Schedule::Constant, Schedule::Cosine, Schedule::OneCycle][rng.below(3)],
        warmup_epochs: if rng.below(3) == 0 { 0.5 } else { 0.0 },
        optimizer,
        loss,
        smoothing: if rng.below(2) == 0 { 0.1 } else { 0.0 },
        clip_norm: (rng.below(2) == 0).then_some(0.5),
        seed: rng.u64(),
        ..Options::default()
    };
    Candidate { net: Mlp { inputs, layers, init }, options }
}

#[test]
fn a_chip_computes_what_the_graph_computes() {
    for (case, labels) in [(0, true), (1, false)] {
        let mut rng = Rng::new(11, 1, case);
        let (inputs, outputs) = (if labels { 6 } else { 5 }, if labels { 4 } else { 1 });
        let split = random_data(&mut rng, 44, inputs, outputs, labels).standardized();
        let split = split.stratified_split(0.7, 1).expect("splits");
        let candidates: Vec<Candidate> =
            (0..14).map(|n| random_candidate(&mut rng, n, inputs, outputs, labels)).collect();
        let open = |device: &Device| Population::new(device, &split.train, &split.test).expect("opens");
        for device in kernel_devices(case) {
            let mut cpu = open(&Device::cpu());
            let mut sim = open(&device);
            let add = |p: &mut Population| -> Vec<_> {
                candidates.iter().map(|c| p.add(c.clone()).expect("fits")).collect()
            };
            let (cpu_ids, sim_ids) = (add(&mut cpu), add(&mut sim));
            for (c, s) in cpu_ids.iter().zip(&sim_ids) {
                let of = |p: &Population, id| p.parameters(id).expect("there");
                assert_eq!(of(&cpu, *c), of(&sim, *s), "the initial parameters have the same bits");
            }
            let launches = device.stats().launches;
            let on_chip = sim.advance(&sim_ids, 2);
            assert_eq!(device.stats().launches - launches, 1, "one launch for all networks and epochs");
            let by_graph = cpu.advance(&cpu_ids, 2);
            for (n, candidate) in candidates.iter().enumerate() {
                let what = format!("{candidate:?}");
                let (a, b) = (on_chip[n].as_ref().expect(&what), by_graph[n].as_ref().expect(&what));
                // Each step adds a few roundings of sums of up to 30 terms; the optimisers' quotients of small numbers
                // enlarge them, up to lr for a gradient of rounding errors.
                let steps = f64::from(2 * 30u32.div_ceil(5));
                let tolerance = steps * 64.0 * f64::from(f32::EPSILON) * 30f64.sqrt();
                let close = |x: f64, y: f64| (x - y).abs() <= tolerance * (1.0 + y.abs());
                assert!(close(a.train_loss, b.train_loss), "{a:?}\n{b:?}\n{what}");
                assert!(close(a.val_loss, b.val_loss), "{a:?}\n{b:?}\n{what}");
                assert_eq!(a.epoch, b.epoch);
                assert_eq!(a.val_accuracy.is_some(), labels);
                if let (Some(x), Some(y)) = (a.val_accuracy, b.val_accuracy) {
                    assert!((x - y).abs() < 1.0 / 13.0, "{x} {y} {what}");
                }
                if let (Some(x), Some(y)) = (a.val_r2, b.val_r2) {
                    assert!(close(x, y), "{x} {y} {what}");
                }
                let parameters = sim.parameters(sim_ids[n]).expect("there");
                for (p, q) in parameters.iter().zip(cpu.parameters(cpu_ids[n]).expect("there")) {
                    assert_eq!((&p.name, &p.shape), (&q.name, &q.shape));
                    for (x, y) in p.values.iter().zip(&q.values) {
                        let (x, y) = (f64::from(*x), f64::from(*y));
                        assert!(close(x, y), "{}: {x} {y} {what}", p.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_launch_has_the_bits_of_several_and_of_each_network_alone() {
    let mut rng = Rng::new(5, 1, 0);
    let split =
        random_data(&mut rng, 40, 6, 3, true).standardized().stratified_split(0.7, 1).expect("splits");
    let candidates: Vec<Candidate> = (0..6).map(|n| random_candidate(&mut rng, n + 2, 6, 3, true)).collect();
    let device = kernel_device();
    let new = || Population::new(&device, &split.train, &split.test).expect("opens");
    let together = population(new(), &candidates, &[2]);
    assert_eq!(together, population(new(), &candidates, &[1, 1]));
    let on = |device: &Device| {
        population(Population::new(device, &split.train, &split.test).expect("opens"), &candidates, &[2])
    };
    let [plain, shuffled] = [0, 9].map(kernel_devices);
    assert_eq!(on(&plain[0]), on(&shuffled[1]), "both targets round alike, in any order");
    for (candidate, result) in candidates.iter().zip(&together) {
        assert_eq!(population(new(), std::slice::from_ref(candidate), &[2])[0], *result);
    }

    // One that diverges, one that is removed, one that joins late: the others do not notice.
    let mut mixed = new();
    let options = Options { learning_rate: 1e30, optimizer: Optimizer::sgd(), clip_norm: None, ..options(0) };
    let wild = Candidate { net: nn::mlp(6, [8, 8], Activation::Relu, 3), options };
    let wild = mixed.add(wild).expect("fits");
    let gone = mixed.add(candidates[0].clone()).expect("fits");
    let kept: Vec<_> = candidates[1..].iter().map(|c| mixed.add(c.clone()).expect("fits")).collect();
    let all: Vec<_> = [wild, gone].into_iter().chain(kept.clone()).collect();
    let first = mixed.advance(&all, 1);
    let failure = first[0].as_ref().expect_err("diverges");
    assert!(matches!(failure, Failure::Diverged { step: 1.., epoch: 1, .. }), "{failure}");
    assert!(first[1..].iter().all(Result::is_ok), "{first:?}");
    mixed.remove(gone);
    let late = mixed.add(candidates[0].clone()).expect("fits");
    let bytes = device.stats().bytes_in_use;
    let launches = device.stats().launches;
    let second = mixed.advance(&[&[wild, gone, late][..], &kept].concat(), 1);
    assert_eq!(device.stats().launches - launches, 1);
    assert_eq!(second[0].as_ref().map_err(|e| e.to_string()).map(numbers), Err(failure.to_string()));
    assert!(matches!(second[1], Err(Failure::Unknown(id)) if id == gone));
    mixed.advance(&[late], 1)[0].as_ref().expect("trains");
    for (id, (history, parameters)) in [late].iter().chain(&kept).zip(&together) {
        let got: Vec<_> = mixed.history(*id).expect("there").iter().map(numbers).collect();
        assert_eq!(got, *history);
        let got: Vec<_> = mixed.parameters(*id).expect("there").iter().map(|t| bits(&t.values)).collect();
        assert_eq!(got, *parameters);
    }
    // A model of it says the same of the validation part as the launch did.
    let model = mixed.model(late).expect("there");
    let loss = model.evaluate(&split.test).expect("evaluates").loss;
    let said = mixed.history(late).expect("there")[1].val_loss;
    assert!((loss - said).abs() < 1e-5 * (1.0 + said), "{loss} {said}");
    drop(model);
    [late].iter().chain(&kept).for_each(|&id| mixed.remove(id));
    assert!(device.stats().bytes_in_use < bytes, "what was removed holds no memory");
}
