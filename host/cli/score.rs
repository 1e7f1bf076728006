//! `score DATA`: ranks random networks without training them; with `--train`, says how good each score is at that.
//!
//! The networks are drawn from the default space for the data. Their rank is the aggregate of the scores asked for; with
//! `--train K` the first K are trained, each score's rank correlation with their validation value is printed beside that
//! of the parameter count, and only scores that beat it count for the ranking.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use ironwarp::data::{Dataset, Task};
use ironwarp::nn::{Mlp, Norm};
use ironwarp::search::population::{Candidate, Population};
use ironwarp::search::rng::Rng;
use ironwarp::search::score::correlation::{self, Row};
use ironwarp::search::score::{Minibatch, Score, Scores, rank_by, score};
use ironwarp::train::Options;
use serde_json::json;

use super::args::{DataArgs, DeviceArg, READING, ScaleArg, Source, network_space};
use super::fail::{self, usage_error};
use super::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp score digits                                  the most promising of 200 random networks
  ironwarp score digits --scores synflow,naswot --networks 5000
  ironwarp score digits --train 40                       how well does each score rank 40 trained networks?
  ironwarp score houses.csv --target price --json

Scores: params, flop, grad_norm, snip, grasp, fisher, synflow, jacob_cov, naswot, zico, zen, swap, expressivity,
progressivity, trainability, az_nas. Dropout and normalisation play no part in a score.";

/// Purpose of the random numbers.
const PURPOSE: u32 = 0x7363_6c69;
/// Draws for each network before a space counts as exhausted.
const DRAWS: usize = 50;

