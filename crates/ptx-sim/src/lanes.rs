//! Lane vectors: a register is an array of 32 lanes, and an arithmetic instruction is one function over such arrays.
//!
//! Registers up to 32 bits live in one file, 64-bit registers in another, predicates are 32-bit lane masks. Immediates are
//! rows of a constant table that has the same shape as the file, so an operand is always an index. Types belong to
//! the function, not to the register: [`Lane`] says how a type lies in its file.

use half::{bf16, f16};

/// Index bit that marks a row of the constant table.
pub(crate) const CONST: u32 = 1 << 31;
/// Index bit that negates a predicate operand.
pub(crate) const NEGATED: u32 = 1 << 30;
/// The predicate row that holds the carry flag of `add.cc` and relatives.
pub(crate) const CARRY: u32 = 0;

/// A view of one frame's registers.
pub(crate) struct Regs<'a> {
    pub r32: &'a mut [[u32; 32]],
    pub r64: &'a mut [[u64; 32]],
    pub preds: &'a mut [u32],
    pub c32: &'a [[u32; 32]],
    pub c64: &'a [[u64; 32]],
}

impl Regs<'_> {
    /// The lane mask a predicate operand stands for; the constants are all-false and all-true.
    #[inline]
    pub(crate) fn pred(&self, i: u32) -> u32 {
        let v = if i & CONST != 0 {
            if i & 1 != 0 { !0 } else { 0 }
        } else {
            self.preds[(i & !NEGATED) as usize]
        };
        if i & NEGATED != 0 { !v } else { v }
    }

    #[inline]
    pub(crate) fn set_pred(&mut self, i: u32, value: u32, mask: u32) {
        let p = &mut self.preds[i as usize];
        *p = (*p & !mask) | (value & mask);
    }
}

