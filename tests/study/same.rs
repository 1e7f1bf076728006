//! Same seed, same trials: on any number of threads, with several workers, after stops at any moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ironwarp::search::rng::Rng;
use ironwarp::search::study::{Budget, Event, Failure, Running, Study, Values};
use ironwarp::search::trial::State;

use crate::{identity, objective, resume, setting, temp, trials, worker};

/// Trials of a study here.
const TRIALS: u64 = 60;

/// The objective, after a time that differs from run to run.
fn shuffled(trial: &mut Running) -> Result<Values, Failure> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_micros(Rng::new(1, 0, call).below(1500) as u64));
    objective(trial)
}

/// The trials of a run in memory.
fn run(seed: u64, lag: u64, threads: usize) -> Vec<String> {
    let study = Study::in_memory(setting(seed, lag), identity()).expect("a study");
    let summary = worker(&study).run(&shuffled, threads, &Budget::trials(TRIALS), &|_| {}).expect("a run");
    assert_eq!(summary.trials, TRIALS);
    trials(&study)
}

#[test]
fn any_number_of_threads_makes_the_same_study() {
    for lag in [1, 5, 16] {
        let one = run(3, lag, 1);
        assert_eq!(one.len() as u64, TRIALS);
        for threads in [2, 8] {
            assert_eq!(run(3, lag, threads), one, "lag {lag}, {threads} threads");
        }
        assert_ne!(run(4, lag, 2), one, "another seed");
    }
    assert_ne!(run(3, 1, 1), run(3, 16, 1), "what a trial depends on matters");
}

#[test]
fn all_states_occur_and_are_explained() {
    let study = Study::in_memory(setting(3, 4), identity()).expect("a study");
    worker(&study).run(&objective, 2, &Budget::trials(TRIALS), &|_| {}).expect("a run");
    assert_eq!(study.finished().expect("a number"), TRIALS);
    let counts = study.counts().expect("counts");
    assert_eq!((counts.running, counts.finished()), (0, TRIALS));
    assert!(counts.complete > 5 && counts.pruned > 5 && counts.failed > 5, "{counts:?}");
    for trial in study.trials().expect("trials") {
        let reason = trial.reason.as_deref().unwrap_or("");
        match trial.state {
            State::Complete => assert!(trial.values.len() == 2 && reason.is_empty(), "{trial:?}"),
            State::Pruned => {
                assert!(trial.values.len() == 2 && reason.contains("misses the bar"), "{trial:?}");
                assert_eq!(trial.reports.len(), 2, "{trial:?}");
            }
            State::Failed => {
                assert!(trial.values.is_empty(), "{trial:?}");
                assert!(reason == "too large for the memory" || reason == "accuracy is NaN", "{trial:?}");
            }
            State::Running => panic!("{trial:?}"),
        }
        assert!(trial.attributes.contains_key("params"));
    }
    // The best and the front, against what they mean.
    let complete: Vec<_> =
        study.trials().expect("trials").into_iter().filter(|t| t.state == State::Complete).collect();
    let best = study.best().expect("a query").expect("a best");
    assert!(complete.iter().all(|t| t.values[0] <= best.values[0]));
    let front = study.front().expect("a front");
    assert!(front.contains(&best) && front.len() > 1);
    for trial in &complete {
        let covered = front.iter().any(|f| f.values[0] >= trial.values[0] && f.values[1] <= trial.values[1]);
        assert!(covered, "{trial:?}");
    }
}

#[test]
fn two_workers_and_stops_make_the_same_study() {
    let want = run(3, 6, 1);
    let (_dir, path) = temp();
    // Stops after ever more trials; both workers have an own sampler, an own connection, and two threads.
    for round in 1..=6u64 {
        std::thread::scope(|scope| {
            for part in 0..2 {
                let path = &path;
                scope.spawn(move || {
                    let study = resume(path, 3, 6).expect("a study");
                    let ended = AtomicU64::new(0);
                    let stop = || ended.load(Ordering::Relaxed) >= 2 * round + part && round < 6;
                    let count = |event: Event<'_>| {
                        if let Event::Finished { .. } = event {
                            ended.fetch_add(1, Ordering::Relaxed);
                        }
                    };
                    let budget = Budget::trials(TRIALS).stop(&stop);
                    worker(&study).run(&shuffled, 2, &budget, &count).expect("a run");
                });
            }
        });
    }
    let study = Study::open(&path).expect("a study");
    assert_eq!(trials(&study), want);
    assert_eq!(study.counts().expect("counts").running, 0);
    assert_eq!(study.workers().expect("workers"), 0, "all left");
}

#[test]
fn populations_make_the_same_study() {
    let want = run(3, 6, 1);
    let study = Study::in_memory(setting(3, 6), identity()).expect("a study");
    let mut largest = 0;
    let mut train = |population: Vec<Running>| {
        largest = largest.max(population.len());
        // Those asked for last end first.
        for mut trial in population.into_iter().rev() {
            match objective(&mut trial) {
                Ok(values) => trial.finish(values)?,
                Err(Failure::Failed(reason)) => trial.fail(reason)?,
                Err(error) => panic!("{error:?}"),
            };
        }
        Ok(())
    };
    let summary = worker(&study).run_populations(100, &Budget::trials(TRIALS), &mut train).expect("a run");
    assert_eq!((summary.trials, largest), (TRIALS, 6));
    assert_eq!(trials(&study), want);
}

/// What a resumed study reads is what the first run wrote: limits, costs of the latency model, hyperparameters.
#[test]
fn numbers_in_json_keep_every_bit() {
    let mut rng = Rng::new(11, 0, 0);
    let drawn = (0..20_000).map(|_| f64::from_bits(rng.u64())).filter(|x| x.is_finite());
    for x in drawn.chain([2.668323547885264e-7]) {
        let text = serde_json::to_string(&x).expect("a number");
        let back: f64 = serde_json::from_str(&text).expect("a number");
        assert_eq!(x.to_bits(), back.to_bits(), "{text}");
    }
}
