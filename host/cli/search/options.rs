//! The options of `search`, and what they mean for the library.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::{DataArgs, DeviceArg, READING, ScaleArg};

const EXAMPLES: &str = "\
Examples:
  ironwarp search digits                                   search, train the best, test it, write a report
  ironwarp search digits --time 20s --objectives accuracy,params
  ironwarp search houses.csv --target price --trials 300 --sampler evolution --pruner asha
  ironwarp search digits --space my.toml --max-params 20000
  ironwarp search digits --study digits.db                 go on with a study, or start it; from several terminals too
  ironwarp search wine --folds 5                           repeat the whole search for each of five test parts
  ironwarp search digits --json | tail -n 1                for scripts

The search sees the training rows alone; the test rows are used once, at the end. DATA is as for `ironwarp train`.";

/// Heading of what limits a search.
const BUDGET: &str = "Budget";
/// Heading of what is searched.
const SPACE: &str = "Search space";
/// Heading of how it is searched.
const METHOD: &str = "Method";
/// Heading of files.
const OUTPUT: &str = "Files and output";

/// Search for the best network on a data set, train it from scratch, test it on held-out rows, write a report.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A built-in data set, a file or a folder.
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    #[command(flatten)]
    pub reading: DataArgs,
    /// Share of the rows that nothing is selected on, in (0, 1); a file with a test part of its own keeps that.
    #[arg(long, value_name = "F", default_value_t = 0.2, allow_negative_numbers = true, help_heading = READING)]
    pub test_fraction: f64,
    /// How columns of numbers are scaled, by statistics of the training rows.
    #[arg(long, value_enum, default_value_t = ScaleArg::Standard, help_heading = READING)]
    pub scale: ScaleArg,

    /// The search space, as TOML (see examples/space.toml) [default: multi-layer perceptrons fit for the data].
    #[arg(long, value_name = "FILE", help_heading = SPACE)]
    pub space: Option<PathBuf>,
    /// Most trainable numbers of a network.
    #[arg(long, value_name = "N", help_heading = SPACE)]
    pub max_params: Option<u64>,
    /// Most floating-point operations of a forward pass of one sample.
    #[arg(long, value_name = "N", help_heading = SPACE)]
    pub max_flop: Option<u64>,
    /// Most bytes of parameters, gradients, moments and activations while training.
    #[arg(long, value_name = "BYTES", help_heading = SPACE)]
    pub max_memory: Option<u64>,
    /// Longest forward pass of a sample, as 200us or 1.5ms, predicted from passes measured on the device.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = SPACE)]
    pub max_latency: Option<Duration>,

    /// What to optimise, the first one learned: accuracy, r2, loss, params, flop, memory, latency [default: accuracy for
    /// classes, r2 for numbers].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', help_heading = METHOD)]
    pub objectives: Vec<String>,
    /// What proposes networks: random, grid, evolution, tpe, nsga2, local or generator [default: tpe; nsga2 for several
    /// objectives].
    #[arg(long, value_name = "NAME", help_heading = METHOD)]
    pub sampler: Option<String>,
    /// What stops hopeless trials: none, median, percentile, halving, asha or hyperband.
    #[arg(long, value_name = "NAME", default_value = "hyperband", help_heading = METHOD)]
    pub pruner: String,
    /// Of how many proposals for a trial the one is trained that scores best without training; scores that do not rank
    /// better than the parameter count on this data have no say [1: no screening].
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = METHOD)]
    pub screen: u64,
    /// Epochs of a trial that is not stopped.
    #[arg(long, value_name = "N", default_value_t = 27, help_heading = METHOD)]
    pub epochs: usize,
    /// Epochs of the finalists' and the winner's training.
    #[arg(long, value_name = "N", default_value_t = 60, help_heading = METHOD)]
    pub final_epochs: usize,
    /// Share of the training rows that trials are judged on, in (0, 1).
    #[arg(long, value_name = "F", default_value_t = 0.25, allow_negative_numbers = true, help_heading = METHOD)]
    pub validation: f64,
    /// Trials that may run at once without waiting for each other; part of what makes a study reproducible [default: 16; 256
    /// on a GPU].
    #[arg(long, value_name = "N", help_heading = METHOD)]
    pub lag: Option<u64>,
    /// Finalists that cross-validation compares.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = METHOD)]
    pub finalists: usize,
    /// Trainings of the winner, each from another seed, that its test figure is the mean of.
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = METHOD)]
    pub repeats: u64,
    /// Repeat the whole search for each of N test parts that together are all rows (nested cross-validation).
    #[arg(long, value_name = "N", help_heading = METHOD)]
    pub folds: Option<usize>,

    /// Trials of the study in all [default: 600, or as many as --time allows].
    #[arg(long, value_name = "N", help_heading = BUDGET)]
    pub trials: Option<u64>,
    /// Time for the trials, as 60s, 5m or 1h30m.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = BUDGET)]
    pub time: Option<Duration>,
    /// Trials that run at once here [default: one a core]. The trials are the same for any number.
    #[arg(long, value_name = "N", help_heading = BUDGET)]
    pub workers: Option<usize>,

    /// Key of every random number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArg,

    /// Directory for the model, the report and the study [default: runs/search-<data name>, or the next free one].
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    pub out: Option<PathBuf>,
    /// The study's file; one that exists is gone on with [default: study.db in the directory].
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub study: Option<PathBuf>,
    /// The last line of stdout is one JSON object.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, help_heading = OUTPUT)]
    pub quiet: bool,
}

/// `90`, `90s`, `1.5ms`, `200us`, `5m`, `1h30m`: one or more numbers with units; a number alone is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] =
        [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
    let bad = || format!("'{text}' is no time: write 60s, 5m, 1h30m or 1.5ms");
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "" if rest.is_empty() => 1.0,
            name => UNITS.iter().find(|u| u.0 == name).ok_or_else(bad)?.1,
        };
        rest = &rest[letters..];
        seconds += number * unit;
    }
    if !(seconds > 0.0 && seconds <= 1e9) {
        return Err(format!("'{text}': give a time above 0 and below 30 years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| duration(text).map(|d| d.as_secs_f64());
        for (text, want) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("1.5ms", 0.0015),
            ("200us", 0.0002),
            ("1h30m", 5400.0),
            ("2m5s", 125.0),
        ] {
            assert!(seconds(text).is_ok_and(|s| (s - want).abs() < 1e-9), "{text}: {:?}", seconds(text));
        }
        for bad in ["", "s", "5x", "0", "0s", "-3s", "1e3", "5 m", "h1", "99999999d", "..s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
