//! Whatever is wrong with files and data: one line that names it, exit 1, and nothing lost that was there.

use std::path::Path;

use crate::{SHORT, cli, finish, program, read, run, temp, trained, words, write};

/// Trains on a file with this content; it must fail so.
#[track_caller]
fn refused(name: &str, content: impl AsRef<[u8]>, options: &str, code: i32, parts: &[&str]) {
    let dir = temp();
    write(&dir.path().join(name), content);
    let run = cli(dir.path(), &format!("train {name} {SHORT} --out run {options}"));
    run.fails(code, parts);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(!dir.path().join("run").exists(), "a run that never began leaves no directory");
}

#[test]
fn files_that_are_not_data() {
    let dir = temp();
    cli(dir.path(), "train none.csv").fails(1, &["none.csv", "no such file", "digits"]);
    cli(dir.path(), "train a/none").fails(1, &["a/none", "no such file"]);
    refused("empty.csv", "", "", 1, &["empty.csv", "empty"]);
    refused("blank.csv", "\n\n", "", 1, &["blank.csv"]);
    refused("header.csv", "a,b,c\n", "", 1, &["header.csv", "no row follows"]);
    refused("noise.bin", [0u8, 1, 2, 200, 255, 0, 7], "", 1, &["noise.bin", "unknown kind", ".npz"]);
    refused("cut.npz", b"PK\x03\x04abc", "", 1, &["cut.npz", "npz"]);
    refused("cut.npy", b"\x93NUMPY\x01\x00", "", 1, &["cut.npy", "npy"]);
    refused("cut.csv.gz", [0x1f, 0x8b, 8, 0, 0], "", 1, &["cut.csv.gz", "gzip"]);
    std::fs::create_dir(dir.path().join("folder")).expect("a folder");
    cli(dir.path(), "train ./folder").fails(1, &["folder"]);
    cli(dir.path(), "eval none.safetensors iris").fails(1, &["none.safetensors", "No such file"]);
    cli(dir.path(), "predict folder iris").fails(1, &["folder"]);
}

#[test]
fn rows_that_are_not_right() {
    refused("ragged.csv", "a,b,y\n1,2,x\n3,4\n5,6,z\n", "", 1, &["ragged.csv", "row 3", "2 cells", "3"]);
    refused("inf.csv", "a,b,y\n1,2,x\n3,inf,z\n5,6,z\n", "", 1, &["inf.csv", "row 3", "'b'", "inf"]);
    refused("huge.csv", "a,b,y\n1,2,x\n3,1e99,z\n5,6,z\n", "", 1, &["huge.csv", "row 3", "1e99"]);
    refused("one.csv", "a,y\n1,x\n2,x\n3,x\n", "", 1, &["one.csv", "one class", "'x'", "two"]);
    refused("few.csv", "a,y\n1,x\n", "", 1, &["few.csv"]);
    refused("gap.csv", "a,y\n1,x\n2,\n3,z\n", "", 1, &["gap.csv", "row 3", "'y'", "missing"]);
    refused("void.csv", "a,b,y\n1,,x\n2,,z\n3,,z\n", "", 1, &["void.csv", "'b'", "no value"]);
    refused("single.csv", "y\nx\nz\n", "", 1, &["single.csv", "no feature"]);
    refused("twice.csv", "a,a,y\n1,2,x\n3,4,z\n", "", 1, &["twice.csv", "'a'", "two columns"]);
    refused(
        "text.csv",
        "a,y\n1,2.5\n2,many\n3,1.5\n",
        "--task regression",
        1,
        &["text.csv", "row 3", "'many'", "not a number"],
    );
    refused("t.csv", "a,y\n1,x\n2,z\n", "--target price", 2, &["t.csv", "'price'", "'a', 'y'"]);
    refused("b.csv", "a,y\n1,x\n2,z\n3,x\n4,z\n", "--batch 9", 2, &["batch of 9", "at most"]);
}

#[test]
fn arrays_with_numbers_that_are_none() {
    let dir = temp();
    for (name, value) in [("nan", f32::NAN), ("inf", f32::INFINITY)] {
        let path = dir.path().join(format!("{name}.npy"));
        let mut values = vec![1.0f32, 2.0, 0.0, 3.0, 4.0, 1.0, 5.0, 6.0, 0.0];
        values[4] = value;
        let mut file = std::fs::File::create(&path).expect("a file");
        crate::files::write_npy(&mut file, &values, &[3, 3]);
        let run = cli(dir.path(), &format!("train {name}.npy {SHORT}"));
        run.fails(1, &[&format!("{name}.npy"), "row 1", "column 1"]);
    }
}

