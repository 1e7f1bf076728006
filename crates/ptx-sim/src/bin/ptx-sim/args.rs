//! The arguments of a launch: the PTX file, the kernel, grid and block, and `--arg TYPE=VALUE` once per parameter.
//!
//! | `--arg` | is |
//! |---|---|
//! | `u8=5` ... `s64=-7`, `f16=`, `bf16=`, `f32=`, `f64=`, `b8=` ... `b64=0xff` | a number |
//! | `bytes=00ff3c` | a struct or array by value, in hexadecimal |
//! | `in=x.npy` | a buffer the kernel may only read |
//! | `out=y.npy` | an uninitialised buffer with the shape and type of the file, which is then replaced |
//! | `out=y.npy:f32:16x32` | the same, shape and type given |
//! | `inout=z.npy`, `inout=z.npy:z2.npy` | a buffer that is read from the first file and written to it, or to the second |

use super::Failure;
use super::npy::{self, Array, Element};
use super::output;
use ptx_sim::{
    Arg, Checks, ErrorKind, KernelInfo, LaunchConfig, LaunchStats, Module, ParamInfo, Sim, SimError,
};
use std::path::{Path, PathBuf};

/// What every launch takes.
#[derive(clap::Args)]
pub struct Launch {
    /// The PTX file
    pub file: PathBuf,
    /// The kernel; may be left out when the file has one
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Blocks of the grid
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = dims, default_value = "1")]
    pub grid: [u32; 3],
    /// Threads of a block; the kernel's own when it requires them (`.reqntid`)
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = dims)]
    pub block: Option<[u32; 3]>,
    /// Dynamic shared memory of a block
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub shared: u32,
    /// Blocks of a cluster; the kernel's own when it requires them (`.reqnctapercluster`)
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = dims)]
    pub cluster: Option<[u32; 3]>,
    /// One argument per parameter, in order: u32=5, f32=1.5, bytes=00ff, in=x.npy, out=y.npy[:TYPE:SHAPE], inout=z.npy[:z2.npy]
    #[arg(long = "arg", value_name = "TYPE=VALUE", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// Warp instructions until a launch counts as endless
    #[arg(long, value_name = "N", default_value_t = 1 << 32)]
    pub max_steps: u64,
    /// Most simulated memory; K, M and G are understood
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "4G")]
    pub max_memory: u64,
}

fn dims(text: &str) -> Result<[u32; 3], String> {
    let mut out = [1; 3];
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 3 {
        return Err("at most three numbers: X[,Y[,Z]]".into());
    }
    for (o, p) in out.iter_mut().zip(parts) {
        *o = p.trim().parse().map_err(|_| format!("`{p}` is no number from 0 to {}", u32::MAX))?;
    }
    Ok(out)
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err("one of K, M and G at most".into()),
    };
    let n: u64 = digits.parse().map_err(|_| format!("`{digits}` is no number of bytes"))?;
    n.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

/// A PTX file.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
    pub module: Module,
}

impl Source {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let bytes =
            std::fs::read(path).map_err(|e| Failure::Input(format!("{name}:1:1: cannot be read: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = good.iter().filter(|b| **b == b'\n').count() + 1;
            let column = good.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            Failure::Input(format!("{name}:{line}:{column}: not UTF-8 text"))
        })?;
        let module = Module::parse(&text)
            .map_err(|e| Failure::Input(format!("{name}:{}:{}: {}", e.line, e.column, e.message)))?;
        Ok(Source { path: path.to_path_buf(), text, module })
    }

    /// An error at a line.
    pub fn error(&self, line: u32, what: impl std::fmt::Display) -> Failure {
        Failure::Input(format!("{}:{}:1: {what}", self.path.display(), line.max(1)))
    }

    fn kernel(&self, name: Option<&str>) -> Result<&KernelInfo, Failure> {
        let all: Vec<&KernelInfo> = self.module.kernels().collect();
        let names = || all.iter().take(8).map(|k| k.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, all.as_slice()) {
            (_, []) => Err(self.error(1, "the file has no kernel")),
            (Some(n), _) => self
                .module
                .kernel(n)
                .ok_or_else(|| self.error(1, format!("no kernel `{n}`; the file's kernels are {}", names()))),
            (None, [only]) => Ok(only),
            (None, _) => Err(self.error(1, format!("several kernels, name one with --kernel: {}", names()))),
        }
    }
}

/// What happens to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    In,
    Out,
    InOut,
}

/// A buffer argument.
pub struct Buffer {
    pub mode: Mode,
    /// The file it is read from, or named after.
    pub path: PathBuf,
    /// The file it is written to.
    pub target: PathBuf,
    /// What is in it before the launch; of `out` buffers type and shape alone count.
    pub array: Array,
}

enum Slot {
    Value(Vec<u8>),
    Buffer(Buffer),
}

