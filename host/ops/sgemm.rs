//! The matrix product on `cpu`, f32: `C <- act(alpha op(A) op(B) + beta C + bias)`.
//!
//! K is cut into blocks; of each, op(B) is copied into panels of two registers' width (k outermost, padded with zeros),
//! then a micro-tile of up to [`Simd::ROWS`] rows by one panel is computed in registers, with op(A) read in place. Panels
//! live in the workspace that the caller brings, so nothing is allocated: the reason for not calling a crate here. Where
//! both operands have k outermost already, as for a small layer's weight gradient, op(B) is read in place too. The epilogue
//! runs on a block of rows while it is in cache.
//!
//! Every element of C is one chain of multiply-adds in increasing k, interrupted at the same places whatever the split:
//! the bits do not depend on the number of threads.

use super::activation::Activation;
use super::cpu::simd;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Portable, Simd};

/// The deepest block of K: a panel of 32 columns then takes 32 KiB, two thirds of a first-level cache.
const DEPTH: usize = 256;
/// Rows of A that stay in the second-level cache while all panels pass by (x DEPTH x 4 bytes = 112 KiB).
const ROWS: usize = 112;
/// Floats of B, from a block's first row to its last, up to which panels may be read in place: 64 KiB.
const IN_PLACE: usize = 1 << 14;
/// Columns of the widest panel of any instruction set; the workspace is laid out for it.
const PANEL: usize = 32;
/// Multiply-adds that are worth a second thread.
const PER_THREAD: usize = 1 << 21;
/// Most threads that split the rows, each with panels of its own.
const ROW_PARTS: usize = 8;

/// One product. A is `m x k` with `a(i, p) = a[i * a_row + p * a_k]` where one of the strides is 1; so is B, `k x n` with
/// `b(p, j) = b[p * b_k + j * b_col]`; C is row-major and contiguous.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: &'a [f32],
    pub a_row: usize,
    pub a_k: usize,
    pub b: &'a [f32],
    pub b_k: usize,
    pub b_col: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
}

/// Whether threads split the rows (else the columns). A question of shape alone.
fn by_rows(m: usize, n: usize) -> bool {
    n < 4 * PANEL && m >= 4 * n.min(64)
}

/// Depth of the blocks of K: equal ones, none deeper than [`DEPTH`].
fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH))
}

/// Floats of workspace for a product of this shape.
pub(super) fn workspace(m: usize, n: usize, k: usize) -> usize {
    let copies = if by_rows(m, n) && m * n * k > PER_THREAD { ROW_PARTS } else { 1 };
    copies * depth(k) * n.next_multiple_of(PANEL)
}

/// A part of C: rows `i0 .. i1`, columns `j0 .. j1`.
#[derive(Clone, Copy)]
struct Part {
    i0: usize,
    i1: usize,
    j0: usize,
    j1: usize,
}

/// C, shared among threads that write disjoint parts.
#[derive(Clone, Copy)]
struct Out(*mut f32);
// SAFETY: parts are disjoint, and the slice it comes from is borrowed mutably for the whole product.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// Computes the product into `c`. `space` has the floats that [`workspace`] says.
pub(super) fn sgemm(x: &Product<'_>, c: &mut [f32], space: &mut [f32]) {
    let (last_a, last_b) = ((x.m - 1) * x.a_row + (x.k - 1) * x.a_k, (x.k - 1) * x.b_k + (x.n - 1) * x.b_col);
    assert!(last_a < x.a.len() && last_b < x.b.len() && c.len() == x.m * x.n, "operands of a matrix product");
    assert!(x.bias.is_none_or(|b| b.len() == x.n) && space.len() >= workspace(x.m, x.n, x.k));
    assert!((x.a_row == 1 || x.a_k == 1) && (x.b_k == 1 || x.b_col == 1));
    let work = x.m * x.n * x.k;
    let most = if by_rows(x.m, x.n) { ROW_PARTS } else { x.n.div_ceil(PANEL) };
    let parts = if work < 2 * PER_THREAD {
        1
    } else {
        (work / PER_THREAD).min(rayon::current_num_threads()).min(most)
    };
    split(x, Out(c.as_mut_ptr()), Part { i0: 0, i1: x.m, j0: 0, j1: x.n }, space, parts);
}

