//! Kernels and their launches, checked against the kernel's own signature when the host program compiles.
//!
//! On the host `#[kernel]` leaves, beside the function, a type of the same name that carries the function-pointer type
//! ([`cuda_std::KernelSignature`]). [`kernel!`](crate::kernel) turns that into a [`Kernel<F>`], and [`LaunchArgs<F>`] is
//! implemented for exactly the argument tuples whose elements fit `F`'s parameters: a scalar for a scalar, `&Buffer<T>`
//! for `*const T`, `&mut Buffer<T>` for `*mut T`. A missing, surplus or wrongly typed argument does not compile.
//!
//! ```
//! use ironwarp::{Device, device::Launch, kernel};
//! let device = Device::sim();
//! let (x, mut y) = (device.buffer(&[1f32, 2.0, 3.0])?, device.buffer(&[10f32, 20.0, 30.0])?);
//! device.launch(kernel!(saxpy::saxpy), Launch::linear(3u32), (3u32, 2f32, &x, &mut y))?;
//! assert_eq!(y.to_vec()?, [12.0, 24.0, 36.0]);
//! # Ok::<(), ironwarp::device::DeviceError>(())
//! ```
//!
//! A scalar of another type, a buffer of another element type, a shared buffer where the kernel writes, a missing
//! argument: none of these compiles.
//!
//! ```compile_fail,E0277
//! # use ironwarp::{Device, device::{DeviceError, Launch}, kernel};
//! # fn f(device: Device) -> Result<(), DeviceError> {
//! # let (x, mut y) = (device.alloc::<f32>(3)?, device.alloc::<f32>(3)?);
//! device.launch(kernel!(saxpy::saxpy), Launch::linear(3u32), (3u32, 2f64, &x, &mut y)) // a is f32
//! # }
//! ```
//! ```compile_fail,E0277
//! # use ironwarp::{Device, device::{DeviceError, Launch}, kernel};
//! # fn f(device: Device) -> Result<(), DeviceError> {
//! # let (x, mut y) = (device.alloc::<f64>(3)?, device.alloc::<f32>(3)?);
//! device.launch(kernel!(saxpy::saxpy), Launch::linear(3u32), (3u32, 2f32, &x, &mut y)) // x holds f32
//! # }
//! ```
//! ```compile_fail,E0277
//! # use ironwarp::{Device, device::{DeviceError, Launch}, kernel};
//! # fn f(device: Device) -> Result<(), DeviceError> {
//! # let (x, y) = (device.alloc::<f32>(3)?, device.alloc::<f32>(3)?);
//! device.launch(kernel!(saxpy::saxpy), Launch::linear(3u32), (3u32, 2f32, &x, &y)) // y is written
//! # }
//! ```
//! ```compile_fail,E0277
//! # use ironwarp::{Device, device::{DeviceError, Launch}, kernel};
//! # fn f(device: Device) -> Result<(), DeviceError> {
//! # let x = device.alloc::<f32>(3)?;
//! device.launch(kernel!(saxpy::saxpy), Launch::linear(3u32), (3u32, 2f32, &x)) // y is missing
//! # }
//! ```
//!
//! What the types cannot promise: that a grid covers the data, and that lengths passed as scalars match the buffers.
//! The `sim` device checks both on every access; on `cuda` an access outside a buffer may corrupt other device memory,
//! never host memory.

use std::marker::PhantomData;

use super::{Buffer, Element};

/// One PTX module in the variants that ship: embedded text per target.
#[derive(Debug)]
pub struct PtxModule {
    /// A name for messages.
    pub name: &'static str,
    /// PTX for compute capability 8.0 and later; also what `sim` executes.
    pub sm_80: &'static str,
    /// PTX for compute capability 9.0 (Hopper) alone.
    pub sm_90a: &'static str,
}

