//! Built-in data sets, loaders, splits and preparation, through the public interface.

use std::io::Write;
use std::path::{Path, PathBuf};

use ironwarp::data::{
    self, ColumnTransform, DataError, Dataset, LoadOptions, Matrix, Preprocessing, Scaling, Target,
    TargetSpec, Task,
};
use proptest::prelude::*;
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
    let mut writer = npyz::npz::NpzWriter::new(std::io::Cursor::new(Vec::new()));
    let zip = writer.zip_writer();
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), Default::default()).unwrap();
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

// ---- built in ----

#[test]
fn built_in_sets_have_their_shapes() {
    let shapes = [
        ("digits", 1797, 64, vec![178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        ("iris", 150, 4, vec![50, 50, 50]),
        ("wine", 178, 13, vec![59, 71, 48]),
        ("breast_cancer", 569, 30, vec![357, 212]),
        ("diabetes", 442, 10, vec![]),
    ];
    assert!(data::builtin_names().eq(shapes.iter().map(|s| s.0)));
    for (name, rows, cols, counts) in shapes {
        let set = data::builtin(name).unwrap();
        assert_eq!((set.rows(), set.features().cols, set.class_counts()), (rows, cols, counts), "{name}");
        assert!(set.features().values.iter().all(|v| v.is_finite()));
        assert_eq!(set.feature_names().len(), cols);
    }
    assert_eq!(data::builtin("breast_cancer").unwrap().classes(), ["benign", "malignant"]);
    let diabetes = data::builtin("diabetes").unwrap();
    assert_eq!((diabetes.task(), diabetes.outputs()), (Some(Task::Regression), 1));
    let (mean, deviation) = mean_and_deviation(diabetes.values().unwrap().iter().copied());
    assert!((mean - 152.133).abs() < 1e-3 && (deviation - 77.005).abs() < 1e-3, "{mean} {deviation}");
    assert!(data::builtin("iris").unwrap().describe().contains("setosa (50)"));
}

#[test]
fn unknown_built_in_set_lists_the_names() {
    message(data::builtin("mnits"), &["'mnits'", "digits", "breast_cancer"]);
}

// ---- splits ----

#[test]
fn statistics_come_from_the_training_part_only() {
    let split = data::builtin("wine").unwrap().standardized().stratified_split(0.8, 7).unwrap();
    for col in 0..13 {
        let (mean, deviation) = mean_and_deviation(split.train.features().column(col));
        assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5, "column {col}: {mean} {deviation}");
    }
    let test: Vec<f64> = (0..13).map(|c| mean_and_deviation(split.test.features().column(c)).0).collect();
    assert!(
        test.iter().any(|mean| mean.abs() > 0.02),
        "the test part was used for its own statistics: {test:?}"
    );
    assert!(std::sync::Arc::ptr_eq(split.test.preprocessing().unwrap(), &split.preprocessing));

    let split = data::builtin("wine").unwrap().min_max().stratified_split(0.8, 7).unwrap();
    for col in 0..13 {
        let low = split.train.features().column(col).fold(f32::MAX, f32::min);
        let high = split.train.features().column(col).fold(f32::MIN, f32::max);
        assert_eq!((low, high), (0.0, 1.0));
    }
}

#[test]
fn regression_targets_are_scaled_and_restored() {
    let raw = data::builtin("diabetes").unwrap();
    let split = raw.clone().standardized().stratified_split(0.75, 3).unwrap();
    assert_eq!((split.train.rows(), split.test.rows()), (332, 110));
    let (mean, deviation) = mean_and_deviation(split.train.values().unwrap().iter().copied());
    assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5);
    let mut restored: Vec<f32> = [split.train.values().unwrap(), split.test.values().unwrap()].concat();
    split.preprocessing.restore_values(&mut restored);
    restored.sort_by(f32::total_cmp);
    let mut values = raw.values().unwrap().to_vec();
    values.sort_by(f32::total_cmp);
    values.iter().zip(&restored).for_each(|(a, b)| assert!((a - b).abs() < 1e-3, "{a} {b}"));
}

#[test]
fn impossible_splits_are_refused() {
    let iris = data::builtin("iris").unwrap();
    for fraction in [0.0, 1.0, -0.5, 80.0, f64::NAN, f64::INFINITY] {
        message(iris.stratified_split(fraction, 1), &["(0, 1)", "0.8"]);
        message(iris.validation_split(fraction, 1), &["(0, 1)"]);
    }
    let one = iris.subset(&[3]).unwrap();
    message(one.stratified_split(0.5, 1), &["iris", "1 rows"]);
    message(iris.subset(&[150]), &["iris", "150"]);
    assert_eq!(iris.subset(&[149, 0]).unwrap().labels().unwrap(), [2, 0]);
}

