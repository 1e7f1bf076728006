//! The rules themselves.

use super::cfg::Cfg;
use super::flat::{Flat, names};
use super::taint::{self, Level};
use super::{Finding, LintKind, LintOptions, Severity};
use crate::Module;
use crate::ast::{Ast, Function, Init, Item, Operand};
use crate::module::layout;
use crate::profile;
use std::collections::{HashMap, HashSet};

/// A function with its flat body.
struct Known<'a> {
    function: &'a Function<'a>,
    flat: Flat<'a>,
}

/// All lints that need no assembler.
pub(super) fn module(module: &Module, ast: &Ast<'_>, options: &LintOptions) -> Vec<Finding> {
    let known: Vec<Known<'_>> = ast
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Function(f) if f.body.is_some() => Some(Known { function: f, flat: Flat::new(f) }),
            _ => None,
        })
        .collect();
    let reach = Reach::new(ast, &known);
    let mut out = Vec::new();
    for k in &known {
        let mut at = Reporter { module, kernel: k.function.name, out: &mut out };
        let cfg = Cfg::new(&k.flat);
        local_memory(k, &mut at);
        setmaxnreg(k, &mut at);
        generic_in_loops(k, &cfg, &mut at);
        divergent(k, &cfg, &mut at);
        unreachable(k, &cfg, &mut at);
        unused(k, &reach, options, &mut at);
    }
    out
}

struct Reporter<'m, 'o> {
    module: &'m Module,
    kernel: &'m str,
    out: &'o mut Vec<Finding>,
}

impl Reporter<'_, '_> {
    fn push(&mut self, kind: LintKind, severity: Severity, line: u32, loc: (u32, u32), message: String) {
        let file = self.module.inner.files.get(&loc.0).cloned();
        let source = file.filter(|_| loc.1 != 0).map(|f| (f, loc.1));
        let kernel = self.kernel.to_string();
        self.out.push(Finding { kind, severity, kernel, line, source, message });
    }

    fn site(&mut self, kind: LintKind, severity: Severity, k: &Known<'_>, site: usize, message: String) {
        let s = &k.flat.sites[site];
        self.push(kind, severity, s.inst.line.0, s.loc, message);
    }
}

fn local_memory(k: &Known<'_>, at: &mut Reporter<'_, '_>) {
    for v in &k.flat.locals {
        let bytes = layout(v).map_or(0, |l| l.0);
        let message = format!(
            "`{}` keeps {bytes} bytes of each thread in local memory, which is global memory behind a cache; index arrays with \
             constants (unroll the loop), or keep them in shared memory",
            v.name
        );
        at.push(LintKind::LocalMemory, Severity::Warning, v.line.0, (0, 0), message);
    }
}

fn setmaxnreg(k: &Known<'_>, at: &mut Reporter<'_, '_>) {
    let f = k.function;
    let has = |name: &str| f.directives.iter().any(|d| d.0 == name);
    let bounded = has(".maxnreg") || ((has(".maxntid") || has(".reqntid")) && has(".minnctapersm"));
    if bounded || !f.entry {
        return;
    }
    if let Some(i) = (0..k.flat.sites.len()).find(|&i| k.flat.sites[i].base == "setmaxnreg") {
        let message = format!(
            "`{}` moves registers between warps, but nothing fixes how many the kernel starts with; give it `.maxnreg`, or \
             `.maxntid` (or `.reqntid`) and `.minnctapersm`, as `__launch_bounds__` does",
            k.flat.sites[i].inst.opcode
        );
        at.site(LintKind::UnboundedRegisters, Severity::Error, k, i, message);
    }
}

/// One finding a loop (the innermost one around the access): its first generic access, and how many there are.
fn generic_in_loops(k: &Known<'_>, cfg: &Cfg, at: &mut Reporter<'_, '_>) {
    let spaces = ["global", "shared", "local", "param", "const"];
    let mut found: Vec<(usize, usize, u32)> = Vec::new();
    for (i, s) in k.flat.sites.iter().enumerate() {
        let access = matches!(s.base, "ld" | "st" | "atom" | "red");
        let named = s.inst.opcode.split('.').skip(1).any(|m| spaces.iter().any(|p| m.starts_with(p)));
        if !access || named || s.inst.opcode.contains("async") {
            continue;
        }
        let Some(inner) = cfg.innermost(cfg.block_of(i)) else { continue };
        // A symbol says which memory it means, whatever the opcode says.
        let by_register = s.inst.operands.iter().any(|o| {
            let mut register = false;
            if let Operand::Address(_) = o {
                names(o, &mut |n| register |= k.flat.register(i, n).is_some());
            }
            register
        });
        if by_register {
            match found.iter_mut().find(|f| f.0 == inner) {
                Some(f) => f.2 += 1,
                None => found.push((inner, i, 1)),
            }
        }
    }
    for (_, i, count) in found {
        let more = match count {
            1 => String::new(),
            n => format!(" ({n} accesses of this loop)"),
        };
        let message = format!(
            "`{}` in a loop does not say which memory it means, so every execution finds out anew{more}; use `cvta.to.global` \
             (or `.shared`) before the loop and name the space",
            k.flat.sites[i].inst.opcode
        );
        at.site(LintKind::GenericInLoop, Severity::Warning, k, i, message);
    }
}

