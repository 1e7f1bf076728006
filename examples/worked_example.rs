//! A multi-layer perceptron small enough to follow by hand: 3 inputs, two sigmoid layers of 2, a linear layer of 2.
//!
//! x = [1, 2, 3]; W1 = [[.1, .2, .3], [.4, .5, .6]], b1 = 0; W2 = W3 = [[.1, .2], [.3, .4]], b2 = b3 = [.1, .1].
//! Then one step of gradient descent (rate 0.1) on the mean squared error against the target [0, 1]. The deltas are the
//! gradients with respect to each layer's pre-activations, as textbooks name them.
//!
//! `cargo run --release --example worked_example`

use ironwarp::Device;
use ironwarp::graph::{Executor, Graph, Plan, States, Value};
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;

const RATE: f32 = 0.1;

/// A quantity of the example: its name and its numbers.
pub type Named = (String, Vec<f32>);

/// Everything the example computes, in order.
pub fn worked_example(device: &Device) -> Result<Vec<Named>, Box<dyn std::error::Error>> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([1, 3]))?;
    let target = g.input("target", TensorType::f32([1, 2]))?;
    let mut parameters: Vec<(String, Value)> = vec![];
    let (mut h, mut sums) = (x, vec![]);
    for (layer, width) in [(1, 3), (2, 2), (3, 2)] {
        let w = g.state(&format!("W{layer}"), TensorType::f32([2, width]))?;
        let b = g.state(&format!("b{layer}"), TensorType::f32([2]))?;
        parameters.extend([(format!("W{layer}"), w), (format!("b{layer}"), b)]);
        let z = g.linear(h, w, Some(b))?;
        sums.push(z);
        h = if layer < 3 { g.activation(z, Activation::Sigmoid)? } else { z };
        g.output(&format!("z{layer}"), z);
        if layer < 3 {
            g.output(&format!("a{layer}"), h);
        }
    }
    let loss = g.mse(h, target)?;
    g.output("loss", loss);
    // Gradients: of the pre-activations (the deltas), then of the parameters, with one step against each.
    let wrt: Vec<Value> = sums.iter().copied().chain(parameters.iter().map(|p| p.1)).collect();
    let gradients = g.gradients(loss, &wrt)?;
    for (layer, &delta) in gradients[..3].iter().enumerate() {
        g.output(&format!("delta{}", layer + 1), delta);
    }
    for ((name, value), &gradient) in parameters.iter().zip(&gradients[3..]) {
        let step = g.scale(gradient, -RATE)?;
        let stepped = g.add(*value, step)?;
        g.output(&format!("d{name}"), gradient);
        g.output(&format!("new {name}"), stepped);
    }

    let states = States::new(device);
    let wide = [0.1f32, 0.2, 0.3, 0.4, 0.5, 0.6];
    let square = [0.1f32, 0.2, 0.3, 0.4];
    states.write("W1", &TensorType::f32([2, 3]), &wide)?;
    states.write("b1", &TensorType::f32([2]), &[0f32, 0.0])?;
    for layer in [2, 3] {
        states.write(&format!("W{layer}"), &TensorType::f32([2, 2]), &square)?;
        states.write(&format!("b{layer}"), &TensorType::f32([2]), &[0.1f32, 0.1])?;
    }
    let mut run = Executor::new(&Plan::new(&g.fuse())?, &states)?;
    run.set("x", &[1f32, 2.0, 3.0])?;
    run.set("target", &[0f32, 1.0])?;
    run.run()?;
    let mut names: Vec<String> =
        ["z1", "a1", "z2", "a2", "z3", "loss", "delta3", "delta2", "delta1"].map(String::from).into();
    for (name, _) in &parameters {
        names.extend([format!("d{name}"), format!("new {name}")]);
    }
    names.into_iter().map(|name| Ok((name.clone(), run.get(&name)?))).collect()
}

#[allow(dead_code)] // the test that includes this file calls the function above
fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, numbers) in worked_example(&Device::auto()?)? {
        let numbers: Vec<String> = numbers.iter().map(|x| format!("{x:.6}")).collect();
        println!("{name:>8} = [{}]", numbers.join(", "));
    }
    Ok(())
}
