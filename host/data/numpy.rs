//! NumPy: `.npy` (a matrix whose last column, or the one asked for, is the target) and `.npz` (arrays for features and target under
//! one of the usual pairs of names). Numbers of any width, C or Fortran order; more than two dimensions are flattened to rows.
//!
//! Infinite and missing values are errors here: an array has no way to say "missing" that everybody means.

use std::io::{Cursor, Read};

use npyz::{DType, NpyFile, Order, TypeChar};
use zip::ZipArchive;

use super::error::{name_list, one_line};
use super::table::{Body, KnownTargets, Table};
use super::{DataError, Matrix};

/// Names of features and target; the first pair whose features are there is taken. Case does not matter.
const PAIRS: [(&str, &str); 6] = [
    ("x_train", "y_train"),
    ("x", "y"),
    ("features", "labels"),
    ("data", "target"),
    ("images", "labels"),
    ("arr_0", "arr_1"),
];
/// Names of the test part that may come with the first pair.
const TEST_PAIR: (&str, &str) = ("x_test", "y_test");

pub(crate) fn read_npy(source: &str, bytes: &[u8]) -> Result<Table, DataError> {
    let matrix = read_array(source, "the array", "npy", bytes)?;
    let notes = vec![format!("{source}: array of {} rows x {} columns", matrix.rows, matrix.cols)];
    let (body, targets) = (Body::Numbers(matrix), KnownTargets::Unknown);
    Ok(Table { source: source.to_owned(), header: None, body, targets, held_out: None, notes })
}

pub(crate) fn read_npz(source: &str, bytes: Vec<u8>) -> Result<Table, DataError> {
    let corrupt = |reason: String| DataError::Corrupt {
        file: source.to_owned(),
        format: "npz",
        reason: one_line(reason),
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| corrupt(e.to_string()))?;
    let mut names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned())).collect();
    names.sort_unstable();
    let key = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned();
    let Some((x_key, y_name)) = PAIRS.iter().find_map(|(x, y)| Some((key(x)?, *y))) else {
        return Err(DataError::UnknownKeys { file: source.to_owned(), keys: name_list(&names) });
    };
    let mut fetch = |name: &str| {
        let mut entry = Vec::new();
        let mut file =
            archive.by_name(&format!("{name}.npy")).map_err(|e| corrupt(format!("array '{name}': {e}")))?;
        file.read_to_end(&mut entry).map_err(|e| corrupt(format!("array '{name}': {e}")))?;
        read_array(source, &format!("'{name}'"), "npz", &entry)
    };
    let x = fetch(&x_key)?;
    let mut notes = vec![format!("{source}: features '{x_key}', {} rows x {} columns", x.rows, x.cols)];
    let Some(y_key) = key(y_name) else {
        let targets = KnownTargets::Absent(format!("add the array '{y_name}' beside '{x_key}'"));
        return Ok(Table {
            source: source.to_owned(),
            header: None,
            body: Body::Numbers(x),
            targets,
            held_out: None,
            notes,
        });
    };
    let y = fetch(&y_key)?;
    notes.push(format!("target '{y_key}'"));
    let outputs = y.cols;
    let mut joined = join(source, &x, &y)?;
    let mut held_out = None;
    if let (true, Some(x_key), Some(y_key)) = (y_name == PAIRS[0].1, key(TEST_PAIR.0), key(TEST_PAIR.1)) {
        let (x_test, y_test) = (fetch(&x_key)?, fetch(&y_key)?);
        if (x_test.cols, y_test.cols) != (x.cols, outputs) {
            let reason = format!(
                "'{x_key}' and '{y_key}' have {} + {} columns, the training arrays {} + {outputs}",
                x_test.cols, y_test.cols, x.cols
            );
            return Err(DataError::Shape { name: source.to_owned(), reason });
        }
        notes.push(format!("test part '{x_key}', {} rows", x_test.rows));
        held_out = Some(x.rows);
        let test = join(source, &x_test, &y_test)?;
        joined.values.extend(test.values);
        joined.rows += test.rows;
    }
    let (body, targets) = (Body::Numbers(joined), KnownTargets::Last { count: outputs, classes: false });
    Ok(Table { source: source.to_owned(), header: None, body, targets, held_out, notes })
}

/// The columns of `x`, then those of `y`.
pub(crate) fn join(source: &str, x: &Matrix, y: &Matrix) -> Result<Matrix, DataError> {
    if x.rows != y.rows {
        return Err(DataError::RowMismatch { file: source.to_owned(), features: x.rows, labels: y.rows });
    }
    let mut values = Vec::with_capacity(x.values.len() + y.values.len());
    for row in 0..x.rows {
        values.extend_from_slice(x.row(row));
        values.extend_from_slice(y.row(row));
    }
    Ok(Matrix { values, rows: x.rows, cols: x.cols + y.cols })
}