/// Rank random networks on a data set without training them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A built-in data set, a file or a folder.
    #[arg(value_name = "DATA")]
    data: PathBuf,
    #[command(flatten)]
    reading: DataArgs,
    /// How columns of numbers are scaled, by statistics of the training rows.
    #[arg(long, value_enum, default_value_t = ScaleArg::Standard, help_heading = READING)]
    scale: ScaleArg,
    /// The space that networks are drawn from, as TOML [default: multi-layer perceptrons fit for the data].
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Networks to draw.
    #[arg(long, value_name = "N", default_value_t = 200)]
    networks: usize,
    /// Samples that scores look at.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Scores to compute [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    scores: Vec<String>,
    /// Train the first K networks, and say how well each score ranks them.
    #[arg(long, value_name = "K", default_value_t = 0)]
    train: usize,
    /// Epochs of that training.
    #[arg(long, value_name = "N", default_value_t = 20)]
    epochs: usize,
    /// Networks to print.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Key of every random number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    for (option, value) in [("--networks", args.networks), ("--batch", args.batch), ("--epochs", args.epochs)]
    {
        if value == 0 {
            return Err(usage_error(format!("{option} is 0: give at least 1")));
        }
    }
    if args.train > args.networks {
        let (k, n) = (args.train, args.networks);
        return Err(usage_error(format!(
            "--train {k}: there are {n} networks; give fewer, or more --networks"
        )));
    }
    let scores: Vec<Score> = match args.scores.as_slice() {
        [] => Score::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let device = args.device.open()?;
    let source = Source::of(&args.data, &args.reading)?;
    let raw = source.load(&args.reading.options())?.scaled(args.scale.into());
    let split = raw.stratified_split(0.8, args.seed)?;
    let nets = networks(&split.train, args)?;
    let batch = Minibatch::draw(&split.train, args.batch, args.seed);

    let began = Instant::now();
    let mut asked = scores.clone();
    if !asked.contains(&Score::Params) {
        asked.push(Score::Params);
    }
    let scored = score(&device, &nets, &batch, args.seed, &asked)?;
    let seconds = began.elapsed().as_secs_f64();

    let trained = train(args, &device, &split.train, &split.test, &nets)?;
    let rows = trained.as_ref().map(|values| correlation::table(&scored[..values.len()], values, args.seed));
    let (by, aggregate) = rank(&scores, &scored, rows.as_deref());
    let mut order: Vec<usize> = (0..nets.len()).collect();
    order.sort_by(|&a, &b| aggregate[b].total_cmp(&aggregate[a]).then(a.cmp(&b)));
    let value = if raw.task() == Some(Task::Regression) { "val_r2" } else { "val_accuracy" };
    let known = |i: usize| trained.as_ref().and_then(|values| values.get(i).copied());

    if args.json {
        let networks: Vec<_> = order
            .iter()
            .map(|&i| {
                let scores: serde_json::Map<_, _> =
                    scores.iter().map(|s| (s.to_string(), json!(scored[i].get(*s)))).collect();
                json!({ "network": describe(&nets[i]), "rank_aggregate": aggregate[i], "scores": scores, value: known(i) })
            })
            .collect();
        return out::print_json(&json!({
            "command": "score",
            "data": args.data.display().to_string(),
            "device": device.kind().to_string(),
            "seed": args.seed,
            "batch": batch.rows,
            "seconds": seconds,
            "networks_per_second": nets.len() as f64 / seconds,
            "ranked_by": by,
            "correlations": rows,
            "networks": networks,
        }));
    }
    let mut text = format!(
        "{} networks scored on {} samples on {}: {seconds:.2} s, {} networks/s\n",
        nets.len(),
        batch.rows,
        device.kind(),
        out::grouped((nets.len() as f64 / seconds) as u64),
    );
    if let Some(rows) = &rows {
        text += &format!(
            "\nrank correlation with {value} of {} trained networks ({} epochs)\n",
            args.train, args.epochs
        );
        text += &correlation_table(rows);
    }
    let names: Vec<&str> = by.iter().map(|s| s.name()).collect();
    text += &format!("\nranked by {}\n", names.join(", "));
    let mut header = vec!["network", "params"];
    header.extend(names.iter().filter(|n| **n != "params"));
    if trained.is_some() {
        header.push(value);
    }
    let line = |&i: &usize| {
        let mut row = vec![describe(&nets[i]), out::grouped(nets[i].parameter_count() as u64)];
        let others = by.iter().filter(|s| **s != Score::Params);
        row.extend(others.map(|s| short(scored[i].get(*s).unwrap_or(f64::NAN))));
        if trained.is_some() {
            row.push(known(i).map_or("-".into(), |v| format!("{v:.3}")));
        }
        row
    };
    let lines: Vec<Vec<String>> = order.iter().take(args.top).map(line).collect();
    text += &out::table(&header, &lines, &[]);
    out::print(&text)
}

/// Different networks drawn from the space. One that differs from another only in how it is trained
/// does not count as different.
fn networks(train: &Dataset, args: &Args) -> Result<Vec<Mlp>> {
    let (inputs, outputs, n) = (train.features().cols, train.outputs(), args.networks);
    let networks = network_space(args.space.as_deref(), inputs, outputs, train.rows())?;
    let space = networks.space()?;
    let (mut seen, mut nets) = (HashSet::new(), vec![]);
    for draw in 0..(n * DRAWS) as u64 {
        if nets.len() == n {
            break;
        }
        let net = networks.decode(&space.draw(&mut Rng::new(args.seed, PURPOSE, draw))?).net;
        if seen.insert(describe(&net)) {
            nets.push(net);
        }
    }
    if nets.len() < n {
        fail::line(&format!("the space gave {} different networks in {} draws", nets.len(), n * DRAWS));
    }
    Ok(nets)
}

