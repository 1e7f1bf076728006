//! The report of what a [`Search`](crate::search::builder::Search) found.

use super::search::{Baseline, BestModel, DataSummary, Measure, ScoreRow, SearchReport};
use super::words::quoted;
use crate::data::Dataset;
use crate::device::Device;
use crate::search::SearchError;
use crate::search::architecture::Architecture;
use crate::search::assess::Tested;
use crate::search::baseline;
use crate::search::found::Found;
use crate::search::importance::importance;
use crate::search::score::Minibatch;
use crate::search::score::correlation::{self, Row};
use crate::search::trial::{State, Trial};

/// The most complete trials that scores are held against.
const SCORED: usize = 64;
/// Samples that scores look at.
const SAMPLES: usize = 64;

impl SearchReport {
    /// Of a search on `parts.0`, and of the winner and the default network tested on `parts.1`. What a search does not know
    /// is for the caller to set: folds, workers, `final_seconds`, more notes. The command is the one that the study was told
    /// (`about.command`). Errors: the study cannot be read; the scores cannot be computed.
    pub fn of(
        found: &Found,
        tested: Option<&Tested>,
        baseline: Option<&Tested>,
        parts: (&Dataset, &Dataset),
        device: &Device,
    ) -> Result<SearchReport, SearchError> {
        let (setting, identity) = (found.study.setting().clone(), found.study.identity());
        let trials = found.study.trials()?;
        let front = if setting.goals.len() > 1 { found.study.front()? } else { vec![] };
        let numbers: Vec<u64> = front.iter().map(|t| t.number).collect();
        let front = (0..trials.len()).filter(|i| numbers.contains(&trials[*i].number)).collect();
        let best = found.best.as_ref().map(|best| BestModel {
            trial: Some(best.trial),
            architecture: best.architecture.to_string(),
            recipe: recipe(&best.architecture, found.final_epochs),
            net: best.architecture.net.clone(),
            validation: Some(best.cross.metric.clone()),
            test: tested.map(|t| t.metric.clone()),
            confusion: tested.map_or_else(Vec::new, |t| t.evaluation.confusion.clone()),
            history: tested.map_or_else(Default::default, |t| t.model.history.clone()),
        });
        let (seen, test) = parts;
        let default = baseline::network(seen.features().cols, seen.outputs(), seen.rows());
        let baseline = baseline.map(|tested| Baseline {
            name: format!("default network ({})", widths(&default)),
            validation: None,
            test: Some(tested.metric.clone()),
        });
        let repeats = tested.map_or(0, |t| t.metric.values.len() as u64);
        let mut notes = vec![];
        if let (Some(best), n) = (&found.best, found.finalists.len()) {
            let networks = super::svg::text::count(n, "finalist");
            notes.push(format!(
                "The winner is the best of {networks} in {}-fold cross-validation over all rows that the search saw, in rounds of \
                 which the better half went on; its validation value is from there.",
                best.cross.metric.values.len() / best.rounds.max(1)
            ));
        }
        let scores = scores(found, seen, &trials)?;
        Ok(SearchReport {
            title: seen.name().to_owned(),
            data: DataSummary {
                name: seen.name().to_owned(),
                rows: seen.rows() + test.rows(),
                features: seen.features().cols,
                classes: seen.classes().to_vec(),
                train: found.rows,
                validation: seen.rows() - found.rows,
                test: test.rows(),
                folds: 0,
            },
            command: command(&identity.about),
            device: device.kind().to_string(),
            workers: 0,
            seeds: (0..repeats).map(|i| found.seed.wrapping_add(i)).collect(),
            importance: importance(&setting, &trials),
            final_measure: Measure::from(&setting.goals[0]),
            setting,
            trials,
            sampler: identity.sampler.clone(),
            pruner: identity.pruner.clone(),
            front,
            best,
            baseline,
            scores,
            seconds: found.summary.seconds,
            final_seconds: f64::NAN,
            study: found.study.path().map(|p| p.display().to_string()),
            notes,
        })
    }
}

/// `128-64`.
fn widths(architecture: &Architecture) -> String {
    let layers = &architecture.net.layers;
    let hidden = &layers[..layers.len().saturating_sub(1)];
    hidden.iter().map(|l| l.units.to_string()).collect::<Vec<_>>().join("-")
}

/// What follows the bar in an architecture's text, in pairs, and the number of epochs.
fn recipe(architecture: &Architecture, epochs: usize) -> Vec<(String, String)> {
    let text = architecture.to_string();
    let recipe = text.split_once(" | ").map_or("", |(_, recipe)| recipe);
    let pair = |word: &str| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => ("optimizer".to_owned(), word.to_owned()),
    };
    let mut pairs: Vec<(String, String)> = recipe.split_whitespace().map(pair).collect();
    pairs.push(("epochs".into(), epochs.to_string()));
    pairs
}

/// The words of `about.command` as a shell takes them; empty when the study was not told.
fn command(about: &serde_json::Value) -> String {
    let Some(words) = about.get("command").and_then(|c| c.as_array()) else { return String::new() };
    let words = words.iter().filter_map(|w| w.as_str()).map(quoted);
    std::iter::once("ironwarp".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// How well each score ranks the first complete trials.
fn scores(found: &Found, train: &Dataset, trials: &[Trial]) -> Result<Vec<ScoreRow>, SearchError> {
    let setting = found.study.setting();
    let batch = Minibatch::draw(train, SAMPLES, setting.seed);
    let complete: Vec<Trial> =
        trials.iter().filter(|t| t.state == State::Complete).take(SCORED).cloned().collect();
    if complete.len() < 2 {
        return Ok(vec![]);
    }
    let row = |r: Row| {
        let (low, high) = r.interval.unwrap_or((f64::NAN, f64::NAN));
        ScoreRow {
            name: r.score.name().into(),
            rho: r.rho.unwrap_or(f64::NAN),
            low,
            high,
            n: r.n,
            used: r.used,
            why: r.why,
        }
    };
    Ok(correlation::of_trials(setting, &found.space, &batch, &complete)?.into_iter().map(row).collect())
}
