//! The examples, run: each does what its text says.

#[path = "../examples/host_application.rs"]
mod host_application;
#[path = "../examples/quick_start.rs"]
mod quick_start;
#[path = "../examples/worked_example.rs"]
mod worked_example;

use ironwarp::Device;

#[test]
fn a_host_application_trains_and_predicts() {
    let (accuracy, class) = host_application::train_and_predict().expect("the example runs");
    assert!(accuracy > 0.95, "{accuracy}");
    assert!(class.parse::<u32>().is_ok_and(|digit| digit < 10), "{class}");
}

#[test]
fn the_quick_start_learns_its_sample() {
    for device in [Device::cpu(), Device::sim()] {
        let (first, last, outputs) = quick_start::quick_start(&device).expect("the example runs");
        assert!(last < first, "{first} -> {last}");
        assert!(outputs[0] < 0.5 && outputs[1] > 0.5, "{outputs:?}");
    }
}

/// The worked example against the same steps written out in f64.
#[test]
fn the_worked_example_has_the_right_numbers() {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let affine = |w: &[Vec<f64>], b: &[f64], x: &[f64]| -> Vec<f64> {
        w.iter().zip(b).map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
    };
    let w1 = vec![vec![0.1, 0.2, 0.3], vec![0.4, 0.5, 0.6]];
    let w = vec![vec![0.1, 0.2], vec![0.3, 0.4]];
    let x = [1.0, 2.0, 3.0];
    let z1 = affine(&w1, &[0.0, 0.0], &x);
    assert!((z1[0] - 1.4).abs() < 1e-12 && (z1[1] - 3.2).abs() < 1e-12);
    let a1: Vec<f64> = z1.iter().map(|&z| sigmoid(z)).collect();
    let z2 = affine(&w, &[0.1, 0.1], &a1);
    let a2: Vec<f64> = z2.iter().map(|&z| sigmoid(z)).collect();
    let z3 = affine(&w, &[0.1, 0.1], &a2);
    let target = [0.0, 1.0];
    let loss = z3.iter().zip(&target).map(|(y, t)| (y - t) * (y - t)).sum::<f64>() / 2.0;
    // Mean over two outputs of (y - t)^2: its derivative is y - t.
    let delta3: Vec<f64> = z3.iter().zip(&target).map(|(y, t)| y - t).collect();
    let back = |w: &[Vec<f64>], delta: &[f64], a: &[f64]| -> Vec<f64> {
        let sent = (0..2).map(|j| w.iter().zip(delta).map(|(row, d)| row[j] * d).sum::<f64>());
        sent.zip(a).map(|(s, a)| s * a * (1.0 - a)).collect()
    };
    let delta2 = back(&w, &delta3, &a2);
    let delta1 = back(&w, &delta2, &a1);
    let outer = |delta: &[f64], x: &[f64]| -> Vec<f64> {
        delta.iter().flat_map(|d| x.iter().map(move |x| d * x)).collect()
    };
    let step = |old: &[f64], d: &[f64]| -> Vec<f64> { old.iter().zip(d).map(|(w, d)| w - 0.1 * d).collect() };
    let (dw1, dw2, dw3) = (outer(&delta1, &x), outer(&delta2, &a1), outer(&delta3, &a2));
    let flat = |w: &[Vec<f64>]| w.concat();
    let want: Vec<(&str, Vec<f64>)> = vec![
        ("z1", z1),
        ("a1", a1),
        ("z2", z2),
        ("a2", a2),
        ("z3", z3),
        ("loss", vec![loss]),
        ("delta3", delta3.clone()),
        ("delta2", delta2.clone()),
        ("delta1", delta1.clone()),
        ("dW1", dw1.clone()),
        ("new W1", step(&flat(&w1), &dw1)),
        ("db1", delta1.clone()),
        ("new b1", step(&[0.0, 0.0], &delta1)),
        ("dW2", dw2.clone()),
        ("new W2", step(&flat(&w), &dw2)),
        ("db2", delta2.clone()),
        ("new b2", step(&[0.1, 0.1], &delta2)),
        ("dW3", dw3.clone()),
        ("new W3", step(&flat(&w), &dw3)),
        ("db3", delta3.clone()),
        ("new b3", step(&[0.1, 0.1], &delta3)),
    ];
    for device in [Device::cpu(), Device::sim()] {
        let got = worked_example::worked_example(&device).expect("the example runs");
        assert_eq!(got.len(), want.len());
        for ((name, got), (expected, want)) in got.iter().zip(&want) {
            assert_eq!(name, expected);
            assert!(
                got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() < 1e-6),
                "{name}: {got:?} {want:?}"
            );
        }
    }
}
