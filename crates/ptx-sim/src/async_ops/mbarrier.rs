//! Mbarriers: phases that complete when all expected arrivals came and all announced bytes were delivered.
//!
//! The 64-bit object in shared memory is opaque: its state lives in a table keyed by block and offset, the memory holds [`MARK`].
//! A phase is incomplete while arrivals are pending or the transaction count is not zero; when both are zero the next phase begins
//! at once. What a wait by parity asks is whether the phase of that parity is the one just completed.
//!
//! The state token of an arrival holds the phase (from bit 20) and the pending count before the arrival (bits 0 to 19).

use super::{Ctx, Engine, Place, Target};
use crate::ErrorKind;
use crate::access::Shared;
use crate::error::{Fault, Step};
use crate::race::Actor;
use std::collections::HashMap;

/// What the memory of a live mbarrier holds.
pub(super) const MARK: u64 = 0x7265_6972_7261_626d;
/// Largest number of arrivals, and largest transaction count.
pub(super) const MAX_COUNT: u32 = (1 << 20) - 1;

/// State of a live mbarrier.
#[derive(Debug)]
pub(super) struct Mbarrier {
    /// Arrivals a phase takes.
    expected: u32,
    /// Arrivals the current phase still lacks.
    pub pending: u32,
    /// Bytes announced and not delivered.
    pub tx: i64,
    /// Phases completed so far, which is the number of the current one.
    pub phase: u64,
    /// The thread whose arrival (or delivered bytes) completed the last phase, if one did.
    pub completer: Option<u32>,
    /// [`Engine::meetings`] when the last phase completed.
    pub completed: u64,
    /// Last phase each thread (block << 10 | thread) saw completed.
    seen: HashMap<u32, i64>,
}

/// An arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub count: u32,
    /// Bytes announced before arriving.
    pub expect: u32,
    /// Later phases expect `count` arrivals fewer.
    pub drop: bool,
    /// The program promises that the phase does not complete by this.
    pub no_complete: bool,
    /// Who arrives, for the race detector; `None`: the arrival orders nothing (`.relaxed`).
    pub actor: Option<Actor>,
}

/// What a wait finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    /// This phase is not complete yet.
    Pending(u64),
}

fn fault<T>(kind: ErrorKind, at: Place, shared: &[Shared], text: impl std::fmt::Display) -> Step<T> {
    let mut f = Fault::new(kind, format!("{text}: {}", name(at, shared)));
    f.address = Some(at.at);
    Err(f)
}

/// What lies at a place, in words.
pub(super) fn name(p: Place, shared: &[Shared]) -> String {
    let what = shared.get(p.rank).map_or_else(String::new, |s| s.describe(p.at));
    if shared.len() > 1 { format!("{what}, block {} of the cluster", p.rank) } else { what }
}

impl Engine {
    /// There is a live mbarrier at a place.
    pub(super) fn alive(&mut self, at: Place, ctx: &mut Ctx<'_>) -> Step {
        self.live(at, ctx).map(|_| ())
    }

    fn live(&mut self, at: Place, ctx: &mut Ctx<'_>) -> Step<Option<&mut Mbarrier>> {
        match self.barriers.get_mut(&at) {
            Some(b) => Ok(Some(b)),
            None if !ctx.checks.async_rules => Ok(None),
            None => fault(ErrorKind::MbarrierUninitialised, at, ctx.shared, "no live mbarrier is here"),
        }
    }

    /// `mbarrier.init`.
    pub(super) fn init(&mut self, at: Place, count: u32, ctx: &mut Ctx<'_>) -> Step {
        if ctx.checks.async_rules {
            if self.barriers.contains_key(&at) {
                let text = "a live mbarrier is here already; `mbarrier.inval` ends one";
                return fault(ErrorKind::MbarrierReinitialised, at, ctx.shared, text);
            }
            if count == 0 || count > MAX_COUNT {
                let text = format!("an mbarrier for {count} arrivals; 1 to {MAX_COUNT} are possible");
                return fault(ErrorKind::MbarrierCount, at, ctx.shared, text);
            }
            let own = &ctx.shared[at.rank];
            if let Some((kind, _, text)) = own.watch.conflict(at.at, 8, true, false) {
                return fault(kind, at, ctx.shared, text);
            }
        }
        // The object has 20 bits for a count; unchecked, the rest is lost.
        let (expected, pending) = (count & MAX_COUNT, count & MAX_COUNT);
        self.barriers.insert(
            at,
            Mbarrier {
                expected,
                pending,
                tx: 0,
                phase: 0,
                completer: None,
                completed: 0,
                seen: HashMap::new(),
            },
        );
        self.events += 1;
        let own = &mut ctx.shared[at.rank];
        own.arena.bytes[at.at as usize..at.at as usize + 8].copy_from_slice(&MARK.to_le_bytes());
        own.arena.init.set(at.at as usize, 8);
        if ctx.checks.async_rules {
            own.watch.barrier(at.at, true);
        }
        Ok(())
    }

