//! A network drawn: a column for each layer, as tall as it is wide (logarithmically), with arcs where a layer skips.

use super::{Figure, WIDTH};
use crate::nn::{Dense, Mlp, Norm};
use crate::report::search::DataSummary;
use crate::report::svg::text::{coordinate as c, count, grouped, number, short, width, wrap};
use crate::report::svg::{Anchor, Svg};

/// Distance of columns.
const STEP: f64 = 124.0;
/// Width of a column.
const BOX: f64 = 78.0;
/// Height of the tallest column.
const TALL: f64 = 128.0;
/// Columns in a row.
const COLUMNS: usize = 6;
/// Room above a column: for its name, and an arc.
const ABOVE: f64 = 44.0;

/// What a column says.
struct Column {
    units: usize,
    head: String,
    lines: Vec<String>,
    class: &'static str,
    skip: bool,
    tip: String,
}

/// The best architecture and the recipe it is trained by.
pub fn architecture(net: &Mlp, recipe: &[(String, String)], data: &DataSummary) -> Figure {
    let columns = columns(net, data);
    let rows = columns.len().div_ceil(COLUMNS);
    let most_lines = columns.iter().map(|c| c.lines.len()).max().unwrap_or(0) as f64;
    let row_height = ABOVE + TALL + 18.0 + most_lines * 16.0;
    let recipe = recipe_lines(recipe);
    let recipe_height = if recipe.is_empty() { 0.0 } else { 22.0 + 19.0 * recipe.len() as f64 };
    let mut svg = Svg::new(WIDTH, rows as f64 * row_height + recipe_height + 6.0);
    let widest = columns.iter().map(|c| c.units).max().unwrap_or(1);
    for (i, column) in columns.iter().enumerate() {
        let (row, place) = (i / COLUMNS, i % COLUMNS);
        // A single row stands in the middle; of several, all start at the left.
        let used = (columns.len().min(COLUMNS) - 1) as f64 * STEP + BOX;
        let x = (WIDTH - used) / 2.0 + place as f64 * STEP;
        let top = row as f64 * row_height + ABOVE;
        let middle = top + TALL / 2.0;
        let share = (1.0 + column.units as f64).ln() / (1.0 + widest as f64).ln();
        let tall = (TALL * share).max(36.0);
        if i > 0 {
            let from = if place > 0 { x - (STEP - BOX) } else { x - 24.0 };
            arrow(&mut svg, from, x, middle);
        }
        if place + 1 == COLUMNS && i + 1 < columns.len() {
            svg.line(x + BOX + 5.0, middle, x + BOX + 24.0, middle, "line thin s-faint");
        }
        if column.skip {
            skip_arc(&mut svg, x, middle, tall, place == 0);
        }
        svg.rect(x, middle - tall / 2.0, BOX, tall, 6.0, column.class, &column.tip);
        let on = if column.class.starts_with("c-") { " on" } else { "" };
        let centre = x + BOX / 2.0;
        svg.text(centre, middle + 3.0, Anchor::Middle, &format!("xl b{on}"), &short(column.units as f64));
        svg.text(centre, middle + 17.0, Anchor::Middle, &format!("xs{on}"), "units");
        svg.text(centre, middle - tall / 2.0 - 8.0, Anchor::Middle, "s m", &column.head);
        for (k, line) in column.lines.iter().enumerate() {
            let (class, size) = if k == 0 { ("b", 13.0) } else { ("s m", 11.0) };
            let y = top + TALL + 18.0 + 16.0 * k as f64;
            svg.text_fit(centre, y, Anchor::Middle, class, size, STEP - 6.0, line);
        }
    }
    if !recipe.is_empty() {
        let top = rows as f64 * row_height + 4.0;
        svg.line(0.0, top, WIDTH, top, "grid");
        for (i, line) in recipe.iter().enumerate() {
            svg.text(WIDTH / 2.0, top + 22.0 + 19.0 * i as f64, Anchor::Middle, "m", line);
        }
    }
    let caption = format!(
        "Data flows from left to right, through {} in all. A column's height follows the logarithm of its width; under it \
         stand its activation, what else it does, and its own parameters.{}",
        count(net.parameter_count(), "parameter"),
        if net.layers.iter().any(|l| l.skip) { " An arc adds a layer's input to its output." } else { "" }
    );
    Figure::new("architecture", "The network, layer by layer", caption, svg)
}

