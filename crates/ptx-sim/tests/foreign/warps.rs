//! Sorting networks, warp-level primitives, cooperative groups.

use super::rig::*;

#[test]
fn bitonic_sorts() {
    each(kernels!("bitonic"), |r| {
        let n = 1024;
        // Few distinct keys in half of the cases.
        let mask = if r.random.below(2) == 0 { 15 } else { !0 };
        let keys = r.random.list(n, |r| r.u32() & mask);
        let (dk, dv) = (r.put(&keys), r.put(&(0..n as u32).collect::<Vec<_>>()));
        r.run("bitonic_shared", line(2, 256), args![dk, dv]);
        let (k, v) = (r.get::<u32>(dk, n), r.get::<u32>(dv, n));
        for half in 0..2 {
            let range = half * 512..half * 512 + 512;
            let mut want = keys[range.clone()].to_vec();
            want.sort_unstable();
            same(&k[range.clone()], &want);
            let carried: Vec<u32> = v[range.clone()].iter().map(|&i| keys[i as usize]).collect();
            same(&k[range.clone()], &carried);
            let mut all = v[range.clone()].to_vec();
            all.sort_unstable();
            same(&all, &range.map(|i| i as u32).collect::<Vec<_>>());
        }

        let keys = r.random.list(256, |r| r.u64() as i64);
        let dk = r.put(&keys);
        let mut size = 2u32;
        while size <= 256 {
            let mut stride = size / 2;
            while stride > 0 {
                r.run("bitonic_step", line(4, 64), args![dk, size, stride]);
                stride /= 2;
            }
            size *= 2;
        }
        let mut want = keys.clone();
        want.sort_unstable();
        same(&r.get::<i64>(dk, 256), &want);

        let keys = r.random.f32s(192, -9.0, 9.0);
        let dk = r.put(&keys);
        r.run("bitonic_warp", line(2, 96), args![dk]);
        let mut want = keys;
        want.chunks_mut(32).for_each(|c| c.sort_by(f32::total_cmp));
        same(&r.get::<f32>(dk, 192), &want);
    });
}

#[test]
fn shuffles() {
    each(kernels!("warp"), |r| {
        let x = r.random.list(192, |r| r.u32() as i32);
        let delta = r.random.u32() as i32;
        let (dx, out) = (r.put(&x), r.room::<i32>(8 * 192));
        r.run("shuffles", line(3, 64), args![dx, out, delta]);
        let d = (delta & 31) as usize;
        let mut want = Vec::new();
        for (w, v) in x.chunks(32).enumerate() {
            for l in 0..32 {
                let own = x[32 * w + l];
                let inside = |ok: bool, from: usize| if ok { v[from % 32] } else { own };
                want.extend([
                    v[(own & 31) as usize],
                    v[l / 8 * 8 + (own & 7) as usize],
                    inside(l >= d, l + 32 - d),
                    inside(l % 16 >= 3, l + 32 - 3),
                    inside(l + d < 32, l + d),
                    inside(l % 4 < 3, l + 1),
                    v[l ^ d],
                    // A lane of an earlier segment can be read, one of a later segment cannot.
                    inside(l ^ 9 <= l | 7, l ^ 9),
                ]);
            }
        }
        same(&r.get::<i32>(out, 8 * 192), &want);
    });
}

#[test]
fn votes_and_matches() {
    each(kernels!("warp"), |r| {
        // Warps of equal, of similar and of different values.
        let x: Vec<i32> = (0..6)
            .flat_map(|w| {
                let base = (r.random.u32() & 0xffff) as i32;
                r.random.list(32, |r| base + [0, (r.u32() & 7) as i32, (r.u32() & 255) as i32][w % 3])
            })
            .collect();
        let threshold = x[r.random.below(192)] + r.random.below(2) as i32;
        let (dx, out) = (r.put(&x), r.room::<u32>(8 * 192));
        r.run("votes", line(2, 96), args![dx, out, threshold]);
        let mut want = Vec::new();
        for v in x.chunks(32) {
            let mask = |f: &dyn Fn(i32) -> bool| (0..32).filter(|&l| f(v[l])).fold(0u32, |m, l| m | 1 << l);
            let below = mask(&|x| x < threshold);
            for (l, &own) in v.iter().enumerate() {
                let alike = mask(&|x| x >> 4 == own >> 4) == !0;
                want.extend([
                    (below == !0) as u32,
                    (below != 0) as u32,
                    below,
                    mask(&|x| x & 7 == own & 7),
                    if alike { !0 ^ 1 } else { 0 },
                    mask(&|x| x & 3 == own & 3),
                    if l < 20 { mask(&|x| x & 1 != 0) & 0xfffff } else { mask(&|x| x & 2 != 0) & !0xfffff },
                    32,
                ]);
            }
        }
        same(&r.get::<u32>(out, 8 * 192), &want);
    });
}

