//! The sentences that the page and the terminal share.

use super::search::SearchReport;
use super::stats::Verdict;
use super::svg::text::{count, duration, grouped, number};
use crate::search::estimate::Estimate;

/// `97.90 % to 98.50 %` of more than one training.
pub fn interval(report: &SearchReport, estimate: &Estimate) -> Option<String> {
    let measure = &report.final_measure;
    let known = estimate.values.len() > 1 && estimate.low.is_finite() && estimate.high.is_finite();
    known.then(|| format!("{} to {}", measure.show(estimate.low), measure.show(estimate.high)))
}

/// What was searched: `Of 518 trials in 64 s, the best is a network of 3 layers with 17,802 parameters.`
pub fn found(report: &SearchReport) -> String {
    let counts = report.counts();
    let trials = format!("{} in {}", count(report.trials.len(), "trial"), duration(report.seconds));
    match &report.best {
        Some(best) => format!(
            "Of {trials}, the best is a network of {} with {}.",
            count(best.net.layers.len(), "layer"),
            count(best.net.parameter_count(), "parameter")
        ),
        None => format!(
            "Of {trials}, none was completed and trained again: {} failed, {} were stopped early, {} did not finish.",
            grouped(counts.failed as u64),
            grouped(counts.pruned as u64),
            grouped(counts.running as u64)
        ),
    }
}

/// How good it is: the value on the test part, in parts around the number, which a page makes bold.
pub fn reached(report: &SearchReport) -> Option<(String, String, String)> {
    let test = report.best.as_ref()?.test.as_ref()?;
    let measure = &report.final_measure;
    let times = match (test.values.len(), report.data.folds) {
        (1, _) => "Trained again from scratch".to_owned(),
        (n, k) if k > 1 => format!("Trained again from scratch on {n} folds"),
        (n, _) => format!("Trained again from scratch {n} times"),
    };
    let before = if measure.name == "accuracy" {
        format!("{times}, it gets ")
    } else {
        format!("{times}, its {} is ", measure.name)
    };
    let what = if measure.name == "accuracy" { " of the test samples right" } else { " on the test samples" };
    let ends = interval(report, test).map_or_else(
        || " (one training: no interval)".to_owned(),
        |ends| format!(" (95 % confidence interval {ends})"),
    );
    Some((before, measure.show(test.mean), format!("{what}{ends}. The search never saw those samples.")))
}

/// Whether it beat the baseline: what follows in a word, and the sentence.
pub fn against(report: &SearchReport) -> (Option<Verdict>, String) {
    let Some(baseline) = &report.baseline else {
        return (None, "Nothing was trained to compare it with.".into());
    };
    let Some(value) = baseline.test.as_ref().filter(|b| b.mean.is_finite()) else {
        return (None, format!("The {} has no test value to compare with.", baseline.name));
    };
    let measure = &report.final_measure;
    let (name, value) = (&baseline.name, measure.show(value.mean));
    let Some((difference, verdict)) = report.verdict() else {
        return (
            None,
            format!("The {name} gets {value}. It was not trained as often, so the two are not compared."),
        );
    };
    let mean = measure.format.difference(difference.mean);
    let ends = format!(
        "95 % interval {} to {}",
        measure.format.signed(difference.low),
        measure.format.signed(difference.high)
    );
    let text = match verdict {
        Verdict::Better => format!("The search beat the {name}, which gets {value}: {mean} ({ends})."),
        Verdict::Worse => format!(
            "The search did not beat the {name}, which gets {value}: it is worse, {mean} ({ends}). Use the {name} on this \
             data."
        ),
        Verdict::Unclear if difference.values.len() < 2 => format!(
            "The {name} gets {value}; the difference is {mean}. One training each cannot show which is better."
        ),
        Verdict::Unclear => format!(
            "The search did not measurably beat the {name}, which gets {value}: the difference is {mean}, and its interval \
             holds 0 ({ends})."
        ),
    };
    (Some(verdict), text)
}

