//! Every other grouped kernel on random tables, against the operations for one network evaluated in f64.

use std::collections::HashMap;

use ironwarp::device::{Buffer, DType, Device};
use ironwarp::graph::{Graph, HostTensor, Value};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::grouped::{
    Bias, Biases, Clip, Dropout, LossKind, Losses, Minibatch, Minibatches, NetworkLoss, Norms, Pass, Passes,
    Rule, Schedule, Step, Update, Updates, index_slot, slot, zeros,
};
use ironwarp::ops::optim::Optimizer;
use ironwarp::ops::{Slot, TensorType, Tolerance};
use proptest::prelude::*;

use crate::common::{Rng, close, kernel_devices};

/// Rows of the data.
const DATA: usize = 90;

fn random(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.range(-2.0, 2.0)).collect()
}

/// Layers of up to a chunk and a bit.
fn width(rng: &mut Rng) -> usize {
    [1, 2, 3, 4, 5, 17, 31, 32, 33, 64, 130, 300][rng.below(12) as usize]
}

fn agrees(got: &[f32], want: &[f64], tolerance: Tolerance) -> Result<(), String> {
    match got.iter().zip(want).position(|(&g, &w)| !close(g, w, tolerance)) {
        Some(i) => Err(format!("element {i}: {}, the oracle says {}", got[i], want[i])),
        None if got.len() == want.len() => Ok(()),
        None => Err("lengths differ".into()),
    }
}

/// Evaluates what `build` appends for the named `f32` inputs, in f64.
fn oracle(
    inputs: &[(&str, &[usize], &[f32])],
    more: &[(&str, TensorType, HostTensor)],
    build: impl FnOnce(&mut Graph, &[Value]) -> Vec<Value>,
) -> Vec<Vec<f64>> {
    let mut graph = Graph::new();
    let mut feed = HashMap::new();
    let mut values = vec![];
    for (name, shape, data) in inputs {
        values.push(graph.input(name, TensorType::f32(shape.to_vec())).expect("a valid shape"));
        feed.insert((*name).to_string(), HostTensor::from_f32(data));
    }
    for (name, ty, data) in more {
        values.push(graph.input(name, ty.clone()).expect("a valid shape"));
        feed.insert((*name).to_string(), data.clone());
    }
    let out = build(&mut graph, &values);
    let eval = graph.eval(&feed).expect("evaluates");
    out.iter().map(|&v| eval.get(v).real().to_vec()).collect()
}

/// A schedule of one step.
fn one_step(device: &Device, steps: &[Step]) -> ironwarp::ops::grouped::Live {
    let mut schedule = Schedule::new(1, steps.len(), DATA);
    for (at, step) in steps.iter().enumerate() {
        schedule.set(0, at, step).expect("inside the data");
    }
    schedule.upload(device).expect("fits")
}

fn rows(rng: &mut Rng, capacity: usize) -> usize {
    if rng.below(3) == 0 { rng.below(capacity as u64 + 1) as usize } else { capacity }
}

