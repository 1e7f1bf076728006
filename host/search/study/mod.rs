//! Studies: every trial of a search, in an SQLite file that several processes share and that survives their death.
//!
//! A [`Study`] says what is searched ([`Setting`]) and by what ([`Identity`]), and holds the trials. A [`Worker`] owns a
//! sampler and a pruner, feeds them the finished trials in the order of their numbers, and asks for new ones; a
//! [`Running`] trial takes reports and ends complete, pruned or failed. [`Worker::run`] does it all on threads, given an
//! [`Objective`]; [`Worker::ask_many`] gives the trials that may run at once, for a device that trains them together.
//!
//! # What is promised
//!
//! * **Same seed, same study.** Trial `n` is asked for when the first [`Setting::visible`]`(n)` are finished, and depends on
//!   these alone, whatever the number of threads and processes.
//! * **Nothing that finished is lost, nothing is run twice.** A trial is recorded whole, in one transaction. One whose process
//!   died is tried again with the same number, point and bars, by whichever worker asks next; after five such deaths it
//!   is recorded as failed. A process that was only taken for dead finds its trial gone and records nothing.
//! * **No lock errors.** Transactions last microseconds; who finds the file locked waits, up to two minutes.
//! * **Nothing is overwritten.** A file that is no study, or another study, is refused before it is written to.
//!
//! # Your own objective and sampler
//!
//! ```
//! use ironwarp::search::sampler::Sampler;
//! use ironwarp::search::space::{Domain, Parameter, Point, Space, Value};
//! use ironwarp::search::study::{Budget, Failure, Identity, Running, Study};
//! use ironwarp::search::{Goal, SearchError, Setting, pruner::Never, rng::Rng, trial::Trial};
//!
//! /// Half the time a step from the best trial so far, else somewhere.
//! #[derive(Default)]
//! struct Climb(Option<Trial>);
//! impl Sampler for Climb {
//!     fn name(&self) -> &'static str {
//!         "climb"
//!     }
//!     fn tell(&mut self, setting: &Setting, trial: &Trial) {
//!         let better = |best: &Trial| setting.losses(trial) < setting.losses(best);
//!         if self.0.as_ref().is_none_or(better) {
//!             self.0 = Some(trial.clone());
//!         }
//!     }
//!     fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
//!         let mut rng = Rng::new(setting.seed, 1000, number);
//!         let mut point = setting.space.draw(&mut rng)?;
//!         if let (Some(best), true) = (&self.0, rng.uniform() < 0.5) {
//!             let Some(Value::Float(x)) = best.point.0[0] else { return Ok(point) };
//!             point.0[0] = Some(Value::Float((x + 0.1 * rng.normal()).clamp(-1.0, 1.0)));
//!         }
//!         Ok(point)
//!     }
//! }
//!
//! let space = Space::new(vec![Parameter::new("x", Domain::float(-1.0, 1.0))])?;
//! let setting = Setting { space, goals: vec![Goal::minimize("y")], seed: 7, steps: 1, lag: 4 };
//! let study = Study::in_memory(setting, Identity::default())?; // or Study::create_or_resume("x.db", setting, identity)
//! let objective = |trial: &mut Running| -> Result<Vec<f64>, Failure> {
//!     let x = trial.value("x").and_then(Value::number).ok_or("x has no value")?;
//!     Ok(vec![(x - 0.3).powi(2)])
//! };
//! let mut worker = study.worker(Box::new(Climb::default()), Box::new(Never));
//! worker.run(&objective, 2, &Budget::trials(100), &|_| {})?;
//! let best = study.best()?.expect("a trial that is complete");
//! assert!(best.values[0] < 0.01);
//! # Ok::<(), SearchError>(())
//! ```

mod process;
mod query;
mod rows;
mod run;
mod running;
mod store;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::pruner::Pruner;
use super::sampler::Sampler;
use super::{SearchError, Setting};
use process::Process;
use store::{Access, Fault, Stored};

pub use query::Counts;
pub use run::{Budget, Event, Objective, Summary};
pub use running::{Failure, Running, Values, Verdict};
pub use worker::Worker;

/// Stands for the path of a study without a file.
const MEMORY: &str = ":memory:";

