//! Learning curves: of all trials, and of the final training.

use super::{Figure, WIDTH, best_few, drawn, focused};
use crate::report::search::Measure;
use crate::report::svg::text::{Format, capital, grouped};
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, legend, path, thin};
use crate::search::trial::{State, Trial};
use crate::train::{EpochRecord, History};

/// Curves drawn, at most.
const MOST: usize = 250;
/// Steps drawn of a curve, at most.
const MOST_STEPS: usize = 120;

/// The first goal after each step of every trial; `None` when none has two steps.
pub fn learning_curves(
    measure: &Measure,
    trials: &[Trial],
    best: Option<usize>,
    planned: u64,
) -> Option<Figure> {
    let curve = |i: usize| -> Vec<(f64, f64)> {
        let finite = trials[i].reports.iter().filter(|r| r.value.is_finite());
        let points: Vec<(f64, f64)> = finite.map(|r| (r.step as f64, r.value)).collect();
        let ends = [0, points.len().saturating_sub(1)];
        thin(points.len(), MOST_STEPS, &ends).into_iter().map(|k| points[k]).collect()
    };
    let with: Vec<usize> = (0..trials.len()).filter(|i| curve(*i).len() > 1).collect();
    if with.is_empty() {
        return None;
    }
    let place = |i: &usize| with.binary_search(i).ok();
    let best = best.filter(|b| place(b).is_some());
    let top = best_few(measure, trials, 10);
    let keep: Vec<usize> = best.iter().chain(&top).filter_map(place).collect();
    let shown: Vec<usize> = thin(with.len(), MOST, &keep).into_iter().map(|k| with[k]).collect();

    let mut svg = Svg::new(WIDTH, 372.0);
    let mut entries =
        vec![(Glyph::Line("thin s-q5"), "complete"), (Glyph::Line("thin s-pale"), "pruned or failed")];
    if best.is_some() {
        entries.push((Glyph::Line("s-warm"), "the best trial"));
    }
    let offset = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let points: Vec<(f64, f64)> = shown.iter().flat_map(|i| curve(*i)).collect();
    let values: Vec<f64> = points.iter().map(|p| p.1).collect();
    let last_step = points.iter().map(|p| p.0).fold(planned as f64, f64::max);
    let (x, y) = (Scale::new(1.0, last_step.max(2.0), false), focused(measure, &values));
    let title = measure.title();
    let area = (0.0, offset, WIDTH - 12.0, svg.height);
    let options = PlotOptions { area, x_title: "step (epoch)", y_title: &title, gap: 0.0 };
    let plot = Plot::draw(&mut svg, options, x, y);
    for complete in [false, true] {
        let data: String = shown
            .iter()
            .filter(|i| (trials[**i].state == State::Complete) == complete)
            .map(|i| path(&curve(*i).into_iter().map(|(s, v)| plot.at(s, v)).collect::<Vec<_>>()))
            .collect();
        svg.path(&data, if complete { "thin hair s-q5" } else { "thin hair s-pale" }, "");
    }
    // Where a trial was stopped.
    for i in shown.iter().filter(|i| trials[**i].state == State::Pruned) {
        if let Some((s, v)) = curve(*i).last() {
            let (px, py) = plot.at(*s, *v);
            svg.circle(px, py, 1.8, "c-pale", "");
        }
    }
    if let Some(best) = best {
        let points = curve(best);
        let line: Vec<(f64, f64)> = points.iter().map(|(s, v)| plot.at(*s, *v)).collect();
        svg.polyline(&line, "line bold s-warm", "");
        for ((s, v), (px, py)) in points.iter().zip(&line) {
            let tip = format!("trial {}, step {s}: {}", trials[best].number, measure.show(*v));
            svg.circle(*px, *py, 3.2, "dot c-warm", &tip);
        }
    }
    let caption = format!(
        "{} after each step of a trial, on the part that the search chose by. A curve that ends early in a point was stopped \
         there by the pruner.{}",
        capital(&measure.name),
        drawn(shown.len(), with.len(), "curve")
    );
    Some(Figure::new("learning-curves", "Learning curves of the trials", caption, svg))
}