/// Halves `part` until there are `parts`, each on its own thread where there are some.
fn split(x: &Product<'_>, c: Out, part: Part, space: &mut [f32], parts: usize) {
    if parts < 2 {
        return leaf(x, c, part, space);
    }
    let left = parts / 2;
    let (one, other, cut) = if by_rows(x.m, x.n) {
        let middle = part.i0 + (part.i1 - part.i0) * left / parts;
        (Part { i1: middle, ..part }, Part { i0: middle, ..part }, space.len() * left / parts)
    } else {
        let panels = (part.j1 - part.j0).div_ceil(PANEL) * left / parts;
        let middle = part.j0 + panels * PANEL;
        (Part { j1: middle, ..part }, Part { j0: middle, ..part }, depth(x.k) * panels * PANEL)
    };
    let (space_one, space_other) = space.split_at_mut(cut);
    rayon::join(|| split(x, c, one, space_one, left), || split(x, c, other, space_other, parts - left));
}

/// One thread's part, with the best instruction set of the machine.
fn leaf(x: &Product<'_>, c: Out, part: Part, space: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature is there; `sgemm` checked the operands.
            return unsafe { avx512(x, c, part, space) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(x, c, part, space) };
        }
    }
    // SAFETY: needs no feature; `sgemm` checked the operands.
    unsafe { blocks::<Portable>(x, c, part, space) }
}

/// # Safety
/// - The machine has AVX-512F; otherwise as [`blocks`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(x: &Product<'_>, c: Out, part: Part, space: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe { blocks::<Avx512>(x, c, part, space) }
}

/// # Safety
/// - The machine has AVX2 and FMA; otherwise as [`blocks`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(x: &Product<'_>, c: Out, part: Part, space: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe { blocks::<Avx2>(x, c, part, space) }
}

/// The loops around the micro-tile.
///
/// # Safety
/// - The machine has `S`; the operands cover what `x` says and `part` lies in C; nobody else accesses that part of C;
///   `space` has `depth(k)` floats for each column of `part`, rounded up to [`PANEL`].
#[inline(always)]
unsafe fn blocks<S: Simd>(x: &Product<'_>, c: Out, part: Part, space: &mut [f32]) {
    let width = 2 * S::LANES;
    let step = depth(x.k);
    let mut p0 = 0;
    while p0 < x.k {
        let kc = step.min(x.k - p0);
        let mut j = part.j0;
        while j < part.j1 {
            let cols = width.min(part.j1 - j);
            if !in_place::<S>(x, kc, cols) {
                // SAFETY: `j - j0` is a multiple of the panel's width, so panel after panel fills `space` from the front.
                unsafe { pack::<S>(x, p0, kc, j, cols, space.as_mut_ptr().add((j - part.j0) * kc)) };
            }
            j += width;
        }
        let mut i0 = part.i0;
        while i0 < part.i1 {
            let rows = ROWS.min(part.i1 - i0);
            let mut j = part.j0;
            while j < part.j1 {
                let cols = width.min(part.j1 - j);
                let (panel, ld) = if in_place::<S>(x, kc, cols) {
                    (x.b[p0 * x.b_k + j..].as_ptr(), x.b_k)
                } else {
                    (space[(j - part.j0) * kc..].as_ptr(), if cols > S::LANES { width } else { S::LANES })
                };
                let mut i = i0;
                while i < i0 + rows {
                    let height = height(i0 + rows - i, S::ROWS);
                    // SAFETY: the tile lies in `part`; its panel was packed above, or B has it.
                    unsafe { Tile { i, j, p0, kc, rows: height, cols, ld }.run::<S>(x, c, panel) };
                    i += height;
                }
                j += width;
            }
            if p0 + kc == x.k && x.activation != Activation::Identity {
                // Whole rows lie one after another: one call for all.
                let (n, width) = (x.n, part.j1 - part.j0);
                let (count, len) = if width == n { (1, rows * n) } else { (rows, width) };
                for i in i0..i0 + count {
                    // SAFETY: a row of `part`, or all of its rows i0.. .
                    let y = unsafe { std::slice::from_raw_parts_mut(c.0.add(i * n + part.j0), len) };
                    activate(x.activation, y);
                }
            }
            i0 += rows;
        }
        p0 += kc;
    }
}