/// Which threads an instruction needs together.
enum Needs {
    Block,
    Warp,
}

fn needs(opcode: &str, operands: &[Operand<'_>]) -> Option<Needs> {
    let mods: Vec<&str> = opcode.split('.').collect();
    let has = |m: &str| mods.contains(&m);
    match mods[0] {
        "bar" | "barrier" if has("warp") => match operands {
            [Operand::Int(m)] if *m as u32 == u32::MAX => Some(Needs::Warp),
            _ => None,
        },
        "barrier" if has("cluster") => has("aligned").then_some(Needs::Warp),
        "bar" | "barrier" if has("arrive") => (mods[0] == "bar" || has("aligned")).then_some(Needs::Warp),
        "bar" | "barrier" => {
            // With a count of its own a barrier is made for some of the warps.
            let reduces = has("red") as usize;
            let counted = operands.len() > 1 + 2 * reduces;
            match (counted, mods[0] == "bar" || has("aligned")) {
                (false, _) => Some(Needs::Block),
                (true, true) => Some(Needs::Warp),
                (true, false) => None,
            }
        }
        _ if has("aligned") => Some(Needs::Warp),
        "shfl" | "vote" | "match" | "redux" => match operands.last() {
            Some(Operand::Int(m)) if *m as u32 == u32::MAX => Some(Needs::Warp),
            _ => None,
        },
        _ => None,
    }
}

fn divergent(k: &Known<'_>, cfg: &Cfg, at: &mut Reporter<'_, '_>) {
    let needy: Vec<(usize, Needs)> = (0..k.flat.sites.len())
        .filter_map(|i| needs(k.flat.sites[i].inst.opcode, &k.flat.sites[i].inst.operands).map(|n| (i, n)))
        .filter(|(i, _)| cfg.reachable(cfg.block_of(*i)))
        .collect();
    if needy.is_empty() {
        return;
    }
    let taint = taint::analyse(&k.flat, cfg);
    // Per block: the most divergent branch that decides about it.
    let mut decided: HashMap<usize, (Level, usize)> = HashMap::new();
    for (b, &level) in taint.branches.iter().enumerate().filter(|(_, l)| **l > Level::Uniform) {
        for x in cfg.influence(b) {
            let entry = decided.entry(x).or_insert((level, b));
            if level > entry.0 {
                *entry = (level, b);
            }
        }
    }
    for (i, needs) in needy {
        let s = &k.flat.sites[i];
        let limit = if matches!(needs, Needs::Block) { Level::Uniform } else { Level::Warp };
        let who =
            if matches!(needs, Needs::Block) { "all threads of the block" } else { "all lanes of its warp" };
        let by_guard = taint.guards[i];
        if by_guard > limit {
            let message = format!(
                "`{}` needs {who}, but its guard differs between them; make the condition the same for all, or take the \
                 instruction out of it",
                s.inst.opcode
            );
            at.site(LintKind::DivergentBarrier, Severity::Error, k, i, message);
        } else if let Some(&(level, branch)) = decided.get(&cfg.block_of(i))
            && level > limit
        {
            let from = k.flat.sites[cfg.blocks[branch].end - 1].inst.line.0;
            let message = format!(
                "`{}` needs {who}, but the branch at PTX line {from} may send some of them another way; make its condition \
                 the same for all, or move the instruction behind where the ways meet",
                s.inst.opcode
            );
            at.site(LintKind::DivergentBarrier, Severity::Error, k, i, message);
        }
    }
}

fn unreachable(k: &Known<'_>, cfg: &Cfg, at: &mut Reporter<'_, '_>) {
    let mut reported = false;
    for b in 0..cfg.exit() {
        if cfg.reachable(b) {
            reported = false;
            continue;
        }
        // Compilers close what never returns with a way out; that is not worth a word.
        let block = &cfg.blocks[b];
        let worth = (block.start..block.end)
            .find(|&i| !matches!(k.flat.sites[i].base, "ret" | "exit" | "trap" | "bra" | "brkpt"));
        if let Some(i) = worth
            && !reported
        {
            reported = true;
            let message =
                format!("no way leads to `{}` and what follows it; remove it", k.flat.sites[i].inst.opcode);
            at.site(LintKind::Unreachable, Severity::Note, k, i, message);
        }
    }
}

/// Which functions somebody can call.
struct Reach<'a> {
    called: HashSet<&'a str>,
}

