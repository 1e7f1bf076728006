//! `search DATA`: search, compare the finalists, train the winner from scratch, test it once, save it, report.
//!
//! The directory of the run receives `study.db` (unless `--study` says another file), `model.safetensors`, `report.html` and
//! the figures of the report as SVG. With `--folds` every part of the data is the test part of a whole search of its own; the
//! study of fold i is `study-i.db`, its report `report-i.html`.

mod live;
mod options;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use ironwarp::Device;
use ironwarp::data::{Dataset, Split, Task};
use ironwarp::search::assess::Tested;
use ironwarp::search::builder::{self, Found, Search};
use ironwarp::search::estimate::Estimate;
use ironwarp::search::metric::Metric;
use ironwarp::search::space::network::NetworkSpace;
use ironwarp::search::{pruner, sampler};
use serde_json::{Map, Value, json};

use super::args::Source;
use super::fail::{self, Interrupted, usage_error};
use super::interrupt::{self, Training};
use super::report;
use super::run_dir::RunDir;
use super::{out, study};
use live::{Live, figure};
pub use options::Args;

/// Name of the model's file in a run's directory.
const MODEL_FILE: &str = "model.safetensors";

pub fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let device = args.device.open()?;
    let source = Source::of(&args.data, &args.reading)?;
    let raw = source.load(&args.reading.options())?.scaled(args.scale.into());
    let task = raw.task().unwrap_or(Task::Classification);
    let metrics = metrics(args, task)?;
    let parts = parts(&raw, args)?;
    // What is wrong with options shows before anything is made.
    let space = space(args, &parts[0].train)?;
    space.space()?;
    search(args, &device, &metrics, space)?;
    if !args.quiet {
        raw.report().lines.iter().chain(&parts[0].preprocessing.notes).for_each(|text| fail::line(text));
    }
    let name = source.name();
    let mut dir = RunDir::choose(args.out.as_deref(), &format!("search-{name}"), false)?;
    dir.check_writable(1 << 20)?;
    interrupt::install()?;
    let mut outcomes = vec![];
    for (number, part) in parts.iter().enumerate() {
        if parts.len() > 1 && !args.quiet {
            fail::line(&format!("fold {} of {}", number + 1, parts.len()));
        }
        let study = study_path(args, dir.path(), (parts.len() > 1).then_some(number + 1));
        outcomes.push(one(args, &device, &metrics, part, &study)?);
    }
    // Of several folds the model is that of the search whose finalist validated best: no test row had a say.
    let direction = metrics[0].direction();
    let chosen = (0..outcomes.len()).min_by(|&a, &b| {
        let loss = |i: usize| direction.loss(outcomes[i].validated());
        loss(a).total_cmp(&loss(b))
    });
    let Some(chosen) = chosen else { unreachable!("there is a part at least") };
    dir.keep();
    let model = dir.path().join(MODEL_FILE);
    outcomes[chosen].tested.model.save(&model)?;
    let result =
        Outcome { args, name: &name, device: &device, metrics, outcomes, chosen, model, seconds: began };
    if args.json { out::print_json(&result.json()?) } else { out::print(&result.text()?) }
}

/// The objectives asked for. Errors: usage.
fn metrics(args: &Args, task: Task) -> Result<Vec<Metric>> {
    let named: Vec<Metric> =
        args.objectives.iter().map(|name| name.trim().parse()).collect::<Result<_, _>>()?;
    let metrics = if named.is_empty() { vec![Metric::default_for(task)] } else { named };
    Metric::check(&metrics, task)?;
    Ok(metrics)
}

/// Search and test part, or several such pairs.
fn parts(raw: &Dataset, args: &Args) -> Result<Vec<Split>> {
    let fraction = |name: &str, value: f64| match value {
        f if f > 0.0 && f < 1.0 => Ok(()),
        f => Err(usage_error(format!("--{name} {f}: give a number between 0 and 1, such as 0.2"))),
    };
    fraction("test-fraction", args.test_fraction)?;
    fraction("validation", args.validation)?;
    if let Some(folds) = args.folds {
        return Ok(raw.folds(folds, args.seed)?);
    }
    if let Some(own) = raw.own_split() {
        return Ok(vec![own?]);
    }
    Ok(vec![raw.stratified_split(1.0 - args.test_fraction, args.seed)?])
}

/// The space asked for, with the limits.
fn space(args: &Args, train: &Dataset) -> Result<NetworkSpace> {
    let (inputs, outputs) = (train.features().cols, train.outputs());
    let rows = (train.rows() as f64 * (1.0 - args.validation)) as usize;
    let mut space = NetworkSpace::default_for(inputs, outputs, rows);
    if let Some(parameters) = args.max_params {
        space = space.max_params(parameters);
    }
    if let Some(flop) = args.max_flop {
        space = space.max_flop(flop);
    }
    if let Some(bytes) = args.max_memory {
        space = space.max_memory(bytes);
    }
    if let Some(time) = args.max_latency {
        space = space.max_latency(time.as_secs_f64());
    }
    Ok(space)
}

