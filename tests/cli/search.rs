//! `search`: its contract, the same trials for any number of workers, what is honest about its numbers, bad input.

use std::time::Duration;

use crate::{cli, finish, program, read, temp, words, write};

/// A search of a second.
const QUICK: &str =
    "--device cpu --trials 24 --epochs 3 --final-epochs 4 --finalists 3 --repeats 2 --quiet --json";

#[test]
fn search_says_what_the_contract_names() {
    let dir = temp();
    let run = cli(dir.path(), &format!("search iris {QUICK} --seed 5 --objectives accuracy,params")).ok();
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    let json = run.json();
    for key in
        ["val_accuracy", "test_accuracy", "trials", "seconds", "trials_per_second", "parameters", "seed"]
    {
        assert!(json[key].is_number(), "{key} in {json}");
    }
    assert_eq!(
        (&json["command"], &json["data"], &json["trials"]),
        (&"search".into(), &"iris".into(), &24.into())
    );
    let best = json["best_architecture"].as_str().expect("a text");
    let read_back: ironwarp::search::architecture::Architecture = best.parse().expect("an architecture");
    assert_eq!((read_back.net.inputs, read_back.net.outputs()), (4, 3));
    assert_eq!(json["parameters"], read_back.parameters());
    let front = json["pareto"].as_array().expect("a list");
    assert!(!front.is_empty());
    for one in front {
        assert!(one["trial"].is_number() && one["values"]["accuracy"].is_number(), "{one}");
        for other in front {
            let value = |t: &serde_json::Value, name: &str| t["values"][name].as_f64().expect("a number");
            let dominated = value(other, "accuracy") >= value(one, "accuracy")
                && value(other, "params") < value(one, "params");
            assert!(!dominated, "{other} beats {one}");
        }
    }
    for key in ["study", "report", "model"] {
        let path = json[key].as_str().unwrap_or_else(|| panic!("{key} in {json}"));
        assert!(dir.path().join(path).is_file(), "{key}: {path}");
    }
    let page = String::from_utf8(read(&dir.path().join("runs/search-iris/report.html"))).expect("UTF-8");
    assert!(
        page.contains("ironwarp search iris") && page.contains("params"),
        "the command and a goal are on the page"
    );
    let figures = std::fs::read_dir(dir.path().join("runs/search-iris/report-figures")).expect("figures");
    assert!(figures.count() >= 5);
    // The model is what the report says.
    let json =
        cli(dir.path(), "eval runs/search-iris iris --part test --device cpu --json --seed 5").ok().json();
    assert!(json["accuracy"].as_f64().is_some_and(|a| a > 0.5), "{json}");
}

#[test]
fn workers_change_nothing() {
    let csv = |workers: usize| {
        let dir = temp();
        let options = format!("search wine {QUICK} --seed 3 --workers {workers} --study s.db");
        let json = cli(dir.path(), &options).ok().json();
        let csv = cli(dir.path(), "study export csv s.db").ok().stdout;
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        // What a trial took is the one thing that may differ.
        let seconds = rows.headers().expect("a header").iter().position(|h| h == "seconds").expect("seconds");
        let rows: Vec<Vec<String>> = rows
            .records()
            .map(|row| row.expect("a row").iter().map(str::to_owned).collect())
            .map(|mut row: Vec<String>| {
                row.remove(seconds);
                row
            })
            .collect();
        assert_eq!(rows.len(), 24);
        (rows, json["best_architecture"].clone(), json["val_accuracy"].clone(), json["test_accuracy"].clone())
    };
    assert_eq!(csv(1), csv(3));
}

#[test]
fn a_search_goes_on_where_it_was() {
    let dir = temp();
    let line = |trials: u32| format!("search iris {} --study s.db", QUICK.replace("24", &trials.to_string()));
    cli(dir.path(), &line(10)).ok();
    let before = cli(dir.path(), "study export json s.db").ok().json();
    cli(dir.path(), &line(30)).ok();
    let after = cli(dir.path(), "study export json s.db").ok().json();
    let trials = |json: &serde_json::Value| json["trials"].as_array().expect("trials").clone();
    assert_eq!((trials(&before).len(), trials(&after).len()), (10, 30));
    assert_eq!(trials(&before)[..], trials(&after)[..10]);
    // One go gives the same trials.
    cli(dir.path(), &line(30).replace("s.db", "t.db")).ok();
    let whole = cli(dir.path(), "study export json t.db").ok().json();
    for (a, b) in trials(&after).iter().zip(trials(&whole)) {
        for key in ["number", "state", "values"] {
            assert_eq!(a[key], b[key], "{a}");
        }
    }
}

