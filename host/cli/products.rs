//! Matrix products as `tune` and `bench gemm` are asked for them: shapes, precisions, peaks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use ironwarp::device::{Device, DeviceKind};
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
    /// The problems, by precision and then by shape (`usual` where none was given). Errors: more bytes than memory; too
    /// much work for the simulator.
    pub fn problems(
        &self,
        device: &Device,
        precisions: &[Precision],
        usual: &[&str],
    ) -> Result<Vec<Problem>> {
        let mut shapes = self.shapes.clone();
        if shapes.is_empty() {
            shapes = usual.iter().filter_map(|text| text.parse().ok()).collect();
        }
        let mut problems = vec![];
        for (precision, shape) in precisions.iter().flat_map(|p| shapes.iter().map(move |s| (*p, s))) {
            let dtype = precision.factor();
            let problem = Problem::new(shape.m, shape.n, shape.k).transposed(self.ta, self.tb);
            let problem = problem.operands(dtype, dtype, dtype).precision(precision);
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
    fn peaks_of_precisions() {
        assert_eq!(peak(&Gpu::H200, Precision::Bf16), Some(989.4e12));
        assert_eq!(peak(&Gpu::H200, Precision::Fp32Fast), Some(494.7e12 / 3.0));
        assert_eq!(bytes(&Problem::new(2, 3, 5)), 4 * (10 + 15 + 6));
    }
}
