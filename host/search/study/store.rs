//! The file of a study: an SQLite database in write-ahead-log mode.
//!
//! * `meta(key, value)`: what stays the same ([`Setting`], [`Identity`]), as text.
//! * `trials(number, point, cutoffs, state, ..)`: the point and the bars are there from the moment a trial is asked for, so
//!   that it can be tried again as it was. A trial that runs has a `worker`; one that waits to be tried again has none.
//! * `reports(trial, step, value)`, `attributes(trial, name, value)`: written with the end of the trial. NULL is NaN.
//! * `workers(id, place, pid, started, heartbeat)`: the processes at work.
//!
//! A file is made under another name and published whole, and the first bytes of a file that exists are looked at before
//! SQLite sees it: nothing that is no study is ever written to. Numbers that decide results are kept to the last bit.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::Identity;
use crate::search::space::{Parameter, Space};
use crate::search::{Goal, SearchError, Setting};

/// Of what this program reads and writes; the file's `user_version`.
pub(super) const FORMAT: u32 = 1;

/// SQLite's `application_id`: "IWST".
const APPLICATION: u32 = 0x4957_5354;

/// How every SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

const SCHEMA: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trials(
    number INTEGER PRIMARY KEY,
    point TEXT NOT NULL,
    cutoffs TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running',
    goals TEXT NOT NULL DEFAULT '',
    reason TEXT,
    seconds REAL NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    worker INTEGER,
    asked REAL NOT NULL,
    ended REAL);
CREATE INDEX running ON trials(number, worker) WHERE state = 'running';
CREATE TABLE reports(trial INTEGER, step INTEGER, value REAL, PRIMARY KEY(trial, step)) WITHOUT ROWID;
CREATE TABLE attributes(trial INTEGER, name TEXT, value REAL, PRIMARY KEY(trial, name)) WITHOUT ROWID;
CREATE TABLE workers(id INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, pid INTEGER NOT NULL,
    started INTEGER NOT NULL, heartbeat REAL NOT NULL);";

/// What went wrong, before it is known where.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// What a row holds cannot be.
    Content(String),
    /// Not the storage's matter.
    Search(SearchError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<SearchError> for Fault {
    fn from(error: SearchError) -> Fault {
        Fault::Search(error)
    }
}

pub(super) type Stored<T> = Result<T, Fault>;

impl Fault {
    /// The error for the user.
    pub fn at(self, path: &Path) -> SearchError {
        let damaged = |what: String| {
            format!(
                "the study is damaged ({what}): restore a copy of the file, or start a study in another one"
            )
        };
        let reason = match self {
            Fault::Search(error) => return error,
            Fault::Content(what) => damaged(what),
            Fault::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    "another process has held the study for two minutes: end that process, or try again"
                        .into()
                }
                Some(ErrorCode::DiskFull) => {
                    "the disk is full: free some space, then resume the study".to_owned()
                }
                Some(
                    ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::PermissionDenied
                    | ErrorCode::SystemIoFailure,
                ) => format!(
                    "cannot be read or written ({error}): check the disk, and the permissions of the file and its directory"
                ),
                _ => damaged(error.to_string()),
            },
        };
        study_error(path, reason)
    }
}

/// A [`SearchError::Study`].
pub(super) fn study_error(path: &Path, reason: impl Into<String>) -> SearchError {
    SearchError::Study { path: path.into(), reason: reason.into() }
}

