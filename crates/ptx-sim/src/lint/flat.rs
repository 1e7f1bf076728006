//! A function body as one list of instructions: scopes resolved, labels as positions, registers as numbers.

use crate::ast::{Function, Inst, Operand, Stmt, Var};
use std::collections::HashMap;

/// An instruction in its place.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub inst: &'a Inst<'a>,
    /// `.loc` file and line before it.
    pub loc: (u32, u32),
    scope: usize,
    /// Opcode up to its first dot.
    pub base: &'a str,
}

#[derive(Debug, Default)]
struct Scope<'a> {
    parent: Option<usize>,
    labels: HashMap<&'a str, usize>,
    /// Declared registers; the flag marks a range.
    registers: HashMap<&'a str, bool>,
    targets: HashMap<&'a str, &'a [&'a str]>,
}

/// The flat body.
#[derive(Debug)]
pub(crate) struct Flat<'a> {
    pub sites: Vec<Site<'a>>,
    /// Variables in `.local`, wherever they are declared.
    pub locals: Vec<&'a Var<'a>>,
    /// Variables in `.param`: what calls pass and return.
    pub call_params: Vec<&'a str>,
    scopes: Vec<Scope<'a>>,
}

impl<'a> Flat<'a> {
    pub(crate) fn new(f: &'a Function<'a>) -> Flat<'a> {
        let mut flat = Flat {
            sites: Vec::new(),
            locals: Vec::new(),
            call_params: Vec::new(),
            scopes: vec![Scope::default()],
        };
        for v in f.params.iter().chain(&f.returns).filter(|v| v.space == ".reg") {
            flat.scopes[0].registers.insert(v.name, false);
        }
        let mut loc = (0, 0);
        flat.walk(f.body.as_deref().unwrap_or(&[]), 0, &mut loc);
        flat
    }

    fn walk(&mut self, body: &'a [Stmt<'a>], scope: usize, loc: &mut (u32, u32)) {
        for s in body {
            match s {
                Stmt::Label(l) => {
                    self.scopes[scope].labels.insert(l, self.sites.len());
                }
                Stmt::Reg(_, _, names) => {
                    self.scopes[scope].registers.extend(names.iter().map(|(n, count)| (*n, count.is_some())));
                }
                Stmt::Var(v) if v.space == ".local" => self.locals.push(v),
                Stmt::Var(v) if v.space == ".param" => self.call_params.push(v.name),
                Stmt::Loc(file, line, _) => *loc = (*file, *line),
                Stmt::Block(b) => {
                    self.scopes.push(Scope { parent: Some(scope), ..Scope::default() });
                    let inner = self.scopes.len() - 1;
                    self.walk(b, inner, loc);
                }
                Stmt::Inst(inst) => {
                    let base = inst.opcode.split('.').next().unwrap_or("");
                    self.sites.push(Site { inst, loc: *loc, scope, base });
                }
                Stmt::Targets(name, _, list) => {
                    self.scopes[scope].targets.insert(name, list);
                }
                _ => {}
            }
        }
    }

    /// The scopes an instruction sees, innermost first.
    fn visible(&self, site: usize) -> impl Iterator<Item = (usize, &Scope<'a>)> {
        let mut at = Some(self.sites[site].scope);
        std::iter::from_fn(move || {
            let i = at?;
            at = self.scopes[i].parent;
            Some((i, &self.scopes[i]))
        })
    }

    fn label(&self, site: usize, name: &str) -> Option<usize> {
        self.visible(site).find_map(|(_, s)| s.labels.get(name).copied())
    }

    /// A key for a register: the scope that declares it, and its name without a component suffix. `None` for what is no
    /// register.
    pub(crate) fn register<'n>(&self, site: usize, name: &'n str) -> Option<(usize, &'n str)> {
        let find = |name: &'n str| {
            let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
            self.visible(site).find_map(|(i, s)| {
                let hit = s.registers.contains_key(name)
                    || (prefix != name && s.registers.get(prefix) == Some(&true));
                hit.then_some((i, name))
            })
        };
        find(name).or_else(|| find(name.rsplit_once('.')?.0))
    }

    /// Where execution can go from an instruction; behind the last one lies the end of the list.
    pub(crate) fn successors(&self, site: usize) -> Vec<usize> {
        let s = &self.sites[site];
        let mut next: Vec<usize> = match (s.base, &s.inst.operands[..]) {
            ("bra", [Operand::Name(l), ..]) => self.label(site, l).into_iter().collect(),
            ("brx", [_, Operand::Name(list)]) => {
                let targets = self.visible(site).find_map(|(_, s)| s.targets.get(list).copied());
                targets.unwrap_or(&[]).iter().filter_map(|l| self.label(site, l)).collect()
            }
            ("ret" | "exit", _) => Vec::new(),
            _ => return vec![site + 1],
        };
        if s.inst.guard.is_some() {
            next.push(site + 1);
        }
        next.sort_unstable();
        next.dedup();
        next
    }

    /// Whether an instruction may leave the function.
    pub(crate) fn leaves(&self, site: usize) -> bool {
        matches!(self.sites[site].base, "ret" | "exit")
    }
}

/// Calls `f` on every name of an operand.
pub(crate) fn names<'a>(o: &Operand<'a>, f: &mut impl FnMut(&'a str)) {
    match o {
        Operand::Name(n)
        | Operand::Offset(n, _)
        | Operand::Generic(n, _)
        | Operand::Not(n)
        | Operand::Neg(n) => f(n),
        Operand::Pair(a, b) => {
            f(a);
            f(b);
        }
        Operand::Vector(v) | Operand::Address(v) | Operand::List(v) => v.iter().for_each(|o| names(o, f)),
        _ => {}
    }
}
