//! What `search` prints: the report of each search as text, and one JSON object.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use ironwarp::report::SearchReport;
use ironwarp::search::estimate::Estimate;
use ironwarp::search::metric::Metric;
use serde_json::{Map, Value, json};

use super::live::figure;
use super::{Args, Searched};
use crate::cli::report;

/// Columns of the text.
const WIDTH: usize = 100;

/// Searches that came to their end, one for each test part.
pub struct Outcome<'a> {
    pub args: &'a Args,
    pub metric: Metric,
    pub searched: &'a [Searched],
    pub reports: &'a [SearchReport],
    /// Index of the one whose model is kept.
    pub chosen: usize,
    pub model: PathBuf,
    /// The page of each search.
    pub pages: &'a [PathBuf],
    pub seconds: f64,
}

impl Outcome<'_> {
    /// The winner's and the default network's test figure on each part, where both have one.
    fn folds(&self, of: impl Fn(&Searched) -> Option<f64>) -> Option<Estimate> {
        Estimate::of(self.searched.iter().map(of).collect::<Option<Vec<f64>>>()?)
    }

    pub fn text(&self) -> String {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut text = String::new();
        for (number, report) in self.reports.iter().enumerate() {
            if self.reports.len() > 1 {
                let _ = writeln!(text, "fold {} of {}", number + 1, self.reports.len());
            }
            text += &ironwarp::report::terminal(report, WIDTH, colour);
            text.push('\n');
        }
        if let (true, Some(test)) = (self.searched.len() > 1, self.folds(|s| Some(s.tested.metric.mean))) {
            let show = |value| figure(self.metric, value);
            let _ = write!(
                text,
                "over {} test parts: {} {} (95 % interval {} to {})",
                test.values.len(),
                self.metric,
                show(test.mean),
                show(test.low),
                show(test.high)
            );
            if let Some(base) = self.folds(|s| s.baseline.as_ref().map(|b| b.metric.mean)) {
                let _ = write!(text, ", the default network {}", show(base.mean));
            }
            text.push('\n');
        }
        for page in self.pages {
            let _ = writeln!(text, "report  {}", page.display());
        }
        let _ = writeln!(text, "model   {}", self.model.display());
        if let Some(study) = self.searched[self.chosen].found.study.path() {
            let _ = writeln!(text, "study   {}", study.display());
        }
        text
    }

    pub fn json(&self) -> Result<Value> {
        let chosen = &self.searched[self.chosen];
        let mut map = Map::new();
        map.insert("command".into(), json!("search"));
        map.insert("data".into(), json!(self.args.data.display().to_string()));
        if let Value::Object(summary) = self.reports[self.chosen].summary() {
            map.extend(summary);
        }
        // A front of one goal is its best trial.
        if map.get("pareto").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let best = chosen.found.study.best()?;
            let space = &chosen.found.study.setting().space;
            let entry = best.map(|t| {
                let values = json!({ (self.metric.name()): report::number(t.values[0]) });
                json!({ "trial": t.number, "values": values, "point": space.show(&t.point) })
            });
            map.insert("pareto".into(), json!(entry.into_iter().collect::<Vec<_>>()));
        }
        let space = &chosen.found.study.setting().space;
        if let Some(Value::Array(front)) = map.get_mut("pareto") {
            for entry in front {
                let point = entry["point"].as_str().and_then(|text| space.read(text).ok());
                let architecture = point.map(|p| chosen.found.space.decode(&p).to_string());
                entry["architecture"] = json!(architecture);
            }
        }
        if let Some(best) = &chosen.found.best {
            map.insert("parameters".into(), json!(best.architecture.parameters()));
        }
        if self.searched.len() > 1 {
            let metric = self.metric.name();
            if let Some(test) = self.folds(|s| Some(s.tested.metric.mean)) {
                map.insert(format!("test_{metric}"), report::number(test.mean));
                let interval = json!([report::number(test.low), report::number(test.high)]);
                map.insert(format!("test_{metric}_interval"), interval);
                map.insert(format!("test_{metric}_folds"), json!(test.values));
            }
            if let Some(base) = self.folds(|s| s.baseline.as_ref().map(|b| b.metric.mean)) {
                map.insert(format!("default_test_{metric}_folds"), json!(base.values));
            }
            let sum = |f: fn(&Searched) -> f64| self.searched.iter().map(f).sum::<f64>();
            let (trials, seconds) =
                (sum(|s| s.found.summary.trials as f64), sum(|s| s.found.summary.seconds));
            map.insert("trials".into(), json!(trials as u64));
            map.insert("trials_per_second".into(), report::number(trials / seconds.max(1e-9)));
        }
        map.insert("seconds".into(), report::number(self.seconds));
        map.insert("model".into(), json!(self.model.display().to_string()));
        map.insert("report".into(), json!(self.pages[self.chosen].display().to_string()));
        Ok(Value::Object(map))
    }
}