/// Loss and, for classes, accuracy of the final training; `None` with fewer than two epochs.
pub fn training(history: &History) -> Option<Figure> {
    type Of = fn(&EpochRecord) -> Option<f64>;
    let panels: [(&str, Format, Of, Of); 3] = [
        ("loss ↓", Format::Plain, |e| Some(e.train_loss), |e| e.val_loss),
        ("accuracy ↑", Format::Percent, |e| e.train_accuracy, |e| e.val_accuracy),
        ("R² ↑", Format::Plain, |_| None, |e| e.val_r2),
    ];
    let epochs = &history.epochs;
    let series = |of: Of| -> Vec<(f64, f64)> {
        let values = epochs.iter().filter_map(|e| Some((e.epoch as f64, of(e)?)));
        let all: Vec<(f64, f64)> = values.filter(|p| p.1.is_finite()).collect();
        thin(all.len(), 400, &[0, all.len().saturating_sub(1)]).into_iter().map(|i| all[i]).collect()
    };
    let panels: Vec<_> = panels
        .into_iter()
        .map(|(name, format, train, val)| (name, format, series(train), series(val)))
        .filter(|(_, _, train, val)| train.len().max(val.len()) > 1)
        .collect();
    if panels.is_empty() {
        return None;
    }
    let mut svg = Svg::new(WIDTH, 300.0);
    let mut entries = vec![(Glyph::Line("s-accent"), "training part")];
    if panels.iter().any(|p| !p.3.is_empty()) {
        entries.push((Glyph::Line("s-warm"), "validation part"));
    }
    let top = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let width = (WIDTH - 28.0 * (panels.len() - 1) as f64) / panels.len() as f64;
    let first = epochs.iter().map(|e| e.epoch).min().unwrap_or(1) as f64;
    let last = epochs.iter().map(|e| e.epoch).max().unwrap_or(2) as f64;
    let mut least = None;
    for (k, (name, format, train, val)) in panels.iter().enumerate() {
        let left = k as f64 * (width + 28.0);
        let values = || train.iter().chain(val).map(|p| p.1);
        let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        // Losses over more than a decade are told apart on a logarithmic axis alone.
        let log = name.starts_with("loss") && low > 0.0 && high / low > 20.0;
        let y = Scale::over(values(), log).padded(0.04).format(*format);
        let x = Scale::new(first, last.max(first + 1.0), false);
        let area = (left, top, left + width - 10.0, svg.height);
        let options = PlotOptions { area, x_title: "epoch", y_title: name, gap: 0.0 };
        let plot = Plot::draw(&mut svg, options, x, y);
        for (points, colour, part) in [(train, "accent", "training"), (val, "warm", "validation")] {
            let line: Vec<(f64, f64)> = points.iter().map(|(e, v)| plot.at(*e, *v)).collect();
            svg.polyline(&line, &format!("line s-{colour}"), "");
            if let ([.., (epoch, v)], [.., (px, py)]) = (&points[..], &line[..]) {
                let tip = format!("{part}, epoch {epoch}: {}", format.show(*v));
                svg.circle(*px, *py, 3.6, &format!("dot c-{colour}"), &tip);
            }
        }
        if name.starts_with("loss") {
            least = val.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).filter(|b| b.0 + 0.5 < last);
            if let Some((epoch, v)) = least {
                let (px, py) = plot.at(epoch, v);
                svg.circle(px, py, 4.2, "ring s-warm", &format!("least, epoch {epoch}: {}", format.show(v)));
                let anchor = if px > plot.right - 40.0 { Anchor::End } else { Anchor::Middle };
                svg.text(px, py - 10.0, anchor, "s halo t-warm", "least");
            }
        }
    }
    let least = least.map_or_else(String::new, |(epoch, _)| {
        format!(" The validation loss was least after epoch {epoch}.")
    });
    let caption = format!(
        "One of the final trainings, {} epochs.{least} A gap that opens between the two lines is overfitting.",
        grouped(epochs.len() as u64)
    );
    Some(Figure::new("training", "The final training", caption, svg))
}
