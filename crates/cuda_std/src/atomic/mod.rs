//! Atomic floats, and CUDA's atomic operations with their scopes.
//!
//! A *scope* says among whom an operation is atomic and ordered: the threads of a block, of the device, or of the whole
//! system with its host and other GPUs. Narrower is cheaper. Three layers:
//!
//! * [`AtomicF32`] and its kin: types like those of [`core::sync::atomic`], for floats; they work on the host too;
//! * [`mid`]: one function for each operation, type and scope, which takes an [`Ordering`];
//! * [`intrinsics`]: one function for each PTX instruction.
//!
//! `core`'s own integer atomics work on the GPU as well, with the scope of the system.
//!
//! Float additions in the order in which threads happen to come give sums that differ from run to run: a kernel whose
//! result must not, uses a fixed tree instead.

pub mod intrinsics;
pub mod mid;

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;
use cuda_std_macros::__paste as paste;

/// The ordering of a compare-and-swap that failed.
#[cfg(not(target_arch = "nvptx64"))]
fn fail_order(order: Ordering) -> Ordering {
    match order {
        Ordering::Release | Ordering::Relaxed => Ordering::Relaxed,
        Ordering::Acquire | Ordering::AcqRel => Ordering::Acquire,
        other => other,
    }
}

/// A float type: `$atomic` holds a `$float`, is atomic within `$scope`, and its functions are `$unsafe`.
macro_rules! atomic_float {
    ($(#[$doc:meta])* $atomic:ident, $float:ident, $bits:ident, $align:literal, $width:literal, $scope:ident $(, $unsafe:ident)?) => {
        paste! {
            $(#[$doc])*
            ///
            /// It has the layout of the float. On the host its operations are compare-and-swap loops.
            #[repr(C, align($align))]
            pub struct $atomic {
                value: UnsafeCell<$float>,
            }

            // SAFETY: every access to the value is atomic.
            unsafe impl Sync for $atomic {}

            #[allow(clippy::missing_safety_doc)] // the type's docs say it once
            impl $atomic {
                /// An atomic with this value.
                pub const fn new(value: $float) -> Self {
                    Self { value: UnsafeCell::new(value) }
                }

                /// The value; the atomic is gone.
                pub fn into_inner(self) -> $float {
                    self.value.into_inner()
                }

                #[cfg(not(target_arch = "nvptx64"))]
                fn bits(&self) -> &core::sync::atomic::$bits {
                    // SAFETY: the atomic integer has the float's size and, by this type's attribute, its alignment; every
                    // other access goes through it too.
                    unsafe { core::sync::atomic::$bits::from_ptr(self.value.get().cast()) }
                }

                #[cfg(not(target_arch = "nvptx64"))]
                fn update(&self, order: Ordering, mut to: impl FnMut($float) -> $float) -> $float {
                    let next = |bits| Some(to($float::from_bits(bits)).to_bits());
                    match self.bits().fetch_update(order, fail_order(order), next) {
                        Ok(old) | Err(old) => $float::from_bits(old),
                    }
                }

                atomic_float!(@op fetch_add, add, "Adds `value`", $float, $scope, [$($unsafe)?], |a, b| a + b);
                atomic_float!(@op fetch_sub, sub, "Subtracts `value`", $float, $scope, [$($unsafe)?], |a, b| a - b);
                atomic_float!(@op fetch_and, and, "Bitwise \"and\" of the bits with `value`'s", $float, $scope, [$($unsafe)?],
                    |a, b| $float::from_bits(a.to_bits() & b.to_bits()));
                atomic_float!(@op fetch_or, or, "Bitwise \"or\" of the bits with `value`'s", $float, $scope, [$($unsafe)?],
                    |a, b| $float::from_bits(a.to_bits() | b.to_bits()));
                atomic_float!(@op fetch_xor, xor, "Bitwise \"xor\" of the bits with `value`'s", $float, $scope, [$($unsafe)?],
                    |a, b| $float::from_bits(a.to_bits() ^ b.to_bits()));

                /// The value.
                ///
                /// # Panics
                /// If `order` is [`Ordering::Release`] or [`Ordering::AcqRel`].
                pub $($unsafe)? fn load(&self, order: Ordering) -> $float {
                    #[cfg(target_arch = "nvptx64")]
                    // SAFETY: the pointer is valid and only accessed atomically.
                    let bits = unsafe { mid::[<atomic_load_ $width _ $scope>](self.value.get().cast(), order) };
                    #[cfg(not(target_arch = "nvptx64"))]
                    let bits = self.bits().load(order);
                    $float::from_bits(bits)
                }

                /// Replaces the value.
                ///
                /// # Panics
                /// If `order` is [`Ordering::Acquire`] or [`Ordering::AcqRel`].
                pub $($unsafe)? fn store(&self, value: $float, order: Ordering) {
                    #[cfg(target_arch = "nvptx64")]
                    // SAFETY: the pointer is valid and only accessed atomically.
                    unsafe {
                        mid::[<atomic_store_ $width _ $scope>](self.value.get().cast(), order, value.to_bits())
                    };
                    #[cfg(not(target_arch = "nvptx64"))]
                    self.bits().store(value.to_bits(), order);
                }
            }
        }
    };
    (@op $name:ident, $op:ident, $what:literal, $float:ident, $scope:ident, [$($unsafe:ident)?], $host:expr) => {
        paste! {
            #[doc = concat!($what, " and returns the value from before.")]
            pub $($unsafe)? fn $name(&self, value: $float, order: Ordering) -> $float {
                #[cfg(target_arch = "nvptx64")]
                // SAFETY: the pointer is valid and only accessed atomically.
                return unsafe { mid::[<atomic_fetch_ $op _ $float _ $scope>](self.value.get(), order, value) };
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    let to: fn($float, $float) -> $float = $host;
                    self.update(order, |old| to(old, value))
                }
            }
        }
    };
}

atomic_float!(
    /// An `f32` that all threads of the device may change.
    AtomicF32, f32, AtomicU32, 4, 32, device
);
atomic_float!(
    /// An `f64` that all threads of the device may change.
    AtomicF64, f64, AtomicU64, 8, 64, device
);
atomic_float!(
    /// An `f32` that the threads of one block may change.
    ///
    /// Its functions are unsafe: the caller promises that no thread of another block accesses it at the same time.
    BlockAtomicF32, f32, AtomicU32, 4, 32, block, unsafe
);
atomic_float!(
    /// An `f64` that the threads of one block may change.
    ///
    /// Its functions are unsafe: the caller promises that no thread of another block accesses it at the same time.
    BlockAtomicF64, f64, AtomicU64, 8, 64, block, unsafe
);
atomic_float!(
    /// An `f32` that all threads of the device, of other devices and of the host may change.
    SystemAtomicF32, f32, AtomicU32, 4, 32, system
);
atomic_float!(
    /// An `f64` that all threads of the device, of other devices and of the host may change.
    SystemAtomicF64, f64, AtomicU64, 8, 64, system
);
