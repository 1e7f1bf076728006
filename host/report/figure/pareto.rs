//! Two goals against each other, and the trials that no other beats in both.

use super::{Figure, WIDTH, drawn};
use crate::report::search::Measure;
use crate::report::svg::text::{capital, grouped, width};
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, legend, thin};
use crate::search::trial::{State, Trial};
use crate::search::{Direction, Goal};

/// Trials drawn, at most.
const MOST: usize = 1500;

/// The first goal over the second; `front` are indices of the trials that no other beats in every goal. `None` for one
/// goal, or no trial with both values.
pub fn pareto(goals: &[Goal], trials: &[Trial], front: &[usize], best: Option<usize>) -> Option<Figure> {
    let [first, second, ..] = goals else { return None };
    let (y_measure, x_measure) = (Measure::from(first), Measure::from(second));
    let place = |t: &Trial| -> Option<(f64, f64)> {
        let complete = t.state == State::Complete;
        let (y, x) = (*t.values.first()?, *t.values.get(1)?);
        (complete && x.is_finite() && y.is_finite()).then_some((x, y))
    };
    let with: Vec<usize> = (0..trials.len()).filter(|i| place(&trials[*i]).is_some()).collect();
    if with.is_empty() {
        return None;
    }
    let mut front: Vec<usize> = front.iter().copied().filter(|i| with.binary_search(i).is_ok()).collect();
    front.sort_unstable();
    front.dedup();
    let at = |i: &usize| place(&trials[*i]).unwrap_or_default();
    let keep: Vec<usize> =
        front.iter().chain(best.iter()).filter_map(|i| with.binary_search(i).ok()).collect();
    let shown: Vec<usize> = thin(with.len(), MOST, &keep).into_iter().map(|k| with[k]).collect();

    let mut svg = Svg::new(WIDTH, 400.0);
    let mut entries = vec![
        (Glyph::Dot("c-accent"), "Pareto front: nothing beats it in every goal"),
        (Glyph::Dot("c-pale"), "beaten"),
    ];
    if best.is_some() {
        entries.push((Glyph::Dot("c-warm"), "chosen"));
    }
    let top = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let xs: Vec<f64> = with.iter().map(|i| at(i).0).collect();
    let (low, high) = xs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let log = x_measure.is_count() && low > 0.0 && high / low > 5.0;
    let x = Scale::over(xs, log).padded(0.05).format(x_measure.format);
    let values: Vec<f64> = with.iter().map(|i| at(i).1).collect();
    let mut y = super::focused(&y_measure, &values);
    // The whole front is in sight, whatever it takes.
    if front.iter().any(|i| !y.holds(at(i).1)) {
        y = Scale::over(values, false).padded(0.04).format(y_measure.format);
    }
    let (x_title, y_title) = (x_measure.title(), y_measure.title());
    let area = (0.0, top, WIDTH - 12.0, svg.height);
    let options = PlotOptions { area, x_title: &x_title, y_title: &y_title, gap: 0.0 };
    let plot = Plot::draw(&mut svg, options, x, y);

    let tip = |i: &usize| {
        let (x, y) = at(i);
        let (x, y) = (x_measure.show(x), y_measure.show(y));
        format!("trial {}: {} {y}, {} {x}", trials[*i].number, y_measure.name, x_measure.name)
    };
    let mut beyond = 0;
    for i in shown.iter().filter(|i| front.binary_search(i).is_err() && Some(**i) != best) {
        let (px, py) = plot.at(at(i).0, at(i).1);
        if plot.y.holds(at(i).1) {
            svg.circle(px, py, 2.8, "dot c-pale", &tip(i));
        } else {
            beyond += 1;
            let inside = if py > (plot.top + plot.bottom) / 2.0 { -6.0 } else { 6.0 };
            svg.line(px, py, px, py + inside, "axis s-pale");
        }
    }
    let mut along = front.clone();
    along.sort_by(|a, b| at(a).0.total_cmp(&at(b).0).then(at(a).1.total_cmp(&at(b).1)));
    if goals.len() == 2 {
        svg.path(&staircase(&along, at, &plot, x_measure.direction), "line s-accent", "");
    }
    for i in &along {
        let (px, py) = plot.at(at(i).0, at(i).1);
        svg.circle(px, py, 5.0, "dot c-accent", &tip(i));
    }
    if let Some(i) = best.filter(|b| with.binary_search(b).is_ok()) {
        let (px, py) = plot.at(at(&i).0, at(&i).1);
        svg.circle(px, py, 6.5, "dot c-warm", &tip(&i));
    }
    label_front(&mut svg, &plot, &along, best, |i| (plot.at(at(i).0, at(i).1), trials[*i].number));

    let mut caption = format!(
        "Each point is a complete trial; better is {} and {}. Along the front one goal can be improved only by giving up \
         some of the other. Numbers are those of the trials.",
        if y_measure.direction == Direction::Maximize { "up" } else { "down" },
        if x_measure.direction == Direction::Maximize { "right" } else { "left" },
    );
    if goals.len() > 2 {
        caption += " With more than two goals, points of the front may look beaten in these two.";
    }
    if beyond > 0 {
        caption += &format!(" Ticks at the edge stand for {} trials beyond the axis.", grouped(beyond));
    }
    caption += &drawn(shown.len(), with.len(), "trial");
    let title = capital(&format!("{} against {}", y_measure.name, x_measure.name));
    Some(Figure::new("pareto", title, caption, svg))
}

