//! A loaded PTX module: symbols and kernel headers now, decoded functions when first launched.

use crate::ast::{self, Function, Init, Item, Operand, Stmt, Var};
use crate::decode;
use crate::initial::{initialise, text_bytes};
use crate::isa::{Func, SharedVar};
use crate::parse::{ParseError, parse, parse_function};
use crate::{ErrorKind, SimError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Largest variable, in bytes.
const MAX_VAR: u64 = 1 << 32;

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamInfo {
    /// Name in the PTX text.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// PTX type without the dot, e.g. `u64`, `b8`.
    pub ty: String,
    /// Offset in parameter memory.
    pub offset: u32,
}

/// What a launch needs to know of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// Entry name.
    pub name: String,
    /// Parameters, in order.
    pub params: Vec<ParamInfo>,
    /// Bytes of static shared memory the kernel's own body and the module declare (without called functions).
    pub static_shared: u32,
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.minnctapersm`.
    pub min_blocks_per_sm: Option<u32>,
    /// `.reqnctapercluster`: the cluster's shape in blocks.
    pub required_cluster: Option<[u32; 3]>,
    /// `.maxclusterrank`: most blocks of a cluster.
    pub max_cluster: Option<u32>,
    /// `.explicitcluster`: the launch must give a cluster shape.
    pub explicit_cluster: bool,
    /// `.blocksareclusters`: the grid is given in clusters, not in blocks.
    pub blocks_are_clusters: bool,
    /// Names an `.extern .shared` array.
    pub uses_dynamic_shared: bool,
    /// Has `.local` variables, i.e. per-thread memory.
    pub has_local: bool,
    /// 1-based line of its header.
    pub line: u32,
}

/// A module-level variable in global or constant space.
#[derive(Clone, Debug)]
pub(crate) struct GlobalVar {
    pub name: String,
    pub size: u64,
    pub read_only: bool,
    pub data: Vec<u8>,
    /// Pointers in the initialiser: offset, bytes, shift of the byte mask, symbol, addend.
    pub pointers: Vec<(usize, u32, u32, String, i64)>,
}

#[derive(Debug)]
pub(crate) struct FuncEntry {
    pub name: String,
    pub entry: bool,
    pub has_body: bool,
    start: u32,
    line: u32,
    decoded: OnceLock<Result<Arc<Func>, decode::Error>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub id: u64,
    source: String,
    /// Where each line of the source begins, once a report asked.
    lines: OnceLock<Vec<usize>>,
    pub kernels: Vec<KernelInfo>,
    pub funcs: Vec<FuncEntry>,
    pub func_names: HashMap<String, u32>,
    pub globals: Vec<GlobalVar>,
    pub global_names: HashMap<String, u32>,
    pub shared: Vec<SharedVar>,
    pub shared_names: HashMap<String, u32>,
    pub files: HashMap<u32, String>,
}

/// A parsed PTX module. Cloning is cheap; decoded functions are shared between clones and threads.
///
/// ```
/// let ptx = ".version 7.0 .target sm_80 .visible .entry nothing() { ret; }";
/// let module = ptx_sim::Module::parse(ptx)?;
/// assert_eq!(module.kernels().next().unwrap().name, "nothing");
/// # Ok::<(), ptx_sim::ParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) inner: Arc<Inner>,
}

/// Bytes of one element of a PTX type; predicates count as one.
pub(crate) fn type_bytes(ty: &str) -> u32 {
    match ty.trim_start_matches('.') {
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "texref" | "samplerref" | "surfref" => 8,
        "b128" => 16,
        _ => 1,
    }
}

/// Components of a variable's vector type.
fn components(v: &Var<'_>) -> u64 {
    match () {
        _ if v.qualifiers.contains(&".v8") => 8,
        _ if v.qualifiers.contains(&".v4") => 4,
        _ if v.qualifiers.contains(&".v2") => 2,
        _ => 1,
    }
}

