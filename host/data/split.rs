//! Dividing a data set: stratified, random, or as its file says.
//!
//! Same data, fraction and seed: same rows, on every platform. Statistics for scaling, filling and encoding are taken from the
//! training part; the test part is transformed with them and never looked at.

use std::sync::Arc;

use super::{DataError, Dataset, Preprocessing, permutation};

/// Streams of [`permutation`] for splits; epoch shuffles count from 0.
const TEST_STREAM: u64 = 1 << 48;
const VALIDATION_STREAM: u64 = 2 << 48;
const FOLD_STREAM: u64 = 3 << 48;

/// Two prepared parts of a data set.
#[derive(Clone, Debug)]
pub struct Split {
    /// The rows to learn from; the statistics come from here.
    pub train: Dataset,
    /// The rows held out.
    pub test: Dataset,
    /// The transformation both parts went through.
    pub preprocessing: Arc<Preprocessing>,
}

impl Dataset {
    /// Divides into training and test rows; each class keeps its share, and a class of two rows or more is in both parts (a class of
    /// one row is in the training part). A regression task is divided at random.
    ///
    /// # Errors
    ///
    /// [`DataError::Fraction`] unless `0 < train_fraction < 1`, [`DataError::TooFewRows`] when a part would be empty,
    /// [`DataError::AllMissing`] when a column has no value in the training part.
    ///
    /// ```
    /// use ironwarp::data;
    /// let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
    /// assert_eq!(digits.train.rows() + digits.test.rows(), 1797);
    /// # Ok::<(), data::DataError>(())
    /// ```
    pub fn stratified_split(&self, train_fraction: f64, seed: u64) -> Result<Split, DataError> {
        let (train, test) = self.partition(train_fraction, seed, TEST_STREAM, true)?;
        self.split_at(&train, &test)
    }

    /// Divides at random, without regard to classes.
    ///
    /// # Errors
    ///
    /// As [`Dataset::stratified_split`].
    pub fn random_split(&self, train_fraction: f64, seed: u64) -> Result<Split, DataError> {
        let (train, test) = self.partition(train_fraction, seed, TEST_STREAM, false)?;
        self.split_at(&train, &test)
    }

    /// Whether the file itself divides the data (npz with `x_test`, an IDX folder with a test part).
    pub fn has_own_split(&self) -> bool {
        self.held_out.is_some()
    }

    /// The division that came with the file, or `None` where it has none.
    ///
    /// # Errors
    ///
    /// [`DataError::AllMissing`] when a column has no value in the training part.
    pub fn own_split(&self) -> Option<Result<Split, DataError>> {
        let first = self.held_out?;
        let (train, test): (Vec<usize>, Vec<usize>) = (0..self.rows()).partition(|&row| row < first);
        Some(self.split_at(&train, &test))
    }

    /// Takes `fraction` of the rows (stratified for classes) away for validation: `(rest, validation)`. Both are prepared, with
    /// the statistics that this data set was prepared with, or else with those of all its rows.
    ///
    /// # Errors
    ///
    /// As [`Dataset::stratified_split`].
    pub fn validation_split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset), DataError> {
        check_fraction(fraction)?;
        let (rest, validation) = self.partition(1.0 - fraction, seed, VALIDATION_STREAM, true)?;
        if self.preprocessing.is_some() {
            return Ok((self.subset(&rest)?, self.subset(&validation)?));
        }
        let all = self.clone().prepared()?;
        Ok((all.subset(&rest)?, all.subset(&validation)?))
    }

    /// Divides into `folds` parts of nearly equal size (stratified for classes), and gives for each part the split whose test
    /// part it is: every row is tested once. Statistics are taken from each split's own training part.
    ///
    /// # Errors
    ///
    /// [`DataError::Folds`] unless there are 2 folds at least and as many rows as folds; [`DataError::AllMissing`] when a column has no
    /// value in a training part.
    pub fn folds(&self, folds: usize, seed: u64) -> Result<Vec<Split>, DataError> {
        if folds < 2 || folds > self.rows() {
            return Err(DataError::Folds { name: self.name.clone(), rows: self.rows(), folds });
        }
        let mut fold_of = vec![0; self.rows()];
        // Dealt in turn, on from class to class: sizes differ by one at most, those of a class too.
        let mut next = 0;
        for (number, group) in self.groups(true).iter().enumerate() {
            for place in permutation(group.len(), seed, FOLD_STREAM + number as u64) {
                fold_of[group[place as usize]] = next % folds;
                next += 1;
            }
        }
        let split = |fold| {
            let (test, train): (Vec<usize>, Vec<usize>) =
                (0..self.rows()).partition(|&row| fold_of[row] == fold);
            self.split_at(&train, &test)
        };
        (0..folds).map(split).collect()
    }

    /// The rows of each class, or all as one group.
    fn groups(&self, stratified: bool) -> Vec<Vec<usize>> {
        match self.labels().filter(|_| stratified) {
            Some(labels) => {
                let mut groups = vec![Vec::new(); self.classes().len()];
                labels.iter().enumerate().for_each(|(row, &label)| groups[label as usize].push(row));
                groups
            }
            None => vec![(0..self.rows()).collect()],
        }
    }

    fn split_at(&self, train: &[usize], test: &[usize]) -> Result<Split, DataError> {
        let (train, test) = (self.subset(train)?, self.subset(test)?);
        if let Some(preprocessing) = self.preprocessing.clone() {
            return Ok(Split { train, test, preprocessing });
        }
        let preprocessing = Arc::new(Preprocessing::fit(&train)?);
        let (train, test) = (preprocessing.transform(&train)?, preprocessing.transform(&test)?);
        Ok(Split { train, test, preprocessing })
    }

    /// Row indices of the two parts, each ascending.
    fn partition(
        &self,
        fraction: f64,
        seed: u64,
        stream: u64,
        stratified: bool,
    ) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        check_fraction(fraction)?;
        let groups = self.groups(stratified);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (number, group) in groups.iter().enumerate() {
            let share = (group.len() as f64 * fraction).round() as usize;
            let share = if group.len() < 2 { group.len() } else { share.clamp(1, group.len() - 1) };
            let order = permutation(group.len(), seed, stream + number as u64);
            let mut rows = order.into_iter().map(|place| group[place as usize]);
            first.extend(rows.by_ref().take(share));
            second.extend(rows);
        }
        if first.is_empty() || second.is_empty() {
            let (name, rows) = (self.name.clone(), self.rows());
            return Err(DataError::TooFewRows { name, rows, fraction, rest: 1.0 - fraction });
        }
        first.sort_unstable();
        second.sort_unstable();
        Ok((first, second))
    }
}

fn check_fraction(fraction: f64) -> Result<(), DataError> {
    if fraction > 0.0 && fraction < 1.0 { Ok(()) } else { Err(DataError::Fraction { fraction }) }
}
