//! Recursive-descent parser from PTX text to [`crate::ast`]. It never panics: nesting is bounded, every number checked.

mod body;

use crate::ast::*;
use crate::lex::{Lexer, Place, Tok};

/// Deepest nesting of scopes, vectors and initialisers.
const MAX_DEPTH: u32 = 64;

/// Longest text, in bytes.
pub const MAX_TEXT: usize = 256 << 20;

/// Malformed PTX text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}, column {column}: {message}")]
pub struct ParseError {
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in bytes.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

type Result<T> = std::result::Result<T, ParseError>;

/// Parses a whole PTX file.
pub fn parse(src: &str) -> Result<Ast<'_>> {
    Parser::new(src, 0, 1)?.module()
}

/// Parses the one function whose header starts at byte `start` on line `line` (as an earlier whole parse reported).
pub(crate) fn parse_function(src: &str, start: u32, line: u32) -> Result<Function<'_>> {
    let mut p = Parser::new(src, start as usize, line)?;
    let linkage = p.linkage()?;
    p.function(linkage, start, line)
}

struct Parser<'a> {
    lex: Lexer<'a>,
    tok: Tok<'a>,
    /// Where `tok` and the token before it start.
    here: Place,
    previous: Place,
    depth: u32,
}

const LINKAGE: [&str; 4] = [".visible", ".extern", ".weak", ".common"];
const SPACES: [&str; 6] = [".global", ".const", ".shared", ".local", ".param", ".tex"];

fn is_type(word: &str) -> bool {
    let rest = match word.strip_prefix('.') {
        Some(r) => r,
        None => return false,
    };
    if rest == "pred" || rest.ends_with("ref") {
        return true;
    }
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
    matches!(&rest[..rest.len() - digits.len()], "b" | "u" | "s" | "f" | "bf")
        && matches!(digits, "8" | "16" | "32" | "64" | "128" | "16x2")
}

impl<'a> Parser<'a> {
    fn new(src: &'a str, pos: usize, line: u32) -> Result<Self> {
        if src.len() > MAX_TEXT {
            let message = format!("the text has {} bytes, the limit is {MAX_TEXT}", src.len());
            return Err(ParseError { line: 1, column: 1, message });
        }
        let mut p = Parser {
            lex: Lexer::at(src, pos, line),
            tok: Tok::End,
            here: Place::default(),
            previous: Place::default(),
            depth: 0,
        };
        p.advance()?;
        Ok(p)
    }

