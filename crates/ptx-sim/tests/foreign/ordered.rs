//! Threads that order their accesses by atomics with acquire and release, with no barrier.

use super::rig::*;

#[test]
fn a_ring_between_two_warps() {
    each(kernels!("atomics"), |r| {
        let n = 1 + r.random.below(60);
        let x = r.random.list(n, |r| r.u32() as i32 >> 1);
        let (dx, out) = (r.put(&x), r.room::<i32>(n));
        r.run("ring", line(1, 64), args![dx, out, n as i32]);
        same(&r.get::<i32>(out, n), &x.iter().map(|v| v + 1).collect::<Vec<_>>());
    });
}
