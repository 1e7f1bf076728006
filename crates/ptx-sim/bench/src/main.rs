//! How fast ptx-sim is: lane-instructions per second without checks, what the checks cost in time and memory, what more threads
//! give, and how it compares with ptoxide on ptoxide's own kernel.
//!
//! `ptx-sim-bench PTOXIDE_GEMM.ptx [--assert]`; `scripts/sim-bench` finds the file. What is compared alternates, round by
//! round, and the fastest rounds are set against each other, in processor time where the system tells it (Linux): other
//! programs can only slow a round. The last line is JSON. With `--assert` the exit code is 1 when a ratio is worse than
//! it must be.

use ptx_sim::{Arg, Checks, LaunchConfig, LaunchStats, Module, Sim};
use std::error::Error;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 11;
/// Ratios that must hold.
const MOST_CHECKED: f64 = 6.0;
const LEAST_PTOXIDE: f64 = 10.0;
const MOST_SHADOW: f64 = 8.0;

/// Seconds this thread has been on a processor, or wall time where that is not known.
fn seconds(since: Instant) -> f64 {
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = own.and_then(|s| s.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| since.elapsed().as_secs_f64(), |n| n / 1e9)
}

fn fastest(seconds: Vec<f64>) -> f64 {
    seconds.into_iter().fold(f64::INFINITY, f64::min)
}

fn bytes(n: usize, seed: u32) -> Vec<u8> {
    (0..n as u32)
        .flat_map(|i| ((i.wrapping_mul(2654435761) ^ seed) as i32 as f32 / 2e9).to_le_bytes())
        .collect()
}

/// The tiled f32 GEMM of the test corpus at n^3.
fn gemm(module: &Module, n: u32, checks: Checks, threads: usize) -> Result<LaunchStats> {
    let mut sim = Sim::builder().checks(checks).threads(threads).build();
    let size = (n * n) as usize;
    let (a, b, c) = (sim.alloc(4 * size), sim.alloc(4 * size), sim.alloc(4 * size));
    sim.write(a, &bytes(size, 1))?;
    sim.write(b, &bytes(size, 2))?;
    let config = LaunchConfig::new([n.div_ceil(16), n.div_ceil(16), 1], [16, 16, 1]);
    let args = [Arg::U32(n), Arg::U32(n), Arg::U32(n), Arg::U64(a), Arg::U64(b), Arg::U64(c)];
    Ok(sim.launch(module, "gemm_tiled", &config, &args)?)
}

/// ptoxide's GEMM at n^3, in ptx-sim.
fn theirs_here(module: &Module, n: u64) -> Result<Vec<u8>> {
    let kernel = module.kernels().next().ok_or("no kernel")?.name.clone();
    let mut sim = Sim::builder().checks(Checks::none()).threads(1).build();
    let size = (n * n) as usize;
    let (a, b, c) = (sim.alloc(4 * size), sim.alloc(4 * size), sim.alloc(4 * size));
    sim.write(a, &bytes(size, 1))?;
    sim.write(b, &bytes(size, 2))?;
    let config = LaunchConfig::new([n as u32 / 16, n as u32 / 16, 1], [16, 16, 1]);
    let pointers = [a, b, c].map(Arg::U64);
    sim.launch(
        module,
        &kernel,
        &config,
        &[pointers.as_slice(), &[Arg::U64(n), Arg::U64(n), Arg::U64(n)]].concat(),
    )?;
    let mut out = vec![0; 4 * size];
    sim.read_checked(c, &mut out)?;
    Ok(out)
}

/// The same in ptoxide.
fn theirs_there(text: &str, n: u64) -> Result<Vec<u8>> {
    use ptoxide::{Argument, Context, LaunchParams};
    let mut ctx = Context::new_with_module(text).map_err(|e| format!("{e:?}"))?;
    let size = (n * n) as usize;
    let floats = |seed| -> Vec<f32> {
        bytes(size, seed).chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
    };
    let (a, b, c) = (ctx.alloc(size), ctx.alloc(size), ctx.alloc(size));
    ctx.write(a, &floats(1));
    ctx.write(b, &floats(2));
    let grid = n as u32 / 16;
    let args = [
        Argument::ptr(a),
        Argument::ptr(b),
        Argument::ptr(c),
        Argument::U64(n),
        Argument::U64(n),
        Argument::U64(n),
    ];
    ctx.run(LaunchParams::func_id(0).grid2d(grid, grid).block2d(16, 16), &args)
        .map_err(|e| format!("{e:?}"))?;
    let mut out = vec![0f32; size];
    ctx.read(c, &mut out);
    Ok(out.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Runs of each contender in turn; the seconds of the fastest of each.
fn alternate(contenders: &mut [&mut dyn FnMut() -> Result<()>]) -> Result<Vec<f64>> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for (c, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let before = seconds(start);
            c()?;
            // The first round warms up.
            if round > 0 {
                times.push(seconds(start) - before);
            }
        }
    }
    Ok(times.into_iter().map(fastest).collect())
}