    fn advance(&mut self) -> Result<Tok<'a>> {
        let next = self.lex.next()?;
        self.previous = std::mem::replace(&mut self.here, self.lex.start);
        Ok(std::mem::replace(&mut self.tok, next))
    }

    fn fail<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.tok {
            Tok::Word(w) => format!("`{w}`"),
            Tok::Int(v) => format!("`{v}`"),
            Tok::F32(_) | Tok::F64(_) => "a floating-point number".into(),
            Tok::Str(_) => "a string".into(),
            Tok::Punct(b) => format!("`{}`", b as char),
            Tok::End => "the end of the text".into(),
        };
        Err(self.here.error(format!("expected {wanted}, found {found}")))
    }

    fn is(&self, b: u8) -> bool {
        self.tok == Tok::Punct(b)
    }

    fn eat(&mut self, b: u8) -> Result<bool> {
        let hit = self.is(b);
        if hit {
            self.advance()?;
        }
        Ok(hit)
    }

    fn expect(&mut self, b: u8) -> Result<()> {
        if !self.eat(b)? { self.fail(&format!("`{}`", b as char)) } else { Ok(()) }
    }

    fn word(&mut self, wanted: &str) -> Result<&'a str> {
        match self.tok {
            Tok::Word(w) => {
                self.advance()?;
                Ok(w)
            }
            _ => self.fail(wanted),
        }
    }

    fn peek_word(&self) -> &'a str {
        match self.tok {
            Tok::Word(w) => w,
            _ => "",
        }
    }

    fn int(&mut self, wanted: &str) -> Result<u64> {
        match self.tok {
            Tok::Int(v) => {
                self.advance()?;
                Ok(v)
            }
            _ => self.fail(wanted),
        }
    }

    fn int32(&mut self, wanted: &str) -> Result<u32> {
        let v = self.int(wanted)?;
        u32::try_from(v).map_err(|_| self.previous.error(format!("{v} is too large for {wanted}")))
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.here.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let r = f(self);
        self.depth -= 1;
        r
    }

    fn module(&mut self) -> Result<Ast<'a>> {
        let mut ast = Ast { address_size: 64, ..Ast::default() };
        let mut versioned = false;
        loop {
            let place = self.here;
            let (start, line) = (self.here.pos as u32, self.here.line);
            match self.tok {
                Tok::End => break,
                Tok::Punct(b';') => {
                    self.advance()?;
                }
                Tok::Word(".version") => {
                    self.advance()?;
                    // `7.8` lexes as a decimal number; only its text tells 8.1 from 8.10.
                    ast.version = match self.lex.text().split_once('.').map(|(a, b)| (a.parse(), b.parse())) {
                        Some((Ok(a), Ok(b))) => (a, b),
                        _ => return self.fail("a version such as `7.8`"),
                    };
                    self.advance()?;
                    versioned = true;
                }
                Tok::Word(".target") => {
                    self.advance()?;
                    ast.target = self.names("a target such as `sm_80`")?;
                }
                Tok::Word(".address_size") => {
                    self.advance()?;
                    ast.address_size = self.int32("an address size")?;
                }
                Tok::Word(".file") => {
                    self.advance()?;
                    let n = self.int32("a file number")?;
                    let Tok::Str(name) = self.tok else { return self.fail("a file name") };
                    self.advance()?;
                    while self.eat(b',')? {
                        self.int("a number")?;
                    }
                    ast.items.push(Item::File(n, name));
                }
                Tok::Word(".section") => {
                    // The name is the next word; the body is raw DWARF, skipped by its braces. `{` may already be `tok`.
                    self.advance()?;
                    let name = self.peek_word();
                    if name.is_empty() {
                        return self.fail("a section name");
                    }
                    self.lex.skip_braces()?;
                    self.advance()?;
                }
                Tok::Word(".pragma") => {
                    let texts = self.pragma()?;
                    ast.items.extend(texts.into_iter().map(Item::Pragma));
                }
                Tok::Word(".alias") => {
                    self.advance()?;
                    let a = self.word("a function name")?;
                    self.expect(b',')?;
                    let b = self.word("a function name")?;
                    self.expect(b';')?;
                    ast.items.push(Item::Alias(a, b));
                }
                Tok::Word(w) if w.starts_with('.') => {
                    let linkage = self.linkage()?;
                    if matches!(self.peek_word(), ".entry" | ".func") {
                        let f = self.function(linkage, start, line)?;
                        ast.items.push(Item::Function(f));
                    } else {
                        let first = self.var(linkage)?;
                        self.more_vars(first, |v| ast.items.push(Item::Var(v)))?;
                    }
                }
                // Labels that close a debug section.
                Tok::Word(_) if versioned => {
                    self.advance()?;
                    self.expect(b':')?;
                }
                _ => return self.fail("a directive"),
            }
            if !versioned {
                return Err(place.error("PTX starts with `.version`"));
            }
        }
        if !versioned {
            return self.fail("`.version`");
        }
        Ok(ast)
    }

    fn pragma(&mut self) -> Result<Vec<&'a str>> {
        let mut texts = Vec::new();
        loop {
            self.advance()?;
            let Tok::Str(text) = self.tok else { return self.fail("a string") };
            texts.push(text);
            self.advance()?;
            if !self.is(b',') {
                break;
            }
        }
        self.expect(b';')?;
        Ok(texts)
    }

    fn names(&mut self, wanted: &str) -> Result<Vec<&'a str>> {
        let mut v = vec![self.word(wanted)?];
        while self.eat(b',')? {
            v.push(self.word(wanted)?);
        }
        Ok(v)
    }

    fn linkage(&mut self) -> Result<Vec<&'a str>> {
        let mut v = Vec::new();
        while LINKAGE.contains(&self.peek_word()) {
            v.push(self.word("linkage")?);
        }
        Ok(v)
    }

    fn more_vars(&mut self, first: Var<'a>, mut push: impl FnMut(Var<'a>)) -> Result<()> {
        let shape = Var { init: None, ..first.clone() };
        push(first);
        while self.eat(b',')? {
            let mut v = shape.clone();
            self.declarator(&mut v)?;
            push(v);
        }
        self.expect(b';')
    }

    /// From the state space to the end of the first declarator.
    fn var(&mut self, linkage: Vec<&'a str>) -> Result<Var<'a>> {
        let mut v =
            Var { linkage, line: Line(self.here.line), column: Line(self.here.column), ..Var::default() };
        let space = self.word("a state space such as `.shared`")?;
        // `.reg` parameters of functions are written with their space, too.
        let known = SPACES.contains(&space)
            || space == ".reg"
            || space.starts_with(".const")
            || space.starts_with(".shared::");
        if !known {
            return Err(self.previous.error(format!("`{space}` is not a state space or a known directive")));
        }
        v.space = space;
        loop {
            let w = self.peek_word();
            if w == ".align" {
                self.advance()?;
                let n = self.int32("an alignment")?;
                if !n.is_power_of_two() || n > 1 << 20 {
                    return Err(self.previous.error(format!("{n} is not a usable alignment")));
                }
                if v.qualifiers.contains(&".ptr") { v.ptr_align = n } else { v.align = n }
            } else if is_type(w) {
                if !v.ty.is_empty() {
                    return Err(self.here.error(format!("a second type `{w}` after `{}`", v.ty)));
                }
                v.ty = w;
                self.advance()?;
            } else if w == ".attribute" {
                self.advance()?;
                self.expect(b'(')?;
                while !self.is(b')') && self.tok != Tok::End {
                    self.advance()?;
                }
                self.expect(b')')?;
            } else if w.starts_with('.') {
                v.qualifiers.push(w);
                self.advance()?;
            } else {
                break;
            }
        }
        if v.ty.is_empty() {
            return self.fail("a type such as `.b32`");
        }
        self.declarator(&mut v)?;
        Ok(v)
    }

    fn declarator(&mut self, v: &mut Var<'a>) -> Result<()> {
        v.name = self.word("a name")?;
        v.dims.clear();
        while self.eat(b'[')? {
            v.dims.push(if self.is(b']') { None } else { Some(self.int("an array size")?) });
            self.expect(b']')?;
        }
        if self.eat(b'=')? {
            v.init = Some(self.init()?);
        }
        Ok(())
    }

    fn init(&mut self) -> Result<Init<'a>> {
        self.nested(|p| {
            if p.eat(b'{')? {
                let mut list = Vec::new();
                while !p.is(b'}') {
                    list.push(p.init()?);
                    if !p.eat(b',')? {
                        break;
                    }
                }
                p.expect(b'}')?;
                return Ok(Init::List(list));
            }
            if let Tok::Int(mask) = p.tok {
                p.advance()?;
                if p.eat(b'(')? {
                    let inner = p.operand()?;
                    p.expect(b')')?;
                    return Ok(Init::Masked(mask, inner));
                }
                return Ok(Init::One(Operand::Int(mask as i64)));
            }
            if let Tok::Str(text) = p.tok {
                p.advance()?;
                return Ok(Init::One(Operand::Str(text)));
            }
            match p.operand()? {
                // Fields of opaque types: `{addr_mode_0 = wrap, filter_mode = linear}`.
                Operand::Name(field) if p.eat(b'=')? => Ok(Init::Field(field, p.operand()?)),
                o => Ok(Init::One(o)),
            }
        })
    }

    fn params(&mut self) -> Result<Vec<Var<'a>>> {
        self.expect(b'(')?;
        let mut v = Vec::new();
        while !self.is(b')') {
            v.push(self.var(Vec::new())?);
            if !self.eat(b',')? {
                break;
            }
        }
        self.expect(b')')?;
        Ok(v)
    }

    fn function(&mut self, linkage: Vec<&'a str>, start: u32, line: u32) -> Result<Function<'a>> {
        let entry = self.word("`.entry` or `.func`")? == ".entry";
        let mut f = Function { linkage, entry, line: Line(line), start: Line(start), ..Function::default() };
        self.attribute()?;
        if self.is(b'(') {
            f.returns = self.params()?;
        }
        f.name = self.word("a function name")?;
        if self.is(b'(') {
            f.params = self.params()?;
        }
        while self.peek_word().starts_with('.') {
            if self.peek_word() == ".attribute" {
                self.attribute()?;
                continue;
            }
            let name = self.word("a directive")?;
            let mut args = Vec::new();
            while let Tok::Int(_) | Tok::Str(_) | Tok::Punct(b'-') = self.tok {
                let negative = self.eat(b'-')?;
                args.push(match self.tok {
                    Tok::Int(v) if negative => Operand::Int((v as i64).wrapping_neg()),
                    _ if negative => return self.fail("a number"),
                    Tok::Int(v) => Operand::Int(v as i64),
                    Tok::Str(s) => Operand::Str(s),
                    _ => break,
                });
                self.advance()?;
                if !self.eat(b',')? {
                    break;
                }
            }
            f.directives.push((name, args));
            if name == ".pragma" {
                self.eat(b';')?;
            }
        }
        if self.is(b'{') {
            f.body = Some(self.block()?);
        } else if !self.eat(b';')? {
            return self.fail("`{` or `;`");
        }
        Ok(f)
    }

    fn attribute(&mut self) -> Result<()> {
        while self.peek_word() == ".attribute" {
            self.advance()?;
            self.expect(b'(')?;
            while !self.is(b')') && self.tok != Tok::End {
                self.advance()?;
            }
            self.expect(b')')?;
        }
        Ok(())
    }
}
