//! The rows of a study: what is read and written, one function for each.
//!
//! Those that write are called inside an IMMEDIATE transaction. Numbers have no gaps, so the trials before the first that
//! runs are all finished; the index `running` holds few entries whatever the size of the study.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::process::{Process, now};
use super::store::{Fault, Stored};
use crate::search::pruner::{Cutoff, Cutoffs};
use crate::search::space::{Point, Space};
use crate::search::trial::{Report, State, Trial};

/// Attempts of a trial that may end with the death of their process.
pub(super) const DEATHS: i64 = 5;

/// Where a study stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// The number that no trial has yet.
    pub next: u64,
    /// The first trial that is not finished.
    pub open: Option<u64>,
    /// The first trial that waits to be tried again.
    pub waiting: Option<u64>,
}

impl Look {
    /// How many trials, from the first, are finished.
    pub fn prefix(&self) -> u64 {
        self.open.unwrap_or(self.next)
    }
}

/// A trial as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub number: u64,
    pub point: Point,
    pub cutoffs: Cutoffs,
    /// Earlier attempts that ended with their process.
    pub deaths: u64,
}

/// SQLite's integers are signed; numbers of trials and steps stay far below.
fn sql(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|n| n.unsigned_abs()))
}

pub(super) fn look(conn: &Connection) -> Stored<Look> {
    let mut query = conn.prepare_cached(
        "SELECT (SELECT max(number) + 1 FROM trials),
                (SELECT min(number) FROM trials INDEXED BY running WHERE state = 'running'),
                (SELECT min(number) FROM trials INDEXED BY running WHERE state = 'running' AND worker IS NULL)",
    )?;
    Ok(query.query_row([], |row| {
        Ok(Look { next: number(row, 0)?.unwrap_or(0), open: number(row, 1)?, waiting: number(row, 2)? })
    })?)
}

/// Records a new trial that `worker` runs.
pub(super) fn insert(conn: &Connection, space: &Space, asked: &Asked, worker: i64) -> Stored<()> {
    let mut query = conn
        .prepare_cached("INSERT INTO trials(number, point, cutoffs, worker, asked) VALUES (?, ?, ?, ?, ?)")?;
    let cutoffs = cutoffs_text(&asked.cutoffs);
    query.execute((sql(asked.number), space.show(&asked.point), cutoffs, worker, now()))?;
    Ok(())
}

/// Takes a trial that waits; `None`: another worker was faster.
pub(super) fn take(conn: &Connection, space: &Space, number: u64, worker: i64) -> Stored<Option<Asked>> {
    let mut query = conn.prepare_cached(
        "UPDATE trials SET worker = ?, asked = ? WHERE number = ? AND state = 'running' AND worker IS NULL
         RETURNING point, cutoffs, deaths",
    )?;
    let row = query.query_row((worker, now(), sql(number)), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    });
    let Some((point, cutoffs, deaths)) = row.optional()? else { return Ok(None) };
    let deaths = deaths.unsigned_abs();
    Ok(Some(Asked { number, point: point_of(space, &point)?, cutoffs: read_cutoffs(&cutoffs)?, deaths }))
}

/// Lets a trial of `worker` wait to be tried again.
pub(super) fn release(conn: &Connection, number: u64, worker: i64) -> Stored<()> {
    let mut query = conn.prepare_cached(
        "UPDATE trials SET worker = NULL WHERE number = ? AND state = 'running' AND worker = ?",
    )?;
    query.execute((sql(number), worker))?;
    Ok(())
}

/// Records the end of a trial of `worker`; `false`, and nothing is recorded: it is not this worker's any more.
pub(super) fn finish(conn: &Connection, trial: &Trial, worker: i64) -> Stored<bool> {
    let mut query = conn.prepare_cached(
        "UPDATE trials SET state = ?, goals = ?, reason = ?, seconds = ?, ended = ?
         WHERE number = ? AND state = 'running' AND worker = ?",
    )?;
    let goals = numbers_text(&trial.values);
    let number = sql(trial.number);
    let changed = query.execute((
        state_text(trial.state),
        goals,
        &trial.reason,
        trial.seconds,
        now(),
        number,
        worker,
    ))?;
    if changed == 0 {
        return Ok(false);
    }
    let mut report = conn.prepare_cached("INSERT INTO reports VALUES (?, ?, ?)")?;
    for r in &trial.reports {
        report.execute((number, sql(r.step), r.value))?;
    }
    let mut attribute = conn.prepare_cached("INSERT INTO attributes VALUES (?, ?, ?)")?;
    for (name, value) in &trial.attributes {
        attribute.execute((number, name, value))?;
    }
    Ok(true)
}

