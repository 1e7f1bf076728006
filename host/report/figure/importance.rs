//! What the first goal depends on.

use super::{Figure, WIDTH};
use crate::report::search::Measure;
use crate::report::svg::text::{count, width};
use crate::report::svg::{Anchor, Svg};
use crate::search::importance::Importance;

/// Parameters drawn, at most.
const MOST: usize = 16;
const ROW: f64 = 26.0;

/// A bar for each parameter's share of the variance; `None` when nothing is known.
pub fn importance(measure: &Measure, rows: &[Importance]) -> Option<Figure> {
    let mut named: Vec<(&str, f64)> = rows
        .iter()
        .filter_map(|r| Some((r.name.as_deref()?, r.share)))
        .filter(|r| (0.0..=1.0).contains(&r.1))
        .collect();
    if named.is_empty() {
        return None;
    }
    let hidden = named.len().saturating_sub(MOST);
    let hidden_share: f64 = named.drain(named.len() - hidden..).map(|r| r.1).sum();
    let together: f64 = rows.iter().filter(|r| r.name.is_none()).map(|r| r.share).sum();
    let mut bars: Vec<(String, f64, &str)> =
        named.into_iter().map(|(name, share)| (name.to_owned(), share, "c-accent")).collect();
    if hidden > 0 {
        bars.push((format!("{} more", count(hidden, "parameter")), hidden_share, "c-pale"));
    }
    if (0.0..=1.0).contains(&together) {
        bars.push(("combinations".into(), together, "c-pale"));
    }
    let names = bars.iter().map(|b| width(&b.0, 12.0)).fold(60.0, f64::max).min(230.0);
    let (left, right) = (names + 14.0, WIDTH - 60.0);
    let most = bars.iter().map(|b| b.1).fold(0.01, f64::max);
    let mut svg = Svg::new(WIDTH, bars.len() as f64 * ROW + 6.0);
    for (i, (name, share, class)) in bars.iter().enumerate() {
        let y = i as f64 * ROW + 2.0;
        let name_class = if *class == "c-pale" { "m" } else { "" };
        svg.text_fit(names, y + 15.0, Anchor::End, name_class, 12.0, names, name);
        let length = (right - left) * (share / most).clamp(0.0, 1.0);
        let percent = format!("{:.1} %", 100.0 * share);
        svg.rect(left, y + 3.0, length.max(1.5), 16.0, 2.0, class, &format!("{name}: {percent}"));
        svg.text(left + length.max(1.5) + 7.0, y + 15.0, Anchor::Start, "s m", &percent);
    }
    let caption = format!(
        "The share of the variance of {} over the whole space that a parameter explains by itself (functional ANOVA on a \
         random forest); the last bar is what only combinations explain. A parameter can matter in poor regions alone: a \
         learning rate that makes training fail counts too.",
        measure.name
    );
    Some(Figure::new("importance", "Importance of the parameters", caption, svg))
}
