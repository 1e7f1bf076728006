//! Built-in data sets, loaders, splits and preparation, through the public interface. One module for each subject; here what they
//! share: files in a folder of their own, writers of each format, a check of error messages.

mod anything;
mod arrays;
mod csv;
mod model;
mod splits;

use std::io::Write;
use std::path::{Path, PathBuf};

use ironwarp::data::{self, DataError, Dataset, LoadOptions, Preprocessing};
use tempfile::TempDir;

/// A folder for the files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn load(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<Dataset, DataError> {
        data::load(self.write(name, bytes), &LoadOptions::default())
    }
}

/// The message of the error, which must be one line and name each of `parts`.
#[track_caller]
fn message<T: std::fmt::Debug>(result: Result<T, DataError>, parts: &[&str]) -> String {
    let text = result.expect_err("an error").to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    parts.iter().for_each(|part| assert!(text.contains(part), "no '{part}' in: {text}"));
    text
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T]) -> Vec<u8> {
    npy_in(npyz::Order::C, shape, values)
}

fn npy_in<T: npyz::AutoSerialize + Copy>(order: npyz::Order, shape: &[u64], values: &[T]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .order(order)
        .shape(shape)
        .writer(&mut bytes)
        .begin_nd()
        .unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn mean_and_deviation(column: impl Iterator<Item = f32>) -> (f64, f64) {
    let values: Vec<f64> = column.map(f64::from).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
}

const PASSENGERS: &str = "age,sex,fare,port,survived\n22,male,7.25,S,no\n38,female,71.3,C,yes\n26,female,7.9,S,yes\n\
    ,male,8.05,,no\n35,male,NA,S,no\n54,male,51.9,Q,no\n2,male,21.1,S,no\n27,female,11.1,C,yes\n14,female,30.1,S,yes\n";

/// Reads a file and prepares it as the model was.
fn apply(model: &Preprocessing, path: &Path) -> Result<Dataset, DataError> {
    model.apply(&data::read_table(path, &LoadOptions::default())?)
}
