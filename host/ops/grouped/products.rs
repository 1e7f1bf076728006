//! Grouped matrix products: `C <- epilogue(op(A) op(B) + beta D)` for many products of one form at once.
//!
//! Products are sorted into two buckets by shape: those with more than 32 rows and columns take the tile of 64 x 64, the
//! others that of 32 x 32, and all do where there are too few large ones to fill a GPU. A bucket is one launch. Neither the
//! bucket nor what else is in it changes a product's bits.
//!
//! Tiles are listed product by product, except that products with the same A are taken together, tile row by tile row: the
//! first layers of the networks that share a minibatch are one wide product whose blocks read the same rows of A one after
//! the other.

use std::collections::HashMap;

use gpu_kernels::gemm::{MEDIUM, SMALL, Tile};
use gpu_kernels::grouped::products as kernels;

use super::{Numbers, Slot, Table, elements, half, invalid, tensor, word};
use crate::device::{DType, Device, DeviceError, Launch};
use crate::kernel;
use crate::ops::activation::Activation;
use crate::ops::matmul::MULTIPROCESSORS;

/// Which operand is read transposed, and what happens to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `A Bᵀ`, a layer forward; M is the live number of rows. Epilogue: bias and activation.
    Forward,
    /// `A B`, the gradient of a layer's input; M is the live number of rows. Epilogue: an activation's derivative.
    Input,
    /// `Aᵀ B`, the gradient of a weight; K is the live number of rows.
    Weight,
}

/// The tensor beside C.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// Takes what comes before the activation ([`Form::Forward`]).
    Store(Slot),
    /// What the activation's derivative is taken at ([`Form::Input`]).
    Derivative(Slot),
}

/// `beta D`, added to the sums; D has C's extents, and may be C.
#[derive(Clone, Copy, Debug)]
pub struct Addend {
    /// D.
    pub tensor: Slot,
    /// Its factor.
    pub beta: f32,
}

/// One product. Matrices are row-major and contiguous; C is `m x n`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// `m x k`, or `k x m` in [`Form::Weight`].
    pub a: Slot,
    /// `n x k` in [`Form::Forward`], else `k x n`.
    pub b: Slot,
    /// `m x n`.
    pub c: Slot,
    /// Rows of C; the capacity where they are live.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums; the capacity where it is live.
    pub k: usize,
    /// Slot in the live table.
    pub slot: usize,
    /// Whether A begins at the live offset.
    pub shift: bool,
    /// Added to every row ([`Form::Forward`]).
    pub bias: Option<Slot>,
    /// Applied to the sums ([`Form::Forward`]), or the one whose derivative multiplies them ([`Form::Input`]).
    pub activation: Activation,
    /// The tensor beside C.
    pub side: Option<Side>,
    /// Added to the sums first.
    pub addend: Option<Addend>,
}

impl Product {
    /// The entry of the table. Errors: extents too large, tensors too small, an epilogue that the form does not have.
    fn words(&self, form: Form) -> Result<[u64; kernels::PRODUCT_WORDS], DeviceError> {
        const NAME: &str = "grouped product";
        let Product { m, n, k, .. } = *self;
        let extent =
            |what, x| if x == 0 { Err(invalid(NAME, "an extent of 0")) } else { half(NAME, what, x) };
        let (m32, n32, k32) = (extent("m", m)?, extent("n", n)?, extent("k", k)?);
        let real = |what: &str, slot, need| tensor(NAME, what, slot, DType::F32, need);
        let inside = elements(NAME, "C", m, n)?;
        let (lda, ldb, flags) = match form {
            Form::Forward => (k32, k32, kernels::ROWS_M),
            Form::Input => (k32, n32, kernels::ROWS_M),
            Form::Weight => (m32, n32, kernels::ROWS_K),
        };
        let shift = if self.shift { kernels::SHIFT_A } else { 0 };
        let side = match (form, self.side) {
            (Form::Forward, Some(Side::Store(s))) | (Form::Input, Some(Side::Derivative(s))) => {
                real("the tensor beside C", s, inside)?
            }
            (_, None) => 0,
            (form, Some(side)) => return Err(invalid(NAME, format!("{side:?} of a product {form:?}"))),
        };
        let bias = match (form, self.bias) {
            (Form::Forward, Some(bias)) => real("the bias", bias, n)?,
            (_, None) => 0,
            _ => return Err(invalid(NAME, format!("a bias of a product {form:?}"))),
        };
        let (addend, beta) = match self.addend {
            Some(d) => (real("D", d.tensor, inside)?, d.beta),
            None => (0, 0.0),
        };
        let activation = self.activation;
        Ok([
            real("A", self.a, elements(NAME, "A", m, k)?)?,
            real("B", self.b, elements(NAME, "B", n, k)?)?,
            real("C", self.c, inside)?,
            bias,
            side,
            addend,
            word(m32, n32),
            word(k32, half(NAME, "slot", self.slot)?),
            word(lda, ldb),
            word(n32, flags | shift),
            word(activation.param().to_bits(), activation.kind()),
            u64::from(beta.to_bits()),
        ])
    }