/// What a study was begun with, besides its [`Setting`]. All but `about` must be the same when it is resumed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The sampler's name and options, as one line.
    pub sampler: String,
    /// The pruner's name and options, as one line.
    pub pruner: String,
    /// The data's name.
    pub data: String,
    /// A hash of the data's content.
    pub data_hash: u64,
    /// Whatever else decides results (constraints, folds, the device's kind), as one line.
    pub objective: String,
    /// Anything else: the command line under `command`, the results of the search. Not compared; the first one stays.
    pub about: serde_json::Value,
}

/// A study: a handle, cheap to clone.
#[derive(Clone)]
pub struct Study {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Study {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Study").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// The connection, and how often this process changed a trial.
struct Store {
    conn: Connection,
    changes: u64,
}

struct Shared {
    store: Mutex<Store>,
    /// A trial of this process ended.
    changed: Condvar,
    setting: Setting,
    identity: Identity,
    /// Absolute; [`MEMORY`] without a file.
    path: PathBuf,
    /// This process among the study's workers; `None`: the study was opened to be read.
    worker: Option<i64>,
    process: Process,
    resumed: bool,
    /// Its end ends the heartbeat.
    _heart: Option<Sender<()>>,
}

impl Study {
    /// A study that ends with the process; there is nothing to compare `identity` with, reports show it.
    pub fn in_memory(setting: Setting, identity: Identity) -> Result<Study, SearchError> {
        check(&setting)?;
        let conn = store::in_memory(&setting, &identity)?;
        Study::start(conn, Path::new(MEMORY), setting, identity, false)
    }

    /// Makes the file, or goes on with the study in it. Trials that a dead process left are ready to be tried again.
    ///
    /// Errors ([`SearchError::Study`]): the file is no study, is damaged, of another format, or of another study (space,
    /// goals, seed, steps, lag, sampler, pruner, data...), or cannot be made. It has not been changed then, and none was made.
    pub fn create_or_resume(
        path: impl AsRef<Path>,
        setting: Setting,
        identity: Identity,
    ) -> Result<Study, SearchError> {
        let path = absolute(path.as_ref())?;
        check(&setting)?;
        let made = store::create(&path, &setting, &identity)?;
        let conn = store::open(&path, Access::Write)?;
        let (first_setting, first) = store::settings(&conn).map_err(|e| e.at(&path))?;
        let same = store::compare(&conn, (&first_setting, &first), (&setting, &identity));
        same.map_err(|e| e.at(&path))?.map_err(|reason| store::study_error(&path, reason))?;
        // The given space knows which points are allowed.
        Study::start(conn, &path, setting, first, !made)
    }

    /// Opens a file to read it: reports, exports. [`Setting::space`] is without what only code can say
    /// ([`Space::allow`](super::space::Space::allow)). Errors: as [`create_or_resume`](Study::create_or_resume).
    pub fn open(path: impl AsRef<Path>) -> Result<Study, SearchError> {
        let path = absolute(path.as_ref())?;
        let conn = store::open(&path, Access::Read)?;
        let (setting, identity) = store::settings(&conn).map_err(|e| e.at(&path))?;
        Ok(Study {
            shared: Arc::new(Shared {
                store: Mutex::new(Store { conn, changes: 0 }),
                changed: Condvar::new(),
                setting,
                identity,
                path,
                worker: None,
                process: Process::this(),
                resumed: true,
                _heart: None,
            }),
        })
    }

    /// Whether the file is a study, of any format.
    pub fn is_study(path: impl AsRef<Path>) -> bool {
        store::is_study(path.as_ref())
    }

    /// Joins the study.
    fn start(
        conn: Connection,
        path: &Path,
        setting: Setting,
        identity: Identity,
        resumed: bool,
    ) -> Result<Study, SearchError> {
        let process = Process::this();
        let file = path != Path::new(MEMORY);
        let mut shared = Shared {
            store: Mutex::new(Store { conn, changes: 0 }),
            changed: Condvar::new(),
            setting,
            identity,
            path: path.into(),
            worker: None,
            process,
            resumed,
            _heart: None,
        };
        let joined = shared.write(|conn, shared| rows::join(conn, &shared.process))?;
        shared.worker = Some(joined);
        shared.bury(None)?;
        if file {
            shared._heart = Some(heart(path.into(), joined));
        }
        Ok(Study { shared: Arc::new(shared) })
    }

