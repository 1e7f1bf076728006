//! Any PTX that parses: launches end, within the limits, in a result or a typed error, under all checks and under none.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use ptx_sim::{Arg, Checks, KernelInfo, LaunchConfig, Module, Sim};

/// Warp instructions of a launch.
const BUDGET: u64 = 20_000;
/// Simulated memory.
const MEMORY: u64 = 64 << 20;

fn launch(module: &Module, kernel: &KernelInfo, checks: Checks, seed: Option<u64>, cluster: u32) {
    let mut builder = Sim::builder().checks(checks).instruction_budget(BUDGET).memory_limit(MEMORY);
    if let Some(seed) = seed {
        builder = builder.seed(seed);
    }
    let mut sim = builder.build();
    let Ok(buffer) = sim.try_alloc(1024) else { return };
    let _ = sim.write(buffer, &(0..512u32).map(|i| (i * 37) as u8).collect::<Vec<_>>());
    let args: Vec<Arg> = kernel
        .params
        .iter()
        .map(|p| match p.size {
            8 => Arg::U64(buffer),
            4 => Arg::U32(5),
            n => Arg::Bytes((0..n).map(|i| i as u8).collect()),
        })
        .collect();
    let block = kernel.required_threads.unwrap_or([40, 1, 1]);
    let config = LaunchConfig::new([2, 1, 1], block).shared(512).cluster([cluster, 1, 1]);
    let _ = sim.launch(module, &kernel.name, &config, &args).map_err(|e| e.to_string());
    let _ = sim.read_checked(buffer, &mut [0; 1024]);
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(module) = Module::parse(text) else { return };
    for kernel in module.kernels().take(2) {
        launch(&module, kernel, Checks::all(), Some(data.len() as u64), 1);
        launch(&module, kernel, Checks::all(), None, 2);
        launch(&module, kernel, Checks::none(), None, 1);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    ptx_sim_fuzz::mutate(data, size, max_size, seed)
});