/// The space as text. TOML: its floats are read back to the last bit.
#[derive(Serialize, Deserialize)]
struct SpaceText {
    parameter: Vec<Parameter>,
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Access {
    Write,
    Read,
}

/// A database in memory.
pub(super) fn in_memory(setting: &Setting, identity: &Identity) -> Result<Connection, SearchError> {
    let path = Path::new(super::MEMORY);
    let conn = Connection::open_in_memory().map_err(|e| Fault::from(e).at(path))?;
    fill(&conn, setting, identity).map_err(|e| e.at(path))?;
    Ok(conn)
}

/// Makes the file unless it exists; whether it was made. Another process may be faster: then it is not.
pub(super) fn create(path: &Path, setting: &Setting, identity: &Identity) -> Result<bool, SearchError> {
    // In this order: whoever makes the study publishes the file before it has a log.
    let log = beside(path, "-wal");
    let has_log = log.exists();
    match path.try_exists() {
        Ok(true) => return Ok(false),
        Ok(false) if !has_log => {}
        Ok(false) => {
            let reason = format!(
                "the file is gone but its log {} is there: restore the file, or remove the log too",
                log.display()
            );
            return Err(study_error(path, reason));
        }
        Err(e) => return Err(study_error(path, format!("cannot be looked at ({e}): check the permissions"))),
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |e: &std::io::Error| {
        let reason = match e.kind() {
            ErrorKind::NotFound => format!("there is no directory {}: make it first", parent.display()),
            kind => format!("cannot be made in {} ({kind}): check the permissions", parent.display()),
        };
        study_error(path, reason)
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-study-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(parent).map_err(|e| unwritable(&e))?;
    let made = (|| -> Stored<()> {
        let conn = Connection::open_with_flags(file.path(), flags(Access::Write))?;
        fill(&conn, setting, identity)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        conn.close().map_err(|(_, e)| e.into())
    })();
    made.map_err(|e| e.at(path))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(unwritable(&e.error)),
    }
}

/// Opens a file that exists, when its first bytes say that it is a study of this format and SQLite finds it sound.
pub(super) fn open(path: &Path, access: Access) -> Result<Connection, SearchError> {
    check_header(path)?;
    let opened = (|| -> Stored<Connection> {
        // A connection that may write but does not leaves no log behind; where that is not allowed, the others serve.
        let conn = match connect(path, Access::Write) {
            Err(Fault::Sql(e)) if access == Access::Read && is_forbidden(&e) => {
                connect(path, Access::Read).or_else(|e| immutable(path).map_err(|_| e))?
            }
            conn => conn?,
        };
        if access == Access::Read {
            conn.pragma_update(None, "query_only", true)?;
        }
        let sound: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(Fault::Content(sound));
        }
        Ok(conn)
    })();
    opened.map_err(|e| e.at(path))
}

fn flags(access: Access) -> OpenFlags {
    let base = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match access {
        Access::Write => base | OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read => base | OpenFlags::SQLITE_OPEN_READ_ONLY,
    }
}

/// A connection that has read something, so that it is known to work.
pub(super) fn connect(path: &Path, access: Access) -> Stored<Connection> {
    let mut conn = Connection::open_with_flags(path, flags(access))?;
    conn.busy_handler(Some(wait))?;
    conn.set_prepared_statement_cache_capacity(32);
    // A commit survives the end of the process, and a power cut loses the last ones at most: those trials are run again.
    conn.pragma_update(None, "synchronous", "normal")?;
    if access == Access::Write && conn.is_readonly("main")? {
        return Err(Fault::Sql(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
            None,
        )));
    }
    conn.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    Ok(conn)
}

/// Whether the system refuses to write.
fn is_forbidden(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied))
}

/// A file on a medium that cannot be written, and that has no log.
fn immutable(path: &Path) -> Stored<Connection> {
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(Fault::Content("its log is there and cannot be read".into()));
    }
    let escaped = |c: char| match c {
        '%' | '?' | '#' => format!("%{:02x}", c as u32),
        c => c.to_string(),
    };
    let name: String = path.to_string_lossy().chars().map(escaped).collect();
    let uri = format!("file:{name}?immutable=1");
    let conn = Connection::open_with_flags(uri, flags(Access::Read) | OpenFlags::SQLITE_OPEN_URI)?;
    conn.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    Ok(conn)
}

/// SQLite's own waiting sleeps ever longer and gives up early; with many processes that write for microseconds each,
/// short sleeps of different lengths are fair.
fn wait(tries: i32) -> bool {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    sleep(Duration::from_micros(
        500 * u64::from(tries.clamp(1, 10).unsigned_abs()) + u64::from(nanos % 1000),
    ));
    tries < 22_000 // Two minutes.
}

/// Whether the file is a study, of any format, as its first bytes say.
pub(super) fn is_study(path: &Path) -> bool {
    let head = head(path).unwrap_or_default();
    head.starts_with(SQLITE) && word(&head, 68) == Some(APPLICATION)
}

/// The first bytes of a file.
fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = vec![];
    fs::File::open(path)?.take(100).read_to_end(&mut head)?;
    Ok(head)
}

/// The big-endian number at a place of SQLite's header.
fn word(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..at + 4).map(|b| b.iter().fold(0, |word, &byte| word << 8 | u32::from(byte)))
}

/// What the first bytes of the file say, before SQLite may touch it.
fn check_header(path: &Path) -> Result<(), SearchError> {
    let bad = |reason: String| Err(study_error(path, reason));
    let head = match head(path) {
        Ok(head) => head,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return bad("there is no such file: check the name".into());
        }
        Err(e) if e.kind() == ErrorKind::IsADirectory => {
            return bad("is a directory, not a study: give a file".into());
        }
        Err(e) => return bad(format!("cannot be read ({}): check the permissions", e.kind())),
    };
    match (head.starts_with(SQLITE), word(&head, 60), word(&head, 68)) {
        (true, Some(FORMAT), Some(APPLICATION)) => Ok(()),
        (true, Some(format), Some(APPLICATION)) => bad(format!(
            "the study has format {format}, and this program reads format {FORMAT}: use the version that wrote it"
        )),
        _ => bad("is no study: give the file of a study, or a new name".into()),
    }
}

