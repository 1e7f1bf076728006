//! Kernels written in CUDA C++ and Triton, compiled by nvcc and Triton's own compiler (`tests/foreign/*.cu`,
//! `scripts/foreign-ptx`), run under every check against plain Rust, for both targets and under several seeds.

mod foreign {
    mod atomics;
    mod barriers;
    mod bulk;
    mod cluster_copies;
    mod clusters;
    mod dense;
    mod grids;
    mod integers;
    mod language;
    mod numbers;
    mod ordered;
    mod pipeline;
    mod remote_words;
    mod resident;
    mod rig;
    mod roundtrip;
    mod sums;
    mod tensor;
    mod tensormap;
    mod triton;
    mod triton_hopper;
    mod warpgroups;
    mod warps;
}
