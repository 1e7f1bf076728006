//! The report of a search whose trials come from elsewhere: fill a `SearchReport`, get the page, the figures and the
//! text. The trials here are made up, by a formula that stands for training.
//!
//! ```text
//! cargo run --release --example search_report -- OUT [TRIALS]
//! ```

use std::path::Path;

use ironwarp::nn::{self, Norm};
use ironwarp::ops::activation::Activation;
use ironwarp::report::search::{Baseline, BestModel, DataSummary, ScoreRow};
use ironwarp::report::{self, SearchReport};
use ironwarp::search::estimate::Estimate;
use ironwarp::search::importance::importance;
use ironwarp::search::metric::Metric;
use ironwarp::search::pareto;
use ironwarp::search::rng::Rng;
use ironwarp::search::space::{Domain, Parameter, Point, Space, Value};
use ironwarp::search::trial::{Report, State, Trial};
use ironwarp::search::{SearchError, Setting};
use ironwarp::train::{EpochRecord, History};

/// Epochs of a trial that is not pruned.
const STEPS: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_else(|| "report-example".into());
    let trials = arguments.next().map_or(Ok(518), |n| n.parse())?;
    let report = made_up(trials)?;
    let out = Path::new(&out);
    report::write_html(&report, &out.join("report.html"))?;
    report::write_svg_files(&report, &out.join("figures"))?;
    print!("{}", report::terminal(&report, 96, false));
    println!("\nwritten to {}", out.join("report.html").display());
    Ok(())
}

fn space() -> Result<Space, SearchError> {
    let widths = || Domain::levels([16, 32, 64, 128, 256]);
    let activations = || Domain::choice(["relu", "gelu", "silu", "tanh"]);
    Space::new(vec![
        Parameter::new("depth", Domain::int(1, 3)),
        Parameter::new("width.0", widths()),
        Parameter::new("activation.0", activations()),
        Parameter::new("width.1", widths()).when_at_least("depth", 2),
        Parameter::new("activation.1", activations()).when_at_least("depth", 2),
        Parameter::new("width.2", widths()).when_at_least("depth", 3),
        Parameter::new("dropout", Domain::float(0.0, 0.5)),
        Parameter::new("optimizer", Domain::choice(["sgd", "adam", "adamw"])),
        Parameter::new("momentum", Domain::float(0.5, 0.99)).when_one_of("optimizer", ["sgd"]),
        Parameter::new("lr", Domain::log_float(1e-4, 1e-1)),
        Parameter::new("weight_decay", Domain::log_float(1e-6, 1e-2)),
        Parameter::new("batch", Domain::levels([16, 32, 64, 128])),
    ])
}

/// Widths of a point's hidden layers.
fn hidden(space: &Space, point: &Point) -> Vec<usize> {
    let width = |i: i64| space.get(point, &format!("width.{i}")).and_then(Value::int).unwrap_or(16) as usize;
    (0..space.get(point, "depth").and_then(Value::int).unwrap_or(1)).map(width).collect()
}

/// The accuracy that training tends to, made up: best at a middling learning rate, better with width, worse with sgd.
fn limit(space: &Space, point: &Point) -> f64 {
    let number = |name: &str| space.get(point, name).and_then(Value::number).unwrap_or(0.0);
    let is = |name: &str, option| space.get(point, name) == Some(Value::Choice(option));
    let lr = number("lr").log10() + if is("optimizer", 0) { 1.6 } else { 2.7 };
    let wide = (hidden(space, point).iter().sum::<usize>() as f64 / 200.0).min(1.0);
    let worse = 0.035 * lr * lr + 0.02 * (1.0 - wide).powi(2) + 0.06 * (number("dropout") - 0.15).powi(2);
    0.988
        - worse
        - if is("optimizer", 0) { 0.012 } else { 0.0 }
        - if is("activation.0", 3) { 0.006 } else { 0.0 }
}

fn trial(setting: &Setting, number: u64, good: &[Trial]) -> Result<Trial, SearchError> {
    let mut rng = Rng::new(setting.seed, 100, number);
    let space = &setting.space;
    // Later trials are variations of good ones: one value in six is drawn again.
    let point = match rng.pick(good) {
        Some(parent) if rng.uniform() < 0.8 => {
            let mut parent = parent.point.clone();
            parent.0.iter_mut().for_each(|v| *v = v.filter(|_| rng.uniform() > 1.0 / 6.0));
            space.mend(&parent, &mut rng)
        }
        _ => space.draw(&mut rng)?,
    };
    let mut trial = Trial::new(number, point);
    let params = nn::mlp(64, hidden(space, &trial.point), Activation::Relu, 10).parameter_count() as f64;
    trial.attributes.insert("params".into(), params);
    let lr = space.get(&trial.point, "lr").and_then(Value::number).unwrap_or(0.0);
    if lr > 0.07 && rng.uniform() < 0.3 {
        trial.state = State::Failed;
        trial.reason = Some("the loss is NaN after epoch 1: lower the learning rate".into());
        return Ok(trial);
    }
    let (end, noise) = (limit(space, &trial.point), 0.003 * rng.normal());
    let speed = 0.25 + 0.5 * rng.uniform();
    for step in 1..=STEPS {
        let value =
            (end + noise - 0.6 * (-speed * step as f64).exp() + 0.002 * rng.normal()).clamp(0.1, 0.997);
        trial.reports.push(Report { step, value });
        let bar = [(3, 0.80), (9, 0.955)].into_iter().find(|(s, _)| *s == step);
        if let Some((_, bar)) = bar.filter(|(_, bar)| number > 20 && value < *bar) {
            trial.state = State::Pruned;
            trial.reason = Some(format!("below {bar} after step {step}"));
            break;
        }
    }
    if trial.state != State::Pruned {
        trial.state = State::Complete;
    }
    let last = trial.last().map_or(f64::NAN, |r| r.value);
    trial.values = vec![last, params];
    trial.seconds = 0.012 * trial.reports.len() as f64 * (1.0 + rng.uniform());
    Ok(trial)
}

