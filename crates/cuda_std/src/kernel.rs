//! What the host knows about a kernel when it compiles.

/// The signature of a kernel, carried on the host by a type that `#[kernel]` puts beside the function, under the same
/// name: `use gpu_kernels::saxpy::saxpy` brings both, and `<saxpy as KernelSignature>::Fn` is
/// `unsafe fn(u32, f32, *const f32, *mut f32)`.
///
/// A typed launch is generic over this trait: it takes the kernel's name from it and checks its arguments against `Fn`.
///
/// ```
/// use cuda_std::{KernelSignature, kernel};
///
/// /// `out[0] = value`.
/// #[kernel]
/// #[cuda_std::launch_bounds(32)]
/// pub unsafe fn set(value: f32, out: *mut f32) {
///     // SAFETY: the launch passes one valid element.
///     unsafe { *out = value }
/// }
///
/// let _same_type: <set as KernelSignature>::Fn = set;
/// assert_eq!(set::NAME, "set");
/// assert_eq!(set::LAUNCH_BOUNDS, Some(32));
/// ```
pub trait KernelSignature {
    /// The kernel as a function pointer, `unsafe fn(parameters...)`.
    type Fn: Copy;
    /// The name of the PTX entry point.
    const NAME: &'static str;
    /// The most threads of a block, where `#[launch_bounds]` stands below `#[kernel]` without a `cfg_attr`: the host never
    /// sees what a `cfg_attr` leaves to the GPU.
    const LAUNCH_BOUNDS: Option<u32>;
    /// The source file, as rustc names it.
    const FILE: &'static str;
    /// The line of `#[kernel]` in [`FILE`](Self::FILE).
    const LINE: u32;
}
