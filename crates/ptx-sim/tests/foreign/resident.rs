//! Kernels whose blocks wait for each other and so have to be resident together.

use super::rig::*;

#[test]
fn a_barrier_of_the_grid() {
    each(kernels!("groups"), |r| {
        let (n, steps) = (1 + r.random.below(700), 1 + r.random.below(6));
        let mut x = r.random.f32s(n, -1.0, 1.0);
        let (a, b, counter) = (r.put(&x), r.room::<f32>(n), r.put(&[0u32]));
        r.run("diffuse", line(4, 64), args![a, b, n as u32, steps as u32, counter]);
        for _ in 0..steps {
            x = (0..n)
                .map(|i| {
                    let (l, c, h) = (x[i.saturating_sub(1)], x[i], x[(i + 1).min(n - 1)]);
                    // As the compiler contracts it.
                    0.25f32.mul_add(h, 0.25f32.mul_add(l, 0.5 * c))
                })
                .collect();
        }
        let got = r.get::<f32>(if steps % 2 == 1 { b } else { a }, n);
        let want: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        close(&got, &want, |_| 3.0 * steps as f64 * f32::EPSILON as f64);
    });
}

#[test]
fn messages_from_block_to_block() {
    each(kernels!("atomics"), |r| {
        let blocks = 1 + r.random.below(12);
        let (flags, message) = (r.put(&vec![0i32; blocks]), r.room::<i32>(blocks));
        let out = r.room::<i32>(blocks);
        r.run("chain", line(blocks as u32, 32), args![flags, message, out]);
        let (mut v, mut want) = (1i32, Vec::new());
        for b in 0..blocks {
            want.push(v);
            v = v.wrapping_mul(3).wrapping_add(b as i32);
        }
        same(&r.get::<i32>(out, blocks), &want);
    });
}
