//! Files: what is kept, and what is refused without being touched.

use std::fs;
use std::path::{Path, PathBuf};

use ironwarp::search::space::{Domain, Parameter, Space};
use ironwarp::search::study::{Budget, Identity, Study};
use ironwarp::search::{Goal, SearchError, Setting};

use crate::{identity, objective, resume, setting, temp, trials, worker};

/// A study of a few trials in a file.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = temp();
    let study = resume(&path, 3, 2).expect("a study");
    worker(&study).run(&objective, 1, &Budget::trials(20), &|_| {}).expect("a run");
    (dir, path)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The one line of a failure.
#[track_caller]
fn refused(result: Result<Study, SearchError>) -> String {
    let Err(error @ SearchError::Study { .. }) = result else { panic!("{result:?}") };
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn a_study_is_read_as_it_was_written() {
    let (dir, path) = filled();
    assert_eq!(names(dir.path()), ["study.db"], "nothing is left beside it");
    let memory = Study::in_memory(setting(3, 2), identity()).expect("a study");
    worker(&memory).run(&objective, 1, &Budget::trials(20), &|_| {}).expect("a run");
    let study = Study::open(&path).expect("a study");
    assert_eq!(trials(&study), trials(&memory));
    assert_eq!((study.identity(), memory.identity()), (&identity(), &identity()));
    assert_eq!(study.digest().expect("a digest"), memory.digest().expect("a digest"));
    let (a, b) = (study.setting(), memory.setting());
    assert_eq!(a.space.parameters(), b.space.parameters());
    assert_eq!(a.space.hash(), b.space.hash());
    assert_eq!((&a.goals, a.seed, a.steps, a.lag), (&b.goals, b.seed, b.steps, b.lag));
    let error = worker(&study).ask(&Budget::unlimited()).expect_err("it is open to be read").to_string();
    assert!(error.contains("resume"), "{error}");
    assert!(study.note("x", 1.into()).is_err());
    drop(study);
    assert_eq!(names(dir.path()), ["study.db"]);
}

#[test]
fn notes_are_kept() {
    let (_dir, path) = filled();
    let study = resume(&path, 3, 2).expect("a study");
    study.note("test_accuracy", 0.975.into()).expect("noted");
    study.note("test_accuracy", 0.98.into()).expect("noted");
    let about = Study::open(&path).expect("a study").about().expect("about");
    assert_eq!(about, serde_json::json!({"command": ["search", "digits"], "test_accuracy": 0.98}));
}

#[test]
fn a_space_keeps_every_bit() {
    let space = Space::new(vec![
        Parameter::new("a", Domain::float(0.1 + 0.2, 1.0 / 3.0 + 1.0)),
        Parameter::new("b", Domain::log_float(5e-324, 1.7e308)),
        Parameter::new("c", Domain::Int { low: -(1 << 50), high: 1 << 50, step: 7, log: false }),
        Parameter::new("d", Domain::choice(["é\"'", "#", "[x]"])),
        Parameter::new("e", Domain::levels([1, 2])).when_one_of("d", ["#"]),
    ])
    .expect("a space");
    let (_dir, path) = temp();
    let setting =
        Setting { space: space.clone(), goals: vec![Goal::minimize("y")], seed: u64::MAX, steps: 1, lag: 1 };
    drop(Study::create_or_resume(&path, setting.clone(), Identity::default()).expect("a study"));
    let read = Study::open(&path).expect("a study");
    assert_eq!(read.setting().space.parameters(), space.parameters());
    assert_eq!(read.setting().seed, u64::MAX);
    assert!(Study::create_or_resume(&path, setting, Identity::default()).expect("the same").resumed());
}

#[test]
fn another_study_is_refused_and_left_alone() {
    let (dir, path) = filled();
    let before = fs::read(&path).expect("a file");
    type Change<'a> = &'a dyn Fn(&mut Setting, &mut Identity);
    let with = |change: Change<'_>| {
        let (mut setting, mut identity) = (setting(3, 2), identity());
        change(&mut setting, &mut identity);
        refused(Study::create_or_resume(&path, setting, identity))
    };
    let cases: [(Change<'_>, &str); 10] = [
        (&|s, _| s.seed = 4, "with seed 3, not 4"),
        (&|s, _| s.lag = 3, "with lag 2, not 3"),
        (&|s, _| s.steps = 9, "with steps 4, not 9"),
        (
            &|s, _| s.goals.truncate(1),
            "objectives maximize accuracy, minimize params, not maximize accuracy:",
        ),
        (
            &|s, _| s.space = Space::new(vec![Parameter::new("x", Domain::int(0, 1))]).expect("a space"),
            "space",
        ),
        (&|_, i| i.sampler = "tpe".into(), "with sampler climb, not tpe"),
        (&|_, i| i.pruner = String::new(), "with pruner half, not none"),
        (&|_, i| i.data = "wine".into(), "with data digits, not wine"),
        (&|_, i| i.data_hash = 1, "'digits' has changed"),
        (&|_, i| i.objective = "folds 5".into(), "with options folds 1, not folds 5"),
    ];
    for (change, part) in cases {
        let text = with(change);
        assert!(text.contains(part) && text.contains("study.db"), "{part}: {text}");
    }
    assert_eq!(fs::read(&path).expect("a file"), before);
    assert_eq!(names(dir.path()), ["study.db"]);
    let about = Identity { about: serde_json::json!(null), ..identity() };
    let study = Study::create_or_resume(&path, setting(3, 2), about).expect("the rest may differ");
    assert_eq!(study.identity(), &identity(), "the first one stays");
}

#[test]
fn what_is_no_study_is_refused_and_left_alone() {
    let (dir, path) = filled();
    let whole = fs::read(&path).expect("a file");
    let other = dir.path().join("other.db");
    let mut newer = whole.clone();
    newer[63] = 9;
    let mut middle = whole.clone();
    let half = whole.len() / 2;
    middle[100..half].fill(0xa5);
    let sqlite = dir.path().join("plain.db");
    rusqlite::Connection::open(&sqlite).expect("SQLite").execute_batch("CREATE TABLE t(x)").expect("a table");
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![], "is no study"),
        (b"number,accuracy\n0,0.5\n".to_vec(), "is no study"),
        (fs::read(&sqlite).expect("a file"), "is no study"),
        (newer, "format 9"),
        (whole[..half].to_vec(), "damaged"),
        (whole[..120].to_vec(), "damaged"),
        (middle, "damaged"),
    ];
    for (content, part) in cases {
        fs::write(&other, &content).expect("written");
        for result in [resume(&other, 3, 2), Study::open(&other)] {
            let text = refused(result);
            assert!(text.contains(part) && text.contains("other.db"), "{part}: {text}");
        }
        assert_eq!(fs::read(&other).expect("a file"), content, "{part}");
        assert_eq!(names(dir.path()), ["other.db", "plain.db", "study.db"], "{part}");
    }
}

