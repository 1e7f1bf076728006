//! What a report of a search is made from: plain data.

use serde::Serialize;
use serde_json::{Value, json};

use super::stats::{self, Verdict};
use super::svg::text::Format;
use crate::nn::Mlp;
use crate::search::estimate::Estimate;
use crate::search::importance::Importance;
use crate::search::trial::{State, Trial};
use crate::search::{Direction, Goal, Setting};
use crate::train::History;

/// A number that trials or models are judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// `accuracy`, `params`, ...
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// How it is written.
    pub format: Format,
}

impl From<&Goal> for Measure {
    fn from(goal: &Goal) -> Measure {
        Measure { name: goal.name.clone(), direction: goal.direction, format: Format::of(&goal.name) }
    }
}

impl Measure {
    /// The number in text.
    pub fn show(&self, x: f64) -> String {
        self.format.show(x)
    }

    /// Its name with an arrow that points where it is better.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, if self.direction == Direction::Maximize { "↑" } else { "↓" })
    }

    /// Whether it is counts over a wide range, best seen on a logarithmic axis.
    pub fn is_count(&self) -> bool {
        self.format == Format::Short
    }
}

/// The data that was searched on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DataSummary {
    /// `digits`, or the file.
    pub name: String,
    /// Rows in all.
    pub rows: usize,
    /// Columns that a network sees.
    pub features: usize,
    /// Names of the classes; empty for regression.
    pub classes: Vec<String>,
    /// Rows that the search trained on.
    pub train: usize,
    /// Rows that the search chose by.
    pub validation: usize,
    /// Rows that nothing was chosen by.
    pub test: usize,
    /// Outer folds; 0 when there is one test part.
    pub folds: usize,
}

/// What the search chose, trained again from scratch.
#[derive(Clone, Debug, Serialize)]
pub struct BestModel {
    /// The trial that it comes from.
    pub trial: Option<u64>,
    /// The architecture in its readable text form.
    pub architecture: String,
    /// How it is trained: `optimizer` and `adamw`, `learning rate` and `0.003`, ...
    pub recipe: Vec<(String, String)>,
    /// The network.
    pub net: Mlp,
    /// Validation value over the final trainings; the search has seen this part.
    pub validation: Option<Estimate>,
    /// Test value over the final trainings; the search has not seen this part.
    pub test: Option<Estimate>,
    /// Samples of the test part of true class `i` that were given class `j`; empty for regression.
    pub confusion: Vec<Vec<u32>>,
    /// Epochs of one final training.
    #[serde(skip)]
    pub history: History,
}

/// A model that was not searched, trained and measured on the same parts with the same seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// What it is, in words that follow "the": `default MLP (64-64, relu)`.
    pub name: String,
    /// Validation value over the trainings.
    pub validation: Option<Estimate>,
    /// Test value over the trainings, in the same order as those of the best model.
    pub test: Option<Estimate>,
}

/// How well a score without training told good from bad.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreRow {
    /// `synflow`, ... and `params`.
    pub name: String,
    /// Spearman's rank correlation with the trained value.
    pub rho: f64,
    /// Lower end of the bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Networks compared.
    pub n: usize,
    /// Whether the search used it.
    pub used: bool,
    /// Why, or why not.
    pub why: String,
}

/// All that a report says.
#[derive(Clone, Debug, Serialize)]
pub struct SearchReport {
    /// Title of the page: the data's name, say.
    pub title: String,
    /// The data.
    pub data: DataSummary,
    /// The command that gives this result again; empty when it is not known.
    pub command: String,
    /// `cpu`, `sim`, `cuda:0 (NVIDIA ...)`.
    pub device: String,
    /// Trials at once; 0 when it is not known.
    pub workers: usize,
    /// Seeds of the final trainings.
    pub seeds: Vec<u64>,
    /// Space, goals, the search's seed, steps.
    #[serde(skip)]
    pub setting: Setting,
    /// Trials in the order of their numbers.
    #[serde(skip)]
    pub trials: Vec<Trial>,
    /// The sampler's name.
    pub sampler: String,
    /// The pruner's name; `none`.
    pub pruner: String,
    /// Indices into `trials` of those that no other beats in every goal; empty for one goal.
    pub front: Vec<usize>,
    /// What the first goal depends on.
    pub importance: Vec<Importance>,
    /// What the final trainings are judged by: accuracy, say, whatever the goals are.
    pub final_measure: Measure,
    /// What was chosen; `None` when no trial was completed.
    pub best: Option<BestModel>,
    /// What it is compared with.
    pub baseline: Option<Baseline>,
    /// Scores; empty when none was computed.
    pub scores: Vec<ScoreRow>,
    /// Seconds of the search.
    pub seconds: f64,
    /// Seconds of the final trainings; NaN when they are not known.
    pub final_seconds: f64,
    /// The study's file, for `study export`.
    pub study: Option<String>,
    /// More sentences on how it was measured.
    pub notes: Vec<String>,
}

/// How many trials there are of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Ran all their steps.
    pub complete: usize,
    /// Stopped by the pruner.
    pub pruned: usize,
    /// Have no values.
    pub failed: usize,
    /// Not finished.
    pub running: usize,
}

