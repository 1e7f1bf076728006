//! The matrix products of `ops::matmul`: every candidate against the f64 oracle on random problems, the same bits under
//! another order of warps and blocks, typed errors, and what the simulator's profile and lint say of the kernels.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod family;
mod fp8;
mod gemv;
mod grouped;
mod hopper;
mod simt;
mod streamk;
mod tensor;

use common::Rng;
use half::{bf16, f16};
use ironwarp::device::{Buffer, DType, Device, DeviceError, E4m3, E5m2, SimOptions, Target};
use ironwarp::ops::matmul::grouped::Operands;
use ironwarp::ops::matmul::{
    Candidate, Epilogue, Extra, MatmulError, Name, Operand, OperandMut, Problem, Reduce,
};
use ironwarp::ops::matmul::{candidates, matmul, matmul_by, reference};
use ptx_sim::lint::{LintOptions, lint};
use ptx_sim::profile::Profile;
use ptx_sim::{Accumulation, Module};

/// A buffer of any element type.
pub(crate) enum Memory {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
    F16(Buffer<f16>),
    E4m3(Buffer<E4m3>),
    E5m2(Buffer<E5m2>),
}

impl Memory {
    /// `values`, rounded to the type, after `start` elements that nobody should look at.
    fn new(device: &Device, dtype: DType, start: usize, values: &[f64]) -> Result<Memory, DeviceError> {
        let all = || std::iter::repeat_n(f64::NAN, start).chain(values.iter().copied());
        Ok(match dtype {
            DType::Bf16 => Memory::Bf16(device.buffer(&all().map(bf16::from_f64).collect::<Vec<_>>())?),
            DType::F16 => Memory::F16(device.buffer(&all().map(f16::from_f64).collect::<Vec<_>>())?),
            DType::E4m3 => {
                Memory::E4m3(device.buffer(&all().map(|x| E4m3::from_f32(x as f32)).collect::<Vec<_>>())?)
            }
            DType::E5m2 => {
                Memory::E5m2(device.buffer(&all().map(|x| E5m2::from_f32(x as f32)).collect::<Vec<_>>())?)
            }
            _ => Memory::F32(device.buffer(&all().map(|x| x as f32).collect::<Vec<_>>())?),
        })
    }
    fn at(&self, start: usize) -> Operand<'_> {
        match self {
            Memory::F32(b) => Operand::new(b, start),
            Memory::Bf16(b) => Operand::new(b, start),
            Memory::F16(b) => Operand::new(b, start),
            Memory::E4m3(b) => Operand::new(b, start),
            Memory::E5m2(b) => Operand::new(b, start),
        }
    }
    fn at_mut(&mut self, start: usize) -> OperandMut<'_> {
        match self {
            Memory::F32(b) => OperandMut::new(b, start),
            Memory::Bf16(b) => OperandMut::new(b, start),
            Memory::F16(b) => OperandMut::new(b, start),
            Memory::E4m3(b) => OperandMut::new(b, start),
            Memory::E5m2(b) => OperandMut::new(b, start),
        }
    }
    fn values(&self, start: usize) -> Result<Vec<f64>, DeviceError> {
        Ok(match self {
            Memory::F32(b) => b.to_vec()?[start..].iter().map(|&x| f64::from(x)).collect(),
            Memory::Bf16(b) => b.to_vec()?[start..].iter().map(|x| x.to_f64()).collect(),
            Memory::F16(b) => b.to_vec()?[start..].iter().map(|x| x.to_f64()).collect(),
            Memory::E4m3(b) => b.to_vec()?[start..].iter().map(|x| f64::from(x.to_f32())).collect(),
            Memory::E5m2(b) => b.to_vec()?[start..].iter().map(|x| f64::from(x.to_f32())).collect(),
        })
    }
}

/// `x` as the type stores it.
pub(crate) fn stored(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::Bf16 => bf16::from_f64(x).to_f64(),
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::E4m3 => f64::from(E4m3::from_f32(x as f32).to_f32()),
        DType::E5m2 => f64::from(E5m2::from_f32(x as f32).to_f32()),
        _ => f64::from(x as f32),
    }
}

/// A problem with its data, and where each operand begins in its buffer.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) problem: Problem,
    pub(crate) starts: [usize; 5],
    pub(crate) data: [Vec<f64>; 5],
}

const NAMES: [Name; 5] = [Name::A, Name::B, Name::C, Name::Bias, Name::Extra];

impl Case {
    /// Data by `draw`; a C that is not read is full of NaN.
    pub(crate) fn new(problem: Problem, starts: [usize; 5], mut draw: impl FnMut() -> f64) -> Case {
        let p = &problem;
        let data = NAMES.map(|name| {
            let (dtype, used) = match name {
                Name::A => (p.a, true),
                Name::B => (p.b, true),
                Name::C => (p.c, true),
                Name::Bias => (DType::F32, p.bias),
                Name::Extra => (p.c, p.extra != Extra::None),
                Name::Sums => (DType::F32, false),
            };
            let len = if used { p.span(name).expect("drawn problems are small") } else { 0 };
            let nan = name == Name::C && p.beta == 0.0;
            (0..len).map(|_| if nan { f64::NAN } else { stored(dtype, draw()) }).collect()
        });
        Case { problem, starts, data }
    }