#[test]
fn a_damaged_row_is_said() {
    let (_dir, path) = filled();
    let conn = rusqlite::Connection::open(&path).expect("SQLite");
    for change in ["point = 'depth=9'", "goals = 'much'", "state = 'gone'", "point = x'ff'"] {
        conn.execute_batch(&format!("SAVEPOINT s; UPDATE trials SET {change} WHERE number = 3; RELEASE s"))
            .expect("written");
        let study = Study::open(&path).expect("a study");
        let error = study.trials().expect_err("damaged").to_string();
        assert!(error.contains("damaged") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn nothing_is_made_where_it_cannot_be() {
    let (dir, path) = temp();
    let text = refused(Study::open(&path));
    assert!(text.contains("no such file"), "{text}");
    assert!(refused(resume(&dir.path().join("a/b.db"), 3, 2)).contains("no directory"));
    assert!(refused(resume(dir.path(), 3, 2)).contains("directory"));
    assert!(refused(Study::open(dir.path())).contains("directory"));
    assert_eq!(names(dir.path()), Vec::<String>::new());
    // The log of a study whose file was removed would spoil a new one.
    fs::write(dir.path().join("study.db-wal"), b"x").expect("written");
    assert!(refused(resume(&path, 3, 2)).contains("study.db-wal"));
    assert_eq!(names(dir.path()), ["study.db-wal"]);
    let bad = Study::create_or_resume(&path, Setting { steps: 0, ..setting(3, 2) }, identity());
    assert!(matches!(bad, Err(SearchError::Options(_))));
}

#[test]
fn only_an_idle_study_is_deleted() {
    let (dir, path) = filled();
    let busy = resume(&path, 3, 2).expect("a study");
    let error = Study::open(&path).expect("a study").delete().expect_err("at work").to_string();
    assert!(error.contains("at work"), "{error}");
    drop(busy);
    Study::open(&path).expect("a study").delete().expect("deleted");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}
