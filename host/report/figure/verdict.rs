//! Whether the search paid: each final training as a point, with the mean and its interval, beside the baseline.

use super::{Figure, WIDTH};
use crate::report::search::{Baseline, BestModel, Measure};
use crate::report::svg::text::{count, width};
use crate::report::svg::{Anchor, Plot, PlotOptions, Scale, Svg};
use crate::search::estimate::Estimate;

/// Height of a row.
const ROW: f64 = 58.0;

/// Test values of the best model and of the baseline; `None` when there is no value.
pub fn verdict(measure: &Measure, best: &BestModel, baseline: Option<&Baseline>) -> Option<Figure> {
    let mut rows: Vec<(&str, &Estimate, &str)> = vec![];
    rows.extend(best.test.as_ref().map(|e| ("searched", e, "warm")));
    if let Some(b) = baseline {
        rows.extend(b.test.as_ref().map(|e| (b.name.as_str(), e, "accent")));
    }
    rows.retain(|(_, e, _)| e.mean.is_finite());
    let runs = rows.first()?.1.values.len();

    let mut svg = Svg::new(WIDTH, rows.len() as f64 * ROW + 58.0);
    let names = rows.iter().map(|(n, ..)| width(n, 13.0)).fold(60.0, f64::max).min(210.0);
    let values = rows.iter().flat_map(|(_, e, _)| e.values.iter().copied().chain([e.low, e.high]));
    let x = Scale::over(values, false).padded(0.1).format(measure.format);
    let title = format!("{} on the test part", measure.title());
    let area = (names + 16.0, 0.0, WIDTH - 96.0, svg.height);
    let plot = Plot::rows(&mut svg, PlotOptions { area, x_title: &title, y_title: "", gap: 0.0 }, x);
    for (i, (name, estimate, colour)) in rows.iter().enumerate() {
        let y = plot.top + ROW * (i as f64 + 0.42);
        svg.text_fit(0.0, y + 4.0, Anchor::Start, "b", 13.0, names, name);
        if estimate.values.len() > 1 {
            let (low, high, class) =
                (plot.x.at(estimate.low), plot.x.at(estimate.high), format!("line s-{colour}"));
            svg.line(low, y, high, y, &class);
            svg.line(low, y - 5.0, low, y + 5.0, &class);
            svg.line(high, y - 5.0, high, y + 5.0, &class);
        }
        for value in estimate.values.iter().filter(|v| v.is_finite() && runs > 1) {
            svg.circle(plot.x.at(*value), y + 16.0, 3.4, &format!("ring s-{colour}"), &measure.show(*value));
        }
        let tip = format!("mean {}", measure.show(estimate.mean));
        svg.circle(plot.x.at(estimate.mean), y, 6.0, &format!("dot c-{colour}"), &tip);
        svg.text(WIDTH, y + 5.0, Anchor::End, "l b", &measure.show(estimate.mean));
    }
    let caption = if runs > 1 {
        format!(
            "Large points are means over {} from scratch, the bars their 95 % confidence intervals, open points the single \
             trainings. The test part took no part in the search.",
            count(runs, "training")
        )
    } else {
        "One training each: there is no interval, and a small difference means nothing.".to_owned()
    };
    Some(Figure::new("verdict", "Searched network and baseline", caption, svg))
}
