//! Populations: the same bits as training each network alone, failures that stay where they are, one launch for all.

use ironwarp::Device;
use ironwarp::data::{self, Dataset};
use ironwarp::nn;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::optim::Optimizer;
use ironwarp::search::population::{Candidate, Failure, Population, Progress};
use ironwarp::train::{Options, Schedule, Session, Trainer};

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
        clip_norm: (seed % 2 == 0).then_some(1.0),
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

/// Everything of a progress but the time.
fn numbers(p: &Progress) -> (usize, u64, u64, Option<u64>, Option<u64>) {
    let b = f64::to_bits;
    (p.epoch, b(p.train_loss), b(p.val_loss), p.val_accuracy.map(b), p.val_r2.map(b))
}

/// Trains `candidates` in a population, in steps of these epochs; the histories and parameters.
fn population(
    mut population: Population,
    candidates: &[Candidate],
    epochs: &[usize],
) -> Vec<(Vec<(usize, u64, u64, Option<u64>, Option<u64>)>, Vec<Vec<u32>>)> {
    let ids: Vec<_> = candidates.iter().map(|c| population.add(c.clone()).expect("fits")).collect();
    for &epochs in epochs {
        for outcome in population.advance(&ids, epochs) {
            outcome.expect("trains");
        }
    }
    ids.iter()
        .map(|&id| {
            let history = population.history(id).expect("there").iter().map(numbers).collect();
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
