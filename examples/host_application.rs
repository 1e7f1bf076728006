//! Training and predicting inside a host application: no command line, no files.
//!
//! `cargo run --release --example host_application`

use ironwarp::data::{self, Dataset, Matrix, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::train::{Adam, Trainer};
use ironwarp::{Device, nn};

/// Trains on the built-in digits and returns the test accuracy and the class of one unseen sample.
pub fn train_and_predict() -> Result<(f64, String), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
    let net = nn::mlp(64, [64, 64], Activation::Relu, 10);
    let model = Trainer::new(net).optimizer(Adam::new(2e-3)).epochs(40).fit(&device, &digits.train)?;
    let accuracy = model.evaluate(&digits.test)?.accuracy;

    // A single row from elsewhere in the application, already scaled as the training data was.
    let row = digits.test.features().row(0).to_vec();
    let sample = Dataset::new("one row", Matrix::new(row, 1, 64).ok_or("64 numbers")?, Target::None)?;
    let prediction = model.predict(&sample)?;
    Ok((accuracy, prediction.classes[prediction.labels[0] as usize].clone()))
}

#[allow(dead_code)] // the test that includes this file calls the function above
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (accuracy, class) = train_and_predict()?;
    println!("test accuracy {accuracy:.3}; the first test sample is a {class}");
    Ok(())
}