/// A launch, ready to run any number of times.
pub struct Prepared {
    pub source: Source,
    pub kernel: KernelInfo,
    pub config: LaunchConfig,
    slots: Vec<Slot>,
    /// Steps and bytes.
    limits: (u64, u64),
}

/// A launch that ran: its buffers can still be read.
pub struct Ran {
    pub result: Result<LaunchStats, SimError>,
    pub sim: Sim,
    /// Addresses of the buffers, in order.
    addresses: Vec<u64>,
}

impl Launch {
    /// Reads all files, and matches the arguments with the kernel's parameters.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        let source = Source::read(&self.file)?;
        let kernel = source.kernel(self.kernel.as_deref())?.clone();
        if self.args.len() != kernel.params.len() {
            let types: Vec<&str> = kernel.params.iter().map(|p| p.ty.as_str()).collect();
            return Err(source.error(
                kernel.line,
                format!(
                    "kernel `{}` has {} parameters ({}), the command line {} arguments",
                    kernel.name,
                    types.len(),
                    types.join(" "),
                    self.args.len()
                ),
            ));
        }
        let mut slots = vec![];
        for (i, (text, param)) in self.args.iter().zip(&kernel.params).enumerate() {
            let wrong =
                |what: String| source.error(kernel.line, format!("argument {} `{text}`: {what}", i + 1));
            slots.push(slot(text, param, wrong)?);
        }
        let block = match self.block.or(kernel.required_threads) {
            Some(b) => b,
            None => return Err(source.error(kernel.line, "--block is missing, and the kernel requires none")),
        };
        let mut config = LaunchConfig::new(self.grid, block).shared(self.shared);
        if let Some(c) = self.cluster.or(kernel.required_cluster) {
            config = config.cluster(c);
        }
        let limits = (self.max_steps, self.max_memory);
        Ok(Prepared { source, kernel, config, slots, limits })
    }
}

/// One `--arg`.
fn slot(text: &str, param: &ParamInfo, wrong: impl Fn(String) -> Failure) -> Result<Slot, Failure> {
    let Some((ty, value)) = text.split_once('=') else {
        return Err(wrong("an argument is TYPE=VALUE".into()));
    };
    let unfit = |bytes: usize, class: char| {
        let kind = param.ty.chars().next().unwrap_or('b');
        let fits = match class {
            'f' => matches!(kind, 'f' | 'b'),
            'i' => matches!(kind, 'u' | 's' | 'b'),
            _ => true,
        };
        (bytes != param.size as usize || !fits).then(|| {
            wrong(format!(
                "{bytes} bytes of {ty} for parameter `{}`, {} bytes of {}",
                param.name, param.size, param.ty
            ))
        })
    };
    let mode = match ty {
        "in" => Mode::In,
        "out" => Mode::Out,
        "inout" => Mode::InOut,
        _ => {
            let (data, class) = number(ty, value).map_err(&wrong)?;
            return unfit(data.len(), class).map_or(Ok(Slot::Value(data)), Err);
        }
    };
    if let Some(e) = unfit(8, 'i') {
        return Err(e);
    }
    buffer(mode, value, wrong).map(Slot::Buffer)
}

/// A number's bytes, and its class: `f`loat, `i`nteger, or `b`its that fit anything.
fn number(ty: &str, value: &str) -> Result<(Vec<u8>, char), String> {
    if ty == "bytes" {
        let digits: Vec<u8> = value.chars().filter_map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        if digits.len() != value.chars().count() || !digits.len().is_multiple_of(2) {
            return Err("`bytes` takes pairs of hexadecimal digits".into());
        }
        return Ok((digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect(), 'b'));
    }
    let float = || value.parse::<f32>().map_err(|_| format!("`{value}` is no number"));
    match ty {
        "f16" => return Ok((half::f16::from_f32(float()?).to_le_bytes().to_vec(), 'f')),
        "bf16" => return Ok((half::bf16::from_f32(float()?).to_le_bytes().to_vec(), 'f')),
        "f32" => return Ok((float()?.to_le_bytes().to_vec(), 'f')),
        "f64" => {
            let v: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
            return Ok((v.to_le_bytes().to_vec(), 'f'));
        }
        _ => {}
    }
    let element = Element::named(ty).filter(|_| ty != "bool").ok_or_else(|| {
        format!("no type `{ty}`; u8 to u64, s8 to s64, f16, bf16, f32, f64, b8 to b64, bytes, in, out and inout are known")
    })?;
    let bits = 8 * element.bytes as u32;
    let (negative, digits) = match value.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, value),
    };
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let magnitude = magnitude.map_err(|_| format!("`{value}` is no integer"))? as i128;
    let number = if negative { -magnitude } else { magnitude };
    let (low, high) = match ty.as_bytes()[0] {
        b'u' => (0, (1i128 << bits) - 1),
        b'b' => (-(1i128 << (bits - 1)), (1i128 << bits) - 1),
        _ => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
    };
    if number < low || number > high {
        return Err(format!("{value} is outside {ty}: {low} to {high}"));
    }
    let class = if ty.starts_with('b') { 'b' } else { 'i' };
    Ok(((number as i64).to_le_bytes()[..element.bytes].to_vec(), class))
}

