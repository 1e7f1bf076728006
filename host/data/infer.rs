//! From a [`Table`] to a raw training set: which column is the target, which are text, what the task is. Every decision is written
//! into the report.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::apply::known_values;
use super::error::{name_list, shorten};
use super::preprocess::encode_text;
use super::table::{KnownTargets, Table, label_text};
use super::{Column, DataError, Dataset, LoadOptions, LoadReport, Matrix, Target, TargetSpec, Task};

/// More categories than this are refused as one-hot columns.
const MOST_CATEGORIES: usize = 1024;
/// A target of whole numbers with more different values than this is a regression target.
const MOST_NUMBER_CLASSES: usize = 20;

/// The name of a class: whole numbers are written in one way, so that `1`, `1.0` and `01` are one class.
pub(crate) fn class_name(text: &str) -> Cow<'_, str> {
    match text.parse::<f32>() {
        Ok(number) if number.fract() == 0.0 && number.abs() < 16_777_216.0 => Cow::Owned(label_text(number)),
        _ => Cow::Borrowed(text),
    }
}

pub(crate) fn dataset(table: &Table, options: &LoadOptions) -> Result<Dataset, DataError> {
    let names = table.column_names();
    let targets = target_columns(table, &names, options.target.as_ref())?;
    let cols: Vec<usize> = (0..table.cols()).filter(|col| !targets.contains(col)).collect();
    if cols.is_empty() {
        return Err(DataError::NoFeatures { file: table.source.clone() });
    }
    let mut report = LoadReport { lines: table.notes.clone(), named: table.header.is_some() };
    let (target, target_column) = target(table, &targets, &names, options.task, &mut report)?;
    let rows = table.rows();
    let mut values = vec![0.0; rows * cols.len()];
    let mut columns = Vec::with_capacity(cols.len());
    for (index, &col) in cols.iter().enumerate() {
        let name = names[col].clone();
        let all_missing = || DataError::AllMissing { file: table.source.clone(), column: name.clone(), rows };
        let (numbers, categories) = if table.is_text(col).ok_or_else(all_missing)? {
            let (codes, categories) = encode_text(&table.texts(col));
            let count = categories.len();
            if count > MOST_CATEGORIES {
                return Err(DataError::TooManyCategories { file: table.source.clone(), column: name, count });
            }
            report
                .lines
                .push(format!("column '{}': text, {count} categories, encoded one-hot", shorten(&name)));
            (codes, Some(categories))
        } else {
            (table.numbers(col, &name)?, None)
        };
        let missing = numbers.iter().filter(|v| v.is_nan()).count();
        if missing > 0 {
            report.lines.push(format!("column '{}': {missing} of {rows} values are missing", shorten(&name)));
        }
        numbers.iter().enumerate().for_each(|(row, number)| values[row * cols.len() + index] = *number);
        columns.push(Column { name, categories });
    }
    let matrix = Matrix { values, rows, cols: cols.len() };
    let mut dataset = Dataset::from_parts(
        table.source.clone(),
        columns,
        matrix,
        target,
        target_column,
        targets[0],
        report,
    )?;
    dataset.held_out = table.held_out;
    Ok(dataset)
}

/// The target columns; never empty.
fn target_columns(
    table: &Table,
    names: &[String],
    wanted: Option<&TargetSpec>,
) -> Result<Vec<usize>, DataError> {
    let cols = table.cols();
    let not_found = |target: String| {
        let (file, columns) =
            (table.source.clone(), format!("{} (index 0 to {})", name_list(names), cols.saturating_sub(1)));
        DataError::TargetNotFound { file, target, columns }
    };
    match (&table.targets, wanted) {
        (KnownTargets::Absent(remedy), _) => {
            Err(DataError::NoTarget { file: table.source.clone(), remedy: remedy.clone() })
        }
        (KnownTargets::Last { count, .. }, _) => Ok((cols - count..cols).collect()),
        (KnownTargets::Unknown, None) => Ok(vec![cols - 1]),
        (KnownTargets::Unknown, Some(TargetSpec::Index(index))) => {
            if *index < cols {
                Ok(vec![*index])
            } else {
                Err(not_found(index.to_string()))
            }
        }
        (KnownTargets::Unknown, Some(TargetSpec::Name(name))) => {
            let by_name = names.iter().position(|n| n == name);
            let by_index = || name.parse::<usize>().ok().filter(|index| *index < cols);
            Ok(vec![by_name.or_else(by_index).ok_or_else(|| not_found(format!("'{}'", shorten(name))))?])
        }
    }
}

