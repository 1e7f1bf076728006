//! The report as one HTML page.
//!
//! The page refers to nothing outside itself: styles, figures and a few lines of script are inside. All of it can be read
//! without the script, which shows the tips of marks at once, sorts tables and copies the command. Its size is bounded:
//! figures draw a fair part of many trials and say so, tables end after [`TABLE_ROWS`] rows.

mod tables;

use std::fmt::Write;
use std::path::Path;

use super::figure::{self, Figure};
use super::search::SearchReport;
use super::stats::Verdict;
use super::svg::style;
use super::svg::text::{count, duration, escape, grouped, number, short};
use super::words;
use crate::train::{TrainError, write_atomic};

pub use tables::TABLE_ROWS;

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the page, whole or not at all. Error: the file cannot be written.
pub fn write_html(report: &SearchReport, path: &Path) -> Result<(), TrainError> {
    write_atomic(path, html(report).as_bytes())
}

/// A part of the page: its anchor, its heading, what is in it.
struct Section {
    id: &'static str,
    heading: String,
    body: String,
}

/// The page.
pub fn html(report: &SearchReport) -> String {
    let figures = figure::all(report);
    let sections = sections(report, &figures);
    let title = escape(&report.title);
    let mut page = String::with_capacity(1 << 18);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"ironwarp {version}\">\n\
         <title>{title} · architecture search</title>\n<style>\n:root{{{light}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n@media print{{:root{{{light}}}}}\n{CSS}{rules}</style>\n\
         </head>\n<body>\n",
        version = env!("CARGO_PKG_VERSION"),
        light = style::properties(false),
        dark = style::properties(true),
        rules = style::rules(),
    );
    page += "<nav aria-label=\"Contents\"><ul>";
    for section in &sections {
        let _ = write!(page, "<li><a href=\"#{}\">{}</a></li>", section.id, escape(&section.heading));
    }
    page += "</ul></nav>\n<main>\n";
    page += &header(report);
    for Section { id, heading, body } in &sections {
        let _ = write!(page, "<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n", escape(heading));
    }
    let _ = write!(
        page,
        "<footer>Written by Ironwarp {}. Figures are drawn from the study's own records; the same study gives the same page, \
         byte by byte.</footer>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    page
}

/// Title, what was found in plain words, and the numbers.
fn header(report: &SearchReport) -> String {
    let (verdict, against) = words::against(report);
    let class = match verdict {
        Some(Verdict::Better) => "verdict better",
        Some(Verdict::Worse) => "verdict worse",
        _ => "verdict",
    };
    let mut text = format!(
        "<header>\n<p class=\"kicker\">Ironwarp · architecture search</p>\n<h1>{}</h1>\n<p class=\"lede\">{}",
        escape(&report.title),
        escape(&words::found(report))
    );
    if let Some((before, value, after)) = words::reached(report) {
        let _ = write!(text, " {}<b>{}</b>{}", escape(&before), escape(&value), escape(&after));
    }
    text += "</p>\n";
    if report.best.is_some() {
        let _ = writeln!(text, "<p class=\"{class}\">{}</p>", escape(&against));
    }
    text += "<dl class=\"stats\">\n";
    let measure = &report.final_measure;
    let mut stat = |name: &str, value: &str, more: &str| {
        let more =
            if more.is_empty() { String::new() } else { format!("<br><small>{}</small>", escape(more)) };
        let _ = writeln!(text, "<div><dt>{}{more}</dt><dd>{}</dd></div>", escape(name), escape(value));
    };
    if let Some(best) = &report.best {
        if let Some(test) = &best.test {
            let more = words::interval(report, test).unwrap_or_default();
            stat(&format!("test {}", measure.name), &measure.show(test.mean), &more);
        }
        if let Some(validation) = &best.validation {
            stat(
                &format!("validation {}", measure.name),
                &measure.show(validation.mean),
                "the search saw this part",
            );
        }
        let parameters = best.net.parameter_count();
        stat("parameters", &short(parameters as f64), &format!("{} exactly", grouped(parameters as u64)));
    }
    stat("trials", &grouped(report.trials.len() as u64), &words::states(report));
    let rate = report.rate();
    if rate.is_finite() {
        let rate = number((rate * 10.0).round() / 10.0);
        stat("trials per second", &rate, &words::place(report));
    }
    stat(
        "search",
        &duration(report.seconds),
        &format!("then {} of final training", duration(report.final_seconds)),
    );
    text + "</dl>\n</header>\n"
}