/// Size and alignment of a variable; an open dimension is as long as its initialiser needs.
pub(crate) fn layout(v: &Var<'_>) -> Result<(u64, u32), ParseError> {
    let element = type_bytes(v.ty) as u64 * components(v);
    let inner = v.dims.iter().skip(1).fold(1u64, |n, d| n.saturating_mul(d.unwrap_or(1)));
    let open = match &v.init {
        Some(Init::List(l)) if l.iter().any(|i| matches!(i, Init::List(_))) => l.len() as u64,
        Some(Init::List(l)) => (l.len() as u64).div_ceil(components(v).saturating_mul(inner).max(1)),
        Some(Init::One(Operand::Str(s))) => text_bytes(s).len() as u64,
        _ => 0,
    };
    let mut size = element;
    for d in &v.dims {
        size = size.checked_mul(d.unwrap_or(open)).filter(|s| *s <= MAX_VAR).ok_or_else(|| ParseError {
            line: v.line.0,
            column: v.column.0,
            message: format!("`{}` is larger than {MAX_VAR} bytes", v.name),
        })?;
    }
    Ok((size, v.align.max(element as u32)))
}

fn triple(args: &[Operand<'_>]) -> [u32; 3] {
    let mut t = [1; 3];
    for (d, a) in t.iter_mut().zip(args) {
        if let Operand::Int(v) = a {
            *d = u32::try_from(*v).unwrap_or(u32::MAX);
        }
    }
    t
}

/// Calls `f` on every variable of a body, nested scopes included.
fn each_var<'a, 'b>(body: &'b [Stmt<'a>], f: &mut impl FnMut(&'b Var<'a>)) {
    for s in body {
        match s {
            Stmt::Var(v) => f(v),
            Stmt::Block(b) => each_var(b, f),
            _ => {}
        }
    }
}

fn mentions(body: &[Stmt<'_>], test: &impl Fn(&str) -> bool) -> bool {
    fn operand(o: &Operand<'_>, test: &impl Fn(&str) -> bool) -> bool {
        match o {
            Operand::Name(n) | Operand::Offset(n, _) => test(n),
            Operand::Vector(v) | Operand::Address(v) | Operand::List(v) => v.iter().any(|o| operand(o, test)),
            _ => false,
        }
    }
    body.iter().any(|s| match s {
        Stmt::Inst(i) => i.operands.iter().any(|o| operand(o, test)),
        Stmt::Block(b) => mentions(b, test),
        _ => false,
    })
}

impl Module {
    /// Parses PTX text. Instructions the simulator does not know are no error until they are executed.
    pub fn parse(ptx: &str) -> Result<Module, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let ast = parse(ptx)?;
        let mut m = Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            source: ptx.to_string(),
            lines: OnceLock::new(),
            kernels: Vec::new(),
            funcs: Vec::new(),
            func_names: HashMap::new(),
            globals: Vec::new(),
            global_names: HashMap::new(),
            shared: Vec::new(),
            shared_names: HashMap::new(),
            files: HashMap::new(),
        };
        for item in &ast.items {
            match item {
                Item::File(n, name) => {
                    m.files.insert(*n, name.to_string());
                }
                Item::Var(v) => m.variable(v)?,
                _ => {}
            }
        }
        for item in &ast.items {
            if let Item::Function(f) = item {
                m.function(f)?;
            }
        }
        for item in &ast.items {
            if let Item::Alias(a, b) = item
                && let Some(&i) = m.func_names.get(*b)
            {
                m.func_names.insert(a.to_string(), i);
            }
        }
        Ok(Module { inner: Arc::new(m) })
    }

    /// All kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &KernelInfo> {
        self.inner.kernels.iter()
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<&KernelInfo> {
        self.inner.kernels.iter().find(|k| k.name == name)
    }
}

impl Inner {
    fn variable(&mut self, v: &Var<'_>) -> Result<(), ParseError> {
        let (size, align) = layout(v)?;
        if v.space.starts_with(".shared") {
            let id = self.shared.len() as u32;
            let dynamic = v.linkage.contains(&".extern") && size == 0;
            self.shared_names.insert(v.name.to_string(), id);
            self.shared.push(SharedVar { id, name: v.name.to_string(), size, align, dynamic });
        } else if v.space != ".param" {
            let defined = self.global_names.contains_key(v.name);
            if defined && v.linkage.contains(&".extern") {
                return Ok(());
            }
            let mut g = GlobalVar {
                name: v.name.to_string(),
                size,
                read_only: v.space.starts_with(".const"),
                data: Vec::new(),
                pointers: Vec::new(),
            };
            if let Some(init) = &v.init {
                let mut dims: Vec<u64> = v.dims.iter().map(|d| d.unwrap_or(1)).collect();
                dims.push(components(v));
                initialise(&mut g, init, type_bytes(v.ty), &dims);
            }
            self.global_names.insert(v.name.to_string(), self.globals.len() as u32);
            self.globals.push(g);
        }
        Ok(())
    }

