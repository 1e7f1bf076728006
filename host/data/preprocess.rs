//! From raw columns to what a network takes, and the record of it that travels with a model: [`Preprocessing`].
//!
//! | column | missing value | result |
//! |---|---|---|
//! | number | mean of the training rows | `(x - offset) / scale` |
//! | text | most frequent category of the training rows | one column for each category of the training rows, 1 or 0 |
//!
//! `offset, scale` are mean and population standard deviation, or minimum and range, or 0 and 1. A constant column has scale 1. A
//! category that the training rows do not have is 0 in all its columns, and the report counts it. Statistics are summed in f64;
//! they are stored as f32, so that JSON gives back the same bits.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::shorten;
use super::{Column, DataError, Dataset, Matrix, Scaling, Target, Task};

/// A fitted transformation of raw data; `serde`-serialisable, the same bits after a round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Scaling of the numeric columns.
    pub scaling: Scaling,
    /// Whether the training data had column names; without them columns are matched by position.
    pub named: bool,
    /// One entry for each feature column of the source, in its order.
    pub columns: Vec<ColumnTransform>,
    /// What is predicted.
    pub target: TargetTransform,
    /// What fitting found: filled values, constant columns.
    pub notes: Vec<String>,
}

/// The transformation of one source column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ColumnTransform {
    /// `(x - offset) / scale`.
    Number {
        /// Column name.
        name: String,
        /// Put in place of a missing value, before scaling.
        fill: f32,
        /// Subtracted.
        offset: f32,
        /// Divided by.
        scale: f32,
    },
    /// One-hot.
    Category {
        /// Column name.
        name: String,
        /// Categories of the training rows; one feature for each.
        categories: Vec<String>,
        /// Index of the category put in place of a missing value.
        fill: usize,
    },
}

impl ColumnTransform {
    /// Name of the source column.
    pub fn name(&self) -> &str {
        match self {
            Self::Number { name, .. } | Self::Category { name, .. } => name,
        }
    }

    /// Number of features it becomes.
    pub fn width(&self) -> usize {
        match self {
            Self::Number { .. } => 1,
            Self::Category { categories, .. } => categories.len(),
        }
    }
}

/// The target as the model knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TargetTransform {
    /// Class `i` of the network is `names[i]`.
    Classes {
        /// Target column.
        column: String,
        /// Its place among the columns of the source.
        position: usize,
        /// Class names.
        names: Vec<String>,
    },
    /// Output `i` of the network is `(value - offset[i]) / scale[i]`.
    Values {
        /// Name of the target.
        column: String,
        /// Place of the first target column among the columns of the source.
        position: usize,
        /// Name of each output.
        names: Vec<String>,
        /// Subtracted.
        offset: Vec<f32>,
        /// Divided by.
        scale: Vec<f32>,
    },
    /// The data had no target.
    None,
}

/// Mean or minimum, and standard deviation or range; what `scaling` asks for.
struct Statistics {
    mean: f64,
    offset: f32,
    scale: f32,
    constant: bool,
}

