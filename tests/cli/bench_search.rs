//! `bench search` and `bench suggest`.

use serde_json::Value;

use super::{cli, temp, write};

#[test]
fn samplers_run_on_the_table() {
    let dir = temp();
    let line = "bench search --table nasbench201 --dataset cifar10 --sampler random,nsga2,tpe --evaluations 60 --seeds 4";
    let json = cli(dir.path(), &format!("{line} --json")).ok().json();
    assert_eq!((json["seeds"].as_u64(), json["evaluations"].as_u64()), (Some(4), Some(60)));
    let results = json["results"].as_array().expect("results");
    assert_eq!(results.len(), 2, "accuracy and hypervolume");
    for (result, most) in results.iter().zip([91.7, 1.0]) {
        let samplers = result["samplers"].as_array().expect("samplers");
        let names: Vec<&str> = samplers.iter().filter_map(|s| s["sampler"].as_str()).collect();
        assert!(["random", "nsga2", "tpe"].iter().all(|n| names.contains(n)), "{names:?}");
        for after in samplers.iter().flat_map(|s| s["after"].as_array().expect("looks")) {
            let mean = after["mean"].as_f64().expect("a number");
            assert!(mean > 0.5 * most && mean <= most, "{after}");
            assert!([50, 60].contains(&after["evaluations"].as_u64().expect("a number")));
        }
    }
    // The same seeds give the same figures, as text too.
    let again = cli(dir.path(), &format!("{line} --json")).ok().json();
    assert_eq!(json, again);
    let text = cli(dir.path(), line).ok().stdout;
    assert!(text.contains("reference: evolution") && text.contains("hypervolume"), "{text}");
}

#[test]
fn a_table_of_ones_own_is_searched() {
    let dir = temp();
    let mut csv = String::from("width,act,loss_seed0,loss_seed1\n");
    for width in 1..=8 {
        for act in ["relu", "tanh", "gelu"] {
            csv += &format!("{width},{act},{},{}\n", (width - 3) * (width - 3) + act.len() as i64, 5);
        }
    }
    write(&dir.path().join("runs.csv"), csv);
    let line = "bench search --table runs.csv --parameters width,act --minimize loss --evaluations 24 --seeds 3 --sampler grid --json";
    let json = cli(dir.path(), line).ok().json();
    let last = |v: &Value| v["results"][0]["samplers"][0]["after"][0]["evaluations"].as_u64();
    assert_eq!((json["results"][0]["optimum"].as_f64(), last(&json)), (Some(4.5), Some(24)));

    let wrong: [(&str, &[&str]); 7] = [
        ("bench search --sampler evolutoin", &["'evolutoin'", "did you mean 'evolution'?"]),
        ("bench search --dataset cifar1", &["'cifar1'", "cifar10, cifar100, imagenet"]),
        ("bench search --seeds 0", &["--seeds"]),
        ("bench search --table nothing.csv --parameters a --minimize b", &["'nothing.csv'", "nasbench201"]),
        ("bench search --table runs.csv --minimize loss", &["--parameters"]),
        ("bench search --table runs.csv --parameters width", &["--maximize", "--minimize"]),
        (
            "bench search --table runs.csv --parameters widht --minimize loss",
            &["'widht'", "did you mean 'width'?"],
        ),
    ];
    for (line, parts) in wrong {
        cli(dir.path(), line).fails(2, parts);
    }
}

#[test]
fn a_suggestion_is_timed() {
    let dir = temp();
    let line = "bench suggest --trials 1000 --sampler tpe,local --pruner asha --goals 2 --json";
    let json = cli(dir.path(), line).ok().json();
    assert_eq!(json["trials"], serde_json::json!([100, 1000]));
    let times =
        |v: &Value| v["us"].as_array().expect("times").iter().filter_map(Value::as_f64).collect::<Vec<_>>();
    for name in ["samplers", "pruners"] {
        for line in json[name].as_array().expect("lines") {
            assert!(times(line).len() == 2 && times(line).iter().all(|us| *us > 0.0), "{line}");
        }
    }
    cli(dir.path(), "bench suggest --pruner hyperbnad")
        .fails(2, &["'hyperbnad'", "did you mean 'hyperband'?"]);
    cli(dir.path(), "bench suggest --trials 10").fails(2, &["--trials"]);
}
