//! A small chart kit: SVG written by hand.
//!
//! An [`Svg`] collects marks; coordinates are pixels, rounded to a tenth, and never NaN ([`text::coordinate`]). Text passes
//! [`text::escape`] in here and nowhere else, so callers give it as it is. Colours are classes ([`style`]): a drawing goes into a
//! page as it is ([`Svg::inline`]) or into a file of its own ([`Svg::standalone`]). [`Plot`] draws axes and grid,
//! [`Scale`] maps numbers to pixels, [`legend`] explains marks.

mod axis;
mod scale;
pub mod style;
pub mod text;

pub use axis::{Glyph, Plot, PlotOptions, cross, legend};
pub use scale::{Scale, Tick};

use std::fmt::Write;

use text::{coordinate as c, escape};

/// Height of the title's band of a drawing that is a file of its own.
const BAND: f64 = 46.0;

/// Where text is relative to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The place is its left end.
    Start,
    /// The place is its middle.
    Middle,
    /// The place is its right end.
    End,
}

/// A drawing in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Svg {
    /// Pixels.
    pub width: f64,
    /// Pixels.
    pub height: f64,
    body: String,
    open: usize,
}

impl Svg {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Svg {
        Svg { width, height, body: String::new(), open: 0 }
    }

    /// Opens a group whose marks share a class.
    pub fn group(&mut self, class: &str) {
        let _ = write!(self.body, "<g class=\"{class}\">");
        self.open += 1;
    }

    /// Closes the last group.
    pub fn end(&mut self) {
        if self.open > 0 {
            self.body.push_str("</g>");
            self.open -= 1;
        }
    }

    /// An element with its class and what is said of it on hovering; both may be empty.
    fn mark(&mut self, start: &str, class: &str, tip: &str) {
        self.body.push_str(start);
        if !class.is_empty() {
            let _ = write!(self.body, " class=\"{class}\"");
        }
        if tip.is_empty() {
            self.body.push_str("/>");
        } else {
            let name = start[1..].split(' ').next().unwrap_or("g");
            let _ = write!(self.body, "><title>{}</title></{name}>", escape(tip));
        }
    }

    /// A straight line.
    pub fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
        let start = format!("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"", c(x1), c(y1), c(x2), c(y2));
        self.mark(&start, class, "");
    }

    /// A rectangle with corners of radius `r`; negative sizes are 0.
    #[allow(clippy::too_many_arguments)]
    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, r: f64, class: &str, tip: &str) {
        let (w, h) = (c(width.max(0.0)), c(height.max(0.0)));
        let mut start = format!("<rect x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\"", c(x), c(y));
        if r > 0.0 {
            let _ = write!(start, " rx=\"{}\"", c(r));
        }
        self.mark(&start, class, tip);
    }

    /// A circle.
    pub fn circle(&mut self, x: f64, y: f64, r: f64, class: &str, tip: &str) {
        let start = format!("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"", c(x), c(y), c(r));
        self.mark(&start, class, tip);
    }

    /// A line through points; nothing for fewer than two.
    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str, tip: &str) {
        if points.len() > 1 {
            let start = format!("<path d=\"{}\"", path(points));
            self.mark(&start, class, tip);
        }
    }

    /// Path data as [`path`] makes it.
    pub fn path(&mut self, data: &str, class: &str, tip: &str) {
        if !data.is_empty() {
            self.mark(&format!("<path d=\"{data}\""), class, tip);
        }
    }

    /// Text on one line, its base line at `y`.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        self.text_tip(x, y, anchor, class, text, "");
    }

    /// The same, with something said on hovering: a long name in full.
    pub fn text_tip(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str, tip: &str) {
        if text.is_empty() {
            return;
        }
        let _ = write!(self.body, "<text x=\"{}\" y=\"{}\"", c(x), c(y));
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => self.body.push_str(" text-anchor=\"middle\""),
            Anchor::End => self.body.push_str(" text-anchor=\"end\""),
        }
        if !class.is_empty() {
            let _ = write!(self.body, " class=\"{class}\"");
        }
        let _ = write!(self.body, ">{}", escape(text));
        if !tip.is_empty() {
            let _ = write!(self.body, "<title>{}</title>", escape(tip));
        }
        self.body.push_str("</text>");
    }

    /// Text shortened to `most` pixels at a font size; the whole text is shown on hovering.
    #[allow(clippy::too_many_arguments)]
    pub fn text_fit(
        &mut self,
        x: f64,
        y: f64,
        anchor: Anchor,
        class: &str,
        size: f64,
        most: f64,
        text: &str,
    ) {
        let short = text::fit(text, size, most);
        let tip = if short == text { "" } else { text };
        self.text_tip(x, y, anchor, class, &short, tip);
    }

    fn closed(&self) -> String {
        self.body.clone() + &"</g>".repeat(self.open)
    }

    /// The drawing as an element of a page that has the rules of [`style`]. `id` is unique in the page.
    pub fn inline(&self, id: &str, title: &str, description: &str) -> String {
        let (w, h, id) = (c(self.width), c(self.height), escape(id));
        format!(
            "<svg class=\"fig\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
             aria-label=\"{}\" aria-describedby=\"{id}-d\"><desc id=\"{id}-d\">{}</desc>{}</svg>",
            escape(title),
            escape(description),
            self.closed()
        )
    }

    /// The drawing as a file of its own, with its title above it.
    pub fn standalone(&self, title: &str, description: &str) -> String {
        let (w, h) = (c(self.width + 40.0), c(self.height + BAND + 20.0));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"fig\" \
             width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-labelledby=\"t d\">\n\
             <title id=\"t\">{t}</title>\n<desc id=\"d\">{}</desc>\n<style>{}</style>\n\
             <rect width=\"{w}\" height=\"{h}\" class=\"paper\"/>\n\
             <text x=\"20\" y=\"34\" class=\"l b\">{}</text>\n<g transform=\"translate(20 {BAND})\">{}</g>\n</svg>\n",
            escape(description),
            style::standalone(),
            escape(&text::fit(title, 17.0, self.width)),
            self.closed(),
            t = escape(title),
        )
    }
}