/// Whether `cols` columns of op(B), whole registers, are read where they are and not from a packed panel. Only with
/// k outermost in op(A) too: one more stride than A's rows have is too many for rustc 1.95, which then spills accumulators.
#[inline(always)]
fn in_place<S: Simd>(x: &Product<'_>, kc: usize, cols: usize) -> bool {
    x.a_k != 1 && x.b_col == 1 && cols.is_multiple_of(S::LANES) && kc * x.b_k <= IN_PLACE
}

/// Rows of the next micro-tile when `left` are left: `most`, or what is left, but two halves instead of `most` and a few
/// (too few accumulators to hide the latency of a multiply-add), and instead of 11 to 13. (There rustc 1.95 keeps vectors of
/// row addresses and spills accumulators, at a third of the speed; at 14 it does not.)
fn height(left: usize, most: usize) -> usize {
    if left == most || left >= most + 4 {
        most
    } else if left > most.min(10) {
        left.div_ceil(2)
    } else {
        left
    }
}

/// Copies rows `p0 .. p0 + kc`, columns `j .. j + cols` of op(B) to `panel`, whose rows have one or two registers.
///
/// # Safety
/// - As [`blocks`]; `panel` has room for `kc` rows.
#[inline(always)]
unsafe fn pack<S: Simd>(x: &Product<'_>, p0: usize, kc: usize, j: usize, cols: usize, panel: *mut f32) {
    let lanes = S::LANES;
    let ld = if cols > lanes { 2 * lanes } else { lanes };
    // SAFETY: element (p0 + p, j + col) exists for p < kc, col < cols; whole registers are read only where all exist.
    unsafe {
        let b = x.b.as_ptr().add(p0 * x.b_k + j * x.b_col);
        if x.b_col == 1 {
            for p in 0..kc {
                let (from, to) = (b.add(p * x.b_k), panel.add(p * ld));
                S::store(to, S::load_first(from, cols.min(lanes)));
                if ld > lanes {
                    S::store(to.add(lanes), S::load_first(from.add(lanes), cols - lanes));
                }
            }
        } else {
            let mut col = 0;
            while col < ld {
                let rows = lanes.min(cols - col);
                let mut p = 0;
                while p + lanes <= kc {
                    let (from, to) = (b.add(col * x.b_col + p), panel.add(p * ld + col));
                    // A block that is whole has no branches.
                    if rows == lanes {
                        S::transpose(from, x.b_col, S::LANES, to, ld);
                    } else {
                        S::transpose(from, x.b_col, rows, to, ld);
                    }
                    p += lanes;
                }
                for p in p..kc {
                    for l in col..col + lanes {
                        *panel.add(p * ld + l) = if l < cols { *b.add(l * x.b_col + p) } else { 0.0 };
                    }
                }
                col += lanes;
            }
        }
    }
}

/// A micro-tile: `rows` by `cols` of C at (`i`, `j`), over `p0 .. p0 + kc`.
#[derive(Clone, Copy)]
struct Tile {
    i: usize,
    j: usize,
    p0: usize,
    kc: usize,
    rows: usize,
    cols: usize,
    /// Floats between the rows of the panel: the tile's registers, or more where `KC` is false.
    ld: usize,
}

