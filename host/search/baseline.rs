//! The default network: what every search begins and is compared with.

use super::architecture::Architecture;
use super::space::Point;
use super::space::network::NetworkSpace;
use crate::ops::optim::Optimizer;
use crate::train::Options;

/// What `ironwarp train` trains without options, for [`epochs`].
pub fn network(inputs: usize, outputs: usize, rows: usize) -> Architecture {
    let batch = 64.min(rows.max(1));
    let text = format!(
        "{inputs} > 128 relu drop=0.2 > 64 relu drop=0.2 > {outputs} | adam lr=0.002 batch={batch} smoothing=0.1"
    );
    match text.parse() {
        Ok(architecture) => architecture,
        Err(e) => unreachable!("'{text}' is an architecture: {e}"),
    }
}

/// The point that is nearest to the [`network`] where a space has one: its network with AdamW and next to no decay.
pub(super) fn point_in(space: &NetworkSpace, rows: usize) -> Option<Point> {
    let mut near = network(space.inputs(), space.outputs(), rows);
    space.encode(&near).or_else(|| {
        let least = space.ranges().weight_decay.as_ref()?.least();
        near.recipe.optimizer = Optimizer::adamw().with_weight_decay(least);
        space.encode(&near)
    })
}

/// How long the [`network`] is trained.
pub fn epochs() -> usize {
    Options::default().epochs
}
