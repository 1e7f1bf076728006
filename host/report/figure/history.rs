//! The trials in the order they were made, and the best so far.

use super::{Figure, WIDTH, best_few, drawn, focused};
use crate::report::search::{Measure, value};
use crate::report::stats::quantile;
use crate::report::svg::text::grouped;
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, cross, legend, steps, thin};
use crate::search::trial::{State, Trial};

/// Trials drawn, at most.
const MOST: usize = 1500;

/// Value of each trial over its number; `None` without trials.
pub fn history(measure: &Measure, trials: &[Trial]) -> Option<Figure> {
    let last = trials.iter().map(|t| t.number).max()?;
    let count = |state| trials.iter().filter(|t| t.state == state).count();
    let mut best_so_far: Vec<(usize, f64)> = vec![];
    for (i, trial) in trials.iter().enumerate().filter(|(_, t)| t.state == State::Complete) {
        let Some(v) = value(trial) else { continue };
        if best_so_far.last().is_none_or(|(_, best)| measure.direction.better(v, *best)) {
            best_so_far.push((i, v));
        }
    }
    let mut svg = Svg::new(WIDTH, 372.0);
    let (pruned, failed) = (count(State::Pruned), count(State::Failed));
    let mut entries = vec![(Glyph::Dot("c-accent"), "complete")];
    if pruned > 0 {
        entries.push((Glyph::Ring("s-pale"), "pruned"));
    }
    if failed > 0 {
        entries.push((Glyph::Cross("s-amber"), "failed"));
    }
    entries.push((Glyph::Line("s-warm"), "best so far"));
    let top = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let values: Vec<f64> = trials.iter().filter_map(value).collect();
    let y = axis(measure, trials, &values);
    let x = Scale::new(0.0, last.max(1) as f64, false);
    let gap = if failed > 0 { 16.0 } else { 0.0 };
    let title = measure.title();
    let area = (0.0, top, WIDTH - 6.0, svg.height);
    let plot = Plot::draw(&mut svg, PlotOptions { area, x_title: "trial", y_title: &title, gap }, x, y);

    let mut keep = best_few(measure, trials, 100);
    keep.extend(best_so_far.iter().map(|(i, _)| *i));
    let shown = thin(trials.len(), MOST, &keep);
    for state in [State::Failed, State::Pruned, State::Complete] {
        for trial in shown.iter().map(|i| &trials[*i]).filter(|t| t.state == state) {
            let at = plot.x.at(trial.number as f64);
            let Some(v) = value(trial) else {
                if state == State::Failed {
                    let reason = trial.reason.as_deref().unwrap_or("failed");
                    let tip = format!("trial {}: {}", trial.number, short_reason(reason));
                    cross(&mut svg, at, plot.bottom + 10.0, 3.2, "s-amber", &tip);
                }
                continue;
            };
            let tip = format!("trial {}: {}", trial.number, measure.show(v));
            match state {
                // Beyond the axis: a tick at its edge.
                _ if !plot.y.holds(v) => {
                    let class = if state == State::Complete { "axis s-accent" } else { "axis s-pale" };
                    let edge = plot.y.at(v);
                    let inside = if edge > (plot.top + plot.bottom) / 2.0 { -6.0 } else { 6.0 };
                    svg.line(at, edge, at, edge + inside, class);
                }
                State::Pruned => svg.circle(at, plot.y.at(v), 2.6, "ring s-pale", &tip),
                _ => svg.circle(at, plot.y.at(v), 3.2, "dot c-accent", &tip),
            }
        }
    }
    let mut line: Vec<(f64, f64)> =
        best_so_far.iter().map(|(i, v)| plot.at(trials[*i].number as f64, *v)).collect();
    if let (Some(end), Some((i, v))) = (line.last().copied(), best_so_far.last()) {
        line.push((plot.right, end.1));
        svg.path(&steps(&line), "line s-warm", "");
        let label = format!("{}, trial {}", measure.show(*v), grouped(trials[*i].number));
        svg.circle(end.0, end.1, 5.0, "dot c-warm", &format!("the best: {label}"));
        let at_end = end.0 > plot.right - 170.0;
        let (anchor, shift) = if at_end { (Anchor::End, -9.0) } else { (Anchor::Start, 9.0) };
        // Inside the plot, on the side of the line where no point is: past the best.
        let up = measure.direction == crate::search::Direction::Maximize;
        let label_y = if up { end.1 - 9.0 } else { end.1 + 19.0 };
        svg.text(end.0 + shift, label_y, anchor, "b halo t-warm", &label);
    }
    let beyond = values.iter().filter(|v| !plot.y.holds(**v)).count();
    let mut caption = "Each point is a trial; the line is the best value of a complete trial so far, so its last step is where \
                       the search could have stopped."
        .to_owned();
    if pruned > 0 {
        caption += " A pruned trial stands at the value it was stopped with.";
    }
    if failed > 0 {
        caption += " Crosses under the axis failed.";
    }
    if beyond > 0 {
        caption += &format!(
            " Ticks at the edge stand for values beyond the axis, {} in all.",
            grouped(beyond as u64)
        );
    }
    caption += &drawn(shown.len(), trials.len(), "trial");
    Some(Figure::new("history", "How the search went", caption, svg))
}

/// From the best value to twice as far as most complete trials are from it: pruned trials beyond are told apart well
/// enough at the edge.
fn axis(measure: &Measure, trials: &[Trial], values: &[f64]) -> Scale {
    let losses = |of: &[f64]| -> Vec<f64> { of.iter().map(|v| measure.direction.loss(*v)).collect() };
    let complete = trials.iter().filter(|t| t.state == State::Complete);
    let complete = losses(&complete.filter_map(value).collect::<Vec<_>>());
    let (Some(best), Some(most)) = (quantile(&complete, 0.0), quantile(&complete, 0.9)) else {
        return focused(measure, values);
    };
    let end = best + 2.0 * (most - best);
    let near = values.iter().copied().filter(|v| measure.direction.loss(*v) <= end);
    Scale::over(near, false).padded(0.04).format(measure.format)
}

/// At most 120 characters of a reason.
fn short_reason(reason: &str) -> String {
    let short: String = reason.chars().take(120).collect();
    if short.len() < reason.len() { short + "…" } else { short }
}
