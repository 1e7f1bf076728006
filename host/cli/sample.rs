//! Instances of operations as their registry entries draw them, for `bench op` and `profile`.

use anyhow::Result;
use ironwarp::device::{DType, Device};
use ironwarp::graph::{Graph, States};
use ironwarp::ops::{Cost, Domain, Draw, OpEntry, Sample, SampleInput, TensorType, registry};

use super::bench::Random;
use super::fail::usage_error;

/// Instances that are drawn.
const DRAWN: usize = 2000;

/// The operation of that name; the error lists them all.
pub fn entry(name: &str) -> Result<OpEntry> {
    let entries = registry();
    let mut names: Vec<&str> = entries.iter().map(|e| e.name).collect();
    names.sort_unstable();
    names.dedup();
    let known = names.join(", ");
    let found = entries.into_iter().find(|e| e.name == name);
    found.ok_or_else(|| usage_error(format!("there is no operation '{name}'; there are {known}")))
}

fn types(sample: &Sample) -> Vec<TensorType> {
    sample.inputs.iter().map(|input| input.ty.clone()).collect()
}

/// Operations and bytes of an instance.
pub fn cost(sample: &Sample) -> Result<Cost> {
    let inputs = types(sample);
    let outputs = sample.op.infer(&inputs)?;
    Ok(sample.op.cost(&inputs, &outputs))
}

/// The largest instances by traffic: one for each set of attributes, then other shapes.
pub fn largest(entry: &OpEntry, max_dim: usize, count: usize) -> Result<Vec<Sample>> {
    let mut random = Random(1);
    let mut drawn = vec![];
    for _ in 0..DRAWN {
        let choices = (0..256).map(|_| random.bits() as u32).collect();
        let sample = (entry.sample)(&mut Draw::new(choices, max_dim));
        drawn.push((cost(&sample)?.bytes, sample));
    }
    drawn.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    // Where attributes are few, further shapes fill the table.
    let mut chosen: Vec<Sample> = vec![];
    let by_attributes = |a: &Sample, b: &Sample| a.op.attributes() != b.op.attributes();
    let by_shape = |a: &Sample, b: &Sample| types(a) != types(b);
    for differ in [&by_attributes as &dyn Fn(&Sample, &Sample) -> bool, &by_shape] {
        for (_, sample) in &drawn {
            if chosen.len() < count && chosen.iter().all(|c| differ(c, sample)) {
                chosen.push(sample.clone());
            }
        }
    }
    Ok(chosen)
}

/// A graph of the one operation over random inputs.
pub fn graph(device: &Device, sample: &Sample) -> Result<(Graph, States)> {
    let mut graph = Graph::new();
    let states = States::new(device);
    let mut random = Random(2);
    let mut values = vec![];
    for (i, input) in sample.inputs.iter().enumerate() {
        let name = format!("x{i}");
        values.push(graph.state(&name, input.ty.clone())?);
        fill(&states, &name, input, &mut random)?;
    }
    let outputs = graph.push_shared(sample.op.clone(), &values)?;
    for (input, output) in sample.op.in_place_pairs(values.len()) {
        // As a training step uses it: no copy before the operation.
        graph.assign(values[input], outputs[output])?;
    }
    outputs.iter().enumerate().for_each(|(k, &v)| graph.output(&format!("y{k}"), v));
    Ok((graph, states))
}

/// The types of the inputs, each kind once with its number: `4x f32[100] f32[8]`.
pub fn inputs(sample: &Sample) -> String {
    let mut kinds: Vec<(String, usize)> = vec![];
    for ty in types(sample) {
        let ty = ty.to_string();
        match kinds.iter_mut().find(|(kind, _)| *kind == ty) {
            Some((_, n)) => *n += 1,
            None => kinds.push((ty, 1)),
        }
    }
    let text = |(kind, n): &(String, usize)| if *n == 1 { kind.clone() } else { format!("{n}x {kind}") };
    kinds.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Random elements of the input's domain.
fn fill(states: &States, name: &str, input: &SampleInput, random: &mut Random) -> Result<()> {
    let n = input.ty.len();
    match input.ty.dtype {
        DType::U32 => {
            let data: Vec<u32> = match input.domain {
                Domain::Permutation => ironwarp::data::permutation(n, 3, 0),
                Domain::Index(bound) => (0..n).map(|_| random.below(bound)).collect(),
                Domain::Exactly(x) => vec![x as u32; n],
                _ => (0..n).map(|_| random.bits() as u32).collect(),
            };
            states.write(name, &input.ty, &data)?;
        }
        DType::F16 | DType::Bf16 => {
            // The sign and the lower fraction bits of a number near 1 in either format.
            let data: Vec<u16> = (0..n).map(|_| 0x3c00 ^ (random.bits() as u16 & 0x807f)).collect();
            states.write(name, &input.ty, &data)?;
        }
        DType::E4m3 | DType::E5m2 => {
            // As above.
            let data: Vec<u8> = (0..n).map(|_| 0x38 ^ (random.bits() as u8 & 0x83)).collect();
            states.write(name, &input.ty, &data)?;
        }
        DType::F32 => {
            let mut element = || match input.domain {
                Domain::Uniform(lo, hi) => random.range(lo, hi),
                // One side of the kink is enough here.
                Domain::Away { lo, hi, kink, gap } if kink + gap < hi => {
                    random.range((kink + gap).max(lo), hi)
                }
                Domain::Exactly(x) => x,
                Domain::Index(bound) => random.below(bound) as f32,
                _ => random.range(-1.0, 1.0),
            };
            let data: Vec<f32> = (0..n).map(|_| element()).collect();
            states.write(name, &input.ty, &data)?;
        }
    }
    Ok(())
}
