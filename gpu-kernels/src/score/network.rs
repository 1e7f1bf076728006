//! What a block does with its network: read the tables, multiply matrices, run forward and backward.

use cuda_std::prelude::*;
use cuda_std::shared_array;

use super::{LayerEntry, DH, DZ, H, LAYER_WORDS, NET_WORDS, VALUES, Z};
use crate::activation::{apply, derivative, from_output};
use crate::collective::{group_all, Fold, BLOCK, LOG2_BLOCK};
use crate::math::{exp, fma};
use crate::ptx::shfl_xor;

/// A matrix in memory: element (i, j) is `p[i * row + j * col]`; one of the strides is 1.
#[derive(Clone, Copy)]
pub struct View {
    pub p: *const f32,
    pub row: usize,
    pub col: usize,
}

impl View {
    /// Row-major with rows of `cols`.
    #[inline(always)]
    pub fn rows(p: *const f32, cols: usize) -> View {
        View { p, row: cols, col: 1 }
    }
    /// The transpose of a row-major matrix with rows of `cols`.
    #[inline(always)]
    pub fn transposed(p: *const f32, cols: usize) -> View {
        View { p, row: 1, col: cols }
    }
}

/// The network of this block.
#[derive(Clone, Copy)]
pub struct Net {
    pub layers: usize,
    pub units: usize,
    pub rows: usize,
    table: *const u64,
    params: *const f32,
    lead: *mut f32,
    regions: *mut f32,
    pub work64: *mut f64,
}

impl Net {
    /// Reads the entry of this block's network.
    ///
    /// # Safety
    /// - The tables are as the module's docs say and have an entry for every block.
    #[inline(always)]
    pub unsafe fn of_block(
        nets: *const u64,
        table: *const u64,
        params: *const f32,
        rows: u32,
        work: *mut f32,
        work64: *mut f64,
    ) -> Net {
        let entry = nets.add(thread::block_idx_x() as usize * NET_WORDS);
        let sizes = *entry;
        let lead = work.add(*entry.add(2) as usize);
        Net {
            layers: sizes as u32 as usize,
            units: (sizes >> 32) as usize,
            rows: rows as usize,
            table: table.add(*entry.add(1) as usize * LAYER_WORDS),
            params,
            lead,
            regions: lead.add(*entry.add(3) as usize),
            work64: work64.add(*entry.add(4) as usize),
        }
    }

    /// Layer `l`.
    #[inline(always)]
    pub unsafe fn layer(&self, l: usize) -> Layer {
        let e = LayerEntry::load(self.table.add(l * LAYER_WORDS));
        let weights = self.params.add(e.weight as usize);
        let (inputs, units) = (e.inputs as usize, e.units as usize);
        Layer {
            inputs,
            units,
            kind: e.kind,
            param: e.param,
            skip: e.skip,
            weights,
            biases: weights.add(inputs * units),
            before: e.before as usize,
        }
    }

    /// Scratch memory before the regions.
    #[inline(always)]
    pub fn lead(&self) -> *mut f32 {
        self.lead
    }

    /// Where the gradient of a layer's weights is: at the place in [`lead`](Net::lead) that the weights have among the
    /// network's parameters.
    #[inline(always)]
    pub unsafe fn gradient(&self, layer: &Layer) -> *mut f32 {
        self.lead.offset(layer.weights.offset_from(self.layer(0).weights))
    }

    /// The matrix `[rows, units]` of a layer in a region.
    #[inline(always)]
    pub unsafe fn at(&self, region: usize, layer: &Layer) -> *mut f32 {
        self.regions.add(self.rows * (region * self.units + layer.before))
    }

    /// What layer `l` reads: `x`, or the matrix of the layer before in `region`.
    #[inline(always)]
    pub unsafe fn input(&self, region: usize, l: usize, x: *const f32) -> *const f32 {
        if l == 0 {
            x
        } else {
            self.at(region, &self.layer(l - 1)) as *const f32
        }
    }
}

