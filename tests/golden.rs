//! Golden values: what PyTorch computed (`tests/golden/pytorch.json`, made by `scripts/golden-pytorch.py` in double
//! precision) against our operations, built through the graph: the `f64` oracle closely, the `cpu` device in `f32`.

mod common;

use std::collections::HashMap;

use ironwarp::device::Device;
use ironwarp::graph::{Executor, Graph, HostTensor, Plan, States, Value};
use ironwarp::nn::norm::{Affine, Running, batch_norm, layer_norm, running_norm};
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::optim::Optimizer;
use serde_json::Value as Json;

/// Relative errors allowed: double precision up to the constants of approximations, and single precision over sums.
const F64: f64 = 1e-12;
const F32: f64 = 4e-6;

fn golden(key: &str) -> Vec<Json> {
    let all: Json = serde_json::from_str(include_str!("golden/pytorch.json")).expect("the file is JSON");
    let cases = all[key].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty());
    cases
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn singles(json: &Json) -> Vec<f32> {
    numbers(json).into_iter().map(|x| x as f32).collect()
}

fn shape(json: &Json) -> Vec<usize> {
    numbers(json).into_iter().map(|x| x as usize).collect()
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a text")
}

/// Inputs by name.
#[derive(Clone)]
enum Given {
    Real(Vec<f32>),
    Labels(Vec<u32>),
}

/// Checks every output of `graph` against `want`, in both precisions. Errors count relative to the largest magnitude
/// of the output, at least `floor`.
fn check(case: &str, mut graph: Graph, given: &[(&str, Given)], want: &[(Value, Vec<f64>)], floor: f64) {
    for (k, (value, _)) in want.iter().enumerate() {
        graph.output(&format!("y{k}"), *value);
    }
    let feed: HashMap<String, HostTensor> = given
        .iter()
        .map(|(name, data)| {
            let tensor = match data {
                Given::Real(v) => HostTensor::from_f32(v),
                Given::Labels(v) => HostTensor::U32(v.clone()),
            };
            (name.to_string(), tensor)
        })
        .collect();
    let oracle = graph.eval(&feed).expect("every input is fed");

    let device = Device::cpu();
    let plan = Plan::new(&graph).expect("the graph plans");
    let states = States::new(&device);
    let mut exec = Executor::new(&plan, &states).expect("memory suffices");
    for (name, data) in given {
        match data {
            Given::Real(v) => exec.set(name, v).expect("an input"),
            Given::Labels(v) => exec.set(name, v).expect("an input"),
        }
    }
    exec.run().expect("the graph runs");

    for (k, (value, want)) in want.iter().enumerate() {
        let single: Vec<f32> = exec.get(&format!("y{k}")).expect("an output");
        let double = oracle.get(*value).real();
        let scale = want.iter().fold(floor, |m, x| m.max(x.abs()));
        assert_eq!((double.len(), single.len()), (want.len(), want.len()), "{case}, output {k}");
        for (i, &w) in want.iter().enumerate() {
            let (d, s) = (double[i], f64::from(single[i]));
            assert!(
                (d - w).abs() <= F64 * scale,
                "{case}, output {k}, element {i}: f64 {d:e}, PyTorch {w:e}"
            );
            assert!(
                (s - w).abs() <= F32 * scale,
                "{case}, output {k}, element {i}: f32 {s:e}, PyTorch {w:e}"
            );
        }
    }
}

#[test]
fn losses_and_their_gradients() {
    for case in golden("losses") {
        let (name, shape, parameter) =
            (text(&case["name"]), shape(&case["shape"]), case["parameter"].as_f64());
        let parameter = parameter.expect("a number") as f32;
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32(shape.clone())).unwrap();
        let labels = case["labels"].is_array();
        let t = if labels {
            g.input("t", TensorType::u32([shape[0]])).unwrap()
        } else {
            g.input("t", TensorType::f32(shape.clone())).unwrap()
        };
        let loss = match name {
            "cross_entropy" => g.cross_entropy(x, t, parameter),
            "bce_with_logits" => g.bce_with_logits(x, t),
            "mse" => g.mse(x, t),
            "mae" => g.mae(x, t),
            "huber" => g.huber(x, t, parameter),
            other => panic!("unknown loss {other}"),
        }
        .unwrap();
        let grad = g.gradients(loss, &[x]).unwrap()[0];
        let target = if labels {
            Given::Labels(numbers(&case["labels"]).iter().map(|&l| l as u32).collect())
        } else {
            Given::Real(singles(&case["target"]))
        };
        let want = [(loss, vec![case["loss"].as_f64().unwrap()]), (grad, numbers(&case["grad"]))];
        check(
            &format!("{name}({parameter}) {shape:?}"),
            g,
            &[("x", Given::Real(singles(&case["x"]))), ("t", target)],
            &want,
            1e-3,
        );
    }
}

