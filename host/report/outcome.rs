//! From what a search found to its report.

use super::search::{BestModel, DataSummary, Measure, ScoreRow, SearchReport};
use super::svg::text::Format;
use crate::data::Dataset;
use crate::search::SearchError;
use crate::search::assess::Tested;
use crate::search::builder::{Found, baseline};
use crate::search::importance::importance;
use crate::search::sampler::screened;
use crate::search::score::Minibatch;
use crate::search::trial::{State, Trial};

use super::search::Baseline;

/// The most complete trials that scores are held against.
const SCORED: usize = 64;
/// Samples that scores look at.
const SAMPLES: usize = 64;

/// What a report says besides what the search found.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// The data's name.
    pub data: String,
    /// The command that gives this result again.
    pub command: String,
    /// Where it ran.
    pub device: String,
    /// Trials at once.
    pub workers: usize,
    /// Outer folds; 0 when there is one test part.
    pub folds: usize,
    /// Share of the search part that trials were judged on.
    pub validation: f64,
    /// Seconds of the finalists' and the winner's trainings.
    pub final_seconds: f64,
    /// More sentences on how it was measured.
    pub notes: Vec<String>,
}

/// The report of a search on `train` whose winner was tested on `test`. Errors: the study cannot be read; the scores cannot be
/// computed.
pub fn report(
    found: &Found,
    tested: Option<&Tested>,
    base: Option<&Tested>,
    (train, test): (&Dataset, &Dataset),
    circumstances: Circumstances,
) -> Result<SearchReport, SearchError> {
    let setting = found.study.setting().clone();
    let trials = found.study.trials()?;
    let front: Vec<usize> = if setting.goals.len() > 1 {
        let numbers: Vec<u64> = found.study.front()?.iter().map(|t| t.number).collect();
        (0..trials.len()).filter(|&i| numbers.contains(&trials[i].number)).collect()
    } else {
        vec![]
    };
    let metric = found.metrics[0];
    let measure = Measure {
        name: metric.name().into(),
        direction: metric.direction(),
        format: Format::of(metric.name()),
    };
    let scores = scores(found, train, &trials)?;
    let best = found.best.as_ref().map(|best| BestModel {
        trial: Some(best.trial),
        architecture: best.architecture.to_string(),
        recipe: best.architecture.recipe.words(found.final_epochs),
        net: best.architecture.net.clone(),
        validation: Some(best.cross.metric.clone()),
        test: tested.map(|t| t.metric.clone()),
        confusion: tested.map_or(vec![], |t| t.evaluation.confusion.clone()),
        history: tested.map(|t| t.model.history.clone()).unwrap_or_default(),
    });
    let (inputs, outputs, rows) = (train.features().cols, train.outputs(), train.rows());
    let default = baseline(inputs, outputs, rows);
    let baseline = base.map(|base| Baseline {
        name: format!("default network ({default})"),
        validation: None,
        test: Some(base.metric.clone()),
    });
    let validation = (train.rows() as f64 * circumstances.validation).round() as usize;
    Ok(SearchReport {
        title: circumstances.data.clone(),
        data: DataSummary {
            name: circumstances.data,
            rows: train.rows() + test.rows(),
            features: inputs,
            classes: train.classes().to_vec(),
            train: train.rows() - validation,
            validation,
            test: test.rows(),
            folds: circumstances.folds,
        },
        command: circumstances.command,
        device: circumstances.device,
        workers: circumstances.workers,
        seeds: (0..tested.map_or(0, |t| t.metric.values.len() as u64)).map(|i| found.seed + i).collect(),
        importance: importance(&setting, &trials),
        setting,
        trials,
        sampler: found.study.identity().sampler.clone(),
        pruner: found.study.identity().pruner.clone(),
        front,
        final_measure: measure,
        best,
        baseline,
        scores,
        seconds: found.summary.seconds,
        final_seconds: circumstances.final_seconds,
        study: found.study.path().map(|p| p.display().to_string()),
        notes: circumstances.notes,
    })
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
    let row = |r: crate::search::score::correlation::Row| {
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
    Ok(screened::rows(setting, &found.space, &batch, &complete)?.into_iter().map(row).collect())
}