/// The trials `from..to` that exist, in order, running ones too.
pub(super) fn load(conn: &Connection, space: &Space, from: u64, to: u64) -> Stored<Vec<Trial>> {
    let range = (sql(from), sql(to));
    let mut query = conn.prepare_cached(
        "SELECT number, point, state, goals, reason, seconds FROM trials WHERE number >= ? AND number < ?
         ORDER BY number",
    )?;
    let mut rows = query.query(range)?;
    let mut trials = vec![];
    while let Some(row) = rows.next()? {
        let mut trial = Trial::new(
            number(row, 0)?.unwrap_or(0),
            point_of(space, row.get_ref(1)?.as_str().map_err(text)?)?,
        );
        trial.state = state_of(row.get_ref(2)?.as_str().map_err(text)?)?;
        trial.values = read_numbers(row.get_ref(3)?.as_str().map_err(text)?)?;
        trial.reason = row.get(4)?;
        trial.seconds = row.get(5)?;
        trials.push(trial);
    }
    // Rows of trials are in order, so those of a trial follow each other.
    let place = |trials: &[Trial], at: &mut usize, number: u64| {
        while trials.get(*at).is_some_and(|t| t.number < number) {
            *at += 1;
        }
        trials.get(*at).is_some_and(|t| t.number == number)
    };
    let mut query = conn.prepare_cached(
        "SELECT trial, step, value FROM reports WHERE trial >= ? AND trial < ? ORDER BY trial, step",
    )?;
    let (mut rows, mut at) = (query.query(range)?, 0);
    while let Some(row) = rows.next()? {
        if place(&trials, &mut at, number(row, 0)?.unwrap_or(0)) {
            let value = row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN);
            trials[at].reports.push(Report { step: number(row, 1)?.unwrap_or(0), value });
        }
    }
    let mut query = conn.prepare_cached(
        "SELECT trial, name, value FROM attributes WHERE trial >= ? AND trial < ? ORDER BY trial, name",
    )?;
    let (mut rows, mut at) = (query.query(range)?, 0);
    while let Some(row) = rows.next()? {
        if place(&trials, &mut at, number(row, 0)?.unwrap_or(0)) {
            let value = row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN);
            trials[at].attributes.insert(row.get(1)?, value);
        }
    }
    Ok(trials)
}

fn text(error: rusqlite::types::FromSqlError) -> Fault {
    Fault::Content(format!("a trial's text: {error}"))
}

/// How many trials there are of each state.
pub(super) fn count(conn: &Connection) -> Stored<Vec<(State, u64)>> {
    let mut query = conn.prepare_cached("SELECT state, count(*) FROM trials GROUP BY state")?;
    let mut rows = query.query([])?;
    let mut counts = vec![];
    while let Some(row) = rows.next()? {
        let state: String = row.get(0)?;
        counts.push((state_of(&state)?, number(row, 1)?.unwrap_or(0)));
    }
    Ok(counts)
}