/// A kernel of a PTX module, typed by its signature.
#[derive(Debug)]
pub struct Kernel<F> {
    /// The entry's name in the PTX.
    pub name: &'static str,
    /// Where its PTX is.
    pub module: &'static PtxModule,
    signature: PhantomData<F>,
}

impl<F> Clone for Kernel<F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F> Copy for Kernel<F> {}

impl<F> Kernel<F> {
    /// The kernel that `K` describes, in `module`. Use [`kernel!`](crate::kernel) instead of writing this out.
    pub const fn of<K: cuda_std::KernelSignature<Fn = F>>(module: &'static PtxModule) -> Kernel<F> {
        Kernel { name: K::NAME, module, signature: PhantomData }
    }
}

/// Names a kernel with its signature: `kernel!(saxpy)` for the kernels of this library (a path inside `gpu_kernels`),
/// `kernel!(my_kernels::scale in MODULE)` for a kernel of another crate whose PTX is in the static `MODULE`.
#[macro_export]
macro_rules! kernel {
    ($($name:ident)::+) => {
        $crate::device::Kernel::<<$crate::gpu_kernels::$($name)::+ as $crate::cuda_std::KernelSignature>::Fn>::of::<
            $crate::gpu_kernels::$($name)::+,
        >(&$crate::device::BUILTIN)
    };
    ($($name:ident)::+ in $module:expr) => {
        $crate::device::Kernel::<<$($name)::+ as $crate::cuda_std::KernelSignature>::Fn>::of::<$($name)::+>(&$module)
    };
}

/// The shape of a launch: blocks, threads per block, dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
}

impl Launch {
    /// `grid` blocks of `block` threads.
    pub fn new(grid: impl Into<Dim>, block: impl Into<Dim>) -> Launch {
        Launch { grid: grid.into().0, block: block.into().0, shared: 0 }
    }
    /// One thread for each of `n` elements, in blocks of 256.
    pub fn linear(n: impl TryInto<u32>) -> Launch {
        Launch::blocks_of(n, 256)
    }
    /// One thread for each of `n` elements, in blocks of `block`. Counts past `u32::MAX` saturate.
    pub fn blocks_of(n: impl TryInto<u32>, block: u32) -> Launch {
        let n: u32 = n.try_into().unwrap_or(u32::MAX);
        Launch::new(n.div_ceil(block).max(1), block)
    }
    /// With `bytes` of dynamic shared memory.
    pub fn shared(self, bytes: u32) -> Launch {
        Launch { shared: bytes, ..self }
    }
}

/// Grid or block dimensions; made from `u32`, `(u32, u32)`, `(u32, u32, u32)` or `[u32; 3]`.
#[derive(Clone, Copy, Debug)]
pub struct Dim([u32; 3]);
impl From<u32> for Dim {
    fn from(x: u32) -> Dim {
        Dim([x, 1, 1])
    }
}
impl From<(u32, u32)> for Dim {
    fn from((x, y): (u32, u32)) -> Dim {
        Dim([x, y, 1])
    }
}
impl From<(u32, u32, u32)> for Dim {
    fn from((x, y, z): (u32, u32, u32)) -> Dim {
        Dim([x, y, z])
    }
}
impl From<[u32; 3]> for Dim {
    fn from(d: [u32; 3]) -> Dim {
        Dim(d)
    }
}

/// An argument as the driver takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArgValue {
    /// 32-bit unsigned.
    U32(u32),
    /// 32-bit signed.
    I32(i32),
    /// 64-bit unsigned.
    U64(u64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// A device address.
    Pointer(u64),
}

/// A host value that fits a kernel parameter of type `P`.
pub trait KernelArg<P> {
    /// The value to pass.
    fn value(&self) -> ArgValue;
}

macro_rules! scalar_args {
    ($($t:ty => $v:ident),*) => {$(
        impl KernelArg<$t> for $t {
            fn value(&self) -> ArgValue {
                ArgValue::$v(*self)
            }
        }
    )*};
}
scalar_args!(u32 => U32, i32 => I32, u64 => U64, f32 => F32, f64 => F64);

