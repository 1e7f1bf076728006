//! The quick start that every framework's first page shows: two dense sigmoid layers of 2 units, Adam, binary
//! cross-entropy, 100 epochs on a single sample with target [0, 1].
//!
//! The last sigmoid is part of the loss (`BceWithLogits`), which is the same function and does not lose digits.
//!
//! `cargo run --release --example quick_start`

use ironwarp::data::{Dataset, Matrix, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::train::{Adam, Loss, Schedule, Trainer};
use ironwarp::{Device, nn};

/// Trains; the loss of the first and the last epoch, and what the network then says of the sample.
pub fn quick_start(device: &Device) -> Result<(f64, f64, Vec<f32>), Box<dyn std::error::Error>> {
    let x = Matrix::new(vec![1.0, 2.0, 3.0], 1, 3).ok_or("three numbers")?;
    let names = vec!["first".into(), "second".into()];
    let data = Dataset::new("one sample", x, Target::Values { values: vec![0.0, 1.0], outputs: 2, names })?;
    let net = nn::mlp(3, [2], Activation::Sigmoid, 2);
    let model = Trainer::new(net)
        .optimizer(Adam::new(0.01))
        .schedule(Schedule::Constant)
        .loss(Loss::BceWithLogits)
        .epochs(100)
        .seed(3)
        .fit(device, &data)?;
    let losses = &model.history.epochs;
    let (first, last) = (losses[0].train_loss, losses[losses.len() - 1].train_loss);
    Ok((first, last, model.predict(&data)?.outputs))
}

#[allow(dead_code)] // the test that includes this file calls the function above
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (first, last, outputs) = quick_start(&Device::auto()?)?;
    println!("loss {first:.4} -> {last:.4}; the network says {outputs:.3?} for the target [0, 1]");
    Ok(())
}