impl Tile {
    /// Picks the instance for the number of rows, registers a row, and layout of A.
    ///
    /// # Safety
    /// - As [`blocks`]; the tile lies in the part, `rows <= S::ROWS`, `panel` is packed for it.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, x: &Product<'_>, c: Out, panel: *const f32) {
        macro_rules! pick {
            ($($rows:literal)*) => {
                match self.rows {
                    // SAFETY: the caller's contract.
                    $($rows if $rows <= S::ROWS => unsafe {
                        match (self.cols > S::LANES, x.a_k == 1) {
                            (true, true) => self.micro::<S, $rows, 2, true>(x, c, panel),
                            (true, false) => self.micro::<S, $rows, 2, false>(x, c, panel),
                            (false, true) => self.micro::<S, $rows, 1, true>(x, c, panel),
                            (false, false) => self.micro::<S, $rows, 1, false>(x, c, panel),
                        }
                    },)*
                    _ => unreachable!("micro-tiles have at most {} rows", S::ROWS),
                }
            };
        }
        pick!(1 2 3 4 5 6 7 8 9 10 14);
    }

    /// `R` rows of `V` registers. `KC`: A is contiguous along k.
    ///
    /// # Safety
    /// - As [`run`](Tile::run), with `R == rows`.
    #[allow(clippy::needless_range_loop)] // the indices name registers
    #[inline(always)]
    unsafe fn micro<S: Simd, const R: usize, const V: usize, const KC: bool>(
        self,
        x: &Product<'_>,
        c: Out,
        panel: *const f32,
    ) {
        if R > S::ROWS {
            return; // never: keeps instances that spill out of the program
        }
        // SAFETY: the caller's contract: every address below is an element of A, of the panel, or of C.
        unsafe {
            let (row, step) = if KC { (x.a_row, 1) } else { (1, x.a_k) };
            let mut a = x.a.as_ptr().add(self.i * row + self.p0 * step);
            let mut b = panel;
            let ld = if KC { V * S::LANES } else { self.ld };
            let mut acc = [[S::zero(); V]; R];
            macro_rules! multiply {
                ($a:expr) => {
                    let from: *const f32 = $a;
                    let mut w = [S::zero(); V];
                    for v in 0..V {
                        w[v] = S::load(b.add(v * S::LANES));
                    }
                    for i in 0..R {
                        let s = S::splat(*from.add(i * row));
                        for v in 0..V {
                            acc[i][v] = S::fma(s, w[v], acc[i][v]);
                        }
                    }
                    b = b.add(ld);
                };
            }
            for _ in 0..self.kc / 4 {
                multiply!(a);
                multiply!(a.add(step));
                multiply!(a.add(2 * step));
                multiply!(a.add(3 * step));
                a = a.add(4 * step);
            }
            for _ in 0..self.kc % 4 {
                multiply!(a);
                a = a.add(step);
            }

            // The epilogue indexes a copy: were it the accumulators themselves, they would live in memory throughout.
            let mut sums = [[S::zero(); V]; R];
            for i in 0..R {
                for v in 0..V {
                    sums[i][v] = acc[i][v];
                }
            }
            let (first, last) = (self.p0 == 0, self.p0 + self.kc == x.k);
            let (alpha, beta) = (S::splat(x.alpha), S::splat(x.beta));
            for v in 0..V {
                let cols = S::LANES.min(self.cols - v * S::LANES);
                let j = self.j + v * S::LANES;
                let bias = match x.bias {
                    Some(bias) if last => S::load_first(bias.as_ptr().add(j), cols),
                    _ => S::zero(),
                };
                for i in 0..R {
                    let to = c.0.add((self.i + i) * x.n + j);
                    let mut y = S::mul(alpha, sums[i][v]);
                    if !first {
                        y = S::add(S::load_first(to, cols), y);
                    } else if x.beta != 0.0 {
                        y = S::fma(beta, S::load_first(to, cols), y);
                    }
                    if last && x.bias.is_some() {
                        y = S::add(y, bias);
                    }
                    if cols == S::LANES { S::store(to, y) } else { S::store_first(to, cols, y) }
                }
            }
        }
    }
}

