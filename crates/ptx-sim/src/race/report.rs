//! A race in words: who did what where, and what is missing between the two.

use super::know::bits;
use super::touch::{Clash, home};
use super::{Actor, FIRST_STREAM, FLIGHT, Place, Races};
use crate::ErrorKind;
use crate::access::Kind;
use crate::error::{Fault, Other};
use crate::isa::Scope;

impl Races {
    #[cold]
    pub(super) fn clash(&self, c: Clash, actor: Actor, place: Place) -> Box<Fault> {
        let (mine, other) = (*self.table.record(c.mine), *self.table.record(c.other));
        let me = mine.touched(c.mine, c.byte).trailing_zeros();
        // Of several lanes at once, one that is not me.
        let them = other.touched(c.other, c.byte);
        let own = mine.agent == other.agent;
        let them = bits(them).find(|&l| !own || l != me).unwrap_or(me);
        let (here, there) = (
            home(mine.agent, self.warps, &self.stream_homes),
            home(other.agent, self.warps, &self.stream_homes),
        );
        let thread =
            |agent: u32, lane: u32| (agent < FIRST_STREAM).then(|| 32 * (agent % self.warps.max(1)) + lane);
        let who = |agent: u32, lane: u32| match thread(agent, lane) {
            Some(t) => format!("thread {t}"),
            None => "an asynchronous operation".into(),
        };
        let verb = |k: Kind| match k {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Atomic | Kind::Swap => "updates",
        };
        let done = match other.how.kind {
            Kind::Read => "read",
            Kind::Write => "written",
            Kind::Atomic | Kind::Swap => "updated",
        };
        let far =
            if here == there { String::new() } else { format!(" of block {:?}", self.shape.index(there)) };
        let narrow = match actor.block {
            FLIGHT => None,
            b => self.blocks[b as usize].warps[actor.warp as usize].narrow,
        };
        let scope = |s: Scope| match s {
            Scope::Cta => ".cta",
            Scope::Cluster => ".cluster",
            Scope::Gpu => ".gpu",
            Scope::Sys => ".sys",
        };
        let missing = match (mine.how.strong, other.how.strong) {
            (Some(a), Some(b)) => {
                format!(
                    ": both are strong, but with scopes {} and {}, too narrow for the two",
                    scope(a),
                    scope(b)
                )
            }
            _ if narrow.is_some_and(|_| here != there) => format!(
                ": the acquire at PTX line {} reads what was released, but with a scope too narrow for the two",
                narrow.unwrap_or(0)
            ),
            _ if own => " with no barrier in between, not even of the warp".into(),
            _ if here == there => " with no barrier in between".into(),
            _ => " with no release and acquire in between".into(),
        };
        let mixed = match (mine.how.strong.is_some(), other.how.strong.is_some()) {
            (true, false) => "; the other is a plain access",
            (false, true) => "; this one is a plain access",
            _ => "",
        };
        let text = format!(
            "{} {} what {}{far} has {done} (PTX line {}){missing}{mixed}",
            who(mine.agent, me),
            verb(mine.how.kind),
            who(other.agent, them),
            other.line
        );
        let kind = match place {
            Place::Shared(_) => ErrorKind::SharedRace,
            Place::Global(_) => ErrorKind::GlobalRace,
        };
        let mut f = Fault::lane(kind, me, c.byte as u64, text);
        f.other = Some(Other {
            line: other.line,
            block: self.shape.index(there),
            thread: thread(other.agent, them),
        });
        f
    }
}
