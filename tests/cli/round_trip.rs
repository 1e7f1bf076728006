//! Determinism, and models on their way from `train` through `eval` and `predict`.

use ironwarp::data;

use crate::{SHORT, cli, read, run, temp, trained};

#[test]
fn the_seed_decides_every_bit() {
    let dir = temp();
    let model = |options: &str, out: &str| {
        cli(dir.path(), &format!("train wine {SHORT} --dropout 0.1 {options} --out {out}")).ok();
        read(&dir.path().join(out).join("model.safetensors"))
    };
    let first = model("--seed 3", "a");
    assert!(first == model("--seed 3", "b"), "the same seed gives the same bytes");
    assert!(first != model("--seed 4", "c"), "another seed gives other bytes");
}

#[test]
fn an_architecture_means_the_options_that_it_names() {
    let dir = temp();
    let flags = "--hidden 8,8 --activation gelu --dropout 0.1 --norm layer --skip --optimizer adamw --lr 0.01 --weight-decay 0.1 \
                 --batch 32 --smoothing 0 --schedule cosine";
    cli(dir.path(), &format!("train iris --device cpu --epochs 3 --quiet {flags} --out a")).ok();
    let text = "4 > 8 gelu drop=0.1 norm=layer > 8 gelu drop=0.1 norm=layer skip > 3 | adamw lr=0.01 wd=0.1 batch=32 \
                schedule=cosine";
    let mut words =
        "train iris --device cpu --epochs 3 --quiet --out b --architecture".split(' ').collect::<Vec<_>>();
    words.push(text);
    run(dir.path(), words).ok();
    let model = |out: &str| read(&dir.path().join(out).join("model.safetensors"));
    assert!(model("a") == model("b"), "the same network and recipe give the same bytes");
}

#[test]
fn predictions_have_the_accuracy_that_eval_says() {
    let dir = temp();
    trained(dir.path(), "wine");
    cli(dir.path(), "predict run wine --device cpu --out p.csv").ok();
    let wine = data::builtin("wine").expect("built in");
    let labels = wine.labels().expect("classes");
    let mut reader = csv::Reader::from_path(dir.path().join("p.csv")).expect("a CSV file");
    let header: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    assert_eq!(header[..2], ["row", "prediction"]);
    let classes: Vec<&str> =
        header[2..].iter().map(|h| h.strip_prefix("p_").expect("a probability")).collect();
    assert_eq!(classes, wine.classes());
    let mut right = 0;
    let mut rows = 0;
    for (row, record) in reader.records().enumerate() {
        let record = record.expect("a row");
        assert_eq!(record[0], (row + 1).to_string());
        let shares: Vec<f64> = record.iter().skip(2).map(|p| p.parse().expect("a number")).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{record:?}");
        let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).expect("classes");
        assert_eq!(classes[best], &record[1]);
        right += usize::from(wine.classes()[labels[row] as usize] == record[1]);
        rows += 1;
    }
    assert_eq!(rows, wine.rows());
    let json = cli(dir.path(), "eval run/model.safetensors wine --device cpu --json").ok().json();
    let accuracy = json["accuracy"].as_f64().expect("an accuracy");
    assert!((accuracy - right as f64 / rows as f64).abs() < 1e-9, "{json}");
    let stdout = cli(dir.path(), "predict run wine --device cpu").ok().stdout;
    assert_eq!(stdout.into_bytes(), read(&dir.path().join("p.csv")));
}

#[test]
fn eval_finds_the_rows_that_train_held_out() {
    let dir = temp();
    let options = "--test-fraction 0.3 --seed 11 --scale minmax --json --out run";
    let trained = cli(dir.path(), &format!("train iris {SHORT} {options}")).ok().json();
    for part in ["train", "test"] {
        let line = format!("eval run iris --device cpu --part {part} --test-fraction 0.3 --json");
        let json = cli(dir.path(), &line).ok().json();
        assert_eq!(json["loss"], trained[format!("{part}_loss")], "{part}");
        assert_eq!(json["accuracy"], trained[format!("{part}_accuracy")], "{part}");
        assert_eq!(json["rows"], trained[format!("{part}_rows")], "{part}");
    }
    cli(dir.path(), "eval run iris --device cpu --part test").fails(1, &["--test-fraction"]);
}