simd! {
    /// Applies `activation` in place: one loop for each, so that each vectorises.
    pub(super) fn activate(activation: Activation, y: &mut [f32]) {
        macro_rules! each {
            ($($kind:ident)*) => {
                match activation {
                    Activation::Identity => {}
                    Activation::LeakyRelu(p) => for v in y { *v = Activation::LeakyRelu(p).apply(*v) },
                    Activation::Elu(p) => for v in y { *v = Activation::Elu(p).apply(*v) },
                    $(Activation::$kind => for v in y { *v = Activation::$kind.apply(*v) },)*
                }
            };
        }
        each!(Relu Selu Gelu GeluTanh Silu Mish Sigmoid Tanh Softplus HardSwish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 1) from a linear congruential generator.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        let mut next = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Calls `body` with products of many shapes, strides and epilogues: (product, C before, C after as the sum in f64).
    fn cases(mut body: impl FnMut(&Product<'_>, &[f32], &[f64])) {
        let shapes =
            [(1, 1, 1), (3, 5, 7), (14, 32, 256), (13, 33, 257), (70, 10, 64), (29, 67, 600), (300, 20, 40)];
        for (case, (m, n, k)) in shapes.into_iter().enumerate() {
            for t in 0..4 {
                let seed = (4 * case + t) as u32;
                let (a, b) = (numbers(m * k, seed), numbers(k * n, seed + 100));
                let (c, bias) = (numbers(m * n, seed + 200), numbers(n, seed + 300));
                let (a_row, a_k) = if t & 1 == 0 { (k, 1) } else { (1, m) };
                let (b_k, b_col) = if t & 2 == 0 { (n, 1) } else { (1, k) };
                let (alpha, beta) = [(1.0, 0.0), (0.5, 1.0), (1.0, -0.25), (-1.5, 0.0)][t];
                let bias = (case % 2 == 0).then_some(&bias[..]);
                let activation = if case % 3 == 0 { Activation::Relu } else { Activation::Identity };
                let (a, b) = (&a[..], &b[..]);
                let x = Product { m, n, k, a, a_row, a_k, b, b_k, b_col, alpha, beta, bias, activation };
                let mut want = vec![0.0; m * n];
                for i in 0..m {
                    for j in 0..n {
                        let terms = (0..k)
                            .map(|p| f64::from(a[i * a_row + p * a_k]) * f64::from(b[p * b_k + j * b_col]));
                        let sum =
                            f64::from(alpha) * terms.sum::<f64>() + f64::from(beta) * f64::from(c[i * n + j]);
                        want[i * n + j] = activation.apply(sum + bias.map_or(0.0, |b| f64::from(b[j])));
                    }
                }
                body(&x, &c, &want);
            }
        }
    }

    fn check(x: &Product<'_>, got: &[f32], want: &[f64], what: &str) {
        for (e, (got, want)) in got.iter().zip(want).enumerate() {
            // k roundings of partial sums of magnitude sqrt(k), as a random walk; alpha is at most 1.5.
            let bound = f64::from(f32::EPSILON) * 4.0 * (x.k as f64 + 1.0);
            assert!((f64::from(*got) - want).abs() <= bound, "{what} {}x{}x{}: element {e}", x.m, x.n, x.k);
        }
    }

    #[test]
    fn every_instruction_set_of_this_machine_computes_the_product() {
        type Blocks = unsafe fn(&Product<'_>, Out, Part, &mut [f32]);
        let mut sets: Vec<(&str, Blocks)> = vec![("portable", blocks::<Portable>)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(("avx2", avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(("avx512", avx512));
            }
        }
        for (name, run) in sets {
            cases(|x, before, want| {
                let mut c = before.to_vec();
                // Stale workspace must not matter.
                let mut space = vec![f32::NAN; workspace(x.m, x.n, x.k)];
                let part = Part { i0: 0, i1: x.m, j0: 0, j1: x.n };
                // SAFETY: the instruction set is there, the product is well formed, `c` and `space` are ours alone.
                unsafe { run(x, Out(c.as_mut_ptr()), part, &mut space) };
                check(x, &c, want, name);
            });
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        cases(|x, before, want| {
            let mut one = before.to_vec();
            let part = Part { i0: 0, i1: x.m, j0: 0, j1: x.n };
            let copies = if by_rows(x.m, x.n) { ROW_PARTS } else { 1 };
            let mut space = vec![f32::NAN; copies * depth(x.k) * x.n.next_multiple_of(PANEL)];
            split(x, Out(one.as_mut_ptr()), part, &mut space, 1);
            check(x, &one, want, "split");
            let most = if by_rows(x.m, x.n) { ROW_PARTS } else { x.n.div_ceil(PANEL) };
            for parts in 2..=most {
                let mut many = before.to_vec();
                split(x, Out(many.as_mut_ptr()), part, &mut space, parts);
                assert!(one.iter().zip(&many).all(|(a, b)| a.to_bits() == b.to_bits()), "{parts} parts");
            }
        });
    }

    #[test]
    fn with_beta_zero_c_is_not_read() {
        cases(|x, before, want| {
            if x.beta == 0.0 {
                let mut c = vec![f32::NAN; before.len()];
                sgemm(x, &mut c, &mut vec![0.0; workspace(x.m, x.n, x.k)]);
                check(x, &c, want, "beta 0");
            }
        });
    }
}