    /// `mbarrier.inval`.
    pub(super) fn invalidate(&mut self, at: Place, ctx: &mut Ctx<'_>) -> Step {
        self.live(at, ctx)?;
        if ctx.checks.async_rules
            && let Some(f) = self.flights.iter().find(|f| f.completes(at))
        {
            let text = format!("a copy in flight (PTX line {}) still signals it", f.origin.line);
            return fault(ErrorKind::AsyncInFlight, at, ctx.shared, text);
        }
        if self.barriers.remove(&at).is_some() && ctx.checks.async_rules {
            let own = &mut ctx.shared[at.rank];
            own.watch.barrier(at.at, false);
            let len = own.arena.bytes.len();
            own.arena.init.unset(at.at as usize, 8, len);
        }
        Ok(())
    }

    /// An arrival; the token of the phase it belongs to.
    pub(super) fn arrive(&mut self, at: Place, a: Arrival, ctx: &mut Ctx<'_>) -> Step<u64> {
        self.events += 1;
        self.add_bytes(at, a.expect as i64, ctx)?;
        let Some(b) = self.live(at, ctx)? else { return Ok(0) };
        let (phase, token) = (b.phase, b.phase << 20 | b.pending as u64);
        if ctx.checks.async_rules && (a.count == 0 || a.count > b.pending) {
            let text = format!(
                "{} arrivals at an mbarrier that lacks {} of {} in phase {}",
                a.count, b.pending, b.expected, b.phase
            );
            return fault(ErrorKind::MbarrierCount, at, ctx.shared, text);
        }
        b.pending = b.pending.saturating_sub(a.count);
        if a.drop {
            b.expected = b.expected.saturating_sub(a.count);
        }
        if a.no_complete && ctx.checks.async_rules && b.pending == 0 && b.tx == 0 {
            let text = format!("this `.noComplete` arrival completes phase {}", b.phase);
            return fault(ErrorKind::MbarrierCount, at, ctx.shared, text);
        }
        if let Some(actor) = a.actor {
            ctx.publish(actor, at, phase);
        }
        self.settle(at, ctx)?;
        Ok(token)
    }

    /// Announces bytes (positive) or delivers them (negative).
    pub(super) fn add_bytes(&mut self, at: Place, bytes: i64, ctx: &mut Ctx<'_>) -> Step {
        if bytes == 0 {
            return Ok(());
        }
        self.events += 1;
        let Some(b) = self.live(at, ctx)? else { return Ok(()) };
        b.tx = b.tx.saturating_add(bytes);
        if ctx.checks.async_rules && b.tx.unsigned_abs() > MAX_COUNT as u64 {
            let text = format!("the transaction count becomes {}; it goes to {MAX_COUNT}", b.tx);
            return fault(ErrorKind::TransactionCount, at, ctx.shared, text);
        }
        Ok(())
    }

    /// One arrival more is needed in the current phase.
    pub(super) fn add_pending(&mut self, at: Place, ctx: &mut Ctx<'_>) -> Step {
        let Some(b) = self.live(at, ctx)? else { return Ok(()) };
        b.pending = (b.pending + 1) & MAX_COUNT;
        if ctx.checks.async_rules && b.pending == 0 {
            return fault(ErrorKind::MbarrierCount, at, ctx.shared, "the pending count overflows");
        }
        Ok(())
    }

    /// Ends the phase if nothing is missing.
    pub(super) fn settle(&mut self, at: Place, ctx: &mut Ctx<'_>) -> Step {
        let Some(b) = self.barriers.get_mut(&at) else { return Ok(()) };
        if b.pending > 0 || b.tx != 0 {
            return Ok(());
        }
        let ended = b.phase;
        b.phase += 1;
        b.pending = b.expected;
        (b.completer, b.completed) = (None, self.meetings);
        if ctx.checks.async_rules {
            // Bytes of this phase that arrive later would be counted in the next one.
            let late = self.flights.iter().filter(|f| f.targets.iter().any(|t| t.mbar == Some((at, ended))));
            let (bytes, line) = late.fold((0, 0), |(n, _), f| (n + f.bytes, f.origin.line));
            if bytes > 0 {
                let text = format!(
                    "phase {ended} completes although {bytes} bytes of copies (PTX line {line}) are in flight: `expect_tx` announced fewer than come"
                );
                return fault(ErrorKind::TransactionCount, at, ctx.shared, text);
            }
        }
        Ok(())
    }

