//! CSV and its relatives: delimiter and header are found by looking at the first rows, unless they are given.
//!
//! Quoting as in RFC 4180, cells trimmed, blank lines skipped, a byte order mark ignored. Row numbers are lines of the file.

use super::error::{name_list, one_line, shorten};
use super::table::{Body, Cell, KnownTargets, Table, parse_cell};
use super::{DataError, LoadOptions};

/// Rows looked at to find delimiter and header.
const SAMPLE: usize = 100;

pub(crate) fn read(source: &str, bytes: &[u8], options: &LoadOptions) -> Result<Table, DataError> {
    let text = decode(source, bytes)?;
    let delimiter =
        options.delimiter.filter(char::is_ascii).map_or_else(|| sniff_delimiter(text), |d| d as u8);
    let (mut records, mut lines) = records(source, text, delimiter)?;
    let Some(first) = records.first() else {
        return Err(DataError::Empty { file: source.to_owned() });
    };
    let expected = first.len();
    if let Some((record, row)) = records.iter().zip(&lines).find(|(record, _)| record.len() != expected) {
        let (found, row, delimiter) = (record.len(), *row, delimiter as char);
        return Err(DataError::Ragged { file: source.to_owned(), row, found, expected, delimiter });
    }
    let has_header = options.header.unwrap_or_else(|| looks_like_header(&records));
    let mut header = None;
    if has_header {
        let names: Vec<String> = first.iter().enumerate().map(|(col, name)| column_name(col, name)).collect();
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DataError::DuplicateColumn { file: source.to_owned(), column: shorten(pair[0]) });
        }
        records.remove(0);
        lines.remove(0);
        if records.is_empty() {
            return Err(DataError::HeaderOnly { file: source.to_owned() });
        }
        header = Some(names);
    }
    let shown = if delimiter == b'\t' { "tab".to_owned() } else { format!("'{}'", delimiter as char) };
    let mut notes = vec![format!("{source}: {} rows x {expected} columns, delimiter {shown}", records.len())];
    notes.push(match &header {
        Some(names) => {
            format!("row {} is the header: {}", if lines[0] > 2 { 1 } else { lines[0] - 1 }, name_list(names))
        }
        None => "no header: columns are named x0, x1, ...".to_owned(),
    });
    let (targets, held_out) = (KnownTargets::Unknown, None);
    Ok(Table {
        source: source.to_owned(),
        header,
        body: Body::Text { records, lines },
        targets,
        held_out,
        notes,
    })
}

fn decode<'a>(source: &str, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    let corrupt = |at: usize, what: &str| {
        let row = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        let reason = format!("row {row} {what}");
        DataError::Corrupt { file: source.to_owned(), format: "CSV", reason }
    };
    let text = std::str::from_utf8(bytes).map_err(|e| corrupt(e.valid_up_to(), "is not UTF-8 text"))?;
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(corrupt(at, "has a zero byte, this is no text"));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn records(source: &str, text: &str, delimiter: u8) -> Result<(Vec<csv::StringRecord>, Vec<u64>), DataError> {
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).trim(csv::Trim::All).delimiter(delimiter);
    let mut reader = reader.from_reader(text.as_bytes());
    let (mut records, mut lines) = (Vec::new(), Vec::new());
    // A record's position is where the reader stood before it skipped line ends and blank lines: count from there.
    let (mut counted, mut line) = (0, 1u64);
    let mut record = csv::StringRecord::new();
    loop {
        let more = reader.read_record(&mut record);
        let more = more.map_err(|e| {
            let (file, reason) = (source.to_owned(), one_line(e));
            DataError::Corrupt { file, format: "CSV", reason }
        })?;
        if !more {
            return Ok((records, lines));
        }
        let mut start = record.position().map_or(0, |p| p.byte() as usize).min(text.len());
        start += text.as_bytes()[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        line += text.as_bytes()[counted..start].iter().filter(|b| **b == b'\n').count() as u64;
        counted = start;
        // A line of spaces.
        if record.len() == 1 && record[0].is_empty() {
            continue;
        }
        records.push(std::mem::take(&mut record));
        lines.push(line);
    }
}

/// The candidate that occurs equally often in most of the first lines, and among those the one that makes most columns.
fn sniff_delimiter(text: &str) -> u8 {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(SAMPLE).collect();
    let count = |line: &str, delimiter: u8| {
        let mut quoted = false;
        line.bytes()
            .filter(|&byte| {
                quoted ^= byte == b'"';
                byte == delimiter && !quoted
            })
            .count()
    };
    let score = |delimiter: u8| {
        let first = lines.first().map_or(0, |line| count(line, delimiter));
        let equal = lines.iter().filter(|line| count(line, delimiter) == first).count();
        (if first == 0 { 0 } else { equal }, first)
    };
    let candidates = [b',', b';', b'\t'];
    candidates
        .into_iter()
        .rev()
        .max_by_key(|delimiter| score(*delimiter))
        .filter(|d| score(*d).0 > 0)
        .unwrap_or(b',')
}

fn column_name(col: usize, name: &str) -> String {
    if name.is_empty() { format!("x{col}") } else { name.replace(char::is_control, " ") }
}

/// The first row is a header when none of its cells is a number and either a column below is numeric, or (all is text) no cell of
/// it occurs again in its column and all are different.
fn looks_like_header(records: &[csv::StringRecord]) -> bool {
    let Some((first, rest)) = records.split_first() else { return false };
    let rest = &rest[..rest.len().min(SAMPLE)];
    if first.iter().any(|cell| matches!(parse_cell(cell), Cell::Number(_) | Cell::NotFinite))
        || first.iter().all(str::is_empty)
    {
        return false;
    }
    let numeric = |col: usize| {
        let numbers = rest.iter().filter(|r| matches!(parse_cell(&r[col]), Cell::Number(_))).count();
        let texts = rest.iter().filter(|r| matches!(parse_cell(&r[col]), Cell::Text)).count();
        numbers > texts && matches!(parse_cell(&first[col]), Cell::Text)
    };
    if rest.is_empty() || (0..first.len()).any(numeric) {
        return true;
    }
    let again = (0..first.len()).any(|col| rest.iter().any(|r| r[col] == first[col]));
    let mut names: Vec<&str> = first.iter().collect();
    names.sort_unstable();
    !again && names.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiter_is_the_one_that_repeats() {
        assert_eq!(sniff_delimiter("a;b\n1,5;2\n2,5;3\n"), b';');
        assert_eq!(sniff_delimiter("a,b\n1,\"x;y;z\"\n"), b',');
        assert_eq!(sniff_delimiter("a b\tc\n1, 2\t3\n"), b'\t');
        assert_eq!(sniff_delimiter("alone\n1\n"), b',');
    }

    #[test]
    fn header_is_told_from_data() {
        let header = |text: &str| looks_like_header(&records("t", text, b',').unwrap().0);
        assert!(header("a,b\n1,x\n"));
        assert!(header("colour,size\nred,big\nblue,small\n"));
        assert!(!header("red,big\nblue,small\nred,small\n"));
        assert!(!header("1,x\n2,y\n"));
        assert!(!header("?,x\n2,x\n"));
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let lines = |text: &str| records("t", text, b',').unwrap().1;
        assert_eq!(lines("\n\na,b\r\n\r\n  \r\n1,2\r\n3,4"), [3, 6, 7]);
        assert_eq!(lines("a,\"b\nc\"\nd,e\n"), [1, 3]);
    }
}
