//! Words sent to another block of the cluster by st.async, and remote arrivals.

use super::rig::*;

#[test]
fn words_for_the_neighbour() {
    each(kernels!("cluster", sm_90a), |r| {
        let x = r.random.u32s(4 * 64);
        let (dx, out) = (r.put(&x), r.room::<u32>(x.len()));
        r.run("send_words", line(4, 64).cluster([2, 1, 1]), args![dx, out]);
        let want: Vec<u32> = (0..x.len()).map(|i| x[i ^ 64].wrapping_add((i / 64 % 2) as u32)).collect();
        same(&r.get::<u32>(out, x.len()), &want);
    });
}