    /// A worker with this sampler and pruner; they have been told nothing yet.
    pub fn worker(&self, sampler: Box<dyn Sampler>, pruner: Box<dyn Pruner>) -> Worker {
        Worker::new(self.clone(), sampler, pruner)
    }

    /// What is searched.
    pub fn setting(&self) -> &Setting {
        &self.shared.setting
    }

    /// What it was begun with.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The file, absolute; `None`: the study is in memory.
    pub fn path(&self) -> Option<&Path> {
        Some(self.shared.path.as_path()).filter(|path| *path != Path::new(MEMORY))
    }

    /// Whether the study was there before.
    pub fn resumed(&self) -> bool {
        self.shared.resumed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Store> {
        // A transaction that a panic cut short has been rolled back.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads.
    fn read<T>(&self, body: impl FnOnce(&Connection) -> Stored<T>) -> Result<T, SearchError> {
        body(&self.lock().conn).map_err(|e| e.at(&self.path))
    }

    /// Writes, as a whole or not at all.
    fn write<T>(&self, body: impl FnOnce(&Connection, &Shared) -> Stored<T>) -> Result<T, SearchError> {
        let store = self.lock();
        let done = (|| {
            let tx = Transaction::new_unchecked(&store.conn, TransactionBehavior::Immediate)?;
            let value = body(&tx, self)?;
            tx.commit()?;
            Ok(value)
        })();
        done.map_err(|e: Fault| e.at(&self.path))
    }

    /// As [`write`](Shared::write), for what others wait for.
    fn change<T>(&self, body: impl FnOnce(&Connection, &Shared) -> Stored<T>) -> Result<T, SearchError> {
        let value = self.write(body)?;
        self.lock().changes += 1;
        self.changed.notify_all();
        Ok(value)
    }

    /// Waits for a change by this process, unless there was one since `seen`, at most for `most` (others do not call).
    fn wait(&self, seen: u64, most: Duration) {
        let store = self.lock();
        let waited = self.changed.wait_timeout_while(store, most, |store| store.changes == seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the trials of dead processes wait to be tried again: of all, or of the worker `only`.
    fn bury(&self, only: Option<i64>) -> Result<(), SearchError> {
        let workers = self.read(|conn| rows::workers(conn, only))?;
        let dead: Vec<i64> = workers
            .into_iter()
            .filter(|(id, process)| Some(*id) != self.worker && !process.is_alive(&self.process))
            .map(|(id, _)| id)
            .collect();
        self.change(|conn, _| {
            rows::adopt(conn)?;
            dead.iter().try_for_each(|&id| rows::leave(conn, id, true))
        })
    }
}

impl Drop for Shared {
    /// Running trials hold the study, so none is left here.
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            // A process that cannot say that it leaves is found dead by the next.
            let _ = self.write(|conn, _| rows::leave(conn, worker, false));
        }
    }
}

/// A thread that says every few seconds that this process lives, over a connection of its own.
fn heart(path: PathBuf, worker: i64) -> Sender<()> {
    let (stop, stopped) = channel();
    std::thread::spawn(move || {
        while stopped.recv_timeout(process::HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
            // A beat that fails is made up for by the next; a worker that left must not come back.
            let _ = store::connect(&path, Access::Write).and_then(|conn| rows::pulse(&conn, worker));
        }
    });
    stop
}

/// A setting that can be searched in.
fn check(setting: &Setting) -> Result<(), SearchError> {
    let bad = |what: &str| Err(SearchError::Options(format!("the study {what}")));
    match () {
        () if setting.goals.is_empty() => bad("has no objective: give at least one"),
        () if setting.steps == 0 => bad("has trials of 0 steps: give at least 1"),
        () if setting.lag == 0 => bad("has a lag of 0: give at least 1"),
        () => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, SearchError> {
    std::path::absolute(path).map_err(|e| store::study_error(path, format!("{e}: give the name of a file")))
}
