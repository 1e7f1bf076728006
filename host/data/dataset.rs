//! Data in memory: [`Dataset`] = features + target + how they are to be (or were) prepared.
//!
//! A data set has two states. *Raw*: one matrix column for each column of the source; NaN stands for a missing value and the
//! columns of text hold category numbers. *Prepared*: what a network takes, all finite, text one-hot encoded, missing values
//! filled, columns scaled. A split (or [`Dataset::prepared`]) leads from the first to the second, with statistics of the training
//! rows alone; the [`Preprocessing`] it used stays attached and goes into the model file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DataError, LoadReport, Preprocessing};

/// Rows of numbers, row-major: `values[row * cols + col]`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Matrix {
    /// `rows * cols` numbers.
    pub values: Vec<f32>,
    /// Number of samples.
    pub rows: usize,
    /// Numbers in a sample.
    pub cols: usize,
}

impl Matrix {
    /// A matrix over `values`; `None` when their number is not `rows * cols`.
    pub fn new(values: Vec<f32>, rows: usize, cols: usize) -> Option<Self> {
        (rows.checked_mul(cols) == Some(values.len())).then_some(Self { values, rows, cols })
    }

    /// The numbers of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }

    /// The numbers of one column, top to bottom.
    pub fn column(&self, col: usize) -> impl Iterator<Item = f32> + Clone + '_ {
        (0..self.rows).map(move |row| self.values[row * self.cols + col])
    }

    /// A matrix of the chosen rows, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.cols);
        rows.iter().for_each(|&row| values.extend_from_slice(self.row(row)));
        Self { values, rows: rows.len(), cols: self.cols }
    }
}

/// What is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class of several.
    Classification,
    /// One or more numbers.
    Regression,
}

/// The known answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A class for each row.
    Classes {
        /// Indices into `names`, one for each row.
        labels: Vec<u32>,
        /// Class names; numbers in numeric order, text in alphabetical order.
        names: Vec<String>,
    },
    /// `outputs` numbers for each row.
    Values {
        /// Row-major, `rows x outputs`. In a prepared data set that is scaled, these are scaled too:
        /// [`Preprocessing::restore_values`] leads back.
        values: Vec<f32>,
        /// Numbers for each row.
        outputs: usize,
        /// A name for each output.
        names: Vec<String>,
    },
    /// Not known: data to predict for.
    None,
}

impl Target {
    fn rows(&self) -> Option<usize> {
        match self {
            Self::Classes { labels, .. } => Some(labels.len()),
            Self::Values { values, outputs, .. } => Some(values.len() / outputs.max(&1)),
            Self::None => None,
        }
    }

    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes { labels, names } => {
                Self::Classes { labels: rows.iter().map(|&r| labels[r]).collect(), names: names.clone() }
            }
            Self::Values { values, outputs, names } => {
                let pick = rows.iter().flat_map(|&r| values[r * outputs..][..*outputs].iter().copied());
                Self::Values { values: pick.collect(), outputs: *outputs, names: names.clone() }
            }
            Self::None => Self::None,
        }
    }
}

/// How numeric columns are scaled; text columns become 0/1 and stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// As they are.
    #[default]
    None,
    /// To mean 0 and standard deviation 1 (of the population, as scikit-learn does).
    Standard,
    /// To the range 0..1.
    MinMax,
}

/// A column of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name in the header, or `x0`, `x1`, ... without one.
    pub name: String,
    /// The categories of a text column, in alphabetical order; `None` for a column of numbers.
    pub categories: Option<Vec<String>>,
}

/// Samples with their target; see the module documentation for the two states.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) features: Matrix,
    pub(crate) feature_names: Vec<String>,
    pub(crate) target: Target,
    pub(crate) target_column: String,
    pub(crate) target_position: usize,
    pub(crate) scaling: Scaling,
    pub(crate) preprocessing: Option<Arc<Preprocessing>>,
    pub(crate) held_out: Option<usize>,
    pub(crate) report: LoadReport,
}