    /// Whether the phase that a token names is complete.
    pub(super) fn test_token(
        &mut self,
        at: Place,
        token: u64,
        thread: u32,
        ctx: &mut Ctx<'_>,
    ) -> Step<Outcome> {
        let Some(b) = self.live(at, ctx)? else { return Ok(Outcome::Complete) };
        let asked = token >> 20;
        if asked == b.phase {
            return Ok(Outcome::Pending(asked));
        }
        if asked.checked_add(1) != Some(b.phase) && ctx.checks.async_rules {
            let text = format!(
                "the token is of phase {asked}, the mbarrier is in phase {}; a wait may ask for this phase and the one before",
                b.phase
            );
            return fault(ErrorKind::MbarrierPhase, at, ctx.shared, text);
        }
        b.saw(thread);
        Ok(Outcome::Complete)
    }

    /// Whether the phase of a parity is complete.
    pub(super) fn test_parity(
        &mut self,
        at: Place,
        parity: u64,
        thread: u32,
        ctx: &mut Ctx<'_>,
    ) -> Step<Outcome> {
        let Some(b) = self.live(at, ctx)? else { return Ok(Outcome::Complete) };
        if b.phase & 1 != parity & 1 {
            b.saw(thread);
            return Ok(Outcome::Complete);
        }
        Ok(Outcome::Pending(b.phase))
    }

    /// What became of a wait for a phase: `None` while it is incomplete.
    pub(super) fn waited(
        &mut self,
        at: Place,
        phase: u64,
        threads: impl Iterator<Item = u32>,
        ctx: &mut Ctx<'_>,
    ) -> Step<bool> {
        let Some(b) = self.barriers.get_mut(&at) else {
            if !ctx.checks.async_rules {
                return Ok(true);
            }
            let text = "the mbarrier was invalidated while this thread waits";
            return fault(ErrorKind::MbarrierUninitialised, at, ctx.shared, text);
        };
        if b.phase == phase {
            return Ok(false);
        }
        if b.phase > phase + 1 && ctx.checks.async_rules {
            let text = format!(
                "phase {phase} and the next one are complete before this thread noticed: its wait by parity may never end"
            );
            return fault(ErrorKind::MbarrierPhase, at, ctx.shared, text);
        }
        threads.for_each(|t| b.saw(t));
        Ok(true)
    }

    /// Why the wait of a thread for a phase cannot end.
    pub(crate) fn hopeless(&self, at: Place, phase: u64, thread: u32, shared: &[Shared]) -> Box<Fault> {
        let (kind, text) = match self.barriers.get(&at) {
            None => {
                (ErrorKind::Deadlock, "no warp can run: this one waits at an mbarrier that is gone".into())
            }
            Some(b) if b.pending == 0 => (
                ErrorKind::TransactionCount,
                format!(
                    "no warp can run: phase {phase} has all its arrivals and a transaction count of {}, but no copy is in flight: {}",
                    b.tx,
                    if b.tx > 0 {
                        "`expect_tx` announced more than came"
                    } else {
                        "more came than `expect_tx` announced"
                    }
                ),
            ),
            Some(b) => match b.missed(thread) {
                Some(missed) => (
                    ErrorKind::MbarrierPhase,
                    format!(
                        "no warp can run: this thread waits for phase {missed} by its parity, but phase {} is complete, too",
                        phase.saturating_sub(1)
                    ),
                ),
                None => (
                    ErrorKind::Deadlock,
                    format!(
                        "no warp can run: this one waits for phase {phase} of an mbarrier, which lacks {} of {} arrivals and has a transaction count of {}",
                        b.pending, b.expected, b.tx
                    ),
                ),
            },
        };
        let mut f = Fault::new(kind, format!("{text}: {}", name(at, shared)));
        f.address = Some(at.at);
        f
    }
}

impl Mbarrier {
    /// A thread saw the phase before the current one completed.
    fn saw(&mut self, thread: u32) {
        self.seen.insert(thread, self.phase as i64 - 1);
    }

    /// The phase that a thread seems to wait for by the parity of the current one, when it is over.
    fn missed(&self, thread: u32) -> Option<i64> {
        let wants = self.seen.get(&thread)? + 1;
        let behind = self.phase as i64 - wants;
        (behind >= 2 && behind % 2 == 0).then_some(wants)
    }
}

impl Target {
    /// The target's mbarrier.
    pub(super) fn barrier(&self) -> Option<Place> {
        self.mbar.map(|m| m.0)
    }
}
