//! Axes, grid and legends.

use super::text::width;
use super::{Anchor, Scale, Svg};

/// The inside of a plot with its two scales.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// Horizontal.
    pub x: Scale,
    /// Vertical; its start is at the bottom.
    pub y: Scale,
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Upper edge.
    pub top: f64,
    /// Lower edge.
    pub bottom: f64,
}

/// Where a plot is and what its axes say.
#[derive(Clone, Copy, Debug)]
pub struct PlotOptions<'a> {
    /// Outer edges: left, top, right, bottom.
    pub area: (f64, f64, f64, f64),
    /// Under the horizontal axis.
    pub x_title: &'a str,
    /// Above the vertical axis.
    pub y_title: &'a str,
    /// Room between the lower edge of the plot and the labels of the axis.
    pub gap: f64,
}

impl Plot {
    /// Draws grid, tick labels and titles inside the outer edges.
    pub fn draw(svg: &mut Svg, options: PlotOptions<'_>, x: Scale, y: Scale) -> Plot {
        let (outer_left, outer_top, right, outer_bottom) = options.area;
        let top = outer_top + if options.y_title.is_empty() { 8.0 } else { 26.0 };
        let bottom = outer_bottom - options.gap - if options.x_title.is_empty() { 22.0 } else { 42.0 };
        let y = y.onto(bottom, top);
        let rows = ((bottom - top) / 48.0) as usize;
        let y_ticks = y.ticks(rows);
        let label_width = y_ticks.iter().map(|t| width(&t.label, 11.0)).fold(14.0, f64::max);
        let left = outer_left + label_width.ceil() + 10.0;
        let x = x.onto(left, right);

        svg.text(outer_left, outer_top + 10.0, Anchor::Start, "s m", options.y_title);
        let mut above = f64::INFINITY;
        for tick in &y_ticks {
            svg.line(left, tick.at, right, tick.at, "grid");
            // Labels of a crowded axis are left out, never printed over each other.
            if above - tick.at >= 13.0 {
                svg.text(left - 8.0, tick.at + 4.0, Anchor::End, "s m", &tick.label);
                above = tick.at;
            }
        }
        Plot::horizontal(svg, &options, x, left, right, bottom, None);
        Plot { x, y, left, right, top, bottom }
    }

    /// A plot whose rows the caller names: a horizontal axis with grid lines, no vertical one.
    pub fn rows(svg: &mut Svg, options: PlotOptions<'_>, x: Scale) -> Plot {
        let (left, top, right, outer_bottom) = options.area;
        let bottom = outer_bottom - options.gap - if options.x_title.is_empty() { 22.0 } else { 42.0 };
        let x = x.onto(left, right);
        Plot::horizontal(svg, &options, x, left, right, bottom, Some(top));
        Plot { x, y: Scale::new(0.0, 1.0, false).onto(bottom, top), left, right, top, bottom }
    }

    /// The horizontal axis with its labels and title, and grid lines up to `grid`.
    fn horizontal(
        svg: &mut Svg,
        options: &PlotOptions<'_>,
        x: Scale,
        left: f64,
        right: f64,
        bottom: f64,
        grid: Option<f64>,
    ) {
        svg.line(left, bottom, right, bottom, "axis");
        let base = bottom + options.gap + 17.0;
        let mut taken = f64::NEG_INFINITY;
        for tick in x.ticks(((right - left) / 74.0) as usize) {
            if let Some(top) = grid {
                svg.line(tick.at, top, tick.at, bottom, "grid");
            }
            svg.line(tick.at, bottom, tick.at, bottom + 4.0, "axis");
            let half = width(&tick.label, 11.0) / 2.0;
            // A label at the very edge moves inside.
            let at = tick.at.min(svg.width - half);
            if at - half >= taken + 8.0 {
                svg.text(at, base, Anchor::Middle, "s m", &tick.label);
                taken = at + half;
            }
        }
        svg.text((left + right) / 2.0, base + 21.0, Anchor::Middle, "s m", options.x_title);
    }

    /// The pixels of a point.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }
}

/// What a legend shows before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph<'a> {
    /// A filled point of a class.
    Dot(&'a str),
    /// An open point.
    Ring(&'a str),
    /// A line.
    Line(&'a str),
    /// A cross.
    Cross(&'a str),
    /// A square.
    Square(&'a str),
}

/// Draws a legend from (`x`, `y`) in rows of at most `most` pixels; returns its height.
pub fn legend(svg: &mut Svg, x: f64, y: f64, most: f64, entries: &[(Glyph<'_>, &str)]) -> f64 {
    let (mut left, mut middle) = (x, y + 8.0);
    for (glyph, name) in entries {
        let name_width = width(name, 12.0).min(most - 24.0);
        if left > x && left + 20.0 + name_width > x + most {
            (left, middle) = (x, middle + 20.0);
        }
        match glyph {
            Glyph::Dot(class) => svg.circle(left + 7.0, middle, 4.0, &format!("dot {class}"), ""),
            Glyph::Ring(class) => svg.circle(left + 7.0, middle, 3.6, &format!("ring {class}"), ""),
            Glyph::Line(class) => svg.line(left, middle, left + 15.0, middle, &format!("line {class}")),
            Glyph::Cross(class) => cross(svg, left + 7.0, middle, 3.5, class, ""),
            Glyph::Square(class) => svg.rect(left + 2.0, middle - 5.0, 10.0, 10.0, 2.0, class, ""),
        }
        svg.text_fit(left + 21.0, middle + 4.0, Anchor::Start, "m", 12.0, most - 21.0, name);
        left += 21.0 + name_width + 20.0;
    }
    if entries.is_empty() { 0.0 } else { middle + 12.0 - y }
}

/// A small diagonal cross.
pub fn cross(svg: &mut Svg, x: f64, y: f64, r: f64, class: &str, tip: &str) {
    let c = super::text::coordinate;
    let data = format!(
        "M{} {}L{} {}M{} {}L{} {}",
        c(x - r),
        c(y - r),
        c(x + r),
        c(y + r),
        c(x - r),
        c(y + r),
        c(x + r),
        c(y - r)
    );
    svg.path(&data, &format!("thin {class}"), tip);
}
