//! Kernels written in CUDA C++ and Triton, compiled by nvcc and Triton's own compiler (`tests/foreign/*.cu`,
//! `scripts/foreign-ptx`), run under every check against plain Rust, for both targets and under several seeds.

mod foreign {
    mod grids;
    mod language;
    mod rig;
    mod sums;
    mod warps;
}
