//! Matrix products as `tune` and `bench gemm` are asked for them: shapes, precisions and types, peaks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use ironwarp::device::{DType, Device, DeviceKind};
use ironwarp::ops::matmul::{Precision, Problem, tune::SIM_FLOP};
use ptx_sim::profile::Gpu;
use serde_json::{Value, json};

use super::fail::usage_error;

/// M x N x K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    m: usize,
    n: usize,
    k: usize,
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Shape, String> {
        let extent = |part: &str| part.parse().ok().filter(|n| (1..1usize << 31).contains(n));
        let parts: Option<Vec<usize>> = text.trim().split('x').map(extent).collect();
        match parts.as_deref() {
            Some(&[m, n, k]) => Ok(Shape { m, n, k }),
            _ => Err("give MxNxK, each from 1 to 2147483647, as in 4096x4096x4096".into()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.m, self.n, self.k)
    }
}

/// How factors are multiplied, and the types that they are stored in: the name of a precision, or for 8-bit floats those of the
/// types, as in `e4m3`, `e4m3xe5m2` (A by B) and `e4m3-fast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    pub precision: Precision,
    pub a: DType,
    pub b: DType,
}

impl Factors {
    /// Factors stored as the precision's kernels read them.
    pub fn of(precision: Precision) -> Factors {
        Factors { precision, a: precision.factor(), b: precision.factor() }
    }

    /// Those of a problem.
    pub fn in_problem(p: &Problem) -> Factors {
        Factors { precision: p.precision, a: p.a, b: p.b }
    }
}

impl FromStr for Factors {
    type Err = String;
    fn from_str(text: &str) -> Result<Factors, String> {
        let (types, precision) = match text.strip_suffix("-fast") {
            Some(types) => (types, Precision::Fp8Fast),
            None => (text, Precision::Fp8),
        };
        let of = |name: &str| [DType::E4m3, DType::E5m2].into_iter().find(|t| t.to_string() == name);
        let (a, b) = types.split_once('x').unwrap_or((types, types));
        match (of(a), of(b)) {
            (Some(a), Some(b)) => Ok(Factors { precision, a, b }),
            _ => text.parse().map(Factors::of).map_err(|e: String| {
                format!("{e}, or types of 8-bit floats: e4m3, e5m2, e4m3xe5m2, each with -fast or without")
            }),
        }
    }
}

impl fmt::Display for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.precision.is_fp8() {
            return self.precision.fmt(f);
        }
        self.a.fmt(f)?;
        if self.b != self.a {
            write!(f, "x{}", self.b)?;
        }
        f.write_str(if self.precision == Precision::Fp8Fast { "-fast" } else { "" })
    }
}

/// Which products.
#[derive(clap::Args)]
pub struct Products {
    /// Shapes as MxNxK, C being M x N.
    #[arg(long, value_name = "MxNxK,..", value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// A is stored transposed, K x M.
    #[arg(long)]
    ta: bool,
    /// B is stored transposed, N x K.
    #[arg(long)]
    tb: bool,
}

impl Products {
    /// The problems, by factors and then by shape (`usual` where none was given); C is of the factors' type, bf16 for 8-bit
    /// floats. Errors: more bytes than memory; too much work for the simulator.
    pub fn problems(&self, device: &Device, factors: &[Factors], usual: &[&str]) -> Result<Vec<Problem>> {
        let mut shapes = self.shapes.clone();
        if shapes.is_empty() {
            shapes = usual.iter().filter_map(|text| text.parse().ok()).collect();
        }
        let mut problems = vec![];
        for (factors, shape) in factors.iter().flat_map(|f| shapes.iter().map(move |s| (*f, s))) {
            let Factors { precision, a, b } = factors;
            let c = if precision.is_fp8() { DType::Bf16 } else { a };
            let problem = Problem::new(shape.m, shape.n, shape.k).transposed(self.ta, self.tb);
            let problem = problem.operands(a, b, c).precision(precision);
            problem.check().map_err(|e| usage_error(e.to_string()))?;
            if device.kind() == DeviceKind::Sim && problem.flop() > SIM_FLOP {
                return Err(usage_error(format!(
                    "{shape} is {} operations, too many for the simulator: at most {SIM_FLOP}, such as 256x256x256",
                    problem.flop()
                )));
            }
            problems.push(problem);
        }
        Ok(problems)
    }
}

