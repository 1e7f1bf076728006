//! What is in a study: trials, counts, the best, the Pareto front, notes.

use std::ops::Range;

use super::Study;
use super::rows;
use super::store::{self, Fault};
use crate::hash;
use crate::search::SearchError;
use crate::search::trial::{State, Trial};

/// Trials that are read at once.
const CHUNK: u64 = 1000;

/// How many trials there are of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Asked for and not ended: at work, or waiting to be tried again.
    pub running: u64,
    /// Of these, those that wait: nobody is at work on them.
    pub waiting: u64,
    /// Ran all steps.
    pub complete: u64,
    /// Stopped by the pruner.
    pub pruned: u64,
    /// Failed.
    pub failed: u64,
}

impl Counts {
    /// Those that ended.
    pub fn finished(&self) -> u64 {
        self.complete + self.pruned + self.failed
    }
}

impl Study {
    /// How many trials there are.
    pub fn counts(&self) -> Result<Counts, SearchError> {
        let (states, waiting) = self.shared.read(|conn| Ok((rows::count(conn)?, rows::waiting(conn)?)))?;
        let of = |state| states.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n);
        Ok(Counts {
            running: of(State::Running),
            waiting,
            complete: of(State::Complete),
            pruned: of(State::Pruned),
            failed: of(State::Failed),
        })
    }

    /// How many trials have ended. Costs the same for any size of the study.
    pub fn finished(&self) -> Result<u64, SearchError> {
        self.shared.read(|conn| Ok(rows::look(conn)?.next - rows::open(conn)?))
    }

    /// The trials with numbers in `range` that there are, in order.
    pub fn trials_in(&self, range: Range<u64>) -> Result<Vec<Trial>, SearchError> {
        let space = &self.setting().space;
        self.shared.read(|conn| rows::load(conn, space, range.start, range.end))
    }

    /// All trials, in order.
    pub fn trials(&self) -> Result<Vec<Trial>, SearchError> {
        self.trials_in(0..u64::MAX)
    }

    /// Every trial, in order, without holding them all.
    pub fn each<E: From<SearchError>>(&self, mut body: impl FnMut(Trial) -> Result<(), E>) -> Result<(), E> {
        let end = self.shared.read(rows::look)?.next;
        for from in (0..end).step_by(CHUNK as usize) {
            self.trials_in(from..end.min(from + CHUNK))?.into_iter().try_for_each(&mut body)?;
        }
        Ok(())
    }

    /// A hash of all that must be the same whatever ran the trials, and however often it was killed: everything but what they took.
    pub fn digest(&self) -> Result<u64, SearchError> {
        let mut digest = hash::EMPTY;
        self.each(|trial| -> Result<(), SearchError> {
            digest = hash::extend(digest, format!("{:?}", Trial { seconds: 0.0, ..trial }).bytes());
            Ok(())
        })?;
        Ok(digest)
    }

    /// The names of the attributes that any trial has, in order.
    pub fn attribute_names(&self) -> Result<Vec<String>, SearchError> {
        self.shared.read(rows::attribute_names)
    }

    /// The complete trial with the best value of the first goal; the earliest of equals.
    pub fn best(&self) -> Result<Option<Trial>, SearchError> {
        let direction = self.setting().goals[0].direction;
        let mut best: Option<Trial> = None;
        self.each(|trial| -> Result<(), SearchError> {
            let better = |best: &Trial| direction.better(trial.values[0], best.values[0]);
            if is_whole(&trial) && best.as_ref().is_none_or(better) {
                best = Some(trial);
            }
            Ok(())
        })?;
        Ok(best)
    }

    /// The complete trials that no other is at least as good as in every goal and better in one, in order; the earliest of
    /// equals.
    pub fn front(&self) -> Result<Vec<Trial>, SearchError> {
        let setting = self.setting();
        let mut front: Vec<(Vec<f64>, Trial)> = vec![];
        self.each(|trial| -> Result<(), SearchError> {
            let losses = setting.losses(&trial);
            let covers = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a <= b);
            if is_whole(&trial) && !front.iter().any(|(other, _)| covers(other, &losses)) {
                front.retain(|(other, _)| !covers(&losses, other));
                front.push((losses, trial));
            }
            Ok(())
        })?;
        Ok(front.into_iter().map(|(_, trial)| trial).collect())
    }

    /// What is known about the study besides: [`Identity::about`](super::Identity::about) with what was noted since.
    pub fn about(&self) -> Result<serde_json::Value, SearchError> {
        let text = self.shared.read(|conn| store::meta(conn, "about"))?;
        serde_json::from_str(&text)
            .map_err(|e| Fault::Content(format!("its about: {e}")).at(&self.shared.path))
    }

    /// Notes a result in [`about`](Study::about), in place of what was noted under `key` before.
    pub fn note(&self, key: &str, value: serde_json::Value) -> Result<(), SearchError> {
        self.shared.write(|conn, _| {
            let text = store::meta(conn, "about")?;
            let mut about: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if !about.is_object() {
                about = serde_json::json!({});
            }
            about[key] = value;
            conn.execute("UPDATE meta SET value = ? WHERE key = 'about'", [about.to_string()])?;
            Ok(())
        })
    }

    /// When it was made, in seconds since 1970.
    pub fn created(&self) -> Result<f64, SearchError> {
        let text = self.shared.read(|conn| store::meta(conn, "created"))?;
        Ok(text.parse().unwrap_or(f64::NAN))
    }

    /// The living processes at work on it.
    pub fn workers(&self) -> Result<usize, SearchError> {
        let workers = self.shared.read(|conn| rows::workers(conn, None))?;
        Ok(workers.iter().filter(|(_, process)| process.is_alive(&self.shared.process)).count())
    }

    /// Removes the study's file and SQLite's files beside it. Errors: a living process is at work on it; the system refuses.
    pub fn delete(self) -> Result<(), SearchError> {
        let own = usize::from(self.shared.worker.is_some());
        let others = self.workers()?.saturating_sub(own);
        let Some(path) = self.path().map(ToOwned::to_owned) else { return Ok(()) };
        if others > 0 {
            let reason = format!("{others} processes are at work on the study: stop them first");
            return Err(store::study_error(&path, reason));
        }
        drop(self);
        for suffix in ["-wal", "-shm", ""] {
            let file = store::beside(&path, suffix);
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(store::study_error(&file, format!("cannot be removed: {e}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the trial is complete, with a value for the first goal.
fn is_whole(trial: &Trial) -> bool {
    trial.state == State::Complete && !trial.values.is_empty()
}
