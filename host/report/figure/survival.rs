//! How far trials got: what the pruner saved.

use super::{Figure, WIDTH};
use crate::report::svg::text::{count, grouped, width};
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, legend};
use crate::search::trial::{State, Trial};

/// Bars drawn, at most.
const MOST: u64 = 60;

/// A bar for each step: how many trials did it, and of those how many were completed. `None` when no trial reported a
/// step.
pub fn survival(trials: &[Trial], planned: u64, pruner: &str) -> Option<Figure> {
    let reached = |t: &Trial| t.last().map_or(0, |r| r.step);
    let finished = || trials.iter().filter(|t| t.state.is_finished());
    let last = finished().map(reached).max().filter(|s| *s > 0)?.max(planned.min(1 << 20));
    // With many steps, a bar for every few of them.
    let stride = last.div_ceil(MOST);
    let bars: Vec<(u64, usize, usize)> = (1..=last.div_ceil(stride))
        .map(|k| {
            let step = (k * stride).min(last);
            let there = || finished().filter(|t| reached(t) >= step);
            (step, there().count(), there().filter(|t| t.state == State::Complete).count())
        })
        .collect();
    let most = bars.iter().map(|b| b.1).max().unwrap_or(1);
    let mut svg = Svg::new(WIDTH, 300.0);
    let entries = [(Glyph::Square("c-accent"), "completed later"), (Glyph::Square("c-q2"), "stopped later")];
    let top = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let x = Scale::new(0.5, bars.len() as f64 + 0.5, false);
    let y = Scale::new(0.0, most as f64 * 1.1, false);
    let area = (0.0, top, WIDTH - 6.0, svg.height);
    let plot = Plot::draw(
        &mut svg,
        PlotOptions { area, x_title: "", y_title: "trials that did this step", gap: 0.0 },
        Scale::new(0.5, bars.len() as f64 + 0.5, false).unlabelled(),
        y,
    );
    let x = x.onto(plot.left, plot.right);
    let slot = (plot.right - plot.left) / bars.len() as f64;
    let bar = (slot * 0.74).min(44.0);
    let (mut taken, mut labelled, mut before) = (f64::NEG_INFINITY, f64::NEG_INFINITY, usize::MAX);
    for (k, (step, there, complete)) in bars.iter().enumerate() {
        let middle = x.at(k as f64 + 1.0);
        let (all, done) = (plot.y.at(*there as f64), plot.y.at(*complete as f64));
        let tip = format!("step {step}: {}, {} completed", count(*there, "trial"), grouped(*complete as u64));
        svg.rect(middle - bar / 2.0, all, bar, plot.bottom - all, 2.0, "c-q2", &tip);
        svg.rect(middle - bar / 2.0, done, bar, plot.bottom - done, 2.0, "c-accent", &tip);
        let label = grouped(*there as u64);
        let half = width(&label, 11.0) / 2.0;
        // A number where it changes.
        if *there != before && middle - half > taken + 5.0 {
            svg.text(middle, all - 6.0, Anchor::Middle, "s b", &label);
            taken = middle + half;
        }
        before = *there;
        let name = grouped(*step);
        let half = width(&name, 11.0) / 2.0;
        if middle - half > labelled + 8.0 {
            svg.text(middle, plot.bottom + 17.0, Anchor::Middle, "s m", &name);
            labelled = middle + half;
        }
    }
    let steps_done: u64 = finished().map(reached).sum();
    let of = last * finished().count() as u64;
    let saved = 100.0 * (1.0 - steps_done as f64 / of.max(1) as f64);
    let pruned = finished().filter(|t| t.state == State::Pruned).count();
    let caption = if pruned == 0 {
        "How many trials did each step (epoch). None was stopped early.".to_owned()
    } else {
        format!(
            "How many trials did each step (epoch). The pruner ({pruner}) stopped {} of {}; together the trials did {} of {} \
             steps, {saved:.0} % fewer than without it.",
            grouped(pruned as u64),
            count(finished().count(), "trial"),
            grouped(steps_done),
            grouped(of),
        )
    };
    Some(Figure::new("survival", "How far trials got", caption, svg))
}