fn columns(net: &Mlp, data: &DataSummary) -> Vec<Column> {
    let input = Column {
        units: net.inputs,
        head: "input".into(),
        lines: vec!["features".into(), data.name.clone()],
        class: "card edge",
        skip: false,
        tip: count(net.inputs, "feature"),
    };
    let parameters = net.parameters();
    let last = net.layers.len().saturating_sub(1);
    let layer = |(i, layer): (usize, &Dense)| {
        let prefix = format!("layers.{i}.");
        let own = parameters.iter().filter(|p| p.name.starts_with(&prefix));
        let own: usize = own.map(|p| p.shape.iter().product::<usize>()).sum();
        let mut lines = vec![layer.activation.to_string()];
        match layer.norm {
            Norm::None => {}
            Norm::Layer => lines.push("layer norm".into()),
            Norm::Batch => lines.push("batch norm".into()),
        }
        if layer.dropout > 0.0 {
            lines.push(format!("dropout {}", number(f64::from(layer.dropout))));
        }
        lines.push(format!("{} params", grouped(own as u64)));
        let head = if i == last { "output".to_owned() } else { format!("layer {}", i + 1) };
        let tip = format!("{head}: {}, {}", count(layer.units, "unit"), lines.join(", "));
        let class = if i == last { "c-ink" } else { "c-accent" };
        Column { units: layer.units, head, lines, class, skip: layer.skip, tip }
    };
    std::iter::once(input).chain(net.layers.iter().enumerate().map(layer)).collect()
}

fn arrow(svg: &mut Svg, from: f64, to: f64, y: f64) {
    let (from, to) = (from + 5.0, to - 5.0);
    svg.line(from, y, to, y, "line thin s-faint");
    let (x, above, below) = (c(to - 5.0), c(y - 4.0), c(y + 4.0));
    svg.path(&format!("M{x} {above}L{} {}L{x} {below}", c(to), c(y)), "line thin s-faint", "");
}

/// From what comes into a column, over it, to what leaves it.
fn skip_arc(svg: &mut Svg, x: f64, middle: f64, tall: f64, first: bool) {
    let reach = if first { 14.0 } else { (STEP - BOX) / 2.0 + 6.0 };
    let (from, to, top) = (x - reach, x + BOX + 13.0, middle - tall / 2.0 - 26.0);
    let r = 9.0;
    let data = format!(
        "M{f} {m}V{a}Q{f} {t} {b} {t}H{d}Q{e} {t} {e} {a}V{n}",
        f = c(from),
        m = c(middle),
        a = c(top + r),
        t = c(top),
        b = c(from + r),
        d = c(to - r),
        e = c(to),
        n = c(middle - 6.0),
    );
    svg.path(&data, "line s-warm", "the layer's input is added to its output");
    svg.circle(from, middle, 2.6, "c-warm", "");
    svg.circle(to, middle, 6.0, "ring s-warm", "");
    svg.line(to - 3.0, middle, to + 3.0, middle, "line thin s-warm");
    svg.line(to, middle - 3.0, to, middle + 3.0, "line thin s-warm");
}

/// `optimizer adamw · learning rate 0.003 · ...` in lines that fit.
fn recipe_lines(recipe: &[(String, String)]) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for (name, value) in recipe {
        let item = format!("{name} {value}");
        let longer = lines.last().map(|l| format!("{l}  ·  {item}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(last)) if width(&longer, 12.0) <= WIDTH => *last = longer,
            _ => lines.extend(wrap(&item, 12.0, WIDTH)),
        }
    }
    lines
}
