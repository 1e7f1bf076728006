//! Lane-instructions per second on the tiled GEMM of the test corpus: `cargo run --release --example throughput [N]`.

use ptx_sim::{Arg, Checks, LaunchConfig, Module, Sim};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n: u32 = std::env::args().nth(1).map_or(Ok(256), |a| a.parse())?;
    let text = include_str!("../tests/ptx/corpus_sm_80.ptx");
    let start = Instant::now();
    let module = Module::parse(text)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "parse: {} KB in {:.2} ms, {:.0} MB/s",
        text.len() / 1024,
        1e3 * seconds,
        text.len() as f64 / seconds / 1e6
    );
    let mut no_races = Checks::all();
    no_races.shared_races = false;
    for (name, checks) in
        [("all checks", Checks::all()), ("all but races", no_races), ("no checks", Checks::none())]
    {
        let mut sim = Sim::builder().checks(checks).build();
        let bytes = 4 * (n * n) as usize;
        let data: Vec<u8> = (0..n * n).flat_map(|i| ((i % 97) as f32 / 48.0 - 1.0).to_le_bytes()).collect();
        let (a, b, c) = (sim.alloc(bytes), sim.alloc(bytes), sim.alloc(bytes));
        sim.write(a, &data)?;
        sim.write(b, &data)?;
        let config = LaunchConfig::new([n.div_ceil(16), n.div_ceil(16), 1], [16, 16, 1]);
        let args = [Arg::U32(n), Arg::U32(n), Arg::U32(n), Arg::U64(a), Arg::U64(b), Arg::U64(c)];
        let start = Instant::now();
        let stats = sim.launch(&module, "gemm_tiled", &config, &args)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {:.0} M lane-instructions/s, {:.3} s",
            stats.lane_instructions as f64 / seconds / 1e6,
            seconds
        );
    }
    Ok(())
}
