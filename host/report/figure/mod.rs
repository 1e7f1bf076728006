//! The figures of a report: each a function from plain data to a drawing with a caption that says how to read it.

mod architecture;
mod confusion;
mod curves;
mod history;
mod importance;
mod parallel;
mod pareto;
mod roofline;
mod scores;
mod survival;
mod verdict;

pub use architecture::architecture;
pub use confusion::confusion;
pub use curves::{learning_curves, training};
pub use history::history;
pub use importance::importance;
pub use parallel::parallel;
pub use pareto::pareto;
pub use roofline::{Point, Roof, Roofline, roofline};
pub use scores::scores;
pub use survival::survival;
pub use verdict::verdict;

use super::search::{Measure, SearchReport, ranked};
use super::stats::quantile;
use super::svg::text::{count, grouped};
use super::svg::{Scale, Svg};
use crate::search::Direction;
use crate::search::trial::Trial;

/// Width of a figure in pixels.
pub const WIDTH: f64 = 760.0;

/// A drawing with its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of its file, without extension; unique in a report.
    pub name: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it, in a sentence or three.
    pub caption: String,
    /// The drawing.
    pub svg: Svg,
}

impl Figure {
    fn new(name: &'static str, title: impl Into<String>, caption: impl Into<String>, svg: Svg) -> Figure {
        Figure { name, title: title.into(), caption: caption.into(), svg }
    }

    /// The drawing as an element of a page.
    pub fn inline(&self) -> String {
        self.svg.inline(self.name, &self.title, &self.caption)
    }

    /// The drawing as a file of its own.
    pub fn standalone(&self) -> String {
        self.svg.standalone(&self.title, &self.caption)
    }
}

/// The figures that this report has data for, in reading order.
pub fn all(report: &SearchReport) -> Vec<Figure> {
    let (measure, trials) = (report.measure(), &report.trials);
    let best = report.best_index();
    let mut out = vec![];
    if let Some(model) = &report.best {
        out.push(architecture(&model.net, &model.recipe, &report.data));
        out.extend(verdict(&report.final_measure, model, report.baseline.as_ref()));
    }
    out.extend(history(&measure, trials));
    out.extend(learning_curves(&measure, trials, best, report.setting.steps));
    out.extend(survival(trials, report.setting.steps, &report.pruner));
    out.extend(pareto(&report.setting.goals, trials, &report.front, best));
    out.extend(importance(&measure, &report.importance));
    out.extend(parallel(&report.setting.space, &measure, trials, &report.importance));
    out.extend(scores(&measure, &report.scores));
    if let Some(model) = &report.best {
        out.extend(training(&model.history));
        out.extend(confusion(&model.confusion, &report.data.classes));
    }
    out
}

/// A scale of values that shows the good end and most of the rest: from the best to the worst tenth's edge, or to the
/// worst where that is not much further.
fn focused(measure: &Measure, values: &[f64]) -> Scale {
    let loss: Vec<f64> = values
        .iter()
        .filter(|v| v.is_finite())
        .map(|v| measure.direction.loss(*v).clamp(-1e150, 1e150))
        .collect();
    let (Some(best), Some(worst), Some(most)) =
        (quantile(&loss, 0.0), quantile(&loss, 1.0), quantile(&loss, 0.9))
    else {
        return Scale::new(0.0, 1.0, false).format(measure.format);
    };
    let end = if worst - best <= 1.6 * (most - best) { worst } else { most };
    let (a, b) = if measure.direction == Direction::Maximize { (-end, -best) } else { (best, end) };
    Scale::new(a, b, false).padded(0.04).format(measure.format)
}

/// ` Of 5,000 trials, 1,500 are drawn.`, or nothing when all are.
fn drawn(shown: usize, all: usize, what: &str) -> String {
    if shown >= all {
        return String::new();
    }
    format!(" Of {}, {} are drawn, the best among them.", count(all, what), grouped(shown as u64))
}

/// The best trials' indices, at most `most`.
fn best_few(measure: &Measure, trials: &[Trial], most: usize) -> Vec<usize> {
    let mut order = ranked(measure, trials);
    order.truncate(most);
    order
}
