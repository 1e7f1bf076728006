//! Random and damaged files: every loader answers with a result.

use ironwarp::data::{self, LoadOptions};
use proptest::prelude::*;

use super::*;

/// Loads, prepares and splits; whatever happens must be a result, and a message must be one line.
fn survives(files: &Files, name: &str, bytes: &[u8]) {
    let path = files.write(name, bytes);
    let result = data::load(&path, &LoadOptions::default()).and_then(|set| {
        let split = set.clone().standardized().stratified_split(0.7, 1)?;
        assert!(split.train.features().values.iter().all(|v| v.is_finite()));
        assert!(split.test.features().values.iter().all(|v| v.is_finite()));
        split.preprocessing.apply(&data::read_table(&path, &LoadOptions::default())?)
    });
    if let Err(error) = result {
        let text = error.to_string();
        assert!(!text.contains('\n') && text.contains(name), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let files = Files::new();
        for name in ["r.csv", "r.npy", "r.npz", "r-images-idx3-ubyte", "r.csv.gz", "r"] {
            survives(&files, name, &bytes);
        }
        survives(&files, "m.npy", &[b"\x93NUMPY\x01\0", &bytes[..]].concat());
        survives(&files, "m.npz", &[b"PK\x03\x04", &bytes[..]].concat());
        survives(&files, "m.csv.gz", &[b"\x1f\x8b\x08\0", &bytes[..]].concat());
        survives(&files, "m-images-idx3-ubyte", &[b"\0\0\x08\x03", &bytes[..]].concat());
    }

    #[test]
    fn random_tables_never_panic(text in "([0-9a-c.?\"e -]{0,4}[,;\t\n]){0,60}") {
        survives(&Files::new(), "t.csv", text.as_bytes());
    }

    #[test]
    fn damaged_files_never_panic(cut in 0.0f64..1.0, flips in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..6)) {
        let values: Vec<f32> = (0..30).map(|v| (v * 7 % 11) as f32).collect();
        let array = npy(&[10, 3], &values);
        let files = Files::new();
        files.write("d-labels-idx1-ubyte", idx(&[4], &[0, 1, 0, 1]));
        for (name, good) in [
            ("d.npy", array.clone()),
            ("d.npz", npz(&[("X", array), ("y", npy(&[10], &[0i32, 1, 0, 1, 0, 1, 0, 1, 0, 1]))])),
            ("d-images-idx3-ubyte", idx(&[4, 2, 2], &[9; 16])),
            ("d.csv", PASSENGERS.as_bytes().to_vec()),
            ("d.csv.gz", gzip(PASSENGERS.as_bytes())),
        ] {
            let mut damaged = good[..(good.len() as f64 * cut) as usize].to_vec();
            survives(&files, name, &damaged);
            damaged = good;
            let length = damaged.len() as f64;
            flips.iter().for_each(|(place, byte)| damaged[(length * place) as usize] = *byte);
            survives(&files, name, &damaged);
        }
    }
}
