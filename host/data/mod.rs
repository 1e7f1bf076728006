//! Data: built-in sets, loaders, splits, preparation.
//!
//! ```text
//! file --csv | numpy | idx--> Table --infer--> Dataset (raw) --split--> Preprocessing (statistics of the training rows)
//!                               |                                             |  and two prepared Datasets
//!                               +--------- Preprocessing::apply <---- model --+
//! ```
//!
//! - A [`Table`] is a file as read: cells, names, row numbers.
//! - A raw [`Dataset`] knows its target and task; missing values are still missing. Every decision is in its [`LoadReport`].
//! - [`Dataset::stratified_split`] (or [`Dataset::prepared`] without a split) takes the statistics from the training rows, and
//!   yields prepared data sets: finite numbers only, ready for a network.
//! - The [`Preprocessing`] is saved with the model; [`Preprocessing::apply`] prepares a raw file in the same way.
//!
//! Nothing here panics on what a file contains; a [`DataError`] names the file, the row, the column and the remedy.
//!
//! ```
//! use ironwarp::data;
//! let split = data::builtin("iris")?.standardized().stratified_split(0.8, 7)?;
//! assert_eq!((split.train.rows(), split.test.rows()), (120, 30));
//! # Ok::<(), data::DataError>(())
//! ```

mod apply;
mod builtin;
mod csv;
mod dataset;
mod error;
mod idx;
mod infer;
mod numpy;
mod preprocess;
mod shuffle;
mod split;
mod table;

use std::fmt;
use std::io::Read;
use std::path::Path;

pub(crate) use builtin::nasbench201;
pub use builtin::{builtin, builtin_names, builtin_table};
pub use dataset::{Column, Dataset, Matrix, Scaling, Target, Task};
pub use error::DataError;
pub use preprocess::{ColumnTransform, Preprocessing, TargetTransform};
pub use shuffle::permutation;
pub use split::Split;
pub use table::Table;

/// The column to predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSpec {
    /// By name; a number that is no column's name is taken as an index.
    Name(String),
    /// By index, from 0.
    Index(usize),
}

impl From<&str> for TargetSpec {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<usize> for TargetSpec {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// What the user knows about a file; everything that is `None` is found out and reported.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Target column; without it, the last one. Formats that say themselves which array is the target ignore it.
    pub target: Option<TargetSpec>,
    /// Whether the first row of a text file is a header.
    pub header: Option<bool>,
    /// Classification or regression.
    pub task: Option<Task>,
    /// Delimiter of a text file (an ASCII character); without it one of comma, semicolon, tab.
    pub delimiter: Option<char>,
}

/// What loading and preparing decided, in lines for the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// One decision each.
    pub lines: Vec<String>,
    /// Whether columns have names of their own.
    pub(crate) named: bool,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// Loads a file to train with; the data set is raw.
///
/// The kind is told by content and name: CSV (`.csv`, `.tsv`, `.txt`, `.data`), NumPy `.npy` and `.npz`, IDX (`*-images-idx3-ubyte`
/// with `*-labels-idx1-ubyte` beside it, or a folder with the four files of MNIST), each also as `.gz`.
///
/// # Errors
///
/// A [`DataError`] for whatever is wrong with the file.
///
/// ```
/// use ironwarp::data::{self, LoadOptions};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("points.csv");
/// std::fs::write(&path, "x,y,colour\n1,2,red\n2,,blue\n3,1,red\n4,0,blue\n")?;
/// let points = data::load(&path, &LoadOptions::default())?;
/// assert_eq!(points.classes(), ["blue", "red"]);
/// println!("{}", points.report());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Dataset, DataError> {
    infer::dataset(&read_table(path, options)?, options)
}

/// Reads a file without deciding about its columns: for [`Preprocessing::apply`]. Of the options, `header` and `delimiter` count.
///
/// # Errors
///
/// A [`DataError`] for whatever is wrong with the file.
pub fn read_table(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Table, DataError> {
    let path = path.as_ref();
    let source = path.display().to_string();
    if path.is_dir() {
        return idx::read_folder(&source, path);
    }
    let bytes = read_plain(path)?;
    if bytes.is_empty() {
        return Err(DataError::Empty { file: source });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if bytes.starts_with(b"\x93NUMPY") || ends(&[".npy"]) {
        numpy::read_npy(&source, &bytes)
    } else if bytes.starts_with(b"PK\x03\x04") || ends(&[".npz"]) {
        numpy::read_npz(&source, bytes)
    } else if ends(&["idx3-ubyte", "idx1-ubyte", "idx2-ubyte", "idx4-ubyte", ".idx"]) || idx::is_idx(&bytes) {
        idx::read(&source, path, &bytes)
    } else if ends(&[".csv", ".tsv", ".txt", ".data", ".tab", ".dat"]) || !bytes.contains(&0) {
        csv::read(&source, &bytes, options)
    } else {
        Err(DataError::UnknownFormat { file: source })
    }
}

/// The bytes of a file, unpacked if it is gzip.
fn read_plain(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) if bytes.starts_with(&[0x1f, 0x8b]) => gunzip(&file, &bytes),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::NotFound { file, builtin: error::name_list(builtin_names()) })
        }
        Err(source) => Err(DataError::Io { file, source }),
    }
}

fn gunzip(source: &str, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).map_err(|e| DataError::Corrupt {
        file: source.to_owned(),
        format: "gzip",
        reason: error::one_line(e),
    })?;
    Ok(plain)
}
