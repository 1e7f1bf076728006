//! What a device is: the name by which results and tuning caches know it, and the peaks that its vendor states.

use ptx_sim::profile::Gpu;

use super::{DeviceKind, Target};

/// A device's make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `cpu`, `sim`, or the GPU's product name.
    pub name: String,
    /// Major and minor compute capability; on `sim` that of the PTX it executes; `None` on `cpu`.
    pub compute_capability: Option<(u32, u32)>,
    /// Streaming multiprocessors; 0 where there are none.
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
    /// The model of a device without a product name.
    pub(super) fn of(kind: DeviceKind, target: Target) -> Model {
        let compute_capability = match (kind, target) {
            (DeviceKind::Cpu, _) => None,
            (_, Target::Sm80) => Some((8, 0)),
            (_, Target::Sm90a) => Some((9, 0)),
        };
        let name = if kind == DeviceKind::Cpu { "cpu" } else { "sim" };
        Model { name: name.into(), compute_capability, multiprocessors: 0 }
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
        assert_eq!(Model::of(DeviceKind::Sim, Target::Sm90a).gpu(), None);
        assert_eq!(Model::of(DeviceKind::Cpu, Target::Sm80).compute_capability, None);
    }
}
