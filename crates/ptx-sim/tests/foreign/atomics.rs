//! Atomics of many types, scopes and orders and a lock.

use super::rig::*;
use half::{bf16, f16};
use ptx_sim::LaunchConfig;

#[test]
fn atomics_on_words() {
    each(kernels!("atomics"), |r| {
        let n = 1 + r.random.below(400);
        let x = r.random.list(n, |r| r.u32() as i32);
        let first = r.random.u32();
        let dx = r.put(&x);
        let (signed, counts) = (r.put(&[0i32, 0, 5, 0]), r.put(&vec![0i32; n.div_ceil(96)]));
        let cells = r.put(&[!0u32, 0, !0, 0, first, 0, 40, 0]);
        let sum = r.put(&[0.5f32]);
        r.run("cells32", LaunchConfig::linear(n as u32, 96), args![dx, n as i32, signed, cells, sum, counts]);
        let fold = |start: u32, f: &dyn Fn(u32, u32) -> u32| x.iter().fold(start, |a, &v| f(a, v as u32));
        let least = x.iter().copied().fold(0, i32::min);
        let most = x.iter().copied().fold(0, i32::max);
        let rest = x.iter().fold(5i32, |a, &v| a.wrapping_sub(v));
        same(&r.get::<i32>(signed, 4), &[least, most, rest, 2 * n as i32]);
        let blocks: Vec<i32> = x.chunks(96).map(|c| c.len() as i32).collect();
        same(&r.get::<i32>(counts, blocks.len()), &blocks);
        let got = r.get::<u32>(cells, 8);
        let want = [
            fold(!0, &u32::min),
            fold(0, &u32::max),
            fold(!0, &|a, v| a & (v | 0xffff)),
            fold(0, &|a, v| a | v & 0xffff00),
            fold(first, &|a, v| a ^ v),
            fold(0, &|a, _| if a >= 100 { 0 } else { a + 1 }),
            fold(40, &|a, _| if a == 0 || a > 50 { 50 } else { a - 1 }),
        ];
        same(&got[..7], &want);
        assert!(x.contains(&(got[7] as i32)));
        // Small integers: exact in any order.
        same(&r.get::<f32>(sum, 1), &[0.5 + x.iter().map(|v| (v & 15) as f32).sum::<f32>()]);
    });
}

#[test]
fn atomics_on_long_words() {
    each(kernels!("atomics"), |r| {
        let n = 1 + r.random.below(300);
        let x = r.random.list(n, |r| r.u64() as i64);
        let first = r.random.u64();
        let (dx, sum) = (r.put(&x), r.put(&[0.25f64]));
        let signed = r.put(&[i64::MAX, i64::MIN]);
        let cells = r.put(&[first, first, !0, 0, 1]);
        r.run("cells64", LaunchConfig::linear(n as u32, 96), args![dx, n as i32, signed, cells, sum]);
        same(&r.get::<i64>(signed, 2), &[*x.iter().min().unwrap(), *x.iter().max().unwrap()]);
        let fold = |start: u64, f: &dyn Fn(u64, u64) -> u64| x.iter().fold(start, |a, &v| f(a, v as u64));
        let want = [
            fold(first, &u64::wrapping_add),
            fold(first, &|a, v| a ^ v),
            fold(!0, &|a, v| a & (v | 0xffff_ffff)),
            fold(0, &|a, v| a | v & 0xff00_ff00_ff00),
            fold(1, &|a, v| a.wrapping_mul(v | 1)),
        ];
        same(&r.get::<u64>(cells, 5), &want);
        same(&r.get::<f64>(sum, 1), &[0.25 + x.iter().map(|v| (v & 255) as f64).sum::<f64>()]);
    });
}

#[test]
fn atomics_on_small_types() {
    each(kernels!("atomics"), |r| {
        let n = 1 + r.random.below(200);
        let x = r.random.list(n, |r| r.u32() as i32);
        let (dx, maximum) = (r.put(&x), r.put(&[17u16, 0xabcd]));
        let (halves, bfloats) = (r.put(&[0u16; 2]), r.put(&[0u16; 2]));
        let args = args![dx, n as i32, halves, bfloats, maximum];
        r.run("small_types", LaunchConfig::linear(n as u32, 64), args);
        // Sums of so few small numbers are exact.
        let sum = |f: &dyn Fn(i32) -> i32| x.iter().map(|&v| f(v)).sum::<i32>() as f32;
        let want = [sum(&|v| v & 3), sum(&|v| v >> 2 & 1)].map(|v| f16::from_f32(v).to_bits());
        same(&r.get::<u16>(halves, 2), &want);
        let want = [sum(&|v| v & 1), sum(&|v| v >> 1 & 1)].map(|v| bf16::from_f32(v).to_bits());
        same(&r.get::<u16>(bfloats, 2), &want);
        let most = x.iter().map(|&v| v as u16).fold(17, u16::max);
        same(&r.get::<u16>(maximum, 2), &[most, 0xabcd]);
    });
}

#[test]
fn atomic_references_with_scopes_and_orders() {
    each(kernels!("atomics"), |r| {
        let n = 1 + r.random.below(500);
        let x = r.random.list(n, |r| r.u32() as i32);
        let (dx, total, best, product) = (r.put(&x), r.put(&[0i32]), r.put(&[0u32]), r.put(&[0f64]));
        let config = LaunchConfig::linear(n as u32, 96);
        r.run("references", config, args![dx, n as i32, total, best, product]);
        same(&r.get::<i32>(total, 1), &[x.iter().fold(0, |a: i32, &b| a.wrapping_add(b))]);
        same(&r.get::<u32>(best, 1), &[x.iter().map(|&v| v as u32 >> 8).max().unwrap()]);
        same(&r.get::<f64>(product, 1), &[0.5 * n as f64]);
    });
}

#[test]
fn a_spin_lock() {
    each(kernels!("atomics"), |r| {
        let (threads, rounds) = (1 + r.random.below(70), 1 + r.random.below(3));
        let first = r.random.below(1000) as i32;
        let (lock, data) = (r.put(&[0i32]), r.put(&[first, 0]));
        r.run("locked", line(1, threads as u32), args![lock, data, rounds as i32]);
        let last = first + (threads * rounds) as i32;
        same(&r.get::<i32>(data, 2), &[last, 3 * last]);
        same(&r.get::<i32>(lock, 1), &[0]);
    });
}