    fn function(&mut self, f: &Function<'_>) -> Result<(), ParseError> {
        let entry = FuncEntry {
            name: f.name.to_string(),
            entry: f.entry,
            has_body: f.body.is_some(),
            start: f.start.0,
            line: f.line.0,
            decoded: OnceLock::new(),
        };
        match self.func_names.get(f.name) {
            // A definition replaces its declaration; a later declaration changes nothing.
            Some(&i) if f.body.is_some() => self.funcs[i as usize] = entry,
            Some(_) => return Ok(()),
            None => {
                self.func_names.insert(f.name.to_string(), self.funcs.len() as u32);
                self.funcs.push(entry);
            }
        }
        if let (true, Some(body)) = (f.entry, &f.body) {
            let info = self.kernel_info(f, body)?;
            self.kernels.push(info);
        }
        Ok(())
    }

    fn kernel_info(&self, f: &Function<'_>, body: &[Stmt<'_>]) -> Result<KernelInfo, ParseError> {
        let mut params = Vec::new();
        let mut at = 0u64;
        for p in &f.params {
            let (size, align) = layout(p)?;
            at = at.next_multiple_of(align.max(1) as u64);
            let too_large = || ParseError {
                line: p.line.0,
                column: p.column.0,
                message: format!("the parameters of `{}` exceed 32764 bytes", f.name),
            };
            if at + size > 32764 {
                return Err(too_large());
            }
            params.push(ParamInfo {
                name: p.name.to_string(),
                size: size as u32,
                align,
                ty: p.ty.trim_start_matches('.').to_string(),
                offset: at as u32,
            });
            at += size;
        }
        let directive = |name: &str| f.directives.iter().find(|d| d.0 == name).map(|d| triple(&d.1));
        let (mut shared, mut local) = (0u64, false);
        let mut failed = None;
        let mut add = |size: u64, align: u32| {
            shared = shared.next_multiple_of(align.max(1) as u64).saturating_add(size)
        };
        each_var(body, &mut |v| {
            if v.space.starts_with(".shared") {
                match layout(v) {
                    Ok((size, align)) => add(size, align),
                    Err(e) => failed = Some(e),
                }
            }
            local |= v.space == ".local";
        });
        if let Some(e) = failed {
            return Err(e);
        }
        for s in &self.shared {
            if !s.dynamic && mentions(body, &|n| n == s.name) {
                add(s.size, s.align);
            }
        }
        Ok(KernelInfo {
            name: f.name.to_string(),
            params,
            static_shared: u32::try_from(shared).unwrap_or(u32::MAX),
            max_threads: directive(".maxntid"),
            required_threads: directive(".reqntid"),
            max_registers: directive(".maxnreg").map(|t| t[0]),
            min_blocks_per_sm: directive(".minnctapersm").or(directive(".maxnctapersm")).map(|t| t[0]),
            required_cluster: directive(".reqnctapercluster"),
            max_cluster: directive(".maxclusterrank").map(|t| t[0]),
            explicit_cluster: directive(".explicitcluster").is_some(),
            blocks_are_clusters: directive(".blocksareclusters").is_some(),
            uses_dynamic_shared: mentions(body, &|n| {
                self.shared_names.get(n).is_some_and(|&i| self.shared[i as usize].dynamic)
            }),
            has_local: local,
            line: f.line.0,
        })
    }

    /// The decoded form of function `i`, decoded on first use.
    pub(crate) fn decoded(&self, i: u32) -> Result<Arc<Func>, SimError> {
        let e = &self.funcs[i as usize];
        let made = e.decoded.get_or_init(|| {
            let f: ast::Function<'_> =
                parse_function(&self.source, e.start, e.line).map_err(|e| (e.line, e.column, e.message))?;
            decode::function(self, &f).map(Arc::new)
        });
        made.clone().map_err(|(line, column, message)| {
            let mut err = SimError::new(ErrorKind::InvalidModule, message);
            err.report.line = Some(line);
            err.report.column = Some(column);
            err.report.kernel = e.name.clone();
            err
        })
    }

    /// The whole text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The text of a PTX line, for reports.
    pub(crate) fn line_text(&self, line: u32) -> String {
        let ends = || self.source.match_indices('\n').map(|(end, _)| end + 1);
        let starts = self.lines.get_or_init(|| std::iter::once(0).chain(ends()).collect());
        let rest = starts.get(line.saturating_sub(1) as usize).map_or("", |&start| &self.source[start..]);
        rest.lines().next().unwrap_or("").trim().to_string()
    }
}