/// The validation value of the first `--train` networks, all trained alike; NaN where training failed.
fn train(
    args: &Args,
    device: &ironwarp::Device,
    part: &Dataset,
    validation: &Dataset,
    nets: &[Mlp],
) -> Result<Option<Vec<f64>>> {
    if args.train == 0 {
        return Ok(None);
    }
    let mut population = Population::new(device, part, validation)?;
    let options = Options { epochs: args.epochs, seed: args.seed, ..Options::default() };
    let mut ids = vec![];
    for net in &nets[..args.train.min(nets.len())] {
        ids.push(population.add(Candidate { net: net.clone(), options: options.clone() })?);
    }
    let outcomes = population.advance(&ids, args.epochs);
    let value = |outcome: &Result<ironwarp::search::population::Progress, _>| match outcome {
        Ok(progress) => progress.val_accuracy.or(progress.val_r2).unwrap_or(-progress.val_loss),
        Err(_) => f64::NAN,
    };
    Ok(Some(outcomes.iter().map(value).collect()))
}

/// What the ranking is made of, and the aggregate: without correlations the scores asked for, with them those that are worth
/// it; the parameter count where nothing else is left.
fn rank(scores: &[Score], scored: &[Scores], rows: Option<&[Row]>) -> (Vec<Score>, Vec<f64>) {
    let size = |s: &Score| matches!(s, Score::Params | Score::Flop);
    let worth = |s: &Score| rows.is_none_or(|rows| rows.iter().any(|row| row.score == *s && row.used));
    let mut by: Vec<Score> = scores.iter().copied().filter(|s| !size(s) && worth(s)).collect();
    if by.is_empty() {
        by.push(Score::Params);
    }
    let aggregate = rank_by(scored, &by);
    (by, aggregate)
}

fn correlation_table(rows: &[Row]) -> String {
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
    let line = |row: &Row| {
        let interval = row.interval.map_or("-".into(), |(low, high)| format!("{low:.2} to {high:.2}"));
        vec![
            row.score.to_string(),
            number(row.rho),
            interval,
            number(row.tau),
            row.n.to_string(),
            row.why.clone(),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    out::table(&["score", "rho", "95 %", "tau", "n", ""], &lines, &[5])
}

/// Hidden layers: `64 relu, 64 gelu+skip`, or `linear`.
fn describe(net: &Mlp) -> String {
    let hidden = &net.layers[..net.layers.len() - 1];
    let layer = |l: &ironwarp::nn::Dense| {
        let norm = match l.norm {
            Norm::None => "",
            Norm::Layer => "+layer_norm",
            Norm::Batch => "+batch_norm",
        };
        format!("{} {}{norm}{}", l.units, l.activation, if l.skip { "+skip" } else { "" })
    };
    if hidden.is_empty() { "linear".into() } else { hidden.iter().map(layer).collect::<Vec<_>>().join(", ") }
}

/// Four digits that matter.
fn short(v: f64) -> String {
    match v.abs() {
        a if !(1e-2..1e4).contains(&a) && a != 0.0 => format!("{v:.3e}"),
        a if a < 10.0 => format!("{v:.3}"),
        _ => format!("{v:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scores_that_are_worth_it_rank() {
        let scored: Vec<Scores> = [(3.0, 1.0, 5.0), (2.0, 2.0, 9.0), (1.0, 3.0, 7.0)]
            .map(|(a, b, c)| Scores(vec![(Score::Synflow, a), (Score::Zen, b), (Score::Params, c)]))
            .to_vec();
        let asked = [Score::Synflow, Score::Zen];
        let row =
            |score, used| Row { score, rho: None, interval: None, tau: None, n: 9, used, why: String::new() };
        let best = |rows: Option<&[Row]>| {
            let (by, aggregate) = rank(&asked, &scored, rows);
            let best = (0..3).max_by(|&a, &b| aggregate[a].total_cmp(&aggregate[b])).expect("three");
            (by, best)
        };
        assert_eq!(best(None).0, asked);
        assert_eq!(
            best(Some(&[row(Score::Synflow, true), row(Score::Zen, false)])),
            (vec![Score::Synflow], 0)
        );
        assert_eq!(best(Some(&[row(Score::Synflow, false)])), (vec![Score::Params], 1));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 1.23456, -123.456, 123456.0, 0.001].map(short),
            ["0.000", "1.235", "-123.5", "1.235e5", "1.000e-3"]
        );
    }
}
