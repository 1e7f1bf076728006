//! One network on the chip: gather, forward, backward, update. Every function is called by the whole block, and ends with a
//! barrier: what it wrote may be read.

use cuda_std::prelude::*;
use cuda_std::{shared, shared_array};

use super::loss::Targets;
use super::product::{product, Operand};
use super::table::{row, Layer, Network, GLOBAL, HYPER_WORDS};
use super::{word, BLOCK};
use crate::activation;
use crate::collective::{group_all, quotient, Sum, LOG2_BLOCK};
use crate::optim::{clip_factor, Rule};
use crate::philox::{philox4x32_10, uniform};
use crate::ptx::{ld_shared_f32, shared_address, st_shared_f32};

/// Which dropout a pass draws. (An `Option` of the step would leave its words undefined where there is none, and the compiler
/// moves undefined words about.)
#[derive(Clone, Copy)]
pub struct Dropout {
    /// Whether elements are dropped at all: in training.
    pub on: bool,
    /// The step, low and high word.
    pub step: [u32; 2],
}

/// A network and where its block's shared memory begins.
#[derive(Clone, Copy)]
pub struct OnChip<'a> {
    /// Its description.
    pub net: &'a Network,
    base: u32,
}

/// Copies the network's parameters and moments to the chip, or back.
#[derive(Clone, Copy, PartialEq)]
pub enum Transfer {
    /// From global to shared memory.
    In,
    /// From shared to global memory.
    Out,
}

