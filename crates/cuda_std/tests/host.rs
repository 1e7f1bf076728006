//! The device API on the host: kernels carry their signatures, device functions panic with their names, and what can work
//! does.

use cuda_std::atomic::{AtomicF32, BlockAtomicF64, SystemAtomicF64};
use cuda_std::prelude::*;
use cuda_std::{FloatExt, GpuFloat, KernelSignature, shared_array, thread};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

const BLOCK: u32 = 128;

/// A kernel with a bound that is an expression, and with every kind of parameter.
///
/// # Safety
/// - `out` is valid for one write.
#[kernel(block_dim = 1d)]
#[cuda_std::launch_bounds(2 * BLOCK, 2)]
pub unsafe fn every_parameter(n: u32, mut x: f64, table: &[u8; 4], out: *mut f64) {
    x += f64::from(n) + f64::from(table[1]);
    // SAFETY: by the kernel's contract.
    unsafe { *out = x };
}

macro_rules! make {
    ($name:ident, $ty:ty) => {
        /// A kernel made by a macro.
        ///
        /// # Safety
        /// - `x` is valid.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
        #[allow(unused_unsafe)]
        pub unsafe fn $name(x: *mut $ty) {
            let array = shared_array![$ty; 2 * BLOCK as usize];
            // SAFETY: by the kernel's contract.
            unsafe { *x = *array.add(thread::index_1d() as usize) };
        }
    };
}
make!(made_of_f32, f32);
make!(made_of_u64, u64);

#[test]
fn kernels_carry_their_signatures() {
    let f: <every_parameter as KernelSignature>::Fn = every_parameter;
    let mut out = 0.0;
    // SAFETY: `out` is valid.
    unsafe { f(3, 0.5, &[1, 2, 3, 4], &mut out) };
    assert_eq!(out, 5.5);
    assert_eq!(every_parameter::NAME, "every_parameter");
    assert_eq!(every_parameter::LAUNCH_BOUNDS, Some(256));
    assert!(every_parameter::FILE.ends_with("tests/host.rs"));
    let line = every_parameter::LINE as usize;
    assert_eq!(include_str!("host.rs").lines().nth(line - 1), Some("#[kernel(block_dim = 1d)]"));
    let _: <made_of_u64 as KernelSignature>::Fn = made_of_u64;
    assert_eq!((made_of_f32::NAME, made_of_f32::LAUNCH_BOUNDS), ("made_of_f32", None));
}

#[test]
fn device_functions_panic_with_their_names() {
    let message = |f: fn()| {
        let panic = std::panic::catch_unwind(f).unwrap_err();
        panic
            .downcast_ref::<String>()
            .cloned()
            .or(panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap()
    };
    assert_eq!(message(|| assert_eq!(thread::thread_idx().x, 0)), "`thread_idx` runs only on the GPU");
    assert_eq!(message(thread::sync_threads), "`sync_threads` runs only on the GPU");
    assert_eq!(message(|| assert!(!shared_array![f32; 4].is_null())), "`shared_array!` runs only on the GPU");
    let text = message(|| cuda_std::assert_eq!(1 + 1, 3, "seen {}", 7));
    assert!(
        text.starts_with("1 + 1 == 3 (left: 2, right: 3) seen 7 (") && text.contains("tests/host.rs:"),
        "{text}"
    );
    let text = message(|| cuda_std::assert_ne!(4, 4));
    assert!(text.starts_with("4 != 4 (left: 4, right: 4)"), "{text}");
    cuda_std::assert_eq!(2, 2);
    cuda_std::assert_ne!(2, 3);
}

#[test]
fn float_methods_are_std_on_the_host() {
    for x in [-2.5f32, -0.0, 0.3, 1.7, 1e30] {
        assert_eq!(GpuFloat::floor(x), x.floor());
        assert_eq!(GpuFloat::exp(x), f32::exp(x));
        assert_eq!(GpuFloat::mul_add(x, 3.0, 1.0), f32::mul_add(x, 3.0, 1.0));
        assert_eq!(GpuFloat::powi(x, 3), f32::powi(x, 3));
        assert_eq!(GpuFloat::sin_cos(x), f32::sin_cos(x));
    }
    assert_eq!((0.75f64.frexp(), 0.1f32.unbiased_exp(), 2f32.saturate()), ((0.75, 0), -4, 1.0));
    assert!((0.5f32.norm_cdf() - 0.691_462_46).abs() < 1e-7);
    assert!((0.5f32.error_function() - 0.520_499_9).abs() < 1e-7);
}

#[test]
fn atomic_floats_work_on_the_host() {
    let a = AtomicF32::new(1.5);
    assert_eq!((a.fetch_add(2.0, Relaxed), a.fetch_sub(0.5, SeqCst), a.load(Acquire)), (1.5, 3.5, 3.0));
    a.store(-2.0, Release);
    assert_eq!(a.fetch_and(f32::from_bits(0x7fff_ffff), AcqRel), -2.0);
    assert_eq!(a.into_inner(), 2.0);
    let sum = SystemAtomicF64::new(0.0);
    std::thread::scope(|scope| {
        for i in 1..=8 {
            let sum = &sum;
            scope.spawn(move || {
                for _ in 0..100 {
                    sum.fetch_add(f64::from(i), Relaxed);
                }
            });
        }
    });
    assert_eq!(sum.load(SeqCst), 3600.0);
    let b = BlockAtomicF64::new(1.0);
    // SAFETY: one thread.
    unsafe {
        assert_eq!(
            (b.fetch_or(-0.0, Relaxed), b.fetch_xor(-0.0, Relaxed), b.load(Relaxed)),
            (1.0, -1.0, 1.0)
        );
    }
}
