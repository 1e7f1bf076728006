//! Zero-copy tokens of PTX text.
//!
//! A *word* is everything PTX glues together with dots: an opcode with its modifiers (`ld.global.v4.f32`), a register (`%r1`),
//! a special register (`%tid.x`), a label or a symbol. A directive ends at the next dot, `.param.b32` is two. Splitting words
//! at their dots is the decoder's business, so that lexing stays one pass over the bytes without allocation.

use crate::parse::ParseError;

/// One token; text borrows from the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tok<'a> {
    /// Identifier, directive, opcode with modifiers, or register.
    Word(&'a str),
    /// Integer literal, as its 64 bits.
    Int(u64),
    /// `0f` literal.
    F32(u32),
    /// `0d` literal, or a decimal floating-point literal.
    F64(u64),
    /// String literal without its quotes, escapes as written.
    Str(&'a str),
    /// A punctuation byte.
    Punct(u8),
    /// End of the text.
    End,
}

/// Where a token starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Byte offset.
    pub pos: usize,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in bytes.
    pub column: u32,
}

impl Place {
    pub(crate) fn error(self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }
}

/// The lexer: a cursor over the source.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    src: &'a str,
    bytes: &'a [u8],
    pos: usize,
    line: u32,
    line_start: usize,
    /// Where the last token started.
    pub(crate) start: Place,
}

fn word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'%' | b'.')
}

fn word_part(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'%' | b'.')
}

impl<'a> Lexer<'a> {
    /// Starts at byte `pos` of `src`, which lies on line `line` (1-based).
    pub(crate) fn at(src: &'a str, pos: usize, line: u32) -> Self {
        let before = src.get(..pos).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Lexer { src, bytes: src.as_bytes(), pos, line, line_start, start: Place::default() }
    }

    fn place(&self) -> Place {
        let column = self.pos.saturating_sub(self.line_start) as u32 + 1;
        Place { pos: self.pos, line: self.line, column }
    }

    /// An error at the token being read.
    fn error(&self, message: impl Into<String>) -> ParseError {
        self.start.error(message)
    }

