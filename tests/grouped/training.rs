//! Populations trained by grouped launches: the bits of networks trained alone, the numbers of the cpu, as many launches
//! for many networks as for one, and nothing left of those that were dropped.

use ironwarp::data::{self, Dataset};
use ironwarp::device::Device;
use ironwarp::nn;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::optim::Optimizer;
use ironwarp::search::population::{Candidate, Failure, Grouped, Id, Progress, Tensor};
use ironwarp::train::{Loss, Options, Schedule, Session, SharedData};

use crate::bits;
use crate::common::kernel_device;

fn parts(name: &str, rows: usize) -> (Dataset, Dataset) {
    let split =
        data::builtin(name).expect("built in").standardized().stratified_split(0.8, 7).expect("splits");
    let keep: Vec<usize> = (0..rows.min(split.train.rows())).collect();
    (split.train.subset(&keep).expect("these rows are there"), split.test)
}

fn options(seed: u64) -> Options {
    let optimizers = [
        Optimizer::adam(),
        Optimizer::adamw(),
        Optimizer::rmsprop(),
        Optimizer::sgd().with_momentum(0.9),
        Optimizer::sgd(),
        Optimizer::rmsprop().with_momentum(0.5).with_weight_decay(0.01),
    ];
    Options {
        epochs: 2,
        batch: Some([16, 16, 23, 40][seed as usize % 4]),
        learning_rate: 5e-3,
        schedule: [Schedule::Constant, Schedule::Cosine, Schedule::OneCycle][seed as usize % 3],
        optimizer: optimizers[seed as usize % 6],
        clip_norm: seed.is_multiple_of(2).then_some(1.0),
        // Two seeds, so that some networks share their minibatches.
        seed: seed % 2,
        ..Options::default()
    }
}

/// Some networks of depths, widths and activations of their own.
fn candidates(count: u64, inputs: usize, outputs: usize) -> Vec<Candidate> {
    let all = Activation::ALL;
    (0..count)
        .map(|seed| {
            // Some skip: over the first layer, over others, over the last.
            let widths: Vec<usize> = match seed % 7 {
                3 => vec![inputs, inputs, 9],
                4 => vec![20, 20],
                6 => vec![7, outputs],
                _ => (0..1 + seed % 3).map(|k| 5 + (7 * seed + 11 * k) as usize % 40).collect(),
            };
            let mut net = nn::mlp(inputs, widths, all[(3 * seed) as usize % all.len()], outputs);
            net = net.dropout(if seed % 3 == 1 { 0.2 } else { 0.0 });
            net = if (3..5).contains(&(seed % 7)) { net.skips() } else { net };
            if seed % 7 == 6 {
                net.layers[2].skip = true;
            }
            if seed % 4 == 2 {
                net = net.output_activation(Activation::Tanh);
            }
            Candidate { net, options: options(seed) }
        })
        .collect()
}

fn population(device: &Device, parts: &(Dataset, Dataset)) -> Grouped {
    let data = SharedData::new(device, &parts.0, Some(&parts.1)).expect("fits");
    Grouped::on(data).expect("runs kernels")
}

fn add(population: &mut Grouped, candidates: &[Candidate]) -> Vec<Id> {
    candidates.iter().map(|c| population.add(c.clone()).expect("fits")).collect()
}

/// Everything of a network but the time: its history and parameters.
type Result = (Vec<[u64; 3]>, Vec<Vec<u32>>);

fn result(population: &Grouped, id: Id) -> Result {
    let numbers = |p: &Progress| {
        let quality = p.val_accuracy.or(p.val_r2).map_or(0, f64::to_bits);
        [p.train_loss.to_bits(), p.val_loss.to_bits(), quality]
    };
    let history = population.history(id).expect("there").iter().map(numbers).collect();
    let parameters: Vec<Tensor> = population.parameters(id).expect("there");
    (history, parameters.iter().map(|t| bits(&t.values)).collect())
}

fn parameter_bits(session: &Session) -> Vec<Vec<u32>> {
    let model = session.model().expect("is finite");
    model.net().parameters().iter().map(|p| bits(&model.parameter(&p.name).expect("there"))).collect()
}

/// Asserts that a network's parameters are those of a session that rounds its sums in other orders: k terms, a step; errors
/// of steps add up, and a step moves a parameter by the learning rate times at most 1 / (1 - momentum). An error of
/// eps sqrt(k) in a gradient can become one of the same size relative to such a move.
fn assert_near(population: &Grouped, id: Id, session: &Session) {
    let (k, steps) = (64f64, 2.0 * session.steps_per_epoch() as f64);
    let allowed = 40.0 * f64::from(f32::EPSILON) * k.sqrt() * steps * (1.0 + 10.0 * 5e-3);
    let model = session.model().expect("is finite");
    for tensor in population.parameters(id).expect("there") {
        let want = model.parameter(&tensor.name).expect("there");
        for (got, want) in tensor.values.iter().zip(&want) {
            let error = f64::from((got - want).abs());
            assert!(error <= allowed * (1.0 + f64::from(want.abs())), "{}: {got} {want}", tensor.name);
        }
    }
}

