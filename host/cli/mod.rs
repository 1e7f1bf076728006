//! The command line: one file for each command.
//!
//! Contract for scripts: results on stdout, progress and reports on stderr; with `--json` the last line of stdout is one
//! JSON object. Exit codes: 0; 1 for a failure (files, data, divergence); 2 for usage (an option that does not exist, is out
//! of its range or names nothing); 130 after Ctrl-C. A failure is one line, `error: ...`, on stderr: [`fail`] makes it.

mod args;
mod bench;
mod completions;
mod devices;
mod eval;
mod fail;
mod interrupt;
mod kernels;
mod out;
mod predict;
mod products;
mod profile;
mod progress;
mod ptxas;
mod report;
mod run_dir;
mod sample;
mod score;
mod search;
mod study;
mod train;
mod tune;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  ironwarp search digits                         find the best network, test it, write a report to runs/search-digits
  ironwarp train digits                          train on a built-in data set, save to runs/digits
  ironwarp train data.csv --target price         train on a file
  ironwarp eval runs/digits/model.safetensors digits --part test
  ironwarp predict runs/digits/model.safetensors new.csv --out predictions.csv
  ironwarp bench mlp --dims 64,64,10 --batch 64 --steps 2000
  ironwarp profile softmax --gpu H200             what its kernels cost on a GPU, without one
  ironwarp tune --device cuda:0                   find the fastest matrix product of each shape, once and for all
  ironwarp score digits --train 30               rank random networks without training; is that any good here?
  ironwarp study show digits.db                   what a search has found so far
  ironwarp devices

Built-in data sets: digits, iris, wine, breast_cancer, diabetes.
Exit codes: 0, 1 failure, 2 usage, 130 interrupted.";

/// Deep learning on NVIDIA GPUs, in Rust from end to end: on a GPU, on the CPU, or in a PTX simulator.
#[derive(Parser)]
#[command(name = "ironwarp", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Search(Box<search::Args>),
    Score(score::Args),
    Train(Box<train::Args>),
    Eval(eval::Args),
    Predict(predict::Args),
    Devices(devices::Args),
    Kernels(kernels::Args),
    Bench(bench::Args),
    Profile(profile::Args),
    Tune(tune::Args),
    Study(study::Args),
    Completions(completions::Args),
}

/// Parses, runs, and turns what went wrong into a line and an exit code.
pub fn main() -> ExitCode {
    fail::hook();
    let parsed = Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return fail::usage(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail::report(&error),
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Search(args) => search::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Study(args) => study::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Runs a command line, given without the program's name.
fn execute(words: &[String]) -> Result<()> {
    let program = "ironwarp".to_owned();
    let cli = Cli::try_parse_from(std::iter::once(&program).chain(words));
    run(cli.map_err(|e| fail::usage_error(fail::clap_line(&e.to_string())))?.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
