//! The memory-consistency words of an opcode: how strong a load, store, atomic or fence is, and for whom.

use crate::alu::Opcode;
use crate::isa::{Order, Scope, Sem};

/// The scope an opcode names.
fn scope(op: &Opcode<'_>) -> Option<Scope> {
    op.mods.iter().find_map(|m| {
        Some(match *m {
            "cta" => Scope::Cta,
            "cluster" => Scope::Cluster,
            "gpu" | "gl" => Scope::Gpu,
            "sys" => Scope::Sys,
            _ => return None,
        })
    })
}

/// The semantics an opcode names.
fn sem(op: &Opcode<'_>) -> Option<Sem> {
    op.mods.iter().find_map(|m| {
        Some(match *m {
            "weak" => Sem::Weak,
            "volatile" => Sem::Volatile,
            "mmio" => Sem::Mmio,
            "relaxed" => Sem::Relaxed,
            "acquire" => Sem::Acquire,
            "release" => Sem::Release,
            "acq_rel" => Sem::AcqRel,
            "sc" => Sem::Sc,
            _ => return None,
        })
    })
}

/// Of `ld` and `st`: weak unless the opcode says more. `.volatile` and `.mmio` act at system scope.
pub(super) fn of_access(op: &Opcode<'_>) -> Order {
    let sem = sem(op).unwrap_or(Sem::Weak);
    let default = if matches!(sem, Sem::Volatile | Sem::Mmio) { Scope::Sys } else { Scope::Gpu };
    Order { sem, scope: scope(op).unwrap_or(default) }
}

/// Of `atom` and `red`: relaxed at GPU scope unless the opcode says more.
pub(super) fn of_atomic(op: &Opcode<'_>) -> Order {
    Order { sem: sem(op).unwrap_or(Sem::Relaxed), scope: scope(op).unwrap_or(Scope::Gpu) }
}

/// Of `fence` (`.acq_rel` when it names no semantics) and of `membar`, the older name of `fence.sc`. `None` for the fences
/// between proxies and of barrier initialisation, which order something else.
pub(super) fn of_fence(op: &Opcode<'_>) -> Option<Order> {
    if op.mods.iter().any(|m| m.starts_with("proxy") || m.starts_with("mbarrier")) {
        return None;
    }
    let default = if op.base == "membar" { Sem::Sc } else { Sem::AcqRel };
    Some(Order { sem: sem(op).unwrap_or(default), scope: scope(op)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_orders() {
        let access = |s: &'static str| of_access(&Opcode::new(s));
        assert_eq!(access("ld.global.f32"), Order { sem: Sem::Weak, scope: Scope::Gpu });
        assert_eq!(access("ld.acquire.cta.global.u32"), Order { sem: Sem::Acquire, scope: Scope::Cta });
        assert_eq!(access("st.volatile.shared.u32"), Order { sem: Sem::Volatile, scope: Scope::Sys });
        assert_eq!(access("ld.mmio.relaxed.sys.global.u32"), Order { sem: Sem::Mmio, scope: Scope::Sys });
        let atomic = |s: &'static str| of_atomic(&Opcode::new(s));
        assert_eq!(atomic("atom.global.add.u32"), Order { sem: Sem::Relaxed, scope: Scope::Gpu });
        assert_eq!(atomic("red.release.sys.global.add.u32"), Order { sem: Sem::Release, scope: Scope::Sys });
        let fence = |s: &'static str| of_fence(&Opcode::new(s));
        assert_eq!(fence("fence.acq_rel.cluster"), Some(Order { sem: Sem::AcqRel, scope: Scope::Cluster }));
        assert_eq!(fence("membar.gl"), Some(Order { sem: Sem::Sc, scope: Scope::Gpu }));
        assert_eq!(fence("fence.proxy.async.shared::cta"), None);
        assert_eq!(fence("fence.mbarrier_init.release.cluster"), None);
    }
}
