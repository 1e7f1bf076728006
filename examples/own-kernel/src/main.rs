//! A kernel of one's own: written in `kernels/`, launched here, and proved on the very PTX that ships.
//! `cargo run -p own-kernel`, `cargo test -p own-kernel`
use ironwarp::device::{Device, DeviceError, Launch, PtxModule};

/// The kernel's PTX; `sm_80` runs on Hopper too.
static MODULE: PtxModule = PtxModule {
    name: "own-kernel",
    sm_80: include_str!(env!("OWN_PTX")),
    sm_90a: include_str!(env!("OWN_PTX")),
};

fn softsign(device: &Device, x: &[f32]) -> Result<Vec<f32>, DeviceError> {
    let n = x.len() as u32;
    let (x, mut y) = (device.buffer(x)?, device.alloc::<f32>(x.len())?);
    device.launch(
        ironwarp::kernel!(own_kernel_kernels::softsign in MODULE),
        Launch::linear(n),
        (n, &x, &mut y),
    )?;
    y.to_vec()
}

fn main() -> Result<(), DeviceError> {
    println!("{:?}", softsign(&Device::auto()?, &[-3.0, 0.0, 0.5, 7.0])?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn softsign_is_right_to_two_roundings(x in proptest::collection::vec(-1e6f32..1e6, 1..2000)) {
            for device in [Device::cpu(), Device::sim()] {
                for (x, y) in x.iter().zip(softsign(&device, &x).expect("no finding")) {
                    let want = f64::from(*x) / (1.0 + f64::from(x.abs()));
                    prop_assert!((f64::from(y) - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want.abs());
                }
            }
        }
    }
}