/// A layer, with its parameters' addresses.
#[derive(Clone, Copy)]
pub struct Layer {
    pub inputs: usize,
    pub units: usize,
    pub kind: u32,
    pub param: f32,
    pub skip: bool,
    pub weights: *const f32,
    pub biases: *const f32,
    pub before: usize,
}

impl Layer {
    /// f'(z).
    #[inline(always)]
    pub fn slope(&self, z: f32) -> f32 {
        let s = if from_output(self.kind, self.param) { apply(self.kind, self.param, z) } else { z };
        derivative(self.kind, self.param, s)
    }
}

/// Sum in `f64`.
pub struct Sum64;
impl Fold for Sum64 {
    type Acc = f64;
    #[inline(always)]
    fn identity() -> f64 {
        0.0
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    unsafe fn exchange(a: f64, mask: u32) -> f64 {
        let bits = a.to_bits();
        // SAFETY: the caller's contract.
        let (low, high) = unsafe { (shfl_xor(bits as u32, mask), shfl_xor((bits >> 32) as u32, mask)) };
        f64::from_bits(low as u64 | (high as u64) << 32)
    }
}

/// This thread's number in its block.
#[inline(always)]
pub fn lane() -> usize {
    thread::thread_idx_x() as usize
}

/// Calls `each` for this thread's share of 0 to `n`: its number, and every [`BLOCK`]-th behind it.
#[inline(always)]
pub fn share(n: usize, mut each: impl FnMut(usize)) {
    let mut i = lane();
    while i < n {
        each(i);
        i += BLOCK as usize;
    }
}

/// Calls `each(i, j)` for this thread's share of the lower triangle, `j <= i < n`: a warp a row, a lane a column.
#[inline(always)]
pub fn share_triangle(n: u32, mut each: impl FnMut(u32, u32)) {
    let mut i = thread::thread_idx_x() >> 5;
    while i < n {
        let mut j = thread::thread_idx_x() & 31;
        while j <= i {
            each(i, j);
            j += 32;
        }
        i += BLOCK / 32;
    }
}

/// The sum of `term` over 0 to `n`, in each thread.
///
/// # Safety
/// - All threads of the block arrive.
#[inline(always)]
pub unsafe fn total(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut sum = 0.0;
    share(n, |i| sum += term(i));
    block_sum(sum)
}

/// Writes the values of this block's network.
///
/// # Safety
/// - `out` has [`VALUES`] numbers a block; `N` is at most that.
#[inline(always)]
pub unsafe fn report<const N: usize>(out: *mut f64, values: [f64; N]) {
    if lane() == 0 {
        *(out.add(thread::block_idx_x() as usize * VALUES) as *mut [f64; N]) = values;
    }
}

/// The total over the block, in each thread.
///
/// # Safety
/// - All threads of the block arrive.
#[inline(always)]
pub unsafe fn block_sum(x: f64) -> f64 {
    group_all::<Sum64>(x, LOG2_BLOCK, shared_array![f64; 8])
}

/// Side of the tile of C that a block computes at once, and the depth of the pieces of A and B in shared memory.
const TILE: u32 = 32;
const DEPTH: u32 = 16;
/// A row of a piece: one more than TILE, so that neither its rows nor its columns share a bank.
const PITCH: u32 = TILE + 1;

/// `each(i, j, sum over p of a(i, p) b(p, j))` for every element of an `m x n` product, once, in some thread; always the
/// same thread for the same `m`, `n`, `i` and `j`. Sums run in increasing p, in `f32`. What `each` writes is visible to
/// the whole block afterwards.
///
/// # Safety
/// - All threads of the block arrive with the same arguments; the views cover `m x k` and `k x n`, and no thread writes
///   them meanwhile.
#[inline(always)]
pub unsafe fn product(
    (m, n, k): (usize, usize, usize),
    a: View,
    b: View,
    mut each: impl FnMut(usize, usize, f32),
) {
    let (tile_a, tile_b) = (shared_array![f32; 528], shared_array![f32; 529]);
    // Positions in 32 bits (the host checks the sizes): half the registers.
    let (m, n, k) = (m as u32, n as u32, k as u32);
    let (a_row, a_col, b_row, b_col) = (a.row as u32, a.col as u32, b.row as u32, b.col as u32);
    let t = thread::thread_idx_x();
    let (x, y) = (t & 15, t >> 4);
    let mut i0 = 0;
    while i0 < m {
        let mut j0 = 0;
        while j0 < n {
            // A thread has elements (y, x), (y, x + 16), (y + 16, x) and (y + 16, x + 16) of the tile.
            let (mut c00, mut c01, mut c10, mut c11) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
            let mut p0 = 0;
            while p0 < k {
                let mut e = t;
                while e < TILE * DEPTH {
                    // Neighbouring threads read neighbouring elements, whichever way the matrix lies.
                    let (i, p) = if a_col == 1 { (e >> 4, e & 15) } else { (e & 31, e >> 5) };
                    let inside = i0 + i < m && p0 + p < k;
                    let at = (i0 + i) * a_row + (p0 + p) * a_col;
                    *tile_a.add((p * PITCH + i) as usize) = if inside { *a.p.add(at as usize) } else { 0.0 };
                    let (p, j) = if b_col == 1 { (e >> 5, e & 31) } else { (e & 15, e >> 4) };
                    let inside = p0 + p < k && j0 + j < n;
                    let at = (p0 + p) * b_row + (j0 + j) * b_col;
                    *tile_b.add((p * PITCH + j) as usize) = if inside { *b.p.add(at as usize) } else { 0.0 };
                    e += BLOCK;
                }
                thread::sync_threads();
                let mut depth = if k - p0 < DEPTH { k - p0 } else { DEPTH };
                let (mut row_a, mut row_b) = (tile_a.add(y as usize), tile_b.add(x as usize));
                while depth > 0 {
                    let (a0, a1) = (*row_a, *row_a.add(16));
                    let (b0, b1) = (*row_b, *row_b.add(16));
                    c00 = fma(a0, b0, c00);
                    c01 = fma(a0, b1, c01);
                    c10 = fma(a1, b0, c10);
                    c11 = fma(a1, b1, c11);
                    row_a = row_a.add(PITCH as usize);
                    row_b = row_b.add(PITCH as usize);
                    depth -= 1;
                }
                thread::sync_threads();
                p0 += DEPTH;
            }
            let (i, j) = (i0 + y, j0 + x);
            if i < m && j < n {
                each(i as usize, j as usize, c00);
            }
            if i < m && j + 16 < n {
                each(i as usize, (j + 16) as usize, c01);
            }
            if i + 16 < m && j < n {
                each((i + 16) as usize, j as usize, c10);
            }
            if i + 16 < m && j + 16 < n {
                each((i + 16) as usize, (j + 16) as usize, c11);
            }
            j0 += TILE;
        }
        i0 += TILE;
    }
    thread::sync_threads();
}

/// Runs the first `layers` layers on `x` `[rows, inputs]`: fills [`Z`] and [`H`].
///
/// # Safety
/// - All threads of the block arrive; `x` covers the rows.
#[inline(always)]
pub unsafe fn forward(net: &Net, layers: usize, x: *const f32) {
    let mut l = 0;
    while l < layers {
        let layer = net.layer(l);
        let input = net.input(H, l, x);
        let (z, h) = (net.at(Z, &layer), net.at(H, &layer));
        let (inputs, units) = (layer.inputs, layer.units);
        let weights = View::transposed(layer.weights, inputs);
        product((net.rows, units, inputs), View::rows(input, inputs), weights, |n, o, sum| {
            // SAFETY: n < rows and o < units.
            unsafe { *z.add(n * units + o) = sum + *layer.biases.add(o) }
        });
        share(net.rows * units, |e| {
            let y = apply(layer.kind, layer.param, *z.add(e));
            // A layer that skips has as many inputs as units.
            *h.add(e) = if layer.skip { y + *input.add(e) } else { y };
        });
        thread::sync_threads();
        l += 1;
    }
}

/// `to` `[rows, inputs]` = the gradient of a layer's input from those of its pre-activations and outputs, [`DZ`] and [`DH`] (or
/// their derivatives along a direction: `region` is [`R`](super::R)): `dz w`, and what the skip connection brings.
///
/// # Safety
/// - All threads of the block arrive, after a barrier behind the writing of both.
#[inline(always)]
pub unsafe fn pull(net: &Net, layer: &Layer, region: usize, to: *mut f32) {
    let (dz, dh) = (net.at(region + DZ, layer), net.at(region + DH, layer));
    let (inputs, units) = (layer.inputs, layer.units);
    let weights = View::rows(layer.weights, inputs);
    product((net.rows, inputs, units), View::rows(dz, units), weights, |n, i, sum| {
        // SAFETY: n < rows and i < inputs; a layer that skips has as many inputs as units.
        unsafe {
            let through = if layer.skip { *dh.add(n * inputs + i) } else { 0.0 };
            *to.add(n * inputs + i) = sum + through;
        }
    });
}

/// From [`DH`] of the last layer backwards: fills [`DZ`] and [`DH`] of every layer, and, unless it is null,
/// `to_input` `[rows, inputs]` with the gradient of the input.
///
/// # Safety
/// - All threads of the block arrive, after a barrier behind [`forward`] and the writing of the last [`DH`].
#[inline(always)]
pub unsafe fn backward(net: &Net, to_input: *mut f32) {
    let mut l = net.layers;
    while l > 0 {
        l -= 1;
        let layer = net.layer(l);
        let (z, dz, dh) = (net.at(Z, &layer), net.at(DZ, &layer), net.at(DH, &layer));
        share(net.rows * layer.units, |e| *dz.add(e) = *dh.add(e) * layer.slope(*z.add(e)));
        thread::sync_threads();
        let to = if l == 0 { to_input } else { net.at(DH, &net.layer(l - 1)) };
        if !to.is_null() {
            pull(net, &layer, 0, to);
        }
    }
}

/// What the networks are to say: classes (`labels` is not null) or numbers.
#[derive(Clone, Copy)]
pub struct Target {
    /// A class for each row, or null.
    pub labels: *const u32,
    /// `outputs` numbers for each row; read without labels.
    pub values: *const f32,
}

/// The gradient of the mean loss, cross-entropy for classes and squared error for numbers, to [`DH`] of the last layer.
///
/// # Safety
/// - All threads of the block arrive after [`forward`]; `target` has the rows, and labels below the outputs.
#[inline(always)]
pub unsafe fn loss_gradient(net: &Net, target: Target) {
    let layer = net.layer(net.layers - 1);
    let outputs = layer.units;
    let (h, dh) = (net.at(H, &layer), net.at(DH, &layer));
    share(net.rows, |n| {
        let (h, dh) = (h.add(n * outputs), dh.add(n * outputs));
        if target.labels.is_null() {
            let scale = 2.0 / (net.rows * outputs) as f32;
            let mut o = 0;
            while o < outputs {
                *dh.add(o) = (*h.add(o) - *target.values.add(n * outputs + o)) * scale;
                o += 1;
            }
        } else {
            let label = *target.labels.add(n) as usize;
            let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
            let mut o = 0;
            while o < outputs {
                let v = *h.add(o);
                max = if v > max { v } else { max };
                o += 1;
            }
            o = 0;
            while o < outputs {
                sum += exp(*h.add(o) - max);
                o += 1;
            }
            o = 0;
            while o < outputs {
                let hit = if o == label { 1.0 } else { 0.0 };
                *dh.add(o) = (exp(*h.add(o) - max) / sum - hit) / net.rows as f32;
                o += 1;
            }
        }
    });
    thread::sync_threads();
}