/// One array as rows of f32, all finite.
fn read_array(source: &str, array: &str, format: &'static str, bytes: &[u8]) -> Result<Matrix, DataError> {
    let corrupt =
        |reason: String| DataError::Corrupt { file: source.to_owned(), format, reason: one_line(reason) };
    let unsupported = |what: String, remedy: &str| {
        let (file, remedy) = (source.to_owned(), remedy.to_owned());
        DataError::Unsupported { file, what: format!("{array} {what}"), remedy }
    };
    check_header(bytes).map_err(|reason| corrupt(format!("{array}: {reason}")))?;
    let file = NpyFile::new(bytes).map_err(|e| corrupt(format!("{array}: {e}")))?;
    let (dtype, order) = (file.dtype(), file.order());
    let shape: Vec<usize> = file.shape().iter().map(|d| usize::try_from(*d).unwrap_or(usize::MAX)).collect();
    let strides: Vec<usize> =
        file.strides().iter().map(|s| usize::try_from(*s).unwrap_or(usize::MAX)).collect();
    let DType::Plain(scalar) = dtype else {
        return Err(unsupported("of a structured type".to_owned(), "save a plain array of numbers"));
    };
    let Some(rows) = shape.first().copied() else {
        return Err(unsupported("without dimensions".to_owned(), "save a matrix with one row a sample"));
    };
    // check_header has seen that these products fit.
    let (total, cols) = (shape.iter().product::<usize>(), shape[1..].iter().product::<usize>());
    if total == 0 {
        let reason = format!("{array} has shape {shape:?}; it needs at least one row and one column");
        return Err(DataError::Shape { name: source.to_owned(), reason });
    }
    let data = file.into_inner();
    let needed = scalar.num_bytes().and_then(|size| size.checked_mul(total));
    if needed.is_none_or(|needed| data.len() < needed) && !scalar.uses_pickled_array() {
        let reason = format!(
            "{array}: shape {shape:?} of type {scalar} needs more than the {} bytes that follow",
            data.len()
        );
        return Err(corrupt(reason));
    }
    let file = || NpyFile::new(bytes);
    let numbers: std::io::Result<Vec<f64>> = match (scalar.type_char(), scalar.size_field()) {
        (TypeChar::Float, 4) => file().and_then(|f| f.into_vec::<f32>()).map(widen),
        (TypeChar::Float, 8) => file().and_then(|f| f.into_vec::<f64>()),
        (TypeChar::Int, 1) => file().and_then(|f| f.into_vec::<i8>()).map(widen),
        (TypeChar::Int, 2) => file().and_then(|f| f.into_vec::<i16>()).map(widen),
        (TypeChar::Int, 4) => file().and_then(|f| f.into_vec::<i32>()).map(widen),
        (TypeChar::Int, 8) => {
            file().and_then(|f| f.into_vec::<i64>()).map(|v| v.into_iter().map(|i| i as f64).collect())
        }
        (TypeChar::Uint, 1) => file().and_then(|f| f.into_vec::<u8>()).map(widen),
        (TypeChar::Uint, 2) => file().and_then(|f| f.into_vec::<u16>()).map(widen),
        (TypeChar::Uint, 4) => file().and_then(|f| f.into_vec::<u32>()).map(widen),
        (TypeChar::Uint, 8) => {
            file().and_then(|f| f.into_vec::<u64>()).map(|v| v.into_iter().map(|i| i as f64).collect())
        }
        (TypeChar::Bool, 1) => file().and_then(|f| f.into_vec::<bool>()).map(widen),
        (TypeChar::UnicodeStr | TypeChar::ByteStr | TypeChar::Object, _) => {
            return Err(unsupported(
                format!("of type {scalar}"),
                "save labels as integers: numpy.unique(y, return_inverse=True)[1]",
            ));
        }
        _ => {
            return Err(unsupported(
                format!("of type {scalar}"),
                "save it as numbers: array.astype(numpy.float32)",
            ));
        }
    };
    let numbers = numbers.map_err(|e| corrupt(format!("{array}: {e}")))?;
    let mut values = Vec::with_capacity(total);
    for index in 0..total {
        let value = numbers.get(place(index, order, &shape, &strides)).copied().unwrap_or(f64::NAN);
        if !(value as f32).is_finite() {
            let (file, array, row, column) =
                (source.to_owned(), array.to_owned(), index / cols, index % cols);
            return Err(DataError::NotFiniteArray { file, array, row, column, value });
        }
        values.push(value as f32);
    }
    Ok(Matrix { values, rows, cols })
}

/// Where element `index` (counted in C order) lies in the file.
fn place(index: usize, order: Order, shape: &[usize], strides: &[usize]) -> usize {
    if order == Order::C {
        return index;
    }
    let (mut rest, mut place) = (index, 0);
    for (size, stride) in shape.iter().zip(strides).rev() {
        place += rest % size * stride;
        rest /= size;
    }
    place
}

fn widen<T: Into<f64>>(values: Vec<T>) -> Vec<f64> {
    values.into_iter().map(Into::into).collect()
}

/// Refuses headers that `npyz` would multiply past u64, recurse into too deeply, or allocate for beyond the file.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let byte = |at: usize| bytes.get(at).map(|b| *b as usize).ok_or("the header is cut short");
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("it does not start with the npy mark".to_owned());
    }
    let (start, length) = match byte(6)? {
        1 => (10, byte(8)? | byte(9)? << 8),
        _ => (12, byte(8)? | byte(9)? << 8 | byte(10)? << 16 | byte(11)? << 24),
    };
    let header = bytes.get(start..start + length).ok_or("the header is cut short")?;
    let (mut depth, mut product) = (0u32, 1u64);
    for byte in header {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 16 {
            return Err("the header is nested too deeply".to_owned());
        }
    }
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    for token in header.split(|b| !word(b)).filter(|token| token.first().is_some_and(u8::is_ascii_digit)) {
        let number = std::str::from_utf8(token).ok().and_then(|t| t.parse::<u64>().ok());
        let fits = number.and_then(|number| product.checked_mul(number.max(1))).filter(|p| *p < 1 << 48);
        product =
            fits.ok_or_else(|| format!("the header has the number {}", String::from_utf8_lossy(token)))?;
    }
    Ok(())
}
