//! Control: calls, recursion, function pointers, traps, assertions, loops without end.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind};

static CALLS: Kernel = Kernel { name: "calls", ptx: include_str!("ptx/calls.ptx"), run: calls };

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn calls(c: &mut Case<'_>) -> Outcome {
    let x: Vec<u32> = (0..64)
        .map(|i| if i % 8 == 5 { 12 * c.between(1, 1000) + 2 } else { c.between(1, 1 << 30) })
        .collect();
    let e: Vec<u32> = (0..64).map(|i| if i % 5 == 3 { 0 } else { c.between(1, 40) }).collect();
    let (px, pe, out) = (c.upload(&x), c.upload(&e), c.output(64));
    c.launch(2, 32, &[Arg::U64(px), Arg::U64(pe), Arg::U64(out)])?;
    let want: Vec<u32> = x
        .iter()
        .zip(&e)
        .map(|(x, e)| {
            let p = x.wrapping_pow(*e);
            match gcd(*x, 12) % 3 {
                0 => p.wrapping_add(1),
                1 => !p,
                _ => p.wrapping_mul(3),
            }
        })
        .collect();
    c.expect(out, &want)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "recursion without an end",
        kernel: &CALLS,
        from: "setp.eq.u32 %end, %e, 0;",
        to: "setp.eq.u32 %end, %e, 77;",
        expect: &[ErrorKind::StackOverflow],
        at: &["call (result), power, (base, exponent);"],
    },
    Bug {
        name: "call of the table's address instead of its content",
        kernel: &CALLS,
        from: "ld.global.u64 %op, [%entry];",
        to: "mov.u64 %op, %entry;",
        expect: &[ErrorKind::BadCall],
        at: &["call (answer), %op"],
    },
    Bug {
        name: "function table without a bound",
        kernel: &CALLS,
        from: "mul.wide.u32 %off, %k, 8;",
        to: "mul.wide.u32 %off, %a, 8;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.u64 %op, [%entry];"],
    },
    Bug {
        name: "half of a function pointer",
        kernel: &CALLS,
        from: "ld.global.u64 %op, [%entry];",
        to: "ld.global.u32 %op, [%entry];",
        expect: &[ErrorKind::BadCall],
        at: &["call (answer), %op"],
    },
    Bug {
        name: "argument never stored",
        kernel: &CALLS,
        from: "    st.param.b32 [exponent], %e; // kernel\n",
        to: "",
        expect: &[ErrorKind::UninitialisedLocal],
        at: &["ld.param.b32 %e, [e];"],
    },
    Bug {
        name: "result never stored",
        kernel: &CALLS,
        from: "  st.param.b32 [r], %v; // flip\n",
        to: "",
        expect: &[ErrorKind::UninitialisedLocal],
        at: &["ld.param.b32 %v, [answer];"],
    },
    Bug {
        name: "assertion that does not hold",
        kernel: &CALLS,
        from: "rem.u32 %k, %a, 3;",
        to: "rem.u32 %k, %a, 5;",
        expect: &[ErrorKind::AssertionFailed],
        at: &["call __assertfail"],
    },
    Bug {
        name: "zero where none is expected",
        kernel: &CALLS,
        from: "  mov.u32 %a, %b;\n",
        to: "  mov.u32 %a, %rest;\n",
        expect: &[ErrorKind::Trap],
        at: &["@%never trap;"],
    },
    Bug {
        name: "loop that makes no progress",
        kernel: &CALLS,
        from: "mov.u32 %b, %rest;",
        to: "mov.u32 %b, %b;",
        expect: &[ErrorKind::InstructionBudget],
        at: &["rem.u32 %rest", "mov.u32 %a, %b", "mov.u32 %b, %b", "setp.ne.u32 %more", "@%more bra GCD"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
