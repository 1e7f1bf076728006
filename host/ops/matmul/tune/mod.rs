//! The tuner: which candidate does a problem fastest on a device.
//!
//! [`tune`] takes every candidate of the problem's precision through
//!
//! 1. the gate ([`gate`]): its result on this very shape, with random operands, must be the product;
//! 2. the watch: on `cuda` the median of [`ROUNDS`] blocks between events, the candidates in turn so that a clock that
//!    sinks is not one candidate's alone, operands rotating through copies so that the caches are cold. On `sim` the
//!    least time of the profile's roofline, where the device profiles, else the heuristic's estimate ([`Basis`]). `cpu` has
//!    no candidates.
//!
//! A candidate that does not do the problem, fails, or is wrong stays in the result with the reason. [`Tuned::save`] adds
//! the result to the [`cache`], a JSON file; [`choose`] is what a product runs by: the fastest of the cache, if it
//! is known, else the heuristic of [`super::choose`]. The file is read once a process and device kind: a choice does not
//! change while a program runs, unless the program tunes.
//!
//! `sim` reads only a file that [`cache::VARIABLE`] names: the user's own cache is for GPUs, and the simulator's
//! results are to depend on nothing but the program.

pub mod cache;
pub mod gate;
mod operands;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ptx_sim::profile::roofline;

pub use cache::{Cache, CacheError, Entry};
pub use gate::Gate;
pub use operands::Operands;

use super::problem::mix;
use super::{Candidate, Extra, MatmulError, Problem, Reduce, candidates};
use crate::device::{Device, DeviceError, DeviceKind};
use crate::ops::activation::Activation;

/// Blocks that a candidate is measured in.
pub const ROUNDS: usize = 7;
/// Seconds of a block, about.
const BLOCK: f64 = 4e-3;
/// Runs of a block, at most.
const RUNS: usize = 2000;
/// A candidate that takes so many times as long as the fastest in the first round is not measured again.
const HOPELESS: f64 = 1.5;
/// Most floating-point operations of a product that is tuned on `sim`.
pub const SIM_FLOP: u64 = 1 << 27;
/// Seed of the operands.
const SEED: u64 = 5;

/// What is wrong with a tuning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// `cpu`.
    #[error("cpu has one way to multiply, there is nothing to tune: use --device cuda:N or sim")]
    NoCandidates,
    /// The simulator would take too long.
    #[error(
        "{problem} is {flop} operations, too many for the simulator: at most {SIM_FLOP}, such as 256x256x256"
    )]
    TooLarge {
        /// The problem.
        problem: String,
        /// Its operations.
        flop: u64,
    },
    /// A kernel took the device down.
    #[error("{kernel} on {problem} took the device down: {source}")]
    Lost {
        /// The candidate.
        kernel: &'static str,
        /// The problem.
        problem: String,
        /// What the device says.
        source: DeviceError,
    },
    /// The problem, or the device's memory.
    #[error(transparent)]
    Matmul(#[from] MatmulError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What the times of a tuning are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Measured on the device.
    Measured,
    /// The roofline of the simulator's profile, on the GPU that its PTX is for: a lower bound.
    Estimated,
    /// The heuristic's estimate, in units of its own.
    Heuristic,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Measured => "measured",
            Basis::Estimated => "estimated",
            Basis::Heuristic => "heuristic",
        })
    }
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its time in seconds (of [`Basis::Heuristic`] in millionths of the heuristic's unit).
    Time(f64),
    /// Why it is out.
    Rejected(String),
}

/// The candidates of a problem, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The problem.
    pub problem: Problem,
    /// The device's key in the cache.
    pub device: String,
    /// What the times are.
    pub basis: Basis,
    /// Each candidate of the problem's precision with its verdict, in the order of [`candidates`].
    pub kernels: Vec<(&'static str, Verdict)>,
}

impl Tuned {
    /// The fastest kernel and its time; of equals the first.
    pub fn fastest(&self) -> Option<(&'static str, f64)> {
        let times = self.kernels.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Time(seconds) => Some((*name, *seconds)),
            Verdict::Rejected(_) => None,
        });
        times.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// As the cache has it.
    pub fn entry(&self) -> Entry {
        let mut entry = Entry { basis: self.basis.to_string(), ..Entry::default() };
        for (name, verdict) in &self.kernels {
            match verdict {
                Verdict::Time(seconds) => drop(entry.us.insert((*name).into(), seconds * 1e6)),
                Verdict::Rejected(reason) => drop(entry.rejected.insert((*name).into(), reason.clone())),
            }
        }
        entry
    }

    /// Adds it to the file; products of this process choose by it from now on.
    pub fn save(&self, path: &Path) -> Result<(), CacheError> {
        Cache::add(path, &self.device, BTreeMap::from([(problem_key(&self.problem), self.entry())]))?;
        forget();
        Ok(())
    }
}

