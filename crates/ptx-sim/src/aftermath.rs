//! A read of memory nobody has written may be two things: memory that is never written, or a reader that did not wait
//! for the writer. Which one it is shows later: [`Aftermath`] holds such a finding back while the rest of the launch runs on
//! for a while, without the lanes that read. Does a writer come that races with the read, be it a copy in flight, the race is
//! reported in its place.
//!
//! Called by the loop over clusters in [`crate::parallel`]. The lanes that read have been taken out of their warp by the error, so
//! nobody works with what they would have read, and barriers that await them stay shut.

use crate::config::Checks;
use crate::{ErrorKind, SimError};

/// Warp instructions executed to see whether an uninitialised read is a race.
pub(crate) const BUDGET: i64 = 1 << 20;

/// The finding that is held back, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// With the place of its cluster in the order.
    found: Option<(u64, SimError)>,
}

/// What becomes of a cluster that reported an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It goes on before all others.
    Same,
    /// It goes on when it is its turn.
    Later,
    /// It cannot go on.
    Drop,
}

impl Aftermath {
    /// The cluster at place `at` of the order reported an error: whether and how to go on (for at most [`BUDGET`] instructions), or
    /// the error to end with.
    pub(crate) fn judge(&mut self, at: u64, error: SimError, checks: &Checks) -> Result<Next, SimError> {
        let race = match error.kind {
            ErrorKind::UninitialisedShared if checks.shared_races => Some(Next::Same),
            ErrorKind::UninitialisedGlobal if checks.global_races => Some(Next::Later),
            _ => None,
        };
        match (&self.found, race) {
            (None, None) => Err(error),
            (None, Some(next)) => {
                self.found = Some((at, error));
                Ok(next)
            }
            (Some((_, f)), _) => match (f.kind, error.kind) {
                (ErrorKind::UninitialisedShared, ErrorKind::SharedRace | ErrorKind::AsyncInFlight)
                | (ErrorKind::UninitialisedGlobal, ErrorKind::GlobalRace) => Err(error),
                (_, ErrorKind::InstructionBudget) => Err(f.clone()),
                // These lanes stay behind, too.
                _ => Ok(race.unwrap_or(Next::Drop)),
            },
        }
    }

    /// No cluster may start any more: in shared memory only the running ones have a say.
    pub(crate) fn closed(&self) -> bool {
        self.found.as_ref().is_some_and(|(_, f)| f.kind == ErrorKind::UninitialisedShared)
    }

    /// The launch is over: what was found.
    pub(crate) fn end(self) -> Option<(u64, SimError)> {
        self.found
    }
}
