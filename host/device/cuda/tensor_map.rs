//! Tensor maps, encoded by the driver.

use std::ffi::{CStr, c_void};

use super::context::CudaContext;
use super::error::{CudaError, DriverCode};
use super::loader;
use crate::device::tensor_map::{BYTES, MapElement, TensorMap};

/// `cuTensorMapEncodeTiled` (CUDA 12.0), newer than `cust_raw`: map, element type, rank, address, extents, strides, box,
/// element strides, interleave, swizzle, promotion, fill.
type EncodeTiled = unsafe extern "C" fn(
    *mut Encoded,
    u32,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    *const u32,
    *const u32,
    u32,
    u32,
    u32,
    u32,
) -> u32;

/// A `CUtensorMap`.
#[repr(C, align(64))]
pub(in crate::device) struct Encoded(pub [u8; BYTES]);

/// `CU_TENSOR_MAP_SWIZZLE_128B`.
const SWIZZLE_128B: u32 = 3;
/// `CU_TENSOR_MAP_L2_PROMOTION_L2_256B`: misses fetch whole lines for the blocks that come after.
const PROMOTION_256B: u32 = 3;

/// `CUtensorMapDataType`.
fn number(element: MapElement) -> u32 {
    match element {
        MapElement::U8 => 0,
        MapElement::F16 => 6,
        MapElement::Bf16 => 9,
        MapElement::Tf32 => 11,
    }
}

impl CudaContext {
    /// The map's bytes.
    ///
    /// # Errors
    /// A driver older than CUDA 12; what the driver refuses.
    pub(in crate::device) fn encode_tensor_map(&self, map: &TensorMap) -> Result<Encoded, CudaError> {
        const NAME: &CStr = c"cuTensorMapEncodeTiled";
        let entry = loader::entry_point(NAME)?;
        // SAFETY: the driver's function of this name has this signature.
        let encode: EncodeTiled = unsafe { std::mem::transmute(entry.as_ptr()) };
        let mut out = Encoded([0; BYTES]);
        let boxes = [map.boxes[0], map.boxes[1], 1];
        // SAFETY: the output is a live local of the right size and alignment; the arrays have as many elements as the rank
        // asks for (strides one fewer), and outlive the call. The address is not dereferenced.
        let raw = unsafe {
            encode(
                &mut out,
                number(map.element),
                3,
                std::ptr::without_provenance_mut(map.address as usize),
                map.dims.as_ptr(),
                map.strides.as_ptr(),
                boxes.as_ptr(),
                [1; 3].as_ptr(),
                0,
                SWIZZLE_128B,
                PROMOTION_256B,
                0,
            )
        };
        DriverCode::check(raw).map_err(|code| CudaError::Driver { call: "cuTensorMapEncodeTiled", code })?;
        Ok(out)
    }

    /// Whether this thread is capturing a graph.
    pub(in crate::device) fn is_capturing(&self) -> Result<bool, CudaError> {
        Ok(self.shared.enter()?.state.capture.is_some())
    }
}