/// Several layers forward or backward in one table.
fn passes(device: &Device, seed: u64, backward: bool) -> Result<(), String> {
    let mut rng = Rng(seed);
    let count = 1 + rng.below(4) as usize;
    let mut steps = vec![];
    let mut layers = vec![];
    for _ in 0..count {
        let (capacity, width) = (1 + rng.below(40) as usize, width(&mut rng));
        let shift = !backward && rng.below(2) == 0;
        let rows = rows(&mut rng, capacity);
        let offset = if shift { rng.below((DATA - rows) as u64 + 1) as usize } else { 0 };
        steps.push(Step { rows, offset, step: rng.u64(), hyper: [0.0; 8] });
        let p = [0.1, 0.5, 0.9][rng.below(3) as usize];
        let dropout = Dropout { p, seed: rng.u64(), stream: rng.u64() as u32 };
        let dropout = (rng.below(3) > 0).then_some(dropout);
        let other = rng.below(3) > 0;
        let activation = Activation::ALL[rng.below(13) as usize];
        let from = random(&mut rng, capacity * width);
        let beside = random(&mut rng, if shift { DATA } else { capacity } * width);
        layers.push((capacity, width, shift, dropout, other, activation, from, beside));
    }
    let on = |v: &[f32]| device.buffer(v).expect("fits");
    let buffers: Vec<[Buffer<f32>; 3]> =
        layers.iter().map(|l| [on(&l.6), on(&l.7), on(&vec![5.0; l.6.len()])]).collect();
    let list: Vec<Pass> = layers
        .iter()
        .zip(&buffers)
        .enumerate()
        .map(|(at, (&(capacity, width, shift, dropout, other, activation, ..), [from, beside, to]))| Pass {
            from: slot(from),
            other: other.then(|| slot(beside)),
            to: slot(to),
            width,
            capacity,
            slot: at,
            activation,
            shift,
            dropout,
        })
        .collect();
    let table = if backward { Passes::backward(device, &list) } else { Passes::forward(device, &list) };
    let live = one_step(device, &steps);
    table.expect("a valid table").launch(device, live.at(0)).map_err(|e| e.to_string())?;
    for (at, (l, [_, _, to])) in layers.iter().zip(&buffers).enumerate() {
        let (_, width, shift, dropout, other, activation, from, beside) = l;
        let (step, n) = (steps[at], steps[at].rows * width);
        let got = to.to_vec().expect("reads");
        if got[n..].iter().any(|&y| y != 5.0) {
            return Err("wrote past the live rows".into());
        }
        if n == 0 {
            continue;
        }
        let beside = &beside[if *shift { step.offset * width } else { 0 }..][..n];
        let words = vec![step.step as u32, (step.step >> 32) as u32, 0, 0];
        let counter = [("step", TensorType::u32([4]), HostTensor::U32(words))];
        let mut want = oracle(&[("x", &[n], &from[..n])], &counter, |g, v| {
            let Some(d) = dropout else { return vec![v[0]] };
            vec![g.dropout(v[0], d.p, v[1], d.seed, d.stream).expect("valid")]
        })
        .remove(0);
        if *other {
            for (y, &x) in want.iter_mut().zip(beside) {
                let x = f64::from(x);
                *y = if backward { *y * activation.derivative::<f64>(x) } else { *y + x };
            }
        }
        // A product, a sum, and a derivative of a few roundings relative to its formula's terms.
        agrees(&got[..n], &want, Tolerance::ulps(16.0).absolute(4.0)).map_err(|e| format!("{l:?}: {e}"))?;
    }
    Ok(())
}

fn biases(device: &Device, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let layers: Vec<(usize, usize)> =
        (0..1 + rng.below(4)).map(|_| (1 + rng.below(80) as usize, width(&mut rng))).collect();
    let steps: Vec<Step> = layers
        .iter()
        .map(|l| Step { rows: rows(&mut rng, l.0), offset: 0, step: 0, hyper: [0.0; 8] })
        .collect();
    let data: Vec<Vec<f32>> = layers.iter().map(|l| random(&mut rng, l.0 * l.1)).collect();
    let from: Vec<Buffer<f32>> = data.iter().map(|d| device.buffer(d).expect("fits")).collect();
    let to: Vec<Buffer<f32>> = layers.iter().map(|l| device.buffer(&vec![5.0; l.1]).expect("fits")).collect();
    let list: Vec<Bias> = layers
        .iter()
        .enumerate()
        .map(|(i, &(capacity, width))| Bias {
            from: slot(&from[i]),
            to: slot(&to[i]),
            width,
            capacity,
            slot: i,
        })
        .collect();
    let live = one_step(device, &steps);
    let table = Biases::new(device, &list).expect("a valid table");
    table.launch(device, live.at(0)).map_err(|e| e.to_string())?;
    for (i, &(_, width)) in layers.iter().enumerate() {
        let n = steps[i].rows;
        let sum = |j: usize| (0..n).map(|r| f64::from(data[i][r * width + j])).sum::<f64>();
        let want: Vec<f64> = (0..width).map(|j| if n == 0 { 5.0 } else { sum(j) }).collect();
        let tolerance = Tolerance::sum(2.0, n.max(1), 2.0 * (n as f64).sqrt());
        agrees(&to[i].to_vec().expect("reads"), &want, tolerance)
            .map_err(|e| format!("{:?}, {n} rows: {e}", layers[i]))?;
    }
    Ok(())
}

const LOSSES: [LossKind; 6] = [
    LossKind::CrossEntropy(0.0),
    LossKind::CrossEntropy(0.2),
    LossKind::Bce,
    LossKind::Mse,
    LossKind::Mae,
    LossKind::Huber(0.7),
];