/// Letters of the layouts: `nt` is A as it is, B transposed.
pub fn layouts(p: &Problem) -> String {
    [p.ta, p.tb].iter().map(|t| if *t { 't' } else { 'n' }).collect()
}

/// Bytes of the operands, each read or written once.
pub fn bytes(p: &Problem) -> u64 {
    let matrix = |rows: usize, cols: usize, element: usize| rows as u64 * cols as u64 * element as u64;
    let operands =
        matrix(p.m, p.k, p.a.bytes()) + matrix(p.k, p.n, p.b.bytes()) + matrix(p.m, p.n, p.c.bytes());
    operands * p.batch as u64
}

/// The vendor's peak in FLOP/s for products of a precision. That of f32's accuracy from tensor cores is a third of tf32's:
/// three products for one (of bf16, which is twice as fast, six).
pub fn peak(gpu: &Gpu, precision: Precision) -> Option<f64> {
    let tensor = |name: &str| gpu.peak_tensor(name).map(|t| t * 1e12);
    match precision {
        Precision::Fp32 => Some(gpu.peak_single() * 1e12),
        Precision::Fp32Fast => tensor("tf32").map(|t| t / 3.0),
        Precision::Tf32 | Precision::Bf16 | Precision::F16 => tensor(precision.name()),
        Precision::Fp8 | Precision::Fp8Fast => tensor("fp8"),
    }
}

/// The peaks of a GPU as results carry them.
pub fn peaks(gpu: &Gpu) -> Value {
    let all = Precision::ALL.iter().filter_map(|p| Some((p.name(), peak(gpu, *p)?)));
    let flops: BTreeMap<&str, f64> = all.collect();
    json!({
        "gpu": gpu.name, "flops": flops, "bytes_per_second": gpu.memory_gb_s * 1e9, "source": gpu.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_three_extents() {
        assert_eq!("16x4096x1".parse(), Ok(Shape { m: 16, n: 4096, k: 1 }));
        for bad in ["", "16", "16x16", "16x16x0", "16x16x16x16", "axbxc", "2147483648x1x1", "-1x1x1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn factors_are_a_precision_or_types() {
        let factors = |text: &str| text.parse::<Factors>();
        assert_eq!(factors("fp32-fast"), Ok(Factors::of(Precision::Fp32Fast)));
        for (text, precision, a, b) in [
            ("e4m3", Precision::Fp8, DType::E4m3, DType::E4m3),
            ("e5m2-fast", Precision::Fp8Fast, DType::E5m2, DType::E5m2),
            ("e4m3xe5m2", Precision::Fp8, DType::E4m3, DType::E5m2),
        ] {
            let read = factors(text).expect("known");
            assert_eq!((read, read.to_string()), (Factors { precision, a, b }, text.to_owned()));
        }
        assert_eq!(factors("fp8-fast"), factors("e4m3-fast"));
        for bad in ["e4m3xbf16", "e4m3xe4m3xe4m3", "e4m3-slow", "bf16-fast", "-fast", ""] {
            let error = factors(bad).expect_err("unknown");
            assert!(error.contains("fp32-fast") && error.contains("e4m3"), "{error}");
        }
    }

    #[test]
    fn peaks_of_precisions() {
        assert_eq!(peak(&Gpu::H200, Precision::Bf16), Some(989.4e12));
        assert_eq!(peak(&Gpu::H200, Precision::Fp32Fast), Some(494.7e12 / 3.0));
        assert_eq!(
            (peak(&Gpu::H200, Precision::Fp8), peak(&Gpu::A100, Precision::Fp8)),
            (Some(1978.9e12), None)
        );
        assert_eq!(bytes(&Problem::new(2, 3, 5)), 4 * (10 + 15 + 6));
    }
}