impl SearchReport {
    /// The first goal.
    pub fn measure(&self) -> Measure {
        let none = || Measure { name: "value".into(), direction: Direction::Maximize, format: Format::Plain };
        self.setting.goals.first().map_or_else(none, Measure::from)
    }

    /// Trials of each state.
    pub fn counts(&self) -> Counts {
        let count = |state| self.trials.iter().filter(|t| t.state == state).count();
        Counts {
            complete: count(State::Complete),
            pruned: count(State::Pruned),
            failed: count(State::Failed),
            running: count(State::Running),
        }
    }

    /// Index of the chosen trial: the best model's, or else the best complete one.
    pub fn best_index(&self) -> Option<usize> {
        let chosen = self.best.as_ref().and_then(|b| b.trial);
        chosen
            .and_then(|number| self.trials.iter().position(|t| t.number == number))
            .or_else(|| ranked(&self.measure(), &self.trials).first().copied())
            .filter(|i| value(&self.trials[*i]).is_some())
    }

    /// Indices of the front's trials, each once, by the first goal.
    pub fn front(&self) -> Vec<usize> {
        let first =
            |i: &usize| self.setting.losses(&self.trials[*i]).first().copied().unwrap_or(f64::INFINITY);
        let mut indices: Vec<usize> = self.front.iter().copied().filter(|i| *i < self.trials.len()).collect();
        indices.sort_by(|a, b| first(a).total_cmp(&first(b)).then(a.cmp(b)));
        indices.dedup();
        indices
    }

    /// Finished trials per second of the search.
    pub fn rate(&self) -> f64 {
        let finished = self.trials.len() - self.counts().running;
        if self.seconds > 0.0 { finished as f64 / self.seconds } else { f64::NAN }
    }

    /// The difference to the baseline on the test part, and what it says.
    pub fn verdict(&self) -> Option<(Estimate, Verdict)> {
        let best = self.best.as_ref()?.test.as_ref()?;
        let baseline = self.baseline.as_ref()?.test.as_ref()?;
        stats::compare(self.final_measure.direction, best, baseline)
    }

    /// The summary that `--json` prints.
    pub fn summary(&self) -> Value {
        let measure = &self.final_measure;
        let mean = |estimate: &Option<Estimate>| estimate.as_ref().map(|e| e.mean);
        let best = self.best.as_ref();
        let test = best.and_then(|b| b.test.as_ref());
        let goals: Vec<&str> = self.setting.goals.iter().map(|g| g.name.as_str()).collect();
        let front = self.front.iter().filter_map(|i| self.trials.get(*i)).map(|t| {
            let values: serde_json::Map<String, Value> =
                goals.iter().zip(&t.values).map(|(g, v)| ((*g).to_owned(), json!(v))).collect();
            json!({"trial": t.number, "values": values, "point": self.setting.space.show(&t.point)})
        });
        let baseline = self.baseline.as_ref().map(|b| {
            let test = format!("test_{}", measure.name);
            json!({"name": b.name, test: mean(&b.test), "verdict": self.verdict().map(|v| v.1)})
        });
        let mut map = serde_json::Map::new();
        map.insert("best_architecture".into(), json!(best.map(|b| &b.architecture)));
        map.insert("best_trial".into(), json!(best.and_then(|b| b.trial)));
        map.insert(format!("val_{}", measure.name), json!(best.and_then(|b| mean(&b.validation))));
        map.insert(format!("test_{}", measure.name), json!(test.map(|i| i.mean)));
        map.insert(
            format!("test_{}_interval", measure.name),
            json!(test.filter(|e| e.values.len() > 1).map(|e| [e.low, e.high])),
        );
        map.insert("baseline".into(), json!(baseline));
        map.insert("trials".into(), json!(self.trials.len()));
        map.insert("states".into(), json!(self.counts()));
        map.insert("seconds".into(), json!(self.seconds));
        map.insert("trials_per_second".into(), json!(self.rate()));
        map.insert("pareto".into(), json!(front.collect::<Vec<_>>()));
        map.insert("importance".into(), json!(self.importance));
        map.insert("scores".into(), json!(self.scores));
        map.insert("study".into(), json!(self.study));
        map.insert("seed".into(), json!(self.setting.seed));
        map.insert("device".into(), json!(self.device));
        Value::Object(map)
    }
}

/// The first goal's value of a complete or pruned trial, if it is a number.
pub fn value(trial: &Trial) -> Option<f64> {
    let finished = matches!(trial.state, State::Complete | State::Pruned);
    trial.values.first().copied().filter(|v| finished && v.is_finite())
}

/// Indices of the complete trials with a value, the best first, the earlier one first where they are equal.
pub fn ranked(measure: &Measure, trials: &[Trial]) -> Vec<usize> {
    let loss = |i: &usize| measure.direction.loss(trials[*i].values[0]);
    let mut order: Vec<usize> = (0..trials.len())
        .filter(|i| trials[*i].state == State::Complete && value(&trials[*i]).is_some())
        .collect();
    order.sort_by(|a, b| loss(a).total_cmp(&loss(b)).then(a.cmp(b)));
    order
}
