//! Golden values, schedules of the bias corrections, and what is refused.

use super::*;

/// Parameters at the start of the golden runs.
const START: [f32; 5] = [0.5, -1.25, 2.0, -0.0625, 3.5];

/// The gradient at step `t` (from 1): numbers of both signs, of magnitudes from 0.01 to 100.
fn gradient(t: u64) -> [f32; 5] {
    std::array::from_fn(|k| {
        let numerator = ((7 * t as i64 + 3 * k as i64) % 11 - 5) as f64;
        (numerator / 4.0 * 10f64.powi(k as i32 - 2)) as f32
    })
}

/// Five steps on the host in `T`, from [`START`].
fn five_steps<T: Real>(optimizer: Optimizer, lr: f64, apply: Apply<T>, scale: T) -> Vec<f64> {
    let mut p = START.map(|x| T::of(f64::from(x)));
    let (mut a, mut b) = ([T::ZERO; 5], [T::ZERO; 5]);
    for t in 1..=5 {
        let hyper = optimizer.hyper(t, lr).map(|x| T::of(f64::from(x)));
        let g = gradient(t).map(|x| T::of(f64::from(x)));
        shared(&Update::new(&optimizer, &hyper, scale), apply, &mut p, &g, &mut a, &mut b);
    }
    p.iter().map(|x| x.f64()).collect()
}

/// Made by `tests/golden/optim.py` (PyTorch 2.15): the parameters after five steps.
fn golden() -> Vec<(Optimizer, f64, [f64; 5])> {
    vec![
        (Optimizer::sgd(), 0.1, [0.49924999475479126, -1.2675000429153442, 2.0, 1.6875, 11.0]),
        (
            Optimizer::sgd().with_weight_decay(0.1),
            0.05,
            [
                0.4872574508190155,
                -1.2276806831359863,
                1.9502493143081665,
                0.8097000122070312,
                7.169310092926025,
            ],
        ),
        (
            Optimizer::Sgd { momentum: 0.9, dampening: 0.25, nesterov: false, weight_decay: 0.01 },
            0.1,
            [
                0.49148380756378174,
                -1.2929034233093262,
                2.1132211685180664,
                2.283189058303833,
                1.2880514860153198,
            ],
        ),
        (
            Optimizer::sgd().with_momentum(0.8).with_nesterov(),
            0.1,
            [
                0.49688616394996643,
                -1.306780219078064,
                2.0495359897613525,
                3.9451000690460205,
                17.93440055847168,
            ],
        ),
        (
            Optimizer::rmsprop(),
            0.01,
            [
                0.41260087490081787,
                -1.3751107454299927,
                2.0399234294891357,
                0.06754904240369797,
                3.51509428024292,
            ],
        ),
        (
            Optimizer::RmsProp { alpha: 0.9, eps: 1e-6, momentum: 0.9, weight_decay: 0.05 },
            0.01,
            [
                0.21958032250404358,
                -1.2441189289093018,
                2.047900915145874,
                0.15884743630886078,
                3.470597267150879,
            ],
        ),
        (
            Optimizer::adam(),
            0.001,
            [
                0.4978339672088623,
                -1.2528786659240723,
                2.0008976459503174,
                -0.06101542338728905,
                3.4993300437927246,
            ],
        ),
        (
            Optimizer::Adam { beta1: 0.8, beta2: 0.99, eps: 1e-6, weight_decay: 0.1 },
            0.05,
            [
                0.25897157192230225,
                -1.0893995761871338,
                1.993810772895813,
                0.06333291530609131,
                3.4755406379699707,
            ],
        ),
        (
            Optimizer::adamw().with_weight_decay(0.3),
            0.02,
            [
                0.44250723719596863,
                -1.2696499824523926,
                1.958267331123352,
                -0.03126155585050583,
                3.383366823196411,
            ],
        ),
    ]
}

#[test]
fn five_steps_give_pytorchs_parameters() {
    for (optimizer, lr, want) in golden() {
        let single = five_steps(optimizer, lr, apply_f32, 1.0);
        let double = five_steps(optimizer, lr, apply_f64, 1.0);
        for k in 0..5 {
            // Both sides round in f32: about ten roundings a step, of terms no larger than the largest parameter or update.
            let bound = 50.0 * f64::from(f32::EPSILON) * (1.0 + want[k].abs());
            for got in [single[k], double[k]] {
                assert!(
                    (got - want[k]).abs() <= bound,
                    "{optimizer:?} parameter {k}: {got}, PyTorch {}",
                    want[k]
                );
            }
        }
        let start = START.map(f64::from);
        assert!((0..5).any(|k| (want[k] - start[k]).abs() > 1e-3), "{optimizer:?} did not move");
    }
}

#[test]
fn the_scale_multiplies_the_gradient() {
    // SGD is linear in the gradient: from p, half the gradient goes half as far.
    let (whole, half) = (
        five_steps(Optimizer::sgd(), 0.1, apply_f64, 1.0),
        five_steps(Optimizer::sgd(), 0.1, apply_f64, 0.5),
    );
    for k in 0..5 {
        let start = f64::from(START[k]);
        assert!((2.0 * (half[k] - start) - (whole[k] - start)).abs() < 1e-12);
    }
}

