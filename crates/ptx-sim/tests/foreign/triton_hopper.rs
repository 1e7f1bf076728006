//! Triton's matrix product on Hopper, where it uses warpgroup products.

#[test]
fn products_by_wgmma() {
    super::triton::matmul(include_str!("triton_matmul_sm_90a.ptx"), 16384);
}