/// `None` when there is no value that is not NaN.
fn statistics(values: impl Iterator<Item = f32> + Clone, scaling: Scaling) -> Option<Statistics> {
    let present = values.filter(|v| !v.is_nan()).map(f64::from);
    let (mut count, mut sum, mut low, mut high) = (0usize, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for value in present.clone() {
        (count, sum, low, high) = (count + 1, sum + value, low.min(value), high.max(value));
    }
    if count == 0 {
        return None;
    }
    let mean = sum / count as f64;
    let (offset, scale) = match scaling {
        Scaling::None => (0.0, 1.0),
        Scaling::MinMax => (low, high - low),
        Scaling::Standard => {
            (mean, (present.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count as f64).sqrt())
        }
    };
    // Equal values give a deviation of rounding errors, not 0, when the mean is rounded: compare the values.
    let constant = low == high;
    let (offset, scale) =
        ((if constant && scaling != Scaling::None { low } else { offset }) as f32, scale as f32);
    let scale = if constant || scale < f32::MIN_POSITIVE || !scale.is_finite() { 1.0 } else { scale };
    Some(Statistics { mean, offset, scale, constant })
}

fn scaled(value: f32, offset: f32, scale: f32) -> f32 {
    ((f64::from(value) - f64::from(offset)) / f64::from(scale))
        .clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Preprocessing {
    /// Takes the statistics of all rows of a raw data set.
    ///
    /// # Errors
    ///
    /// [`DataError::AllMissing`] when a column has no value in these rows.
    pub(crate) fn fit(raw: &Dataset) -> Result<Self, DataError> {
        let mut notes = Vec::new();
        let mut columns = Vec::with_capacity(raw.columns.len());
        for (index, Column { name, categories }) in raw.columns.iter().enumerate() {
            let missing = raw.features.column(index).filter(|v| v.is_nan()).count();
            let all_missing =
                || DataError::AllMissing { file: raw.name.clone(), column: name.clone(), rows: raw.rows() };
            let filled =
                |with: String| format!("column '{}': {missing} missing filled with {with}", shorten(name));
            if let Some(categories) = categories {
                let mut counts = vec![0usize; categories.len()];
                let codes = raw.features.column(index).filter(|v| !v.is_nan());
                codes.for_each(|code| counts[code as usize] += 1);
                let present = || categories.iter().zip(&counts).filter(|(_, count)| **count > 0);
                // The first one of the most frequent: max_by_key would take the last.
                let best = present().map(|(_, count)| *count).max().ok_or_else(all_missing)?;
                let fill = present().position(|(_, count)| *count == best).unwrap_or(0);
                let categories: Vec<String> = present().map(|(category, _)| category.clone()).collect();
                if missing > 0 {
                    notes.push(filled(format!(
                        "the most frequent value of the training rows, '{}'",
                        shorten(&categories[fill])
                    )));
                }
                columns.push(ColumnTransform::Category { name: name.clone(), categories, fill });
            } else {
                let stats = statistics(raw.features.column(index), raw.scaling).ok_or_else(all_missing)?;
                let fill = stats.mean as f32;
                if missing > 0 {
                    notes.push(filled(format!("the mean of the training rows, {fill}")));
                }
                if stats.constant && raw.scaling != Scaling::None {
                    notes.push(format!(
                        "column '{}': the same value in all training rows, only shifted",
                        shorten(name)
                    ));
                }
                let (offset, scale) = (stats.offset, stats.scale);
                columns.push(ColumnTransform::Number { name: name.clone(), fill, offset, scale });
            }
        }
        let (column, position) = (raw.target_column.clone(), raw.target_position);
        let target = match &raw.target {
            Target::Classes { names, .. } => {
                TargetTransform::Classes { column, position, names: names.clone() }
            }
            Target::Values { values, outputs, names } => {
                let each = (0..*outputs).filter_map(|output| {
                    statistics(values.iter().copied().skip(output).step_by(*outputs), raw.scaling)
                });
                let (offset, scale) = each.map(|s| (s.offset, s.scale)).unzip();
                TargetTransform::Values { column, position, names: names.clone(), offset, scale }
            }
            Target::None => TargetTransform::None,
        };
        Ok(Self { scaling: raw.scaling, named: raw.report.named, columns, target, notes })
    }

    /// Number of features after the transformation: the inputs of the network.
    pub fn width(&self) -> usize {
        self.columns.iter().map(ColumnTransform::width).sum()
    }

    /// Names of the features after the transformation.
    pub fn feature_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for column in &self.columns {
            match column {
                ColumnTransform::Number { name, .. } => names.push(name.clone()),
                ColumnTransform::Category { name, categories, .. } => {
                    names.extend(categories.iter().map(|category| format!("{name}={category}")));
                }
            }
        }
        names
    }

    /// Class names; empty unless this is a classification task.
    pub fn classes(&self) -> &[String] {
        match &self.target {
            TargetTransform::Classes { names, .. } => names,
            _ => &[],
        }
    }

    /// Classification or regression; `None` without a target.
    pub fn task(&self) -> Option<Task> {
        match self.target {
            TargetTransform::Classes { .. } => Some(Task::Classification),
            TargetTransform::Values { .. } => Some(Task::Regression),
            TargetTransform::None => None,
        }
    }

    /// Turns outputs of a regression network (row-major, one number for each output) into the units of the source, in place.
    /// Class scores are left alone.
    pub fn restore_values(&self, outputs: &mut [f32]) {
        if let TargetTransform::Values { offset, scale, .. } = &self.target {
            for row in outputs.chunks_mut(offset.len().max(1)) {
                for ((value, offset), scale) in row.iter_mut().zip(offset).zip(scale) {
                    *value = (f64::from(*value) * f64::from(*scale) + f64::from(*offset)) as f32;
                }
            }
        }
    }

    /// Prepares a raw data set whose columns are those that were fitted.
    pub(crate) fn transform(self: &Arc<Self>, raw: &Dataset) -> Result<Dataset, DataError> {
        let (rows, width) = (raw.rows(), self.width());
        let mut values = vec![0.0; rows * width];
        let mut report = raw.report.clone();
        report.lines.extend(self.notes.iter().cloned());
        let mut start = 0;
        for (index, transform) in self.columns.iter().enumerate() {
            let column = raw.features.column(index).enumerate();
            match transform {
                ColumnTransform::Number { fill, offset, scale, .. } => {
                    for (row, value) in column {
                        let value = if value.is_nan() { *fill } else { value };
                        values[row * width + start] = scaled(value, *offset, *scale);
                    }
                }
                ColumnTransform::Category { name, categories, fill } => {
                    let own = raw.columns[index].categories.as_deref().unwrap_or_default();
                    let place: HashMap<&str, usize> =
                        categories.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
                    let codes: Vec<Option<usize>> =
                        own.iter().map(|c| place.get(c.as_str()).copied()).collect();
                    let mut unseen = 0;
                    for (row, value) in column {
                        let code = if value.is_nan() {
                            Some(*fill)
                        } else {
                            codes.get(value as usize).copied().flatten()
                        };
                        match code.filter(|&code| code < categories.len()) {
                            Some(code) => values[row * width + start + code] = 1.0,
                            None => unseen += 1,
                        }
                    }
                    if unseen > 0 {
                        let name = shorten(name);
                        report.lines.push(format!("column '{name}': {unseen} rows of categories that training did not have, encoded as none"));
                    }
                }
            }
            start += transform.width();
        }
        let mut target = raw.target.clone();
        if let (Target::Values { values, .. }, TargetTransform::Values { offset, scale, .. }) =
            (&mut target, &self.target)
        {
            for row in values.chunks_mut(offset.len().max(1)) {
                for ((value, offset), factor) in row.iter_mut().zip(offset).zip(scale) {
                    *value = scaled(*value, *offset, *factor);
                }
            }
        }
        Ok(Dataset {
            features: Matrix { values, rows, cols: width },
            feature_names: self.feature_names(),
            target,
            scaling: self.scaling,
            preprocessing: Some(self.clone()),
            report,
            name: raw.name.clone(),
            columns: raw.columns.clone(),
            target_column: raw.target_column.clone(),
            target_position: raw.target_position,
            held_out: raw.held_out,
        })
    }
}

/// Text as category numbers (NaN: missing) and the categories in alphabetical order.
pub(crate) fn encode_text<S: AsRef<str>>(texts: &[Option<S>]) -> (Vec<f32>, Vec<String>) {
    let mut categories: Vec<&str> = texts.iter().flatten().map(AsRef::as_ref).collect();
    categories.sort_unstable();
    categories.dedup();
    let place: HashMap<&str, usize> = categories.iter().enumerate().map(|(i, c)| (*c, i)).collect();
    let codes = texts.iter().map(|t| t.as_ref().map_or(f32::NAN, |t| place[t.as_ref()] as f32)).collect();
    (codes, categories.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_leave_missing_values_out() {
        let values = [1.0, f32::NAN, 2.0, 6.0];
        let standard = statistics(values.iter().copied(), Scaling::Standard).unwrap();
        assert_eq!((standard.mean, standard.offset), (3.0, 3.0));
        assert_eq!(standard.scale, (14.0f64 / 3.0).sqrt() as f32);
        let range = statistics(values.iter().copied(), Scaling::MinMax).unwrap();
        assert_eq!((range.offset, range.scale), (1.0, 5.0));
        assert!(statistics([f32::NAN; 3].into_iter(), Scaling::None).is_none());
    }

    #[test]
    fn extreme_columns_stay_finite() {
        for values in [[f32::MAX, f32::MIN], [1e-45, 0.0], [0.1, 0.1], [f32::MAX, f32::MAX]] {
            for scaling in [Scaling::None, Scaling::Standard, Scaling::MinMax] {
                let stats = statistics(values.into_iter(), scaling).unwrap();
                assert!(
                    values.iter().all(|v| scaled(*v, stats.offset, stats.scale).is_finite()),
                    "{values:?} {scaling:?}"
                );
            }
        }
    }

    #[test]
    fn categories_are_sorted_and_missing_ones_nan() {
        let (codes, categories) = encode_text(&[Some("b"), None, Some("a"), Some("b")]);
        assert_eq!(categories, ["a", "b"]);
        assert_eq!((codes[0], codes[2], codes[3]), (1.0, 0.0, 1.0));
        assert!(codes[1].is_nan());
    }
}