    /// The text from the start of the last token to its end.
    pub(crate) fn text(&self) -> &'a str {
        self.src.get(self.start.pos..self.pos).unwrap_or("")
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.pos + 1;
    }

    /// Skips blanks and comments.
    fn skip(&mut self) -> Result<(), ParseError> {
        while let Some(&b) = self.bytes.get(self.pos) {
            match b {
                b'\n' => {
                    self.newline();
                    self.pos += 1;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.pos += 1,
                b'/' if self.bytes.get(self.pos + 1) == Some(&b'/') => self.skip_line(),
                b'/' if self.bytes.get(self.pos + 1) == Some(&b'*') => {
                    let start = self.place();
                    self.pos += 2;
                    loop {
                        match self.bytes.get(self.pos) {
                            None => return Err(start.error("this comment is never closed")),
                            Some(b'*') if self.bytes.get(self.pos + 1) == Some(&b'/') => break,
                            Some(b'\n') => self.newline(),
                            Some(_) => {}
                        }
                        self.pos += 1;
                    }
                    self.pos += 2;
                }
                // Old compilers put DWARF bytes on lines of their own that start with `@@DWARF`.
                b'@' if self.bytes[self.pos..].starts_with(b"@@DWARF") => self.skip_line(),
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        while self.bytes.get(self.pos).is_some_and(|&b| b != b'\n') {
            self.pos += 1;
        }
    }

    /// Skips from just before a `{` to just behind its matching `}`, whatever lies between.
    pub(crate) fn skip_braces(&mut self) -> Result<(), ParseError> {
        let start = self.place();
        let mut depth = 0usize;
        loop {
            self.skip()?;
            match self.bytes.get(self.pos) {
                None => return Err(start.error("this `{` is never closed")),
                Some(b'{') => depth += 1,
                Some(b'}') => depth = depth.saturating_sub(1),
                Some(_) => {}
            }
            self.pos += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Result<Tok<'a>, ParseError> {
        self.skip()?;
        self.start = self.place();
        let start = self.pos;
        let Some(&b) = self.bytes.get(start) else { return Ok(Tok::End) };
        if b.is_ascii_digit() {
            return self.number();
        }
        if b == b'.' && self.bytes.get(start + 1).is_some_and(u8::is_ascii_digit) {
            return Err(self.error("a number needs a digit before its decimal point"));
        }
        if word_start(b) {
            self.pos += 1;
            // `.reg.b32` is two directives: only opcodes and names keep their dots.
            let directive = b == b'.';
            while let Some(&b) = self.bytes.get(self.pos) {
                if word_part(b) && !(directive && b == b'.') {
                    self.pos += 1;
                } else if b == b':' && self.bytes.get(self.pos + 1) == Some(&b':') {
                    self.pos += 2;
                } else {
                    break;
                }
            }
            return Ok(Tok::Word(&self.src[start..self.pos]));
        }
        if b == b'"' {
            self.pos += 1;
            loop {
                match self.bytes.get(self.pos) {
                    None | Some(b'\n') => return Err(self.error("this string is never closed")),
                    Some(b'"') => break,
                    Some(b'\\') if self.bytes.get(self.pos + 1).is_some_and(|&b| b != b'\n') => self.pos += 2,
                    Some(_) => self.pos += 1,
                }
            }
            self.pos += 1;
            // An escape may have skipped into a multi-byte character, whose boundary the slice must respect.
            return match self.src.get(start + 1..self.pos - 1) {
                Some(s) => Ok(Tok::Str(s)),
                None => Err(self.error("a broken character in this string")),
            };
        }
        if b.is_ascii_punctuation() {
            self.pos += 1;
            return Ok(Tok::Punct(b));
        }
        Err(self.error("an unexpected character"))
    }

    fn number(&mut self) -> Result<Tok<'a>, ParseError> {
        let start = self.pos;
        while self.bytes.get(self.pos).is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'.') {
            let exponent = matches!(self.bytes[self.pos], b'e' | b'E');
            self.pos += 1;
            let hex = self.bytes[start..self.pos].len() > 1
                && matches!(self.bytes[start + 1], b'x' | b'X' | b'f' | b'F' | b'd' | b'D');
            if exponent && !hex && matches!(self.bytes.get(self.pos), Some(b'+' | b'-')) {
                self.pos += 1;
            }
        }
        let text = &self.src[start..self.pos];
        let bad = |l: &Self| l.error(format!("`{text}` is not a number"));
        let head = text.get(..2).unwrap_or("");
        let tail = text.get(2..).unwrap_or("");
        match head {
            "0f" | "0F" if tail.len() == 8 => {
                return u32::from_str_radix(tail, 16).map(Tok::F32).map_err(|_| bad(self));
            }
            "0d" | "0D" if tail.len() == 16 => {
                return u64::from_str_radix(tail, 16).map(Tok::F64).map_err(|_| bad(self));
            }
            _ => {}
        }
        let digits = text.trim_end_matches(['U', 'u']);
        let int = match head {
            "0x" | "0X" => u64::from_str_radix(digits.get(2..).unwrap_or(""), 16),
            "0b" | "0B" => u64::from_str_radix(digits.get(2..).unwrap_or(""), 2),
            _ if digits.len() > 1 && digits.starts_with('0') && !digits.contains(['.', 'e', 'E']) => {
                u64::from_str_radix(&digits[1..], 8)
            }
            _ => digits.parse(),
        };
        if let Ok(v) = int {
            return Ok(Tok::Int(v));
        }
        if text.contains(['.', 'e', 'E'])
            && let Ok(v) = text.parse::<f64>()
        {
            return Ok(Tok::F64(v.to_bits()));
        }
        Err(bad(self))
    }
}