/// A device in the cache: what it is called, and its compute capability.
pub fn device_key(device: &Device) -> String {
    let model = device.model();
    match model.compute_capability {
        Some((major, minor)) => format!("{} ({major}.{minor})", model.name),
        None => model.name,
    }
}

/// A problem in the cache: extents, layouts, types, precision, what kind of epilogue it has, and how operands are aligned
/// where that is badly. Numbers that change no
/// kernel's work (alpha, beta but for its being 0, which activation) are left out, and so are leading dimensions.
pub fn problem_key(p: &Problem) -> String {
    let t = |t: bool| if t { 't' } else { 'n' };
    let parts = [
        (p.beta != 0.0, "beta"),
        (p.bias, "bias"),
        (p.activation != Activation::Identity && p.extra != Extra::Gradient, "activation"),
        (p.extra == Extra::Residual, "residual"),
        (p.extra == Extra::Gradient, "gradient"),
        (p.reduce == Reduce::Rows, "sum of rows"),
        (p.reduce == Reduce::Columns, "sum of columns"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect();
    let epilogue = if parts.is_empty() { "plain".into() } else { parts.join("+") };
    let (ta, tb, types) = (t(p.ta), t(p.tb), mix(p));
    let aligned = if p.align < 16 { format!(", aligned to {}", p.align) } else { String::new() };
    format!("{}x{}x{} x{} {ta}{tb} {types} in {}, {epilogue}{aligned}", p.m, p.n, p.k, p.batch, p.precision)
}

/// Judges every candidate for `problem` on `device`. See the [module](self).
pub fn tune(device: &Device, problem: &Problem) -> Result<Tuned, TuneError> {
    tune_among(device, problem, candidates(device.target()))
}

/// As [`tune`], of these candidates.
pub fn tune_among<'a>(
    device: &Device,
    problem: &Problem,
    among: impl IntoIterator<Item = &'a Candidate>,
) -> Result<Tuned, TuneError> {
    problem.check()?;
    match device.kind() {
        DeviceKind::Cpu => return Err(TuneError::NoCandidates),
        DeviceKind::Sim if problem.flop() > SIM_FLOP => {
            return Err(TuneError::TooLarge { problem: problem.to_string(), flop: problem.flop() });
        }
        _ => {}
    }
    let among: Vec<&Candidate> = among.into_iter().filter(|c| c.precision == problem.precision).collect();
    let mut operands = Operands::new(device, problem, SEED)?;
    let gate = Gate::new(&operands);
    let mut verdicts: Vec<Option<Verdict>> = vec![None; among.len()];
    let mut basis = if device.kind() == DeviceKind::Sim { Basis::Estimated } else { Basis::Measured };
    for (candidate, verdict) in among.iter().zip(&mut verdicts) {
        device.take_profiles();
        if let Err(reason) = admitted(&mut operands, &gate, candidate)? {
            *verdict = Some(Verdict::Rejected(reason));
        } else if device.kind() == DeviceKind::Sim {
            let profiles = device.take_profiles();
            let gpu = device.target().gpu();
            let us: f64 = profiles.iter().map(|p| roofline(p, &gpu, None).microseconds()).sum();
            if profiles.is_empty() {
                basis = Basis::Heuristic;
            }
            let estimate = if profiles.is_empty() { candidate.estimate(problem) as f64 } else { us };
            *verdict = Some(Verdict::Time(estimate / 1e6));
        }
    }
    if basis == Basis::Measured {
        measure(&mut operands, &among, &mut verdicts)?;
    }
    let kernels = among.iter().zip(verdicts).filter_map(|(c, verdict)| Some((c.name, verdict?))).collect();
    Ok(Tuned { problem: *problem, device: device_key(device), basis, kernels })
}

/// Whether a candidate does the problem, and rightly; else why not. Error: it took the device down.
pub fn admitted(
    operands: &mut Operands,
    gate: &Gate,
    candidate: &Candidate,
) -> Result<Result<(), String>, TuneError> {
    let (device, problem) = (operands.device().clone(), *operands.problem());
    if let Err(no) = candidate.supports(&problem, device.target()) {
        return Ok(Err(no.reason));
    }
    operands.restore()?;
    // Errors of kernels may come with the result only.
    let ran = operands.run(Some(candidate), 0).and_then(|()| Ok((operands.result()?, operands.sums()?)));
    match ran {
        Ok((got, sums)) => Ok(gate.check(&got).and_then(|()| gate.check_sums(&got, &sums))),
        Err(error) => match device.synchronize() {
            Ok(()) => Ok(Err(error.to_string())),
            Err(source) => {
                Err(TuneError::Lost { kernel: candidate.name, problem: problem.to_string(), source })
            }
        },
    }
}

/// Runs of a block, from the seconds of one: [`BLOCK`] seconds together.
fn runs(once: f64) -> usize {
    ((BLOCK / once.max(1e-9)).ceil() as usize).clamp(1, RUNS)
}

/// Seconds of a run in a block of `n`, the operands rotating from copy `from` on.
pub fn block(
    operands: &mut Operands,
    candidate: Option<&Candidate>,
    n: usize,
    from: usize,
) -> Result<f64, MatmulError> {
    let device = operands.device().clone();
    let seconds = device.seconds(|| (0..n).try_for_each(|i| operands.run(candidate, from + i)))?;
    Ok(seconds / n as f64)
}

/// Puts the times of the candidates that have no verdict yet.
fn measure(
    operands: &mut Operands,
    among: &[&Candidate],
    verdicts: &mut [Option<Verdict>],
) -> Result<(), TuneError> {
    let copies = operands.copies();
    let mut running: Vec<(usize, usize, Vec<f64>)> = vec![];
    for (i, candidate) in among.iter().enumerate().filter(|(i, _)| verdicts[*i].is_none()) {
        // Whatever is made once for an operand (a tensor map) is made here.
        block(operands, Some(candidate), copies, 0)?;
        running.push((i, runs(block(operands, Some(candidate), 3, 0)?), vec![]));
    }
    let mut turn = 0;
    for round in 0..ROUNDS {
        for (i, n, times) in &mut running {
            times.push(block(operands, Some(among[*i]), *n, turn)?);
            turn += *n;
        }
        if round == 0 {
            let least = running.iter().map(|r| r.2[0]).fold(f64::INFINITY, f64::min);
            for (i, _, times) in running.extract_if(.., |r| r.2[0] > HOPELESS * least) {
                verdicts[i] = Some(Verdict::Time(times[0]));
            }
        }
    }
    for (i, _, mut times) in running {
        times.sort_by(f64::total_cmp);
        verdicts[i] = Some(Verdict::Time(times[times.len() / 2]));
    }
    Ok(())
}

/// The cache of this process, once it is read.
static LOADED: Mutex<Option<Result<Arc<Cache>, CacheError>>> = Mutex::new(None);

/// The cache is read again when it is needed next.
fn forget() {
    *LOADED.lock().unwrap_or_else(|e| e.into_inner()) = None;
}

/// The cache that products on this kind of device choose by; `None` where there is none for it.
fn loaded(kind: DeviceKind) -> Result<Option<Arc<Cache>>, CacheError> {
    let named = std::env::var_os(cache::VARIABLE).is_some();
    if kind == DeviceKind::Cpu || (kind == DeviceKind::Sim && !named) {
        return Ok(None);
    }
    let Some(path) = cache::path() else { return Ok(None) };
    let mut loaded = LOADED.lock().unwrap_or_else(|e| e.into_inner());
    loaded.get_or_insert_with(|| Cache::load(&path).map(Arc::new)).clone().map(Some)
}

/// The candidate that `problem` runs by on `device`: the fastest of what was tuned that does it, else what
/// [`super::choose`] says. Errors: none does it; the cache is damaged or newer.
pub fn choose(device: &Device, problem: &Problem) -> Result<&'static Candidate, MatmulError> {
    match loaded(device.kind())? {
        Some(cache) => choose_by(&cache, device, problem),
        None => super::choose(problem, device.target()),
    }
}

/// As [`choose`], by this cache.
pub fn choose_by(
    cache: &Cache,
    device: &Device,
    problem: &Problem,
) -> Result<&'static Candidate, MatmulError> {
    let target = device.target();
    let does = |name: &str| {
        candidates(target).find(|c| c.name == name).filter(|c| c.supports(problem, target).is_ok())
    };
    let entry =
        (!cache.is_empty()).then(|| cache.entry(&device_key(device), &problem_key(problem))).flatten();
    match entry.and_then(|entry| entry.fastest().into_iter().find_map(does)) {
        Some(candidate) => Ok(candidate),
        None => super::choose(problem, target),
    }
}
