//! Interruption: SIGKILL and Ctrl-C at any moment, and on to the same bits.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::{cli, program, read, temp, words};

/// Enough epochs with a checkpoint each that a kill lands inside; everything that keeps state is on: moments, dropout,
/// validation, the best epoch so far.
const TRAINING: &str = "train digits --device cpu --quiet --hidden 24,16 --epochs 60 --dropout 0.2 --optimizer adamw \
                        --schedule cosine --clip-norm 1 --validation 0.2 --patience 50 --checkpoint-interval 0";

fn start(dir: &Path, options: &str) -> Child {
    let mut command: Command = program(dir);
    command.args(words(TRAINING)).args(words(options)).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Waits until the checkpoint is another one than `before`, or the child has ended.
fn wait_for_checkpoint(child: &mut Child, path: &Path, before: &[u8]) {
    while child.try_wait().expect("a child").is_none() {
        if std::fs::read(path).is_ok_and(|now| now != before) {
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

/// The model of a run that nothing disturbed.
fn reference(dir: &Path) -> Vec<u8> {
    cli(dir, &format!("{TRAINING} --out whole")).ok();
    read(&dir.join("whole/model.safetensors"))
}

#[test]
fn killed_runs_end_with_the_same_bits() {
    let dir = temp();
    let want = reference(dir.path());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut killed = 0;
    for round in 0..3 {
        let out = format!("killed-{round}");
        let checkpoint = dir.path().join(&out).join("checkpoint.safetensors");
        for _ in 0..4 {
            let before = std::fs::read(&checkpoint).unwrap_or_default();
            let mut child = start(dir.path(), &format!("--resume --out {out}"));
            wait_for_checkpoint(&mut child, &checkpoint, &before);
            // Some time into an epoch, or into the writing of a file.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            sleep(Duration::from_micros((state >> 33) % 12_000));
            killed += usize::from(child.try_wait().expect("a child").is_none());
            child.kill().expect("SIGKILL");
            child.wait().expect("an end");
        }
        cli(dir.path(), &format!("{TRAINING} --resume --out {out}")).ok();
        let model = read(&dir.path().join(&out).join("model.safetensors"));
        assert!(model == want, "round {round}: the resumed run ends with other bits");
    }
    assert!(killed >= 4, "most kills must hit a run under way, {killed} of 12 did");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_goes_on() {
    let dir = temp();
    let want = reference(dir.path());
    let checkpoint = dir.path().join("stopped/checkpoint.safetensors");
    let mut child = start(dir.path(), "--out stopped");
    wait_for_checkpoint(&mut child, &checkpoint, &[]);
    let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let line = stderr.lines().last().unwrap_or_default();
    for part in ["error: interrupted at step ", "stopped/checkpoint.safetensors", "--resume --out stopped"] {
        assert!(line.contains(part), "{part}: {stderr}");
    }
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    assert!(!dir.path().join("stopped/model.safetensors").exists());
    cli(dir.path(), &format!("{TRAINING} --resume --out stopped")).ok();
    assert!(
        read(&dir.path().join("stopped/model.safetensors")) == want,
        "the resumed run ends with other bits"
    );
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let dir = temp();
    let line = "train iris --device cpu --hidden 8 --epochs 4 --json";
    let first = cli(dir.path(), line).ok().json();
    let model = dir.path().join("runs/iris/model.safetensors");
    let before = read(&model);
    let again = cli(dir.path(), &format!("{line} --resume")).ok().json();
    assert_eq!((&again["out"], &again["test_loss"]), (&first["out"], &first["test_loss"]));
    assert!(read(&model) == before);
}