impl OnChip<'_> {
    /// `net` in this block's dynamic shared memory.
    #[inline(always)]
    pub fn new(net: &Network) -> OnChip<'_> {
        // SAFETY: the pointer is that of the dynamic shared memory.
        OnChip { net, base: unsafe { shared_address(shared::dynamic_shared_mem::<f32>()) } }
    }

    /// The shared address of word `at`.
    #[inline(always)]
    fn place(&self, at: u32) -> u32 {
        word(self.base, at)
    }

    /// Layer `l` of the network.
    #[inline(always)]
    fn layer(&self, l: u32) -> &Layer {
        // SAFETY: l is below the network's depth, which is at most MAX_LAYERS.
        unsafe { self.net.layers.get_unchecked(l as usize) }
    }

    /// Address of layer `l`'s input: the minibatch, or the outputs of the layer before.
    #[inline(always)]
    fn input(&self, l: u32) -> u32 {
        self.place(if l == 0 { self.net.x_at } else { self.layer(l - 1).output_at })
    }

    /// Address of the last layer's outputs.
    #[inline(always)]
    pub fn outputs(&self) -> u32 {
        self.place(self.layer(self.net.depth - 1).output_at)
    }

    /// Address of the loss's derivative by a layer's outputs.
    #[inline(always)]
    pub fn gradient(&self) -> u32 {
        self.place(self.net.gradient_at)
    }

    /// Address of the first moment of parameter 0, in shared or global memory.
    #[inline(always)]
    fn moments(&self) -> *mut f32 {
        if self.net.moments_at == GLOBAL {
            (self.net.state as *mut f32).wrapping_add(self.net.parameters as usize)
        } else {
            shared::dynamic_shared_mem::<f32>().wrapping_add(self.net.moments_at as usize)
        }
    }

    /// Moves parameters and, where they live on the chip, moments.
    ///
    /// # Safety
    /// - The network's description is true; all threads of the block call it.
    #[inline(always)]
    pub unsafe fn copy(&self, way: Transfer) {
        let t = thread::thread_idx_x();
        let state = self.net.state as *mut f32;
        // SAFETY: the places and the state cover the network's parameters and moments; threads have different elements.
        unsafe {
            let move_one = |at: u32, i: u32| {
                let global = state.add(i as usize);
                match way {
                    Transfer::In => st_shared_f32(at, *global),
                    Transfer::Out => *global = ld_shared_f32(at),
                }
            };
            let mut l = 0;
            while l < self.net.depth {
                let layer = self.layer(l);
                let weights = layer.units * layer.fan_in;
                let mut i = t;
                while i < weights + layer.units {
                    let at = if i < weights {
                        let u = quotient(i, layer.fan_in);
                        layer.weight_at + u * row(layer.fan_in) + (i - u * layer.fan_in)
                    } else {
                        layer.bias_at + (i - weights)
                    };
                    move_one(self.place(at), layer.first + i);
                    i += BLOCK;
                }
                l += 1;
            }
            if self.net.moments_at != GLOBAL {
                let mut i = t;
                while i < self.net.parameters * self.net.moments {
                    move_one(self.place(self.net.moments_at + i), self.net.parameters + i);
                    i += BLOCK;
                }
            }
        }
        thread::sync_threads();
    }

    /// Copies `rows` samples of `x` to the chip.
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy); `x` has the samples that `targets` names.
    #[inline(always)]
    pub unsafe fn gather(&self, x: *const f32, targets: Targets, rows: u32) {
        let width = self.net.inputs;
        let to = self.place(self.net.x_at);
        let mut i = thread::thread_idx_x();
        while i < rows * width {
            let r = quotient(i, width);
            let j = i - r * width;
            // SAFETY: r < rows, j < width.
            unsafe {
                let value = *x.add(targets.sample(r) * width as usize + j as usize);
                st_shared_f32(word(to, r * row(width) + j), value);
            }
            i += BLOCK;
        }
        thread::sync_threads();
    }

    /// The outputs of every layer for the `rows` samples on the chip.
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy).
    #[inline(always)]
    pub unsafe fn forward(&self, rows: u32, dropout: Dropout) {
        let mut l = 0;
        while l < self.net.depth {
            let layer = self.layer(l);
            let (x, saved, bias) = (self.input(l), self.place(layer.saved_at), self.place(layer.bias_at));
            let a = Operand { at: x, outer: 4 * row(layer.fan_in), inner: 4 };
            let b = Operand { at: self.place(layer.weight_at), outer: 4 * row(layer.fan_in), inner: 4 };
            // SAFETY: all places lie in the layer's matrices; each element is one thread's.
            unsafe {
                product(a, b, [rows, layer.units, layer.fan_in], |r, u, sum| {
                    let z = sum + ld_shared_f32(word(bias, u));
                    st_shared_f32(word(saved, r * row(layer.units) + u), z);
                });
                thread::sync_threads();
                let outputs = self.place(layer.output_at);
                let keeps_output = activation::from_output(layer.activation, layer.activation_param);
                self.masked(layer, rows, dropout, |at, factor| {
                    let z = ld_shared_f32(word(saved, at));
                    let mut y = activation::apply(layer.activation, layer.activation_param, z);
                    if keeps_output {
                        st_shared_f32(word(saved, at), y);
                    }
                    // A choice, not a product with 0: an infinity that is dropped is 0.
                    y = if factor != 0.0 { y * factor } else { 0.0 };
                    if layer.skip != 0 {
                        y += ld_shared_f32(word(x, at));
                    }
                    st_shared_f32(word(outputs, at), y);
                });
            }
            thread::sync_threads();
            l += 1;
        }
    }

    /// Calls `each(place, factor)` for the elements of this thread of a layer's `rows` rows, the factor being what dropout
    /// multiplies the element by: that of element `r * units + u` of the graph's tensor.
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy).
    #[inline(always)]
    unsafe fn masked(&self, layer: &Layer, rows: u32, dropout: Dropout, mut each: impl FnMut(u32, f32)) {
        let elements = rows * layer.units;
        let mut quad = thread::thread_idx_x();
        while 4 * quad < elements {
            let mut words = [u32::MAX; 4];
            let mut p = 0.0;
            let mut scale = 1.0;
            if dropout.on && layer.dropout > 0.0 {
                let [low, high] = dropout.step;
                words = philox4x32_10([quad, layer.stream, low, high], self.net.seed);
                p = layer.dropout;
                scale = layer.keep_scale;
            }
            // The words move through the first register, as the sums of a product do.
            let mut i = 4 * quad;
            while i < 4 * quad + 4 {
                if i < elements {
                    let r = quotient(i, layer.units);
                    let factor = if uniform(words[0]) >= p { scale } else { 0.0 };
                    each(r * row(layer.units) + (i - r * layer.units), factor);
                }
                words = [words[1], words[2], words[3], words[0]];
                i += 1;
            }
            quad += BLOCK;
        }
    }

    /// The loss's derivatives by the affine maps' outputs, layer by layer from the last, whose derivative by the outputs is
    /// at [`gradient`](OnChip::gradient).
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy), after [`forward`](OnChip::forward) with the same `rows` and `dropout`.
    #[inline(always)]
    pub unsafe fn backward(&self, rows: u32, dropout: Dropout) {
        let gradient = self.gradient();
        let mut l = self.net.depth;
        while l > 0 {
            l -= 1;
            let layer = self.layer(l);
            let saved = self.place(layer.saved_at);
            // SAFETY: all places lie in the layer's matrices; each element is one thread's.
            unsafe {
                self.masked(layer, rows, dropout, |at, factor| {
                    let g = ld_shared_f32(word(gradient, at));
                    let g = if factor != 0.0 { g * factor } else { 0.0 };
                    let s = ld_shared_f32(word(saved, at));
                    let slope = activation::derivative(layer.activation, layer.activation_param, s);
                    st_shared_f32(word(saved, at), g * slope);
                });
                thread::sync_threads();
                if l > 0 {
                    let a = Operand { at: saved, outer: 4 * row(layer.units), inner: 4 };
                    let b =
                        Operand { at: self.place(layer.weight_at), outer: 4, inner: 4 * row(layer.fan_in) };
                    product(a, b, [rows, layer.fan_in, layer.units], |r, j, sum| {
                        // With a skip both widths are the same, so this is the element's own place before and after.
                        let at = word(gradient, r * row(layer.fan_in) + j);
                        let through = if layer.skip != 0 { ld_shared_f32(at) } else { 0.0 };
                        st_shared_f32(at, sum + through);
                    });
                    thread::sync_threads();
                }
            }
        }
    }

    /// One step of the optimiser, number `step` of the launch. Gradients live in registers alone; a limit on their norm
    /// takes a pass of its own over them.
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy), after [`backward`](OnChip::backward) with the same `rows`.
    #[inline(always)]
    pub unsafe fn update(&self, rows: u32, step: u32) {
        let (kind, net) = (self.net.optimizer, self.net);
        let rates = (net.hyper as *const f32).wrapping_add(step as usize * HYPER_WORDS);
        // SAFETY: the host wrote hyper-parameters for every step of the launch.
        let rate = |k| unsafe { *rates.add(k) };
        let rule = Rule::new(net.weight_decay, [net.a, net.b, net.c, net.d], rate);
        let moments = self.moments();
        let mut scale = 1.0;
        let mut squares = 0.0;
        // First the norm, where there is a limit, then the step.
        let mut stepping = self.net.clip_norm == 0.0;
        loop {
            let mut l = 0;
            while l < self.net.depth {
                let layer = self.layer(l);
                let (weights, biases) = (self.place(layer.weight_at), self.place(layer.bias_at));
                let mut take = |at: u32, i: u32, g: f32| {
                    if stepping {
                        // SAFETY: parameter `i` and its moments, which are this thread's in this step.
                        unsafe {
                            let first = moments.add((layer.first + i) as usize);
                            let second = first.wrapping_add(self.net.parameters as usize);
                            let p = rule.step(kind, ld_shared_f32(at), g * scale, first, second);
                            st_shared_f32(at, p);
                        }
                    } else {
                        squares += g * g;
                    }
                };
                let delta = self.place(layer.saved_at);
                let a = Operand { at: delta, outer: 4, inner: 4 * row(layer.units) };
                let b = Operand { at: self.input(l), outer: 4, inner: 4 * row(layer.fan_in) };
                // SAFETY: all places lie in the layer's matrices; each parameter is one thread's.
                unsafe {
                    product(a, b, [layer.units, layer.fan_in, rows], |u, j, sum| {
                        take(word(weights, u * row(layer.fan_in) + j), u * layer.fan_in + j, sum);
                    });
                    let mut u = thread::thread_idx_x();
                    while u < layer.units {
                        let mut sum = 0.0;
                        let mut r = 0;
                        while r < rows {
                            sum += ld_shared_f32(word(delta, r * row(layer.units) + u));
                            r += 1;
                        }
                        take(word(biases, u), layer.units * layer.fan_in + u, sum);
                        u += BLOCK;
                    }
                }
                l += 1;
            }
            if stepping {
                break;
            }
            // SAFETY: all threads arrive.
            let norm = unsafe { group_all::<Sum>(squares, LOG2_BLOCK, shared_array![f32; 8]) };
            scale = clip_factor(crate::math::sqrt(norm), self.net.clip_norm);
            stepping = true;
        }
        thread::sync_threads();
    }

    /// Adds each output's squared error over `rows` samples to the epoch's record, from `first` on anew.
    ///
    /// # Safety
    /// - As [`copy`](OnChip::copy), after [`forward`](OnChip::forward); the targets are numbers, `errors` has one an output.
    #[inline(always)]
    pub unsafe fn squared_errors(&self, rows: u32, targets: Targets, errors: *mut f32) {
        let width = self.layer(self.net.depth - 1).units;
        let outputs = self.outputs();
        let mut j = thread::thread_idx_x();
        while j < width {
            // SAFETY: j is an output; it is this thread's in every minibatch.
            unsafe {
                let mut sum = if targets.first == 0 { 0.0 } else { *errors.add(j as usize) };
                let mut r = 0;
                while r < rows {
                    let y = *targets.y.add(targets.sample(r) * width as usize + j as usize);
                    let d = ld_shared_f32(word(outputs, r * row(width) + j)) - f32::from_bits(y);
                    sum += d * d;
                    r += 1;
                }
                *errors.add(j as usize) = sum;
            }
            j += BLOCK;
        }
    }
}
