//! What the tests of instructions share: one instruction on 32 lanes of random operands against a reference.
#![allow(dead_code, reason = "each test program uses a part")]

use proptest::prelude::*;
use ptx_sim::{Arg, LaunchConfig, Module, Sim};

/// Runs `instr` (operands `%D`, `%A`, `%B`, `%C`, `%E`) on 32 lanes of inputs. `sig` gives the register kinds, destination
/// first: `h` 16, `r` 32, `d` 64 bits, `p` predicate.
pub fn run(instr: &str, sig: &str, inputs: &[[u64; 4]]) -> Vec<u64> {
    let mut kinds = sig.chars();
    let d = kinds.next().unwrap();
    let reg = |k: char, i: usize| match k {
        'h' => format!("%h{i}"),
        'r' => format!("%r{i}"),
        'd' => format!("%d{i}"),
        _ => format!("%p{i}"),
    };
    let mut code = String::new();
    let mut text = instr.replace("%D", &reg(d, 20));
    for (i, k) in kinds.enumerate() {
        code += &format!("ld.global.u64 %d{}, [%d11+{}];\n", 12 + i, 8 * i);
        code += &match k {
            'h' => format!("cvt.u16.u64 %h{i}, %d{};\n", 12 + i),
            'r' => format!("cvt.u32.u64 %r{i}, %d{};\n", 12 + i),
            'd' => format!("mov.u64 %d{i}, %d{};\n", 12 + i),
            _ => format!("and.b64 %d{0}, %d{0}, 1; setp.ne.u64 %p{i}, %d{0}, 0;\n", 12 + i),
        };
        text = text.replace(["%A", "%B", "%C", "%E"][i], &reg(k, i));
    }
    code += &text;
    code += &match d {
        'h' => "\ncvt.u64.u16 %d21, %h20;".to_string(),
        'r' => "\ncvt.u64.u32 %d21, %r20;".to_string(),
        'd' => "\nmov.u64 %d21, %d20;".to_string(),
        _ => "\nselp.u64 %d21, 1, 0, %p20;".to_string(),
    };
    let ptx = format!(
        ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 x, .param .u64 y) {{\n.reg .pred %p<24>; .reg .b16 %h<24>; \
         .reg .b32 %r<24>; .reg .b64 %d<24>;\nld.param.u64 %d10, [x]; mov.u32 %r10, %tid.x; mad.wide.u32 %d11, %r10, 32, %d10;\n\
         {code}\nld.param.u64 %d10, [y]; mad.wide.u32 %d11, %r10, 8, %d10; st.global.u64 [%d11], %d21; ret; }}"
    );
    let m = Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut sim = Sim::builder().build();
    let data: Vec<u8> = inputs.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let (x, y) = (sim.alloc(data.len()), sim.alloc(8 * inputs.len()));
    sim.write(x, &data).unwrap();
    let c = LaunchConfig::linear(inputs.len() as u32, inputs.len() as u32);
    sim.launch(&m, "k", &c, &[Arg::U64(x), Arg::U64(y)]).unwrap_or_else(|e| panic!("{e}"));
    let mut out = vec![0; 8 * inputs.len()];
    sim.read_checked(y, &mut out).unwrap();
    out.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
}

/// Checks an instruction exactly.
pub fn exact(instr: &str, sig: &str, inputs: &[[u64; 4]], f: impl Fn([u64; 4]) -> u64) {
    for (x, got) in inputs.iter().zip(run(instr, sig, inputs)) {
        assert_eq!(got, f(*x), "`{instr}` on {x:x?}: got {got:#x}, want {:#x}", f(*x));
    }
}

/// Checks an f32 instruction to a relative error.
pub fn close(instr: &str, sig: &str, inputs: &[[u64; 4]], tolerance: f64, f: impl Fn([f64; 4]) -> f64) {
    for (x, got) in inputs.iter().zip(run(instr, sig, inputs)) {
        let want = f(x.map(|v| f32::from_bits(v as u32) as f64));
        let got = f32::from_bits(got as u32) as f64;
        let fine = (got - want).abs() <= tolerance * want.abs() + f32::MIN_POSITIVE as f64
            || (got.is_nan() && want.is_nan())
            || got == want as f32 as f64;
        assert!(fine, "`{instr}` on {x:x?}: got {got:e}, want {want:e}");
    }
}

