//! Tensor maps: tiles in every swizzle, beyond every edge, in up to five dimensions, stored and reduced.

use super::rig::*;
use ptx_sim::{LaunchConfig, Swizzle, TensorMap, TensorMapType};

pub const F32: TensorMapType = TensorMapType::F32;

/// A tensor in global memory whose rows are padded to 16 bytes and a bit; the padding is uninitialised.
pub struct Tensor<T> {
    address: u64,
    /// Innermost first.
    dims: Vec<usize>,
    /// Distances in elements.
    strides: Vec<usize>,
    values: Vec<T>,
    map: Vec<u8>,
}

impl Tensor<f32> {
    /// A tensor of random numbers.
    pub fn random(r: &mut Rig, ty: TensorMapType, dims: &[usize], boxes: &[u32], swizzle: u32) -> Self {
        let values = r.random.f32s(dims.iter().product(), -1.0, 1.0);
        Tensor::from_words(r, ty, &values, dims, boxes, swizzle)
    }
}

impl<T: Pod + Default> Tensor<T> {
    /// A tensor of these values.
    pub fn from_words(
        r: &mut Rig,
        ty: TensorMapType,
        values: &[T],
        dims: &[usize],
        boxes: &[u32],
        swizzle: u32,
    ) -> Self {
        let chunk = 16 / size_of::<T>();
        let mut strides = vec![1];
        for (d, n) in dims.iter().enumerate() {
            let dense = strides[d] * n;
            strides.push(if d == 0 {
                dense.next_multiple_of(chunk) + chunk * r.random.below(2)
            } else {
                dense
            });
        }
        let address = r.room::<T>(strides[dims.len()]);
        let byte_strides: Vec<u64> =
            strides[1..dims.len()].iter().map(|s| (s * size_of::<T>()) as u64).collect();
        let sizes: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
        let swizzle = match swizzle {
            32 => Swizzle::Bytes32,
            64 => Swizzle::Bytes64,
            128 => Swizzle::Bytes128,
            _ => Swizzle::None,
        };
        let map = TensorMap::builder(ty, address, &sizes, &byte_strides, boxes).swizzle(swizzle).build();
        let map = map.unwrap_or_else(|e| panic!("{e}")).encode().to_vec();
        let t = Tensor { address, dims: dims.to_vec(), strides, values: values.to_vec(), map };
        for row in 0..values.len() / dims[0] {
            let mut raw = Vec::new();
            values[row * dims[0]..(row + 1) * dims[0]].iter().for_each(|v| v.bytes(&mut raw));
            r.sim.write(t.row(row), &raw).unwrap_or_else(|e| panic!("{e}"));
        }
        t
    }

    /// Address of a row, counted over all other dimensions.
    fn row(&self, mut row: usize) -> u64 {
        let mut at = 0;
        for d in 1..self.dims.len() {
            at += row % self.dims[d] * self.strides[d];
            row /= self.dims[d];
        }
        self.address + (at * size_of::<T>()) as u64
    }

    /// The map, as an argument.
    pub fn map(&self) -> Vec<u8> {
        self.map.clone()
    }

    /// The value it was made with; zero outside.
    pub fn at(&self, index: &[i64]) -> T {
        let (mut at, mut step) = (0, 1);
        for (&i, &d) in index.iter().zip(&self.dims) {
            match usize::try_from(i) {
                Ok(i) if i < d => at += i * step,
                _ => return T::default(),
            }
            step *= d;
        }
        self.values[at]
    }

    /// What it holds now.
    pub fn get(&self, r: &Rig) -> Vec<T> {
        (0..self.values.len() / self.dims[0])
            .flat_map(|row| r.get::<T>(self.row(row), self.dims[0]))
            .collect()
    }

    /// Index of an element by its place in [`Tensor::get`].
    fn index(&self, mut at: usize) -> Vec<i64> {
        let mut out = Vec::new();
        for d in &self.dims {
            out.push((at % d) as i64);
            at /= d;
        }
        out
    }
}

