//! Text in figures: escaping, a careful estimate of widths, numbers as a person reads them.

/// `text` for XML and HTML, in content and in attributes; characters that XML 1.0 forbids become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Width of `text` in pixels at a font size: the widest of the usual sans-serif fonts (DejaVu Sans) is assumed, so that
/// labels which do not touch by this measure do not touch in any of them.
pub fn width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' | '·' | ' ' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' | 'I' => 0.42,
        'm' | 'M' | 'W' | '%' | '@' | '…' | '—' => 1.0,
        'w' | '+' | '<' | '>' | '=' | '~' | '×' | '→' | '↑' | '↓' | '−' | '±' => 0.84,
        'a'..='z' | '0'..='9' | '_' => 0.64,
        ' '..='~' => 0.75,
        '\u{300}'..='\u{36f}' => 0.0,
        '\u{1100}'.. => 1.05,
        _ => 0.78,
    };
    text.chars().map(em).sum::<f64>() * size
}

/// `text`, shortened with an ellipsis to be at most `most` pixels wide.
pub fn fit(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width(&short, size) + width("…", size) > most {
            short.pop();
            break;
        }
    }
    short.trim_end().to_owned() + "…"
}

/// Lines of whole words, each at most `most` pixels wide.
pub fn wrap(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if !line.is_empty() && width(&longer, size) > most {
            lines.push(std::mem::take(&mut line));
            line = fit(word, size, most);
        } else {
            line = fit(&longer, size, most);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Lines of whole words of at most `columns` characters, for a terminal; control characters count as spaces, longer
/// words are cut.
pub fn wrap_columns(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![];
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split(|c: char| c == ' ' || c.is_control()).filter(|w| !w.is_empty()) {
        let mut word: Vec<char> = word.chars().collect();
        while used + usize::from(used > 0) + word.len() > columns {
            if used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else {
                lines.push(word.drain(..columns).collect());
            }
        }
        if used > 0 && !word.is_empty() {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    if used > 0 {
        lines.push(line);
    }
    lines
}

/// How numbers of one kind are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Four significant digits.
    #[default]
    Plain,
    /// A share, in percent.
    Percent,
    /// Large counts: 12.3k, 4.5M.
    Short,
}

impl Format {
    /// What a number of this name is: accuracies are shares, parameters and FLOP large counts.
    pub fn of(name: &str) -> Format {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
        if has(&["accuracy", "error_rate", "recall", "precision"]) {
            Format::Percent
        } else if has(&["param", "flop", "bytes", "memory", "samples"]) {
            Format::Short
        } else {
            Format::Plain
        }
    }

    /// The number in text.
    pub fn show(self, x: f64) -> String {
        match self {
            _ if !x.is_finite() => "–".into(),
            Format::Plain => number(x),
            // What is no share is a broken value: short, whatever it is.
            Format::Percent if x.abs() > 100.0 => format!("{x:.2e}"),
            Format::Percent => format!("{:.2} %", 100.0 * x),
            Format::Short => short(x),
        }
    }

    /// The number exactly, where a table has room for it: counts with all their digits.
    pub fn exact(self, x: f64) -> String {
        if self == Format::Short { number(x) } else { self.show(x) }
    }

    /// A difference of two such numbers with its sign, without a unit.
    pub fn signed(self, x: f64) -> String {
        self.difference(x).trim_end_matches(" points").to_owned()
    }

    /// A difference of two such numbers with its sign.
    pub fn difference(self, x: f64) -> String {
        let sign = if x < 0.0 { "−" } else { "+" };
        match self {
            _ if !x.is_finite() => "–".into(),
            Format::Percent if x.abs() <= 100.0 => format!("{sign}{:.2} points", 100.0 * x.abs()),
            _ => format!("{sign}{}", self.show(x.abs())),
        }
    }
}

/// Four significant digits, thousands grouped; a dash for what is not finite.
pub fn number(x: f64) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    if x == 0.0 {
        return "0".into();
    }
    let size = x.abs();
    if !(1e-4..1e9).contains(&size) {
        return format!("{x:.2e}");
    }
    if x.fract() == 0.0 {
        let sign = if x < 0.0 { "−" } else { "" };
        return format!("{sign}{}", grouped(size as u64));
    }
    let places = (3.0 - size.log10().floor()).clamp(0.0, 8.0) as usize;
    let text = format!("{x:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', "−")
}

/// Three significant digits and k, M, G or T.
pub fn short(x: f64) -> String {
    let (size, units) = (x.abs(), [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]);
    // 999.6 would round to 1000.
    match units.iter().find(|(unit, _)| size >= unit * 0.9995) {
        Some((unit, name)) if size < 1e15 => {
            let scaled = x / unit;
            let places = (2.0 - scaled.abs().log10().floor()).clamp(0.0, 2.0) as usize;
            let text = format!("{scaled:.places$}");
            let text =
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            format!("{}{name}", text.replace('-', "−"))
        }
        _ => number(x),
    }
}

/// `12345678` as `12,345,678`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time for people: `0.42 s`, `37 s`, `2 min 4 s`, `3 h 12 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{} s", number((seconds * 100.0).round() / 100.0)),
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// `1 trial`, `2,000 trials`.
pub fn count(n: usize, one: &str) -> String {
    let many = if n == 1 { "" } else { "s" };
    format!("{} {one}{many}", grouped(n as u64))
}

/// A correlation with two decimals; a dash for what is none.
pub fn correlation(x: f64) -> String {
    if x.abs() <= 1.0 {
        format!("{x:.2}").replace('-', "−").replace("−0.00", "0.00")
    } else {
        "–".into()
    }
}

/// The text with a capital letter.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// A coordinate with at most one decimal; what is not finite becomes 0, so that no attribute ever says NaN.
pub fn coordinate(x: f64) -> String {
    if !x.is_finite() {
        return "0".into();
    }
    let tenths = (x.clamp(-1e6, 1e6) * 10.0).round() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    let size = tenths.unsigned_abs();
    if size.is_multiple_of(10) {
        format!("{sign}{}", size / 10)
    } else {
        format!("{sign}{}.{}", size / 10, size % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        let text: Vec<String> =
            [0.0, 0.98214, 12.0, 123_456.0, -0.5, 1.25e-7, 3.0e12, f64::NAN].map(number).into();
        assert_eq!(text, ["0", "0.9821", "12", "123,456", "−0.5", "1.25e-7", "3.00e12", "–"]);
        assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
        let text: Vec<String> = [950.0, 999.7, 1000.0, 12_345.0, 4_500_000.0, -2e9].map(short).into();
        assert_eq!(text, ["950", "1k", "1k", "12.3k", "4.5M", "−2G"]);
        let text: Vec<String> = [0.423, 9.99, 37.2, 119.9, 3725.0, 8000.0].map(duration).into();
        assert_eq!(text, ["0.42 s", "10 s", "37 s", "2 min 0 s", "62 min 5 s", "2 h 13 min"]);
        let text: Vec<String> = [0.04, -0.04, 12.34, -3.0, f64::NAN, 1e300].map(coordinate).into();
        assert_eq!(text, ["0", "0", "12.3", "-3", "0", "1000000"]);
        assert_eq!(Format::Percent.show(0.98214), "98.21 %");
        assert_eq!(Format::Percent.difference(-0.0052), "−0.52 points");
    }

    #[test]
    fn escaped_text_holds_no_markup_and_no_control_character() {
        assert_eq!(escape("a<b> & \"c\" 'd'\n\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; \u{fffd}");
    }

    #[test]
    fn shortened_text_fits() {
        for most in [0.0, 20.0, 40.0, 400.0] {
            let text = fit("weight_decay_of_the_output_layer", 12.0, most);
            assert!(width(&text, 12.0) <= most.max(width("…", 12.0)), "{text}");
        }
        assert_eq!(fit("relu", 12.0, 60.0), "relu");
        let lines = wrap("one two three four five six seven", 12.0, 80.0);
        assert!(lines.len() > 2 && lines.iter().all(|l| width(l, 12.0) <= 80.0), "{lines:?}");
        assert_eq!(lines.join(" "), "one two three four five six seven");
    }
}
