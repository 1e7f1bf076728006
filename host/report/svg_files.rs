//! The figures of a report as SVG files.

use std::path::{Path, PathBuf};

use super::figure;
use super::search::SearchReport;
use crate::train::{TrainError, write_atomic};

/// Writes `NAME.svg` for each figure that there is data for into `directory`, each atomically; the files in reading
/// order. Error: a file cannot be written.
pub fn write_svg_files(report: &SearchReport, directory: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let write = |figure: figure::Figure| {
        let path = directory.join(format!("{}.svg", figure.name));
        write_atomic(&path, figure.standalone().as_bytes())?;
        Ok(path)
    };
    figure::all(report).into_iter().map(write).collect()
}
