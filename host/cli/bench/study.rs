//! `bench study`: what recording a study costs, on an objective that costs nothing or a random wait.
//!
//! It is also what the torture tests kill: the points depend on all that was told (a sampler that climbs, a pruner that looks
//! at the mean), so a trial that was lost, doubled or told out of turn changes everything after it, and with it the digest.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ironwarp::search::pruner::{Cutoff, Cutoffs, Pruner};
use ironwarp::search::rng::Rng;
use ironwarp::search::sampler::Sampler;
use ironwarp::search::space::{Domain, Parameter, Point, Space};
use ironwarp::search::study::{Budget, Event, Failure, Identity, Running, Study, Values, Verdict};
use ironwarp::search::trial::Trial;
use ironwarp::search::{Goal, SearchError, Setting};
use serde_json::json;

use super::Random;
use crate::cli::study::about;
use crate::cli::{fail, out};

/// Cost of recording a study.
#[derive(clap::Args)]
pub struct Args {
    /// The file [default: in memory].
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,
    /// Trials of the study.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    trials: u64,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// Key of every random number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Trials that may run at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    lag: u64,
    /// Steps of a trial.
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: u64,
    /// The longest wait of a trial, in microseconds; each waits for a random part of it.
    #[arg(long, value_name = "US", default_value_t = 0)]
    wait: u64,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Where time and memory are looked at: 1,000, 10,000, 100,000... trials.
struct Mark {
    trials: u64,
    us_per_trial: f64,
    rss_mb: f64,
}

pub fn run(args: &Args) -> Result<()> {
    let setting = Setting {
        space: space()?,
        goals: vec![Goal::maximize("accuracy")],
        seed: args.seed,
        steps: args.steps,
        lag: args.lag,
    };
    let identity = Identity {
        sampler: "climb".into(),
        pruner: "mean".into(),
        data: "none".into(),
        about: about(),
        ..Identity::default()
    };
    let began = Instant::now();
    let study = match &args.study {
        Some(path) => Study::create_or_resume(path, setting, identity)?,
        None => Study::in_memory(setting, identity)?,
    };
    let mut worker = study.worker(Box::new(Climb::default()), Box::new(Mean::default()));
    let opened = began.elapsed().as_secs_f64();
    let first = Instant::now();
    let trial = worker.ask(&Budget::trials(args.trials))?;
    let first = first.elapsed().as_secs_f64();
    // Dropped, it is the first to be asked for again.
    drop(trial);
    let calls = AtomicU64::new(u64::from(std::process::id()) << 32);
    let objective = |trial: &mut Running| {
        if args.wait > 0 {
            let part = Random(calls.fetch_add(1, Ordering::Relaxed)).bits() % args.wait;
            std::thread::sleep(Duration::from_micros(part));
        }
        curve(trial)
    };
    let marks = Mutex::new((0u64, Instant::now(), vec![]));
    let observe = |event: Event<'_>| {
        let Event::Finished { .. } = event else { return };
        let mut marks = marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (count, since, list) = &mut *marks;
        *count += 1;
        // The last tenth before 1,000, 10,000...
        let power = 10u64.pow((*count).ilog10() + 1);
        if *count == power / 10 * 9 {
            *since = Instant::now();
        }
        if *count >= 1000 && *count * 10 == power {
            let us_per_trial = since.elapsed().as_secs_f64() * 1e6 / (*count as f64 / 10.0);
            list.push(Mark { trials: *count, us_per_trial, rss_mb: rss_mb() });
        }
    };
    let summary = worker.run(&objective, args.workers, &Budget::trials(args.trials), &observe)?;
    let marks = marks.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).2;
    let digest = study.digest()?;
    let rate = summary.trials as f64 / summary.seconds.max(1e-9);
    if args.json {
        let marks: Vec<_> = marks
            .iter()
            .map(|m| json!({"trials": m.trials, "us_per_trial": m.us_per_trial, "rss_mb": m.rss_mb}))
            .collect();
        return out::print_json(&json!({
            "command": "bench study", "trials": summary.trials, "seconds": summary.seconds,
            "trials_per_second": rate, "open_seconds": opened, "first_ask_seconds": first, "marks": marks,
            "digest": format!("{digest:016x}"),
        }));
    }
    for m in &marks {
        let trials = out::grouped(m.trials);
        fail::line(&format!("{trials} trials: {:.1} us a trial, {:.1} MB", m.us_per_trial, m.rss_mb));
    }
    out::print(&format!(
        "{} trials in {:.2} s, {rate:.0} trials/s; opened in {opened:.3} s, first asked in {first:.3} s; digest {digest:016x}\n",
        out::grouped(summary.trials),
        summary.seconds
    ))
}

