//! Elementwise arithmetic: single operations, broadcasts, and chains of operations in one pass.
//!
//! A chain is a short program that every thread interprets on a register: `acc = x[i]`, then for each step
//! `acc = step(acc, operand[i])`. Each step is two 64-bit words: the opcode in the low half of the first and the bits of
//! its `f32` immediate in the high half, and the address of its operand (0 where it has none). The program is the same
//! for all threads, so its branches never diverge; reading and writing each tensor once instead of once a step is what a
//! chain saves.

use cuda_std::prelude::*;

use crate::activation;
use crate::math::{exp, ln, sqrt};
use crate::vector::{load4, map4, quad, store4, switch, zip4};

/// Threads in a block of the kernels in this file.
pub const BLOCK: u32 = 256;
/// Elements that a block of the single operations covers; of a chain it is [`BLOCK`].
pub const PER_BLOCK: u32 = BLOCK * 4;

/// -x
pub const NEG: u32 = 0;
/// e^x
pub const EXP: u32 = 1;
/// ln x
pub const LOG: u32 = 2;
/// Square root
pub const SQRT: u32 = 3;
/// x^2
pub const SQUARE: u32 = 4;
/// |x|
pub const ABS: u32 = 5;
/// -1, 0 or 1
pub const SIGN: u32 = 6;
/// x times the immediate
pub const SCALE: u32 = 7;
/// x plus the immediate
pub const ADD_SCALAR: u32 = 8;

/// a + b
pub const ADD: u32 = 0;
/// a - b
pub const SUB: u32 = 1;
/// a * b
pub const MUL: u32 = 2;
/// a / b
pub const DIV: u32 = 3;

/// The class of a chain's step, above the code of the operation itself in the low byte.
pub const CLASS: u32 = 0xf00;
/// acc = unary(acc)
pub const CLASS_UNARY: u32 = 0x000;
/// acc = binary(acc, operand)
pub const CLASS_BINARY: u32 = 0x100;
/// acc = binary(operand, acc)
pub const CLASS_BINARY_SWAPPED: u32 = 0x200;
/// acc = activation(acc)
pub const CLASS_ACTIVATION: u32 = 0x300;
/// acc = acc activation'(operand)
pub const CLASS_ACTIVATION_GRAD: u32 = 0x400;
/// Flag: the operand is one number for all elements.
pub const SCALAR: u32 = 0x1000;

/// Unary operation `op` of `x`.
#[inline(always)]
pub fn unary(op: u32, imm: f32, x: f32) -> f32 {
    match op {
        NEG => -x,
        EXP => exp(x),
        LOG => ln(x),
        SQRT => sqrt(x),
        SQUARE => x * x,
        ABS => x.abs(),
        SIGN => {
            // NaN and the zeros come through unchanged.
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        SCALE => x * imm,
        _ => x + imm,
    }
}

/// Binary operation `op` of `a` and `b`.
#[inline(always)]
pub fn binary(op: u32, a: f32, b: f32) -> f32 {
    match op {
        ADD => a + b,
        SUB => a - b,
        MUL => a * b,
        _ => a / b,
    }
}

/// y = unary(x), four elements a thread.
///
/// # Safety
/// - `x` and `y` hold `n` elements; they are the same memory or do not overlap.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn elementwise_unary(n: u32, op: u32, imm: f32, x: *const f32, y: *mut f32) {
    let i = quad();
    if i < n {
        // SAFETY: `i < n`, and both helpers stay below `n`.
        unsafe {
            let v = load4(x, i, n);
            let v = switch!(op, OP in [NEG EXP LOG SQRT SQUARE ABS SIGN SCALE; ADD_SCALAR] => {
                map4!(v, |x| unary(OP, imm, x))
            });
            store4(y, i, n, v);
        }
    }
}

/// y = binary(a, b), four elements a thread.
///
/// # Safety
/// - `a`, `b` and `y` hold `n` elements; `y` is one of the others or overlaps neither.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn elementwise_binary(n: u32, op: u32, a: *const f32, b: *const f32, y: *mut f32) {
    let i = quad();
    if i < n {
        // SAFETY: `i < n`, and the helpers stay below `n`.
        unsafe {
            let (a, b) = (load4(a, i, n), load4(b, i, n));
            let v = switch!(op, OP in [ADD SUB MUL; DIV] => zip4!(a, b, |a, b| binary(OP, a, b)));
            store4(y, i, n, v);
        }
    }
}

/// y = x s, with `s` one number on the device; four elements a thread.
///
/// # Safety
/// - `x` and `y` hold `n` elements and `s` one; `y` is `x` or overlaps neither.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn elementwise_scale_by(n: u32, x: *const f32, s: *const f32, y: *mut f32) {
    let i = quad();
    if i < n {
        // SAFETY: `i < n`, and the helpers stay below `n`; `s` has one element.
        unsafe {
            let s = *s;
            let v = load4(x, i, n);
            store4(y, i, n, map4!(v, |x| x * s));
        }
    }
}

/// `y[i] = x[i mod cols]`: a row (or, with `cols` 1, a number) repeated.
///
/// # Safety
/// - `x` holds `cols >= 1` elements and `y` holds `n`; they do not overlap.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn broadcast_rows(n: u32, cols: u32, x: *const f32, y: *mut f32) {
    let i = thread::index_1d();
    if i < n {
        let j = i.checked_rem(cols).unwrap_or(0);
        // SAFETY: `j < cols` and `i < n`.
        unsafe { *y.add(i as usize) = *x.add(j as usize) };
    }
}

/// Runs a chain of `steps` steps over `n` elements: y = program(x), one element a thread.
///
/// # Safety
/// - `program` holds `2 * steps` words as the module's docs describe.
/// - `x`, `y` and each operand without [`SCALAR`] hold `n` elements, an operand with it one.
/// - `y` overlaps none of the others.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn elementwise_chain(n: u32, program: *const u64, steps: u32, x: *const f32, y: *mut f32) {
    let i = thread::index_1d();
    if i < n {
        // SAFETY: `i < n`.
        let mut acc = unsafe { *x.add(i as usize) };
        let mut k = 0;
        while k < steps {
            // SAFETY: the program has two words for each `k < steps`.
            let (word, address) = unsafe { (*program.add(2 * k as usize), *program.add(2 * k as usize + 1)) };
            let opcode = word as u32;
            let imm = f32::from_bits((word >> 32) as u32);
            let operand = if address == 0 {
                0.0
            } else {
                let at = if opcode & SCALAR != 0 { 0 } else { i };
                // SAFETY: the operand's address, with `n` elements or, if scalar, one.
                unsafe { *(address as usize as *const f32).add(at as usize) }
            };
            let op = opcode & 0xff;
            acc = match opcode & CLASS {
                CLASS_UNARY => unary(op, imm, acc),
                CLASS_BINARY => binary(op, acc, operand),
                CLASS_BINARY_SWAPPED => binary(op, operand, acc),
                CLASS_ACTIVATION => activation::apply(op, imm, acc),
                _ => acc * activation::derivative(op, imm, operand),
            };
            k += 1;
        }
        // SAFETY: `i < n`.
        unsafe { *y.add(i as usize) = acc };
    }
}
