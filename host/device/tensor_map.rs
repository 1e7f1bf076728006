//! Tensor maps: what Hopper's tensor copies (`cp.async.bulk.tensor`) are told about a tensor.
//!
//! [`Device::tensor_map`] gives the device address of a map, which a kernel takes as a pointer. A map is made once for each
//! [`TensorMap`] and device, and stays where it is as long as the device: launches in flight and captured graphs may read it
//! at any time. 128 bytes each; a program that takes its memory from the same buffers again and again has few.

use std::collections::HashMap;

use super::{Device, DeviceError, DeviceKind};

/// Bytes of a map, which is also more than its alignment.
pub(super) const BYTES: usize = 128;

/// The type of a tensor's elements, as copies see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapElement {
    /// Bytes; fp8 too.
    U8,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// f32 in global memory, for products in tf32.
    Tf32,
}

impl MapElement {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            MapElement::U8 => 1,
            MapElement::F16 | MapElement::Bf16 => 2,
            MapElement::Tf32 => 4,
        }
    }
}

/// A tensor of three dimensions in global memory, and the box that a copy moves, in the 128-byte swizzle. The first dimension
/// is the contiguous one. What copies read outside the tensor is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorMap {
    /// Type of the elements.
    pub element: MapElement,
    /// Device address; a multiple of 16.
    pub address: u64,
    /// Elements of each dimension; at least 1.
    pub dims: [u64; 3],
    /// Bytes from one element to the next of the second and the third dimension; multiples of 16 below 2^40.
    pub strides: [u64; 2],
    /// Elements of the box in the first two dimensions, at most 256 each and 128 bytes in the first; it has one in the third.
    pub boxes: [u32; 2],
}

/// The maps of a device: where each is, and the memory for the next ones.
#[derive(Debug, Default)]
pub(super) struct Maps {
    known: HashMap<TensorMap, u64>,
    /// The block of memory in use, and how many maps it holds.
    block: Option<(u64, usize)>,
}

impl Maps {
    /// Maps of a block of memory.
    const BLOCK: usize = 128;

    /// The address of `map`: known, or else given by `alloc` (of a number of bytes) and filled by `write`.
    pub fn get<E>(
        &mut self,
        map: &TensorMap,
        alloc: impl FnOnce(usize) -> Result<u64, E>,
        write: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        if let Some(&address) = self.known.get(map) {
            return Ok(address);
        }
        let (block, used) = match self.block {
            Some((block, used)) if used < Self::BLOCK => (block, used),
            _ => (alloc(Self::BLOCK * BYTES)?, 0),
        };
        self.block = Some((block, used));
        let address = block + (used * BYTES) as u64;
        write(address)?;
        self.block = Some((block, used + 1));
        self.known.insert(*map, address);
        Ok(address)
    }
}

impl Device {
    /// The device address of a tensor map. The first call for a map writes it and cannot happen while a graph is captured:
    /// run the operation once before.
    pub fn tensor_map(&self, map: &TensorMap) -> Result<u64, DeviceError> {
        self.0.tensor_map(map)
    }
}

/// What a device without tensor copies answers.
pub(super) fn unavailable(kind: DeviceKind) -> DeviceError {
    DeviceError::Unavailable {
        device: kind.to_string(),
        reason: "tensor maps are for Hopper GPUs and for sim with their PTX".into(),
    }
}

/// What a device answers to a map that it refuses.
pub(super) fn refused(map: &TensorMap, reason: impl std::fmt::Display) -> DeviceError {
    DeviceError::Driver(format!("no tensor map for {map:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{SimOptions, Target};

    fn map(address: u64, rows: u64) -> TensorMap {
        TensorMap {
            element: MapElement::Bf16,
            address,
            dims: [40, rows, 1],
            strides: [80, 8000],
            boxes: [64, 16],
        }
    }

    #[test]
    fn maps_are_made_once_and_lie_apart() {
        let mut maps = Maps::default();
        let (mut blocks, mut written) = (0u64, Vec::new());
        for i in (0..300).chain(0..300) {
            let at = maps.get::<()>(
                &map(256, 1 + i),
                |bytes| {
                    assert_eq!(bytes, 128 * 128);
                    blocks += 1;
                    Ok(blocks << 20)
                },
                |address| {
                    written.push(address);
                    Ok(())
                },
            );
            assert_eq!(at, Ok(((1 + i / 128) << 20) + i % 128 * 128));
        }
        assert_eq!((blocks, written.len()), (3, 300));
        // A failure leaves no trace.
        assert_eq!(maps.get(&map(0, 1), |_| Ok(0), |_| Err("full")), Err("full"));
        assert_eq!(
            maps.get::<()>(&map(0, 1), |_| Ok(0), |at| Ok(assert_eq!(at, (3 << 20) + 44 * 128))),
            Ok((3 << 20) + 44 * 128)
        );
    }

    #[test]
    fn devices_say_what_they_refuse() {
        let sim = Device::sim_with(SimOptions { target: Target::Sm90a, ..SimOptions::default() });
        let buffer = sim.alloc::<u16>(4000).expect("memory");
        let good = map(buffer.address(), 100);
        let first = sim.tensor_map(&good).expect("a map");
        assert_eq!(sim.tensor_map(&good).expect("the same"), first);
        assert_ne!(sim.tensor_map(&map(buffer.address(), 50)).expect("another"), first);
        let error = sim.tensor_map(&map(buffer.address() + 2, 50)).expect_err("misaligned").to_string();
        assert!(error.contains("multiple of 16"), "{error}");
        assert!(Device::cpu().tensor_map(&good).is_err());
    }
}