#[test]
fn activations_and_their_derivatives() {
    let mut seen = vec![];
    for case in golden("activations") {
        let name = text(&case["name"]);
        let activation: Activation = name.parse().expect("a known activation");
        seen.push(activation.name());
        // One element a graph, so that an error at a small value is not hidden by a large one.
        let (x, y, dy) = (singles(&case["x"]), numbers(&case["y"]), numbers(&case["derivative"]));
        for i in 0..x.len() {
            let mut g = Graph::new();
            let input = g.input("x", TensorType::f32([1])).unwrap();
            let out = g.activation(input, activation).unwrap();
            let derivative = g.gradients(out, &[input]).unwrap()[0];
            let want = [(out, vec![y[i]]), (derivative, vec![dy[i]])];
            check(&format!("{name} at {}", x[i]), g, &[("x", Given::Real(vec![x[i]]))], &want, 1.0);
        }
    }
    for activation in Activation::ALL {
        assert!(seen.contains(&activation.name()), "no golden values for {}", activation.name());
    }
}

#[test]
fn softmax_and_log_softmax() {
    for case in golden("softmax") {
        let (name, shape) = (text(&case["name"]), shape(&case["shape"]));
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32(shape.clone())).unwrap();
        let y = if name == "softmax" { g.softmax(x) } else { g.log_softmax(x) }.unwrap();
        let c = g.constant(&singles(&case["cotangent"]), &shape).unwrap();
        let dx = g.vjps(&[(y, c)], &[x]).unwrap()[0];
        let want = [(y, numbers(&case["y"])), (dx, numbers(&case["grad"]))];
        check(&format!("{name} {shape:?}"), g, &[("x", Given::Real(singles(&case["x"])))], &want, 1e-3);
    }
}

fn optimizer(name: &str, options: &Json) -> Optimizer {
    let mut optimizer: Optimizer = name.parse().expect("a known optimiser");
    let number = |key: &str| options[key].as_f64();
    if let Some(x) = number("momentum") {
        optimizer = optimizer.with_momentum(x);
    }
    if let Some(x) = number("weight_decay") {
        optimizer = optimizer.with_weight_decay(x);
    }
    if options["nesterov"].as_bool() == Some(true) {
        optimizer = optimizer.with_nesterov();
    }
    if options["betas"].is_array() {
        let betas = numbers(&options["betas"]);
        optimizer = optimizer.with_betas(betas[0], betas[1]);
    }
    match &mut optimizer {
        Optimizer::Sgd { dampening, .. } => *dampening = number("dampening").unwrap_or(*dampening),
        Optimizer::RmsProp { alpha, .. } => *alpha = number("alpha").unwrap_or(*alpha),
        Optimizer::Adam { eps, .. } | Optimizer::AdamW { eps, .. } => *eps = number("eps").unwrap_or(*eps),
    }
    optimizer
}