/// Path data of a line through points.
pub fn path(points: &[(f64, f64)]) -> String {
    let mut data = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(data, "{}{} {}", if i == 0 { "M" } else { "L" }, c(*x), c(*y));
    }
    data
}

/// Path data of a line that keeps its height until the next point: what was best so far.
pub fn steps(points: &[(f64, f64)]) -> String {
    let mut data = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = match i {
            0 => write!(data, "M{} {}", c(*x), c(*y)),
            _ => write!(data, "H{}V{}", c(*x), c(*y)),
        };
    }
    data
}

/// Which of `n` things to draw when there is room for `most`: `keep` first, then the others evenly spread. In
/// increasing order, each once.
pub fn thin(n: usize, most: usize, keep: &[usize]) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let mut chosen = vec![false; n];
    keep.iter().filter(|i| **i < n).take(most).for_each(|i| chosen[*i] = true);
    let kept = chosen.iter().filter(|c| **c).count();
    let others: Vec<usize> = (0..n).filter(|i| !chosen[*i]).collect();
    let room = most - kept;
    for i in 0..room {
        chosen[others[i * others.len() / room]] = true;
    }
    (0..n).filter(|i| chosen[*i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_what_matters_and_spreads_the_rest() {
        assert_eq!(thin(3, 5, &[]), [0, 1, 2]);
        let chosen = thin(1000, 10, &[999, 500, 7]);
        assert_eq!(chosen.len(), 10);
        assert!([7, 500, 999].iter().all(|i| chosen.contains(i)) && chosen.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(thin(10, 2, &[1, 2, 3]), [1, 2]);
        assert!(thin(10, 0, &[1]).is_empty());
    }

    #[test]
    fn paths() {
        assert_eq!(path(&[(0.0, 1.0), (2.26, f64::NAN)]), "M0 1L2.3 0");
        assert_eq!(steps(&[(0.0, 1.0), (2.0, 0.5), (4.0, 0.25)]), "M0 1H2V0.5H4V0.3");
        let mut svg = Svg::new(10.0, 10.0);
        svg.group("a");
        svg.circle(1.0, f64::INFINITY, 2.0, "b", "1 < 2");
        let text = svg.inline("x", "T", "D & E");
        assert!(text.ends_with("<title>1 &lt; 2</title></circle></g></svg>"), "{text}");
    }
}
