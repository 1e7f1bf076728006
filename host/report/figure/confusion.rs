//! The confusion matrix: right answers in blue, errors in orange.

use super::{Figure, WIDTH};
use crate::report::svg::text::{fit, grouped, width};
use crate::report::svg::{Anchor, Svg};

/// Classes drawn, at most.
const MOST: usize = 40;

/// Rows are true classes, columns what the model said; `None` for regression and for more classes than can be seen.
pub fn confusion(matrix: &[Vec<u32>], classes: &[String]) -> Option<Figure> {
    let n = matrix.len();
    if n == 0 || n > MOST || matrix.iter().any(|row| row.len() != n) {
        return None;
    }
    let name = |i: usize| classes.get(i).cloned().unwrap_or_else(|| i.to_string());
    let names = (0..n).map(|i| width(&name(i), 12.0)).fold(12.0, f64::max).min(130.0);
    let left = names + 34.0;
    let cell = ((WIDTH - left - 120.0) / n as f64).min(46.0).min(560.0 / n as f64);
    let slanted = (0..n).any(|i| width(&name(i), 11.0) > cell - 4.0);
    let (top, recall) = (40.0, left + cell * n as f64 + 14.0);
    let mut svg = Svg::new(WIDTH, top + cell * n as f64 + 40.0);
    let totals: Vec<u64> = matrix.iter().map(|row| row.iter().map(|c| u64::from(*c)).sum()).collect();
    let errors = |i: usize| (0..n).filter(move |j| *j != i);
    let most = (0..n).flat_map(|i| errors(i).map(move |j| matrix[i][j])).max().unwrap_or(0).max(1);
    svg.text(left, 12.0, Anchor::Start, "s m", "said →");
    svg.text(left - 8.0, top - 8.0, Anchor::End, "s m", "true ↓");
    svg.text(recall, top - 8.0, Anchor::Start, "s m", "recall");
    let size = if cell >= 26.0 { ("", 12.0) } else { ("xs", 10.0) };
    for i in 0..n {
        let y = top + cell * i as f64;
        svg.text_fit(left - 8.0, y + cell / 2.0 + 4.0, Anchor::End, "", 12.0, names, &name(i));
        let column = left + cell * (i as f64 + 0.5);
        // Where names do not fit over their columns, their first letters do; the tips have the rest.
        let head = if slanted { fit(&name(i), 11.0, cell - 3.0) } else { name(i) };
        if cell >= 14.0 {
            svg.text_tip(column, top - 8.0, Anchor::Middle, "s", &head, &name(i));
        }
        for (j, count) in matrix[i].iter().enumerate() {
            let x = left + cell * j as f64;
            let class = if i == j {
                let share = f64::from(*count) / totals[i].max(1) as f64;
                format!("c-q{}", (share * 8.0).round().clamp(0.0, 8.0))
            } else if *count == 0 {
                "card".into()
            } else {
                // The root: single errors stay visible beside the most common one.
                let share = (f64::from(*count) / f64::from(most)).sqrt();
                format!("c-w{}", (share * 4.0).round().clamp(0.0, 4.0))
            };
            let tip = format!("true {}, said {}: {}", name(i), name(j), grouped(u64::from(*count)));
            svg.rect(x + 0.8, y + 0.8, cell - 1.6, cell - 1.6, 2.0, &class, &tip);
            let text = grouped(u64::from(*count));
            if (*count > 0 || i == j) && cell >= 15.0 && width(&text, size.1) <= cell - 3.0 {
                let on = if ["c-q5", "c-q6", "c-q7", "c-q8", "c-w4"].contains(&class.as_str()) {
                    "on"
                } else {
                    ""
                };
                svg.text(
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.0,
                    Anchor::Middle,
                    format!("{} {on}", size.0).trim(),
                    &text,
                );
            }
        }
        if totals[i] > 0 && cell >= 11.0 {
            let share = 100.0 * f64::from(matrix[i][i]) / totals[i] as f64;
            svg.text(recall, y + cell / 2.0 + 4.0, Anchor::Start, "s", &format!("{share:.1} %"));
        }
    }
    svg.height = top + cell * n as f64 + 6.0;
    let mut pairs: Vec<(u32, usize, usize)> =
        (0..n).flat_map(|i| errors(i).map(move |j| (matrix[i][j], i, j))).filter(|p| p.0 > 0).collect();
    pairs.sort_by_key(|p| (std::cmp::Reverse(p.0), p.1, p.2));
    let caption = match pairs.first() {
        None => {
            "Each row is a true class of the test part, each column what the model said. There is no error."
                .to_owned()
        }
        Some((count, i, j)) => format!(
            "Each row is a true class of the test part, each column what the model said: right answers are blue, errors orange. \
             The most common error, {} of {}, takes {} for {}.",
            grouped(u64::from(*count)),
            grouped(totals[*i]),
            name(*i),
            name(*j)
        ),
    };
    Some(Figure::new("confusion", "Which classes are mistaken", caption, svg))
}
