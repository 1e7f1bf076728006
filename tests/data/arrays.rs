//! NumPy and IDX files.

use ironwarp::data::{self, LoadOptions, Matrix};

use super::*;

#[test]
fn npy_in_all_number_types_and_orders() {
    let files = Files::new();
    let expected = Matrix::new(vec![1., 2., 4., 5.], 2, 2).unwrap();
    let check = |name: &str, bytes: Vec<u8>| {
        let set = files.load("a.npy", bytes).unwrap();
        assert_eq!((set.features(), set.labels()), (&expected, Some(&[0, 1][..])), "{name}");
    };
    check("f32", npy(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]));
    check("f64", npy(&[2, 3], &[1f64, 2., 3., 4., 5., 6.]));
    check("i8", npy(&[2, 3], &[1i8, 2, 3, 4, 5, 6]));
    check("i16", npy(&[2, 3], &[1i16, 2, 3, 4, 5, 6]));
    check("i32", npy(&[2, 3], &[1i32, 2, 3, 4, 5, 6]));
    check("i64", npy(&[2, 3], &[1i64, 2, 3, 4, 5, 6]));
    check("u8", npy(&[2, 3], &[1u8, 2, 3, 4, 5, 6]));
    check("u64", npy(&[2, 3], &[1u64, 2, 3, 4, 5, 6]));
    check("gz", gzip(&npy(&[2, 3], &[1f32, 2., 3., 4., 5., 6.])));
    check("fortran", npy_in(npyz::Order::Fortran, &[2, 3], &[1f32, 4., 2., 5., 3., 6.]));
}

#[test]
fn npz_pairs_and_its_own_split() {
    let files = Files::new();
    let x: Vec<f32> = (0..24).map(|v| v as f32 * 0.5).collect();
    for (a, b) in [("X", "y"), ("x", "Y"), ("features", "labels"), ("data", "target"), ("arr_0", "arr_1")] {
        let set =
            files.load("a.npz", npz(&[(a, npy(&[4, 2, 3], &x)), (b, npy(&[4], &[7i64, 3, 7, 3]))])).unwrap();
        assert_eq!((set.features().values.as_slice(), set.features().cols), (x.as_slice(), 6));
        assert_eq!(
            (set.classes(), set.labels()),
            (&["3".to_owned(), "7".to_owned()][..], Some(&[1, 0, 1, 0][..]))
        );
    }
    // Fortran order in three dimensions: element (r, i, j) lies at r + 4 i + 8 j.
    let mut fortran = x.clone();
    for (r, i, j) in (0..24).map(|n| (n / 6, n / 3 % 2, n % 3)) {
        fortran[r + 4 * i + 8 * j] = x[r * 6 + i * 3 + j];
    }
    let arrays = [("X", npy_in(npyz::Order::Fortran, &[4, 2, 3], &fortran)), ("y", npy(&[4, 2], &x[..8]))];
    let set = files.load("a.npz", npz(&arrays)).unwrap();
    assert_eq!((&set.features().values, set.outputs(), set.values()), (&x, 2, Some(&x[..8])));

    let train = [("x_train", npy(&[3, 2], &x[..6])), ("y_train", npy(&[3], &[0u8, 1, 0]))];
    let test = [("x_test", npy(&[2, 2], &x[6..10])), ("y_test", npy(&[2], &[1u8, 1]))];
    let set = files.load("s.npz", npz(&[train.clone(), test].concat())).unwrap();
    let split = set.own_split().unwrap().unwrap();
    assert_eq!(
        (split.train.features().values.as_slice(), split.train.labels()),
        (&x[..6], Some(&[0, 1, 0][..]))
    );
    assert_eq!(
        (split.test.features().values.as_slice(), split.test.labels()),
        (&x[6..10], Some(&[1, 1][..]))
    );
    assert!(!files.load("t.npz", npz(&train)).unwrap().has_own_split());
    // A model takes the arrays with and without the target.
    let path = files.write("x.npz", npz(&[("X", npy(&[5, 2], &x[..10]))]));
    assert_eq!(apply(&split.preprocessing, &path).unwrap().features().values, x[..10]);
    let path = files.write("x.npy", npy(&[2, 3], &[9f32, 8., 1., 7., 6., 0.]));
    let applied = apply(&split.preprocessing, &path).unwrap();
    assert_eq!(
        (applied.features().values.as_slice(), applied.labels()),
        (&[9., 8., 7., 6.][..], Some(&[1, 0][..]))
    );
}