#[test]
fn validation_keeps_the_statistics_of_the_training_part() {
    let split = data::builtin("iris").unwrap().standardized().stratified_split(0.8, 1).unwrap();
    let (rest, validation) = split.train.validation_split(0.25, 1).unwrap();
    assert_eq!((rest.class_counts(), validation.class_counts()), (vec![30; 3], vec![10; 3]));
    assert_eq!(rest.preprocessing(), split.train.preprocessing());
    let mut rows: Vec<&[f32]> = (0..90).map(|r| rest.features().row(r)).collect();
    rows.extend((0..30).map(|r| validation.features().row(r)));
    let mut all: Vec<&[f32]> = (0..120).map(|r| split.train.features().row(r)).collect();
    let order = |a: &&[f32], b: &&[f32]| a.partial_cmp(b).unwrap();
    rows.sort_by(order);
    all.sort_by(order);
    assert_eq!(rows, all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn stratified_parts_keep_the_shares(
        labels in prop::collection::vec(0u32..4, 2..200), fraction in 0.05f64..0.95, seed: u64,
    ) {
        let rows = labels.len();
        // The feature is the row number, so that rows can be followed.
        let features = Matrix::new((0..rows).map(|r| r as f32).collect(), rows, 1).unwrap();
        let names = (0..4).map(|c| c.to_string()).collect();
        let set = Dataset::new("random", features, Target::Classes { labels, names }).unwrap();
        let counts = set.class_counts();
        let Ok(split) = set.stratified_split(fraction, seed) else {
            prop_assert!(counts.iter().all(|count| *count < 2));
            return Ok(());
        };
        for (class, count) in counts.iter().enumerate() {
            let (train, test) = (split.train.class_counts()[class], split.test.class_counts()[class]);
            prop_assert_eq!(train + test, *count);
            if *count >= 2 {
                prop_assert!(train >= 1 && test >= 1);
                let share = (train as f64 - *count as f64 * fraction).abs();
                prop_assert!(share <= 1.0, "{} of {}", train, count);
            }
        }
        let mut seen: Vec<f32> = [&split.train, &split.test].iter().flat_map(|p| p.features().values.clone()).collect();
        seen.sort_by(f32::total_cmp);
        prop_assert!(seen.into_iter().eq((0..rows).map(|r| r as f32)));
        let again = set.stratified_split(fraction, seed).unwrap();
        prop_assert_eq!(again.train, split.train);
        prop_assert_eq!(again.test, split.test);
    }

    #[test]
    fn preprocessing_survives_json(
        values in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO, 12..60),
        scaling in prop_oneof![Just(Scaling::None), Just(Scaling::Standard), Just(Scaling::MinMax)],
    ) {
        let rows = values.len() / 3;
        let features: Vec<f32> = values[..rows * 2].to_vec();
        let target = Target::Values { values: values[rows * 2..rows * 3].to_vec(), outputs: 1, names: vec!["y".into()] };
        let set = Dataset::new("random", Matrix::new(features, rows, 2).unwrap(), target).unwrap().scaled(scaling);
        let prepared = set.prepared().unwrap();
        prop_assert!(prepared.features().values.iter().chain(prepared.values().unwrap()).all(|v| v.is_finite()));
        let fitted: &Preprocessing = prepared.preprocessing().unwrap();
        let json = serde_json::to_string(fitted).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Preprocessing>(&json).unwrap(), fitted);
    }
}

#[test]
fn same_seed_same_split_and_other_seed_another() {
    let rows = |seed| {
        data::builtin("iris").unwrap().stratified_split(0.8, seed).unwrap().test.features().values.clone()
    };
    assert_eq!(rows(7), rows(7));
    assert_ne!(rows(7), rows(8));
    // The same on every platform and in every version.
    assert_eq!(data::permutation(8, 7, 1), PERMUTATION_8_7_1);
}
const PERMUTATION_8_7_1: [u32; 8] = [0, 0, 0, 0, 0, 0, 0, 0];

// ---- CSV ----

const PASSENGERS: &str = "age,sex,fare,port,survived\n22,male,7.25,S,no\n38,female,71.3,C,yes\n26,female,7.9,S,yes\n\
    ,male,8.05,,no\n35,male,NA,S,no\n54,male,51.9,Q,no\n2,male,21.1,S,no\n27,female,11.1,C,yes\n14,female,30.1,S,yes\n";

