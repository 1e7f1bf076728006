//! How well each score without training told good networks from bad, beside the number of parameters.

use super::{Figure, WIDTH};
use crate::report::search::{Measure, ScoreRow};
use crate::report::svg::text::{correlation, grouped, width, wrap};
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, legend};

const ROW: f64 = 34.0;
/// Width of the column that says why.
const WHY: f64 = 236.0;

/// A bar with its bootstrap interval for each score, in the order of their correlations; `None` without scores.
pub fn scores(measure: &Measure, rows: &[ScoreRow]) -> Option<Figure> {
    let mut rows: Vec<&ScoreRow> = rows.iter().collect();
    rows.sort_by(|a, b| {
        let key = |r: &ScoreRow| if r.rho.is_finite() { -r.rho } else { f64::INFINITY };
        key(a).total_cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let n = rows.iter().map(|r| r.n).max()?;
    let params = rows.iter().find(|r| is_params(r)).map(|r| r.rho).filter(|r| r.is_finite());

    let names = rows.iter().map(|r| width(&r.name, 13.0)).fold(50.0, f64::max).min(150.0);
    let mut svg = Svg::new(WIDTH, 0.0);
    let mut entries = vec![(Glyph::Square("c-accent"), "used"), (Glyph::Square("c-pale"), "switched off")];
    if params.is_some() {
        entries.push((Glyph::Line("s-warm dash"), "the number of parameters"));
    }
    let top = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 10.0;
    svg.height = top + rows.len() as f64 * ROW + 46.0;
    let ends = rows
        .iter()
        .flat_map(|r| [r.low, r.high, r.rho])
        .filter(|v| v.is_finite())
        .map(|v| v.clamp(-1.0, 1.0));
    let x = Scale::over(ends.chain([0.0, 0.5]), false).padded(0.04);
    let area = (names + 14.0, top, WIDTH - WHY - 16.0, svg.height);
    let title = format!("rank correlation with the trained {}", measure.name);
    let plot = Plot::rows(&mut svg, PlotOptions { area, x_title: &title, y_title: "", gap: 0.0 }, x);
    let zero = plot.x.at(0.0);
    svg.line(zero, plot.top, zero, plot.bottom, "axis");
    if let Some(rho) = params {
        let at = plot.x.at(rho);
        svg.line(at, plot.top - 2.0, at, plot.bottom, "line thin dash s-warm");
    }
    for (i, row) in rows.iter().enumerate() {
        let y = plot.top + ROW * (i as f64 + 0.5);
        let (fill, stroke, text) = match (is_params(row), row.used) {
            (true, _) => ("c-warm", "s-warm", "b"),
            (false, true) => ("c-accent", "s-accent", "b"),
            (false, false) => ("c-pale", "s-faint", "m"),
        };
        svg.text_fit(0.0, y + 4.5, Anchor::Start, text, 13.0, names, &row.name);
        let [rho, low, high] = [row.rho, row.low, row.high].map(correlation);
        let tip = format!("{}: {rho}, 95 % interval {low} to {high}", row.name);
        if row.rho.is_finite() {
            let end = plot.x.at(row.rho);
            svg.rect(end.min(zero), y - 6.0, (end - zero).abs(), 12.0, 2.0, fill, &tip);
        }
        if row.low.is_finite() && row.high.is_finite() {
            let (low, high) = (plot.x.at(row.low), plot.x.at(row.high));
            svg.line(
                low,
                y,
                high,
                y,
                &format!("line thin {}", if row.used || is_params(row) { "s-ink" } else { stroke }),
            );
            for end in [low, high] {
                svg.line(end, y - 4.0, end, y + 4.0, "line thin s-ink");
            }
        }
        svg.text(WIDTH - WHY + 24.0, y + 4.5, Anchor::End, text, &rho);
        let mut why = wrap(&row.why, 11.0, WHY - 36.0);
        if why.len() > 2 {
            why[1] += " …";
            why.truncate(2);
        }
        let first = y + if why.len() > 1 { -2.5 } else { 4.0 };
        for (k, line) in why.iter().enumerate() {
            svg.text_fit(
                WIDTH - WHY + 36.0,
                first + 13.0 * k as f64,
                Anchor::Start,
                "s m",
                11.0,
                WHY - 36.0,
                line,
            );
        }
    }
    let caption = format!(
        "Spearman's rank correlation of each score with what {} networks reached when they were trained on this data; the thin \
         lines are 95 % bootstrap intervals. A score that does not beat the number of parameters is no better than preferring \
         larger networks, and is switched off.",
        grouped(n as u64)
    );
    Some(Figure::new("scores", "What the scores predict", caption, svg))
}

fn is_params(row: &ScoreRow) -> bool {
    matches!(row.name.as_str(), "params" | "parameters" | "parameter count")
}
