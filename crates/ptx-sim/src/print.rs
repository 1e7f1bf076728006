//! The syntax tree back to PTX text: `parse(print(ast)) == ast`. Comments, debug sections and blank lines are gone.

use crate::ast::*;
use std::fmt::{Display, Formatter, Result};

fn join<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut each: impl FnMut(&mut Formatter<'_>, &T) -> Result,
) -> Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        each(f, item)?;
    }
    Ok(())
}

fn show<T: Display>(f: &mut Formatter<'_>, t: &T) -> Result {
    write!(f, "{t}")
}

/// ptxas takes `+-8`, but not `-8`.
fn signed(v: i64) -> String {
    format!("+{v}")
}

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Operand::Name(n) => f.write_str(n),
            Operand::Int(v) => write!(f, "{v}"),
            Operand::F32(v) => write!(f, "0f{v:08X}"),
            Operand::F64(v) => write!(f, "0d{v:016X}"),
            Operand::Str(s) => write!(f, "\"{s}\""),
            Operand::Offset(n, v) => write!(f, "{n}{}", signed(*v)),
            Operand::Generic(n, 0) => write!(f, "generic({n})"),
            Operand::Generic(n, v) => write!(f, "generic({n}){}", signed(*v)),
            Operand::Not(n) => write!(f, "!{n}"),
            Operand::Neg(n) => write!(f, "-{n}"),
            Operand::Pair(a, b) => write!(f, "{a}|{b}"),
            Operand::Vector(v) => wrapped(f, '{', v, '}'),
            Operand::Address(v) => wrapped(f, '[', v, ']'),
            Operand::List(v) => wrapped(f, '(', v, ')'),
        }
    }
}

fn wrapped(f: &mut Formatter<'_>, open: char, v: &[Operand<'_>], close: char) -> Result {
    write!(f, "{open}")?;
    join(f, v, show)?;
    write!(f, "{close}")
}

impl Display for Init<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Init::One(o) => write!(f, "{o}"),
            Init::Masked(m, o) => write!(f, "0x{m:X}({o})"),
            Init::Field(name, o) => write!(f, "{name} = {o}"),
            Init::List(v) => {
                f.write_str("{")?;
                join(f, v, show)?;
                f.write_str("}")
            }
        }
    }
}

impl Display for Var<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for l in &self.linkage {
            write!(f, "{l} ")?;
        }
        f.write_str(self.space)?;
        if self.align > 0 {
            write!(f, " .align {}", self.align)?;
        }
        // The element type goes before `.ptr` and what describes the pointer, behind all else.
        let list = &self.qualifiers;
        let split = list.iter().position(|q| *q == ".ptr").unwrap_or(list.len());
        for q in &list[..split] {
            write!(f, " {q}")?;
        }
        write!(f, " {}", self.ty)?;
        for q in &list[split..] {
            write!(f, " {q}")?;
        }
        if self.ptr_align > 0 {
            write!(f, " .align {}", self.ptr_align)?;
        }
        write!(f, " {}", self.name)?;
        for d in &self.dims {
            match d {
                Some(n) => write!(f, "[{n}]")?,
                None => f.write_str("[]")?,
            }
        }
        match &self.init {
            Some(i) => write!(f, " = {i}"),
            None => Ok(()),
        }
    }
}

fn params(f: &mut Formatter<'_>, v: &[Var<'_>]) -> Result {
    f.write_str("(")?;
    join(f, v, show)?;
    f.write_str(")")
}

impl Display for Function<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for l in &self.linkage {
            write!(f, "{l} ")?;
        }
        f.write_str(if self.entry { ".entry " } else { ".func " })?;
        if !self.returns.is_empty() {
            params(f, &self.returns)?;
            f.write_str(" ")?;
        }
        f.write_str(self.name)?;
        params(f, &self.params)?;
        for (name, args) in &self.directives {
            write!(f, "\n{name} ")?;
            join(f, args, show)?;
        }
        match &self.body {
            None => writeln!(f, ";"),
            Some(body) => {
                f.write_str("\n{\n")?;
                stmts(f, body)?;
                f.write_str("}\n")
            }
        }
    }
}

fn stmts(f: &mut Formatter<'_>, body: &[Stmt<'_>]) -> Result {
    body.iter().try_for_each(|s| show(f, s))
}

impl Display for Stmt<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Stmt::Label(l) => writeln!(f, "{l}:"),
            Stmt::Reg(vector, ty, names) => {
                write!(f, "\t.reg {}{}{ty} ", vector.unwrap_or(""), if vector.is_some() { " " } else { "" })?;
                join(f, names, |f, (name, count)| match count {
                    Some(n) => write!(f, "{name}<{n}>"),
                    None => f.write_str(name),
                })?;
                f.write_str(";\n")
            }
            Stmt::Var(v) => writeln!(f, "\t{v};"),
            Stmt::Loc(file, line, column) => writeln!(f, "\t.loc {file} {line} {column}"),
            Stmt::Block(b) => {
                f.write_str("{\n")?;
                stmts(f, b)?;
                f.write_str("}\n")
            }
            Stmt::Inst(i) => {
                f.write_str("\t")?;
                if let Some((p, negated)) = i.guard {
                    write!(f, "@{}{p} ", if negated { "!" } else { "" })?;
                }
                write!(f, "{} ", i.opcode)?;
                join(f, &i.operands, show)?;
                f.write_str(";\n")
            }
            Stmt::Targets(label, kind, list) => {
                write!(f, "{label}: {kind} ")?;
                join(f, list, show)?;
                f.write_str(";\n")
            }
            Stmt::Prototype(label, returns, args) => {
                write!(f, "{label}: .callprototype ")?;
                params(f, returns)?;
                f.write_str(" _ ")?;
                params(f, args)?;
                f.write_str(";\n")
            }
            Stmt::Pragma(s) => writeln!(f, "\t.pragma \"{s}\";"),
        }
    }
}

impl Display for Ast<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, ".version {}.{}", self.version.0, self.version.1)?;
        if !self.target.is_empty() {
            f.write_str(".target ")?;
            join(f, &self.target, show)?;
            f.write_str("\n")?;
        }
        writeln!(f, ".address_size {}", self.address_size)?;
        for item in &self.items {
            match item {
                Item::File(n, name) => writeln!(f, ".file {n} \"{name}\"")?,
                Item::Var(v) => writeln!(f, "{v};")?,
                Item::Function(func) => write!(f, "{func}")?,
                Item::Alias(a, b) => writeln!(f, ".alias {a}, {b};")?,
                Item::Pragma(s) => writeln!(f, ".pragma \"{s}\";")?,
            }
        }
        Ok(())
    }
}