fn target(
    table: &Table,
    cols: &[usize],
    names: &[String],
    wanted: Option<Task>,
    report: &mut LoadReport,
) -> Result<(Target, String), DataError> {
    let own: Vec<String> = cols.iter().map(|&col| names[col].clone()).collect();
    let (file, rows, col) = (table.source.clone(), table.rows(), cols[0]);
    let title = shorten(&own[0]);
    if cols.len() > 1 {
        if wanted == Some(Task::Classification) {
            let what = format!("classification with {} target columns", cols.len());
            let remedy = "give one class index for each row".to_owned();
            return Err(DataError::Unsupported { file, what, remedy });
        }
        report.lines.push(format!("target: {} columns of numbers, regression", cols.len()));
        return Ok((known_values(table, cols, &own)?, "target".to_owned()));
    }
    let all_missing = || DataError::AllMissing { file: file.clone(), column: own[0].clone(), rows };
    let text = table.is_text(col).ok_or_else(all_missing)?;
    let classes = match wanted {
        Some(task) => task == Task::Classification,
        None if matches!(table.targets, KnownTargets::Last { classes: true, .. }) => true,
        None => text || few_whole_numbers(&table.numbers(col, &own[0])?),
    };
    if !classes {
        report.lines.push(format!("target '{title}': numbers, regression"));
        return Ok((known_values(table, cols, &own)?, own[0].clone()));
    }
    let texts = table.texts(col);
    if let Some(row) = texts.iter().position(Option::is_none) {
        return Err(DataError::MissingTarget { file, row: table.row_number(row), column: own[0].clone() });
    }
    let labels: Vec<Cow<'_, str>> = texts.iter().flatten().map(|text| class_name(text)).collect();
    let mut classes: Vec<&str> =
        labels.iter().map(AsRef::as_ref).collect::<BTreeSet<&str>>().into_iter().collect();
    if let [class] = classes[..] {
        let (column, class) = (own[0].clone(), shorten(class));
        return Err(DataError::OneClass { file, column, class });
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    if classes.iter().all(|class| number(class).is_some()) {
        classes.sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0)).then(a.cmp(b)));
    }
    if classes.len() > rows / 2 && rows > 10 {
        let count = classes.len();
        report
            .lines
            .push(format!("target '{title}': {count} classes for {rows} rows; is this the right column?"));
    }
    let place: std::collections::HashMap<&str, u32> = classes.iter().copied().zip(0..).collect();
    let indices = labels.iter().map(|label| place[label.as_ref()]).collect();
    let classes: Vec<String> = classes.into_iter().map(str::to_owned).collect();
    report.lines.push(format!(
        "target '{title}': classification, {} classes: {}",
        classes.len(),
        name_list(&classes)
    ));
    Ok((Target::Classes { labels: indices, names: classes }, own[0].clone()))
}

/// Whole numbers, few of them, each several times on average (two classes may be rare).
fn few_whole_numbers(values: &[f32]) -> bool {
    let mut different = BTreeSet::new();
    for value in values.iter().filter(|v| !v.is_nan()) {
        if value.fract() != 0.0 || value.abs() >= 16_777_216.0 {
            return false;
        }
        different.insert(*value as i32);
        if different.len() > MOST_NUMBER_CLASSES {
            return false;
        }
    }
    different.len() <= 2 || different.len() * 2 <= values.len()
}
