//! What a device is: the name by which results and tuning caches know it, and the peaks that its vendor states.

use ptx_sim::profile::Gpu;

use super::Target;

/// A device's make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `cpu`, `sim`, or the GPU's product name.
    pub name: String,
    /// Major and minor compute capability; on `sim` that of the PTX it executes; `None` on `cpu`.
    pub compute_capability: Option<(u32, u32)>,
    /// Streaming multiprocessors; on `sim` those of the A100 or the H100, by the PTX, unless it was told otherwise; 0 on `cpu`.
    pub multiprocessors: u32,
}

/// Product names of the boards whose peaks [`Gpu`] has. Other boards of the same chip have other clocks and memories.
const BOARDS: [(&str, Gpu); 5] = [
    ("A100-SXM4-80GB", Gpu::A100),
    ("A100-SXM-80GB", Gpu::A100),
    ("H100 80GB HBM3", Gpu::H100),
    ("H200", Gpu::H200),
    ("GeForce RTX 4090", Gpu::RTX_4090),
];

impl Model {
    pub(super) fn cpu() -> Model {
        Model { name: "cpu".into(), compute_capability: None, multiprocessors: 0 }
    }

    /// The simulator with the PTX of `target`.
    pub(super) fn sim(target: Target, multiprocessors: u32) -> Model {
        Model { name: "sim".into(), compute_capability: Some(target.gpu().compute), multiprocessors }
    }

    /// The vendor's figures of this very board; `None` where none are known: another chip, another board of it (PCIe,
    /// NVL), or a part of one (MIG).
    pub fn gpu(&self) -> Option<Gpu> {
        let product = self.name.trim_start_matches("NVIDIA ").trim();
        let known = BOARDS.iter().find(|(board, _)| *board == product)?.1;
        (known.sms == self.multiprocessors && Some(known.compute) == self.compute_capability).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, SimOptions};

    #[test]
    fn peaks_are_those_of_the_very_board() {
        let gpu = |name: &str, sms, compute| {
            let model = Model { name: name.into(), compute_capability: Some(compute), multiprocessors: sms };
            model.gpu().map(|g| g.name)
        };
        assert_eq!(gpu("NVIDIA H100 80GB HBM3", 132, (9, 0)), Some("H100"));
        assert_eq!(gpu("NVIDIA H200", 132, (9, 0)), Some("H200"));
        assert_eq!(gpu("NVIDIA A100-SXM4-80GB", 108, (8, 0)), Some("A100"));
        assert_eq!(gpu("NVIDIA GeForce RTX 4090", 128, (8, 9)), Some("RTX 4090"));
        for (name, sms) in [
            ("NVIDIA H100 PCIe", 114),
            ("NVIDIA H200 NVL", 132),
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 16),
            ("NVIDIA H100 80GB HBM3", 16),
        ] {
            assert_eq!(gpu(name, sms, (9, 0)), None, "{name}");
        }
        let sim = Device::sim_with(SimOptions { target: Target::Sm90a, ..SimOptions::default() }).model();
        assert_eq!((sim.compute_capability, sim.multiprocessors, sim.gpu()), (Some((9, 0)), 132, None));
        assert_eq!(Device::cpu().model().compute_capability, None);
    }
}
