//! The whole program: contract for scripts, bad input, files, interruption.

mod bad_input;
mod bench_search;
mod contract;
mod files;
mod gemm;
mod resume;
mod round_trip;
mod search;
mod study;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program left behind.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// Succeeds or shows what was said.
    #[track_caller]
    fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The JSON object in the last line of stdout.
    #[track_caller]
    fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}\n{}", self.stderr));
        assert!(value.is_object(), "{line}");
        value
    }

    /// Exit code and message of a failure: one line that begins with `error: `, and has every one of `parts`.
    #[track_caller]
    fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "one error line: {}", self.stderr);
        assert_eq!(self.stderr.lines().last(), Some(lines[0]), "the error comes last: {}", self.stderr);
        for part in parts {
            assert!(lines[0].contains(part), "'{part}' is not in: {}", lines[0]);
        }
        for word in ["panicked", "internal error", "backtrace"] {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
    }
}

/// The program, to be run in `dir`, without colours or an assembler.
fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp"));
    command.current_dir(dir).env_remove("PTXAS").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// Runs the program with `args` in `dir`.
fn run<S: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = S>) -> Run {
    finish(program(dir).args(args))
}

fn finish(command: &mut Command) -> Run {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Splits a command line at spaces; no argument here has any.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// As [`run`], with the command line as text.
fn cli(dir: &Path, line: &str) -> Run {
    run(dir, words(line))
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Options that make a training short: a second at most on a slow machine.
const SHORT: &str = "--device cpu --hidden 8 --epochs 3 --quiet";

/// Trains on `data` into `dir/run`; the model's path.
fn trained(dir: &Path, data: &str) -> PathBuf {
    cli(dir, &format!("train {data} {SHORT} --out run")).ok();
    dir.join("run/model.safetensors")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
