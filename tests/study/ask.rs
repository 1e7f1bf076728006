//! Ask and tell: what may run at once, what happens to trials that nobody ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironwarp::search::pruner::Never;
use ironwarp::search::sampler::{Random, Sampler};
use ironwarp::search::space::Point;
use ironwarp::search::study::{Budget, Event, Failure, Running, Study, Verdict};
use ironwarp::search::trial::{State, Trial};
use ironwarp::search::{SearchError, Setting};

use crate::{identity, objective, setting, temp, worker};

fn memory(lag: u64) -> Study {
    Study::in_memory(setting(1, lag), identity()).expect("a study")
}

#[test]
fn as_many_trials_run_at_once_as_the_lag_says() {
    let study = memory(3);
    let mut worker = worker(&study);
    let all = Budget::unlimited();
    let mut trials = worker.ask_many(10, &all).expect("trials");
    assert_eq!(trials.iter().map(Running::number).collect::<Vec<_>>(), [0, 1, 2]);
    // Trial 3 may depend on trial 0 alone: the end of trial 1 is not enough.
    trials.remove(1).finish(vec![0.5, 1.0]).expect("recorded");
    let soon = Budget::unlimited().time(Duration::from_millis(30));
    assert!(worker.ask(&soon).expect("no trial").is_none());
    trials.remove(0).finish(vec![0.5, 1.0]).expect("recorded");
    let next = worker.ask_many(10, &all).expect("trials");
    assert_eq!(next.iter().map(Running::number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(worker.told(), 2);
}

#[test]
fn a_dropped_trial_is_tried_again_as_it_was() {
    let study = memory(2);
    let mut worker = worker(&study);
    let first = worker.ask(&Budget::unlimited()).expect("asked").expect("a trial");
    let (number, point) = (first.number(), first.point().clone());
    drop(first);
    assert_eq!(study.counts().expect("counts").waiting, 1);
    let again = worker.ask(&Budget::unlimited()).expect("asked").expect("a trial");
    assert_eq!((again.number(), again.point()), (number, &point));
    assert_eq!(again.deaths(), 0, "nobody died");
    again.release().expect("released");
    assert_eq!(study.trials().expect("trials").len(), 1);
}

#[test]
fn bars_are_kept_with_the_trial() {
    let study = memory(1);
    let budget = Budget::unlimited();
    let mut first = worker(&study);
    for _ in 0..3 {
        let mut trial = first.ask(&budget).expect("asked").expect("a trial");
        assert_eq!(trial.report(2, 0.25), Verdict::Continue);
        trial.finish(vec![0.25, 1.0]).expect("recorded");
    }
    let trial = first.ask(&budget).expect("asked").expect("a trial");
    let bars = trial.cutoffs().clone();
    assert_eq!((bars.0.len(), bars.0[0].value), (1, 0.25));
    drop(trial);
    // Another worker, whose pruner has been told nothing.
    let mut trial = worker(&study).ask(&budget).expect("asked").expect("a trial");
    assert_eq!(trial.cutoffs(), &bars);
    assert_eq!(trial.report(1, 0.1), Verdict::Continue);
    assert_eq!(trial.report(2, 0.1), Verdict::Prune);
    assert_eq!(trial.report(2, 0.9), Verdict::Prune, "a step is reported once");
    let trial = trial.finish(vec![0.1, 1.0]).expect("recorded").expect("a trial");
    assert_eq!((trial.state, trial.reports.len()), (State::Pruned, 2));
    assert_eq!(trial.reason.as_deref(), Some("0.1 after step 2 misses the bar of 0.25"));
}

#[test]
fn wrong_values_are_a_failed_trial() {
    let study = memory(4);
    let mut worker = worker(&study);
    let mut end = |values: Vec<f64>| {
        let trial = worker.ask(&Budget::unlimited()).expect("asked").expect("a trial");
        let trial = trial.finish(values).expect("recorded").expect("a trial");
        (trial.state, trial.reason.unwrap_or_default())
    };
    assert_eq!(end(vec![1.0]), (State::Failed, "1 instead of 2 values".into()));
    assert_eq!(end(vec![1.0, f64::INFINITY]), (State::Failed, "params is inf".into()));
    assert_eq!(end(vec![1.0, 2.0]), (State::Complete, String::new()));
}

#[test]
fn a_panic_is_a_failed_trial_and_a_fatal_failure_ends_the_search() {
    let study = memory(2);
    let panics = |trial: &mut Running| {
        assert!(trial.number() != 1, "number {}", trial.number());
        Ok(vec![0.0, 0.0])
    };
    worker(&study).run(&panics, 2, &Budget::trials(3), &|_| {}).expect("a run");
    let trials = study.trials().expect("trials");
    assert_eq!(trials[1].state, State::Failed);
    assert_eq!(trials[1].reason.as_deref(), Some("panicked: number 1"));

    let fatal = |trial: &mut Running| match trial.number() {
        5 => Err(Failure::Fatal(SearchError::Options("the device is lost".into()))),
        _ => Ok(vec![0.0, 0.0]),
    };
    let error = worker(&study).run(&fatal, 2, &Budget::trials(100), &|_| {}).expect_err("fatal");
    assert_eq!(error.to_string(), "the device is lost");
    let counts = study.counts().expect("counts");
    assert!(counts.finished() < 100 && counts.waiting == counts.running, "{counts:?}");
    worker(&study).run(&objective, 2, &Budget::trials(20), &|_| {}).expect("a run");
    assert_eq!(study.counts().expect("counts").finished(), 20);
}

#[test]
fn stopping_releases_what_runs() {
    let study = memory(4);
    let pressed = AtomicBool::new(false);
    let stop = || pressed.load(Ordering::Relaxed);
    // Runs until it is told to stop.
    let endless = |trial: &mut Running| {
        loop {
            if trial.verdict() == Verdict::Stop {
                return Err(Failure::Stopped);
            }
            std::thread::yield_now();
        }
    };
    let press = |event: Event<'_>| {
        if let Event::Started { number: 1, .. } = event {
            pressed.store(true, Ordering::Relaxed);
        }
    };
    let budget = Budget::unlimited().stop(&stop);
    let summary = worker(&study).run(&endless, 2, &budget, &press).expect("a run");
    assert!(summary.stopped && summary.trials == 0);
    let counts = study.counts().expect("counts");
    assert_eq!((counts.running, counts.waiting, counts.finished()), (2, 2, 0));
    // Time with a grace does the same; without one trials go to their end.
    let spent = Budget { grace: Some(Duration::ZERO), ..Budget::unlimited().time(Duration::from_millis(20)) };
    let summary = worker(&study).run(&endless, 1, &spent, &|_| {}).expect("a run");
    assert_eq!((summary.stopped, summary.trials), (false, 0));
    let began = Instant::now();
    let slow = |_: &mut Running| {
        std::thread::sleep(Duration::from_millis(60));
        Ok(vec![0.0, 0.0])
    };
    let budget = Budget::unlimited().time(Duration::from_millis(20));
    let summary = worker(&study).run(&slow, 1, &budget, &|_| {}).expect("a run");
    assert_eq!(summary.trials, 1);
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_sampler_that_leaves_the_space_is_named() {
    struct Outside;
    impl Sampler for Outside {
        fn name(&self) -> &'static str {
            "outside"
        }
        fn tell(&mut self, _: &Setting, _: &Trial) {}
        fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
            let mut point = Random.ask(setting, number)?;
            point.0[0] = None;
            Ok(point)
        }
    }
    let study = memory(1);
    let mut worker = study.worker(Box::new(Outside), Box::new(Never));
    let error = worker.ask(&Budget::unlimited()).expect_err("not allowed").to_string();
    assert!(error.contains("'outside'") && error.contains("'depth' has no value"), "{error}");
    assert_eq!(study.trials().expect("trials"), []);
}