#[test]
fn folds_test_every_row_once() {
    let dir = temp();
    let options = QUICK.replace("24", "6");
    let json = cli(dir.path(), &format!("search iris {options} --folds 3")).ok().json();
    assert_eq!(json["test_accuracy_folds"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["trials"], 18);
    for file in ["study-1.db", "study-3.db", "report-1.html", "report-3.html", "model.safetensors"] {
        assert!(dir.path().join("runs/search-iris").join(file).is_file(), "{file}");
    }
}

#[test]
fn regression_is_searched_by_r2() {
    let dir = temp();
    let json = cli(dir.path(), &format!("search diabetes {}", QUICK.replace("24", "8"))).ok().json();
    assert!(json["test_r2"].is_number() && json["val_r2"].is_number(), "{json}");
}

#[test]
fn populations_are_searched_in_the_simulator() {
    let dir = temp();
    let space =
        "depth = 1\nwidth = [3, 5]\nactivation = [\"relu\", \"tanh\"]\nbatch = 30\nlr = [0.01, 0.03]\n";
    write(&dir.path().join("small.toml"), space);
    let line = "search iris --device sim --space small.toml --trials 4 --epochs 1 --final-epochs 1 --finalists 1 \
                --repeats 1 --sampler random --quiet --json --study s.db";
    let json = cli(dir.path(), line).ok().json();
    assert_eq!((&json["device"], &json["trials"]), (&"sim".into(), &4.into()));
}

#[test]
fn scores_rank_networks_of_a_given_space() {
    let dir = temp();
    write(&dir.path().join("small.toml"), "depth = 1\nwidth = [3, 5, 7]\n");
    let line = "score iris --space small.toml --networks 3 --scores naswot --device cpu --json";
    let json = cli(dir.path(), line).ok().json();
    let listed = json["networks"].as_array().expect("networks");
    let mut texts: Vec<&str> = listed.iter().map(|n| n["network"].as_str().expect("a text")).collect();
    texts.sort();
    assert_eq!(texts, ["3 relu", "5 relu", "7 relu"]);
    cli(dir.path(), "score iris --space none.toml").fails(2, &["none.toml"]);
}

#[test]
fn bad_input_is_one_clear_line() {
    let dir = temp();
    let search = |options: &str| cli(dir.path(), &format!("search iris {QUICK} {options}"));
    search("--sampler evolutoin").fails(2, &["unknown sampler 'evolutoin'", "did you mean 'evolution'?"]);
    search("--pruner ashe").fails(2, &["unknown pruner 'ashe'", "did you mean 'asha'?"]);
    search("--objectives acuracy").fails(2, &["unknown objective 'acuracy'", "did you mean 'accuracy'?"]);
    search("--objectives params").fails(2, &["the first objective is params", "accuracy"]);
    search("--objectives r2").fails(2, &["r2", "does not fit"]);
    search("--max-params 3").fails(2, &["no point of the space is allowed", "3", "loosen"]);
    search("--time 5x").fails(2, &["'5x'", "1h30m"]);
    search("--folds 1").fails(2, &["1 folds", "such as 5"]);
    search("--validation 1.5").fails(2, &["--validation 1.5"]);
    search("--space none.toml").fails(2, &["none.toml"]);
    write(&dir.path().join("wrong.toml"), "wdith = [3]\n");
    search("--space wrong.toml").fails(2, &["wrong.toml", "wdith", "width"]);
    write(&dir.path().join("single.toml"), "depth = 1\nwidth = 4\n");
    search("--space single.toml").fails(2, &["single.toml", "a single network"]);
    assert!(!dir.path().join("runs").exists(), "a search that never began leaves no directory");

    search("--study s.db --seed 1").ok();
    let study = read(&dir.path().join("s.db"));
    search("--study s.db --seed 2").fails(1, &["s.db", "seed"]);
    search("--study s.db --pruner asha").fails(1, &["s.db", "pruner"]);
    search("--study s.db --max-params 5000").fails(1, &["s.db"]);
    assert_eq!(read(&dir.path().join("s.db")), study, "another study is left alone");
    let noise: Vec<u8> = (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    write(&dir.path().join("noise.db"), &noise);
    search("--study noise.db").fails(1, &["noise.db"]);
    assert_eq!(read(&dir.path().join("noise.db")), noise);
}

/// Sends the signal that Ctrl-C sends.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_cleanly_and_the_search_goes_on() {
    let dir = temp();
    let line = "search digits --device cpu --trials 100000 --epochs 3 --study s.db --json";
    let mut command = program(dir.path());
    command.args(words(line)).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let rows = || {
        let run = cli(dir.path(), "study export csv s.db");
        if run.code == Some(0) { run.stdout.lines().count().saturating_sub(1) } else { 0 }
    };
    while rows() < 5 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.is_ok_and(|s| s.success()));
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.lines().last().is_some_and(|l| l.contains("interrupted after") && l.contains("s.db")),
        "{stderr}"
    );
    let done = rows();
    assert!(done >= 5);
    let shown = finish(program(dir.path()).args(words("study show s.db --json"))).ok().json();
    assert!(shown.is_object());
}

#[test]
fn a_limit_on_latency_is_the_same_when_the_study_is_resumed() {
    let dir = temp();
    let line = |trials: u32| {
        let options = QUICK.replace("24", &trials.to_string());
        format!("search iris {options} --study s.db --max-latency 2ms")
    };
    cli(dir.path(), &line(6)).ok();
    let json = cli(dir.path(), &line(9)).ok().json();
    assert_eq!(json["trials"], 9);
    // As an objective it is the same model: networks of one size have one latency, in the first run and in the second.
    write(&dir.path().join("lr.toml"), "depth = 1\nwidth = 8\nlr = { low = 0.001, high = 0.1 }\n");
    let line = |trials: u32| {
        let options = QUICK.replace("24", &trials.to_string());
        format!(
            "search iris {options} --space lr.toml --study t.db --objectives accuracy,latency --pruner none"
        )
    };
    cli(dir.path(), &line(4)).ok();
    cli(dir.path(), &line(8)).ok();
    let json = cli(dir.path(), "study export json t.db").ok().json();
    let trials = json["trials"].as_array().expect("trials");
    let latency: Vec<f64> = trials.iter().filter_map(|t| t["values"]["latency"].as_f64()).collect();
    assert_eq!(latency.len(), 8, "{}", trials[0]);
    assert!(latency.iter().all(|l| *l == latency[0] && *l > 0.0), "{latency:?}");
    cli(dir.path(), "search iris --max-latency 0.001us --trials 3 --quiet").fails(2, &["latency", "loosen"]);
}