/// `120 complete, 395 pruned, 3 failed`.
pub fn states(report: &SearchReport) -> String {
    let c = report.counts();
    let parts =
        [(c.complete, "complete"), (c.pruned, "pruned"), (c.failed, "failed"), (c.running, "unfinished")];
    if parts.iter().all(|p| p.0 == 0) {
        return "no trial".into();
    }
    let some = parts.iter().filter(|p| p.0 > 0);
    some.map(|(n, name)| format!("{} {name}", grouped(*n as u64))).collect::<Vec<_>>().join(", ")
}

/// `cpu, 2 workers`.
pub fn place(report: &SearchReport) -> String {
    match report.workers {
        0 => report.device.clone(),
        n => format!("{}, {}", report.device, count(n, "worker")),
    }
}

/// `8.1 trials/s`.
pub fn rate(report: &SearchReport) -> String {
    let rate = report.rate();
    let places = if rate < 10.0 { 10.0 } else { 1.0 };
    format!("{} trials/s", number((rate * places).round() / places))
}

/// How the numbers came about, a sentence or two each.
pub fn measured(report: &SearchReport) -> Vec<String> {
    let (data, mut out) = (&report.data, vec![]);
    let rows = |n: usize| count(n, "row");
    out.push(if data.validation > 0 {
        format!(
            "The search saw {} of {}: it trained every trial on {} and chose by {}.",
            rows(data.train + data.validation),
            data.name,
            rows(data.train),
            rows(data.validation),
        )
    } else {
        format!(
            "The search saw {} of {}: it trained trials on a part of them and chose by the rest.",
            rows(data.train),
            data.name
        )
    });
    if data.folds > 1 {
        out.push(format!(
            "Each of the {} was in the test part of exactly one of {} outer folds. Each fold has a search of its own, which \
             never saw its test part.",
            rows(data.rows),
            data.folds
        ));
    } else if data.test > 0 {
        out.push(format!(
            "The test part, {}, was set aside before the search began. Nothing was chosen by it.",
            rows(data.test)
        ));
    }
    if let Some(test) = report.best.as_ref().and_then(|b| b.test.as_ref()).filter(|t| t.values.len() > 1) {
        let n = test.values.len();
        out.push(if data.folds > 1 {
            format!(
                "The interval is Student's t over {n} trainings, one a fold. Folds share most of their training rows, so it is \
                 somewhat too narrow."
            )
        } else {
            format!(
                "The interval is Student's t over {n} trainings that differ in their seed alone: it covers the luck of a start, \
                 not that of the split."
            )
        });
    }
    if report.baseline.is_some() {
        out.push(
            "The baseline was trained on the same parts with the same seeds; the difference is taken pair by pair.".into(),
        );
    }
    if let Some(best) = &report.best
        && let (Some(v), Some(t)) = (&best.validation, &best.test)
        && report.final_measure.direction.better(v.mean, t.mean)
    {
        out.push(format!(
            "The validation value ({}) is better than the test value ({}), as is to be expected of the part that the search chose by.",
            report.final_measure.show(v.mean),
            report.final_measure.show(t.mean)
        ));
    }
    out.extend(report.notes.iter().cloned());
    out
}

/// Failed trials by reason: how many, the reason, the first numbers. The most common first.
pub fn failures(report: &SearchReport) -> Vec<(usize, String, Vec<u64>)> {
    let mut out: Vec<(usize, String, Vec<u64>)> = vec![];
    for trial in report.trials.iter().filter(|t| t.state == crate::search::trial::State::Failed) {
        let full = trial.reason.as_deref().unwrap_or("no reason was recorded");
        let mut reason: String = full.chars().take(300).collect();
        if reason.len() < full.len() {
            reason.push('…');
        }
        if let Some((n, _, numbers)) = out.iter_mut().find(|(_, r, _)| *r == reason) {
            *n += 1;
            if numbers.len() < 8 {
                numbers.push(trial.number);
            }
        } else if out.len() < 200 {
            // More reasons than that, all different, are not worth a line each.
            out.push((1, reason, vec![trial.number]));
        }
    }
    out.sort_by_key(|(n, _, numbers)| (std::cmp::Reverse(*n), numbers[0]));
    out
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,~".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
