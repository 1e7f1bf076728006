//! Which process works on a study, and whether it still lives.
//!
//! A trial whose process was killed must be tried again at once, and one whose process merely takes long must not. Where
//! the system tells processes apart for sure (Linux: the boot, the namespace, the process id and when it started), that
//! decides. Elsewhere, or from another container, the age of the process's heartbeat does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a process says that it lives.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Seconds without a heartbeat after which a process that cannot be looked up counts as dead.
const SILENCE: f64 = 30.0;

/// A process that works, or worked, on a study.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Process {
    /// Within which process ids are unique: boot and namespace; empty where that is not known.
    pub place: String,
    /// The process id.
    pub id: i64,
    /// When it started, in the system's ticks; 0 where that is not known.
    pub started: i64,
    /// Unix time of its last heartbeat.
    pub heartbeat: f64,
}

impl Process {
    /// This one.
    pub fn this() -> Process {
        let id = i64::from(std::process::id());
        let started = stat(id).map_or(0, |(_, started)| started);
        Process { place: place(started).unwrap_or_default(), id, started, heartbeat: now() }
    }

    /// Whether it lives, as far as `observer`, the process that asks, can tell.
    pub fn is_alive(&self, observer: &Process) -> bool {
        if self.place.is_empty() || self.place != observer.place {
            return now() - self.heartbeat < SILENCE;
        }
        // Ids are used again, so the start must be the same too. A killed process whose parent has not noticed is a zombie.
        stat(self.id).is_some_and(|(state, started)| started == self.started && !matches!(state, 'Z' | 'X'))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The boot and the namespace, where process ids can be looked up. Not where the processes of other users are hidden
/// (`hidepid`), as that of root then is: a hidden one would seem dead.
fn place(started: i64) -> Option<String> {
    stat(1)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    (started > 0).then(|| format!("{} {}", boot.trim(), namespace.display()))
}

/// The state and the start of a process; `None` when there is none, or no way to know.
fn stat(id: i64) -> Option<(char, i64)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the start is the 22nd.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_others_of_its_id_do_not() {
        let this = Process::this();
        assert!(this.is_alive(&this));
        if this.place.is_empty() {
            return;
        }
        let earlier = Process { started: this.started - 1, ..this.clone() };
        assert!(!earlier.is_alive(&this), "the id was used again");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let id = i64::from(child.id());
        let started = stat(id).expect("a child").1;
        let other = Process { id, started, ..this.clone() };
        assert!(other.is_alive(&this));
        child.kill().expect("a kill");
        // Dead before its parent waits for it: a zombie, as soon as the signal has arrived.
        while stat(id).is_some_and(|(state, _)| state != 'Z') {
            std::thread::yield_now();
        }
        assert!(!other.is_alive(&this));
        child.wait().expect("an end");
        assert!(!other.is_alive(&this));
    }

    #[test]
    fn elsewhere_the_heartbeat_decides() {
        let this = Process::this();
        let other = |age: f64| Process { place: "another".into(), heartbeat: now() - age, ..this.clone() };
        assert!(other(1.0).is_alive(&this));
        assert!(!other(SILENCE + 1.0).is_alive(&this));
    }
}
