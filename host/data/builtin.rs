//! The data sets inside the program; `data/NOTICE.md` has their origin and licence.

use super::error::name_list;
use super::{DataError, Dataset, LoadOptions, Table, csv, infer};

const SETS: [(&str, &[u8]); 5] = [
    ("digits", include_bytes!("../../data/digits.csv.gz")),
    ("iris", include_bytes!("../../data/iris.csv.gz")),
    ("wine", include_bytes!("../../data/wine.csv.gz")),
    ("breast_cancer", include_bytes!("../../data/breast_cancer.csv.gz")),
    ("diabetes", include_bytes!("../../data/diabetes.csv.gz")),
];

/// NAS-Bench-201 (see `search::table`): no data set to train on, but results of training.
const NASBENCH201: &[u8] = include_bytes!("../../data/nasbench201.csv.gz");

/// Names of the built-in data sets.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|(name, _)| *name)
}

/// A built-in data set, raw: `digits` (1797 x 64, 10 classes), `iris` (150 x 4, 3 classes), `wine` (178 x 13, 3 classes),
/// `breast_cancer` (569 x 30, 2 classes), `diabetes` (442 x 10, regression).
///
/// # Errors
///
/// [`DataError::UnknownBuiltin`] for another name.
///
/// ```
/// let iris = ironwarp::data::builtin("iris")?;
/// assert_eq!((iris.rows(), iris.classes().len()), (150, 3));
/// # Ok::<(), ironwarp::data::DataError>(())
/// ```
pub fn builtin(name: &str) -> Result<Dataset, DataError> {
    infer::dataset(&builtin_table(name)?, &LoadOptions::default())
}

/// A built-in data set as read: for [`Preprocessing::apply`](super::Preprocessing::apply), as [`read_table`](super::read_table) is for a file.
///
/// # Errors
///
/// [`DataError::UnknownBuiltin`] for another name.
pub fn builtin_table(name: &str) -> Result<Table, DataError> {
    let Some((name, packed)) = SETS.iter().find(|(known, _)| *known == name) else {
        return Err(DataError::UnknownBuiltin {
            name: super::error::shorten(name),
            builtin: name_list(builtin_names()),
        });
    };
    unpacked(name, packed)
}

/// The results that are built in for benchmarks of search.
pub(crate) fn nasbench201() -> Result<Table, DataError> {
    unpacked("nasbench201", NASBENCH201)
}

fn unpacked(name: &str, packed: &[u8]) -> Result<Table, DataError> {
    let bytes = super::gunzip(name, packed)?;
    csv::read(name, &bytes, &LoadOptions { header: Some(true), ..LoadOptions::default() })
}