/// Indices of the complete trials that no other beats in both goals.
fn front(setting: &Setting, trials: &[Trial]) -> Vec<usize> {
    let complete: Vec<usize> = (0..trials.len()).filter(|i| trials[*i].state == State::Complete).collect();
    let losses: Vec<Vec<f64>> = complete.iter().map(|i| setting.losses(&trials[*i])).collect();
    pareto::front(&losses).into_iter().map(|k| complete[k]).collect()
}

/// A report of so many made-up trials.
pub fn made_up(n: u64) -> Result<SearchReport, Box<dyn std::error::Error>> {
    let setting = Setting {
        space: space()?,
        goals: vec![Metric::Accuracy.goal(), Metric::Parameters.goal()],
        seed: 7,
        steps: STEPS,
        lag: 8,
    };
    let mut trials: Vec<Trial> = vec![];
    let mut good: Vec<Trial> = vec![];
    for number in 0..n {
        let made = trial(&setting, number, &good)?;
        if made.state == State::Complete {
            good.push(made.clone());
            good.sort_by(|a, b| b.values[0].total_cmp(&a.values[0]));
            good.truncate(20);
        }
        trials.push(made);
    }
    let mut net = nn::mlp(64, [256, 128, 128], Activation::Gelu, 10).dropout(0.15);
    net.layers[1].norm = Norm::Layer;
    net.layers[2].skip = true;
    let mut rng = Rng::new(setting.seed, 101, 0);
    let runs =
        |rng: &mut Rng, mean: f64| Estimate::of((0..5).map(|_| mean + 0.0025 * rng.normal()).collect());
    let epoch = |rng: &mut Rng, e: usize| EpochRecord {
        epoch: e,
        step: 23 * e as u64,
        learning_rate: 2e-3,
        train_loss: 2.1 * (-0.11 * e as f64).exp() + 0.004 + 0.002 * rng.uniform(),
        train_accuracy: Some(1.0 - 0.7 * (-0.2 * e as f64).exp()),
        val_loss: Some(2.1 * (-0.12 * e as f64).exp() + 0.05 + 0.0011 * e as f64 + 0.006 * rng.uniform()),
        val_accuracy: Some(0.984 - 0.65 * (-0.22 * e as f64).exp() + 0.002 * rng.normal()),
        val_r2: None,
        seconds: 0.01,
        samples_per_second: 1e5,
    };
    let history = History { epochs: (1..=60).map(|e| epoch(&mut rng, e)).collect() };
    let confusion: Vec<Vec<u32>> = (0..10)
        .map(|i| {
            (0..10)
                .map(|j| if i == j { 176 } else { u32::from(rng.below(14) == 0) * rng.below(5) as u32 })
                .collect()
        })
        .collect();
    let words = |items: &[(&str, &str)]| items.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    let best = BestModel {
        trial: good.first().map(|t| t.number),
        architecture:
            "64 > 256 gelu dropout=0.15 > 128 gelu norm=layer dropout=0.15 > 128 gelu dropout=0.15 skip > 10"
                .into(),
        recipe: words(&[
            ("optimizer", "adamw"),
            ("learning rate", "0.00199"),
            ("weight decay", "1.3e-4"),
            ("batch size", "32"),
            ("epochs", "60"),
            ("schedule", "cosine"),
        ]),
        net,
        validation: runs(&mut rng, 0.987),
        test: runs(&mut rng, 0.9815),
        confusion,
        history,
    };
    let baseline = Baseline {
        name: "default MLP (64-64, relu)".into(),
        validation: runs(&mut rng, 0.974),
        test: runs(&mut rng, 0.974),
    };
    let score = |name: &str, rho: f64, why: &str| ScoreRow {
        name: name.into(),
        rho,
        low: rho - 0.21,
        high: (rho + 0.15).min(1.0),
        n: 48,
        used: why.is_empty(),
        why: if why.is_empty() { "beats the parameter count".into() } else { why.into() },
    };
    let off = "no better than the parameter count";
    let scores = vec![
        score("nwot", 0.62, ""),
        score("zico", 0.55, ""),
        score("swap", 0.41, off),
        score("params", 0.38, "the measure of all others"),
        score("synflow", 0.33, off),
        score("grad_norm", 0.12, off),
        score("jacob_cov", -0.18, off),
    ];
    Ok(SearchReport {
        title: "digits".into(),
        data: DataSummary {
            name: "digits".into(),
            rows: 1797,
            features: 64,
            classes: (0..10).map(|c| c.to_string()).collect(),
            train: 1150,
            validation: 287,
            test: 360,
            folds: 0,
        },
        command: "ironwarp search digits --sampler tpe --pruner hyperband --objectives accuracy,params --trials 518 \
                  --seed 7 --study digits.db"
            .into(),
        device: "cpu".into(),
        workers: 2,
        seeds: (1..=5).collect(),
        front: front(&setting, &trials),
        importance: importance(&setting, &trials),
        setting,
        trials,
        sampler: "tpe".into(),
        pruner: "hyperband".into(),
        final_measure: (&Metric::Accuracy.goal()).into(),
        best: Some(best),
        baseline: Some(baseline),
        scores,
        seconds: 63.7,
        final_seconds: 4.2,
        study: Some("digits.db".into()),
        notes: vec!["These trials are made up: a formula stands for training.".into()],
    })
}