#[test]
fn optimizer_trajectories() {
    for case in golden("optimizers") {
        let (name, lr) = (text(&case["name"]), case["lr"].as_f64().unwrap());
        let optimizer = optimizer(name, &case["options"]);
        let lists = |json: &Json| json.as_array().expect("a list").clone();
        let shapes: Vec<Vec<usize>> = lists(&case["shapes"]).iter().map(shape).collect();

        let mut g = Graph::new();
        let tensor = |g: &mut Graph, kind: &str, i: usize| {
            g.input(&format!("{kind}{i}"), TensorType::f32(shapes[i].clone()))
        };
        let n = shapes.len();
        let params: Vec<Value> = (0..n).map(|i| tensor(&mut g, "p", i).unwrap()).collect();
        let grads: Vec<Value> = (0..n).map(|i| tensor(&mut g, "g", i).unwrap()).collect();
        let moments: Vec<Vec<Value>> = (0..optimizer.moments())
            .map(|k| (0..n).map(|i| tensor(&mut g, &format!("m{k}_"), i).unwrap()).collect())
            .collect();
        let hyper = g.input("hyper", TensorType::f32([8])).unwrap();
        let new = g.optimizer(&optimizer, &params, &grads, &moments, hyper, None).unwrap();

        // The oracle carries parameters and moments from step to step in f64.
        let mut feed: HashMap<String, HostTensor> = HashMap::new();
        for (i, p) in lists(&case["params"]).iter().enumerate() {
            feed.insert(format!("p{i}"), HostTensor::Real(numbers(p)));
            for k in 0..optimizer.moments() {
                feed.insert(format!("m{k}_{i}"), HostTensor::Real(vec![0.0; numbers(p).len()]));
            }
        }
        for (step, (grads, after)) in lists(&case["grads"]).iter().zip(lists(&case["after"])).enumerate() {
            for (i, grad) in lists(grads).iter().enumerate() {
                feed.insert(format!("g{i}"), HostTensor::Real(numbers(grad)));
            }
            feed.insert("hyper".into(), HostTensor::from_f32(&optimizer.hyper(step as u64 + 1, lr)));
            let result = g.eval(&feed).unwrap();
            for (i, want) in lists(&after).iter().enumerate() {
                let want = numbers(want);
                let got = result.get(new.params[i]).real();
                // Step sizes travel as f32, so a step of about lr is exact to 2^-24 of that; AdamW's factor of the
                // parameter, 1 - lr * weight_decay, is rounded to f32 once a step.
                let decayed =
                    if matches!(optimizer, Optimizer::AdamW { .. }) { (step + 1) as f64 } else { 0.0 };
                for (e, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert!(
                        (got - want).abs() <= 1e-6 * lr + want.abs() * (1e-8 + decayed * 2f64.powi(-25)),
                        "{optimizer:?}, step {step}, tensor {i}, element {e}: {got}, PyTorch {want}"
                    );
                }
                feed.insert(format!("p{i}"), HostTensor::Real(got.to_vec()));
                for k in 0..optimizer.moments() {
                    let moment = result.get(new.moments[k][i]).real().to_vec();
                    feed.insert(format!("m{k}_{i}"), HostTensor::Real(moment));
                }
            }
        }
    }
}

#[test]
fn clipping_by_the_global_norm() {
    for case in golden("clipping") {
        let max_norm = case["max_norm"].as_f64().unwrap() as f32;
        let tensors = case["grads"].as_array().unwrap();
        let mut g = Graph::new();
        let mut given = vec![];
        let mut grads = vec![];
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("g{i}")).collect();
        for (i, tensor) in tensors.iter().enumerate() {
            grads.push(g.input(&names[i], TensorType::f32(shape(&case["shapes"][i]))).unwrap());
            given.push((names[i].as_str(), Given::Real(singles(tensor))));
        }
        let (scale, norm) = g.global_norm(&grads, max_norm).unwrap();
        let clipped: Vec<Value> = grads.iter().map(|&x| g.scale_by(x, scale).unwrap()).collect();
        let mut want = vec![(norm, vec![case["norm"].as_f64().unwrap()])];
        want.extend(clipped.iter().zip(case["clipped"].as_array().unwrap()).map(|(&v, w)| (v, numbers(w))));
        check(&format!("clipping to {max_norm}"), g, &given, &want, 1e-3);
    }
}

#[test]
fn layer_and_batch_normalisation() {
    for case in golden("norms") {
        let (name, shape) = (text(&case["name"]), shape(&case["shape"]));
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32(shape.clone())).unwrap();
        let mut feature = |name: &str| g.input(name, TensorType::f32([shape[1]])).unwrap();
        let affine = Affine { gain: feature("weight"), shift: feature("bias") };
        let running = Running { mean: feature("running_mean"), variance: feature("running_var") };
        let mut want = vec![];
        let y = if name == "layer" {
            layer_norm(&mut g, x, affine).unwrap()
        } else {
            let inference = running_norm(&mut g, x, affine, running).unwrap();
            want.push((inference, numbers(&case["inference"])));
            let (y, updated) = batch_norm(&mut g, x, affine, running).unwrap();
            want.push((updated.mean, numbers(&case["new_mean"])));
            want.push((updated.variance, numbers(&case["new_var"])));
            y
        };
        let c = g.constant(&singles(&case["cotangent"]), &shape).unwrap();
        let grads = g.vjps(&[(y, c)], &[x, affine.gain, affine.shift]).unwrap();
        want.push((y, numbers(&case["y"])));
        for (grad, key) in grads.into_iter().zip(["grad_x", "grad_weight", "grad_bias"]) {
            want.push((grad, numbers(&case[key])));
        }
        let given = ["x", "weight", "bias", "running_mean", "running_var"]
            .map(|key| (key, Given::Real(singles(&case[key]))));
        check(&format!("{name} norm {shape:?}"), g, &given, &want, 1.0);
    }
}
