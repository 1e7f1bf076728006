//! Arithmetic: from an opcode's words to the function that executes it.
//!
//! One file per family. [`lookup`] is the only entry: the decoder calls it once per instruction of a decoded function.

mod approx;
mod convert;
mod float;
mod half;
mod int;
mod logic;
mod narrow;
mod packed;
mod soft;
mod video;

use crate::lanes::Spec;
use crate::stats::Class;

/// An opcode, split at its dots.
pub(crate) struct Opcode<'a> {
    /// `add` of `add.rn.f32`.
    pub base: &'a str,
    /// `["rn", "f32"]`.
    pub mods: Vec<&'a str>,
}

impl<'a> Opcode<'a> {
    pub(crate) fn new(word: &'a str) -> Self {
        let mut parts = word.split('.');
        let base = parts.next().unwrap_or("");
        Opcode { base, mods: parts.collect() }
    }

    pub(crate) fn has(&self, m: &str) -> bool {
        self.mods.contains(&m)
    }

    /// The last modifier: the type, as a rule.
    pub(crate) fn ty(&self) -> &'a str {
        self.mods.last().copied().unwrap_or("")
    }

    pub(crate) fn flags(&self) -> u32 {
        let mode = if self.has("rz") {
            Mode::RZ
        } else if self.has("rm") {
            Mode::RM
        } else if self.has("rp") {
            Mode::RP
        } else {
            Mode::RN
        };
        mode | if self.has("ftz") { FTZ } else { 0 } | if self.has("sat") { SAT } else { 0 }
    }
}

/// Rounding modes, as the low two bits of the flags.
pub(crate) struct Mode;
impl Mode {
    pub(crate) const RN: u32 = 0;
    pub(crate) const RZ: u32 = 1;
    pub(crate) const RM: u32 = 2;
    pub(crate) const RP: u32 = 3;
}
/// Flag: subnormal inputs and results become zeros of their sign.
pub(crate) const FTZ: u32 = 4;
/// Flag: clamp to [0, 1], or to the integer type's range.
pub(crate) const SAT: u32 = 8;

/// Modifiers whose meaning the families know. An opcode with another one (`.satfinite`, say) is refused as a whole: ignoring it
/// would give wrong results without a word.
const MODIFIERS: &[&str] = &[
    "f32x2",
    "u8x4",
    "s8x4",
    "u4",
    "s4",
    "u2",
    "s2",
    "satfinite",
    "u8",
    "s8",
    "b8",
    "u16",
    "s16",
    "b16",
    "u32",
    "s32",
    "b32",
    "u64",
    "s64",
    "b64",
    "f16",
    "bf16",
    "f16x2",
    "bf16x2",
    "f32",
    "f64",
    "tf32",
    "u16x2",
    "s16x2",
    "pred",
    "rn",
    "rz",
    "rm",
    "rp",
    "rni",
    "rzi",
    "rmi",
    "rpi",
    "rna",
    "ftz",
    "noftz",
    "sat",
    "approx",
    "full",
    "lo",
    "hi",
    "wide",
    "cc",
    "relu",
    "NaN",
    "xorsign",
    "abs",
    "pack",
    "shiftamt",
    "l",
    "r",
    "wrap",
    "clamp",
    "f4e",
    "b4e",
    "rc8",
    "ecl",
    "ecr",
    "rc16",
    "finite",
    "infinite",
    "number",
    "notanumber",
    "normal",
    "subnormal",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "equ",
    "neu",
    "ltu",
    "leu",
    "gtu",
    "geu",
    "num",
    "nan",
];

/// The function for an arithmetic opcode, and its class; `None` when it is no arithmetic the simulator knows.
pub(crate) use float::{canonical, canonical64, extreme32, flush};
pub(crate) use half::{Half, half_add, half_extreme};
pub(crate) use logic::compare;
pub(crate) use packed::three;

pub(crate) fn lookup(op: &Opcode<'_>) -> Option<(Spec, Class)> {
    if op.base == "cvt"
        && let Some(s) = narrow::lookup(op)
    {
        return Some((s, Class::Convert));
    }
    if let Some(s) = video::lookup(op) {
        return Some((s, Class::Integer));
    }
    if !op.mods.iter().all(|m| MODIFIERS.contains(m)) {
        return None;
    }
    if let Some(s) = logic::lookup(op) {
        return Some((s, if op.base == "selp" || op.base == "slct" { Class::Move } else { Class::Integer }));
    }
    if op.has("satfinite") && op.base != "cvt" {
        return None;
    }
    if let Some(s) = packed::lookup(op) {
        let integer = op.ty().ends_with("8x4");
        return Some((s, if integer { Class::Integer } else { Class::Float }));
    }
    if op.base == "cvt" {
        return convert::lookup(op).map(|s| (s, Class::Convert));
    }
    match op.ty() {
        "f32" => float::f32(op).map(|s| (s, float::class(op, Class::Float))),
        "f64" => float::f64(op).map(|s| (s, float::class(op, Class::Double))),
        "f16" | "bf16" | "f16x2" | "bf16x2" => half::lookup(op).map(|s| (s, float::class(op, Class::Float))),
        _ => int::lookup(op).map(|s| (s, Class::Integer)),
    }
}
