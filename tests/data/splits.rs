//! Built-in data sets and their division.

use ironwarp::data::{self, Dataset, Matrix, Preprocessing, Scaling, Target, Task};
use proptest::prelude::*;

use super::*;

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
        assert!(low == 0.0 && (high - 1.0).abs() < 1e-6, "column {col}: {low} to {high}");
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
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

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
    // The same on every platform and in every version (computed apart, with integers of any size).
    assert_eq!(data::permutation(8, 7, 1), [7, 2, 1, 6, 0, 3, 5, 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn folds_test_every_row_once(folds in 2usize..12, seed: u64) {
        let set = data::builtin("wine").unwrap();
        let splits = set.folds(folds, seed).unwrap();
        prop_assert_eq!(splits.len(), folds);
        // Rows are told apart by their (raw) features.
        let raw = |rows: &Dataset| -> Vec<Vec<u32>> {
            (0..rows.rows()).map(|r| rows.features().row(r).iter().map(|x| x.to_bits()).collect()).collect()
        };
        let unscaled = set.clone().scaled(Scaling::None).folds(folds, seed).unwrap();
        let mut seen: Vec<Vec<u32>> = unscaled.iter().flat_map(|s| raw(&s.test)).collect();
        let mut all = raw(&set);
        seen.sort();
        all.sort();
        prop_assert_eq!(seen, all);
        for split in &splits {
            prop_assert_eq!(split.train.rows() + split.test.rows(), 178);
            for (count, of) in split.test.class_counts().into_iter().zip([59, 71, 48]) {
                prop_assert!(count == of / folds || count == of / folds + 1, "{count} of {of} in {folds} folds");
            }
        }
    }
}

#[test]
fn folds_that_cannot_be_made_say_so() {
    let iris = data::builtin("iris").unwrap();
    message(iris.folds(1, 7), &["iris", "1 folds", "such as 5"]);
    message(iris.folds(151, 7), &["151 folds of 150 rows"]);
}