fn losses(device: &Device, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let count = 1 + rng.below(4) as usize;
    let mut cases = vec![];
    let mut steps = vec![];
    for _ in 0..count {
        let kind = LOSSES[rng.below(6) as usize];
        let (capacity, n) = (1 + rng.below(50) as usize, 1 + rng.below(40) as usize);
        let rows = rows(&mut rng, capacity);
        let shift = rng.below(2) == 0;
        let offset = if shift { rng.below((DATA - rows) as u64 + 1) as usize } else { 0 };
        steps.push(Step { rows, offset, step: 0, hyper: [0.0; 8] });
        let outputs = random(&mut rng, capacity * n);
        let labels: Vec<u32> = (0..DATA).map(|_| rng.below(n as u64) as u32).collect();
        let targets: Vec<f32> = (0..DATA * n).map(|_| rng.range(0.0, 1.0)).collect();
        cases.push((kind, capacity, n, shift, outputs, labels, targets));
    }
    let sums = device.buffer(&vec![3.0f32; count]).expect("fits");
    let right = device.buffer(&vec![7u32; count]).expect("fits");
    let on = |v: &[f32]| device.buffer(v).expect("fits");
    let outputs: Vec<_> = cases.iter().map(|c| on(&c.4)).collect();
    let labels: Vec<_> = cases.iter().map(|c| device.buffer(&c.5).expect("fits")).collect();
    let targets: Vec<_> = cases.iter().map(|c| on(&c.6)).collect();
    let gradients: Vec<_> = cases.iter().map(|c| on(&vec![5.0; c.4.len()])).collect();
    let residuals: Vec<_> = cases.iter().map(|c| on(&vec![1.0; c.2])).collect();
    let at = |base: u64, i: usize, dtype| Slot { address: base + 4 * i as u64, len: 1, dtype };
    let list: Vec<NetworkLoss> = cases
        .iter()
        .enumerate()
        .map(|(i, &(kind, capacity, n, shift, ..))| {
            let classes = matches!(kind, LossKind::CrossEntropy(_));
            NetworkLoss {
                outputs: slot(&outputs[i]),
                targets: if classes { index_slot(&labels[i]) } else { slot(&targets[i]) },
                gradient: (!seed.is_multiple_of(3)).then(|| slot(&gradients[i])),
                sum: at(sums.address(), i, DType::F32),
                right: classes.then(|| at(right.address(), i, DType::U32)),
                residuals: (!classes).then(|| slot(&residuals[i])),
                n,
                capacity,
                slot: i,
                kind,
                shift,
            }
        })
        .collect();
    let live = one_step(device, &steps);
    let table = Losses::new(device, &list).expect("a valid table");
    table.launch(device, live.at(0)).map_err(|e| e.to_string())?;
    let (sums, right) = (sums.to_vec().expect("reads"), right.to_vec().expect("reads"));
    for (i, (kind, _, n, shift, outputs, labels, targets)) in cases.iter().enumerate() {
        let (rows, first) = (steps[i].rows, if *shift { steps[i].offset } else { 0 });
        let gradient = gradients[i].to_vec().expect("reads");
        if rows == 0 {
            assert!(sums[i] == 3.0 && right[i] == 7 && gradient.iter().all(|&g| g == 5.0), "it rested");
            continue;
        }
        let inside = rows * n;
        let x = &outputs[..inside];
        let labels = &labels[first..first + rows];
        let targets = &targets[first * n..first * n + inside];
        let want = oracle(
            &[("x", &[rows, *n], x), ("t", &[rows, *n], targets)],
            &[("l", TensorType::u32([rows]), HostTensor::U32(labels.to_vec()))],
            |g, v| {
                let loss = match *kind {
                    LossKind::CrossEntropy(smoothing) => g.cross_entropy(v[0], v[2], smoothing),
                    LossKind::Bce => g.bce_with_logits(v[0], v[1]),
                    LossKind::Mse => g.mse(v[0], v[1]),
                    LossKind::Mae => g.mae(v[0], v[1]),
                    LossKind::Huber(delta) => g.huber(v[0], v[1], delta),
                }
                .expect("valid");
                let gradient = g.gradients(loss, &[v[0]]).expect("differentiable");
                vec![loss, gradient[0]]
            },
        );
        let sum = 3.0 + want[0][0] * rows as f64;
        let wide = Tolerance::sum(4.0, inside, 8.0 * (rows as f64).sqrt());
        agrees(&[sums[i]], &[sum], wide).map_err(|e| format!("{kind:?} of {rows} x {n}: loss {e}"))?;
        let close_enough = Tolerance::sum(4.0, *n, 4.0 / rows as f64);
        let expected: Vec<f64> = if !seed.is_multiple_of(3) { want[1].clone() } else { vec![5.0; inside] };
        agrees(&gradient[..inside], &expected, close_enough)
            .map_err(|e| format!("{kind:?}: gradient {e}"))?;
        assert!(gradient[inside..].iter().all(|&g| g == 5.0), "wrote past the live rows");
        if let LossKind::CrossEntropy(_) = kind {
            let best = |row: &[f32]| (0..*n).fold(0, |b, j| if row[j] > row[b] { j } else { b }) as u32;
            let hits = x.chunks(*n).zip(labels).filter(|(row, label)| best(row) == **label).count();
            assert_eq!(right[i], 7 + hits as u32);
        } else {
            let square = |j: usize| {
                let each = (0..rows).map(|r| f64::from(x[r * n + j]) - f64::from(targets[r * n + j]));
                1.0 + each.map(|d| d * d).sum::<f64>()
            };
            let want: Vec<f64> = (0..*n).map(square).collect();
            let got = residuals[i].to_vec().expect("reads");
            agrees(&got, &want, Tolerance::ulps(16.0)).map_err(|e| format!("residuals: {e}"))?;
        }
    }
    Ok(())
}

