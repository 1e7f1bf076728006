//! A trained model meets a raw file.

use ironwarp::data::{self, ColumnTransform, LoadOptions, Target};

use super::*;

fn passengers(files: &Files) -> Preprocessing {
    let set = files.load("passengers.csv", PASSENGERS).unwrap().standardized().prepared().unwrap();
    let json = serde_json::to_string(&**set.preprocessing().unwrap()).unwrap();
    serde_json::from_str(&json).unwrap()
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
    let apply = |text: &str| apply(&model, &files.write("new.csv", text));
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
