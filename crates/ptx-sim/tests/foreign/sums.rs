//! Reductions, scans, histograms.

use super::rig::*;
use ptx_sim::ErrorKind;

#[test]
fn tree_sums() {
    each(kernels!("reduce"), |r| {
        let (n, blocks) = (1 + r.random.below(5000), 1 + r.random.below(5));
        let x = r.random.list(n, |r| r.u32() as i32);
        let (dx, out) = (r.put(&x), r.room::<i32>(blocks));
        r.run("reduce_tree", line(blocks as u32, 256), args![dx, out, n as u32]);
        let got = r.get::<i32>(out, blocks).iter().fold(0, |a: i32, &b| a.wrapping_add(b));
        assert_eq!(got, x.iter().fold(0, |a: i32, &b| a.wrapping_add(b)));
    });
}

/// Compiled with `-lineinfo`: reports name the line of the source.
#[test]
fn findings_name_the_source_line() {
    each(kernels!("reduce"), |r| {
        let n = 1 + r.random.below(200);
        let x = r.random.list(n, |r| r.u32() as i32);
        let (dx, out) = (r.put(&x), r.room::<i32>(1));
        // One element more than there is.
        let e = r.attempt("reduce_tree", line(1, 256), args![dx, out, n as u32 + 1]).unwrap_err();
        assert_eq!(e.kind, ErrorKind::OutOfBounds, "{e}");
        assert_eq!(e.report.thread, Some([n as u32, 0, 0]));
        assert_eq!(e.report.source, Some(("reduce.cu".into(), 8)));
        assert!(include_str!("reduce.cu").lines().nth(7).unwrap().contains("sum += in[i]"));
    });
}

#[test]
fn shuffle_sums_and_maxima() {
    each(kernels!("reduce"), |r| {
        let (n, blocks) = (1 + r.random.below(4000), 1 + r.random.below(4));
        let warps = 1 + r.random.below(8);
        let x = r.random.f32s(n, -5.0, 3.0);
        let (dx, sum, max) = (r.put(&x), r.room::<f32>(blocks), r.room::<f32>(blocks));
        r.run("reduce_shuffle", line(blocks as u32, 32 * warps as u32), args![dx, sum, max, n as u32]);
        let got: f64 = r.get::<f32>(sum, blocks).iter().map(|&v| v as f64).sum();
        let (want, size) = x.iter().fold((0.0, 0.0), |(s, a), &v| (s + v as f64, a + v.abs() as f64));
        // Fewer than 200 roundings in a row on any path.
        close64(&[got], &[want], |_| 200.0 * f32::EPSILON as f64 * size);
        let max = r.get::<f32>(max, blocks).into_iter().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    });
}

#[test]
fn the_last_block_adds_up() {
    each(kernels!("reduce"), |r| {
        let partial = r.room::<u64>(12);
        for blocks in [1, 3, 12] {
            let n = 1 + r.random.below(6000);
            let x = r.random.list(n, |r| r.u64() >> 20);
            let (dx, out) = (r.put(&x), r.room::<u64>(1));
            r.run("reduce_last_block", line(blocks, 128), args![dx, partial, out, n as u32]);
            same(&r.get::<u64>(out, 1), &[x.iter().sum()]);
        }
    });
}

fn running(x: &[u32]) -> Vec<u32> {
    x.iter()
        .scan(0u32, |s, &v| {
            *s = s.wrapping_add(v);
            Some(*s)
        })
        .collect()
}

#[test]
fn scans_of_blocks() {
    each(kernels!("scan"), |r| {
        let blocks = 1 + r.random.below(6);
        let x = r.random.u32s(256 * blocks);
        let (dx, out, totals) = (r.put(&x), r.room::<u32>(256 * blocks), r.room::<u32>(blocks));
        r.run("scan_blocks", line(blocks as u32, 256), args![dx, out, totals]);
        let want: Vec<u32> = x.chunks(256).flat_map(running).collect();
        same(&r.get::<u32>(out, 256 * blocks), &want);
        same(&r.get::<u32>(totals, blocks), &want.chunks(256).map(|c| c[255]).collect::<Vec<_>>());
    });
}

#[test]
fn hillis_steele_scans() {
    each(kernels!("scan"), |r| {
        let n = 1 + r.random.below(300);
        // Multiples of 1/8 that a float sums exactly, in any order.
        let x = r.random.list(n, |r| r.below(1000) as f32 / 8.0 - 60.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(n));
        r.run("scan_hillis_steele", line(1, n as u32).shared(8 * n as u32), args![dx, out]);
        let want: Vec<f32> = (0..n).map(|i| x[..i].iter().sum()).collect();
        same(&r.get::<f32>(out, n), &want);
    });
}

#[test]
fn decoupled_look_back() {
    each(kernels!("scan"), |r| {
        let n = 1 + r.random.below(256 * 40);
        let blocks = n.div_ceil(256);
        let x = r.random.u32s(n);
        let (dx, out) = (r.put(&x), r.room::<u32>(n));
        let (ticket, states) = (r.put(&[0u32]), r.put(&vec![0u64; blocks]));
        r.run("scan_look_back", line(blocks as u32, 256), args![dx, out, n as u32, ticket, states]);
        let sums = running(&x);
        let want: Vec<u32> = (0..n).map(|i| if i == 0 { 0 } else { sums[i - 1] }).collect();
        same(&r.get::<u32>(out, n), &want);
    });
}

#[test]
fn histograms() {
    each(kernels!("histogram"), |r| {
        let n = 4 * (1 + r.random.below(1500));
        // Few values often, so that atomics collide.
        let x = r.random.list(n, |r| (r.u32() >> 24) as u8 & if r.below(2) == 0 { 7 } else { 255 });
        let mut want = vec![0u32; 256];
        x.iter().for_each(|&v| want[v as usize] += 1);
        let dx = r.put(&x);
        let bins = r.put(&[0u32; 256]);
        r.run("histogram_global", line(3, 96), args![dx, n as u32, bins]);
        same(&r.get::<u32>(bins, 256), &want);
        let bins = r.put(&[0u32; 256]);
        r.run("histogram_shared", line(2, 160), args![dx, n as u32 / 4, bins]);
        same(&r.get::<u32>(bins, 256), &want);
    });
}

#[test]
fn weighted_histograms_a_warp() {
    each(kernels!("histogram"), |r| {
        let n = 1 + r.random.below(2000);
        let (x, w) = (r.random.u32s(n), r.random.list(n, |r| r.u64() >> 16));
        let mut want = vec![0u64; 64];
        x.iter().zip(&w).for_each(|(&v, &w)| want[v as usize >> 26] += w);
        let (dx, dw, bins) = (r.put(&x), r.put(&w), r.put(&[0u64; 64]));
        r.run("histogram_warps", line(3, 128), args![dx, dw, n as u32, bins]);
        same(&r.get::<u64>(bins, 64), &want);
    });
}
