//! zen: how far the outputs move when the input does.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::network::{block_sum, forward, report, share, Net};
use super::{DZ, H};

/// Value: zen = ln of the mean over samples of the sum over outputs of |f(x) - f(moved)|.
///
/// # Safety
/// - One block of [`BLOCK`](super::BLOCK) threads a network; tables and workspaces as the module's docs say: 3 regions.
/// - `x` and `moved` are `[rows, inputs]`; `out` has [`VALUES`](super::VALUES) numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(super::BLOCK))]
pub unsafe fn score_zen(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    rows: u32,
    x: *const f32,
    moved: *const f32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, rows, work, work64);
    let last = net.layer(net.layers - 1);
    let (outputs, kept) = (net.at(H, &last), net.at(DZ, &last));
    let elements = net.rows * last.units;
    let mut sum = 0.0;
    let mut pass = 0;
    while pass < 2 {
        forward(&net, net.layers, if pass == 0 { x } else { moved });
        share(elements, |e| {
            if pass == 0 {
                *kept.add(e) = *outputs.add(e);
            } else {
                sum += (*kept.add(e) - *outputs.add(e)).abs() as f64;
            }
        });
        thread::sync_threads();
        pass += 1;
    }
    report(out, [(block_sum(sum) / net.rows as f64).ln()]);
}