#[test]
fn broken_arrays_are_explained() {
    let files = Files::new();
    let good = npy(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]);
    message(
        files.load("n.npy", npy(&[2, 3], &[1f32, 2., 3., 4., f32::NAN, 6.])),
        &["n.npy", "row 1", "column 1", "NaN"],
    );
    message(
        files.load("n.npy", npy(&[2, 3], &[1f64, 2., 1e300, 4., 5., 6.])),
        &["n.npy", "row 0", "column 2", "from 0"],
    );
    message(files.load("t.npy", &good[..good.len() - 1]), &["t.npy", "23 bytes"]);
    message(files.load("t.npy", &good[..30]), &["t.npy", "header", "cut short"]);
    message(files.load("m.npy", b"something else"), &["m.npy", "npy"]);
    message(files.load("z.npy", npy::<f32>(&[0, 3], &[])), &["z.npy", "[0, 3]"]);
    message(files.load("s.npy", npy::<f32>(&[], &[1.0])), &["s.npy", "dimensions"]);
    message(
        files.load("k.npz", npz(&[("weights", good.clone()), ("bias", good.clone())])),
        &["k.npz", "'bias', 'weights'", "X/y"],
    );
    message(files.load("y.npz", npz(&[("X", good.clone())])), &["y.npz", "'y'"]);
    let rows = npz(&[("X", good.clone()), ("y", npy(&[3], &[1i32, 2, 3]))]);
    message(files.load("r.npz", rows.clone()), &["r.npz", "2 rows of features", "3 of labels"]);
    message(files.load("c.npz", &rows[..rows.len() / 2]), &["c.npz", "npz"]);
    let header =
        |dict: &str| [b"\x93NUMPY\x01\0", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes()].concat();
    let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}\n";
    message(files.load("h.npy", header(huge)), &["h.npy", "4294967296"]);
    let deep = format!("{{'descr': {}", "[".repeat(5000));
    message(files.load("h.npy", header(&deep)), &["h.npy", "nested"]);
    let text = "{'descr': '<U3', 'fortran_order': False, 'shape': (1, 2)}\n";
    message(files.load("u.npy", [header(text), vec![0; 24]].concat()), &["u.npy", "<U3", "numpy.unique"]);
}

#[test]
fn idx_images_find_their_labels() {
    let files = Files::new();
    let pixels: Vec<u8> = (0..36).map(|p| p * 7).collect();
    let images = files.write("train-images-idx3-ubyte", idx(&[4, 3, 3], &pixels));
    files.write("train-labels-idx1-ubyte.gz", gzip(&idx(&[4], &[5, 0, 5, 9])));
    let set = data::load(&images, &LoadOptions::default()).unwrap();
    assert_eq!((set.rows(), set.features().cols, set.labels()), (4, 9, Some(&[1, 0, 1, 2][..])));
    assert!(set.features().values.iter().zip(&pixels).all(|(v, p)| *v == *p as f32 / 255.0));
    files.write("t10k-images-idx3-ubyte.gz", gzip(&idx(&[2, 3, 3], &pixels[..18])));
    files.write("t10k-labels-idx1-ubyte", idx(&[2], &[9, 0]));
    let split = data::load(files.0.path(), &LoadOptions::default()).unwrap().own_split().unwrap().unwrap();
    assert_eq!((split.train.rows(), split.test.rows(), split.test.labels()), (4, 2, Some(&[2, 0][..])));
    assert_eq!(split.test.features().row(1), split.train.features().row(1));
}

#[test]
fn broken_idx_files_are_explained() {
    let files = Files::new();
    let images = idx(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    message(files.load("a-images-idx3-ubyte", &images), &["a-images-idx3-ubyte", "a-labels-idx1-ubyte"]);
    message(
        files.load("b-images-idx3-ubyte", &images[..17]),
        &["b-images-idx3-ubyte", "[2, 2, 2]", "1 bytes that"],
    );
    message(files.load("b-images-idx3-ubyte", &images[..9]), &["b-images-idx3-ubyte", "cut short"]);
    message(
        files.load("c-images-idx3-ubyte", b"\x01\x02\x03\x04\x05"),
        &["c-images-idx3-ubyte", "[01, 02, 03, 04]"],
    );
    files.write("a-labels-idx1-ubyte", idx(&[3], &[0, 1, 0]));
    message(
        files.load("a-images-idx3-ubyte", &images),
        &["a-images-idx3-ubyte", "2 rows of features", "3 of labels"],
    );
    message(files.load("a-labels-idx1-ubyte", idx(&[3], &[0, 1, 0])), &["a-labels-idx1-ubyte", "images"]);
    message(files.load("z-images-idx3-ubyte", idx(&[0, 2, 2], &[])), &["z-images-idx3-ubyte", "empty"]);
    message(data::load(files.0.path(), &LoadOptions::default()), &["train-images"]);
    let huge = [&[0, 0, 8, 4][..], &[0xff; 16], &[1, 2]].concat();
    message(files.load("h-images-idx4-ubyte", huge), &["h-images-idx4-ubyte", "2 bytes"]);
}