#[test]
fn the_simulator_trains_evaluates_and_predicts() {
    let dir = temp();
    let line = "train iris --hidden 4 --epochs 2 --batch 40 --quiet --json";
    let sim = cli(dir.path(), &format!("{line} --device sim --out sim")).ok().json();
    assert_eq!(sim["device"], "sim");
    let cpu = cli(dir.path(), &format!("{line} --device cpu --out cpu")).ok().json();
    let close = |key: &str| {
        let (a, b) = (sim[key].as_f64().expect(key), cpu[key].as_f64().expect(key));
        assert!((a - b).abs() < 1e-4, "{key}: sim {a}, cpu {b}");
    };
    close("train_loss");
    close("test_loss");
    let eval = cli(dir.path(), "eval cpu iris --device sim --part test --json").ok().json();
    assert!(
        (eval["loss"].as_f64().expect("a loss") - cpu["test_loss"].as_f64().expect("a loss")).abs() < 1e-4
    );
    let rows = cli(dir.path(), "predict sim iris --device sim").ok().stdout.lines().count();
    assert_eq!(rows, 1 + 150);
    let json = cli(dir.path(), "bench mlp --dims 4,4,3 --batch 8 --steps 2 --device sim --json").ok().json();
    assert_eq!(json["device"], "sim");
}

#[test]
fn every_optimiser_activation_schedule_and_initialiser_trains() {
    let dir = temp();
    let optimizers = [
        "sgd --momentum 0.5",
        "momentum",
        "nesterov",
        "rmsprop --momentum 0.9",
        "adam",
        "adamw --weight-decay 0.1",
    ];
    let options = [
        "--schedule constant",
        "--schedule step:1:0.5",
        "--schedule cosine --warmup 1",
        "--schedule one-cycle",
        "--init kaiming --smoothing 0.1",
        "--init xavier --clip-norm 1",
    ];
    for (optimizer, options) in optimizers.iter().zip(options) {
        let line = format!("train iris {SHORT} --optimizer {optimizer} {options} --json");
        let json = cli(dir.path(), &line).ok().json();
        assert!(json["train_loss"].as_f64().is_some_and(|loss| loss < 4.0), "{line}: {json}");
    }
    for precision in ["fp32", "tf32", "bf16", "f16", "fp32-fast"] {
        let json = cli(dir.path(), &format!("train iris {SHORT} --precision {precision} --json")).ok().json();
        assert_eq!(json["precision"], precision, "{json}");
    }
    for activation in ["identity", "leaky_relu(0.2)", "gelu_tanh", "hard-swish", "mish"] {
        cli(dir.path(), &format!("train iris {SHORT} --activation {activation}")).ok();
    }
    for network in ["--hidden 8 --norm layer", "--hidden 8 --norm batch", "--hidden 8,8 --skip --norm batch"]
    {
        let line = format!("train iris --device cpu --epochs 3 --quiet {network} --json");
        let trained = cli(dir.path(), &line).ok().json();
        let model = trained["model"].as_str().expect("a path");
        let json = cli(dir.path(), &format!("eval {model} iris --device cpu --part test --json")).ok().json();
        assert_eq!(json["loss"], trained["test_loss"], "{network}");
    }
    for loss in ["mse", "mae", "huber:0.5"] {
        cli(dir.path(), &format!("train diabetes {SHORT} --loss {loss}")).ok();
    }
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    let dir = temp();
    let line = "train wine --device cpu --hidden 32 --epochs 400 --lr 0.02 --schedule constant --validation 0.3 --patience 4";
    let run = cli(dir.path(), &format!("{line} --json --out run")).ok();
    let json = run.json();
    let epochs = json["epochs"].as_u64().expect("epochs");
    assert!(epochs < 400, "{json}");
    let best = epochs - 4;
    assert!(
        run.stderr.contains(&format!("early stop after epoch {epochs}: the best one was {best}")),
        "{}",
        run.stderr
    );
}