/// Memory of the process in MB; NaN where the system does not say.
fn rss_mb() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * 4096.0 / 1e6)
}

fn space() -> Result<Space, SearchError> {
    Space::new(vec![
        Parameter::new("depth", Domain::int(1, 3)),
        Parameter::new("width.0", Domain::levels([16, 32, 64, 128])),
        Parameter::new("width.1", Domain::levels([16, 32, 64, 128])).when_at_least("depth", 2),
        Parameter::new("width.2", Domain::levels([16, 32, 64, 128])).when_at_least("depth", 3),
        Parameter::new("activation", Domain::choice(["relu", "tanh", "gelu"])),
        Parameter::new("lr", Domain::log_float(1e-4, 1e-1)),
    ])
}

/// A learning curve whose height depends on the point, with noise of the trial's own; one trial in a hundred fails.
fn curve(trial: &mut Running) -> Result<Values, Failure> {
    let mut rng = Rng::new(trial.setting().seed, 2000, trial.number());
    if trial.number() % 100 == 99 {
        return Err("too large for the memory".into());
    }
    let lr = trial.value("lr").and_then(|v| v.number()).ok_or("no lr")?;
    let depth = trial.value("depth").and_then(|v| v.number()).ok_or("no depth")?;
    let peak = 0.9 - 0.05 * (lr.log10() + 2.5).powi(2) + 0.02 * depth;
    trial.attribute("params", depth * 1000.0);
    let mut value = 0.0;
    for step in 1..=trial.setting().steps {
        value = peak * (1.0 - 0.5f64.powf(step as f64)) + 0.01 * rng.normal();
        match trial.report(step, value) {
            Verdict::Continue => {}
            Verdict::Prune => break,
            Verdict::Stop => return Err(Failure::Stopped),
        }
    }
    Ok(vec![value])
}

/// Half the time a change of the best, else anything; drawn by a key that all that was told went into.
#[derive(Default)]
struct Climb {
    best: Option<(f64, Point)>,
    key: u64,
}

impl Sampler for Climb {
    fn name(&self) -> &'static str {
        "climb"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        let loss = setting.losses(trial)[0];
        self.key = Random(self.key ^ loss.to_bits() ^ trial.number).bits();
        if self.best.as_ref().is_none_or(|(best, _)| loss < *best) {
            self.best = Some((loss, trial.point.clone()));
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let mut rng = Rng::new(setting.seed ^ self.key, 1000, number);
        let fresh = setting.space.draw(&mut rng)?;
        let Some((_, best)) = self.best.as_ref().filter(|_| rng.uniform() < 0.5) else { return Ok(fresh) };
        let mut point = best.clone();
        let at = rng.below(point.0.len());
        point.0[at] = fresh.0[at].or(point.0[at]);
        Ok(setting.space.mend(&point, &mut rng))
    }
}

/// The bar at half the steps is the mean there so far.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Pruner for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        if let Some(value) = trial.at((setting.steps / 2).max(1)) {
            (self.sum, self.count) = (self.sum + value, self.count + 1.0);
        }
    }

    fn cutoffs(&mut self, setting: &Setting, _: u64) -> Cutoffs {
        let step = (setting.steps / 2).max(1);
        let bar = Cutoff { step, value: self.sum / self.count, best: false };
        Cutoffs(if self.count >= 3.0 { vec![bar] } else { vec![] })
    }
}
