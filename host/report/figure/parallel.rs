//! Parallel coordinates: an axis for each parameter, a line for each trial.

use super::{Figure, WIDTH, best_few, drawn, focused};
use crate::report::search::{Measure, ranked, value};
use crate::report::svg::text::{fit, number, width};
use crate::report::svg::{Anchor, Scale, Svg, path, thin};
use crate::search::importance::Importance;
use crate::search::space::{Domain, Space, Value};
use crate::search::trial::{State, Trial};

/// Lines drawn, at most.
const MOST: usize = 300;
/// Axes drawn, at most.
const AXES: usize = 12;
/// Shades from poor to good.
const SHADES: usize = 9;

/// Complete trials over the parameters (the important ones, where there are more than fit) and the first goal. `None`
/// without complete trials.
pub fn parallel(
    space: &Space,
    measure: &Measure,
    trials: &[Trial],
    importance: &[Importance],
) -> Option<Figure> {
    // From the best to the worst.
    let order = ranked(measure, trials);
    let best = *order.first()?;
    let parameters = space.parameters();
    let mut axes: Vec<usize> = (0..parameters.len()).collect();
    if axes.len() > AXES {
        let rank =
            |i: &usize| importance.iter().position(|r| r.name.as_deref() == Some(&parameters[*i].name));
        axes.sort_by_key(|i| (rank(i).unwrap_or(usize::MAX), *i));
        axes.truncate(AXES);
        axes.sort_unstable();
    }
    let keep: Vec<usize> = (0..best_few(measure, trials, MOST / 3).len()).collect();
    let shown: Vec<usize> = thin(order.len(), MOST, &keep).into_iter().map(|k| order[k]).collect();

    let conditional = axes.iter().any(|a| parameters[*a].when.is_some());
    let mut svg = Svg::new(WIDTH, 400.0);
    let (top, bottom) = (52.0, if conditional { 348.0 } else { 380.0 });
    let absent = bottom + 30.0;
    let place = |k: usize| 20.0 + (WIDTH - 90.0) * k as f64 / axes.len().max(1) as f64;
    let spacing = place(1) - place(0);
    let values: Vec<f64> = order.iter().filter_map(|i| value(&trials[*i])).collect();
    let goal = focused(measure, &values).onto(bottom, top);
    let goal_x = place(axes.len());
    let height = |a: usize, v: Option<Value>| {
        v.map_or(absent, |v| bottom - (bottom - top) * parameters[a].domain.unit(v))
    };
    let line = |i: usize| -> Vec<(f64, f64)> {
        let point = &trials[i].point.0;
        let along = axes.iter().enumerate();
        let mut line: Vec<(f64, f64)> =
            along.map(|(k, a)| (place(k), height(*a, point.get(*a).copied().flatten()))).collect();
        line.push((goal_x, goal.at(trials[i].values[0])));
        line
    };
    // The worst first, so that good lines lie on top; a shade for each ninth of the ranking.
    for shade in 0..SHADES {
        let members =
            shown.iter().enumerate().filter(|(k, _)| (shown.len() - 1 - k) * SHADES / shown.len() == shade);
        let data: Vec<String> = members.map(|(_, i)| path(&line(*i))).collect();
        svg.path(&data.concat(), &format!("thin s-q{shade}"), "");
    }
    for i in shown.iter().take((shown.len() / 20).clamp(1, 15)).rev() {
        let tip = format!("trial {}: {}", trials[*i].number, measure.show(trials[*i].values[0]));
        svg.polyline(&line(*i), "line top s-q8", &tip);
    }
    let tip = format!("the best, trial {}: {}", trials[best].number, measure.show(trials[best].values[0]));
    svg.polyline(&line(best), "line bold s-warm", &tip);

    if conditional {
        svg.line(place(0) - 6.0, absent, place(axes.len() - 1) + 6.0, absent, "axis dots");
        svg.text(WIDTH, absent + 4.0, Anchor::End, "xs f", "not there");
    }
    for (k, a) in axes.iter().enumerate() {
        let (x, domain) = (place(k), &parameters[*a].domain);
        svg.line(x, top, x, bottom, "axis");
        axis_name(&mut svg, x, k, spacing, &parameters[*a].name);
        let mut last = f64::INFINITY;
        for (v, label) in labels(domain) {
            let y = height(*a, Some(v));
            if last - y >= 13.0 {
                let label = fit(&label, 10.0, spacing - 8.0);
                svg.text(x + 4.0, y + 3.5, Anchor::Start, "xs halo", &label);
                last = y;
            }
        }
    }
    svg.line(goal_x, top, goal_x, bottom, "axis s-ink");
    axis_name(&mut svg, goal_x, axes.len(), spacing.max(140.0), &measure.title());
    for tick in goal.ticks(5) {
        svg.text(goal_x + 4.0, tick.at + 3.5, Anchor::Start, "xs halo b", &tick.label);
    }

    let mut caption = "Each line is a complete trial and crosses every parameter's axis at its value; the stronger, the better \
                       its result at the right, with the best on top in orange. Where the strong lines come together, a value \
                       was good whatever the others were."
        .to_owned();
    if conditional {
        caption += " A line on the dotted lane has no such parameter.";
    }
    if axes.len() < parameters.len() {
        caption +=
            &format!(" The {} most important of {} parameters are drawn.", axes.len(), parameters.len());
    }
    caption += &drawn(shown.len(), order.len(), "trial");
    debug_assert!(shown.iter().all(|i| trials[*i].state == State::Complete));
    Some(Figure::new("parallel", "Where good trials lie", caption, svg))
}

/// Names of neighbours stand at different heights, so that long ones fit.
fn axis_name(svg: &mut Svg, x: f64, k: usize, spacing: f64, name: &str) {
    let y = if k.is_multiple_of(2) { 34.0 } else { 14.0 };
    if y < 30.0 {
        svg.line(x, 20.0, x, 40.0, "grid");
    }
    let most = 2.0 * spacing - 10.0;
    let half = width(&fit(name, 12.0, most), 12.0) / 2.0;
    // Inside the drawing at both ends.
    let at = x.max(half).min(svg.width - half);
    svg.text_fit(at, y, Anchor::Middle, "b", 12.0, most, name);
}

/// Values to label: all of a few, the round ones of a range, from low to high.
fn labels(domain: &Domain) -> Vec<(Value, String)> {
    if let Some(n) = domain.count().filter(|n| *n <= 24) {
        return (0..n).map(|i| domain.nth(i)).map(|v| (v, domain.show(v))).collect();
    }
    let (low, high, log) = match domain {
        Domain::Int { low, high, log, .. } => (*low as f64, *high as f64, *log),
        Domain::Float { low, high, log } => (*low, *high, *log),
        Domain::Levels { .. } | Domain::Choice { .. } => {
            // More than can be labelled: the ends and some between.
            let n = domain.count().unwrap_or(1);
            let values = (0..=6).map(|i| domain.nth(i * (n - 1) / 6));
            return values.map(|v| (v, domain.show(v))).collect();
        }
    };
    let ticks = Scale::new(low, high, log).onto(0.0, 1.0).round_values(6);
    let whole = matches!(domain, Domain::Int { .. });
    ticks
        .into_iter()
        .filter(|(v, _)| (low..=high).contains(v))
        .map(|(v, label)| (if whole { Value::Int(v.round() as i64) } else { Value::Float(v) }, label))
        .chain((low == high).then(|| (domain.nth(0), number(low))))
        .collect()
}