    fn is_large(&self) -> bool {
        self.m > SMALL.bm as usize && self.n > SMALL.bn as usize
    }

    fn tiles(&self, t: Tile) -> (usize, usize) {
        (self.m.div_ceil(t.bm as usize), self.n.div_ceil(t.bn as usize))
    }
}

/// The products of one form; see the module's docs.
#[derive(Debug)]
pub struct Products {
    form: Form,
    small: Option<Table>,
    medium: Option<Table>,
}

impl Products {
    /// The tables of `products` on `device`. Errors: those of a product; no memory.
    pub fn new(device: &Device, form: Form, products: &[Product]) -> Result<Products, DeviceError> {
        Products::bucketed(device, form, products, MULTIPROCESSORS)
    }

    /// The same, with the large tile for large products if these are at least `fill` blocks of it; `new` takes as many as fill
    /// an H100.
    pub fn bucketed(
        device: &Device,
        form: Form,
        products: &[Product],
        fill: usize,
    ) -> Result<Products, DeviceError> {
        let large = products.iter().filter(|p| p.is_large());
        let blocks: usize = large.map(|p| p.tiles(MEDIUM)).map(|(rows, cols)| rows * cols).sum();
        let fills = blocks >= fill;
        let (mut large, mut rest) = (vec![], vec![]);
        for p in products {
            if fills && p.is_large() { large.push(*p) } else { rest.push(*p) }
        }
        Ok(Products {
            form,
            small: bucket(device, form, SMALL, &rest)?,
            medium: bucket(device, form, MEDIUM, &large)?,
        })
    }

    /// Computes all products: a launch a bucket.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        macro_rules! run {
            ($table:expr, $tile:ident, $($form:ident $kernel:ident),*) => {
                if let Some(table) = $table {
                    let shape = Launch::new(table.blocks, $tile.threads());
                    let args = (live.0, &table.problems, &table.tasks);
                    match self.form {
                        $(Form::$form => device.launch(kernel!(grouped::products::$kernel), shape, args)?,)*
                    }
                }
            };
        }
        run!(&self.medium, MEDIUM, Forward grouped_nt_64, Input grouped_nn_64, Weight grouped_tn_64);
        run!(&self.small, SMALL, Forward grouped_nt_32, Input grouped_nn_32, Weight grouped_tn_32);
        Ok(())
    }

    /// Launches of [`launch`](Products::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.small.is_some()) + usize::from(self.medium.is_some())
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        [&self.small, &self.medium].into_iter().flatten().map(Table::bytes).sum()
    }
}

/// The table of one bucket: tiles in the order of the module's docs.
fn bucket(
    device: &Device,
    form: Form,
    tile: Tile,
    products: &[Product],
) -> Result<Option<Table>, DeviceError> {
    const NAME: &str = "grouped product";
    let mut problems = vec![];
    // Products by their A, in order of appearance.
    let (mut order, mut index) = (Vec::<Vec<usize>>::new(), HashMap::new());
    for (i, p) in products.iter().enumerate() {
        problems.extend(p.words(form)?);
        let (rows, cols) = p.tiles(tile);
        if rows.max(cols) > 1 << 16 {
            return Err(invalid(NAME, format!("{} x {} results; train that network alone", p.m, p.n)));
        }
        let group =
            *index.entry((p.a.address, p.shift, p.slot * usize::from(p.shift))).or_insert(order.len());
        if group == order.len() {
            order.push(vec![]);
        }
        order[group].push(i);
    }
    let mut tasks = vec![];
    for group in order {
        let rows = group.iter().map(|&i| products[i].tiles(tile).0).max().unwrap_or(0);
        for row in 0..rows {
            for &i in &group {
                let (rows, cols) = products[i].tiles(tile);
                if row < rows {
                    tasks.extend((0..cols).map(|col| kernels::tile_task(i as u32, row as u32, col as u32)));
                }
            }
        }
    }
    Table::new(device, NAME, &problems, &tasks)
}
