//! CSV: what is found out, what is reported, what is refused.

use ironwarp::data::{self, LoadOptions, TargetSpec, Task};

use super::*;

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
    message(files.load("m.csv", "a,b,y\n1,,u\n3,NaN,v\n4,?,v\n5,null,u\n"), &["m.csv", "'b'", "4 rows"]);
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