    pub(crate) fn random(problem: Problem, starts: [usize; 5], seed: u64) -> Case {
        let mut rng = Rng(seed);
        Case::new(problem, starts, || f64::from(rng.range(-1.0, 1.0)))
    }

    pub(crate) fn oracle(&self) -> reference::Oracle {
        let [a, b, c, bias, extra] = &self.data;
        reference::product(&self.problem, reference::Values { a, b, c, bias, extra })
    }

    /// C after the product, then its sums if there are any, by `candidate`, or by what `matmul` chooses.
    pub(crate) fn run(
        &self,
        device: &Device,
        candidate: Option<&Candidate>,
    ) -> Result<Vec<f64>, MatmulError> {
        let p = &self.problem;
        let mut memory = self.memory(device)?;
        let Operands { a, b, c, epilogue } = self.operands(&mut memory);
        match candidate {
            Some(candidate) => matmul_by(candidate, device, p, a, b, c, epilogue)?,
            None => matmul(device, p, a, b, c, epilogue)?,
        }
        Ok(self.result(&memory)?)
    }

    /// The data on a device, and room for sums.
    pub(crate) fn memory(&self, device: &Device) -> Result<Vec<Memory>, DeviceError> {
        let (p, starts) = (&self.problem, &self.starts);
        let types = [p.a, p.b, p.c, DType::F32, p.c];
        let all = types.iter().zip(starts).zip(&self.data);
        let all = all.map(|((&dtype, &start), values)| Memory::new(device, dtype, start, values));
        // Sums begin as far into their buffer as the bias: both are f32.
        let sums = vec![f64::NAN; p.span(Name::Sums).expect("drawn problems are small")];
        all.chain([Memory::new(device, DType::F32, starts[3], &sums)]).collect()
    }

    /// The operands in [`memory`](Case::memory).
    pub(crate) fn operands<'a>(&self, memory: &'a mut [Memory]) -> Operands<'a> {
        let (p, starts) = (&self.problem, self.starts);
        let [a, b, c, bias, extra, sums] = memory else { unreachable!("six operands") };
        let epilogue = Epilogue {
            bias: p.bias.then(|| bias.at(starts[3])),
            extra: (p.extra != Extra::None).then(|| extra.at(starts[4])),
            sums: (p.reduce != Reduce::None).then(|| sums.at_mut(starts[3])),
        };
        Operands { a: a.at(starts[0]), b: b.at(starts[1]), c: c.at_mut(starts[2]), epilogue }
    }

    /// C in [`memory`](Case::memory), then its sums if there are any.
    pub(crate) fn result(&self, memory: &[Memory]) -> Result<Vec<f64>, DeviceError> {
        let (mut c, sums) = (memory[2].values(self.starts[2])?, memory[5].values(self.starts[3])?);
        c.extend(sums);
        Ok(c)
    }

    /// Whether `got` is what the oracle says.
    pub(crate) fn compare(&self, got: &[f64]) -> Result<(), String> {
        let (p, oracle) = (&self.problem, self.oracle());
        let (c, sums) = got.split_at(oracle.want.len());
        let wrong = reference::mismatch(p, c, &oracle).or_else(|| reference::sums_mismatch(p, sums, &oracle));
        wrong.map_or(Ok(()), Err)
    }

    /// Runs and compares with the oracle.
    pub(crate) fn check(&self, device: &Device, candidate: Option<&Candidate>) -> Result<Vec<f64>, String> {
        let got = self.run(device, candidate).map_err(|e| e.to_string())?;
        self.compare(&got).map(|()| got)
    }
}

/// The candidate of this name.
pub(crate) fn candidate(name: &str) -> &'static Candidate {
    candidates(Target::Sm90a).find(|c| c.name == name).unwrap_or_else(|| panic!("no candidate {name}"))
}

/// Asserts that kernels move no byte twice, have no bank conflict and keep nothing in local memory.
pub(crate) fn assert_least_traffic(profile: &Profile, of: &str) {
    let (global, shared, what) = (&profile.global, &profile.shared, format!("{of}:\n{profile}"));
    assert_eq!(shared.loads.conflicts() + shared.stores.conflicts(), 0, "{what}");
    assert_eq!(global.loads.sectors, global.loads.ideal_sectors, "{what}");
    assert_eq!(global.stores.sectors, global.stores.ideal_sectors, "{what}");
    assert_eq!(profile.local.requests, 0, "{what}");
}

/// Asserts that the lint finds nothing in these kernels.
pub(crate) fn assert_lint_clean(module: &Module, kernels: &[&str]) {
    let found = lint(module, &LintOptions::default());
    let ours = found.iter().filter(|f| kernels.contains(&f.kernel.as_str()));
    let bad: Vec<_> = ours.map(|f| f.to_string()).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Two simulators that differ in the order of warps and blocks. Ampere's sums as the default adder does, Hopper's cut off
/// like the hardware's: both must keep the bounds.
pub(crate) fn simulators(target: Target) -> [Device; 2] {
    let accumulation = match target {
        Target::Sm80 => Accumulation::Sequential,
        Target::Sm90a => Accumulation::Truncating,
    };
    [0, 0x5eed]
        .map(|seed| Device::sim_with(SimOptions { seed, target, accumulation, ..SimOptions::default() }))
}

/// Whether two results are the same bits (NaN aside).
pub(crate) fn same(x: &[f64], y: &[f64]) -> bool {
    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())
}
