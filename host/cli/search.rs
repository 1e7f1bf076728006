//! `search DATA`: search, compare the finalists, train the winner from scratch, test it once, save it, report.
//!
//! The directory of the run receives `study.db` (unless `--study` says another file), `model.safetensors`, `report.html` and
//! the figures of the report as SVG. With `--folds` every part of the data is the test part of a whole search of its own; the
//! study of fold i is `study-i.db`, its report `report-i.html`.

mod live;
mod options;
mod outcome;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use ironwarp::Device;
use ironwarp::data::{Dataset, Split, Task};
use ironwarp::report::SearchReport;
use ironwarp::search::assess::Tested;
use ironwarp::search::metric::Metric;
use ironwarp::search::space::network::NetworkSpace;
use ironwarp::search::{Found, Search, SearchError, pruner, sampler};

use super::args::{Source, network_space};
use super::fail::{self, Interrupted, usage_error};
use super::interrupt::{self, Training};
use super::run_dir::RunDir;
use super::{out, study};
use live::Live;
pub use options::Args;
use outcome::Outcome;

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
    let searches: Vec<Search<'_>> =
        parts.iter().map(|part| search(args, &device, &metrics, &part.train)).collect::<Result<_>>()?;
    let named = || args.space.as_ref().map_or("the search space".into(), |path| path.display().to_string());
    for search in &searches {
        search.check(task).map_err(|error| match error {
            SearchError::Space(_) => anyhow::Error::from(error).context(named()),
            error => error.into(),
        })?;
    }
    if !args.quiet {
        raw.report().lines.iter().chain(&parts[0].preprocessing.notes).for_each(|text| fail::line(text));
    }
    let name = source.name();
    let mut dir = RunDir::choose(args.out.as_deref(), &format!("search-{name}"), false)?;
    dir.check_writable(1 << 20)?;
    interrupt::install()?;
    let mut outcomes = vec![];
    for (number, (part, search)) in parts.iter().zip(searches).enumerate() {
        if parts.len() > 1 && !args.quiet {
            fail::line(&format!("fold {} of {}", number + 1, parts.len()));
        }
        let study = study_path(args, dir.path(), (parts.len() > 1).then_some(number + 1));
        outcomes.push(one(args, &device, metrics[0], part, search, &study)?);
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
    let mut reports = vec![];
    let mut pages = vec![];
    for (number, (outcome, part)) in outcomes.iter().zip(&parts).enumerate() {
        let report = outcome.report(args, &device, part, parts.len())?;
        let name = if parts.len() > 1 { format!("report-{}", number + 1) } else { "report".into() };
        let page = dir.path().join(format!("{name}.html"));
        ironwarp::report::write_html(&report, &page)?;
        ironwarp::report::write_svg_files(&report, &dir.path().join(format!("{name}-figures")))?;
        reports.push(report);
        pages.push(page);
    }
    let seconds = began.elapsed().as_secs_f64();
    let (searched, reports, pages) = (&outcomes, &reports, &pages);
    let result = Outcome { args, metric: metrics[0], searched, reports, chosen, model, pages, seconds };
    if args.json { out::print_json(&result.json()?) } else { out::print(&result.text()) }
}

/// The objectives asked for. Error: an unknown name.
fn metrics(args: &Args, task: Task) -> Result<Vec<Metric>> {
    let named: Vec<Metric> =
        args.objectives.iter().map(|name| name.trim().parse()).collect::<Result<_, _>>()?;
    Ok(if named.is_empty() { vec![Metric::default_for(task)] } else { named })
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
    let mut space = network_space(args.space.as_deref(), inputs, outputs, rows)?;
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

/// The search that the options describe, on the training rows of a part.
fn search<'a>(args: &Args, device: &Device, metrics: &[Metric], train: &Dataset) -> Result<Search<'a>> {
    let mut search = Search::new(space(args, train)?)
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
pub struct Searched {
    pub found: Found,
    pub tested: Tested,
    /// The default network on the same test part, if it trains there.
    pub baseline: Option<Tested>,
    /// Seconds from the last trial to the end.
    final_seconds: f64,
}

impl Searched {
    /// The winner's cross-validated metric.
    fn validated(&self) -> f64 {
        self.found.best.as_ref().map_or(f64::NAN, |best| best.cross.metric.mean)
    }

    fn report(&self, args: &Args, device: &Device, part: &Split, parts: usize) -> Result<SearchReport> {
        let rows = (&part.train, &part.test);
        let mut report =
            SearchReport::of(&self.found, Some(&self.tested), self.baseline.as_ref(), rows, device)?;
        report.data.folds = if parts > 1 { parts } else { 0 };
        report.final_seconds = self.final_seconds;
        report.workers = match device.runs_kernels() {
            true => 0,
            false => args.workers.unwrap_or_else(rayon::current_num_threads),
        };
        Ok(report)
    }
}

/// Runs the search of a part, and tests what it finds.
fn one(
    args: &Args,
    device: &Device,
    metric: Metric,
    part: &Split,
    search: Search<'_>,
    study: &Path,
) -> Result<Searched> {
    let began = Instant::now();
    let live = Live::new(args.quiet, metric, search.trial_limit(), args.time);
    let working = Training::begin();
    let found = search
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
    let final_seconds = began.elapsed().as_secs_f64() - found.summary.seconds;
    Ok(Searched { found, tested, baseline, final_seconds })
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