/// Trains by the graph on `device`.
fn by_graph(device: &Device, candidate: &Candidate, parts: &(Dataset, Dataset)) -> Session {
    let Candidate { net, options } = candidate.clone();
    let mut session = Session::new(device, net, options, &parts.0, Some(&parts.1)).expect("opens");
    while !session.finished() {
        session.epoch().expect("trains");
    }
    session
}

#[test]
fn a_population_has_the_bits_of_the_graph_on_the_same_device_and_the_numbers_of_the_cpu() {
    // No minibatch of a single row: its products are other kernels'.
    let parts = parts("wine", 71);
    let candidates = candidates(7, 13, 3);
    let device = kernel_device();
    let mut population = population(&device, &parts);
    let ids = add(&mut population, &candidates);
    let outcomes = population.advance(&ids, 2);
    for ((candidate, &id), outcome) in candidates.iter().zip(&ids).zip(outcomes) {
        let progress = outcome.expect("trains");
        let session = by_graph(&device, candidate, &parts);
        assert_eq!(result(&population, id).1, parameter_bits(&session), "{candidate:?}");
        // Sums of losses are in another order, and nothing else differs: a few roundings of about a hundred terms.
        let record = session.history().epochs.last().expect("trained");
        let bound = |x: f64| 50.0 * f64::from(f32::EPSILON) * (1.0 + x.abs());
        assert!((progress.train_loss - record.train_loss).abs() <= bound(record.train_loss), "{candidate:?}");
        let val_loss = record.val_loss.expect("a validation part");
        assert!((progress.val_loss - val_loss).abs() <= bound(val_loss), "{candidate:?}");
        assert_eq!((progress.val_accuracy, progress.epoch), (record.val_accuracy, 2));
        assert_near(&population, id, &by_graph(&Device::cpu(), candidate, &parts));
    }
}

#[test]
fn a_network_has_the_same_bits_in_any_company_and_any_pieces() {
    let parts = parts("wine", 60);
    let candidates = candidates(5, 13, 3);
    let device = kernel_device();
    let mut whole = population(&device, &parts);
    let ids = add(&mut whole, &candidates);
    whole.advance(&ids, 2);
    let want: Vec<Result> = ids.iter().map(|&id| result(&whole, id)).collect();
    // Alone.
    let mut single = population(&device, &parts);
    let id = single.add(candidates[1].clone()).expect("fits");
    single.advance(&[id], 2);
    assert_eq!(result(&single, id), want[1]);
    // In two groups that meet, in another order, some of them dropped on the way.
    let mut pieces = population(&device, &parts);
    let mut order = candidates.clone();
    order.reverse();
    let ids = add(&mut pieces, &order);
    pieces.advance(&[ids[0], ids[2], ids[3]], 1);
    pieces.advance(&[ids[1], ids[4], ids[1]], 1);
    pieces.remove(ids[2]);
    let outcomes = pieces.advance(&[ids[4], ids[2], ids[0], ids[1], ids[3]], 5);
    assert_eq!(outcomes[1], Err(Failure::Unknown(ids[2])));
    for (i, &id) in ids.iter().enumerate().filter(|(i, _)| *i != 2) {
        assert_eq!(result(&pieces, id), want[4 - i], "network {}", 4 - i);
    }
}

#[test]
fn a_step_is_as_many_launches_for_many_networks_as_for_one_and_dropped_networks_leave_nothing() {
    let parts = parts("wine", 48);
    // A device of its own: a GPU's counts are those of all tests of the process.
    let device = Device::sim();
    let net = |seed: u64| {
        let net = nn::mlp(13, [8 + seed as usize, 6], Activation::Relu, 3);
        Candidate { net, options: Options { batch: Some(16), epochs: 9, seed: seed % 3, ..options(0) } }
    };
    let mut launches = vec![];
    for count in [1, 6] {
        let mut population = population(&device, &parts);
        let ids = add(&mut population, &(0..count).map(net).collect::<Vec<_>>());
        let before = device.stats().launches;
        assert!(population.advance(&ids, 1).iter().all(|o| o.is_ok()));
        // 3 training steps of 48 rows; then one step of an evaluation: 3 levels of products and the losses.
        assert_eq!(
            device.stats().launches - before,
            3 * population.launches() as u64 + 4,
            "{count} networks"
        );
        launches.push(population.launches());
    }
    assert_eq!(launches[0], launches[1]);

    let mut population = population(&device, &parts);
    let empty = device.stats().bytes_in_use;
    let first = add(&mut population, &[net(0), net(1)]);
    population.advance(&first, 1);
    let (two, tables) = (device.stats().bytes_in_use, population.table_bytes());
    let more = add(&mut population, &[net(2), net(3), net(4)]);
    let all: Vec<Id> = first.iter().chain(&more).copied().collect();
    population.advance(&all, 1);
    assert!(population.table_bytes() > tables && device.stats().bytes_in_use > two);
    more.into_iter().for_each(|id| population.remove(id));
    population.advance(&first, 1);
    assert_eq!((population.table_bytes(), device.stats().bytes_in_use), (tables, two));
    first.into_iter().for_each(|id| population.remove(id));
    assert_eq!((device.stats().bytes_in_use, population.len()), (empty, 0));
}

