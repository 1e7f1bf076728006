//! Colours and fonts of figures.
//!
//! One table holds every colour, light and dark. A page defines them as custom properties and uses `RULES` as they
//! are; a file on its own gets the rules with the colours put in, for programs that draw SVG but know no custom properties.
//! Categorical colours are those of Okabe and Ito (Color Universal Design, 2008), brightened on dark paper; the sequential
//! ones (`q0`..`q8`) run from the paper's shade to a strong blue, `w0`..`w4` to orange.

use std::fmt::Write;

/// Name, on light paper, on dark paper.
const COLOURS: [(&str, &str, &str); 27] = [
    ("paper", "#fdfcf9", "#14161a"),
    ("card", "#f6f4ee", "#1b1e23"),
    ("ink", "#1c1e22", "#eceae4"),
    ("muted", "#5c626b", "#a5aab3"),
    ("faint", "#868c95", "#7d838d"),
    ("rule", "#dedad0", "#33373e"),
    ("grid", "#ebe8e0", "#25292f"),
    ("pale", "#aeb6c1", "#565d68"),
    ("accent", "#0072b2", "#56b4e9"),
    ("warm", "#d55e00", "#f2864a"),
    ("green", "#00805e", "#2fc79b"),
    ("amber", "#b87f00", "#e6a91f"),
    ("soft", "#dfeaf2", "#1d2f3c"),
    ("q0", "#e2e3e4", "#272b31"),
    ("q1", "#cfd8e0", "#2b3742"),
    ("q2", "#b3c9da", "#2f4859"),
    ("q3", "#93b6d2", "#325b75"),
    ("q4", "#6fa1c7", "#377193"),
    ("q5", "#4889b9", "#3f89b3"),
    ("q6", "#2571a6", "#53a2cf"),
    ("q7", "#0f578c", "#7cbfe6"),
    ("q8", "#0a3b68", "#b4dcf7"),
    ("w0", "#fbe9dc", "#33261d"),
    ("w1", "#f6cfb2", "#553722"),
    ("w2", "#efae80", "#854d27"),
    ("w3", "#e58848", "#bb672c"),
    ("w4", "#c95500", "#f2864a"),
];

/// Sans-serif fonts that systems bring along.
pub const SANS: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";

/// The rules of figures. Every figure is an `svg` of class `fig`.
const RULES: &str = "\
.fig text{font:400 12px SANS;fill:var(--ink);font-variant-numeric:tabular-nums}
.fig .s{font-size:11px}
.fig .xs{font-size:10px}
.fig .l{font-size:15px}
.fig .xl{font-size:20px}
.fig .b{font-weight:600}
.fig .m{fill:var(--muted)}
.fig .f{fill:var(--faint)}
.fig .halo{stroke:var(--paper);stroke-width:3.5px;stroke-linejoin:round;paint-order:stroke}
.fig .on{fill:var(--paper)}
.fig .t-accent{fill:var(--accent)}
.fig .t-warm{fill:var(--warm)}
.fig .grid{stroke:var(--grid);stroke-width:1}
.fig .axis{stroke:var(--faint);stroke-width:1}
.fig .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.fig .thin{fill:none;stroke-width:1;stroke-linejoin:round}
.fig .hair{stroke-width:1;stroke-opacity:.45}
.fig .dash{stroke-dasharray:4 4}
.fig .dots{stroke-dasharray:1 5;stroke-linecap:round}
.fig .bold{stroke-width:2.6}
.fig .top{stroke-width:1.4}
.fig .ring{fill:var(--paper);stroke-width:1.6}
.fig .dot{stroke:var(--paper);stroke-width:.8}
.fig .paper{fill:var(--paper)}
.fig .card{fill:var(--card)}
.fig .soft{fill:var(--soft)}
.fig .edge{stroke:var(--faint);stroke-width:1}
";

/// Classes `s-NAME` (stroke) and `c-NAME` (fill) of every colour that marks can have.
fn mark_rules() -> String {
    let mut css = String::new();
    let marks = |name: &str| !["paper", "card", "soft"].contains(&name);
    for (name, ..) in COLOURS.iter().filter(|c| marks(c.0)) {
        let _ = write!(css, ".fig .c-{name}{{fill:var(--{name})}}.fig .s-{name}{{stroke:var(--{name})}}");
    }
    css + "\n"
}

/// The rules of figures in a page that defines the colours ([`properties`]).
pub fn rules() -> String {
    RULES.replace("SANS", SANS) + &mark_rules()
}

/// The colours as custom properties.
pub fn properties(dark: bool) -> String {
    COLOURS.iter().fold(String::new(), |mut css, (name, on_light, on_dark)| {
        let _ = write!(css, "--{name}:{};", if dark { on_dark } else { on_light });
        css
    })
}

/// The rules with the colours put in; the dark ones where the viewer asks for them.
pub fn standalone() -> String {
    let with = |dark: bool| {
        COLOURS.iter().fold(rules(), |css, (name, on_light, on_dark)| {
            css.replace(&format!("var(--{name})"), if dark { on_dark } else { on_light })
        })
    };
    // Fonts and widths are the same: of the dark rules only colours are needed.
    let coloured = |css: String| {
        let mut out = String::new();
        for rule in css.split_inclusive('}') {
            let Some((selector, body)) = rule.trim().split_once('{') else { continue };
            let colours: Vec<&str> =
                body.trim_end_matches('}').split(';').filter(|d| d.contains('#')).collect();
            if !colours.is_empty() {
                let _ = write!(out, "{selector}{{{}}}", colours.join(";"));
            }
        }
        out
    };
    format!("{}@media (prefers-color-scheme:dark){{{}}}", with(false), coloured(with(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_on_its_own_needs_no_custom_property() {
        let css = standalone();
        assert!(!css.contains("var(") && css.contains("#fdfcf9") && css.contains("#14161a"), "{css}");
        let (light, dark) = css.split_once("@media").expect("both");
        assert!(!light.contains("#14161a") && !dark.contains("#fdfcf9"));
    }

    /// Relative luminance (WCAG 2).
    fn luminance(hex: &str) -> f64 {
        let channel = |i: usize| {
            let c = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).expect("two hex digits")) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_stands_out_from_its_paper() {
        let colour = |name: &str, dark: bool| {
            let (_, a, b) = COLOURS.iter().find(|c| c.0 == name).expect("a colour");
            luminance(if dark { b } else { a })
        };
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        for dark in [false, true] {
            for (name, least) in
                [("ink", 12.0), ("muted", 5.5), ("accent", 4.5), ("faint", 3.0), ("warm", 3.5)]
            {
                let ratio = contrast(colour(name, dark), colour("paper", dark));
                assert!(ratio >= least, "{name} on paper (dark: {dark}): {ratio:.2}");
            }
            // Each step of the ramps is further from the paper than the one before.
            for ramp in
                [&["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"][..], &["w0", "w1", "w2", "w3", "w4"]]
            {
                let ratios: Vec<f64> =
                    ramp.iter().map(|q| contrast(colour(q, dark), colour("paper", dark))).collect();
                assert!(ratios.windows(2).all(|w| w[0] < w[1]), "{ratios:?}");
            }
        }
    }
}