fn sections(report: &SearchReport, figures: &[Figure]) -> Vec<Section> {
    let figure = |name: &str| figures.iter().find(|f| f.name == name).map_or_else(String::new, show);
    let mut out = vec![];
    let mut add = |id: &'static str, heading: &str, body: String| {
        if !body.is_empty() {
            out.push(Section { id, heading: heading.to_owned(), body });
        }
    };
    if let Some(best) = &report.best {
        let text = format!("<p class=\"architecture\"><code>{}</code></p>\n", escape(&best.architecture));
        add("architecture", "The best architecture", format!("{}{text}", figure("architecture")));
    }
    add("verdict", "Did the search pay?", figure("verdict"));
    add("measured", "How it was measured", measured(report));
    add("search", "The search", figure("history") + &figure("learning-curves") + &figure("survival"));
    add("tradeoffs", "Trade-offs", figure("pareto") + &tables::front(report));
    add("parameters", "What mattered", figure("importance") + &figure("parallel"));
    add("scores", "Scores without training", figure("scores") + &tables::scores(report));
    add("model", "The final model", figure("training") + &figure("confusion"));
    add("trials", "The trials", tables::trials(report));
    add("failures", "Trials that failed", tables::failures(report));
    out
}

/// A figure with its title and caption above it.
fn show(figure: &Figure) -> String {
    format!(
        "<figure id=\"figure-{}\">\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n<div class=\"plot\">{}</div>\n</figure>\n",
        figure.name,
        escape(&figure.title),
        escape(&figure.caption),
        figure.inline()
    )
}

/// What the search saw, the command, and the facts that a repetition needs.
fn measured(report: &SearchReport) -> String {
    let mut text = "<ul class=\"measured\">\n".to_owned();
    for sentence in words::measured(report) {
        let _ = writeln!(text, "<li>{}</li>", escape(&sentence));
    }
    text += "</ul>\n";
    if !report.command.is_empty() {
        let command = escape(&report.command);
        let _ = write!(
            text,
            "<h3>To get this result again</h3>\n<div class=\"command\"><pre>{command}</pre></div>\n"
        );
    }
    text += "<dl class=\"facts\">\n";
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
    };
    let data = &report.data;
    let classes = if data.classes.is_empty() {
        "numbers to predict".to_owned()
    } else {
        count(data.classes.len(), "class").replace("classs", "classes")
    };
    let shape = format!("{}, {}, {}", count(data.rows, "row"), count(data.features, "feature"), classes);
    fact("Data", format!("{}: {shape}", data.name));
    let goals: Vec<String> = report
        .setting
        .goals
        .iter()
        .map(|g| {
            let way = if g.direction == crate::search::Direction::Maximize { "more" } else { "less" };
            format!("{} ({way} is better)", g.name)
        })
        .collect();
    fact("Goals", goals.join(", "));
    let space = &report.setting.space;
    let size =
        space.count().map_or_else(|| "some continuous".to_owned(), |n| format!("{} points", grouped(n)));
    fact("Space", format!("{}, {size}", count(space.parameters().len(), "parameter")));
    fact("Sampler", report.sampler.clone());
    fact(
        "Pruner",
        format!("{}, at most {} a trial", report.pruner, count(report.setting.steps as usize, "step")),
    );
    fact("Seed of the search", report.setting.seed.to_string());
    if !report.seeds.is_empty() {
        let seeds: Vec<String> = report.seeds.iter().take(40).map(u64::to_string).collect();
        fact("Seeds of the final trainings", seeds.join(", "));
    }
    fact("Device", words::place(report));
    let finished = report.trials.len() - report.counts().running;
    let mut time =
        format!("{} for {} ({})", duration(report.seconds), count(finished, "trial"), words::rate(report));
    if report.final_seconds.is_finite() {
        let _ = write!(time, ", {} for the final trainings", duration(report.final_seconds));
    }
    fact("Time", time);
    if let Some(study) = &report.study {
        fact("Study", study.clone());
    }
    text + "</dl>\n"
}
