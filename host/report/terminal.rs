//! The report in a few lines of text, for a terminal.

use std::fmt::Write;

use super::search::{Measure, SearchReport, value};
use super::stats::Verdict;
use super::svg::text::{correlation, count, grouped, wrap_columns};
use super::words;
use crate::search::trial::{State, Trial};

/// Rows of the Pareto front, at most.
const FRONT: usize = 10;
/// Parameters whose importance is shown, at most.
const PARAMETERS: usize = 8;

/// How text is coloured.
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }
    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }
}

/// The summary: what was found, whether it beat the baseline, how the search went, the Pareto front, what mattered, the
/// scores. Lines are at most `width` characters long (at least 60); ANSI colours only if `colour` is set.
pub fn terminal(report: &SearchReport, width: usize, colour: bool) -> String {
    let (width, paint) = (width.max(60), Paint { colour });
    let mut text = String::new();
    let paragraph = |text: &mut String, words: &str| {
        for line in wrap_columns(words, width) {
            let _ = writeln!(text, "{line}");
        }
    };
    let _ = writeln!(text, "{}", paint.bold(&one_line(&report.title, width)));
    let reached = words::reached(report).map_or_else(String::new, |(a, b, c)| format!(" {a}{b}{c}"));
    paragraph(&mut text, &(words::found(report) + &reached));
    if let Some(best) = &report.best {
        let (verdict, against) = words::against(report);
        let code = match verdict {
            Some(Verdict::Better) => "32",
            Some(Verdict::Worse) => "33",
            _ => "0",
        };
        for line in wrap_columns(&against, width) {
            let _ = writeln!(text, "{}", if code == "0" { line } else { paint.with(code, &line) });
        }
        let _ = writeln!(text, "\n{}", paint.bold("best architecture"));
        for line in wrap_columns(&best.architecture, width - 2) {
            let _ = writeln!(text, "  {line}");
        }
        let recipe: Vec<String> = best.recipe.iter().map(|(name, value)| format!("{name} {value}")).collect();
        for line in wrap_columns(&recipe.join(", "), width - 2) {
            let _ = writeln!(text, "  {}", paint.dim(&line));
        }
    }
    let measure = report.measure();
    let _ = writeln!(text, "\n{}", paint.bold("trials"));
    let line = format!("{}, {}", words::states(report), words::rate(report));
    let _ = writeln!(text, "  {}", one_line(&line, width - 2));
    if let Some(line) = progress(&measure, &report.trials, width.min(100) - 36) {
        let _ = writeln!(text, "  {}", one_line(&line, width - 2));
    }
    text += &front(report, &paint, width);
    text += &importance(report, &paint, width);
    text += &scores(report, &paint, width);
    for (n, reason, _) in words::failures(report).iter().take(3) {
        let line = format!("{} failed: {reason}", count(*n, "trial"));
        let _ = writeln!(text, "{}", paint.with("33", &one_line(&line, width)));
    }
    text
}

/// `best so far  ▁▃▆▇██  93.10 % to 98.60 %`: the best of the complete trials up to each of `columns` moments.
fn progress(measure: &Measure, trials: &[Trial], columns: usize) -> Option<String> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = columns.clamp(8, 60).min(trials.len());
    let mut best: Option<f64> = None;
    let mut so_far = vec![];
    for trial in trials {
        let complete = trial.state == State::Complete;
        if let Some(v) =
            value(trial).filter(|v| complete && best.is_none_or(|b| measure.direction.better(*v, b)))
        {
            best = Some(v);
        }
        so_far.push(best);
    }
    let (first, last) = (so_far.iter().flatten().next().copied()?, best?);
    let shade = |v: f64| {
        let share = if first == last { 1.0 } else { (v - first) / (last - first) };
        BLOCKS[(share.clamp(0.0, 1.0) * 7.0).round() as usize]
    };
    let line: String =
        (1..=columns).map(|c| so_far[c * trials.len() / columns - 1].map_or(' ', shade)).collect();
    Some(format!("best so far  {line}  {} to {}", measure.show(first), measure.show(last)))
}