#[test]
fn data_that_a_model_does_not_know() {
    let dir = temp();
    write(&dir.path().join("train.csv"), "a,b,y\n1,2,x\n2,1,z\n3,5,x\n4,3,z\n1,1,x\n2,2,z\n9,1,x\n7,7,z\n");
    trained(dir.path(), "train.csv");
    let eval = |name: &str, text: &str, parts: &[&str]| {
        write(&dir.path().join(name), text);
        cli(dir.path(), &format!("eval run {name} --device cpu")).fails(1, parts);
    };
    eval("class.csv", "a,b,y\n1,2,x\n2,1,new\n", &["class.csv", "row 3", "'new'", "'x', 'z'"]);
    eval("column.csv", "a,c,y\n1,2,x\n", &["column.csv", "'b'", "missing"]);
    eval("word.csv", "a,b,y\n1,2,x\n2,two,z\n", &["word.csv", "row 3", "'b'", "'two'", "not a number"]);
    eval("target.csv", "a,b\n1,2\n", &["target.csv", "'y'", "predict"]);
    eval("width.csv", "1,2,3,4,5\n1,2,3,4,5\n", &["width.csv", "'a'"]);
    cli(dir.path(), "eval run iris --device cpu").fails(1, &["iris", "'a'", "missing"]);
    cli(dir.path(), "predict run digits --device cpu").fails(1, &["digits", "'a'", "missing"]);
    let split = cli(dir.path(), "eval run train.csv --device cpu --part test --seed 99");
    split.fails(1, &["model.safetensors", "--seed", "--test-fraction"]);
}

/// The state of every file of a run.
fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).expect("the run's directory").flatten();
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().to_string_lossy().into_owned(), read(&e.path()))).collect();
    files.sort();
    files
}

#[test]
fn failures_leave_the_run_before_as_it_was() {
    let dir = temp();
    trained(dir.path(), "iris");
    let before = snapshot(&dir.path().join("run"));
    write(&dir.path().join("ragged.csv"), "a,y\n1,x\n2\n");
    let attempts = [
        "train none.csv --out run",
        "train ragged.csv --out run",
        "train iris --device cpu --batch 9999 --out run",
        "train iris --device cpu --hidden 0 --out run",
        "train iris --device nowhere --out run",
        "train iris --device cpu --quiet --optimizer sgd --lr 1e30 --schedule constant --out run",
        "train wine --device cpu --quiet --epochs 3 --out run --resume",
        "train iris --device cpu --quiet --epochs 4 --hidden 8 --out run --resume",
        "train iris --device cpu --quiet --epochs 3 --hidden 9 --out run --resume",
    ];
    for attempt in attempts {
        let run = cli(dir.path(), attempt);
        assert!(matches!(run.code, Some(1 | 2)), "{attempt}: {run:?}");
        run.fails(run.code.unwrap_or_default(), &[]);
        assert!(snapshot(&dir.path().join("run")) == before, "{attempt} changed the files");
    }
}

#[test]
fn resuming_needs_the_same_run() {
    let dir = temp();
    trained(dir.path(), "iris");
    let short = SHORT.replace("--hidden 8", "");
    cli(dir.path(), &format!("train iris {short} --hidden 9 --out run --resume"))
        .fails(1, &["checkpoint.safetensors", "another network", "--out"]);
    cli(dir.path(), &format!("train iris {SHORT} --lr 0.5 --out run --resume"))
        .fails(1, &["checkpoint.safetensors", "other options"]);
    cli(dir.path(), &format!("train iris {SHORT} --test-fraction 0.5 --out run --resume"))
        .fails(1, &["checkpoint.safetensors", "other data"]);
    write(&dir.path().join("run/checkpoint.safetensors"), b"not a checkpoint");
    cli(dir.path(), &format!("train iris {SHORT} --out run --resume"))
        .fails(1, &["checkpoint.safetensors", "not a whole safetensors file"]);
}

