//! Standard output: a reader that went away ends the program quietly, a full disk behind a redirection is a failure.

use std::io::{ErrorKind, Write};

use anyhow::{Result, anyhow};
pub use ironwarp::report::svg::text::grouped;

use super::fail::Closed;

/// Writes `text` and flushes it.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow!("standard output: {error}; check the free space where it is redirected to"),
    })
}

/// Writes a value on a line of its own.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value}\n"))
}

/// A table with aligned columns; the first is left-aligned, the others right-aligned unless `left` has their number.
pub fn table(header: &[&str], rows: &[Vec<String>], left: &[usize]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = (*width).max(cell.chars().count()));
    }
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (i, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            if i > 0 {
                line.push_str("  ");
            }
            if i == 0 || left.contains(&i) {
                line += &format!("{cell:<width$}");
            } else {
                line += &format!("{cell:>width$}");
            }
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows =
            [vec!["relu".into(), "12".into(), "x".into()], vec!["a".into(), "3456".into(), "yz".into()]];
        assert_eq!(
            table(&["op", "us", "note"], &rows, &[2]),
            "op      us  note\nrelu    12  x\na     3456  yz\n"
        );
    }
}
