//! Studies from outside: kills, several processes, the `study` commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{cli, program, temp, words, write};

/// The digest of a study of `bench study` that nothing disturbed.
fn digest(dir: &Path, options: &str) -> Value {
    cli(dir, &format!("bench study {options} --json")).ok().json()["digest"].clone()
}

fn start(dir: &Path, options: &str) -> Child {
    let mut command = program(dir);
    command
        .args(words(&format!("bench study {options} --json")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// The rows of finished trials by number.
fn finished(dir: &Path, file: &str) -> BTreeMap<u64, String> {
    let table = cli(dir, &format!("study export csv {file}")).ok().stdout;
    let mut rows = BTreeMap::new();
    for line in table.lines().skip(1).filter(|line| !line.contains(",running,")) {
        let number = line.split(',').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(rows.insert(number, line.to_owned()).is_none(), "trial {number} is there twice");
    }
    rows
}

#[test]
fn killed_studies_end_as_unbroken_ones() {
    let dir = temp();
    let options = "--trials 200 --wait 6000 --seed 5";
    let want = digest(dir.path(), options);
    let mut before = BTreeMap::new();
    let mut killed = 0;
    for round in 0..4u64 {
        let mut child = start(dir.path(), &format!("{options} --study killed.db"));
        // Into the work of this process, however slow the machine is.
        let began = Instant::now();
        let at_work = || {
            let conn = rusqlite::Connection::open(dir.path().join("killed.db")).ok()?;
            conn.query_row("SELECT count(*) FROM trials WHERE state != 'running'", [], |r| r.get::<_, i64>(0))
                .ok()
        };
        while began.elapsed() < Duration::from_secs(60)
            && !(dir.path().join("killed.db").exists()
                && at_work().is_some_and(|n| n >= before.len() as i64 + 8))
        {
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_micros(round * 1_700));
        killed += usize::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("SIGKILL");
        child.wait().expect("an end");
        let now = finished(dir.path(), "killed.db");
        for (number, row) in &before {
            assert_eq!(now.get(number), Some(row), "trial {number} is lost, or ran again");
        }
        before = now;
    }
    assert!(killed >= 3 && before.len() < 200, "{killed} kills, {} trials", before.len());
    let json = cli(dir.path(), &format!("bench study {options} --study killed.db --json")).ok().json();
    assert_eq!(json["digest"], want);
    assert_eq!(json["trials"], 200 - before.len());
    let now = finished(dir.path(), "killed.db");
    assert!(before.iter().all(|(number, row)| now.get(number) == Some(row)));
}

#[test]
fn processes_share_a_study() {
    let dir = temp();
    let options = "--trials 300 --lag 8 --wait 3000";
    let want = digest(dir.path(), options);
    let children: Vec<Child> =
        (0..8).map(|_| start(dir.path(), &format!("{options} --workers 1 --study shared.db"))).collect();
    let mut trials = 0;
    for child in children {
        let output = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["digest"], want);
        trials += json["trials"].as_u64().expect("a number");
    }
    assert_eq!(trials, 300, "each trial is recorded by one process");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left beside it");
}

#[test]
fn the_work_of_a_killed_process_is_taken_over() {
    let dir = temp();
    let options = "--trials 60 --lag 4 --wait 30000";
    let want = digest(dir.path(), options);
    let mut killed = start(dir.path(), &format!("{options} --study shared.db"));
    let other = start(dir.path(), &format!("{options} --study shared.db"));
    sleep(Duration::from_millis(200));
    killed.kill().expect("SIGKILL");
    killed.wait().expect("an end");
    let output = other.wait_with_output().expect("an end");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["digest"], want);
}

#[test]
fn a_study_is_shown_exported_resumed_and_deleted() {
    let dir = temp();
    let path = dir.path();
    cli(path, "bench study --trials 40 --study a.db").ok();
    write(&path.join("notes.db"), "no study");
    let list = cli(path, "study list --json").ok().json();
    assert_eq!(list["studies"].as_array().map(Vec::len), Some(1));
    assert_eq!((&list["studies"][0]["study"], &list["studies"][0]["finished"]), (&"a.db".into(), &40.into()));
    assert!(cli(path, "study list").ok().stdout.contains("a.db"));

    let show = cli(path, "study show a.db --json").ok().json();
    assert_eq!(
        (&show["trials"]["finished"], &show["seed"], &show["sampler"]),
        (&40.into(), &1.into(), &"climb".into())
    );
    assert_eq!(show["objectives"][0]["name"], "accuracy");
    let text = cli(path, "study show a.db --last 3").ok().stdout;
    assert!(text.contains("40 finished") && text.contains("maximize accuracy"), "{text}");

    let table = cli(path, "study export csv a.db").ok().stdout;
    assert_eq!(table.lines().count(), 41);
    let header = "number,state,values_accuracy,params_depth,params_width.0,";
    assert!(table.starts_with(header), "{table}");
    cli(path, "study export csv a.db --out a.csv").ok();
    assert_eq!(fs::read_to_string(path.join("a.csv")).expect("a file"), table);
    let all = cli(path, "study export json a.db").ok().json();
    let trials = all["trials"].as_array().expect("trials");
    assert_eq!((trials.len(), &all["study"]["space_hash"]), (40, &show["space_hash"]));

    let best = cli(path, "study best a.db --json").ok().json();
    let top = trials.iter().filter(|t| t["state"] == "complete").map(|t| t["values"]["accuracy"].as_f64());
    let top = top.flatten().fold(f64::NEG_INFINITY, f64::max);
    assert_eq!(best["best"]["values"]["accuracy"].as_f64(), Some(top));
    assert!(cli(path, "study best a.db").ok().stdout.contains("depth="));

    // Moved, from elsewhere, and further than it was begun for.
    fs::create_dir(path.join("sub")).expect("a directory");
    fs::rename(path.join("a.db"), path.join("sub/b.db")).expect("moved");
    cli(&path.join("sub"), "study resume b.db --trials 50").ok();
    assert_eq!(cli(path, "study show sub/b.db --json").ok().json()["trials"]["finished"], 50);
    assert!(!path.join("a.db").exists());
    let unbroken = digest(path, "--trials 50");
    assert_eq!(digest(path, "--trials 50 --study sub/b.db"), unbroken);

    cli(path, "study delete sub/b.db").fails(2, &["sub/b.db", "50", "--yes"]);
    assert!(path.join("sub/b.db").exists());
    cli(path, "study delete sub/b.db --yes").ok();
    assert_eq!(fs::read_dir(path.join("sub")).expect("a directory").count(), 0);
}

#[test]
fn what_is_no_study_is_one_clear_line() {
    let dir = temp();
    let path = dir.path();
    cli(path, "bench study --trials 5 --study a.db").ok();
    write(&path.join("text.db"), "number,accuracy\n0,0.5\n");
    let whole = fs::read(path.join("a.db")).expect("a file");
    write(&path.join("cut.db"), &whole[..whole.len() / 2]);
    for command in ["show", "best", "export csv", "export json", "resume", "delete --yes"] {
        cli(path, &format!("study {command} none.db")).fails(1, &["none.db", "no such file"]);
        cli(path, &format!("study {command} text.db")).fails(1, &["text.db", "is no study"]);
        cli(path, &format!("study {command} cut.db")).fails(1, &["cut.db", "damaged"]);
    }
    cli(path, "bench study --study text.db").fails(1, &["text.db", "is no study"]);
    cli(path, "bench study --study a.db --seed 2").fails(1, &["a.db", "seed 1, not 2"]);
    cli(path, "bench study --lag 0").fails(2, &["lag"]);
    cli(path, "study list none").fails(1, &["none", "no such file"]);
    cli(path, "study export xml a.db").fails(2, &["xml"]);
    assert_eq!(fs::read(path.join("text.db")).expect("a file"), b"number,accuracy\n0,0.5\n");
    assert!(!path.join("none.db").exists());
    // A study that the program did not begin has no command to run again.
    let conn = rusqlite::Connection::open(path.join("a.db")).expect("SQLite");
    conn.execute("UPDATE meta SET value = '{\"command\":[\"study\",\"delete\",\"a.db\",\"--yes\"]}' WHERE key = 'about'", [])
        .expect("written");
    drop(conn);
    cli(path, "study resume a.db").fails(1, &["a.db", "not begun by this program"]);
    assert!(path.join("a.db").exists());
}
