//! The syntax tree of a PTX module. Text borrows from the source; types and opcodes stay words, so that unknown
//! instructions and directives travel through unharmed.
//!
//! Equality ignores line numbers ([`Line`]), which makes "parse, print, parse is the identity" a plain `==`.

/// A 1-based source line (or column) that takes no part in comparisons.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line(pub u32);

impl PartialEq for Line {
    fn eq(&self, _: &Line) -> bool {
        true
    }
}

/// A whole PTX file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Ast<'a> {
    /// `.version`, as major and minor.
    pub version: (u32, u32),
    /// `.target` and its options, e.g. `["sm_90a", "debug"]`.
    pub target: Vec<&'a str>,
    /// `.address_size`, 64 when absent.
    pub address_size: u32,
    /// Everything else, in order.
    pub items: Vec<Item<'a>>,
}

/// A module-level item.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// `.file N "name"`; time stamp and size are dropped.
    File(u32, &'a str),
    /// A variable in `.global`, `.const`, `.shared` or `.local` space.
    Var(Var<'a>),
    /// An `.entry` or `.func`, defined or only declared.
    Function(Function<'a>),
    /// `.alias a, b`.
    Alias(&'a str, &'a str),
    /// `.pragma "text"`.
    Pragma(&'a str),
}

/// A variable or parameter.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Var<'a> {
    /// Linkage directives, e.g. `.visible`, `.extern`, `.weak`.
    pub linkage: Vec<&'a str>,
    /// State space, e.g. `.shared`, `.param`.
    pub space: &'a str,
    /// `.align`, 0 when absent.
    pub align: u32,
    /// Other qualifiers between space and name (`.ptr`, `.global`, `.v4`, `.attribute(...)` without its argument).
    pub qualifiers: Vec<&'a str>,
    /// `.align` after `.ptr`: the alignment of what a pointer parameter points to.
    pub ptr_align: u32,
    /// Element type, e.g. `.b8`.
    pub ty: &'a str,
    /// Name (`_` when a prototype leaves it out).
    pub name: &'a str,
    /// Array dimensions; `None` stands for `[]`.
    pub dims: Vec<Option<u64>>,
    /// Initialiser: an element or a brace list.
    pub init: Option<Init<'a>>,
    /// Where it is declared.
    pub line: Line,
    /// Column of its state space, in bytes.
    pub column: Line,
}

/// An initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Init<'a> {
    /// One element.
    One(Operand<'a>),
    /// A byte of an address: `0xFF00(symbol)`.
    Masked(u64, Operand<'a>),
    /// A field of an opaque type: `addr_mode_0 = wrap`.
    Field(&'a str, Operand<'a>),
    /// A brace list.
    List(Vec<Init<'a>>),
}

/// An entry or a function.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Function<'a> {
    /// Linkage directives.
    pub linkage: Vec<&'a str>,
    /// `.entry` rather than `.func`.
    pub entry: bool,
    /// Return parameters of a `.func`.
    pub returns: Vec<Var<'a>>,
    /// Name.
    pub name: &'a str,
    /// Parameters.
    pub params: Vec<Var<'a>>,
    /// Performance directives such as `.reqntid 128, 1, 1`.
    pub directives: Vec<(&'a str, Vec<Operand<'a>>)>,
    /// The body; `None` for a declaration.
    pub body: Option<Vec<Stmt<'a>>>,
    /// Line of the header.
    pub line: Line,
    /// Byte offset of the header in the source, for lazy decoding; no part of comparisons.
    pub start: Line,
}

/// A statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt<'a> {
    /// `name:`.
    Label(&'a str),
    /// `.reg .type names`, each with the count of a range such as `%r<9>`; the vector width qualifier comes first.
    Reg(Option<&'a str>, &'a str, Vec<(&'a str, Option<u32>)>),
    /// A variable declaration.
    Var(Var<'a>),
    /// `.loc file line column`; inlining details are dropped.
    Loc(u32, u32, u32),
    /// A scope.
    Block(Vec<Stmt<'a>>),
    /// An instruction.
    Inst(Inst<'a>),
    /// `name: .branchtargets a, b;` or `.calltargets`.
    Targets(&'a str, &'a str, Vec<&'a str>),
    /// `name: .callprototype (returns) _ (params);`.
    Prototype(&'a str, Vec<Var<'a>>, Vec<Var<'a>>),
    /// `.pragma "text";`.
    Pragma(&'a str),
}

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst<'a> {
    /// Guard predicate and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// Opcode with all modifiers.
    pub opcode: &'a str,
    /// Operands, destination first.
    pub operands: Vec<Operand<'a>>,
    /// Source line.
    pub line: Line,
    /// Column of the guard or the opcode, in bytes.
    pub column: Line,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// Register, special register, symbol, label, or `_`.
    Name(&'a str),
    /// Integer, as 64 bits.
    Int(i64),
    /// `0f` literal.
    F32(u32),
    /// `0d` or decimal literal.
    F64(u64),
    /// String (directive arguments only).
    Str(&'a str),
    /// Symbol plus offset.
    Offset(&'a str, i64),
    /// `generic(symbol) + offset`.
    Generic(&'a str, i64),
    /// `!p`.
    Not(&'a str),
    /// `-name`, as some float operands allow.
    Neg(&'a str),
    /// `{a, b}`.
    Vector(Vec<Operand<'a>>),
    /// `[a, b]`: an address, with tensor coordinates and the like behind it.
    Address(Vec<Operand<'a>>),
    /// `a|b`.
    Pair(&'a str, &'a str),
    /// `(a, b)`: the lists of a call.
    List(Vec<Operand<'a>>),
}