fn through(kernel: &str, columns: usize, swizzle: u32) {
    each(kernels!("tensormap", sm_90a), |r| {
        let [w, h, w_out, h_out] = [90, 50, 90, 50].map(|most| 1 + r.random.below(most));
        let boxes = [columns as u32, 16];
        let from = Tensor::random(r, F32, &[w, h], &boxes, swizzle);
        let to = Tensor::random(r, F32, &[w_out, h_out], &boxes, swizzle);
        let (gx, gy) = (1 + r.random.below(3), 1 + r.random.below(3));
        let shift = [0; 2].map(|_| r.random.below(40) as i64 - 20);
        let dump = r.room::<f32>(gx * gy * 16 * columns);
        let config = LaunchConfig::new([gx as u32, gy as u32, 1], [64, 1, 1]);
        r.run(kernel, config, args![from.map(), to.map(), dump, shift[0] as i32, shift[1] as i32]);
        let tile = 16 * columns;
        let want: Vec<f32> = (0..gx * gy * tile)
            .map(|i| {
                let (b, row, column) = (i / tile, i % tile / columns, i % columns);
                let (x, y) = (b % gx * columns + column, b / gx * 16 + row);
                from.at(&[x as i64 + shift[0], y as i64 + shift[1]])
            })
            .collect();
        same(&r.get::<f32>(dump, want.len()), &want);
        let covered = |v: i64, most: usize| (0..most as i64).contains(&v);
        let want: Vec<f32> = (0..w_out * h_out)
            .map(|i| {
                let at = to.index(i);
                let inside = covered(at[0] - shift[0], gx * columns) && covered(at[1] - shift[1], gy * 16);
                if inside { 2.0 * from.at(&at) + 1.0 } else { to.at(&at) }
            })
            .collect();
        same(&to.get(r), &want);
    });
}

#[test]
fn tiles_without_a_swizzle() {
    through("tile_plain", 12, 0);
}

#[test]
fn tiles_in_the_32_byte_swizzle() {
    through("tile_32", 8, 32);
}

#[test]
fn tiles_in_the_64_byte_swizzle() {
    through("tile_64", 16, 64);
}

#[test]
fn tiles_in_the_128_byte_swizzle() {
    through("tile_128", 32, 128);
}

#[test]
fn volumes_are_added() {
    each(kernels!("tensormap", sm_90a), |r| {
        let draw = |r: &mut Rig| [20, 12, 6].map(|most| 1 + r.random.below(most));
        let (d_in, d_out) = (draw(r), draw(r));
        let make = |r: &mut Rig, d: [usize; 3]| {
            let values = r.random.u32s(d.iter().product());
            Tensor::from_words(r, TensorMapType::U32, &values, &d, &[8, 4, 2], 0)
        };
        let (from, to) = (make(r, d_in), make(r, d_out));
        let grid = [3, 3, 3].map(|most| 1 + r.random.below(most) as u32);
        r.run("volume_add", LaunchConfig::new(grid, [32, 1, 1]), args![from.map(), to.map()]);
        let want: Vec<u32> = (0..to.values.len())
            .map(|i| {
                let at = to.index(i);
                let inside =
                    at[0] < 8 * grid[0] as i64 && at[1] < 4 * grid[1] as i64 && at[2] < 2 * grid[2] as i64;
                let add = from.at(&at).wrapping_mul(3).wrapping_add(1);
                to.at(&at).wrapping_add(if inside { add } else { 0 })
            })
            .collect();
        same(&to.get(r), &want);
    });
}

#[test]
fn five_dimensions() {
    each(kernels!("tensormap", sm_90a), |r| {
        let dims = [12, 4, 5, 3, 4].map(|most| 1 + r.random.below(most));
        let values = r.random.list(dims.iter().product(), |r| r.u32() as u16);
        let boxes = [8usize, 2, 3, 2, 2];
        let tensor = Tensor::from_words(r, TensorMapType::U16, &values, &dims, &boxes.map(|b| b as u32), 0);
        let map = r.put(&tensor.map());
        let out = r.room::<u16>(192);
        let c = [10, 5, 6, 4, 5].map(|most| r.random.below(most) as i32 - 2);
        r.run("five_dimensions", line(1, 64), args![map, out, c[0], c[1], c[2], c[3], c[4]]);
        let want: Vec<u16> = (0..192usize)
            .map(|mut i| {
                let at: Vec<i64> = (0..5)
                    .map(|d| {
                        let k = i % boxes[d];
                        i /= boxes[d];
                        k as i64 + c[d] as i64
                    })
                    .collect();
                tensor.at(&at)
            })
            .collect();
        same(&r.get::<u16>(out, 192), &want);
    });
}
