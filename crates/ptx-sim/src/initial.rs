//! Initialisers of module variables: bytes now, addresses noted for when the variables have one.
//!
//! As in C, a brace list fills an array (or a vector) from its start, nested lists start rows, and the rest is zero.

use crate::ast::{Init, Operand};
use crate::module::GlobalVar;

/// Most bytes an initialiser may reach into its variable; what lies behind stays zero.
const MAX_DATA: usize = 1 << 28;

/// Fills a variable of `element`-byte elements in an array of `dims` (vector components last).
pub(crate) fn initialise(g: &mut GlobalVar, init: &Init<'_>, element: u32, dims: &[u64]) {
    let rows: Vec<usize> = (0..dims.len())
        .map(|i| dims[i + 1..].iter().fold(element as usize, |n, d| n.saturating_mul(*d as usize)))
        .collect();
    let mut at = 0;
    fill(g, init, element as usize, &rows, &mut at);
}

/// `rows[0]` is the size of what a nested list at this level fills.
fn fill(g: &mut GlobalVar, init: &Init<'_>, element: usize, rows: &[usize], at: &mut usize) {
    let (o, shift) = match init {
        Init::List(items) => {
            let start = *at;
            for (i, item) in items.iter().enumerate() {
                if let (Init::List(_), Some(row)) = (item, rows.first()) {
                    *at = start.saturating_add(i.saturating_mul(*row));
                }
                fill(g, item, element, rows.get(1..).unwrap_or(&[]), at);
            }
            return;
        }
        // Opaque types have no bytes a program could see.
        Init::Field(..) => return,
        Init::One(o) => (o, 0),
        Init::Masked(mask, o) => (o, if *mask == 0 { 0 } else { mask.trailing_zeros() }),
    };
    let value = match o {
        Operand::Int(v) => *v as u64,
        Operand::F32(v) if element == 8 => (f32::from_bits(*v) as f64).to_bits(),
        Operand::F32(v) => *v as u64,
        Operand::F64(v) if element == 4 => (f64::from_bits(*v) as f32).to_bits() as u64,
        Operand::F64(v) => *v,
        Operand::Str(s) => {
            text_bytes(s).into_iter().for_each(|b| put(g, element, at, b as u64));
            return;
        }
        Operand::Name(n) => {
            g.pointers.push((*at, element as u32, shift, n.to_string(), 0));
            0
        }
        Operand::Offset(n, a) | Operand::Generic(n, a) => {
            g.pointers.push((*at, element as u32, shift, n.to_string(), *a));
            0
        }
        _ => 0,
    };
    put(g, element, at, value >> shift);
}

/// Appends one element where it still fits.
fn put(g: &mut GlobalVar, element: usize, at: &mut usize, value: u64) {
    let end = at.saturating_add(element);
    if end as u64 <= g.size && end <= MAX_DATA {
        if g.data.len() < end {
            g.data.resize(end, 0);
        }
        for (d, s) in g.data[*at..end].iter_mut().zip(value.to_le_bytes()) {
            *d = s;
        }
    }
    *at = end;
}

/// A string's bytes with C's escapes resolved and a terminating zero.
pub(crate) fn text_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'0') => 0,
                Some(other) => other,
                None => b'\\',
            },
            b => b,
        });
    }
    out.push(0);
    out
}