#[test]
fn numbers_are_predicted_with_every_loss() {
    let parts = parts("diabetes", 50);
    let device = kernel_device();
    let mut population = population(&device, &parts);
    let losses = [Loss::Mse, Loss::Mae, Loss::Huber { delta: 0.5 }];
    let candidates: Vec<Candidate> = losses
        .iter()
        .zip([0, 2, 4])
        .map(|(&loss, seed)| {
            let net = nn::mlp(parts.0.features().cols, [9], Activation::Gelu, 1);
            Candidate { net, options: Options { loss: Some(loss), epochs: 1, ..options(seed) } }
        })
        .collect();
    let ids = add(&mut population, &candidates);
    let outcomes = population.advance(&ids, 1);
    for ((candidate, &id), outcome) in candidates.iter().zip(&ids).zip(outcomes) {
        let (progress, session) = (outcome.expect("trains"), by_graph(&device, candidate, &parts));
        // Layers of one unit are a matrix by a vector, which the graph multiplies by other kernels.
        assert_near(&population, id, &session);
        let record = &session.history().epochs[0];
        let close = |a: f64, b: f64| (a - b).abs() <= 50.0 * f64::from(f32::EPSILON) * (1.0 + b.abs());
        assert!(close(progress.train_loss, record.train_loss), "{candidate:?}");
        assert!(close(progress.val_loss, record.val_loss.expect("measured")), "{candidate:?}");
        assert!(close(progress.val_r2.expect("numbers"), record.val_r2.expect("numbers")), "{candidate:?}");
        assert_eq!(progress.val_accuracy, None);
    }
}

#[test]
fn evaluations_go_through_all_rows() {
    // More rows than a step of an evaluation takes; the first layer skips.
    let parts = parts("digits", 24);
    let device = kernel_device();
    let mut population = population(&device, &parts);
    let net = nn::mlp(64, [64], Activation::Relu, 10).dropout(0.3).skips();
    assert!(net.layers[0].skip && parts.1.rows() > 256 && !parts.1.rows().is_multiple_of(256));
    let candidate = Candidate { net, options: Options { epochs: 1, ..options(1) } };
    let id = population.add(candidate.clone()).expect("fits");
    let progress = population.advance(&[id], 1).remove(0).expect("trains");
    let session = by_graph(&device, &candidate, &parts);
    assert_eq!(result(&population, id).1, parameter_bits(&session));
    let record = &session.history().epochs[0];
    let val_loss = record.val_loss.expect("measured");
    assert!((progress.val_loss - val_loss).abs() <= 50.0 * f64::from(f32::EPSILON) * (1.0 + val_loss));
    assert_eq!(progress.val_accuracy, record.val_accuracy);
}

#[test]
fn failures_stay_with_their_network() {
    let parts = parts("iris", 40);
    let device = kernel_device();
    let mut population = population(&device, &parts);
    let mut candidates = candidates(3, 4, 3);
    candidates.iter_mut().for_each(|c| c.options.batch = Some(20));
    let optimizer = Optimizer::sgd();
    candidates[1].options =
        Options { learning_rate: 1e30, optimizer, clip_norm: None, ..candidates[1].options.clone() };
    let ids = add(&mut population, &candidates);
    let outcomes = population.advance(&ids, 2);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(Failure::Diverged { .. })), "{:?}", outcomes[1]);
    // It stays failed, and says the same again.
    let text = outcomes[1].as_ref().expect_err("diverged").to_string();
    let again = population.advance(&ids[1..2], 1).remove(0);
    assert_eq!(again.expect_err("failed before").to_string(), text);
    assert_eq!(population.parameters(ids[1]).expect_err("has none").to_string(), text);
    let model = population.model(ids[0]).expect("is finite");
    assert_eq!(model.history.epochs.len(), 2);
    let evaluation = model.evaluate(&parts.1).expect("evaluates");
    assert_eq!(Some(evaluation.accuracy), outcomes[0].as_ref().expect("trained").val_accuracy);

    let mut normed = candidates[0].clone();
    normed.net.layers[0].norm = nn::Norm::Layer;
    assert!(!Grouped::supports(&normed));
    assert!(population.add(normed).expect_err("not here").to_string().contains("by the graph"));
    let wrong = Candidate { net: nn::mlp(5, [4], Activation::Relu, 3), options: options(0) };
    assert!(population.add(wrong).expect_err("4 features").to_string().contains("4 features"));
    let cpu = SharedData::new(&Device::cpu(), &parts.0, None).expect("fits");
    assert!(Grouped::on(cpu).is_err());
}
