//! Breakpoints, profiler counters, the clock.

use crate::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// Stops here under a debugger.
#[inline(always)]
#[gpu_only]
pub fn breakpoint() {
    // SAFETY: a breakpoint has no precondition.
    unsafe { asm!("brkpt;", options(nostack)) }
}

/// Adds one for each warp to the hardware profiler counter `counter`.
///
/// # Panics
///
/// If `counter` is above 7.
#[inline(always)]
#[gpu_only]
pub fn profiler_counter(counter: u32) {
    assert!(counter <= 7, "the profiler counters are 0 to 7");
    // The instruction takes an immediate.
    // SAFETY: the counter is in range.
    unsafe {
        match counter {
            0 => asm!("pmevent 0;", options(nomem, nostack)),
            1 => asm!("pmevent 1;", options(nomem, nostack)),
            2 => asm!("pmevent 2;", options(nomem, nostack)),
            3 => asm!("pmevent 3;", options(nomem, nostack)),
            4 => asm!("pmevent 4;", options(nomem, nostack)),
            5 => asm!("pmevent 5;", options(nomem, nostack)),
            6 => asm!("pmevent 6;", options(nomem, nostack)),
            _ => asm!("pmevent 7;", options(nomem, nostack)),
        }
    }
}

/// Clock cycles of this multiprocessor so far.
#[inline(always)]
#[gpu_only]
pub fn clock() -> u64 {
    let cycles: u64;
    // Not `pure`: two reads differ.
    // SAFETY: reading a special register has no precondition.
    unsafe { asm!("mov.u64 {}, %clock64;", out(reg64) cycles, options(nomem, nostack, preserves_flags)) };
    cycles
}