impl Dataset {
    /// A raw data set from memory. NaN in `features` means missing.
    ///
    /// # Errors
    ///
    /// [`DataError::Shape`] when the target has another number of rows, a label has no name, a value is infinite, a target is not
    /// finite, or there are no rows, no columns, or more than `u32::MAX` rows.
    ///
    /// ```
    /// use ironwarp::data::{Dataset, Matrix, Target};
    /// let features = Matrix::new(vec![0., 0., 0., 1., 1., 0., 1., 1.], 4, 2).unwrap();
    /// let target = Target::Classes { labels: vec![0, 1, 1, 0], names: vec!["even".into(), "odd".into()] };
    /// let xor = Dataset::new("xor", features, target)?;
    /// assert_eq!((xor.rows(), xor.outputs()), (4, 2));
    /// # Ok::<(), ironwarp::data::DataError>(())
    /// ```
    pub fn new(name: impl Into<String>, features: Matrix, target: Target) -> Result<Self, DataError> {
        let columns =
            (0..features.cols).map(|c| Column { name: format!("x{c}"), categories: None }).collect();
        let target_position = features.cols;
        let report = LoadReport::default();
        Self::from_parts(name.into(), columns, features, target, "target".into(), target_position, report)
    }

    pub(crate) fn from_parts(
        name: String,
        columns: Vec<Column>,
        features: Matrix,
        target: Target,
        target_column: String,
        target_position: usize,
        report: LoadReport,
    ) -> Result<Self, DataError> {
        let shape = |reason: String| DataError::Shape { name: name.clone(), reason };
        let (rows, cols) = (features.rows, features.cols);
        if rows == 0 || cols == 0 {
            return Err(shape(format!("{rows} rows x {cols} columns; there must be at least one of each")));
        }
        if rows > u32::MAX as usize || features.values.len() != rows * cols {
            return Err(shape(format!(
                "{} values do not make {rows} rows x {cols} columns",
                features.values.len()
            )));
        }
        if let Some(bad) = features.values.iter().position(|v| v.is_infinite()) {
            return Err(shape(format!(
                "the feature in row {}, column {} (from 0) is infinite",
                bad / cols,
                bad % cols
            )));
        }
        if let Some(found) = target.rows().filter(|&found| found != rows) {
            return Err(DataError::RowMismatch { file: name, features: rows, labels: found });
        }
        match &target {
            Target::Classes { labels, names } => {
                if let Some(row) = labels.iter().position(|&l| l as usize >= names.len()) {
                    let (label, classes) = (labels[row], names.len());
                    return Err(shape(format!(
                        "row {row} (from 0) has class {label} where {classes} have names"
                    )));
                }
            }
            Target::Values { values, outputs, names } => {
                if *outputs == 0 || names.len() != *outputs || values.len() != rows * outputs {
                    return Err(shape(format!(
                        "{} target values and {} names for {outputs} outputs",
                        values.len(),
                        names.len()
                    )));
                }
                if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
                    return Err(shape(format!(
                        "the target in row {} (from 0) is {}",
                        bad / outputs,
                        values[bad]
                    )));
                }
            }
            Target::None => {}
        }
        let feature_names = columns.iter().map(|c| c.name.clone()).collect();
        let (scaling, preprocessing, held_out) = (Scaling::None, None, None);
        Ok(Self {
            name,
            columns,
            features,
            feature_names,
            target,
            target_column,
            target_position,
            scaling,
            preprocessing,
            held_out,
            report,
        })
    }

    /// Name of the built-in set, or the file it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.features.rows
    }

    /// The features: raw with NaN for missing values, or prepared; see [`Dataset::preprocessing`].
    pub fn features(&self) -> &Matrix {
        &self.features
    }

    /// Name of each feature column; a one-hot column is named `column=category`.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// The known answers.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Name of the target column.
    pub fn target_name(&self) -> &str {
        &self.target_column
    }

    /// Classification or regression; `None` without a target.
    pub fn task(&self) -> Option<Task> {
        match self.target {
            Target::Classes { .. } => Some(Task::Classification),
            Target::Values { .. } => Some(Task::Regression),
            Target::None => None,
        }
    }

    /// Class names of a classification task, else empty.
    pub fn classes(&self) -> &[String] {
        match &self.target {
            Target::Classes { names, .. } => names,
            _ => &[],
        }
    }

    /// Number of outputs a network for this task has: classes, or numbers to predict; 0 without a target.
    pub fn outputs(&self) -> usize {
        match &self.target {
            Target::Classes { names, .. } => names.len(),
            Target::Values { outputs, .. } => *outputs,
            Target::None => 0,
        }
    }

    /// Class indices of a classification task.
    pub fn labels(&self) -> Option<&[u32]> {
        match &self.target {
            Target::Classes { labels, .. } => Some(labels),
            _ => None,
        }
    }

    /// Numbers to predict of a regression task, `rows x outputs`.
    pub fn values(&self) -> Option<&[f32]> {
        match &self.target {
            Target::Values { values, .. } => Some(values),
            _ => None,
        }
    }

    /// The preparation that was applied; `None` means that the data set is raw.
    pub fn preprocessing(&self) -> Option<&Arc<Preprocessing>> {
        self.preprocessing.as_ref()
    }

    /// What loading and preparing decided, line by line.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Asks for numeric columns (and the numbers to predict, if any) with mean 0 and standard deviation 1. The statistics are taken
    /// later, from the training rows alone. No effect on a data set that is already prepared.
    #[must_use]
    pub fn standardized(mut self) -> Self {
        self.scaling = Scaling::Standard;
        self
    }

    /// Asks for numeric columns in the range 0..1 over the training rows; otherwise as [`Dataset::standardized`].
    #[must_use]
    pub fn min_max(mut self) -> Self {
        self.scaling = Scaling::MinMax;
        self
    }

    /// Asks for a scaling by value.
    #[must_use]
    pub fn scaled(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// The data set ready for a network, with statistics of all its rows: for training without a split.
    /// A prepared data set is returned as it is.
    ///
    /// # Errors
    ///
    /// [`DataError::AllMissing`] when a column has no value at all.
    pub fn prepared(self) -> Result<Self, DataError> {
        if self.preprocessing.is_some() {
            return Ok(self);
        }
        let preprocessing = Arc::new(Preprocessing::fit(&self)?);
        preprocessing.transform(&self)
    }

    /// The chosen rows (indices from 0, repetition allowed), in that order; raw stays raw, prepared stays prepared.
    ///
    /// # Errors
    ///
    /// [`DataError::Shape`] when there is no such row.
    pub fn subset(&self, rows: &[usize]) -> Result<Self, DataError> {
        if let Some(bad) = rows.iter().find(|&&row| row >= self.rows()) {
            let reason = format!("row {bad} (from 0) asked for, there are {}", self.rows());
            return Err(DataError::Shape { name: self.name.clone(), reason });
        }
        let (features, target) = (self.features.select(rows), self.target.select(rows));
        Ok(Self {
            features,
            target,
            held_out: None,
            name: self.name.clone(),
            columns: self.columns.clone(),
            feature_names: self.feature_names.clone(),
            target_column: self.target_column.clone(),
            target_position: self.target_position,
            scaling: self.scaling,
            preprocessing: self.preprocessing.clone(),
            report: self.report.clone(),
        })
    }

    /// A hash (FNV-1a over words of 32 bits) of features and targets: whether a checkpoint or a study belongs to this data.
    pub fn hash(&self) -> u64 {
        let features = self.features().values.iter().map(|x| x.to_bits());
        let labels = self.labels().unwrap_or_default().iter().copied();
        let values = self.values().unwrap_or_default().iter().map(|x| x.to_bits());
        crate::hash::fnv1a(features.chain(labels).chain(values))
    }

    /// Number of rows of each class; empty unless this is a classification task.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        self.labels().into_iter().flatten().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// A few lines for people: shape, task, classes with their counts.
    pub fn describe(&self) -> String {
        let mut text = format!("{}: {} rows x {} features", self.name, self.rows(), self.features.cols);
        match &self.target {
            Target::Classes { names, .. } => {
                text += &format!("\nclassification of '{}', {} classes:", self.target_column, names.len());
                let shares = names.iter().zip(self.class_counts());
                shares.for_each(|(name, count)| text += &format!(" {name} ({count})"));
            }
            Target::Values { values, outputs, names } => {
                text += &format!("\nregression of {}", super::error::name_list(names));
                if *outputs == 1 {
                    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
                    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    text += &format!(", {low} to {high}");
                }
            }
            Target::None => text += "\nno target",
        }
        text
    }
}
