//! The kernel: compiled to PTX for the device, and for the host, which takes its signature from here.
#![cfg_attr(target_arch = "nvptx64", no_std, feature(abi_ptx, asm_experimental_arch))]
use cuda_std::prelude::*;

/// `y[i] = x[i] / (1 + |x[i]|)` for `i < n`: softsign.
/// # Safety
/// `x` and `y` hold `n` elements.
#[kernel]
pub unsafe fn softsign(n: u32, x: *const f32, y: *mut f32) {
    let i = thread::index_1d() as usize;
    if i < n as usize {
        let v = *x.add(i);
        *y.add(i) = v / (1.0 + if v < 0.0 { -v } else { v });
    }
}
