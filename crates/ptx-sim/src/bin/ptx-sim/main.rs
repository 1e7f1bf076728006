//! `ptx-sim`: runs, checks, profiles and lints the kernels of a PTX file on a machine without a GPU.
//!
//! One file per subcommand. Arguments are in [`args`] (what every launch takes), NumPy files in [`npy`], findings and everything
//! written in [`output`]. Exit codes: 0 clean, 1 findings or a failed run, 2 bad usage or unreadable input; the last
//! comes with one line on stderr, `error: file:line:column: what is wrong` where there is a file to blame.

mod args;
mod check;
mod lint;
mod list;
mod npy;
mod output;
mod profile;
mod run;
mod sarif;

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// Why the program ends early: one line each.
pub enum Failure {
    /// Bad usage or unreadable input: exit code 2.
    Input(String),
    /// The machine let the program down, by a full disk say: exit code 1.
    Work(String),
}

/// Whether there was nothing to complain about.
pub type Outcome = Result<bool, Failure>;

/// Run, check, profile and lint the kernels of a PTX file without a GPU.
#[derive(Parser)]
#[command(name = "ptx-sim", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Profile(profile::Args),
    Lint(lint::Args),
    List(list::Args),
}

const EXAMPLES: &str = "\
Examples:
  ptx-sim list k.ptx
  ptx-sim lint k.ptx
  ptx-sim run k.ptx --kernel saxpy --grid 4 --block 128 --arg u32=500 --arg f32=1.5 --arg in=x.npy --arg inout=y.npy
  ptx-sim check k.ptx --grid 4 --block 128 --arg in=x.npy --arg out=y.npy:f32:16x32 --schedules 16 --format sarif
  ptx-sim profile k.ptx --grid 4 --block 128 --arg in=x.npy --arg out=y.npy --gpu H100

Exit codes: 0 clean, 1 findings or a failed run, 2 bad usage or unreadable input.";

/// What clap has to say, on one line and without its advice on usage.
fn one_line(e: &clap::Error) -> String {
    let text = e.to_string();
    let lines =
        text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let joined = lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    joined.trim_start_matches("error: ").to_string()
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            output::print(&e.to_string());
            return ExitCode::SUCCESS;
        }
        Err(e) if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return fail("a command is missing: run, check, profile, lint or list (`ptx-sim --help`)", 2);
        }
        Err(e) => return fail(&one_line(&e), 2),
    };
    let outcome = match &cli.command {
        Command::Run(a) => run::run(a),
        Command::Check(a) => check::run(a),
        Command::Profile(a) => profile::run(a),
        Command::Lint(a) => lint::run(a),
        Command::List(a) => list::run(a),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Input(line)) => fail(&line, 2),
        Err(Failure::Work(line)) => fail(&line, 1),
    }
}

fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("error: {}", line.replace(['\n', '\r'], " "));
    ExitCode::from(code)
}