#[test]
fn a_diverging_run_says_step_and_loss() {
    let dir = temp();
    let model = trained(dir.path(), "iris");
    let before = read(&model);
    let line =
        "train iris --device cpu --quiet --optimizer sgd --lr 1e30 --schedule constant --epochs 20 --out run";
    let run = cli(dir.path(), line);
    run.fails(1, &["diverged", "step", "loss is", "epoch", "learning rate below"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(read(&model) == before, "the model of the run before stays");
}

#[test]
fn a_late_divergence_keeps_the_last_good_checkpoint() {
    let dir = temp();
    // The rate grows by 0.01 a step until it is too much; by then there are checkpoints.
    let options = "--hidden none --optimizer sgd --lr 1e6 --warmup 16666667 --schedule constant --epochs 400";
    let run = cli(
        dir.path(),
        &format!("train diabetes {options} --device cpu --quiet --checkpoint-interval 0 --out run"),
    );
    run.fails(1, &["diverged", "the last good state is in run/checkpoint.safetensors"]);
    let bytes = read(&dir.path().join("run/checkpoint.safetensors"));
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a whole checkpoint");
    let weight = tensors.tensor("layers.0.weight").expect("its first weight");
    let numbers = weight.data().chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    assert!(numbers.clone().all(f32::is_finite) && numbers.clone().any(|x| x != 0.0));
    assert!(!dir.path().join("run/model.safetensors").exists());
}

#[test]
fn model_files_that_are_none() {
    let dir = temp();
    let model = trained(dir.path(), "iris");
    let good = read(&model);
    let eval = |bytes: &[u8]| {
        write(&dir.path().join("bad.safetensors"), bytes);
        cli(dir.path(), "eval bad.safetensors iris --device cpu")
    };
    eval(b"").fails(1, &["bad.safetensors", "not a whole safetensors file"]);
    eval(b"GARBAGE, and more of it").fails(1, &["bad.safetensors"]);
    eval(&[0xff; 4096]).fails(1, &["bad.safetensors"]);
    eval(b"PK\x03\x04 a PyTorch file").fails(1, &["bad.safetensors"]);
    let foreign = b"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  ";
    let foreign = [&(foreign.len() as u64).to_le_bytes()[..], foreign, &[0; 4]].concat();
    eval(&foreign).fails(1, &["bad.safetensors", "Ironwarp", "train"]);
    let checkpoint = read(&dir.path().join("run/checkpoint.safetensors"));
    eval(&checkpoint).fails(1, &["bad.safetensors", "no model"]);
    // Cut anywhere, it is refused; with a bit turned it is refused or read, and never panics.
    for part in 0..12 {
        eval(&good[..good.len() * part / 12]).fails(1, &["bad.safetensors"]);
    }
    let mut state = 0x1234_5678_9abc_def0u64;
    for _ in 0..24 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut bytes = good.clone();
        let bit = (state >> 20) as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let run = eval(&bytes);
        if run.code != Some(0) {
            run.fails(1, &[]);
        }
    }
}

#[test]
fn places_that_cannot_be_written() {
    let dir = temp();
    write(&dir.path().join("file"), "in the way");
    let line = |out: &str| format!("train iris {SHORT} --out {out}");
    cli(dir.path(), &line("file")).fails(1, &["file", "--out"]);
    cli(dir.path(), &line("file/deeper")).fails(1, &["file/deeper", "--out"]);
    cli(dir.path(), &line("/proc/ironwarp")).fails(1, &["/proc/ironwarp", "--out"]);
    let model = trained(dir.path(), "iris");
    cli(dir.path(), "predict run iris --device cpu --out file/p.csv").fails(1, &["file/p.csv"]);
    cli(dir.path(), "predict run iris --device cpu --out run").fails(1, &["run"]);
    assert!(model.is_file());
    // The default place: a file where the folder of runs should be.
    write(&dir.path().join("runs"), "in the way");
    cli(dir.path(), &format!("train iris {SHORT}")).fails(1, &["runs", "--out"]);
}

/// A limit on the size of files stands for a full disk: writing fails in the same place.
#[cfg(unix)]
#[test]
fn a_full_disk_is_noticed_before_training() {
    let dir = temp();
    let model = trained(dir.path(), "iris");
    let before = read(&model);
    let program_path = program(dir.path()).get_program().to_owned();
    let limited = |args: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(dir.path()).arg("-c").arg("trap '' XFSZ; ulimit -f 1; exec \"$@\"").arg("sh");
        finish(shell.arg(&program_path).args(words(args)))
    };
    limited(&format!("train iris {SHORT} --out run"))
        .fails(1, &["run", "File too large", "--out", "free space"]);
    assert!(read(&model) == before);
    limited("predict run iris --device cpu --out p.csv").fails(1, &["p.csv", "free space"]);
    assert!(!dir.path().join("p.csv").exists());
    let names: Vec<_> = std::fs::read_dir(dir.path().join("run")).expect("run").flatten().collect();
    assert_eq!(names.len(), 4, "no temporary file is left: {names:?}");
}

#[cfg(unix)]
#[test]
fn closed_and_full_outputs() {
    let dir = temp();
    trained(dir.path(), "iris");
    for line in ["completions bash", "kernels", "--help", "predict run iris --device cpu", "devices --json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let quiet = finish(program(dir.path()).args(words(line)).stdout(writer));
        assert_eq!(quiet.code, Some(0), "{line}: {}", quiet.stderr);
        assert!(!quiet.stderr.contains("error"), "{line}: {}", quiet.stderr);
        if Path::new("/dev/full").exists() {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
            finish(program(dir.path()).args(words(line)).stdout(full))
                .fails(1, &["standard output", "space"]);
        }
    }
    // Nobody reads the progress: the run goes on.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let line = "train iris --device cpu --hidden 8 --epochs 3 --json";
    let run = finish(program(dir.path()).args(words(line)).stderr(writer));
    assert_eq!(run.ok().json()["epochs"], 3);
}

#[test]
fn paths_need_not_be_text() {
    let dir = temp();
    // A control character and a line break in a name stay on one line.
    run(dir.path(), ["train", "no\nsuch\u{7}.csv"]).fails(1, &["no such file"]);
}
