//! The live view of a search on stderr: a bar in a terminal, otherwise about twenty plain lines.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ironwarp::search::builder::Step;
use ironwarp::search::metric::Metric;
use ironwarp::search::study::Event;
use ironwarp::search::trial::{State, Trial};

use crate::cli::fail;

/// Plain lines of a whole search, about.
const LINES: u64 = 20;

/// The least time between two plain lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows what a search's observer is told; shared by its threads.
pub struct Live(Mutex<View>);

struct View {
    bar: Option<ProgressBar>,
    quiet: bool,
    metric: Metric,
    /// Trials wanted, if a number was.
    trials: Option<u64>,
    time: Option<Duration>,
    began: Instant,
    shown: Instant,
    lines: u64,
    /// Trials of earlier runs, and of this one.
    before: u64,
    done: u64,
    pruned: u64,
    failed: u64,
    running: u64,
    best: Option<(u64, f64)>,
}

impl Live {
    pub fn new(quiet: bool, metric: Metric, trials: Option<u64>, time: Option<Duration>) -> Live {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{bar:24} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Live(Mutex::new(View {
            bar,
            quiet,
            metric,
            trials,
            time,
            began: now,
            shown: now,
            lines: 0,
            before: 0,
            done: 0,
            pruned: 0,
            failed: 0,
            running: 0,
            best: None,
        }))
    }

    pub fn step(&self, step: Step<'_>) {
        let mut view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Opened { study } => {
                // A study that cannot be counted cannot be gone on with either, which its next use says.
                let counts = study.counts().unwrap_or_default();
                view.before = counts.finished();
                view.best = study.best().ok().flatten().map(|t| (t.number, t.values[0]));
                view.began = Instant::now();
                if view.before > 0 {
                    let before = view.before;
                    view.line(&format!("going on with a study of {before} trials"));
                }
            }
            Step::Trial(Event::Started { .. }) => view.running += 1,
            Step::Trial(Event::Released { .. }) => view.running = view.running.saturating_sub(1),
            Step::Trial(Event::Finished { trial }) => view.finished(trial),
            Step::Comparing { finalists } => {
                view.end();
                let text = format!("comparing the best {finalists} by cross-validation");
                view.line(&text);
            }
        }
    }

    /// Says what comes next.
    pub fn say(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(text);
    }

    /// Takes the bar away; the last figures stay.
    pub fn finish(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
}

impl View {
    fn finished(&mut self, trial: &Trial) {
        self.running = self.running.saturating_sub(1);
        self.done += 1;
        match trial.state {
            State::Pruned => self.pruned += 1,
            State::Failed => self.failed += 1,
            _ => {}
        }
        let mut news = false;
        if let (State::Complete, Some(&value)) = (trial.state, trial.values.first()) {
            let direction = self.metric.direction();
            if self.best.is_none_or(|(_, best)| direction.better(value, best)) {
                self.best = Some((trial.number, value));
                news = true;
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(1000);
            bar.set_position((self.share() * 1000.0) as u64);
            bar.set_message(self.text());
            return;
        }
        let due = self.share() * LINES as f64 >= self.lines as f64 + 1.0;
        if (due || news) && self.shown.elapsed() >= PAUSE {
            self.lines = (self.share() * LINES as f64) as u64;
            self.shown = Instant::now();
            let text = self.text();
            self.line(&text);
        }
    }

    /// How much of the budget is used.
    fn share(&self) -> f64 {
        let trials = self.trials.map_or(0.0, |n| (self.before + self.done) as f64 / n.max(1) as f64);
        let time = self.time.map_or(0.0, |t| self.began.elapsed().as_secs_f64() / t.as_secs_f64());
        trials.max(time).min(1.0)
    }

    fn text(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds.max(1e-9);
        let of = self.trials.map_or(String::new(), |n| format!("/{n}"));
        let mut text = format!("{}{of} trials", self.before + self.done);
        if let Some((number, value)) = self.best {
            text += &format!("  best {} {} (trial {number})", self.metric, figure(self.metric, value));
        }
        text += &format!("  {rate:.1} trials/s  {} stopped early", self.pruned);
        if self.failed > 0 {
            text += &format!("  {} failed", self.failed);
        }
        text += &format!("  {} running", self.running);
        let share = self.share();
        if share > 0.0 && share < 1.0 {
            // By what this run did: trials of earlier ones cost it nothing.
            let left = match (self.trials, self.time) {
                (Some(n), None) => (n - self.before - self.done) as f64 / rate,
                _ => seconds * (1.0 - share) / share,
            };
            text += &format!("  ETA {left:.0} s");
        }
        text
    }

    fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| fail::line(text)),
            None => fail::line(text),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.done > 0 {
            let text = self.text();
            self.line(&text);
            self.done = 0;
        }
    }
}

/// `98.06 %` for accuracies, else four decimals.
pub fn figure(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Accuracy => format!("{:.2} %", 100.0 * value),
        Metric::R2 | Metric::Loss => format!("{value:.4}"),
        Metric::Latency => format!("{:.1} us", 1e6 * value),
        Metric::Parameters | Metric::Flop | Metric::Memory => crate::cli::out::grouped(value as u64),
    }
}