impl<'a> Reach<'a> {
    fn new(ast: &'a Ast<'a>, known: &[Known<'a>]) -> Self {
        let functions: HashSet<&str> = known.iter().map(|k| k.function.name).collect();
        let mut aliases: HashMap<&str, &str> = HashMap::new();
        let mut uses: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut work: Vec<&str> = Vec::new();
        fn initial<'a>(i: &Init<'a>, f: &mut impl FnMut(&'a str)) {
            match i {
                Init::List(l) => l.iter().for_each(|i| initial(i, f)),
                Init::One(o) | Init::Masked(_, o) => names(o, f),
                Init::Field(..) => {}
            }
        }
        for item in &ast.items {
            match item {
                Item::Alias(a, b) => {
                    aliases.insert(a, b);
                }
                Item::Var(v) => v.init.iter().for_each(|i| initial(i, &mut |n| work.push(n))),
                _ => {}
            }
        }
        for k in known {
            let mut list = Vec::new();
            for s in &k.flat.sites {
                s.inst.operands.iter().for_each(|o| names(o, &mut |n| list.push(n)));
            }
            uses.insert(k.function.name, list);
            // Kernels are called from outside, and so may be what is visible to other modules.
            if k.function.entry || k.function.linkage.iter().any(|l| matches!(*l, ".visible" | ".weak")) {
                work.push(k.function.name);
            }
        }
        let mut called = HashSet::new();
        while let Some(n) = work.pop() {
            let n = aliases.get(n).copied().unwrap_or(n);
            if functions.contains(n) && called.insert(n) {
                work.extend(uses.get(n).into_iter().flatten());
            }
        }
        Reach { called }
    }
}

fn unused(k: &Known<'_>, reach: &Reach<'_>, options: &LintOptions, at: &mut Reporter<'_, '_>) {
    let f = k.function;
    let message = if f.entry {
        match &options.launched {
            Some(list) if !list.contains(f.name) => {
                "nobody launches this kernel; remove it, or add it to the list of kernels".to_string()
            }
            _ => return,
        }
    } else if reach.called.contains(f.name) {
        return;
    } else {
        "nothing calls this function, and no other module can see it; remove it".to_string()
    };
    at.push(LintKind::Unused, Severity::Note, f.line.0, (0, 0), message);
}

/// Spills and stack frames as ptxas sees them.
pub(super) fn assembler(module: &Module, ast: &Ast<'_>, options: &LintOptions) -> Vec<Finding> {
    let (Some(ptxas), Some(file)) = (&options.ptxas, &options.file) else { return Vec::new() };
    let target = options.target.as_deref().or(ast.target.first().copied()).unwrap_or("sm_80");
    let mut out = Vec::new();
    // A refusal is not ours to report: the same text may be meant for another version of the assembler.
    let Ok(all) = profile::usages(ptxas, file, target) else { return out };
    for kernel in module.kernels() {
        let mut at = Reporter { module, kernel: &kernel.name, out: &mut out };
        let Some(usage) = all.get(&kernel.name) else { continue };
        if usage.spill_stores + usage.spill_loads > 0 {
            let message = format!(
                "with {} registers for {target}, {} bytes of stores and {} of loads move registers to local memory and back; \
                 keep fewer values alive at once, or allow more registers (`.maxnreg`, fewer `.minnctapersm`)",
                usage.registers, usage.spill_stores, usage.spill_loads
            );
            at.push(LintKind::Spills, Severity::Warning, kernel.line, (0, 0), message);
        }
        if usage.stack > 0 {
            let message = format!(
                "a stack frame of {} bytes in local memory for {target}; arrays with computed indices, calls that are not \
                 inlined and recursion need one",
                usage.stack
            );
            at.push(LintKind::StackFrame, Severity::Warning, kernel.line, (0, 0), message);
        }
    }
    out
}
