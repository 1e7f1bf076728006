//! A device's roofline, and what was measured on it.

use std::fmt::Write;

use super::{Figure, WIDTH};
use crate::report::svg::text::{number, short, width};
use crate::report::svg::{Anchor, Glyph, Plot, PlotOptions, Scale, Svg, legend};

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The roof it strives for: the [`Roof::name`].
    pub roof: String,
    /// What it is, shown on hovering.
    pub label: String,
    /// FLOP over bytes that must be moved.
    pub intensity: f64,
    /// FLOP/s reached.
    pub flops: f64,
    /// FLOP/s that the yardstick reached on the same.
    pub yardstick: Option<f64>,
}

/// A peak of arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct Roof {
    /// `bf16`, ...
    pub name: String,
    /// FLOP/s.
    pub flops: f64,
}

/// What [`roofline`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// The device's name.
    pub device: String,
    /// Bytes a second of its memory.
    pub bandwidth: f64,
    /// Its peaks.
    pub roofs: Vec<Roof>,
    /// What the yardstick is called.
    pub yardstick: String,
    /// The measurements.
    pub points: Vec<Point>,
}

/// Colours, one a roof.
const COLOURS: [&str; 6] = ["accent", "warm", "green", "amber", "q8", "faint"];

/// FLOP/s over FLOP a byte, both logarithmic: under the slope a product waits for memory, under a roof for arithmetic.
/// Roofs without a point are left out; `None` where no point has a roof.
pub fn roofline(data: &Roofline) -> Option<Figure> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let valid = |p: &&Point| positive(p.intensity) && positive(p.flops);
    let roofs: Vec<(&Roof, &str)> = data
        .roofs
        .iter()
        .filter(|r| positive(r.flops) && data.points.iter().filter(valid).any(|p| p.roof == r.name))
        .zip(COLOURS.iter().copied().cycle())
        .collect();
    if roofs.is_empty() || !positive(data.bandwidth) {
        return None;
    }
    let points: Vec<(&Point, &str)> = data
        .points
        .iter()
        .filter(valid)
        .filter_map(|p| Some((p, roofs.iter().find(|(roof, _)| roof.name == p.roof)?.1)))
        .collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MAX, f64::min);
    let ridge = most(&mut roofs.iter().map(|(r, _)| r.flops / data.bandwidth));
    let (left, right) = (
        least(&mut points.iter().map(|(p, _)| p.intensity)).min(ridge / 4.0) / 1.5,
        most(&mut points.iter().map(|(p, _)| p.intensity)).max(ridge * 4.0) * 1.5,
    );
    let reached =
        |(p, _): &(&Point, &str)| p.yardstick.filter(|y| positive(*y)).map_or(p.flops, |y| y.min(p.flops));
    let tera = |flops: f64| flops / 1e12;
    let low = least(&mut points.iter().map(reached)).min(data.bandwidth * left);
    let top = most(&mut roofs.iter().map(|(r, _)| r.flops).chain(points.iter().map(|(p, _)| p.flops)));

    let compared = points.iter().any(|(p, _)| p.yardstick.is_some_and(positive));
    let mut svg = Svg::new(WIDTH, 440.0);
    let classes: Vec<String> = roofs.iter().map(|(_, colour)| format!("c-{colour}")).collect();
    let mut entries: Vec<(Glyph<'_>, &str)> = roofs
        .iter()
        .zip(&classes)
        .map(|((roof, _), class)| (Glyph::Dot(class), roof.name.as_str()))
        .collect();
    if compared {
        entries.push((Glyph::Ring("s-muted"), &data.yardstick));
    }
    let height = legend(&mut svg, 0.0, 0.0, WIDTH, &entries) + 6.0;
    let area = (0.0, height, WIDTH - 12.0, svg.height);
    let options = PlotOptions { area, x_title: "FLOP for a byte of operands", y_title: "TFLOP/s", gap: 0.0 };
    let plot = Plot::draw(
        &mut svg,
        options,
        Scale::new(left, right, true),
        Scale::new(tera(low) / 1.5, tera(top) * 1.6, true),
    );
    let slope = |x: f64| tera(data.bandwidth * x);
    svg.polyline(
        &[plot.at(left, slope(left)), plot.at(ridge, slope(ridge))],
        "line s-faint",
        "memory bandwidth",
    );
    let mut by_height = roofs.clone();
    by_height.sort_by(|a, b| b.0.flops.total_cmp(&a.0.flops));
    // Labels of roofs that are close move down, below each other.
    let mut free = f64::NEG_INFINITY;
    for (roof, colour) in by_height {
        let (x, y) = plot.at(roof.flops / data.bandwidth, tera(roof.flops));
        let label = format!("{} {} TFLOP/s", roof.name, number(tera(roof.flops)));
        svg.polyline(&[(x, y), (plot.right, y)], &format!("line dash s-{colour}"), &label);
        let base = free.max(y - 6.0);
        svg.text(plot.right, base, Anchor::End, "s halo m", &label);
        free = base + 13.0;
    }
    let name = format!("{} TB/s", number(data.bandwidth / 1e12));
    let (x, y) = plot.at((left * ridge).sqrt(), slope((left * ridge).sqrt()));
    svg.text((x - 8.0).max(plot.left + width(&name, 11.0)), y - 8.0, Anchor::End, "s halo m", &name);
    for (p, colour) in &points {
        let (x, y) = plot.at(p.intensity, tera(p.flops));
        if let Some(flops) = p.yardstick.filter(|f| positive(*f)) {
            let other = plot.y.at(tera(flops));
            svg.line(x, y, x, other, &format!("thin s-{colour}"));
            let tip = format!("{}: {} {} TFLOP/s", p.label, data.yardstick, number(tera(flops)));
            svg.circle(x, other, 3.6, &format!("ring s-{colour}"), &tip);
        }
    }
    for (p, colour) in &points {
        let (x, y) = plot.at(p.intensity, tera(p.flops));
        let roof =
            roofs.iter().find(|(roof, _)| roof.name == p.roof).map_or(f64::NAN, |(roof, _)| roof.flops);
        let bound = roof.min(data.bandwidth * p.intensity);
        let mut tip = format!("{}: {} TFLOP/s, ", p.label, number(tera(p.flops)));
        let _ =
            write!(tip, "{:.0} % of what {} FLOP a byte allow", 100.0 * p.flops / bound, short(p.intensity));
        svg.circle(x, y, 4.2, &format!("dot c-{colour}"), &tip);
    }
    let mut caption = "Each point is a product: operations for a byte of its operands, each moved once, and operations a \
                       second. The slope is what the memory's bandwidth allows, the dashed lines are the peaks of \
                       arithmetic; the vendor's figures for both."
        .to_owned();
    if compared {
        let _ = write!(caption, " Rings are {} on the same products.", data.yardstick);
    }
    Some(Figure::new("roofline", format!("Matrix products on the {}", data.device), caption, svg))
}
