//! Tiles cut along K on Hopper: the schedule, results whatever the number of clusters, traffic, and when it is chosen.

use std::collections::BTreeSet;

use crate::{Case, assert_least_traffic, candidate, same};
use gpu_kernels::gemm::schedule::{Schedule, Unit};
use ironwarp::device::{DType, Device, SimOptions, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Candidate, Extra, Problem, choose};
use ptx_sim::Accumulation;

fn device(multiprocessors: u32, seed: u64) -> Device {
    let accumulation = Accumulation::Truncating;
    let options = SimOptions { target: Target::Sm90a, multiprocessors, seed, accumulation, profile: false };
    Device::sim_with(options)
}

/// Every panel of every tile is multiplied once, by a cluster that is there; parts have slots of their own, those of a tile
/// side by side in the order of k; and nobody has more to do than where tiles are whole.
#[test]
fn schedules_cover_every_panel_once() {
    let mut cuts = 0;
    for (tiles, panels) in (1..30).flat_map(|t| [1, 2, 3, 4, 7, 8, 9, 30, 64].map(|p| (t, p))) {
        for most in 1..20 {
            let s = Schedule::stream_k(tiles, panels, most);
            let clusters = s.clusters(most);
            let what = format!("{tiles} tiles of {panels} panels for {most}: {s:?}");
            assert!((1..=most).contains(&clusters) && s.whole + s.cut == tiles, "{what}");
            assert!(s.whole.is_multiple_of(most) || s.cut == 0, "{what}");
            let mut units: Vec<(u32, Unit)> = vec![];
            for g in 0..clusters {
                let mut own = s.units(g, clusters);
                let all = std::iter::from_fn(|| Some(own.advance()).filter(|unit| unit.panels > 0));
                units.extend(all.map(|unit| (g, unit)));
            }
            let mut parts: Vec<_> = units.iter().map(|&(g, u)| (u.tile, u.first, u.panels, g)).collect();
            parts.sort_unstable();
            let (mut at, mut slots) = ((0, 0), BTreeSet::new());
            for &(tile, first, count, cluster) in &parts {
                // The panel behind the last, of the same tile or the next.
                assert_eq!((tile, first), if at.1 == panels { (at.0 + 1, 0) } else { at }, "{what}");
                assert!(count > 0 && first + count <= panels, "{what}");
                at = (tile, first + count);
                match s.slot(cluster, tile) {
                    None => assert_eq!((first, count), (0, panels), "{what}"),
                    Some(slot) => assert!(slot < s.slots() && slots.insert(slot), "{what}"),
                }
            }
            assert_eq!(at, (tiles - 1, panels), "{what}");
            for i in 0..s.cut {
                let own = parts.iter().filter(|p| p.0 == s.whole + i).map(|p| s.slot(p.3, p.0));
                let (first, count) = s.parts(i);
                assert!(own.eq((first..first + count).map(Some)), "{what}");
            }
            let busiest = (0..clusters).map(|g| units.iter().filter(|u| u.0 == g).map(|u| u.1.panels).sum());
            let busiest: u32 = busiest.max().expect("a cluster");
            assert_eq!(u64::from(busiest), s.longest(most), "{what}");
            let whole = Schedule::whole(tiles, panels);
            assert!(s == whole || s.longest(most) < whole.longest(most), "{what}");
            cuts += s.cut;
        }
    }
    assert!(cuts > 1000, "{cuts} tiles are cut");
    // Positions of panels are 32-bit numbers: what has more is not cut.
    assert_eq!(Schedule::stream_k(131, 1 << 25, 132), Schedule::whole(131, 1 << 25));
}

/// A problem of `c`'s precision without an epilogue, nothing of which is packed.
fn plain(c: &Candidate, m: usize, n: usize, k: usize, out: DType) -> Problem {
    let of = c.precision.factor();
    Problem::new(m, n, k).transposed(false, true).operands(of, of, out).precision(c.precision)
}

