//! What scripts rely on: JSON objects, help, completions, names of directories, exit codes of usage.

use crate::{SHORT, cli, finish, program, run, temp, trained, words};

#[track_caller]
fn has(value: &serde_json::Value, numbers: &[&str]) {
    for key in numbers {
        assert!(value[key].is_number(), "{key} in {value}");
    }
}

#[test]
fn train_says_what_the_contract_names() {
    let dir = temp();
    let run = cli(dir.path(), &format!("train iris {SHORT} --seed 5 --validation 0.2 --json")).ok();
    let json = run.json();
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    has(
        &json,
        &["epochs", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples_per_second"],
    );
    has(&json, &["seed", "parameters", "seconds", "val_loss", "val_accuracy", "train_rows", "test_rows"]);
    assert_eq!(json["device"], "cpu");
    assert_eq!(json["seed"], 5);
    assert_eq!(json["epochs"], 3);
    assert_eq!(json["data"], "iris");
    assert_eq!(json["hidden"], serde_json::json!([8]));
    assert_eq!(json["parameters"], 4 * 8 + 8 + 8 * 3 + 3);
    assert_eq!((&json["train_rows"], &json["test_rows"]), (&120.into(), &30.into()));
    assert_eq!(json["out"], "runs/iris");
    assert_eq!(json["model"], "runs/iris/model.safetensors");
    for file in ["model.safetensors", "metrics.csv", "metrics.jsonl", "checkpoint.safetensors"] {
        assert!(dir.path().join("runs/iris").join(file).is_file(), "{file}");
    }
    let csv = std::fs::read_to_string(dir.path().join("runs/iris/metrics.csv")).expect("metrics.csv");
    assert_eq!(csv.lines().count(), 1 + 3);
    assert!(csv.starts_with("epoch,step,learning_rate,train_loss,"), "{csv}");
    let lines = std::fs::read_to_string(dir.path().join("runs/iris/metrics.jsonl")).expect("metrics.jsonl");
    for (i, line) in lines.lines().enumerate() {
        let epoch: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        assert_eq!(epoch["epoch"], i + 1);
        has(&epoch, &["train_loss", "val_loss", "samples_per_second"]);
    }
}

#[test]
fn regression_has_r2() {
    let dir = temp();
    let json = cli(dir.path(), &format!("train diabetes {SHORT} --json")).ok().json();
    has(&json, &["test_r2", "train_r2", "test_loss"]);
    assert!(json.get("test_accuracy").is_none(), "{json}");
    let json = cli(dir.path(), "eval runs/diabetes diabetes --device cpu --json").ok().json();
    has(&json, &["loss", "r2", "rows"]);
}

#[test]
fn runs_get_directories_of_their_own() {
    let dir = temp();
    let out = |n: usize| {
        let json = cli(dir.path(), &format!("train iris {SHORT} --json")).ok().json();
        assert!(json["out"].is_string(), "run {n}");
        json["out"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!([out(1), out(2), out(3)], ["runs/iris", "runs/iris-2", "runs/iris-3"]);
    let again = cli(dir.path(), &format!("train iris {SHORT} --json --out runs/iris-2")).ok().json();
    assert_eq!(again["out"], "runs/iris-2");
}

#[test]
fn profile_counts_what_an_operation_moves() {
    let dir = temp();
    let run = cli(dir.path(), "profile add --max-dim 64 --gpu A100 --gpu H200 --target sm_90a --json").ok();
    let kernel = &run.json()["instances"][0]["kernels"][0];
    // An addition reads two elements for each one it writes; the kernel's requests are as wide as can be.
    let global = &kernel["global"];
    assert_eq!(global["sectors_per_request"], global["ideal_sectors_per_request"], "{kernel}");
    assert!(global["moved"].as_u64() >= global["touched"].as_u64(), "{kernel}");
    assert_eq!(kernel["gpus"].as_array().map(Vec::len), Some(2), "{kernel}");
    let text = cli(dir.path(), "profile softmax --max-dim 32").ok();
    for part in ["softmax_rows", "sectors each", "occupancy on H200", "roofline on H200", "assuming that"] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
}

#[test]
fn eval_predict_devices_and_bench_end_with_an_object() {
    let dir = temp();
    trained(dir.path(), "wine");
    let json = cli(dir.path(), "eval run wine --device cpu --json").ok().json();
    has(&json, &["loss", "accuracy", "rows"]);
    assert_eq!(json["confusion"].as_array().map(Vec::len), Some(3));
    let json = cli(dir.path(), "predict run wine --device cpu --json").ok().json();
    assert_eq!(json["predictions"].as_array().map(Vec::len), Some(178));
    assert_eq!(json["probabilities"][0].as_array().map(Vec::len), Some(3));
    let json = cli(dir.path(), "predict run wine --device cpu --json --out p.csv").ok().json();
    assert_eq!((&json["out"], &json["rows"]), (&"p.csv".into(), &178.into()));
    let json = cli(dir.path(), "devices --json").ok().json();
    assert!(json["cpu"]["cores"].as_u64().is_some_and(|n| n > 0), "{json}");
    assert!(json["sim"]["kernels"].as_u64().is_some_and(|n| n > 10), "{json}");
    assert!(json["cuda"]["available"].is_boolean() && json["cuda"]["gpus"].is_array(), "{json}");
    let line = "bench mlp --dims 8,16,3 --batch 16 --steps 50 --device cpu --json";
    let json = cli(dir.path(), line).ok().json();
    has(&json, &["samples_per_second", "us_per_step", "gflops", "parameters"]);
    assert_eq!(json["dims"], serde_json::json!([8, 16, 3]));
    let (rate, us) =
        (json["samples_per_second"].as_f64().unwrap_or(0.0), json["us_per_step"].as_f64().unwrap_or(0.0));
    assert!((rate * us / 16e6 - 1.0).abs() < 1e-6, "{json}");
    let json = cli(dir.path(), "bench op softmax --device cpu --max-dim 64 --json").ok().json();
    let instances = json["instances"].as_array().expect("instances");
    assert!(!instances.is_empty());
    instances.iter().for_each(|i| has(i, &["us", "gflops", "gb_per_second", "flop", "bytes"]));
}

#[test]
fn score_ranks_networks_and_says_what_ranks() {
    let dir = temp();
    let line = "score iris --networks 24 --batch 32 --train 10 --epochs 2 --device cpu --json";
    let json = cli(dir.path(), line).ok().json();
    has(&json, &["seconds", "networks_per_second", "batch", "seed"]);
    let networks = json["networks"].as_array().expect("networks");
    assert_eq!(networks.len(), 24);
    assert_eq!(networks.iter().filter(|n| n["val_accuracy"].is_number()).count(), 10);
    has(&networks[0]["scores"], &["params", "synflow", "naswot", "grasp", "az_nas"]);
    let rows = json["correlations"].as_array().expect("correlations");
    assert_eq!(rows.len(), 16);
    assert!(rows.iter().all(|row| row["used"].is_boolean() && row["n"] == 10 && row["why"].is_string()));
    let again = cli(dir.path(), line).ok().json();
    assert_eq!((&again["networks"], &again["correlations"]), (&json["networks"], &json["correlations"]));
    let table =
        cli(dir.path(), "score iris --networks 9 --top 3 --scores naswot,swap --device cpu").ok().stdout;
    assert!(table.contains("ranked by naswot, swap"), "{table}");
    let json = cli(dir.path(), "bench score --networks 20 --scores swap --device cpu --json").ok().json();
    has(&json["networks_per_second"], &["swap"]);
}

#[test]
fn kernels_lists_every_kernel_of_the_registry() {
    let dir = temp();
    let json = cli(dir.path(), "kernels --json").ok().json();
    let kernels = json["kernels"].as_array().expect("kernels");
    for entry in ironwarp::ops::registry() {
        for name in entry.kernels {
            let kernel = kernels.iter().find(|k| k["name"] == *name).unwrap_or_else(|| panic!("{name}"));
            for target in ["sm_80", "sm_90a"] {
                has(&kernel["targets"][target], &["shared_bytes"]);
                assert!(kernel["targets"][target].get("registers").is_none(), "no assembler was given");
            }
        }
    }
    let table = cli(dir.path(), "kernels").ok().stdout;
    assert_eq!(table.lines().count(), 1 + kernels.len(), "{table}");
}

#[cfg(unix)]
#[test]
fn kernels_shows_what_the_assembler_says() {
    use std::os::unix::fs::PermissionsExt;
    let dir = temp();
    let entry = ironwarp::ops::registry().into_iter().find(|e| !e.kernels.is_empty()).expect("some kernel");
    let kernel = entry.kernels[0];
    // Stands for NVIDIA's assembler: checks that it is given a PTX file, and reports on one kernel.
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\ngrep -q '^.version' \"$last\" || exit 3\n\
         echo \"ptxas info    : Compiling entry function '{kernel}' for 'sm_80'\" >&2\n\
         echo \"ptxas info    : Function properties for {kernel}\" >&2\n\
         echo \"    8 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads\" >&2\n\
         echo \"ptxas info    : Used 77 registers, 400 bytes cmem[0]\" >&2\n"
    );
    let path = dir.path().join("ptxas");
    crate::write(&path, script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let json = finish(program(dir.path()).args(["kernels", "--json"]).env("PTXAS", &path)).ok().json();
    let found =
        json["kernels"].as_array().and_then(|k| k.iter().find(|k| k["name"] == kernel)).expect("the kernel");
    let facts = &found["targets"]["sm_80"];
    assert_eq!((&facts["registers"], &facts["stack_bytes"]), (&77.into(), &8.into()));
    assert_eq!((&facts["spill_store_bytes"], &facts["spill_load_bytes"]), (&24.into(), &40.into()));
    let table = finish(program(dir.path()).arg("kernels").env("PTXAS", &path)).ok().stdout;
    let line = table.lines().find(|line| line.starts_with(&format!("{kernel} "))).expect("the kernel's line");
    assert!(words(line).contains(&"77") && words(line).contains(&"64"), "{line}");
    crate::write(&path, "#!/bin/sh\necho 'ptxas fatal: no' >&2\nexit 255\n");
    let refused = finish(program(dir.path()).arg("kernels").env("PTXAS", &path));
    refused.fails(1, &["ptxas", "sm_80", "ptxas fatal: no"]);
    finish(program(dir.path()).arg("kernels").env("PTXAS", "/nowhere/ptxas"))
        .fails(1, &["/nowhere/ptxas", "PTXAS"]);
}

#[test]
fn every_help_has_examples() {
    let dir = temp();
    let commands = [
        "",
        "train",
        "eval",
        "predict",
        "devices",
        "kernels",
        "bench",
        "bench mlp",
        "bench op",
        "bench gemm",
        "bench roofline",
        "tune",
        "profile",
        "completions",
    ];
    for command in commands {
        let help = cli(dir.path(), &format!("{command} --help")).ok();
        assert!(
            help.stdout.contains("Examples:\n  ironwarp ") || command == "kernels",
            "{command}: {}",
            help.stdout
        );
        assert!(help.stdout.contains(&format!("ironwarp {command}")), "{command}: {}", help.stdout);
        assert!(help.stderr.is_empty(), "{}", help.stderr);
    }
    assert!(cli(dir.path(), "--version").ok().stdout.starts_with("ironwarp "));
}

#[test]
fn completions_for_every_shell() {
    let dir = temp();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cli(dir.path(), &format!("completions {shell}")).ok().stdout;
        for word in ["train", "predict", "checkpoint-interval"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    cli(dir.path(), "completions tcsh").fails(2, &["tcsh", "bash"]);
}

#[test]
fn graphs_are_printed_without_training() {
    let dir = temp();
    let text = cli(dir.path(), "train iris --hidden 8 --print-graph text").ok().stdout;
    for part in ["layers.0.weight", "cross_entropy", "FLOP", "peak memory"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dot = cli(dir.path(), "train iris --hidden 8 --print-graph dot").ok().stdout;
    assert!(dot.starts_with("digraph {") && dot.contains("->") && dot.contains("// "), "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    assert!(std::fs::read_dir(dir.path()).expect("the directory").next().is_none(), "nothing is written");
}

#[test]
fn progress_is_on_stderr_and_about_twenty_lines() {
    let dir = temp();
    let run = cli(dir.path(), "train iris --device cpu --hidden 4 --epochs 130");
    let run = run.ok();
    let lines = run.stderr.lines().filter(|line| line.starts_with("epoch ")).count();
    assert!((10..=24).contains(&lines), "{}", run.stderr);
    let last = run.stderr.lines().rfind(|line| line.starts_with("epoch ")).unwrap_or_default();
    assert!(last.starts_with("epoch 130/130  loss ") && last.contains("samples/s"), "{last}");
    assert!(!run.stdout.contains("epoch 1/"), "{}", run.stdout);
    for part in ["test   loss", "accuracy", "precision", "recall", "wrote runs/iris/model.safetensors"] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let quiet = cli(dir.path(), &format!("train iris {SHORT}")).ok();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    let dir = temp();
    let cases: &[(&str, &[&str])] = &[
        ("fly", &["'fly'", "ironwarp --help"]),
        ("train", &["<DATA>", "ironwarp train --help"]),
        ("train iris --epoch 3", &["'--epoch'", "--epochs"]),
        ("train iris --epochs three", &["three", "--epochs"]),
        ("train iris --epochs 0", &["epochs is 0", "at least 1"]),
        ("train iris --batch 0", &["batch is 0"]),
        ("train iris --lr 0", &["learning rate 0"]),
        ("train iris --lr -1", &["learning rate -1"]),
        ("train iris --lr nan", &["learning rate NaN"]),
        ("train iris --hidden 16,0", &["--hidden", "width 0", "at least 1"]),
        ("train iris --hidden 16,x", &["--hidden", "'x'"]),
        ("train iris --activation step", &["--activation", "'step'", "relu"]),
        ("train iris --optimizer lion", &["--optimizer", "lion", "adamw"]),
        ("train iris --optimizer adam --momentum 0.9", &["--momentum", "adam"]),
        ("train iris --schedule linear", &["--schedule", "linear", "one-cycle"]),
        ("train iris --precision fp8", &["--precision", "fp8", "bf16"]),
        ("train iris --loss hinge", &["--loss", "hinge", "cross-entropy"]),
        ("train iris --loss mse", &["--loss", "classes", "cross-entropy"]),
        ("train diabetes --loss cross-entropy", &["--loss", "numbers", "mse"]),
        ("train iris --dropout 1", &["--dropout", "[0, 1)"]),
        ("train iris --norm group", &["--norm", "group", "layer, batch"]),
        ("train iris --hidden 16,8 --skip", &["--skip", "same width", "--hidden 64,64"]),
        ("train iris --architecture 4>3 --hidden 8", &["--architecture", "--hidden"]),
        ("train iris --architecture 5>3", &["--architecture", "5 inputs", "from 4 to 3"]),
        ("train iris --architecture 4>x", &["--architecture", "'x'"]),
        ("train iris --smoothing 1", &["smoothing 1", "[0, 1)"]),
        ("train iris --validation 1", &["validation", "[0, 1)"]),
        ("train iris --patience 3", &["patience", "validation"]),
        ("train iris --test-fraction 1.5", &["--test-fraction 1.5", "[0, 1)"]),
        ("train iris --clip-norm -1", &["norm", "-1", "positive"]),
        ("train iris --weight-decay -1", &["weight_decay -1"]),
        ("train iris --batch 5000 --device cpu --quiet", &["batch of 5000", "120 rows", "at most 120"]),
        ("train iris --device gpu", &["'gpu'", "cpu, sim, cuda"]),
        ("train iris --device cuda:x", &["'cuda:x'"]),
        ("train iriss", &["'iriss'", "digits, iris, wine"]),
        ("train iris --target species", &["--target", "'iris' is built in"]),
        ("train iris --scale log", &["--scale", "log", "minmax"]),
        ("train iris --checkpoint-interval -1", &["--checkpoint-interval", "0 or more"]),
        ("eval", &["<MODEL>", "<DATA>"]),
        ("bench op sotfmax", &["'sotfmax'", "softmax", "adam"]),
        ("profile sotfmax", &["'sotfmax'", "softmax", "adam"]),
        ("profile softmax --gpu RTX1", &["RTX1", "H200"]),
        ("profile softmax --target sm_70", &["sm_70", "sm_80"]),
        ("profile softmax --max-dim 0", &["--max-dim"]),
        ("bench mlp --dims 64", &["--dims"]),
        ("bench mlp --dims 64,0,10", &["--dims", "width 0"]),
        ("bench mlp --batch 0", &["--batch is 0"]),
        ("bench mlp --steps 0", &["--steps is 0"]),
        ("score iris --scores synflw", &["'synflw'", "did you mean 'synflow'"]),
        ("score iris --networks 0", &["--networks is 0"]),
        ("score iris --networks 5 --train 6", &["--train 6", "5 networks"]),
        ("bench score --batch 0", &["--batch is 0"]),
    ];
    for (line, parts) in cases {
        let run = cli(dir.path(), line);
        run.fails(2, parts);
        assert_eq!(run.stderr.lines().count(), 1, "{line}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{line}");
    }
    let left: Vec<_> = walk(dir.path());
    assert!(left.is_empty(), "usage errors leave no run behind: {left:?}");
}

/// The files below a directory.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = vec![];
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn no_command_shows_the_help() {
    let dir = temp();
    let run = run(dir.path(), [""; 0]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("Usage: ironwarp <COMMAND>"), "{}", run.stderr);
}