#[test]
fn a_panic_of_the_sampler_ends_all_threads() {
    struct Broken;
    impl Sampler for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn tell(&mut self, _: &Setting, _: &Trial) {}
        fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
            assert!(number < 5, "number {number}");
            Random.ask(setting, number)
        }
    }
    let study = memory(4);
    let mut broken = study.worker(Box::new(Broken), Box::new(Never));
    let run = AssertUnwindSafe(|| broken.run(&objective, 3, &Budget::trials(50), &|_| {}));
    assert!(catch_unwind(run).is_err());
    // The study is whole, and another sampler can go on.
    study
        .worker(Box::new(Random), Box::new(Never))
        .run(&objective, 2, &Budget::trials(9), &|_| {})
        .expect("a run");
    assert_eq!(study.finished().expect("a number"), 9);
}

#[test]
fn a_trial_without_a_living_process_fails_in_the_end() {
    let (_dir, path) = temp();
    let claim = || {
        let study = crate::resume(&path, 1, 1).expect("a study");
        worker(&study).ask(&Budget::unlimited()).expect("asked").expect("a trial")
    };
    for deaths in 0..5 {
        let trial = claim();
        assert_eq!((trial.number(), trial.deaths()), (0, deaths));
        // Its process is gone, as far as the file says: another start than that of this process.
        let conn = rusqlite::Connection::open(&path).expect("SQLite");
        conn.execute("UPDATE workers SET started = started - 1, heartbeat = 0", []).expect("written");
        // The next one to join finds that; the trial that seemed dead records nothing.
        let study = crate::resume(&path, 1, 1).expect("a study");
        assert!(trial.finish(vec![0.0, 0.0]).expect("no error").is_none());
        assert_eq!(study.counts().expect("counts").waiting, u64::from(deaths < 4));
    }
    let trials = Study::open(&path).expect("a study").trials().expect("trials");
    assert_eq!((trials.len(), trials[0].state), (1, State::Failed));
    assert_eq!(trials[0].reason.as_deref(), Some("the process that ran it died 5 times"));
    assert_eq!(claim().number(), 1);
}
