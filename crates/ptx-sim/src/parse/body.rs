//! Function bodies: statements, instructions, operands.

use super::{LINKAGE, Parser, Result, SPACES, is_type};
use crate::ast::*;
use crate::lex::Tok;

/// Whether a directive starts a variable declaration.
fn is_variable(word: &str) -> bool {
    SPACES.contains(&word)
        || LINKAGE.contains(&word)
        || word.starts_with(".const")
        || word.starts_with(".shared::")
}

impl<'a> Parser<'a> {
    pub(super) fn block(&mut self) -> Result<Vec<Stmt<'a>>> {
        self.nested(|p| {
            p.expect(b'{')?;
            let mut out = Vec::new();
            while !p.is(b'}') {
                p.stmt(&mut out)?;
            }
            p.expect(b'}')?;
            Ok(out)
        })
    }

    fn stmt(&mut self, out: &mut Vec<Stmt<'a>>) -> Result<()> {
        let at = (Line(self.here.line), Line(self.here.column));
        match self.tok {
            Tok::Punct(b'{') => {
                let b = self.block()?;
                out.push(Stmt::Block(b));
            }
            Tok::Punct(b';') => {
                self.advance()?;
            }
            Tok::Punct(b'@') => {
                self.advance()?;
                let negated = self.eat(b'!')?;
                let guard = self.word("a predicate register")?;
                let opcode = self.word("an instruction")?;
                out.push(Stmt::Inst(self.inst(Some((guard, negated)), opcode, at)?));
            }
            Tok::Word(".reg") => {
                self.advance()?;
                let mut ty = self.word("a type")?;
                let mut vector = None;
                if matches!(ty, ".v2" | ".v4") {
                    vector = Some(ty);
                    ty = self.word("a type")?;
                }
                if !is_type(ty) {
                    return Err(self.previous.error(format!("`{ty}` is not a register type")));
                }
                let mut names = Vec::new();
                loop {
                    let name = self.word("a register name")?;
                    let count = if self.eat(b'<')? {
                        let n = self.int32("a register count")?;
                        self.expect(b'>')?;
                        Some(n)
                    } else {
                        None
                    };
                    names.push((name, count));
                    if !self.eat(b',')? {
                        break;
                    }
                }
                self.expect(b';')?;
                out.push(Stmt::Reg(vector, ty, names));
            }
            Tok::Word(".loc") => {
                self.advance()?;
                let (file, row) = (self.int32("a file number")?, self.int32("a line")?);
                let column = self.int32("a column")?;
                // `, function_name label [+ offset], inlined_at file line column`
                while self.eat(b',')? {
                    let what = self.word("`function_name` or `inlined_at`")?;
                    if what == "inlined_at" {
                        for _ in 0..3 {
                            self.int("a number")?;
                        }
                    } else {
                        self.word("a label")?;
                        if self.eat(b'+')? {
                            self.int("an offset")?;
                        }
                    }
                }
                self.eat(b';')?;
                out.push(Stmt::Loc(file, row, column));
            }
            Tok::Word(".pragma") => {
                let texts = self.pragma()?;
                out.extend(texts.into_iter().map(Stmt::Pragma));
            }
            Tok::Word(w) if w.starts_with('.') && !is_variable(w) => {
                // A directive of a newer PTX: kept as if it were an instruction, and refused if execution gets there.
                self.advance()?;
                let operands = self.words()?;
                out.push(Stmt::Inst(Inst { guard: None, opcode: w, operands, line: at.0, column: at.1 }));
            }
            Tok::Word(w) if w.starts_with('.') => {
                let linkage = self.linkage()?;
                let first = self.var(linkage)?;
                self.more_vars(first, |v| out.push(Stmt::Var(v)))?;
            }
            Tok::Word(w) => {
                self.advance()?;
                if !self.eat(b':')? {
                    out.push(Stmt::Inst(self.inst(None, w, at)?));
                    return Ok(());
                }
                match self.peek_word() {
                    kind @ (".branchtargets" | ".calltargets") => {
                        self.advance()?;
                        let targets = self.names("a label")?;
                        self.expect(b';')?;
                        out.push(Stmt::Targets(w, kind, targets));
                    }
                    ".callprototype" => {
                        self.advance()?;
                        let returns = if self.is(b'(') { self.params()? } else { Vec::new() };
                        self.word("`_`")?;
                        let params = if self.is(b'(') { self.params()? } else { Vec::new() };
                        while self.peek_word().starts_with('.') {
                            self.advance()?;
                            while let Tok::Int(_) = self.tok {
                                self.advance()?;
                            }
                        }
                        self.expect(b';')?;
                        out.push(Stmt::Prototype(w, returns, params));
                    }
                    _ => out.push(Stmt::Label(w)),
                }
            }
            _ => return self.fail("a statement"),
        }
        Ok(())
    }

    fn inst(
        &mut self,
        guard: Option<(&'a str, bool)>,
        opcode: &'a str,
        (line, column): (Line, Line),
    ) -> Result<Inst<'a>> {
        if opcode.starts_with(['%', '.', '$']) {
            return Err(self.previous.error(format!("`{opcode}` is not an instruction")));
        }
        Ok(Inst { guard, opcode, operands: self.operands()?, line, column })
    }

    /// Operands up to and including the semicolon.
    fn operands(&mut self) -> Result<Vec<Operand<'a>>> {
        let mut operands = Vec::with_capacity(4);
        if !self.is(b';') {
            operands.push(self.operand()?);
            while self.eat(b',')? {
                operands.push(self.operand()?);
            }
        }
        self.expect(b';')?;
        Ok(operands)
    }

    /// What follows an unknown directive: words and numbers up to the semicolon, with or without commas.
    fn words(&mut self) -> Result<Vec<Operand<'a>>> {
        let mut words = Vec::new();
        while !self.is(b';') {
            let negative = self.is(b'-');
            if negative {
                self.advance()?;
            }
            match self.tok {
                Tok::Int(v) if negative => words.push(Operand::Int((v as i64).wrapping_neg())),
                _ if negative => return self.fail("a number"),
                Tok::Word(w) => words.push(Operand::Name(w)),
                Tok::Int(v) => words.push(Operand::Int(v as i64)),
                Tok::Str(s) => words.push(Operand::Str(s)),
                Tok::Punct(b',') => {}
                _ => return self.fail("`;`"),
            }
            self.advance()?;
        }
        self.advance()?;
        Ok(words)
    }

    fn list(&mut self, close: u8) -> Result<Vec<Operand<'a>>> {
        self.nested(|p| {
            p.advance()?;
            let mut v = Vec::new();
            if !p.is(close) {
                v.push(p.operand()?);
                while p.eat(b',')? {
                    v.push(p.operand()?);
                }
            }
            p.expect(close)?;
            Ok(v)
        })
    }

    /// `+ n`, `+ -n`, `- n` behind a symbol, summed up.
    fn offset(&mut self) -> Result<i64> {
        let mut sum = 0i64;
        while self.is(b'+') || self.is(b'-') {
            let mut negative = self.is(b'-');
            self.advance()?;
            if self.eat(b'-')? {
                negative = !negative;
            }
            let v = self.int("an offset")? as i64;
            sum = sum.wrapping_add(if negative { v.wrapping_neg() } else { v });
        }
        Ok(sum)
    }

    pub(super) fn operand(&mut self) -> Result<Operand<'a>> {
        match self.tok {
            Tok::Punct(b'{') => Ok(Operand::Vector(self.list(b'}')?)),
            Tok::Punct(b'[') => Ok(Operand::Address(self.list(b']')?)),
            Tok::Punct(b'(') => Ok(Operand::List(self.list(b')')?)),
            Tok::Punct(b'!') => {
                self.advance()?;
                Ok(Operand::Not(self.word("a predicate")?))
            }
            Tok::Punct(b'-') => {
                self.advance()?;
                let r = match self.tok {
                    Tok::Int(v) => Operand::Int((v as i64).wrapping_neg()),
                    Tok::F64(v) => Operand::F64(v ^ 1 << 63),
                    Tok::F32(v) => Operand::F32(v ^ 1 << 31),
                    Tok::Word(w) => Operand::Neg(w),
                    _ => return self.fail("a number"),
                };
                self.advance()?;
                Ok(r)
            }
            Tok::Int(v) => {
                self.advance()?;
                Ok(Operand::Int((v as i64).wrapping_add(self.offset()?)))
            }
            Tok::F32(v) => {
                self.advance()?;
                Ok(Operand::F32(v))
            }
            Tok::F64(v) => {
                self.advance()?;
                Ok(Operand::F64(v))
            }
            Tok::Word("generic") => {
                self.advance()?;
                if !self.eat(b'(')? {
                    return Ok(Operand::Name("generic"));
                }
                let name = self.word("a symbol")?;
                let inner = self.offset()?;
                self.expect(b')')?;
                Ok(Operand::Generic(name, inner.wrapping_add(self.offset()?)))
            }
            Tok::Word(w) => {
                self.advance()?;
                if self.eat(b'|')? {
                    return Ok(Operand::Pair(w, self.word("a predicate")?));
                }
                match self.offset()? {
                    0 => Ok(Operand::Name(w)),
                    n => Ok(Operand::Offset(w, n)),
                }
            }
            _ => self.fail("an operand"),
        }
    }
}