/// The names of all attributes.
pub(super) fn attribute_names(conn: &Connection) -> Stored<Vec<String>> {
    let mut query = conn.prepare_cached("SELECT DISTINCT name FROM attributes ORDER BY name")?;
    let names = query.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// How many trials wait to be tried again.
pub(super) fn waiting(conn: &Connection) -> Stored<u64> {
    let query = "SELECT count(*) FROM trials INDEXED BY running WHERE state = 'running' AND worker IS NULL";
    Ok(conn.query_row(query, [], |row| number(row, 0))?.unwrap_or(0))
}

/// How many trials have not ended.
pub(super) fn open(conn: &Connection) -> Stored<u64> {
    let query = "SELECT count(*) FROM trials INDEXED BY running WHERE state = 'running'";
    Ok(conn.query_row(query, [], |row| number(row, 0))?.unwrap_or(0))
}

/// Registers a process under a new number.
pub(super) fn join(conn: &Connection, process: &Process) -> Stored<i64> {
    let row = (&process.place, process.id, process.started, now());
    conn.execute("INSERT INTO workers(place, pid, started, heartbeat) VALUES (?, ?, ?, ?)", row)?;
    Ok(conn.last_insert_rowid())
}

/// The process is at work; it may have been taken for dead in the meantime.
pub(super) fn beat(conn: &Connection, worker: i64, process: &Process) -> Stored<()> {
    let mut query = conn.prepare_cached(
        "INSERT INTO workers(id, place, pid, started, heartbeat) VALUES (:id, :place, :pid, :started, :now)
         ON CONFLICT(id) DO UPDATE SET heartbeat = :now",
    )?;
    query.execute(named_params! {
        ":id": worker, ":place": process.place, ":pid": process.id, ":started": process.started, ":now": now(),
    })?;
    Ok(())
}

/// The process is at work, if it has not left.
pub(super) fn pulse(conn: &Connection, worker: i64) -> Stored<()> {
    conn.execute("UPDATE workers SET heartbeat = ? WHERE id = ?", (now(), worker))?;
    Ok(())
}

/// The processes at work, with their numbers; `only` that one.
pub(super) fn workers(conn: &Connection, only: Option<i64>) -> Stored<Vec<(i64, Process)>> {
    let mut query = conn.prepare_cached(
        "SELECT id, place, pid, started, heartbeat FROM workers WHERE ?1 IS NULL OR id = ?1",
    )?;
    let rows = query.query_map([only], |row| {
        let process =
            Process { place: row.get(1)?, id: row.get(2)?, started: row.get(3)?, heartbeat: row.get(4)? };
        Ok((row.get(0)?, process))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The worker of a trial that runs.
pub(super) fn owner(conn: &Connection, number: u64) -> Stored<Option<i64>> {
    let mut query =
        conn.prepare_cached("SELECT worker FROM trials WHERE number = ? AND state = 'running'")?;
    Ok(query.query_row([sql(number)], |row| row.get(0)).optional()?.flatten())
}

/// A worker goes: its trials wait for others; `died`: unless their processes died too often.
pub(super) fn leave(conn: &Connection, worker: i64, died: bool) -> Stored<()> {
    conn.execute(
        "UPDATE trials INDEXED BY running SET worker = NULL, deaths = deaths + ? WHERE state = 'running' AND worker = ?",
        (died, worker),
    )?;
    let reason = format!("the process that ran it died {DEATHS} times");
    conn.execute(
        "UPDATE trials INDEXED BY running SET state = 'failed', reason = ?, ended = ?
         WHERE state = 'running' AND worker IS NULL AND deaths >= ?",
        (reason, now(), DEATHS),
    )?;
    conn.execute("DELETE FROM workers WHERE id = ?", [worker])?;
    Ok(())
}

/// Lets the trials of workers that are not registered wait.
pub(super) fn adopt(conn: &Connection) -> Stored<()> {
    conn.execute(
        "UPDATE trials INDEXED BY running SET worker = NULL
         WHERE state = 'running' AND worker IS NOT NULL AND worker NOT IN (SELECT id FROM workers)",
        [],
    )?;
    Ok(())
}

fn point_of(space: &Space, text: &str) -> Stored<Point> {
    space.read(text).map_err(|e| Fault::Content(e.to_string()))
}

fn state_text(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Complete => "complete",
        State::Pruned => "pruned",
        State::Failed => "failed",
    }
}

fn state_of(text: &str) -> Stored<State> {
    let states = [State::Running, State::Complete, State::Pruned, State::Failed];
    let found = states.into_iter().find(|s| state_text(*s) == text);
    found.ok_or_else(|| Fault::Content(format!("a trial's state '{text}'")))
}

/// Numbers with a space between, each the shortest text that reads back as the same.
fn numbers_text(numbers: &[f64]) -> String {
    numbers.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>().join(" ")
}

fn read_numbers(text: &str) -> Stored<Vec<f64>> {
    let numbers = text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>();
    numbers.map_err(|_| Fault::Content(format!("a trial's values '{text}'")))
}

/// `STEP:VALUE:last` or `STEP:VALUE:best` for each bar, with a space between.
fn cutoffs_text(cutoffs: &Cutoffs) -> String {
    let word = |c: &Cutoff| format!("{}:{:?}:{}", c.step, c.value, if c.best { "best" } else { "last" });
    cutoffs.0.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn read_cutoffs(text: &str) -> Stored<Cutoffs> {
    let word = |word: &str| {
        let mut parts = word.split(':');
        let (step, value) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Cutoff { step, value, best: parts.next()? == "best" })
    };
    let cutoffs = text.split_ascii_whitespace().map(word).collect::<Option<_>>();
    cutoffs.map(Cutoffs).ok_or_else(|| Fault::Content(format!("a trial's bars '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_bars_keep_every_bit(
            numbers in proptest::collection::vec(any::<f64>(), 0..5),
            bars in proptest::collection::vec((1u64..1000, any::<f64>(), any::<bool>()), 0..5),
        ) {
            let bits = |v: &[f64]| v.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() }).collect::<Vec<_>>();
            let read = read_numbers(&numbers_text(&numbers)).expect("readable");
            prop_assert_eq!(bits(&read), bits(&numbers));
            let cutoffs = Cutoffs(bars.into_iter().map(|(step, value, best)| Cutoff { step, value, best }).collect());
            let read = read_cutoffs(&cutoffs_text(&cutoffs)).expect("readable");
            prop_assert_eq!(cutoffs_text(&read), cutoffs_text(&cutoffs));
            prop_assert_eq!(read.0.len(), cutoffs.0.len());
        }
    }

    #[test]
    fn nonsense_is_damage() {
        for text in ["x", "1.0 y", "1,0"] {
            assert!(matches!(read_numbers(text), Err(Fault::Content(_))), "{text}");
        }
        for text in ["1", "1:2", "a:2:best", "1:b:best"] {
            assert!(matches!(read_cutoffs(text), Err(Fault::Content(_))), "{text}");
        }
        assert!(matches!(state_of("done"), Err(Fault::Content(_))));
    }
}