impl<T: Element> KernelArg<*const T> for &Buffer<T> {
    fn value(&self) -> ArgValue {
        ArgValue::Pointer(self.address())
    }
}
impl<T: Element> KernelArg<*const T> for &mut Buffer<T> {
    fn value(&self) -> ArgValue {
        ArgValue::Pointer(self.address())
    }
}
impl<T: Element> KernelArg<*mut T> for &mut Buffer<T> {
    fn value(&self) -> ArgValue {
        ArgValue::Pointer(self.address())
    }
}

/// An address inside a planned tensor, readable: what operations pass for `*const T`.
#[derive(Clone, Copy, Debug)]
pub struct DevicePtr<T> {
    /// The device address.
    pub address: u64,
    pub(crate) element: PhantomData<T>,
}
/// An address inside a planned tensor, writable: what operations pass for `*mut T` (or `*const T`).
#[derive(Clone, Copy, Debug)]
pub struct DevicePtrMut<T> {
    /// The device address.
    pub address: u64,
    pub(crate) element: PhantomData<T>,
}
impl<T> DevicePtr<T> {
    pub(crate) fn new(address: u64) -> Self {
        DevicePtr { address, element: PhantomData }
    }
}
impl<T> DevicePtrMut<T> {
    pub(crate) fn new(address: u64) -> Self {
        DevicePtrMut { address, element: PhantomData }
    }
    /// The same address, for reading.
    pub fn as_const(self) -> DevicePtr<T> {
        DevicePtr::new(self.address)
    }
}
impl<T> KernelArg<*const T> for DevicePtr<T> {
    fn value(&self) -> ArgValue {
        ArgValue::Pointer(self.address)
    }
}
impl<T> KernelArg<*mut T> for DevicePtrMut<T> {
    fn value(&self) -> ArgValue {
        ArgValue::Pointer(self.address)
    }
}

/// The most arguments a kernel takes.
pub const MAX_ARGS: usize = 24;

/// A tuple of arguments that fits the kernel signature `F`.
pub trait LaunchArgs<F> {
    /// Writes the values in order and returns how many there are.
    fn values(&self, out: &mut [ArgValue; MAX_ARGS]) -> usize;
}

macro_rules! launch_args {
    ($($p:ident $a:ident $i:tt),*) => {
        impl<$($p,)* $($a: KernelArg<$p>,)*> LaunchArgs<unsafe fn($($p),*)> for ($($a,)*) {
            fn values(&self, out: &mut [ArgValue; MAX_ARGS]) -> usize {
                let mut n = 0;
                $(out[$i] = self.$i.value(); n += 1;)*
                n
            }
        }
    };
}
macro_rules! launch_args_up_to {
    ($($done:tt)*) => { launch_args_step!([] $($done)*); };
}
macro_rules! launch_args_step {
    ([$($done:tt)*]) => {};
    ([] ($p:ident $a:ident $i:tt) $($rest:tt)*) => {
        launch_args!($p $a $i);
        launch_args_step!([$p $a $i] $($rest)*);
    };
    ([$($done:tt)+] ($p:ident $a:ident $i:tt) $($rest:tt)*) => {
        launch_args!($($done)+, $p $a $i);
        launch_args_step!([$($done)+, $p $a $i] $($rest)*);
    };
}
launch_args_up_to!((P0 A0 0)(P1 A1 1)(P2 A2 2)(P3 A3 3)(P4 A4 4)(P5 A5 5)(P6 A6 6)(P7 A7 7)(P8 A8 8)(P9 A9 9)
    (P10 A10 10)(P11 A11 11)(P12 A12 12)(P13 A13 13)(P14 A14 14)(P15 A15 15)(P16 A16 16)(P17 A17 17)(P18 A18 18)
    (P19 A19 19)(P20 A20 20)(P21 A21 21)(P22 A22 22)(P23 A23 23));
