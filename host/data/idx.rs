//! IDX, the format of MNIST: `00 00 TYPE DIMS`, the sizes as big-endian u32, then the values, big-endian.
//!
//! `train-images-idx3-ubyte` is read together with `train-labels-idx1-ubyte` beside it (each with or without `.gz`); a folder with
//! `train-*` and `t10k-*` (or `test-*`) files gives both parts. Bytes are scaled to 0..1.

use std::path::{Path, PathBuf};

use super::numpy::join;
use super::table::{Body, KnownTargets, Table};
use super::{DataError, Matrix};

/// Whether the bytes begin as an IDX file does.
pub(crate) fn is_idx(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, kind, 1..=8, ..] if size_of_kind(*kind).is_some())
}

fn size_of_kind(kind: u8) -> Option<usize> {
    match kind {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c | 0x0d => Some(4),
        0x0e => Some(8),
        _ => None,
    }
}

pub(crate) fn read(source: &str, path: &Path, bytes: &[u8]) -> Result<Table, DataError> {
    let (images, dims) = parse(source, bytes, true)?;
    if dims == 1 {
        let (what, remedy) = (
            "a file of labels alone".to_owned(),
            "give the file of the images, the labels beside it are found".to_owned(),
        );
        return Err(DataError::Unsupported { file: source.to_owned(), what, remedy });
    }
    let notes = vec![format!("{source}: IDX, {} rows x {} columns", images.rows, images.cols)];
    let table = |matrix, targets, notes| Table {
        source: source.to_owned(),
        header: None,
        body: Body::Numbers(matrix),
        targets,
        held_out: None,
        notes,
    };
    let (found, expected) = labels_beside(path);
    match found {
        Some(path) => {
            let labels = read_labels(&path)?;
            let note = format!("labels from {}", path.display());
            let joined = join(source, &images, &labels)?;
            Ok(table(joined, KnownTargets::Last { count: 1, classes: true }, [notes, vec![note]].concat()))
        }
        None => Ok(table(images, KnownTargets::Absent(format!("put the labels at {expected}")), notes)),
    }
}

/// A folder with the files of a training part and perhaps a test part.
pub(crate) fn read_folder(source: &str, folder: &Path) -> Result<Table, DataError> {
    let io = |error| DataError::Io { file: source.to_owned(), source: error };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        files.push(entry.map_err(io)?.path());
    }
    files.sort_unstable();
    let images = |part: &str| {
        let start = format!("{part}-images");
        files.iter().find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&start)))
    };
    let Some(train) = images("train") else {
        let (file, what) = (source.to_owned(), "a folder without a file train-images-idx3-ubyte".to_owned());
        return Err(DataError::Unsupported {
            file,
            what,
            remedy: "give a file, or a folder in the manner of MNIST".to_owned(),
        });
    };
    let part = |path: &Path| {
        let source = path.display().to_string();
        read(&source, path, &super::read_plain(path)?)
    };
    let mut table = part(train)?;
    if let Some(test) = images("t10k").or_else(|| images("test")) {
        let test = part(test)?;
        if let (Body::Numbers(all), Body::Numbers(more), KnownTargets::Last { .. }) =
            (&mut table.body, test.body, &test.targets)
        {
            if all.cols != more.cols {
                let reason =
                    format!("{} has {} columns, the training part {}", test.source, more.cols, all.cols);
                return Err(DataError::Shape { name: source.to_owned(), reason });
            }
            table.held_out = Some(all.rows);
            all.rows += more.rows;
            all.values.extend(more.values);
            table.notes.extend(test.notes);
        }
    }
    table.source = source.to_owned();
    Ok(table)
}

/// The file of labels that belongs to a file of images, and the name it should have.
fn labels_beside(path: &Path) -> (Option<PathBuf>, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let labels = name
        .replace("images", "labels")
        .replace("idx3", "idx1")
        .replace("idx2", "idx1")
        .replace("idx4", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels).to_owned();
    let expected = path.with_file_name(&labels);
    if labels == name {
        return (
            None,
            format!("a file named with 'labels' where the file of features is named with 'images' ({name})"),
        );
    }
    let candidates =
        [expected.clone(), path.with_file_name(&plain), path.with_file_name(format!("{plain}.gz"))];
    (candidates.into_iter().find(|c| c.is_file()), expected.display().to_string())
}

fn read_labels(path: &Path) -> Result<Matrix, DataError> {
    let source = path.display().to_string();
    let (labels, dims) = parse(&source, &super::read_plain(path)?, false)?;
    if dims == 1 {
        return Ok(labels);
    }
    let reason = format!("labels have one dimension, this has {dims}");
    Err(DataError::Corrupt { file: source, format: "IDX", reason })
}

/// The values as rows, and the number of dimensions.
fn parse(source: &str, bytes: &[u8], scale_bytes: bool) -> Result<(Matrix, usize), DataError> {
    let corrupt = |reason: String| DataError::Corrupt { file: source.to_owned(), format: "IDX", reason };
    let &[0, 0, kind, dims @ 1..=8, ref rest @ ..] = bytes else {
        let start = &bytes[..bytes.len().min(4)];
        return Err(corrupt(format!(
            "it starts with {start:02x?}, an IDX file with 00 00, a type and a number of dimensions"
        )));
    };
    let size = size_of_kind(kind).ok_or_else(|| corrupt(format!("type {kind:#04x} is none of IDX")))?;
    let dims = dims as usize;
    let Some((sizes, data)) = rest.split_at_checked(dims * 4) else {
        return Err(corrupt("the header is cut short".to_owned()));
    };
    let sizes: Vec<usize> =
        sizes.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    let total = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let needed = total.and_then(|total| total.checked_mul(size));
    let (Some(total), true) = (total, needed == Some(data.len())) else {
        return Err(corrupt(format!(
            "sizes {sizes:?} of {size} bytes each do not make the {} bytes that follow",
            data.len()
        )));
    };
    if total == 0 {
        return Err(DataError::Empty { file: source.to_owned() });
    }
    let (rows, cols) = (sizes[0], sizes[1..].iter().product::<usize>());
    let scale = if kind == 0x08 && scale_bytes { 255.0 } else { 1.0 };
    let number = |b: &[u8]| -> f64 {
        match (kind, b) {
            (0x08, &[a]) => f64::from(a) / scale,
            (0x09, &[a]) => f64::from(a as i8),
            (0x0b, &[a, b]) => f64::from(i16::from_be_bytes([a, b])),
            (0x0c, &[a, b, c, d]) => f64::from(i32::from_be_bytes([a, b, c, d])),
            (0x0d, &[a, b, c, d]) => f64::from(f32::from_be_bytes([a, b, c, d])),
            (_, &[a, b, c, d, e, f, g, h]) => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => f64::NAN,
        }
    };
    let mut values = Vec::with_capacity(total);
    for (index, bytes) in data.chunks_exact(size).enumerate() {
        let value = number(bytes);
        if !(value as f32).is_finite() {
            let (file, array, row, column) =
                (source.to_owned(), "the data".to_owned(), index / cols, index % cols);
            return Err(DataError::NotFiniteArray { file, array, row, column, value });
        }
        values.push(value as f32);
    }
    Ok((Matrix { values, rows, cols }, dims))
}