/// The front, by the first goal.
fn front(report: &SearchReport, paint: &Paint, width: usize) -> String {
    let measures: Vec<Measure> = report.setting.goals.iter().map(Measure::from).collect();
    let indices = report.front();
    if measures.len() < 2 || indices.is_empty() {
        return String::new();
    }
    let all = indices.len();
    // The ends and those evenly between.
    let indices: Vec<usize> =
        super::svg::thin(all, FRONT, &[0, all - 1]).into_iter().map(|k| indices[k]).collect();
    let mut rows: Vec<Vec<String>> = vec![measures.iter().map(|m| m.name.clone()).collect()];
    rows[0].push("trial".into());
    rows.extend(indices.iter().map(|i| {
        let trial = &report.trials[*i];
        let value = |k: usize| trial.values.get(k).copied().unwrap_or(f64::NAN);
        let mut row: Vec<String> = measures.iter().enumerate().map(|(k, m)| m.show(value(k))).collect();
        row.push(trial.number.to_string());
        row
    }));
    let heading = if all > indices.len() {
        format!("Pareto front ({} of {all})", indices.len())
    } else {
        "Pareto front".to_owned()
    };
    format!("\n{}\n{}", paint.bold(&heading), aligned(&rows, width))
}

/// Rows whose columns are right-aligned, two characters apart.
fn aligned(rows: &[Vec<String>], width: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |k: usize| rows.iter().filter_map(|r| r.get(k)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:>w$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", one_line(&line, width - 2));
    }
    text
}

/// Bars of the most important parameters.
fn importance(report: &SearchReport, paint: &Paint, width: usize) -> String {
    let named: Vec<(&str, f64)> = report
        .importance
        .iter()
        .map(|i| (i.name.as_deref().unwrap_or("combinations"), i.share))
        .filter(|(_, share)| (0.005..=1.0).contains(share))
        .take(PARAMETERS)
        .collect();
    if named.is_empty() {
        return String::new();
    }
    let names = named.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0).min(24);
    let most = named.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    let columns = (width - names - 14).min(40);
    let mut text = format!(
        "\n{}\n",
        paint.bold(&one_line(&format!("what mattered for {}", report.measure().name), width))
    );
    for (name, share) in named {
        let filled = ((share / most * columns as f64).round() as usize).max(1);
        let bar = paint.with("36", &"█".repeat(filled));
        let _ = writeln!(text, "  {:<names$}  {bar} {:.1} %", one_line(name, names), 100.0 * share);
    }
    text
}

/// The scores with their intervals.
fn scores(report: &SearchReport, paint: &Paint, width: usize) -> String {
    if report.scores.is_empty() {
        return String::new();
    }
    let mut rows: Vec<_> = report.scores.iter().collect();
    rows.sort_by(|a, b| b.rho.total_cmp(&a.rho).then_with(|| a.name.cmp(&b.name)));
    let n = rows.iter().map(|r| r.n).max().unwrap_or(0);
    let names = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).min(20);
    let heading = format!("scores: rank correlation with {} trained networks", grouped(n as u64));
    let mut text = format!("\n{}\n", paint.bold(&one_line(&heading, width)));
    for row in rows {
        let ends = format!("({} to {})", correlation(row.low), correlation(row.high));
        let name = one_line(&row.name, names);
        let line = format!("{name:<names$}  {:>5} {ends:<16} {}", correlation(row.rho), row.why);
        let line = one_line(line.trim_end(), width - 2);
        let _ = writeln!(text, "  {}", if row.used { line } else { paint.dim(&line) });
    }
    text
}

/// `text` on one line of at most `width` characters; control characters, which could steer a terminal, become spaces.
fn one_line(text: &str, width: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= width {
        return clean;
    }
    clean.chars().take(width.saturating_sub(1)).collect::<String>() + "…"
}