const OPTIMIZERS: [Optimizer; 8] = [
    Optimizer::sgd(),
    Optimizer::Sgd { momentum: 0.9, dampening: 0.1, nesterov: false, weight_decay: 0.01 },
    Optimizer::Sgd { momentum: 0.8, dampening: 0.0, nesterov: true, weight_decay: 0.0 },
    Optimizer::rmsprop(),
    Optimizer::RmsProp { alpha: 0.9, eps: 1e-3, momentum: 0.9, weight_decay: 0.1 },
    Optimizer::adam(),
    Optimizer::Adam { beta1: 0.5, beta2: 0.9, eps: 1e-4, weight_decay: 0.1 },
    Optimizer::adamw(),
];

/// Clipping and one step of some networks of two parameters.
fn optimizers(device: &Device, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let count = 1 + rng.below(4) as usize;
    let mut cases = vec![];
    let mut steps = vec![];
    for i in 0..count {
        let optimizer = OPTIMIZERS[rng.below(8) as usize];
        let rests = i > 0 && rng.below(4) == 0;
        let hyper = optimizer.hyper(1 + rng.below(9), 0.05);
        steps.push(Step { rows: if rests { 0 } else { 4 }, offset: 0, step: 0, hyper });
        let bound = (rng.below(2) == 0).then_some(0.5f32);
        let tensors: Vec<[Vec<f32>; 4]> = (0..2)
            .map(|_| {
                let n = [1, 3, 16, 200, 4099][rng.below(5) as usize];
                let [p, g, a, b] = std::array::from_fn(|_| random(&mut rng, n));
                // Mean squares are positive, and large enough that no quotient explodes.
                let square = |v: Vec<f32>| v.iter().map(|x| 0.5 + x * x).collect::<Vec<f32>>();
                match optimizer {
                    Optimizer::RmsProp { .. } => [p, g, square(a), b],
                    _ => [p, g, a, square(b)],
                }
            })
            .collect();
        cases.push((optimizer, bound, tensors));
    }
    let on = |v: &[f32]| device.buffer(v).expect("fits");
    let buffers: Vec<Vec<[Buffer<f32>; 4]>> =
        cases.iter().map(|c| c.2.iter().map(|t| t.each_ref().map(|v| on(v))).collect()).collect();
    let scales: Vec<Buffer<f32>> = (0..count).map(|_| zeros(device, 1).expect("fits")).collect();
    let (mut rules, mut clips, mut updates) = (vec![], vec![], vec![]);
    for (i, (optimizer, bound, _)) in cases.iter().enumerate() {
        rules.push(Rule { optimizer: *optimizer, scale: bound.map(|_| slot(&scales[i])), slot: i });
        if let Some(bound) = *bound {
            let gradients = buffers[i].iter().map(|t| slot(&t[1])).collect();
            clips.push(Clip { gradients, bound, scale: slot(&scales[i]), slot: i });
        }
        for [p, g, a, b] in &buffers[i] {
            let moments = [a, b].into_iter().take(optimizer.moments()).map(slot).collect();
            updates.push(Update { parameter: slot(p), gradient: slot(g), moments, rule: i });
        }
    }
    let live = one_step(device, &steps);
    let mut norms = Norms::new(device, &clips).expect("a valid table");
    norms.launch(device, live.at(0)).map_err(|e| e.to_string())?;
    let table = Updates::new(device, &rules, &updates).expect("a valid table");
    table.launch(device, live.at(0)).map_err(|e| e.to_string())?;
    for (i, (optimizer, bound, tensors)) in cases.iter().enumerate() {
        let moments = optimizer.moments();
        let shapes: Vec<[usize; 1]> = tensors.iter().map(|t| [t[0].len()]).collect();
        let names = [["p0", "g0", "a0", "b0"], ["p1", "g1", "a1", "b1"]];
        let mut inputs: Vec<(&str, &[usize], &[f32])> = vec![];
        for (t, tensor) in tensors.iter().enumerate() {
            for k in 0..4 {
                inputs.push((names[t][k], &shapes[t], &tensor[k]));
            }
        }
        inputs.push(("hyper", &[8], &steps[i].hyper));
        let want = oracle(&inputs, &[], |g, v| {
            let (params, grads) = (vec![v[0], v[4]], vec![v[1], v[5]]);
            let lists: Vec<Vec<Value>> = (0..moments).map(|k| vec![v[2 + k], v[6 + k]]).collect();
            let scale = bound.map(|b| g.global_norm(&grads, b).expect("valid").0);
            let out = g.optimizer(optimizer, &params, &grads, &lists, v[8], scale).expect("valid");
            let mut all = out.params;
            all.extend(out.moments.concat());
            all
        });
        for (t, buffers) in buffers[i].iter().enumerate() {
            for k in (0..4).filter(|&k| k != 1 && k < 2 + moments) {
                let got = buffers[k].to_vec().expect("reads");
                if steps[i].rows == 0 {
                    assert!(got == tensors[t][k], "a network that rests changes nothing");
                    continue;
                }
                let place = if k == 0 { t } else { 2 * (k - 1) + t };
                // As the optimisers of one network: under ten roundings of terms below this; a factor of clipping has 20.
                agrees(&got, &want[place], Tolerance::ulps(25.0).absolute(20.0))
                    .map_err(|e| format!("{optimizer} {bound:?} tensor {t}.{k}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn gathers(device: &Device, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let (features, targets) = ([1, 3, 4, 13, 64, 200][rng.below(6) as usize], 1 + rng.below(3) as usize);
    let x = random(&mut rng, DATA * features);
    let y: Vec<u32> = (0..DATA * targets).map(|_| rng.u64() as u32).collect();
    let (xs, ys) = (device.buffer(&x).expect("fits"), device.buffer(&y).expect("fits"));
    let count = 1 + rng.below(3) as usize;
    let mut steps = vec![];
    let mut orders = vec![];
    let mut places = vec![];
    for _ in 0..count {
        let capacity = 1 + rng.below(40) as usize;
        let rows = rows(&mut rng, capacity);
        let offset = rng.below((DATA - rows) as u64 + 1) as usize;
        steps.push(Step { rows, offset, step: 0, hyper: [0.0; 8] });
        orders.push(ironwarp::data::permutation(DATA, rng.u64(), 0));
        places.push((
            capacity,
            device.buffer(&vec![9.0f32; capacity * features]).expect("fits"),
            device.buffer(&vec![9u32; capacity * targets]).expect("fits"),
        ));
    }
    let order: Vec<_> = orders.iter().map(|o| device.buffer(o).expect("fits")).collect();
    let list: Vec<Minibatch> = (0..count)
        .map(|i| Minibatch {
            x: slot(&xs),
            y: index_slot(&ys),
            order: index_slot(&order[i]),
            to_x: slot(&places[i].1),
            to_y: index_slot(&places[i].2),
            rows: DATA,
            features,
            targets,
            capacity: places[i].0,
            slot: i,
        })
        .collect();
    let live = one_step(device, &steps);
    let table = Minibatches::new(device, &list).expect("a valid table");
    table.launch(device, live.at(0)).map_err(|e| e.to_string())?;
    for i in 0..count {
        let (x_got, y_got) = (places[i].1.to_vec().expect("reads"), places[i].2.to_vec().expect("reads"));
        for r in 0..places[i].0 {
            let live = r < steps[i].rows;
            let from = if live { orders[i][steps[i].offset + r] as usize } else { 0 };
            for j in 0..features {
                let want = if live { x[from * features + j] } else { 9.0 };
                if x_got[r * features + j] != want {
                    return Err(format!("row {r} feature {j}"));
                }
            }
            for j in 0..targets {
                let want = if live { y[from * targets + j] } else { 9 };
                if y_got[r * targets + j] != want {
                    return Err(format!("row {r} target {j}"));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn random_tables_agree_with_the_operations_for_one_network(seed in any::<u64>()) {
        for device in kernel_devices(seed | 1) {
            prop_assert_eq!(passes(&device, seed, false), Ok(()));
            prop_assert_eq!(passes(&device, seed, true), Ok(()));
            prop_assert_eq!(biases(&device, seed), Ok(()));
            prop_assert_eq!(losses(&device, seed), Ok(()));
            prop_assert_eq!(optimizers(&device, seed), Ok(()));
            prop_assert_eq!(gathers(&device, seed), Ok(()));
        }
    }
}
