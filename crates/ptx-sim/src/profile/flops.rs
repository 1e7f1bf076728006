//! Floating-point operations of an instruction, from its opcode, as profilers count them: additions, multiplications,
//! divisions, roots and elementary functions are one per result, fused multiply-adds two; comparisons, minima, negations,
//! conversions and the additions of atomics are none. Tensor-core operations are counted where they are executed.

use crate::alu::Opcode;

/// Precision an operation is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Half,
    Single,
    Double,
}

/// What one lane computes in one instruction, in a byte: results in bits 0 to 3, fused in bit 4, precision above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flops(u8);

impl Flops {
    pub(crate) fn of(op: &Opcode<'_>) -> Self {
        let fused = matches!(op.base, "fma" | "mad");
        let plain = matches!(
            op.base,
            "add" | "sub" | "mul" | "div" | "sqrt" | "rcp" | "rsqrt" | "sin" | "cos" | "ex2" | "lg2" | "tanh"
        );
        if !fused && !plain {
            return Flops(0);
        }
        // The first type named is the result's: `fma.rn.f32.f16` computes in f32.
        let found = op.mods.iter().find_map(|m| {
            Some(match *m {
                "f16" | "bf16" => (1, 0),
                "f16x2" | "bf16x2" => (2, 0),
                "f32" => (1, 1),
                "f32x2" => (2, 1),
                "f64" => (1, 2),
                _ => return None,
            })
        });
        found.map_or(Flops(0), |(results, precision): (u8, u8)| {
            Flops(results | (fused as u8) << 4 | precision << 5)
        })
    }

    /// Results of a lane.
    pub(crate) fn results(self) -> u64 {
        (self.0 & 15) as u64
    }

    /// Operations of a lane.
    pub(crate) fn operations(self) -> u64 {
        self.results() << (self.0 >> 4 & 1)
    }

    pub(crate) fn precision(self) -> Precision {
        match self.0 >> 5 {
            0 => Precision::Half,
            1 => Precision::Single,
            _ => Precision::Double,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes() {
        let count = |text| {
            let f = Flops::of(&Opcode::new(text));
            (f.results(), f.operations(), f.precision())
        };
        assert_eq!(count("add.rn.f32"), (1, 1, Precision::Single));
        assert_eq!(count("fma.rn.ftz.f32"), (1, 2, Precision::Single));
        assert_eq!(count("fma.rn.f32.f16"), (1, 2, Precision::Single));
        assert_eq!(count("fma.rn.bf16x2"), (2, 4, Precision::Half));
        assert_eq!(count("div.rn.f64"), (1, 1, Precision::Double));
        for none in
            ["add.s32", "mad.lo.s32", "max.f32", "neg.f32", "cvt.rn.f32.f64", "mov.f32", "setp.lt.f32"]
        {
            assert_eq!(count(none).1, 0, "{none}");
        }
    }
}
