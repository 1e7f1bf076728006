//! What can be wrong with data: one clear line each, with the file, the row or column, and the remedy.
//!
//! Rows of text files are line numbers as an editor shows them (the header is row 1); rows and columns of arrays count from 0
//! as NumPy does, and the message says so.

use thiserror::Error;

/// An error about a data file, a table or a split.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// No file at this path.
    #[error("{file}: no such file; check the path, or use a built-in data set: {builtin}")]
    NotFound {
        /// Path as given.
        file: String,
        /// The built-in names.
        builtin: String,
    },
    /// The file is there and cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Io {
        /// Path as given.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not one of the built-in data sets.
    #[error("'{name}' is not a built-in data set; the built-in ones are {builtin}")]
    UnknownBuiltin {
        /// Name as given.
        name: String,
        /// The built-in names.
        builtin: String,
    },
    /// The file has no bytes, or nothing but blank lines.
    #[error("{file}: the file is empty; it needs a row for each sample")]
    Empty {
        /// The file.
        file: String,
    },
    /// A header and no row below it.
    #[error(
        "{file}: row 1 is a header and no row follows it; add the samples, or say that the file has no header"
    )]
    HeaderOnly {
        /// The file.
        file: String,
    },
    /// No loader for this kind of file.
    #[error(
        "{file}: unknown kind of file; known are CSV (.csv, .tsv, .txt, .data), .npy, .npz and IDX, each also as .gz"
    )]
    UnknownFormat {
        /// The file.
        file: String,
    },
    /// The bytes do not follow the format.
    #[error(
        "{file}: not a valid {format} file: {reason}; the file is damaged or cut short, fetch or write it again"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// `CSV`, `npy`, `npz`, `IDX` or `gzip`.
        format: &'static str,
        /// What is wrong and where.
        reason: String,
    },
    /// Valid, and of a kind that is not supported.
    #[error("{file}: {what} is not supported; {remedy}")]
    Unsupported {
        /// The file.
        file: String,
        /// The thing.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// A row with more or fewer cells than the first one.
    #[error(
        "{file}: row {row} has {found} cells where {expected} are expected; every row needs the same number (delimiter: '{delimiter}')"
    )]
    Ragged {
        /// The file.
        file: String,
        /// Line of the file.
        row: u64,
        /// Cells in that row.
        found: usize,
        /// Cells in the first row.
        expected: usize,
        /// The delimiter that was used.
        delimiter: char,
    },
    /// Two columns of one name.
    #[error("{file}: row 1 names two columns '{column}'; give every column a name of its own")]
    DuplicateColumn {
        /// The file.
        file: String,
        /// The name.
        column: String,
    },
    /// Text in a numeric column.
    #[error(
        "{file}: row {row}, column '{column}': '{value}' is not a number; correct it, or leave the cell empty if it is missing"
    )]
    NotANumber {
        /// The file.
        file: String,
        /// Line of the file.
        row: u64,
        /// Column name.
        column: String,
        /// The cell.
        value: String,
    },
    /// An infinity, or a number beyond the range of f32, in a text file.
    #[error(
        "{file}: row {row}, column '{column}': '{value}' is infinite or too large for f32; correct it, or leave the cell empty if it is missing"
    )]
    NotFinite {
        /// The file.
        file: String,
        /// Line of the file.
        row: u64,
        /// Column name.
        column: String,
        /// The cell.
        value: String,
    },
    /// NaN or an infinity in an array.
    #[error(
        "{file}: row {row}, column {column} of {array} (counted from 0) is {value}; replace or remove it before saving the array"
    )]
    NotFiniteArray {
        /// The file.
        file: String,
        /// Name of the array.
        array: String,
        /// Row, from 0.
        row: usize,
        /// Column after flattening, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A column without a single value.
    #[error("{file}: column '{column}' has no value in any of the {rows} rows used; remove the column")]
    AllMissing {
        /// The file.
        file: String,
        /// Column name.
        column: String,
        /// Rows looked at.
        rows: usize,
    },
    /// Text column with too many different values to be one-hot encoded.
    #[error(
        "{file}: text column '{column}' has {count} different values, too many to encode one-hot; remove the column (is it an identifier?)"
    )]
    TooManyCategories {
        /// The file.
        file: String,
        /// Column name.
        column: String,
        /// Different values.
        count: usize,
    },
    /// The target asked for is not there.
    #[error("{file}: no column {target} to predict; the columns are {columns}")]
    TargetNotFound {
        /// The file.
        file: String,
        /// Name or index, as asked for.
        target: String,
        /// What there is.
        columns: String,
    },
    /// A row whose target is missing.
    #[error("{file}: row {row}, column '{column}': the target is missing; fill it in or remove the row")]
    MissingTarget {
        /// The file.
        file: String,
        /// Line of the file (for arrays: from 0).
        row: u64,
        /// Target column.
        column: String,
    },
    /// Nothing to learn: the data has features and no target.
    #[error("{file}: has no target; {remedy}")]
    NoTarget {
        /// The file.
        file: String,
        /// Where it was looked for.
        remedy: String,
    },
    /// Only a target column.
    #[error("{file}: has no feature columns besides the target; add at least one, or check the delimiter")]
    NoFeatures {
        /// The file.
        file: String,
    },
    /// All rows belong to one class.
    #[error(
        "{file}: target '{column}' has one class only ('{class}'); classification needs rows of at least two classes"
    )]
    OneClass {
        /// The file.
        file: String,
        /// Target column.
        column: String,
        /// The class.
        class: String,
    },
    /// A class that the model has never seen.
    #[error(
        "{file}: row {row}, column '{column}': class '{class}' is unknown to the model, which knows {known}; correct the label or train with rows of this class"
    )]
    UnknownClass {
        /// The file.
        file: String,
        /// Line of the file (for arrays: from 0).
        row: u64,
        /// Target column.
        column: String,
        /// The label.
        class: String,
        /// Classes of the training data.
        known: String,
    },
    /// A column that the model needs is not in the header.
    #[error(
        "{file}: column '{column}', which the model was trained on, is missing; the columns are {columns}"
    )]
    MissingColumn {
        /// The file.
        file: String,
        /// The missing one.
        column: String,
        /// What there is.
        columns: String,
    },
    /// Wrong number of columns where they are matched by position.
    #[error(
        "{file}: has {found} columns; the model expects {expected} ({columns}), with or without the target after them"
    )]
    ColumnCount {
        /// The file.
        file: String,
        /// Columns in the file.
        found: usize,
        /// Feature columns of the model.
        expected: usize,
        /// Their names.
        columns: String,
    },
    /// Features and labels do not have the same number of rows.
    #[error(
        "{file}: {features} rows of features and {labels} of labels; there must be one label for each row"
    )]
    RowMismatch {
        /// The file.
        file: String,
        /// Rows of features.
        features: usize,
        /// Rows of labels.
        labels: usize,
    },
    /// An npz archive without a known pair of arrays.
    #[error(
        "{file}: no arrays for features and target; known names are X/y, features/labels, data/target, x_train/y_train (and x_test/y_test), arr_0/arr_1; the archive has {keys}"
    )]
    UnknownKeys {
        /// The file.
        file: String,
        /// Names in the archive.
        keys: String,
    },
    /// A data set that cannot be divided.
    #[error(
        "{name}: {rows} rows are too few to split {fraction:.2} : {rest:.2}; each part needs at least one row, use more data or another fraction"
    )]
    TooFewRows {
        /// Name of the data set.
        name: String,
        /// Its rows.
        rows: usize,
        /// Fraction of the first part.
        fraction: f64,
        /// Fraction of the second part.
        rest: f64,
    },
    /// A fraction that is not between 0 and 1.
    #[error("split fraction {fraction} is outside (0, 1); use for example 0.8")]
    Fraction {
        /// As given.
        fraction: f64,
    },
    /// Folds that cannot be made.
    #[error("{name}: {folds} folds of {rows} rows; give from 2 to the number of rows, such as 5")]
    Folds {
        /// Name of the data set.
        name: String,
        /// Its rows.
        rows: usize,
        /// As given.
        folds: usize,
    },
    /// Arrays handed over in memory whose sizes do not fit.
    #[error("{name}: {reason}")]
    Shape {
        /// Name of the data set.
        name: String,
        /// What does not fit.
        reason: String,
    },
}

/// `'a', 'b', 'c' and 7 more`: a list for a message, cut after a dozen names.
pub(crate) fn name_list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("'{}'", shorten(n.as_ref()))).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > 12 => format!("{} and {} more", names[..12].join(", "), n - 12),
        _ => names.join(", "),
    }
}

/// What another library said, fit for one line: white space collapsed, control characters escaped, cut after 160 characters.
pub(crate) fn one_line(text: impl ToString) -> String {
    let words = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .take(160)
        .flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] })
        .collect()
}

/// A cell or name fit for one line: control characters escaped, cut after 40 characters.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push_str("...");
    }
    short.replace("\\'", "'")
}