/// Bytes of memory the process holds, and the most it ever held (Linux).
fn resident() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| 1024.0 * kb)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Bytes of host memory per byte of device memory, beyond that byte itself, of a launch under all checks that reads one buffer
/// and writes another of `size` bytes each: in a process of its own, as memory that was used before shows nothing.
fn shadow(size: usize) -> Result<Option<f64>> {
    let module = Module::parse(
        ".version 8.0 .target sm_80 .visible .entry copy(.param .u64 x, .param .u64 y) {
           .reg .b32 %r<4>; .reg .b64 %d<4>; mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;
           mad.lo.u32 %r3, %r0, %r1, %r2; mul.wide.u32 %d0, %r3, 4; ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y];
           add.u64 %d1, %d1, %d0; add.u64 %d2, %d2, %d0; ld.global.u32 %r0, [%d1]; st.global.u32 [%d2], %r0; ret; }",
    )?;
    let data = bytes(size / 4, 3);
    let mut sim = Sim::builder().build();
    let Some((before, _)) = resident() else { return Ok(None) };
    let (x, y) = (sim.alloc(size), sim.alloc(size));
    sim.write(x, &data)?;
    sim.launch(&module, "copy", &LaunchConfig::linear(size as u32 / 4, 256), &[Arg::U64(x), Arg::U64(y)])?;
    let mut out = vec![0; size];
    let Some((_, most)) = resident() else { return Ok(None) };
    sim.read_checked(y, &mut out)?;
    if out != data {
        return Err("the copy is none".into());
    }
    let used = 2.0 * size as f64;
    Ok(Some((most - before - used) / used))
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--shadow") {
        println!("{}", shadow(32 << 20)?.map_or("unknown".into(), |v| v.to_string()));
        return Ok(());
    }
    let path = args.first().ok_or("usage: ptx-sim-bench PTOXIDE_GEMM.ptx [--assert]")?;
    let (text, n) = (std::fs::read_to_string(path)?, 128u64);
    let corpus = Module::parse(include_str!("../../tests/ptx/corpus_sm_80.ptx"))?;
    let theirs = Module::parse(&text)?;

    let stats = gemm(&corpus, 256, Checks::none(), 1)?;
    let lanes = stats.lane_instructions as f64;
    let times = alternate(&mut [&mut || gemm(&corpus, 256, Checks::none(), 1).map(drop), &mut || {
        gemm(&corpus, 256, Checks::all(), 1).map(drop)
    }])?;
    let (unchecked, checked) = (lanes / times[0] / 1e6, lanes / times[1] / 1e6);
    let checked_ratio = times[1] / times[0];
    println!(
        "f32 GEMM at 256^3, one core: {unchecked:.0} M lane-instructions/s unchecked, {checked:.0} under all checks ({checked_ratio:.2} times slower)"
    );

    let (ours, other) = (theirs_here(&theirs, n)?, theirs_there(&text, n)?);
    let float = |c: &[u8]| f32::from_le_bytes([c[0], c[1], c[2], c[3]]);
    let apart = ours.chunks_exact(4).zip(other.chunks_exact(4)).map(|(a, b)| (float(a) - float(b)).abs());
    if apart.fold(0f32, f32::max) > 1e-4 {
        return Err("ptoxide computes something else".into());
    }
    let times = alternate(&mut [&mut || theirs_here(&theirs, n).map(drop), &mut || {
        theirs_there(&text, n).map(drop)
    }])?;
    let ptoxide_ratio = times[1] / times[0];
    let madds = (n * n * n) as f64 / 1e6;
    println!(
        "ptoxide's GEMM at 128^3: {:.0} M multiply-adds/s, ptoxide {:.1} ({ptoxide_ratio:.1} times faster)",
        madds / times[0],
        madds / times[1]
    );

    // Threads are compared by the clock: their time on processors does not shrink.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut clock = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (n, times) in [1, threads].into_iter().zip(&mut clock) {
            let start = Instant::now();
            gemm(&corpus, 256, Checks::none(), n)?;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [one, all] = clock.map(fastest);
    let speedup = one / all;
    println!("{threads} threads: {speedup:.2} times faster");

    let own = std::process::Command::new(std::env::current_exe()?).arg("--shadow").output()?;
    let shadow: Option<f64> = String::from_utf8(own.stdout)?.trim().parse().ok();
    if let Some(s) = shadow {
        println!("memory under all checks: {s:.2} bytes for each byte of a buffer, beside the byte");
    }

    println!(
        "{{\"unchecked_mlips\":{unchecked:.1},\"checked_mlips\":{checked:.1},\"checked_ratio\":{checked_ratio:.3},\"ptoxide_ratio\":{ptoxide_ratio:.2},\"threads\":{threads},\"thread_speedup\":{speedup:.2},\"shadow_bytes_per_byte\":{}}}",
        shadow.map_or("null".into(), |s| format!("{s:.3}"))
    );
    if args.iter().any(|a| a == "--assert") {
        let mut bad = false;
        let mut must = |ok: bool, what: String| {
            if !ok {
                eprintln!("sim-bench: {what}");
                bad = true;
            }
        };
        must(
            checked_ratio <= MOST_CHECKED,
            format!("checks cost {checked_ratio:.2} times the time, at most {MOST_CHECKED} are allowed"),
        );
        must(
            ptoxide_ratio >= LEAST_PTOXIDE,
            format!("{ptoxide_ratio:.1} times ptoxide's speed, {LEAST_PTOXIDE} are needed"),
        );
        must(
            shadow.is_none_or(|s| s <= MOST_SHADOW),
            format!("{:.2} bytes of shadow a byte, at most {MOST_SHADOW} are allowed", shadow.unwrap_or(0.0)),
        );
        if bad {
            std::process::exit(1);
        }
    }
    Ok(())
}
