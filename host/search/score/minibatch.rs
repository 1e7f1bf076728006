//! The samples that scores look at.

use super::Score;
use crate::data::{Dataset, Target};
use crate::search::rng::Rng;

/// Purpose of the random numbers, as [`Rng::new`] takes it.
const PURPOSE: u32 = 0x6261_7463;

/// Some samples, with their targets where these are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Minibatch {
    /// How many.
    pub rows: usize,
    /// Features of a sample.
    pub inputs: usize,
    /// `[rows, inputs]`.
    pub x: Vec<f32>,
    /// What is to be predicted.
    pub target: MinibatchTarget,
}

/// The targets of a [`Minibatch`].
#[derive(Clone, Debug, PartialEq)]
pub enum MinibatchTarget {
    /// A class for each row.
    Classes(Vec<u32>),
    /// Numbers for each row.
    Values(Vec<f32>),
    /// Not known.
    None,
}

impl Minibatch {
    /// The scores that it suffices for: those that need targets where there are some.
    pub fn scores(&self) -> impl Iterator<Item = Score> {
        let targets = self.target != MinibatchTarget::None;
        Score::ALL.into_iter().filter(move |score| targets || !score.needs_targets())
    }

    /// `rows` rows of a prepared data set (or all, when there are fewer), drawn without replacement by the seed.
    pub fn draw(data: &Dataset, rows: usize, seed: u64) -> Minibatch {
        let features = data.features();
        let mut order: Vec<usize> = (0..features.rows).collect();
        Rng::new(seed, PURPOSE, 0).shuffle(&mut order);
        order.truncate(rows.max(1));
        let target = match data.target() {
            Target::Classes { labels, .. } => {
                MinibatchTarget::Classes(order.iter().map(|&row| labels[row]).collect())
            }
            Target::Values { values, outputs, .. } => MinibatchTarget::Values(
                order
                    .iter()
                    .flat_map(|&row| values[row * outputs..(row + 1) * outputs].iter().copied())
                    .collect(),
            ),
            Target::None => MinibatchTarget::None,
        };
        let x = order.iter().flat_map(|&row| features.row(row).iter().copied()).collect();
        Minibatch { rows: order.len(), inputs: features.cols, x, target }
    }
}