#[test]
fn categories_and_missing_values() {
    let set = Files::new().load("passengers.csv", PASSENGERS).unwrap();
    assert_eq!((set.classes(), set.class_counts()), (&["no".to_owned(), "yes".to_owned()][..], vec![5, 4]));
    let report = set.report().to_string();
    for part in [
        "9 rows x 5 columns",
        "header",
        "'sex': text, 2 categories",
        "'age': 1 of 9 values are missing",
        "'survived': classification",
    ] {
        assert!(report.contains(part), "no '{part}' in {report}");
    }
    let set = set.prepared().unwrap();
    assert_eq!(set.feature_names(), ["age", "sex=female", "sex=male", "fare", "port=C", "port=Q", "port=S"]);
    let mean = (22. + 38. + 26. + 35. + 54. + 2. + 27. + 14.) / 8.;
    assert_eq!(set.features().row(3), [mean, 0., 1., 8.05, 0., 0., 1.]);
    assert_eq!(set.features().row(1), [38., 1., 0., 71.3, 1., 0., 0.]);
    assert!(
        set.report()
            .to_string()
            .contains("'port': 1 missing filled with the most frequent value of the training rows, 'S'")
    );
}

#[test]
fn constant_column_is_kept_finite_and_reported() {
    let set = Files::new()
        .load("c.csv", "a,b,y\n0.1,1,u\n0.1,2,v\n0.1,4,u\n")
        .unwrap()
        .standardized()
        .prepared()
        .unwrap();
    assert!(set.features().column(0).all(|v| v == 0.0));
    assert!(set.report().to_string().contains("'a': the same value"));
}

#[test]
fn delimiters_headers_and_line_ends() {
    let files = Files::new();
    let plain = files.load("a.csv", "a,b,y\n1,2,u\n3,4,v\n").unwrap();
    for (name, text) in [
        ("semicolon.csv", "a;b;y\n1;2;u\n3;4;v\n"),
        ("tab.tsv", "a\tb\ty\n1\t2\tu\n3\t4\tv"),
        ("windows.csv", "\u{feff}a,b,y\r\n1,2,u\r\n3,4,v\r\n"),
        ("spaces.csv", "a , b, y\n\n 1,2 ,u\n   \n3, 4,v\n\n"),
        ("quotes.csv", "\"a\",b,\"y\"\n\"1\",2,\"u\"\n3,\"4\",v\n"),
    ] {
        let set = files.load(name, text).unwrap();
        assert_eq!(
            (set.features(), set.target(), set.feature_names()),
            (plain.features(), plain.target(), plain.feature_names()),
            "{name}"
        );
    }
    let packed =
        data::load(files.write("a.csv.gz", gzip(b"a,b,y\n1,2,u\n3,4,v\n")), &LoadOptions::default()).unwrap();
    assert_eq!(packed.target(), plain.target());
    let headless = files.load("h.csv", "1,2,u\n3,4,v\n").unwrap();
    assert_eq!(
        (headless.features(), headless.feature_names()),
        (plain.features(), &["x0".to_owned(), "x1".to_owned()][..])
    );
    let forced = LoadOptions { header: Some(true), delimiter: Some('|'), ..LoadOptions::default() };
    let forced = data::load(files.write("f.csv", "1|2|3\n1|2|0\n3|4|1\n"), &forced).unwrap();
    assert_eq!((forced.feature_names(), forced.target_name()), (&["1".to_owned(), "2".to_owned()][..], "3"));
}