/// 64-bit words of all sizes, and the awkward ones.
pub fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (any::<u64>(), 0u32..64).prop_map(|(v, s)| v >> s),
        2 => 0u64..70,
        1 => prop::sample::select(vec![0, 1, u64::MAX, 1 << 63, 1 << 31, 0x8000, 0x80, 0xffff_ffff, i64::MAX as u64, 0x7fff_ffff]),
    ]
}

/// f32 bit patterns, special values included.
pub fn single() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => any::<u32>().prop_map(u64::from),
        4 => (-1e3f32..1e3).prop_map(|v| v.to_bits() as u64),
        1 => prop::sample::select(vec![0f32, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-40, -1e-42, f32::MAX, 0.5, 2.5])
            .prop_map(|v| v.to_bits() as u64),
    ]
}

pub fn double() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (-1e9f64..1e9).prop_map(f64::to_bits),
        prop::sample::select(vec![0f64, -0.0, 1.0, f64::INFINITY, f64::NAN, 5e-324, f64::MAX, 0.5, -2.5])
            .prop_map(f64::to_bits),
    ]
}

pub fn lanes<S: Strategy<Value = u64> + Clone>(s: S) -> impl Strategy<Value = Vec<[u64; 4]>> {
    prop::collection::vec([s.clone(), s.clone(), s.clone(), s], 32)
}

/// PTX's canonical NaN for any NaN.
pub fn nan32(v: f32) -> u64 {
    if v.is_nan() { 0x7fff_ffff } else { v.to_bits() as u64 }
}

pub fn nan64(v: f64) -> u64 {
    if v.is_nan() { 0x7fff_ffff_ffff_ffff } else { v.to_bits() }
}

pub fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

pub fn d(v: u64) -> f64 {
    f64::from_bits(v)
}

/// f32 bit patterns between 2^-20 and 2^16 in magnitude, so that [`fixed`] holds sums and products exactly.
pub fn tame() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (any::<bool>(), 107u32..143, 0u32..1 << 23, 0u32..24)
            .prop_map(|(s, e, m, z)| ((s as u32) << 31 | e << 23 | m >> z << z) as u64),
        1 => prop::sample::select(vec![0f32, -0.0, 1.0, -1.0, 1.5, -0.5]).prop_map(|v| v.to_bits() as u64),
    ]
}

/// A number as a multiple of 2^-86; exact for products of two [`tame`] numbers, and for their sums.
pub fn fixed(v: f64) -> i128 {
    let bits = v.to_bits();
    if v == 0.0 {
        return 0;
    }
    let (e, m) = ((bits >> 52 & 0x7ff) as i32 - 1075 + 86, (bits & ((1 << 52) - 1) | 1 << 52) as i128);
    let m = if e >= 0 {
        m << e
    } else {
        assert_eq!(m & ((1 << -e) - 1), 0);
        m >> -e
    };
    if v < 0.0 { -m } else { m }
}

/// Whether `r` (with neighbours `below` and `above`) is what `exact` rounds to. `even`: the last bit of `r` is 0.
pub fn rounds_to(mode: &str, exact: i128, below: f64, r: f64, above: f64, even: bool) -> bool {
    let (lo, x, hi) = (fixed(below), fixed(r), fixed(above));
    match mode {
        "rm" => x <= exact && exact < hi,
        "rp" => lo < exact && exact <= x,
        "rz" if exact >= 0 => x <= exact && exact < hi,
        "rz" => lo < exact && exact <= x,
        _ => {
            let far = (exact - x).abs();
            let tie = far == (exact - lo).abs() || far == (exact - hi).abs();
            far <= (exact - lo).abs() && far <= (exact - hi).abs() && (!tie || even)
        }
    }
}