/// Operand indices: destination, then up to four sources.
pub(crate) type Ops = [u32; 5];
/// An arithmetic instruction: operands and active lanes.
pub(crate) type Alu = fn(&mut Regs<'_>, &Ops, u32);

/// A type that lives in a register lane.
pub(crate) trait Lane: Copy {
    /// What one lane of its register file holds.
    type Store: Copy + Default;
    /// The register file.
    const FILE: File;
    fn of(s: Self::Store) -> Self;
    fn to(self) -> Self::Store;
    fn src<'a>(r: &'a Regs<'_>, i: u32) -> &'a [Self::Store; 32];
    fn dst<'a>(r: &'a mut Regs<'_>, i: u32) -> &'a mut [Self::Store; 32];
}

macro_rules! lane {
    ($t:ty, $s:ty, $file:ident, $consts:ident, |$x:ident| $of:expr, |$y:ident| $to:expr) => {
        impl Lane for $t {
            type Store = $s;
            const FILE: File = if size_of::<$s>() == 8 { File::R64 } else { File::R32 };
            #[inline(always)]
            fn of($x: $s) -> Self {
                $of
            }
            #[inline(always)]
            fn to(self) -> $s {
                let $y = self;
                $to
            }
            #[inline(always)]
            fn src<'a>(r: &'a Regs<'_>, i: u32) -> &'a [$s; 32] {
                if i & CONST != 0 { &r.$consts[(i & !CONST) as usize] } else { &r.$file[i as usize] }
            }
            #[inline(always)]
            fn dst<'a>(r: &'a mut Regs<'_>, i: u32) -> &'a mut [$s; 32] {
                &mut r.$file[i as usize]
            }
        }
    };
}

lane!(u8, u32, r32, c32, |x| x as u8, |y| y as u32);
lane!(i8, u32, r32, c32, |x| x as i8, |y| y as i32 as u32);
lane!(u16, u32, r32, c32, |x| x as u16, |y| y as u32);
lane!(i16, u32, r32, c32, |x| x as i16, |y| y as u16 as u32);
lane!(u32, u32, r32, c32, |x| x, |y| y);
lane!(i32, u32, r32, c32, |x| x as i32, |y| y as u32);
lane!(f32, u32, r32, c32, |x| f32::from_bits(x), |y| y.to_bits());
lane!(f16, u32, r32, c32, |x| f16::from_bits(x as u16), |y| y.to_bits() as u32);
lane!(bf16, u32, r32, c32, |x| bf16::from_bits(x as u16), |y| y.to_bits() as u32);
lane!(u64, u64, r64, c64, |x| x, |y| y);
lane!(i64, u64, r64, c64, |x| x as i64, |y| y as u64);
lane!(f64, u64, r64, c64, |x| f64::from_bits(x), |y| y.to_bits());

/// Two 16-bit values in one 32-bit register, the first in the low half.
#[derive(Clone, Copy)]
pub(crate) struct Two<T>(pub T, pub T);
lane!(Two<u16>, u32, r32, c32, |x| Two(x as u16, (x >> 16) as u16), |y| y.0 as u32 | (y.1 as u32) << 16);
lane!(Two<f16>, u32, r32, c32, |x| Two(f16::from_bits(x as u16), f16::from_bits((x >> 16) as u16)), |y| y
    .0
    .to_bits()
    as u32
    | (y.1.to_bits() as u32) << 16);
lane!(Two<bf16>, u32, r32, c32, |x| Two(bf16::from_bits(x as u16), bf16::from_bits((x >> 16) as u16)), |y| y
    .0
    .to_bits()
    as u32
    | (y.1.to_bits() as u32) << 16);

lane!(Two<f32>, u64, r64, c64, |x| Two(f32::from_bits(x as u32), f32::from_bits((x >> 32) as u32)), |y| y
    .0
    .to_bits()
    as u64
    | (y.1.to_bits() as u64) << 32);

#[inline(always)]
pub(crate) fn put<R: Lane>(r: &mut Regs<'_>, i: u32, out: &[R::Store; 32], mask: u32) {
    let d = R::dst(r, i);
    if mask == !0 {
        *d = *out;
    } else {
        for l in 0..32 {
            d[l] = if mask >> l & 1 != 0 { out[l] } else { d[l] };
        }
    }
}

#[inline(always)]
pub(crate) fn map1<A: Lane, R: Lane, F: Fn(A) -> R>(r: &mut Regs<'_>, o: &Ops, mask: u32, f: F) {
    let a = A::src(r, o[1]);
    let mut out = [R::Store::default(); 32];
    for l in 0..32 {
        out[l] = f(A::of(a[l])).to();
    }
    put::<R>(r, o[0], &out, mask);
}

#[inline(always)]
pub(crate) fn map2<A: Lane, B: Lane, R: Lane, F: Fn(A, B) -> R>(r: &mut Regs<'_>, o: &Ops, mask: u32, f: F) {
    let (a, b) = (A::src(r, o[1]), B::src(r, o[2]));
    let mut out = [R::Store::default(); 32];
    for l in 0..32 {
        out[l] = f(A::of(a[l]), B::of(b[l])).to();
    }
    put::<R>(r, o[0], &out, mask);
}

#[inline(always)]
pub(crate) fn map3<A: Lane, B: Lane, C: Lane, R: Lane, F: Fn(A, B, C) -> R>(
    r: &mut Regs<'_>,
    o: &Ops,
    mask: u32,
    f: F,
) {
    let (a, b, c) = (A::src(r, o[1]), B::src(r, o[2]), C::src(r, o[3]));
    let mut out = [R::Store::default(); 32];
    for l in 0..32 {
        out[l] = f(A::of(a[l]), B::of(b[l]), C::of(c[l])).to();
    }
    put::<R>(r, o[0], &out, mask);
}

#[inline(always)]
pub(crate) fn map4<A: Lane, B: Lane, C: Lane, D: Lane, R: Lane, F: Fn(A, B, C, D) -> R>(
    r: &mut Regs<'_>,
    o: &Ops,
    mask: u32,
    f: F,
) {
    let (a, b, c, d) = (A::src(r, o[1]), B::src(r, o[2]), C::src(r, o[3]), D::src(r, o[4]));
    let mut out = [R::Store::default(); 32];
    for l in 0..32 {
        out[l] = f(A::of(a[l]), B::of(b[l]), C::of(c[l]), D::of(d[l])).to();
    }
    put::<R>(r, o[0], &out, mask);
}

/// Compares lane by lane into a predicate.
#[inline(always)]
pub(crate) fn test1<A: Lane>(r: &mut Regs<'_>, o: &Ops, mask: u32, f: impl Fn(A) -> bool) {
    let a = A::src(r, o[1]);
    let mut bits = 0;
    for l in 0..32 {
        bits |= (f(A::of(a[l])) as u32) << l;
    }
    r.set_pred(o[0], bits, mask);
}

/// Compares lane by lane into a predicate.
#[inline(always)]
pub(crate) fn test2<A: Lane, B: Lane>(r: &mut Regs<'_>, o: &Ops, mask: u32, f: impl Fn(A, B) -> bool) {
    let (a, b) = (A::src(r, o[1]), B::src(r, o[2]));
    let mut bits = 0;
    for l in 0..32 {
        bits |= (f(A::of(a[l]), B::of(b[l])) as u32) << l;
    }
    r.set_pred(o[0], bits, mask);
}

/// `selp`: the predicate of operand 3 chooses between operands 1 and 2.
#[inline(always)]
pub(crate) fn select<T: Lane>(r: &mut Regs<'_>, o: &Ops, mask: u32) {
    let p = r.pred(o[3]);
    let (a, b) = (T::src(r, o[1]), T::src(r, o[2]));
    let mut out = [T::Store::default(); 32];
    for l in 0..32 {
        out[l] = if p >> l & 1 != 0 { a[l] } else { b[l] };
    }
    put::<T>(r, o[0], &out, mask);
}

/// Which register file an operand lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    R32,
    R64,
    Pred,
}