#[test]
fn reductions_of_warps() {
    each(kernels!("warp"), |r| {
        let x = r.random.list(128, |r| r.u32() as i32 >> r.below(31));
        let (dx, out) = (r.put(&x), r.room::<i32>(8 * 128));
        r.run("reductions", line(1, 128), args![dx, out]);
        let mut want = Vec::new();
        for v in x.chunks(32) {
            let fold = |f: fn(i32, i32) -> i32| v.iter().copied().reduce(f).unwrap();
            let all = [
                fold(i32::wrapping_add),
                fold(i32::min),
                fold(i32::max),
                fold(|a, b| (a as u32).min(b as u32) as i32),
                fold(|a, b| (a as u32).max(b as u32) as i32),
                fold(|a, b| a & b) | v.iter().fold(!0, |m, &x| m & (x | 0xff)) & 0xff,
                fold(|a, b| a | b) & 0xffff00,
                fold(|a, b| a ^ b),
            ];
            (0..32).for_each(|_| want.extend(all));
        }
        same(&r.get::<i32>(out, 8 * 128), &want);
    });
}

#[test]
fn aggregated_atomics_exchanges_and_block_votes() {
    each(kernels!("warp"), |r| {
        let n = 1 + r.random.below(500);
        let keys = r.random.u32s(n);
        let (dk, count) = (r.put(&keys), r.put(&[0u32; 16]));
        r.run("aggregate", ptx_sim::LaunchConfig::linear(n as u32, 64), args![dk, n as u32, count]);
        let mut want = [0; 16];
        keys.iter().for_each(|k| want[(k % 16) as usize] += 1);
        same(&r.get::<u32>(count, 16), &want);

        let x = r.random.f32s(512, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(512));
        r.run("exchange", line(2, 256), args![dx, out]);
        let want: Vec<f32> = (0..512).map(|i| 2.0 * x[i ^ 17]).collect();
        same(&r.get::<f32>(out, 512), &want);

        let threads = 1 + r.random.below(150);
        let x = r.random.list(3 * threads, |r| r.below(100) as i32);
        let threshold = [0, 50, 100][r.random.below(3)];
        let (dx, out) = (r.put(&x), r.room::<i32>(x.len()));
        r.run("block_votes", line(3, threads as u32), args![dx, out, threshold]);
        let votes = |c: &[i32]| {
            let count = c.iter().filter(|&&v| v < threshold).count();
            vec![((count > 0) as usize + 2 * (count == c.len()) as usize + 4 * count) as i32; c.len()]
        };
        same(&r.get::<i32>(out, x.len()), &x.chunks(threads).flat_map(votes).collect::<Vec<_>>());
    });
}

#[test]
fn tiles_of_cooperative_groups() {
    each(kernels!("groups"), |r| {
        let x = r.random.list(256, |r| r.u32() as i32 >> 8);
        let (dx, out) = (r.put(&x), r.room::<i32>(4 * 256));
        r.run("tiles", line(2, 128), args![dx, out]);
        let want: Vec<i32> = (0..256)
            .flat_map(|i| {
                let (w, l) = (i / 32 * 32, i % 32);
                [
                    x[i / 8 * 8..i / 8 * 8 + 8].iter().sum(),
                    *x[i / 16 * 16..i / 16 * 16 + 16].iter().max().unwrap(),
                    x[w..w + l].iter().sum(),
                    // The tiles of eight were cut out of one tile of sixteen.
                    (i / 8 % 2) as i32 * 1000 + (i % 16) as i32 * 10 + (x[i / 8 * 8 + 5] & 3),
                ]
            })
            .collect();
        same(&r.get::<i32>(out, 4 * 256), &want);
    });
}

#[test]
fn coalesced_and_labelled_groups() {
    each(kernels!("groups"), |r| {
        let n = 1 + r.random.below(400);
        let x = r.random.list(n, |r| r.u32() as i32);
        let (dx, list, count) = (r.put(&x), r.room::<i32>(n), r.put(&[0u32]));
        r.run("filter", ptx_sim::LaunchConfig::linear(n as u32, 128), args![dx, n as u32, list, count]);
        let mut want: Vec<i32> = x.iter().copied().filter(|v| v % 2 == 0).collect();
        let kept = r.get::<u32>(count, 1)[0] as usize;
        let mut got = r.get::<i32>(list, kept);
        want.sort_unstable();
        got.sort_unstable();
        same(&got, &want);

        let (label, x) = (r.random.u32s(128), r.random.list(128, |r| r.u32() as i32 >> 4));
        let (dl, dx, out) = (r.put(&label), r.put(&x), r.room::<i32>(256));
        r.run("partitions", line(1, 128), args![dl, dx, out]);
        let want: Vec<i32> = (0..128)
            .flat_map(|i| {
                let warp = || i / 32 * 32..i / 32 * 32 + 32;
                let sum =
                    warp().filter(|&j| label[j] % 3 == label[i] % 3).map(|j| x[j]).fold(0, i32::wrapping_add);
                let alike = |j: &usize| (x[*j] > 0) == (x[i] > 0);
                let rank = (i / 32 * 32..i).filter(alike).count();
                [sum, (warp().filter(alike).count() * 100 + rank) as i32]
            })
            .collect();
        same(&r.get::<i32>(out, 256), &want);
    });
}