/// The edge of what the front beats: along the front, the first goal keeps its value until the second allows a better one.
fn staircase(
    along: &[usize],
    at: impl Fn(&usize) -> (f64, f64),
    plot: &Plot,
    x_direction: Direction,
) -> String {
    use crate::report::svg::steps;
    let mut points: Vec<(f64, f64)> = along.iter().map(|i| plot.at(at(i).0, at(i).1)).collect();
    if x_direction == Direction::Maximize {
        points.reverse();
    }
    if let Some(last) = points.last().copied() {
        let edge = if x_direction == Direction::Maximize { plot.left } else { plot.right };
        points.push((edge, last.1));
    }
    if points.len() > 1 { steps(&points) } else { String::new() }
}

/// Numbers beside the points of the front, where there is room for them: the chosen one first.
fn label_front(
    svg: &mut Svg,
    plot: &Plot,
    along: &[usize],
    best: Option<usize>,
    of: impl Fn(&usize) -> ((f64, f64), u64),
) {
    let mut order: Vec<usize> = along.to_vec();
    order.sort_by_key(|i| Some(*i) != best);
    let points: Vec<(f64, f64)> = along.iter().map(|i| of(i).0).collect();
    let mut taken: Vec<(f64, f64, f64)> = vec![];
    for i in &order {
        let ((x, y), number) = of(i);
        let label = number.to_string();
        let w = width(&label, 11.0);
        for (dx, dy, anchor) in
            [(9.0, 14.0, Anchor::Start), (-9.0, -8.0, Anchor::End), (9.0, -8.0, Anchor::Start)]
        {
            let left = if anchor == Anchor::Start { x + dx } else { x + dx - w };
            let base = y + dy;
            let inside =
                left > plot.left && left + w < plot.right && base - 10.0 > plot.top && base < plot.bottom;
            let free = |l: f64, b: f64, lw: f64| {
                left > l + lw + 4.0 || left + w + 4.0 < l || (base - b).abs() > 13.0
            };
            let clear = points.iter().all(|(px, py)| {
                *px < left - 6.0 || *px > left + w + 6.0 || *py < base - 15.0 || *py > base + 6.0
            });
            if inside && clear && taken.iter().all(|(l, b, lw)| free(*l, *b, *lw)) {
                let class = if Some(*i) == best { "s b halo t-warm" } else { "s halo m" };
                svg.text(x + dx, base, anchor, class, &label);
                taken.push((left, base, w));
                break;
            }
        }
    }
}
