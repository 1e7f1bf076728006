//! The tables of the page.

use std::fmt::Write;

use crate::report::search::{Measure, SearchReport, ranked};
use crate::report::svg::text::{correlation, count, duration, escape, grouped, number};
use crate::report::words;
use crate::search::trial::Trial;

/// Rows of a table, at most.
pub const TABLE_ROWS: usize = 50;

/// A cell of a number: what it says, and what it is sorted by.
fn numeric(text: &str, value: f64) -> String {
    let value = if value.is_finite() { value.to_string() } else { String::new() };
    format!("<td class=\"n\" data-v=\"{value}\">{}</td>", escape(text))
}

/// A table of trials: number, goals, steps, seconds, point.
fn of_trials(report: &SearchReport, indices: &[usize], ranks: bool) -> String {
    let measures: Vec<Measure> = report.setting.goals.iter().map(Measure::from).collect();
    // The number of parameters is worth a column when it is no goal.
    let parameters = !measures.iter().any(|m| m.name == "params")
        && indices.iter().any(|i| report.trials[*i].attributes.contains_key("params"));
    let mut text = "<div class=\"table wide\"><table class=\"sortable\"><thead><tr>".to_owned();
    if ranks {
        text += "<th class=\"n\">rank</th>";
    }
    text += "<th class=\"n\">trial</th>";
    for measure in &measures {
        let _ = write!(text, "<th class=\"n\">{}</th>", escape(&measure.name));
    }
    if parameters {
        text += "<th class=\"n\">params</th>";
    }
    text += "<th class=\"n\">steps</th><th class=\"n\">time</th><th>point</th></tr></thead>\n<tbody>\n";
    let best = report.best_index();
    for (rank, i) in indices.iter().enumerate() {
        let trial = &report.trials[*i];
        text += if Some(*i) == best { "<tr class=\"chosen\">" } else { "<tr>" };
        if ranks {
            text += &numeric(&(rank + 1).to_string(), rank as f64);
        }
        text += &numeric(&trial.number.to_string(), trial.number as f64);
        for (k, measure) in measures.iter().enumerate() {
            let value = trial.values.get(k).copied().unwrap_or(f64::NAN);
            text += &numeric(&measure.format.exact(value), value);
        }
        if parameters {
            let value = trial.attributes.get("params").copied().unwrap_or(f64::NAN);
            text += &numeric(&number(value), value);
        }
        let steps = trial.last().map_or(0, |r| r.step);
        text += &numeric(&grouped(steps), steps as f64);
        text += &numeric(&duration(trial.seconds), trial.seconds);
        let _ = writeln!(text, "<td><code>{}</code></td></tr>", escape(&point(report, trial)));
    }
    text + "</tbody></table></div>\n"
}

/// The point as text, numbers with four digits, so that a row stays readable.
fn point(report: &SearchReport, trial: &Trial) -> String {
    use crate::search::space::Value;
    let mut text = String::new();
    for (p, value) in report.setting.space.parameters().iter().zip(&trial.point.0) {
        let Some(value) = value else { continue };
        let value = match value {
            Value::Float(x) => number(*x),
            other => p.domain.show(*other),
        };
        let _ = write!(text, "{}{}={value}", if text.is_empty() { "" } else { " " }, p.name);
        if text.len() > 2000 {
            text.push('…');
            break;
        }
    }
    text
}

/// How to have all of a study's records.
fn export(report: &SearchReport) -> String {
    match &report.study {
        Some(study) => {
            format!(
                " <code>ironwarp study export {} csv</code> writes all of them.",
                escape(&words::quoted(study))
            )
        }
        None => String::new(),
    }
}

/// The Pareto front, by the first goal.
pub fn front(report: &SearchReport) -> String {
    let mut indices = report.front();
    if report.setting.goals.len() < 2 || indices.is_empty() {
        return String::new();
    }
    let all = indices.len();
    indices.truncate(TABLE_ROWS);
    let note = if all > indices.len() {
        format!("<p class=\"note\">The first {} of {all}.{}</p>\n", indices.len(), export(report))
    } else {
        String::new()
    };
    format!("<h3>The Pareto front</h3>\n{}{note}", of_trials(report, &indices, false))
}

/// The best trials.
pub fn trials(report: &SearchReport) -> String {
    let mut order = ranked(&report.measure(), &report.trials);
    let complete = order.len();
    order.truncate(TABLE_ROWS);
    let head = format!(
        "<p>{}: {}. {}{}</p>\n",
        count(report.trials.len(), "trial"),
        escape(&words::states(report)),
        match complete {
            0 => "None was completed.".to_owned(),
            n if n > TABLE_ROWS => format!("These are the {TABLE_ROWS} best complete ones."),
            _ => "These are the complete ones, the best first.".to_owned(),
        },
        export(report)
    );
    if report.trials.is_empty() || order.is_empty() { head } else { head + &of_trials(report, &order, true) }
}

/// The scores with their intervals.
pub fn scores(report: &SearchReport) -> String {
    if report.scores.is_empty() {
        return String::new();
    }
    let mut rows: Vec<_> = report.scores.iter().collect();
    rows.sort_by(|a, b| b.rho.total_cmp(&a.rho).then_with(|| a.name.cmp(&b.name)));
    let mut text = "<div class=\"table\"><table class=\"sortable\"><thead><tr><th>score</th><th class=\"n\">correlation</th>\
                    <th class=\"n\">from</th><th class=\"n\">to</th><th class=\"n\">networks</th><th>used</th><th>why</th>\
                    </tr></thead>\n<tbody>\n"
        .to_owned();
    for row in rows {
        let _ = writeln!(
            text,
            "<tr{}><td>{}</td>{}{}{}{}<td>{}</td><td>{}</td></tr>",
            if row.used { "" } else { " class=\"off\"" },
            escape(&row.name),
            numeric(&correlation(row.rho), row.rho),
            numeric(&correlation(row.low), row.low),
            numeric(&correlation(row.high), row.high),
            numeric(&grouped(row.n as u64), row.n as f64),
            if row.used { "yes" } else { "no" },
            escape(&row.why)
        );
    }
    text + "</tbody></table></div>\n"
}

/// Why trials failed.
pub fn failures(report: &SearchReport) -> String {
    let mut rows = words::failures(report);
    if rows.is_empty() {
        return String::new();
    }
    let all = rows.len();
    rows.truncate(20);
    let mut text = format!(
        "<p>{} failed; the search went on.</p>\n<div class=\"table\"><table><thead><tr><th class=\"n\">trials</th>\
         <th>reason</th><th>numbers</th></tr></thead>\n<tbody>\n",
        count(report.counts().failed, "trial")
    );
    for (n, reason, numbers) in &rows {
        let more = if *n > numbers.len() { ", …" } else { "" };
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let _ = writeln!(
            text,
            "{}<td>{}</td><td>{}{more}</td></tr>",
            format_args!("<tr>{}", numeric(&grouped(*n as u64), *n as f64)),
            escape(reason),
            numbers.join(", ")
        );
    }
    text += "</tbody></table></div>\n";
    if all > rows.len() {
        let _ = writeln!(text, "<p class=\"note\">The most common reasons.{}</p>", export(report));
    }
    text
}
