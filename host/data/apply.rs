//! A raw file meets a trained model: [`Preprocessing::apply`] finds the columns that the model knows and prepares them.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{name_list, shorten};
use super::preprocess::encode_text;
use super::table::{KnownTargets, Table};
use super::{
    Column, ColumnTransform, DataError, Dataset, LoadReport, Matrix, Preprocessing, Target, TargetTransform,
};

impl Preprocessing {
    /// Prepares a table for a trained model, with the target where the table has one: for evaluation.
    ///
    /// Columns are found by name where both the training data and the table have names (their order does not matter, further
    /// columns are ignored), else by position, with or without the target column.
    ///
    /// # Errors
    ///
    /// A column is missing, a cell of a numeric column is not a finite number, a class is unknown, a target is missing.
    pub fn apply(&self, table: &Table) -> Result<Dataset, DataError> {
        self.apply_with(table, true)
    }

    /// As [`Preprocessing::apply`], and pays no attention to a target column: for prediction.
    ///
    /// # Errors
    ///
    /// A column is missing, or a cell of a numeric column is not a finite number.
    pub fn apply_features(&self, table: &Table) -> Result<Dataset, DataError> {
        self.apply_with(table, false)
    }

    fn apply_with(&self, table: &Table, with_target: bool) -> Result<Dataset, DataError> {
        let (features, target) = self.find_columns(table)?;
        let (rows, cols) = (table.rows(), self.columns.len());
        let mut values = vec![0.0; rows * cols];
        let mut columns = Vec::with_capacity(cols);
        for (index, (transform, &col)) in self.columns.iter().zip(&features).enumerate() {
            let name = transform.name().to_owned();
            let (numbers, categories) = match transform {
                ColumnTransform::Number { .. } => (table.numbers(col, &name)?, None),
                ColumnTransform::Category { .. } => {
                    let (codes, categories) = encode_text(&table.texts(col));
                    (codes, Some(categories))
                }
            };
            numbers.iter().enumerate().for_each(|(row, number)| values[row * cols + index] = *number);
            columns.push(Column { name, categories });
        }
        let matrix = Matrix { values, rows, cols };
        let known = target.filter(|_| with_target);
        let (target, target_column, position) = match (&self.target, known) {
            (TargetTransform::Classes { column, position, names }, Some(cols)) => {
                (known_classes(table, cols[0], column, names)?, column.clone(), *position)
            }
            (TargetTransform::Values { column, position, names, .. }, Some(cols)) => {
                (known_values(table, &cols, names)?, column.clone(), *position)
            }
            _ => (Target::None, "target".to_owned(), cols),
        };
        let report = LoadReport { lines: table.notes.clone(), named: table.header.is_some() };
        let source = table.source.clone();
        let raw = Dataset::from_parts(source, columns, matrix, target, target_column, position, report)?;
        Arc::new(self.clone()).transform(&raw)
    }

    /// Places of the features and, where the table has it, of the target.
    fn find_columns(&self, table: &Table) -> Result<(Vec<usize>, Option<Vec<usize>>), DataError> {
        let (position, target_names): (usize, Vec<&String>) = match &self.target {
            TargetTransform::Classes { position, column, .. } => (*position, vec![column]),
            TargetTransform::Values { position, names, .. } => (*position, names.iter().collect()),
            TargetTransform::None => (0, Vec::new()),
        };
        if let Some(header) = table.header().filter(|_| self.named) {
            let place = |name: &str| header.iter().position(|h| h == name);
            let features = self.columns.iter().map(|column| {
                let missing = || (table.source.clone(), column.name().to_owned(), name_list(header));
                place(column.name()).ok_or_else(missing)
            });
            let features = features.collect::<Result<_, _>>();
            let features = features.map_err(|(file, column, columns)| DataError::MissingColumn {
                file,
                column,
                columns,
            })?;
            let target: Option<Vec<usize>> = target_names.iter().map(|name| place(name)).collect();
            return Ok((features, target.filter(|t| !t.is_empty())));
        }
        let (found, expected, targets) = (table.cols(), self.columns.len(), target_names.len());
        // Where the format says which columns are the target, they come last; else they are where they were in training.
        let position = match &table.targets {
            KnownTargets::Last { .. } => expected,
            _ => position.min(expected),
        };
        let has_target = match &table.targets {
            KnownTargets::Last { count, .. } => found == expected + count && *count == targets.max(1),
            KnownTargets::Absent(_) => false,
            KnownTargets::Unknown => targets > 0 && found == expected + targets,
        };
        if has_target {
            let target = position..position + targets;
            let features = (0..found).filter(|col| !target.contains(col)).take(expected).collect();
            return Ok((features, Some(target.collect()).filter(|t: &Vec<usize>| !t.is_empty())));
        }
        if found == expected && !matches!(table.targets, KnownTargets::Last { .. }) {
            return Ok(((0..found).collect(), None));
        }
        let columns = name_list(self.columns.iter().map(ColumnTransform::name));
        Err(DataError::ColumnCount { file: table.source.clone(), found, expected, columns })
    }
}

/// Class indices of column `col` by the names the model knows.
fn known_classes(table: &Table, col: usize, column: &str, names: &[String]) -> Result<Target, DataError> {
    let place: HashMap<&str, u32> = names.iter().zip(0..).map(|(name, i)| (name.as_str(), i)).collect();
    let mut labels = Vec::with_capacity(table.rows());
    for (row, text) in table.texts(col).into_iter().enumerate() {
        let (file, number, column) = (table.source.clone(), table.row_number(row), column.to_owned());
        let text = text.ok_or_else(|| DataError::MissingTarget {
            file: file.clone(),
            row: number,
            column: column.clone(),
        })?;
        let text = super::infer::class_name(&text);
        let unknown = || {
            let (class, known) = (shorten(&text), name_list(names));
            DataError::UnknownClass { file, row: number, column, class, known }
        };
        labels.push(*place.get(text.as_ref()).ok_or_else(unknown)?);
    }
    Ok(Target::Classes { labels, names: names.to_vec() })
}

/// The numbers of the columns `cols`, none missing.
pub(crate) fn known_values(table: &Table, cols: &[usize], names: &[String]) -> Result<Target, DataError> {
    let (rows, outputs) = (table.rows(), cols.len());
    let mut values = vec![0.0; rows * outputs];
    for (output, (&col, name)) in cols.iter().zip(names).enumerate() {
        for (row, value) in table.numbers(col, name)?.into_iter().enumerate() {
            if value.is_nan() {
                let (file, row, column) = (table.source.clone(), table.row_number(row), name.clone());
                return Err(DataError::MissingTarget { file, row, column });
            }
            values[row * outputs + output] = value;
        }
    }
    Ok(Target::Values { values, outputs, names: names.to_vec() })
}
