//! A file as it was read, before anything is decided: [`Table`] = cells with their place in the file.
//!
//! The readers (`csv`, `numpy`, `idx`) produce tables. From a table `infer` makes a training set (it decides what the columns
//! are), and [`Preprocessing::apply`](super::Preprocessing::apply) a set for a model that has decided already.

use std::borrow::Cow;

use super::{DataError, Matrix};

/// The cells of a file with their names and row numbers.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) source: String,
    pub(crate) header: Option<Vec<String>>,
    pub(crate) body: Body,
    pub(crate) targets: KnownTargets,
    /// First row of the test part, where the file has one.
    pub(crate) held_out: Option<usize>,
    /// What the reader found, for the report.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Text and the line each record starts at; all records have the same number of cells.
    Text { records: Vec<csv::StringRecord>, lines: Vec<u64> },
    /// Finite numbers; rows count from 0.
    Numbers(Matrix),
}

/// What the format says about the target.
#[derive(Clone, Debug)]
pub(crate) enum KnownTargets {
    /// Nothing: a table where any column may be the target.
    Unknown,
    /// The last `count` columns are the target; `classes`: they are class labels whatever their values.
    Last { count: usize, classes: bool },
    /// All columns are features; the text says where the target was looked for.
    Absent(String),
}

/// One text cell, understood.
pub(crate) enum Cell {
    Missing,
    Number(f32),
    NotFinite,
    Text,
}

pub(crate) fn parse_cell(cell: &str) -> Cell {
    if cell.is_empty() || ["na", "n/a", "nan", "?", "null"].iter().any(|m| cell.eq_ignore_ascii_case(m)) {
        return Cell::Missing;
    }
    match cell.parse::<f64>() {
        Ok(number) if number.is_nan() => Cell::Missing,
        Ok(number) if (number as f32).is_finite() => Cell::Number(number as f32),
        Ok(_) => Cell::NotFinite,
        Err(_) => Cell::Text,
    }
}

impl Table {
    /// Number of samples.
    pub fn rows(&self) -> usize {
        match &self.body {
            Body::Text { records, .. } => records.len(),
            Body::Numbers(matrix) => matrix.rows,
        }
    }

    /// Number of columns, the target included.
    pub fn cols(&self) -> usize {
        match &self.body {
            Body::Text { records, .. } => records.first().map_or(0, csv::StringRecord::len),
            Body::Numbers(matrix) => matrix.cols,
        }
    }

    /// Where the table came from, for messages.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Column names, if the file has them.
    pub fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    /// Names from the header, or `x0`, `x1`, ...
    pub fn column_names(&self) -> Vec<String> {
        self.header.clone().unwrap_or_else(|| (0..self.cols()).map(|c| format!("x{c}")).collect())
    }

    /// The number of a row in messages: the line in a text file, the index from 0 in an array.
    pub fn row_number(&self, row: usize) -> u64 {
        match &self.body {
            Body::Text { lines, .. } => lines[row],
            Body::Numbers(_) => row as u64,
        }
    }

    /// Column `col` as text; `None` where the value is missing.
    pub(crate) fn texts(&self, col: usize) -> Vec<Option<Cow<'_, str>>> {
        match &self.body {
            Body::Text { records, .. } => records
                .iter()
                .map(|record| match parse_cell(&record[col]) {
                    Cell::Missing => None,
                    _ => Some(Cow::Borrowed(&record[col])),
                })
                .collect(),
            Body::Numbers(matrix) => matrix.column(col).map(|v| Some(Cow::Owned(label_text(v)))).collect(),
        }
    }

    /// Column `col` as numbers, NaN where the value is missing.
    pub(crate) fn numbers(&self, col: usize, name: &str) -> Result<Vec<f32>, DataError> {
        let records = match &self.body {
            Body::Text { records, .. } => records,
            Body::Numbers(matrix) => return Ok(matrix.column(col).collect()),
        };
        let parse = |(row, record): (usize, &csv::StringRecord)| {
            let place = || {
                let value = super::error::shorten(&record[col]);
                (self.source.clone(), self.row_number(row), name.to_owned(), value)
            };
            match parse_cell(&record[col]) {
                Cell::Missing => Ok(f32::NAN),
                Cell::Number(number) => Ok(number),
                Cell::NotFinite => {
                    let (file, row, column, value) = place();
                    Err(DataError::NotFinite { file, row, column, value })
                }
                Cell::Text => {
                    let (file, row, column, value) = place();
                    Err(DataError::NotANumber { file, row, column, value })
                }
            }
        };
        records.iter().enumerate().map(parse).collect()
    }

    /// Whether column `col` is text: `None` when it has no values, true when at least half of its values are not numbers.
    /// (A column that is mostly numbers is numeric, and [`Table::numbers`] names the first cell that is not.)
    pub(crate) fn is_text(&self, col: usize) -> Option<bool> {
        let Body::Text { records, .. } = &self.body else { return Some(false) };
        let (mut numbers, mut texts) = (0usize, 0usize);
        for record in records {
            match parse_cell(&record[col]) {
                Cell::Missing => {}
                Cell::Number(_) | Cell::NotFinite => numbers += 1,
                Cell::Text => texts += 1,
            }
        }
        (numbers + texts > 0).then_some(texts > 0 && texts >= numbers)
    }
}

/// A number as a class name: `3` for 3.0.
pub(crate) fn label_text(value: f32) -> String {
    // `+ 0.0` so that -0 and 0 are one class.
    format!("{}", value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_understood() {
        assert!(
            ["", "NA", "n/a", "NaN", "-nan", "?", "null", "NULL"]
                .iter()
                .all(|c| matches!(parse_cell(c), Cell::Missing))
        );
        assert!(
            ["inf", "-Infinity", "1e39", "-4e38"].iter().all(|c| matches!(parse_cell(c), Cell::NotFinite))
        );
        assert!(
            ["a", "1,5", "1 2", "0x10", "--1", "none"].iter().all(|c| matches!(parse_cell(c), Cell::Text))
        );
        let numbers = [("1", 1.0), ("+1.", 1.0), ("-.5", -0.5), ("1e3", 1000.0), ("3.4028235e38", f32::MAX)];
        assert!(
            numbers.iter().all(|(text, number)| matches!(parse_cell(text), Cell::Number(n) if n == *number))
        );
    }

    #[test]
    fn labels_of_whole_numbers_are_short() {
        assert_eq!([3.0, -0.0, -2.0, 0.5].map(label_text), ["3", "0", "-2", "0.5"]);
    }
}