fn buffer(mode: Mode, value: &str, wrong: impl Fn(String) -> Failure) -> Result<Buffer, Failure> {
    if mode == Mode::Out {
        let parts: Vec<&str> = value.rsplitn(3, ':').collect();
        if let [shape, ty, path] = parts[..]
            && let Some(element) = Element::named(ty)
        {
            let dims: Result<Vec<usize>, _> = shape.split('x').map(str::parse).collect();
            let shape = dims.map_err(|_| wrong(format!("`{shape}` is no shape such as 16x32")))?;
            if npy::size(element, &shape).is_none() {
                return Err(wrong("the shape is too large".into()));
            }
            let path = PathBuf::from(path);
            let array = Array { element, shape, data: vec![] };
            return Ok(Buffer { mode, target: path.clone(), path, array });
        }
        if !Path::new(value).exists() {
            return Err(wrong(
                "there is no such file to take type and shape from; say out=FILE:TYPE:SHAPE".into(),
            ));
        }
    }
    let (path, target) = match value.rfind(".npy:").filter(|_| mode == Mode::InOut) {
        Some(i) => (PathBuf::from(&value[..i + 4]), PathBuf::from(&value[i + 5..])),
        None => (PathBuf::from(value), PathBuf::from(value)),
    };
    let array = npy::read(&path).map_err(Failure::Input)?;
    Ok(Buffer { mode, path, target, array })
}

/// The checks a GPU makes by itself: it faults outside its memory and at crooked addresses.
pub fn hardware_checks() -> Checks {
    let mut c = Checks::none();
    c.out_of_bounds = true;
    c.misaligned = true;
    c.use_after_free = true;
    c.barriers = true;
    c
}

impl Prepared {
    pub fn buffers(&self) -> impl Iterator<Item = &Buffer> {
        self.slots.iter().filter_map(|s| match s {
            Slot::Buffer(b) => Some(b),
            Slot::Value(_) => None,
        })
    }

    /// Runs the kernel with fresh memory.
    pub fn execute(&self, checks: Checks, seed: Option<u64>, profile: bool) -> Result<Ran, Failure> {
        let mut builder = Sim::builder()
            .checks(checks)
            .instruction_budget(self.limits.0)
            .memory_limit(self.limits.1)
            .profile(profile);
        if let Some(s) = seed {
            builder = builder.seed(s);
        }
        let mut sim = builder.build();
        let unfit = |e: SimError| {
            let line = e.report.line.unwrap_or(self.kernel.line);
            self.source.error(line, format!("{}: {}", e.kind, output::message(&e)))
        };
        let mut addresses = vec![];
        let mut args = vec![];
        for s in &self.slots {
            args.push(match s {
                Slot::Value(bytes) => Arg::Bytes(bytes.clone()),
                Slot::Buffer(b) => {
                    let a = &b.array;
                    let bytes = npy::size(a.element, &a.shape).unwrap_or(usize::MAX);
                    let addr = sim.try_alloc(bytes).map_err(unfit)?;
                    let name = b.path.display().to_string();
                    let written = if b.mode == Mode::Out { Ok(()) } else { sim.write(addr, &a.data) };
                    written
                        .and_then(|()| sim.label(addr, &name, b.mode == Mode::In))
                        .map_err(|e| Failure::Work(e.to_string()))?;
                    addresses.push(addr);
                    Arg::U64(addr)
                }
            });
        }
        let result = sim.launch(&self.source.module, &self.kernel.name, &self.config, &args);
        let input = [
            ErrorKind::NoSuchKernel,
            ErrorKind::BadArguments,
            ErrorKind::BadLaunch,
            ErrorKind::InvalidModule,
        ];
        match result {
            // Variables of the module that exceed the memory have no instruction to blame.
            Err(e)
                if input.contains(&e.kind) || e.kind == ErrorKind::MemoryLimit && e.report.line.is_none() =>
            {
                Err(unfit(e))
            }
            result => Ok(Ran { result, sim, addresses }),
        }
    }

    /// The buffers that a launch wrote, with their addresses.
    pub fn outputs<'a>(&'a self, ran: &Ran) -> Vec<(&'a Buffer, u64)> {
        let all = self.buffers().zip(ran.addresses.iter().copied());
        all.filter(|(b, _)| b.mode != Mode::In).collect()
    }
}

impl Ran {
    /// A buffer as it is now.
    pub fn read(&self, b: &Buffer, addr: u64) -> Result<Array, Failure> {
        let mut data = vec![0; npy::size(b.array.element, &b.array.shape).unwrap_or(0)];
        self.sim.read(addr, &mut data).map_err(|e| Failure::Work(e.to_string()))?;
        Ok(Array { data, element: b.array.element, shape: b.array.shape.clone() })
    }
}
