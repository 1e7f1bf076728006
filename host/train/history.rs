//! What a run records, an epoch at a time: CSV and JSON lines.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{TrainError, write_atomic};

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Steps done in all.
    pub step: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean loss over the epoch's minibatches, as they were trained on.
    pub train_loss: f64,
    /// Share of right answers among the same, for classes.
    pub train_accuracy: Option<f64>,
    /// Loss of the validation part, if there is one.
    pub val_loss: Option<f64>,
    /// Accuracy of the validation part, for classes.
    pub val_accuracy: Option<f64>,
    /// Coefficient of determination of the validation part, for values.
    pub val_r2: Option<f64>,
    /// Time of the epoch in seconds, evaluation included.
    pub seconds: f64,
    /// Samples trained on a second, evaluation excluded.
    pub samples_per_second: f64,
}

/// A run's epochs in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The epochs.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// Writes `metrics.csv` and `metrics.jsonl` into `directory`, each atomically.
    pub fn write(&self, directory: &Path) -> Result<(), TrainError> {
        let mut csv = csv::Writer::from_writer(vec![]);
        let mut lines = vec![];
        for epoch in &self.epochs {
            // Plain records of numbers: neither writer can refuse them.
            csv.serialize(epoch).map_err(|e| TrainError::io(directory, std::io::Error::other(e)))?;
            serde_json::to_writer(&mut lines, epoch)
                .map_err(|e| TrainError::io(directory, std::io::Error::other(e)))?;
            lines.push(b'\n');
        }
        let csv =
            csv.into_inner().map_err(|e| TrainError::io(directory, std::io::Error::other(e.to_string())))?;
        write_atomic(&directory.join("metrics.csv"), &csv)?;
        write_atomic(&directory.join("metrics.jsonl"), &lines)
    }
}
