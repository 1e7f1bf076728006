//! Random operands, number formats and the reference multiplication, written apart from the crate.

use half::{bf16, f16};
use ptx_sim::{Arg, LaunchConfig, LaunchStats, Module, Sim, SimBuilder, SimError};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// In [-2, 2), 20 bits.
    pub fn unit(&mut self) -> f64 {
        (self.below(1 << 20) as f64 - (1 << 19) as f64) / (1 << 18) as f64
    }
}

/// Bits of an element of type `ty`.
pub fn width(ty: &str) -> u32 {
    match ty {
        "f64" => 64,
        "f32" | "s32" | "tf32" => 32,
        "f16" | "bf16" => 16,
        "s4" | "u4" => 4,
        "b1" => 1,
        _ => 8,
    }
}

/// A random element: mostly of everyday size, sometimes any bits that are no NaN.
pub fn element(ty: &str, r: &mut Random) -> u64 {
    let wild = r.below(8) == 0;
    let keep = if width(ty) == 64 { !0 } else { (1u64 << width(ty)) - 1 };
    let any = r.bits() & keep;
    let v = r.unit();
    match ty {
        "f16" if wild && any & 0x7c00 != 0x7c00 => any,
        "f16" => f16::from_f64(v).to_bits() as u64,
        // Exponents whose products and sums stay in range: an overflow would hide everything else.
        "bf16" if wild => any & 0x8fff | 0x3000,
        "bf16" => bf16::from_f64(v).to_bits() as u64,
        // The ignored bits are set, too.
        "tf32" => ((v as f32).to_bits() ^ r.below(1 << 13) as u32) as u64,
        "f32" => (v as f32).to_bits() as u64,
        "f64" => v.to_bits(),
        "e4m3" if any & 0x7f == 0x7f => 0x38,
        "e5m2" if any & 0x7c == 0x7c => 0x3c,
        _ => any,
    }
}

fn small_float(bits: u64, fraction: i32, bias: i32) -> f64 {
    let e = (bits >> fraction) as i32 & ((1 << (7 - fraction)) - 1);
    let f = (bits & ((1 << fraction) - 1)) as f64 / 2f64.powi(fraction);
    let v = if e == 0 { f * 2f64.powi(1 - bias) } else { (1.0 + f) * 2f64.powi(e - bias) };
    if bits & 0x80 != 0 { -v } else { v }
}

/// The number an element stands for.
pub fn number(ty: &str, bits: u64) -> f64 {
    match ty {
        "f16" => f16::from_bits(bits as u16).to_f64(),
        "bf16" => bf16::from_bits(bits as u16).to_f64(),
        "tf32" => f32::from_bits(bits as u32 >> 13 << 13) as f64,
        "f32" => f32::from_bits(bits as u32) as f64,
        "f64" => f64::from_bits(bits),
        "e4m3" => small_float(bits, 3, 7),
        "e5m2" => small_float(bits, 2, 15),
        "s8" => bits as i8 as f64,
        "s4" => ((bits as i8) << 4 >> 4) as f64,
        "s32" => bits as u32 as i32 as f64,
        _ => bits as f64,
    }
}

/// A row-major matrix of elements as bits.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub bits: Vec<u64>,
}

impl Matrix {
    pub fn random(rows: usize, columns: usize, ty: &str, r: &mut Random) -> Matrix {
        Matrix { rows, columns, bits: (0..rows * columns).map(|_| element(ty, r)).collect() }
    }

    pub fn zero(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, bits: vec![0; rows * columns] }
    }

    pub fn at(&self, r: usize, c: usize) -> u64 {
        self.bits[r * self.columns + c]
    }
}

/// The types of a multiplication: factors, C, D.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a> {
    pub a: &'a str,
    pub b: &'a str,
    pub c: &'a str,
    pub d: &'a str,
}

/// What the simulator documents: f32 sums, one rounding per product, k ascending, f16 accumulators rounded every 32 bytes of k.
pub fn reference(a: &Matrix, b: &Matrix, c: &Matrix, t: Types<'_>, saturate: bool, xor: bool) -> Matrix {
    let mut d = Matrix::zero(a.rows, b.columns);
    for i in 0..a.rows {
        for j in 0..b.columns {
            let pairs: Vec<(f64, f64)> =
                (0..a.columns).map(|k| (number(t.a, a.at(i, k)), number(t.b, b.at(k, j)))).collect();
            let start = number(t.c, c.at(i, j));
            d.bits[i * b.columns + j] = match t.d {
                "s32" => {
                    let one = |(x, y): &(f64, f64)| {
                        if xor { *x as i64 ^ *y as i64 } else { *x as i64 * *y as i64 }
                    };
                    let s = start as i64 + pairs.iter().map(one).sum::<i64>();
                    let s = if saturate { s.clamp(i32::MIN as i64, i32::MAX as i64) } else { s };
                    s as u32 as u64
                }
                "f64" => pairs.iter().fold(start, |s, (x, y)| x.mul_add(*y, s)).to_bits(),
                _ => {
                    let block = (256 / width(t.a)) as usize;
                    let mut s = start as f32;
                    for part in pairs.chunks(block) {
                        for (x, y) in part {
                            s = (*x as f32).mul_add(*y as f32, s);
                        }
                        if t.d == "f16" {
                            s = f16::from_f32(s).to_f32();
                        }
                    }
                    match (t.d, s.is_nan()) {
                        ("f16", true) => 0x7fff,
                        ("f16", false) => f16::from_f32(s).to_bits() as u64,
                        (_, true) => 0x7fff_ffff,
                        _ => s.to_bits() as u64,
                    }
                }
            };
        }
    }
    d
}

/// A kernel `k(in, out)` of one warp: `body` finds the lane in `%lane` and the pointers in `%in` and `%out`.
pub fn kernel(registers: &str, body: &str) -> String {
    format!(
        ".version 8.4\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 x, .param .u64 y) {{\n\
         .reg .b32 %lane; .reg .b64 %in, %out, %p; {registers}\n\
         ld.param.u64 %in, [x]; ld.param.u64 %out, [y]; mov.u32 %lane, %tid.x;\n{body}\nret; }}"
    )
}

pub fn launch(
    builder: SimBuilder,
    ptx: &str,
    threads: u32,
    input: &[u8],
    out: usize,
) -> Result<(Vec<u8>, LaunchStats), SimError> {
    let m = Module::parse(ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut sim = builder.build();
    let (x, y) = (sim.alloc(input.len()), sim.alloc(out));
    sim.write(x, input)?;
    let stats =
        sim.launch(&m, "k", &LaunchConfig::new([1, 1, 1], [threads, 1, 1]), &[Arg::U64(x), Arg::U64(y)])?;
    let mut bytes = vec![0; out];
    sim.read_checked(y, &mut bytes)?;
    Ok((bytes, stats))
}

/// [`launch`] of one warp, which must be clean.
pub fn clean(ptx: &str, input: &[u8], out: usize) -> Vec<u8> {
    launch(Sim::builder(), ptx, 32, input, out).unwrap_or_else(|e| panic!("{e}\n{ptx}")).0
}

pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
}