#[test]
fn threads_do_not_change_the_numbers() {
    let n = (1 << 19) + 13;
    let data =
        |salt: usize| (0..n).map(|i| ((i * 7919 + salt) % 1013) as f32 / 506.0 - 1.0).collect::<Vec<f32>>();
    let (g, v) = (data(5), data(9).iter().map(|x| x * x).collect::<Vec<_>>());
    let optimizer = Optimizer::adamw();
    let update = Update::new(&optimizer, &optimizer.hyper(3, 1e-2), 0.5);
    let (mut p0, mut m0, mut v0) = (data(1), data(2), v.clone());
    let (mut p1, mut m1, mut v1) = (data(1), data(2), v);
    apply_f32(&update, &mut p0, &g, &mut m0, &mut v0);
    shared(&update, apply_f32, &mut p1, &g, &mut m1, &mut v1);
    assert!(p0 == p1 && m0 == m1 && v0 == v1);
    assert_ne!(p0, data(1));
}

#[test]
fn bias_corrections_keep_their_digits() {
    use gpu_kernels::optim::{DECAY, GRAD_WEIGHT, INV_SQRT_BIAS2, LR, STEP_SIZE};
    let first = Optimizer::adam().hyper(1, 1e-3);
    assert_eq!(first[LR], 1e-3);
    // 1e-3 / (1 - 0.9) and 1 / sqrt(1 - 0.999), which f32 betas would get wrong in the fifth digit.
    assert!((first[STEP_SIZE] - 1e-2).abs() < 1e-9);
    assert!((first[INV_SQRT_BIAS2] - 31.622_776).abs() < 1e-5);
    assert_eq!(first[DECAY], 1.0);
    let late = Optimizer::adam().hyper(1_000_000, 1e-3);
    assert_eq!((late[STEP_SIZE], late[INV_SQRT_BIAS2]), (1e-3, 1.0));
    assert_eq!(Optimizer::adamw().hyper(9, 0.5)[DECAY], 0.995);
    let dampened = Optimizer::Sgd { momentum: 0.9, dampening: 0.25, nesterov: false, weight_decay: 0.0 };
    assert_eq!((dampened.hyper(1, 0.1)[GRAD_WEIGHT], dampened.hyper(2, 0.1)[GRAD_WEIGHT]), (1.0, 0.75));
}

#[test]
fn names_and_settings_survive_text() {
    for name in Optimizer::NAMES {
        let optimizer: Optimizer = name.parse().unwrap();
        assert_eq!(optimizer.to_string(), name);
        let json = serde_json::to_string(&optimizer).unwrap();
        assert!(json.contains(&format!("\"name\":\"{name}\"")), "{json}");
        assert_eq!(serde_json::from_str::<Optimizer>(&json).unwrap(), optimizer);
    }
    let error = "adamax".parse::<Optimizer>().unwrap_err().to_string();
    assert!(error.contains("'adamax'") && error.contains("adamw"), "{error}");
}

#[test]
fn constants_out_of_range_are_refused() {
    for bad in [
        Optimizer::sgd().with_nesterov(),
        Optimizer::sgd().with_momentum(-0.1),
        Optimizer::sgd().with_momentum(f64::NAN),
        Optimizer::Sgd { momentum: 0.9, dampening: 0.1, nesterov: true, weight_decay: 0.0 },
        Optimizer::rmsprop().with_weight_decay(-1.0),
        Optimizer::RmsProp { alpha: 1.0, eps: 1e-8, momentum: 0.0, weight_decay: 0.0 },
        Optimizer::adam().with_betas(1.0, 0.999),
        Optimizer::adam().with_betas(0.9, -0.1),
        Optimizer::AdamW { beta1: 0.9, beta2: 0.99, eps: f64::INFINITY, weight_decay: 0.0 },
    ] {
        assert!(matches!(bad.check(), Err(OpError::Attribute { .. })), "{bad:?}");
    }
}

#[test]
fn a_step_in_a_graph_names_its_states_and_checks_its_tensors() {
    let mut graph = Graph::new();
    let w = graph.state("layers.0.weight", TensorType::f32([3, 2])).unwrap();
    let b = graph.state("layers.0.bias", TensorType::f32([3])).unwrap();
    let gw = graph.input("gw", TensorType::f32([3, 2])).unwrap();
    let gb = graph.input("gb", TensorType::f32([3])).unwrap();
    let hyper = graph.input("hyper", TensorType::f32([HYPER_LEN])).unwrap();
    let adam = Optimizer::adam();
    assert!(matches!(graph.optimizer_step(&adam, &[gw], &[gw], hyper, None), Err(OpError::Graph(_))));
    assert!(matches!(
        graph.optimizer(&adam, &[w, b], &[gw], &[], hyper, None),
        Err(OpError::Attribute { .. })
    ));
    let sgd = Optimizer::sgd();
    assert!(matches!(
        graph.optimizer(&sgd, &[w, b], &[gw, gw], &[], hyper, None),
        Err(OpError::Shape { .. })
    ));
    assert!(matches!(graph.optimizer(&sgd, &[], &[], &[], hyper, None), Err(OpError::Shape { .. })));
    assert!(matches!(graph.optimizer(&sgd, &[w], &[gw], &[], gb, None), Err(OpError::Shape { .. })));
    let (scale, _) = graph.global_norm(&[gw, gb], 1.0).unwrap();
    let moments = graph.optimizer_step(&adam, &[w, b], &[gw, gb], hyper, Some(scale)).unwrap();
    let names: Vec<&str> = graph.states().map(|(name, _)| name).skip(2).collect();
    let want = ["exp_avg", "exp_avg_sq"]
        .map(|m| ["weight", "bias"].map(|p| format!("optim.layers.0.{p}.{m}")))
        .concat();
    assert_eq!(names, want);
    assert_eq!(graph.shape(moments[1][0]), [3, 2]);
}
