//! The launches: tables, workspaces, one launch of a group's kernel for as many networks as memory allows.

use gpu_kernels::score::{BLOCK, LayerEntry, NetEntry, VALUES};

use super::{Batch, Group, Network, Target, Values, decided, padded};
use crate::device::{Buffer, Device, DeviceError, DevicePtr, Launch};
use crate::kernel;

/// Bytes of workspace of one launch at most (unless a single network needs more).
const WORKSPACE: usize = 512 << 20;

/// What a network needs of each workspace: floats before the regions, floats altogether, numbers of `f64`.
fn needs(group: Group, net: &Network<'_>, rows: usize) -> (usize, usize, usize) {
    let inputs = net.layers[0].inputs;
    let regions = |count: usize, lead: usize| (lead, lead + count * rows * net.units());
    // A square matrix with Jacobi's rotations and the means of columns.
    let spectrum = |n: usize, width: usize| n.min(width).pow(2) + n.min(width) + 1 + width;
    let ((lead, work), work64) = match group {
        Group::Gradients => (regions(4, net.parameters.len()), 0),
        Group::Grasp => (regions(8, net.parameters.len()), 0),
        // The codes take the third region, in words of 32 bits: a word a row and layer more than the units' share, at most.
        Group::Codes => (regions(3, 0), rows * rows),
        Group::Jacobian => (regions(4, rows * inputs), 2 * rows * (rows + 1)),
        Group::Synflow => ((2 * inputs, 2 * inputs + 2 * net.units()), net.layers.len() + 1),
        Group::Zen => (regions(3, 0), 0),
        Group::AzNas => {
            let lead = net.hidden().iter().map(|l| (rows + l.units) * l.inputs).max().unwrap_or(0);
            let layers =
                net.hidden().iter().map(|l| spectrum(rows, l.units).max(spectrum(l.inputs, l.units)));
            (regions(4, lead), layers.fold(spectrum(rows, inputs), usize::max))
        }
    };
    (lead, work, work64)
}

/// As [`super::run`], for one group.
pub(super) fn run(
    device: &Device,
    group: Group,
    networks: &[Network<'_>],
    batch: &Batch<'_>,
    seed: u64,
) -> Result<Vec<Values>, DeviceError> {
    let x = device.buffer(batch.x)?;
    let moved = device.buffer(batch.moved)?;
    let labels = match batch.target {
        Target::Classes(labels) => Some(device.buffer(labels)?),
        _ => None,
    };
    let values = match batch.target {
        Target::Values(values) => Some(device.buffer(values)?),
        _ => None,
    };
    let samples = Samples { x, moved, labels, values, rows: batch.rows as u32 };
    let mut scored = Vec::with_capacity(networks.len());
    let mut rest = networks;
    while !rest.is_empty() {
        let bytes = |net: &Network<'_>| {
            let (_, work, work64) = needs(group, net, batch.rows);
            4 * (work + net.parameters.len()) + 8 * work64
        };
        let mut sum = 0;
        let fit = rest.iter().take_while(|net| {
            sum += bytes(net);
            sum <= WORKSPACE
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        let found = launch(device, group, now, &samples, seed)?;
        for (net, values) in now.iter().zip(found.chunks(VALUES)) {
            scored.push(match group {
                Group::Codes => decided(net, batch, [values[0], values[1]], values[2]),
                _ => padded(&values[..group.len()]),
            });
        }
        rest = later;
    }
    Ok(scored)
}

/// The samples on the device.
struct Samples {
    x: Buffer<f32>,
    moved: Buffer<f32>,
    labels: Option<Buffer<u32>>,
    values: Option<Buffer<f32>>,
    rows: u32,
}

/// One launch (grasp: two), a block a network; [`VALUES`] numbers for each.
fn launch(
    device: &Device,
    group: Group,
    networks: &[Network<'_>],
    samples: &Samples,
    seed: u64,
) -> Result<Vec<f64>, DeviceError> {
    let (mut nets, mut layers, mut params) = (vec![], vec![], vec![]);
    let (mut work, mut work64, mut layer_count) = (0, 0, 0);
    for net in networks {
        let (lead, floats, doubles) = needs(group, net, samples.rows as usize);
        let entry = NetEntry {
            layers: net.layers.len() as u32,
            units: net.units() as u32,
            first: layer_count,
            work: work as u64,
            lead: lead as u64,
            work64: work64 as u64,
        };
        nets.extend(entry.words());
        let (mut weight, mut before) = (params.len(), 0);
        for layer in &net.layers {
            let entry = LayerEntry {
                inputs: layer.inputs as u32,
                units: layer.units as u32,
                kind: layer.activation.kind(),
                param: layer.activation.param(),
                skip: layer.skip,
                weight: weight as u64,
                before,
            };
            layers.extend(entry.words());
            weight += layer.parameters();
            before += layer.units as u64;
            layer_count += 1;
        }
        params.extend_from_slice(net.parameters);
        work += floats;
        work64 += doubles;
    }
    let (nets, layers, params) = (device.buffer(&nets)?, device.buffer(&layers)?, device.buffer(&params)?);
    let (mut work, mut work64) = (device.alloc::<f32>(work.max(1))?, device.alloc::<f64>(work64.max(1))?);
    let mut out = device.buffer(&vec![f64::NAN; networks.len() * VALUES])?;
    let (rows, x, moved) = (samples.rows, &samples.x, &samples.moved);
    let labels = DevicePtr::<u32>::new(samples.labels.as_ref().map_or(0, Buffer::address));
    let values = DevicePtr::<f32>::new(samples.values.as_ref().map_or(0, Buffer::address));
    let grid = Launch::new(networks.len() as u32, BLOCK);
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    // One macro instead of seven argument lists: tables first, workspaces and results last.
    macro_rules! start {
        ($kernel:ident :: $name:ident, $($argument:expr),*) => {
            device.launch(
                kernel!(score::$kernel::$name),
                grid,
                (&nets, &layers, &params, $($argument,)* &mut work, &mut work64, &mut out),
            )?
        };
    }
    match group {
        Group::Gradients => start!(gradients::score_gradients, rows, x, labels, values),
        Group::Grasp => {
            start!(gradients::score_gradients, rows, x, labels, values);
            start!(grasp::score_grasp, rows, x, labels, values);
        }
        Group::Codes => start!(codes::score_codes, rows, x),
        Group::Jacobian => start!(jacobian::score_jacobian, rows, x),
        Group::Synflow => start!(synflow::score_synflow,),
        Group::Zen => start!(zen::score_zen, rows, x, moved),
        Group::AzNas => start!(az_nas::score_az_nas, rows, x, low, high),
    }
    out.to_vec()
}