#[test]
fn cut_tiles_are_right_whatever_the_number_of_clusters() {
    let (large, small) = (candidate("hopper_bf16_128x256_streamk"), candidate("hopper_f16_128x128_streamk"));
    let tf32 = candidate("hopper_tf32_128x128_streamk");
    let busy = |p: Problem, extra: Extra| {
        let activation = if extra == Extra::Gradient { Activation::Tanh } else { Activation::Silu };
        Problem { alpha: -0.5, beta: 0.75, bias: true, activation, extra, ..p }
    };
    let layout = |p: Problem, ta, tb| Problem { ..p.transposed(ta, tb) };
    // (candidate, problem, multiprocessors): clusters more and fewer than tiles, shares that end within tiles and with them,
    // waves of whole tiles before, among them some that leave by tensor copies.
    let cases = [
        (large, plain(large, 260, 40, 264, DType::Bf16), [6, 10]),
        (large, busy(layout(plain(large, 200, 40, 328, DType::F32), true, false), Extra::Residual), [5, 9]),
        (small, plain(small, 130, 264, 264, DType::F16), [4, 9]),
        (small, busy(plain(small, 100, 72, 264, DType::Bf16).batched(3), Extra::Gradient), [2, 13]),
        (small, busy(layout(plain(small, 24, 136, 400, DType::F16), true, true), Extra::None), [3, 132]),
        (tf32, busy(plain(tf32, 70, 140, 148, DType::F32).batched(2), Extra::Residual), [3, 14]),
        (tf32, plain(tf32, 1, 9, 500, DType::F32), [2, 6]),
    ];
    for (seed, (c, p, multiprocessors)) in cases.into_iter().enumerate() {
        let case = Case::random(p, [0; 5], seed as u64);
        for n in multiprocessors {
            let first = device(n, 0);
            let what = format!("{} on {n} multiprocessors", c.name);
            assert!(c.workspace(&p, &first) > 0, "{what}: {p} is not cut");
            let got = case.check(&first, Some(c)).unwrap_or_else(|e| panic!("{what}: {e}"));
            if n != multiprocessors[0] {
                continue;
            }
            let again = case.run(&device(n, 77), Some(c)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(same(&got, &again), "{what}: another order of warps gives other bits");
        }
    }
}

#[test]
fn the_bits_depend_on_the_number_of_clusters_alone() {
    let (cut, whole) = (candidate("hopper_bf16_128x256_streamk"), candidate("hopper_bf16_128x256"));
    let p = plain(cut, 70, 40, 448, DType::F32);
    let case = Case::random(p, [0; 5], 5);
    let on = |c, n| case.run(&device(n, u64::from(n)), Some(c)).expect("runs");
    // One tile; three clusters of two blocks, without a multiprocessor over and with; then one, which has it all.
    let (three, two) = (on(cut, 6), on(whole, 2));
    assert!(same(&three, &on(cut, 7)) && !same(&three, &two));
    assert_eq!(cut.workspace(&p, &device(2, 0)), 0, "full waves are not cut");
    assert!(same(&on(cut, 2), &two) && same(&on(whole, 6), &two));
}

#[test]
fn the_reduction_moves_every_byte_once() {
    for c in ["hopper_bf16_128x256_streamk", "hopper_bf16_128x128_streamk"].map(candidate) {
        let options = SimOptions { profile: true, target: Target::Sm90a, ..SimOptions::default() };
        let device = Device::sim_with(SimOptions { multiprocessors: 6, ..options });
        // One tile, or two one above the other: both blocks of a cluster have one.
        let out = if c.tile[2] == 128 { DType::Bf16 } else { c.precision.factor() };
        let p = plain(c, 256, c.tile[1] as usize, 8 * c.tile[2] as usize, out);
        Case::random(p, [0; 5], 1).check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
        let profiles = device.take_profiles();
        let kernels: Vec<_> = profiles.iter().map(|profile| &*profile.kernel).collect();
        assert!(kernels.len() == 2 && kernels[1] == "gemm_reduce_tiles", "{}: {kernels:?}", c.name);
        for profile in &profiles {
            assert_least_traffic(profile, &format!("{} of {}", profile.kernel, c.name));
        }
    }
}

#[test]
fn few_tiles_and_a_long_k_are_cut() {
    let of = |m, n, k| {
        let p = Problem::new(m, n, k).operands(DType::Bf16, DType::Bf16, DType::Bf16);
        choose(&p, Target::Sm90a).expect("there is a kernel").name
    };
    // Fewer tiles than multiprocessors; a wave of large tiles and a little more.
    for (m, n, k) in [(1024, 1024, 32768), (256, 256, 65536), (2304, 2304, 8192)] {
        let name = of(m, n, k);
        assert!(name.ends_with("_streamk"), "{m}x{n}x{k}: {name}");
    }
    // Waves that are full, or nearly; a short K.
    for (m, n, k) in [(4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 1024), (256, 256, 256)] {
        let name = of(m, n, k);
        assert!(!name.ends_with("_streamk"), "{m}x{n}x{k}: {name}");
    }
}