/// The search that the options describe.
fn search<'a>(args: &Args, device: &Device, metrics: &[Metric], space: NetworkSpace) -> Result<Search<'a>> {
    let mut search = Search::new(space)
        .objectives(metrics.iter().copied())
        .boxed_pruner(pruner::by_name(&args.pruner)?)
        .epochs(args.epochs)
        .final_epochs(args.final_epochs)
        .validation(args.validation)
        .finalists(args.finalists)
        .seed(args.seed)
        .screen(args.screen);
    if let Some(name) = &args.sampler {
        search = search.boxed_sampler(sampler::by_name(name, device)?);
    }
    if let Some(trials) = args.trials {
        search = search.trials(trials);
    }
    if let Some(time) = args.time {
        search = search.time(time);
    }
    if let Some(lag) = args.lag {
        search = search.lag(lag);
    }
    if let Some(workers) = args.workers {
        search = search.workers(workers);
    }
    Ok(search)
}

/// Where the study of a fold lies.
fn study_path(args: &Args, dir: &Path, fold: Option<usize>) -> PathBuf {
    let path = args.study.clone().unwrap_or_else(|| dir.join("study.db"));
    match fold {
        None => path,
        Some(fold) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let extension = path.extension().map_or("db".into(), |e| e.to_string_lossy());
            path.with_file_name(format!("{stem}-{fold}.{extension}"))
        }
    }
}

/// A search and the test of what it found.
struct Searched {
    found: Found,
    tested: Tested,
    /// The baseline on the same test part, if it trains there.
    baseline: Option<Tested>,
}

impl Searched {
    /// The winner's cross-validated metric.
    fn validated(&self) -> f64 {
        self.found.best.as_ref().map_or(f64::NAN, |best| best.cross.metric.mean)
    }
}

fn one(args: &Args, device: &Device, metrics: &[Metric], part: &Split, study: &Path) -> Result<Searched> {
    let trials = args.trials.or(if args.time.is_none() { Some(builder::DEFAULT_TRIALS) } else { None });
    let live = Live::new(args.quiet, metrics[0], trials, args.time);
    let working = Training::begin();
    let space = space(args, &part.train)?;
    let found = search(args, device, metrics, space)?
        .study(study)
        .about(study::about())
        .observer(|step| live.step(step))
        .stop(interrupt::requested)
        .run(device, &part.train);
    live.finish();
    let found = found?;
    let interrupted = || {
        let trials = found.study.counts().map_or(0, |c| c.finished());
        let path = study.display();
        Interrupted(format!("interrupted after {trials} trials; go on with --study {path}"))
    };
    if interrupt::requested() {
        return Err(interrupted().into());
    }
    let Some(best) = &found.best else {
        let why = failures(&found)?;
        return Err(anyhow::anyhow!("no trial came to its end{why}; give more trials, or another space"));
    };
    live.say(&format!("training the winner from {} seeds: {}", args.repeats, best.architecture));
    let parts = (&part.train, &part.test);
    let tested = found.test(device, &best.architecture, parts, args.repeats).context("the winner")?;
    if interrupt::requested() {
        return Err(interrupted().into());
    }
    let baseline = found.baseline(device, parts, args.repeats).ok();
    drop(working);
    Ok(Searched { found, tested, baseline })
}

/// The commonest reason why trials failed.
fn failures(found: &Found) -> Result<String> {
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    for trial in found.study.trials()? {
        *reasons.entry(trial.reason.unwrap_or_default()).or_default() +=
            usize::from(!trial.state.is_finished() || trial.values.is_empty());
    }
    let most = reasons.into_iter().max_by_key(|(_, n)| *n).filter(|(_, n)| *n > 0);
    Ok(most.map_or(String::new(), |(reason, n)| format!(" ({n} failed: {reason})")))
}

/// A search that came to its end.
struct Outcome<'a> {
    args: &'a Args,
    name: &'a str,
    device: &'a Device,
    metrics: Vec<Metric>,
    outcomes: Vec<Searched>,
    /// Index of the one whose model is kept.
    chosen: usize,
    model: PathBuf,
    seconds: Instant,
}

