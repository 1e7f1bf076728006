//! A kernel with everything it can call, its constants broadcast over 32 lanes and its symbols placed.

use crate::access::Placed;
use crate::isa::{Const, Func, SharedVar};
use crate::module::Inner;
use crate::{ErrorKind, SimError};
use std::collections::HashMap;
use std::sync::Arc;

/// First shared address: offset 0 stays invalid.
pub(crate) const SHARED_FIRST: u64 = 1024;
/// Unreachable bytes behind each static shared variable.
pub(crate) const SHARED_GAP: u64 = 64;

/// A function with its constants in place.
#[derive(Debug)]
pub(crate) struct Linked {
    pub func: Arc<Func>,
    pub c32: Vec<[u32; 32]>,
    pub c64: Vec<[u64; 32]>,
}

/// A linked kernel.
#[derive(Debug)]
pub(crate) struct Program {
    /// By module function index.
    pub funcs: Vec<Option<Linked>>,
    pub entry: u32,
    /// Reads shared memory through the async proxy somewhere.
    pub async_proxy: bool,
    vars: Vec<SharedVar>,
}

impl Program {
    pub(crate) fn link(m: &Inner, kernel: &str, globals: &[u64]) -> Result<Program, SimError> {
        let entry = m.func_names.get(kernel).copied().filter(|&i| m.funcs[i as usize].entry);
        let Some(entry) = entry else { return Err(SimError::new(ErrorKind::NoSuchKernel, "not an entry")) };
        let mut funcs: Vec<Option<Arc<Func>>> = vec![None; m.funcs.len()];
        let mut vars: Vec<SharedVar> = Vec::new();
        let mut work = vec![entry];
        while let Some(i) = work.pop() {
            if funcs[i as usize].is_some() || !m.funcs[i as usize].has_body {
                continue;
            }
            let f = m.decoded(i)?;
            work.extend(&f.calls);
            if f.indirect {
                // Tables of function pointers live in initialisers.
                let named = m.globals.iter().flat_map(|g| &g.pointers).filter_map(|p| m.func_names.get(&p.3));
                work.extend(named);
            }
            for v in &f.shared {
                if !vars.iter().any(|w| w.id == v.id) {
                    vars.push(v.clone());
                }
            }
            funcs[i as usize] = Some(f);
        }
        let async_proxy = funcs.iter().flatten().any(|f| f.async_proxy);
        let (placed, _) = crate::sim::place(&vars, 0);
        let order = vars.iter().filter(|v| !v.dynamic).chain(vars.iter().filter(|v| v.dynamic));
        let at: HashMap<u32, u64> = order.zip(&placed).map(|(v, p)| (v.id, p.start)).collect();
        let value = |c: &Const| match *c {
            Const::Value(v) => v,
            Const::Global(i, add) => globals.get(i as usize).copied().unwrap_or(0).wrapping_add(add as u64),
            Const::Shared(i, add) => at.get(&i).copied().unwrap_or(0).wrapping_add(add as u64),
        };
        let funcs = funcs
            .into_iter()
            .map(|f| {
                f.map(|func| Linked {
                    c32: func.c32.iter().map(|c| [value(c) as u32; 32]).collect(),
                    c64: func.c64.iter().map(|c| [value(c); 32]).collect(),
                    func,
                })
            })
            .collect();
        Ok(Program { funcs, entry, async_proxy, vars })
    }

    /// Shared variables in place for a launch, and the bytes of shared memory including gaps.
    pub(crate) fn place(&self, dynamic: u32) -> (Vec<Placed>, usize) {
        let (placed, end) = crate::sim::place(&self.vars, dynamic);
        (placed, end.min(1 << 30) as usize)
    }

    /// Shared memory as the hardware counts it: without gaps.
    pub(crate) fn shared_bytes(&self, dynamic: u32) -> u64 {
        self.vars
            .iter()
            .filter(|v| !v.dynamic)
            .fold(0u64, |at, v| at.next_multiple_of(v.align.max(1) as u64).saturating_add(v.size))
            .saturating_add(dynamic as u64)
    }
}
