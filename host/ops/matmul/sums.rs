//! Sums over the rows or columns of C ([`Reduce`]): the product's kernels write those of parts of C, and a kernel of
//! `gpu_kernels::reduce` adds the parts, in an order that depends on shape and tile alone.

use super::problem::{Problem, Reduce};
use super::{Addresses, MatmulError};
use crate::device::{Device, DevicePtr, DevicePtrMut};
use crate::ops::reduce::{View, launch_sum, sum_workspace};

/// The partial sums of a product, as its kernel writes them: `[batch, parts, N or M]`.
#[derive(Clone, Copy)]
pub(super) struct PartialSums {
    view: View,
}

impl PartialSums {
    /// Those of parts of so many rows and columns of C.
    pub fn new(p: &Problem, part: [u32; 2]) -> PartialSums {
        let parts = match p.reduce {
            Reduce::None => 0,
            Reduce::Rows => p.m.div_ceil(part[0] as usize),
            Reduce::Columns => p.n.div_ceil(part[1] as usize),
        };
        PartialSums { view: View { outer: p.batch, n: parts, inner: p.sums() } }
    }

    /// Bytes of the partial sums: none where a part is the whole, which the kernel writes where it belongs.
    fn partial(&self) -> usize {
        let View { outer, n, inner } = self.view;
        if n > 1 { outer.saturating_mul(n).saturating_mul(inner).saturating_mul(4) } else { 0 }
    }

    /// Bytes of workspace.
    pub fn bytes(&self) -> usize {
        if self.view.n > 1 { self.partial().saturating_add(4 * sum_workspace(self.view)) } else { 0 }
    }

    /// Where the kernel writes, for sums at `at` and a workspace of [`bytes`](PartialSums::bytes).
    pub fn written(&self, at: Addresses, workspace: u64) -> DevicePtrMut<f32> {
        DevicePtrMut::new(if self.view.n > 1 { workspace } else { at.sums })
    }

    /// Adds the parts that the kernel has written.
    pub fn finish(&self, device: &Device, at: Addresses, workspace: u64) -> Result<(), MatmulError> {
        if self.view.n > 1 {
            let rest = DevicePtrMut::new(workspace + self.partial() as u64);
            let (from, to) = (DevicePtr::new(workspace), DevicePtrMut::new(at.sums));
            launch_sum(device, self.view, 1.0, from, to, rest)?;
        }
        Ok(())
    }
}