impl Outcome<'_> {
    fn chosen(&self) -> &Searched {
        &self.outcomes[self.chosen]
    }

    /// The test figure: over the seeds, or with several folds over the folds' means.
    fn test(&self, tested: impl Fn(&Searched) -> Option<&Tested>) -> Option<Estimate> {
        match self.outcomes.as_slice() {
            [one] => tested(one).map(|t| t.metric.clone()),
            many => Estimate::of(many.iter().filter_map(|o| tested(o).map(|t| t.metric.mean)).collect()),
        }
    }

    /// Winner minus baseline, paired by seed or fold.
    fn difference(&self) -> Option<Estimate> {
        self.test(|o| Some(&o.tested))?.difference(&self.test(|o| o.baseline.as_ref())?)
    }

    /// What the comparison with the baseline comes to.
    fn verdict(&self) -> &'static str {
        let Some(difference) = self.difference() else { return "the default network failed" };
        let direction = self.metrics[0].direction();
        let (low, high) = (direction.loss(difference.low), direction.loss(difference.high));
        if low < 0.0 && high < 0.0 {
            "the search beat the default network"
        } else if low > 0.0 && high > 0.0 {
            "the default network is better: the search did not beat it"
        } else {
            "no clear difference: the search did not beat the default network"
        }
    }

    fn trials(&self) -> (u64, f64) {
        let sum = |f: fn(&Searched) -> f64| self.outcomes.iter().map(f).sum::<f64>();
        (sum(|o| o.found.summary.trials as f64) as u64, sum(|o| o.found.summary.seconds))
    }

    fn text(&self) -> Result<String> {
        let mut text = String::new();
        let mut line = |s: String| {
            let _ = writeln!(text, "{s}");
        };
        let metric = self.metrics[0];
        let (trials, seconds) = self.trials();
        let (rate, device) = (trials as f64 / seconds.max(1e-9), self.device.kind());
        line(format!("{}: {trials} trials in {seconds:.1} s on {device}, {rate:.1} trials/s", self.name));
        for (number, outcome) in self.outcomes.iter().enumerate() {
            let Some(best) = &outcome.found.best else { continue };
            if self.outcomes.len() > 1 {
                line(format!("\nfold {}", number + 1));
            }
            line(format!("best        {}", best.architecture));
            let estimate = |e: &Estimate| {
                format!(
                    "{metric} {} (95 % interval {} to {})",
                    figure(metric, e.mean),
                    figure(metric, e.low),
                    figure(metric, e.high)
                )
            };
            line(format!(
                "validation  {} over {} folds",
                estimate(&best.cross.metric),
                best.cross.metric.values.len()
            ));
            line(format!(
                "test        {} over {} seeds",
                estimate(&outcome.tested.metric),
                outcome.tested.metric.values.len()
            ));
            if let Some(base) = &outcome.baseline {
                line(format!("default     {} on the same rows", estimate(&base.metric)));
            }
        }
        if let (true, Some(test)) = (self.outcomes.len() > 1, self.test(|o| Some(&o.tested))) {
            let text = format!(
                "{} (95 % interval {} to {})",
                figure(metric, test.mean),
                figure(metric, test.low),
                figure(metric, test.high)
            );
            line(format!("\ntest over {} folds: {metric} {text}", test.values.len()));
        }
        line(self.verdict().into());
        line(format!("wrote {}", self.model.display()));
        Ok(text)
    }

    fn json(&self) -> Result<Value> {
        let chosen = self.chosen();
        let metric = self.metrics[0];
        let mut map = Map::new();
        map.insert("command".into(), json!("search"));
        map.insert("data".into(), json!(self.args.data.display().to_string()));
        map.insert("device".into(), json!(self.device.kind().to_string()));
        map.insert("seed".into(), json!(self.args.seed));
        if let Some(best) = &chosen.found.best {
            map.insert("best_architecture".into(), json!(best.architecture.to_string()));
            map.insert("best_trial".into(), json!(best.trial));
            map.insert("parameters".into(), json!(best.architecture.parameters()));
        }
        map.insert(format!("val_{metric}"), report::number(chosen.validated()));
        if let Some(test) = self.test(|o| Some(&o.tested)) {
            map.insert(format!("test_{metric}"), report::number(test.mean));
            map.insert(
                format!("test_{metric}_interval"),
                json!([report::number(test.low), report::number(test.high)]),
            );
            map.insert(format!("test_{metric}_values"), json!(test.values));
        }
        if let Some(base) = self.test(|o| o.baseline.as_ref()) {
            map.insert(format!("default_test_{metric}"), report::number(base.mean));
        }
        map.insert("verdict".into(), json!(self.verdict()));
        let (trials, seconds) = self.trials();
        map.insert("trials".into(), json!(trials));
        map.insert("seconds".into(), report::number(self.seconds.elapsed().as_secs_f64()));
        map.insert("search_seconds".into(), report::number(seconds));
        map.insert("trials_per_second".into(), report::number(trials as f64 / seconds.max(1e-9)));
        map.insert("pareto".into(), self.pareto()?);
        let study = |o: &Searched| o.found.study.path().map(|p| p.display().to_string());
        map.insert("study".into(), json!(study(chosen)));
        map.insert("model".into(), json!(self.model.display().to_string()));
        Ok(Value::Object(map))
    }

    /// The trials that no other beats in every objective.
    fn pareto(&self) -> Result<Value> {
        let found = &self.chosen().found;
        let entry = |trial: ironwarp::search::trial::Trial| {
            let architecture = found.space.decode(&trial.point).to_string();
            let values: Map<String, Value> = self
                .metrics
                .iter()
                .zip(&trial.values)
                .map(|(metric, value)| (metric.name().to_owned(), report::number(*value)))
                .collect();
            json!({ "trial": trial.number, "architecture": architecture, "values": values })
        };
        Ok(Value::Array(found.study.front()?.into_iter().map(entry).collect()))
    }
}