/// An [`Alu`] with what the decoder must know to feed it.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub f: Alu,
    /// Destination, then sources.
    pub files: [File; 5],
    /// Number of sources.
    pub sources: u8,
    /// Passed as operand 4 when there are fewer than four sources.
    pub flags: u32,
}

impl Spec {
    pub(crate) fn flags(mut self, flags: u32) -> Spec {
        self.flags = flags;
        self
    }
}

pub(crate) const fn spec(f: Alu, files: &[File]) -> Spec {
    let mut all = [File::R32; 5];
    let mut i = 0;
    while i < files.len() {
        all[i] = files[i];
        i += 1;
    }
    Spec { f, files: all, sources: files.len() as u8 - 1, flags: 0 }
}

/// A [`Spec`] from a typed closure: `alu!(|a: f32, b: f32| -> f32 { a + b })`; `-> bool` gives a predicate. With a name
/// in front (`alu!(fl; |a: f32| ...)`) the closure sees the flags the decoder passes in operand 4.
macro_rules! alu {
    ($fl:ident; |$($rest:tt)*) => { $crate::lanes::alu_inner!($fl; |$($rest)*) };
    (|$($rest:tt)*) => { $crate::lanes::alu_inner!(_flags; |$($rest)*) };
}
macro_rules! alu_inner {
    ($fl:ident; |$a:ident: $A:ty| -> bool $body:block) => {{
        fn run(r: &mut $crate::lanes::Regs<'_>, o: &$crate::lanes::Ops, m: u32) {
            let $fl = o[4];
            $crate::lanes::test1::<$A>(r, o, m, |$a| $body)
        }
        $crate::lanes::spec(run, &[$crate::lanes::File::Pred, <$A as $crate::lanes::Lane>::FILE])
    }};
    ($fl:ident; |$a:ident: $A:ty, $b:ident: $B:ty| -> bool $body:block) => {{
        fn run(r: &mut $crate::lanes::Regs<'_>, o: &$crate::lanes::Ops, m: u32) {
            let $fl = o[4];
            $crate::lanes::test2::<$A, $B>(r, o, m, |$a, $b| $body)
        }
        $crate::lanes::spec(
            run,
            &[$crate::lanes::File::Pred, <$A as $crate::lanes::Lane>::FILE, <$B as $crate::lanes::Lane>::FILE],
        )
    }};
    ($fl:ident; |$($a:ident: $A:ty),+| -> $R:ty $body:block) => {{
        fn run(r: &mut $crate::lanes::Regs<'_>, o: &$crate::lanes::Ops, m: u32) {
            let $fl = o[4];
            $crate::lanes::alu_map!(($($A),+), $R)(r, o, m, |$($a: $A),+| -> $R { $body })
        }
        $crate::lanes::spec(run, &[<$R as $crate::lanes::Lane>::FILE, $(<$A as $crate::lanes::Lane>::FILE),+])
    }};
}
macro_rules! alu_map {
    (($A:ty), $R:ty) => {
        $crate::lanes::map1::<$A, $R, _>
    };
    (($A:ty, $B:ty), $R:ty) => {
        $crate::lanes::map2::<$A, $B, $R, _>
    };
    (($A:ty, $B:ty, $C:ty), $R:ty) => {
        $crate::lanes::map3::<$A, $B, $C, $R, _>
    };
    (($A:ty, $B:ty, $C:ty, $D:ty), $R:ty) => {
        $crate::lanes::map4::<$A, $B, $C, $D, $R, _>
    };
}
pub(crate) use {alu, alu_inner, alu_map};
