//! Typed device memory.

use std::fmt;
use std::marker::PhantomData;

use super::{Device, DeviceError};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision, as bits.
    F16,
    /// bfloat16, as bits.
    Bf16,
    /// [`E4m3`](super::E4m3), an 8-bit float of matrix products (`float8_e4m3fn`).
    E4m3,
    /// [`E5m2`](super::E5m2), an 8-bit float of matrix products (`float8_e5m2`).
    E5m2,
    /// 32-bit unsigned: class labels, row indices, counters.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::E4m3 | DType::E5m2 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::E4m3 => "e4m3",
            DType::E5m2 => "e5m2",
            DType::U32 => "u32",
        })
    }
}

/// A plain type that device memory can hold.
pub trait Element: bytemuck::Pod + Send + Sync {}
impl Element for f32 {}
impl Element for f64 {}
impl Element for u8 {}
impl Element for u16 {}
impl Element for u32 {}
impl Element for i32 {}
impl Element for u64 {}
impl Element for half::f16 {}
impl Element for half::bf16 {}
impl Element for super::E4m3 {}
impl Element for super::E5m2 {}

/// `len` elements of `T` on a device; freed when dropped. New memory is uninitialised: reading it before writing is
/// reported by `sim`, and gives arbitrary values elsewhere.
pub struct Buffer<T: Element> {
    device: Device,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    pub(super) fn new(device: &Device, len: usize) -> Result<Self, DeviceError> {
        let bytes =
            len.checked_mul(size_of::<T>()).filter(|&b| b <= isize::MAX as usize).ok_or_else(|| {
                DeviceError::OutOfMemory { device: device.kind().to_string(), bytes: usize::MAX }
            })?;
        let address = device.0.alloc(bytes)?;
        Ok(Buffer { device: device.clone(), address, len, element: PhantomData })
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device address of element 0.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Overwrites all elements. Error: another length.
    pub fn upload(&mut self, data: &[T]) -> Result<(), DeviceError> {
        if data.len() != self.len {
            return Err(DeviceError::Length { what: "upload", got: data.len(), expected: self.len });
        }
        self.device.0.upload(self.address, bytemuck::cast_slice(data))
    }

    /// Overwrites elements from `start` on. Error: past the end.
    pub fn upload_at(&mut self, start: usize, data: &[T]) -> Result<(), DeviceError> {
        if start.checked_add(data.len()).is_none_or(|end| end > self.len) {
            return Err(DeviceError::Length { what: "upload_at", got: data.len(), expected: self.len });
        }
        self.device.0.upload(self.address + (start * size_of::<T>()) as u64, bytemuck::cast_slice(data))
    }

    /// Copies all elements to the host, after what was launched before.
    pub fn download(&self, out: &mut [T]) -> Result<(), DeviceError> {
        if out.len() != self.len {
            return Err(DeviceError::Length { what: "download", got: out.len(), expected: self.len });
        }
        self.device.0.download(self.address, bytemuck::cast_slice_mut(out))
    }

    /// The elements as a vector on the host.
    pub fn to_vec(&self) -> Result<Vec<T>, DeviceError> {
        let mut out = vec![T::zeroed(); self.len];
        self.download(&mut out)?;
        Ok(out)
    }
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer<{}>({} on {})", std::any::type_name::<T>(), self.len, self.device.kind())
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.device.0.free(self.address, self.len * size_of::<T>());
    }
}