/// `path` with something appended: SQLite's files beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Tables and `meta` of a new study.
fn fill(conn: &Connection, setting: &Setting, identity: &Identity) -> Stored<()> {
    conn.execute_batch(&format!(
        "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; {SCHEMA}"
    ))?;
    let text = SpaceText { parameter: setting.space.parameters().to_vec() };
    let space = toml::to_string(&text).map_err(|e| SearchError::Space(format!("the space: {e}")))?;
    let json = |e: serde_json::Error| SearchError::Options(format!("the study's description: {e}"));
    let rows = [
        ("program", format!("ironwarp {}", env!("CARGO_PKG_VERSION"))),
        ("created", super::process::now().to_string()),
        ("space", space),
        ("space_hash", format!("{:016x}", setting.space.hash())),
        ("goals", serde_json::to_string(&setting.goals).map_err(json)?),
        ("seed", setting.seed.to_string()),
        ("steps", setting.steps.to_string()),
        ("lag", setting.lag.to_string()),
        ("sampler", identity.sampler.clone()),
        ("pruner", identity.pruner.clone()),
        ("data", identity.data.clone()),
        ("data_hash", format!("{:016x}", identity.data_hash)),
        ("objective", identity.objective.clone()),
        ("about", serde_json::to_string(&identity.about).map_err(json)?),
    ];
    for (key, value) in rows {
        conn.execute("INSERT INTO meta VALUES (?, ?)", (key, value))?;
    }
    Ok(conn.execute_batch("COMMIT")?)
}

/// One value of `meta`.
pub(super) fn meta(conn: &Connection, key: &str) -> Stored<String> {
    let value = conn.query_row("SELECT value FROM meta WHERE key = ?", [key], |row| row.get(0)).optional()?;
    value.ok_or_else(|| Fault::Content(format!("it lacks its {key}")))
}

/// What [`fill`] wrote. The space is without what only code can say ([`Space::allow`]).
pub(super) fn settings(conn: &Connection) -> Stored<(Setting, Identity)> {
    let wrong = |key: &str| Fault::Content(format!("its {key} is unreadable"));
    let number = |key: &str| meta(conn, key)?.parse::<u64>().map_err(|_| wrong(key));
    let text: SpaceText = toml::from_str(&meta(conn, "space")?).map_err(|_| wrong("space"))?;
    let goals: Vec<Goal> = serde_json::from_str(&meta(conn, "goals")?).map_err(|_| wrong("goals"))?;
    let setting = Setting {
        space: Space::new(text.parameter).map_err(|_| wrong("space"))?,
        goals,
        seed: number("seed")?,
        steps: number("steps")?,
        lag: number("lag")?,
    };
    let hash = meta(conn, "data_hash")?;
    let identity = Identity {
        sampler: meta(conn, "sampler")?,
        pruner: meta(conn, "pruner")?,
        data: meta(conn, "data")?,
        data_hash: u64::from_str_radix(&hash, 16).map_err(|_| wrong("data_hash"))?,
        objective: meta(conn, "objective")?,
        about: serde_json::from_str(&meta(conn, "about")?).map_err(|_| wrong("about"))?,
    };
    Ok((setting, identity))
}

/// Whether the study in the file is the one that is meant; else in what it differs.
pub(super) fn compare(
    conn: &Connection,
    stored: (&Setting, &Identity),
    wanted: (&Setting, &Identity),
) -> Stored<Result<(), String>> {
    let ((a, i), (b, j)) = (stored, wanted);
    let names = |s: &Setting| s.goals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let differs = |what: &str, stored: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
        let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        let (stored, wanted) = (none(stored.to_string()), none(wanted.to_string()));
        Ok(Err(format!(
            "holds a study with {what} {stored}, not {wanted}: give the same {what} to resume it, or another file"
        )))
    };
    let hash = format!("{:016x}", b.space.hash());
    let stored_hash = meta(conn, "space_hash")?;
    if stored_hash != hash {
        return Ok(Err(
            "holds a study of another search space: give the same space to resume it, or another file".into(),
        ));
    }
    if i.data != j.data {
        return differs("data", &i.data, &j.data);
    }
    if a.goals != b.goals {
        return differs("objectives", &names(a), &names(b));
    }
    for (what, stored, wanted) in
        [("seed", a.seed, b.seed), ("steps", a.steps, b.steps), ("lag", a.lag, b.lag)]
    {
        if stored != wanted {
            return differs(what, &stored, &wanted);
        }
    }
    // After the seed: another one divides the same data into other parts.
    if i.data_hash != j.data_hash {
        return Ok(Err(format!(
            "the data '{}' has changed since the study began: restore it, or start a study in another file",
            i.data
        )));
    }
    let texts = [
        ("sampler", &i.sampler, &j.sampler),
        ("pruner", &i.pruner, &j.pruner),
        ("options", &i.objective, &j.objective),
    ];
    match texts.into_iter().find(|(_, stored, wanted)| stored != wanted) {
        Some((what, stored, wanted)) => differs(what, stored, wanted),
        None => Ok(Ok(())),
    }
}