#[test]
fn targets_by_name_index_and_task() {
    let files = Files::new();
    let path = files.write("t.csv", "kind,a,b\n0,1.5,10\n1,2.5,20\n1,3.5,30\n0,4.5,41\n");
    let load = |target: Option<TargetSpec>, task| {
        data::load(&path, &LoadOptions { target, task, ..LoadOptions::default() })
    };
    assert_eq!(load(None, None).unwrap().task(), Some(Task::Regression));
    for spec in [TargetSpec::from("kind"), TargetSpec::from(0), TargetSpec::from("0")] {
        let set = load(Some(spec), None).unwrap();
        assert_eq!((set.classes().len(), set.feature_names()), (2, &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(set.labels().unwrap(), [0, 1, 1, 0]);
    }
    assert_eq!(
        load(Some("kind".into()), Some(Task::Regression)).unwrap().values().unwrap(),
        [0., 1., 1., 0.]
    );
    assert_eq!(load(None, Some(Task::Classification)).unwrap().classes(), ["10", "20", "30", "41"]);
    message(load(Some("colour".into()), None), &["t.csv", "'colour'", "'kind', 'a', 'b'"]);
    message(load(Some(3.into()), None), &["t.csv", "3", "'kind'"]);
}

#[test]
fn number_classes_are_in_numeric_order_whatever_their_spelling() {
    let text = "a,y\n1,10\n2,9\n3,9.0\n4,10\n5,2\n6,02\n";
    assert_eq!(Files::new().load("n.csv", text).unwrap().classes(), ["2", "9", "10"]);
}

#[test]
fn broken_csv_files_are_explained() {
    let files = Files::new();
    message(
        data::load(files.path("no.csv"), &LoadOptions::default()),
        &["no.csv", "no such file", "'digits'"],
    );
    message(files.load("e.csv", ""), &["e.csv", "empty"]);
    message(files.load("e.csv", "\n  \n\n"), &["e.csv", "empty"]);
    message(files.load("h.csv", "a,b,c\n"), &["h.csv", "header"]);
    message(files.load("r.csv", "a,b,y\n1,2,u\n\n3,4\n5,6,v\n"), &["r.csv", "row 4", "2 cells", "3 are"]);
    message(files.load("r.csv", "a,b,y\r\n1,2,u\r\n3,4,v,9\r\n"), &["r.csv", "row 3", "4 cells"]);
    message(files.load("d.csv", "a,a,y\n1,2,u\n3,4,v\n"), &["d.csv", "'a'"]);
    message(
        files.load("t.csv", "a,b,y\n1,2,u\n3,4,v\n5,six,u\n7,8,v\n"),
        &["t.csv", "row 4", "'b'", "'six'"],
    );
    message(files.load("t.csv", "a,y\n1,2.5\n3,4.5\n5,x\n7,8.5\n"), &["t.csv", "row 4", "'y'", "'x'"]);
    message(
        files.load("i.csv", "a,b,y\n1,2,u\n3,-inf,v\n"),
        &["i.csv", "row 3", "'b'", "'-inf'", "infinite"],
    );
    message(files.load("i.csv", "a,b,y\n1,2,u\n3,1e39,v\n"), &["i.csv", "row 3", "'b'", "'1e39'"]);
    message(files.load("o.csv", "a,b,y\n1,2,u\n3,4,u\n"), &["o.csv", "'y'", "one class", "'u'"]);
    message(
        files.load("m.csv", "a,b,y\n1,,u\n3,NaN,v\n4,?,v\n5,null,u\n"),
        &["m.csv", "'b'", "3 rows".replace('3', "4").as_str()],
    );
    message(files.load("y.csv", "a,b,y\n1,2,u\n3,4,\n5,6,v\n"), &["y.csv", "row 3", "'y'", "missing"]);
    message(files.load("y.csv", "a,y\n1,2.5\n3,\n5,6.5\n"), &["y.csv", "row 3", "'y'", "missing"]);
    message(files.load("f.csv", "y\n1\n2\n3\n"), &["f.csv", "no feature"]);
    message(files.load("u.csv", b"a,y\n1,u\n2,\xff\n"), &["u.csv", "row 3", "UTF-8"]);
    message(files.load("z.csv", b"a,y\n1,u\n2,\0\n"), &["z.csv", "row 3", "zero byte"]);
    message(files.load("u.bin", b"\x01\0\x02"), &["u.bin", "unknown kind"]);
    message(files.load("g.csv.gz", &gzip(PASSENGERS.as_bytes())[..60]), &["g.csv.gz", "gzip", "cut short"]);
    let many: String = (0..2000).map(|i| format!("id{i},{i},{}\n", i % 2)).collect();
    message(files.load("c.csv", many), &["c.csv", "'x0'", "2000", "identifier"]);
    let with_break = files.load("q.csv", "a,y\n1,u\n2,\"v\nw\"\nthree,v\n4,u\n");
    message(with_break, &["row 5", "'three'"]);
}

#[test]
fn column_without_value_in_the_training_part_is_refused() {
    let set = Files::new().load("s.csv", "a,b,y\n1,,u\n2,,u\n3,,v\n4,7,v\n5,,u\n").unwrap();
    let outcomes: Vec<_> = (0..20).map(|seed| set.stratified_split(0.5, seed)).collect();
    assert!(outcomes.iter().any(Result::is_ok));
    let failed = outcomes.into_iter().find(Result::is_err).expect("row 4 is held out for some seed");
    message(failed.map(|s| s.train.rows()), &["s.csv", "'b'", "remove the column"]);
}

// ---- a model meets a raw file ----

fn passengers(files: &Files) -> Preprocessing {
    let set = files.load("passengers.csv", PASSENGERS).unwrap().standardized().prepared().unwrap();
    let json = serde_json::to_string(&**set.preprocessing().unwrap()).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn apply(model: &Preprocessing, path: &Path) -> Result<Dataset, DataError> {
    model.apply(&data::read_table(path, &LoadOptions::default())?)
}

#[test]
fn raw_files_are_prepared_as_in_training() {
    let files = Files::new();
    let model = passengers(&files);
    let trained = files.load("passengers.csv", PASSENGERS).unwrap().standardized().prepared().unwrap();
    let applied = apply(&model, &files.path("passengers.csv")).unwrap();
    assert_eq!((applied.features(), applied.target()), (trained.features(), trained.target()));
    // Another order, one column more, no target, a category of its own, all ports numbers.
    let path = files.write("new.csv", "fare,note,port,age,sex\n7.25,x,S,22,male\n8.05,y,7,,female\n");
    let new = apply(&model, &path).unwrap();
    assert_eq!(new.features().row(0), trained.features().row(0));
    assert_eq!(
        new.features().row(1),
        [trained.features().row(3)[0], 1., 0., trained.features().row(3)[3], 0., 0., 0.]
    );
    assert_eq!((new.target(), new.task()), (&Target::None, None));
    assert!(new.report().to_string().contains("'port': 1 rows of categories that training did not have"));
    // Without header: by position, with and without the target.
    let path = files.write("bare.csv", "22,male,7.25,S\n38,female,71.3,C\n");
    assert_eq!(apply(&model, &path).unwrap().features().row(0), trained.features().row(0));
    let path = files.write("bare.csv", "22,male,7.25,S,no\n38,female,71.3,C,yes\n");
    let bare = apply(&model, &path).unwrap();
    assert_eq!((bare.features().row(1), bare.labels()), (trained.features().row(1), Some(&[0, 1][..])));
}

#[test]
fn files_that_do_not_fit_the_model_are_explained() {
    let files = Files::new();
    let model = passengers(&files);
    let mut apply = |text: &str| apply(&model, &files.write("new.csv", text));
    message(apply("age,fare,port\n22,7,S\n"), &["new.csv", "'sex'", "missing", "'port'"]);
    message(apply("22,male,7.25\n38,female,71.3\n"), &["new.csv", "3 columns", "expects 4", "'fare'"]);
    message(apply("age,sex,fare,port\n22,male,7,S\nold,male,7,S\n"), &["new.csv", "row 3", "'age'", "'old'"]);
    message(apply("age,sex,fare,port\n22,male,inf,S\n"), &["new.csv", "row 2", "'fare'", "'inf'"]);
    let class = "age,sex,fare,port,survived\n22,male,7,S,no\n22,male,7,S,maybe\n";
    message(apply(class), &["new.csv", "row 3", "'survived'", "'maybe'", "'no', 'yes'"]);
    message(
        apply("age,sex,fare,port,survived\n22,male,7,S,\n"),
        &["new.csv", "row 2", "'survived'", "missing"],
    );
    let table = data::read_table(files.write("new.csv", class), &LoadOptions::default()).unwrap();
    assert_eq!(model.apply_features(&table).unwrap().rows(), 2);
}

#[test]
fn target_in_the_middle_is_found_without_header() {
    let files = Files::new();
    let options = LoadOptions { target: Some(1.into()), ..LoadOptions::default() };
    let set = data::load(files.write("m.csv", "1,u,5\n2,v,6\n3,u,7\n"), &options)
        .unwrap()
        .min_max()
        .prepared()
        .unwrap();
    let model = set.preprocessing().unwrap();
    let with = apply(model, &files.write("n.csv", "3,v,5\n")).unwrap();
    assert_eq!((with.features().values.as_slice(), with.labels()), (&[1.0, 0.0][..], Some(&[1][..])));
    let without = apply(model, &files.write("n.csv", "3,5\n")).unwrap();
    assert_eq!((without.features().values.as_slice(), without.labels()), (&[1.0, 0.0][..], None));
    assert!(
        matches!(&model.columns[0], ColumnTransform::Number { offset, scale, .. } if (*offset, *scale) == (1.0, 2.0))
    );
}

// ---- arrays ----

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

// ---- IDX ----

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

// ---- anything at all ----

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
    #![proptest_config(ProptestConfig::with_cases(256))]

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
