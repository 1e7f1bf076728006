//! Bytes with one "initialised" bit each, and the lane-wise gather and scatter over them.
//!
//! Every space ends here: a global allocation is one arena, the shared memory of a block is one, the local memory of a warp
//! is one with its lanes side by side. Callers have checked bounds; offsets are trusted to be inside only in that a
//! wrong one panics in a slice index rather than touching other memory.

/// Which bytes were written. Costs nothing once nothing is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct InitBits {
    words: Vec<u64>,
    /// Bytes not yet written.
    missing: u64,
}

/// Calls `f(word index, mask)` for the bits `at..at + n`.
#[inline(always)]
fn each_word(at: usize, n: usize, mut f: impl FnMut(usize, u64)) {
    let mut pos = at;
    let end = at + n;
    while pos < end {
        let bit = pos % 64;
        let len = (64 - bit).min(end - pos);
        let mask = if len == 64 { !0 } else { ((1u64 << len) - 1) << bit };
        f(pos / 64, mask);
        pos += len;
    }
}

impl InitBits {
    /// Nothing initialised.
    pub(crate) fn clear(len: usize) -> Self {
        InitBits { words: vec![0; len.div_ceil(64)], missing: len as u64 }
    }

    /// Everything initialised.
    pub(crate) fn full() -> Self {
        InitBits::default()
    }

    pub(crate) fn complete(&self) -> bool {
        self.missing == 0
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize, n: usize) {
        if self.missing == 0 {
            return;
        }
        let (words, missing) = (&mut self.words, &mut self.missing);
        each_word(at, n, |w, mask| {
            *missing -= (mask & !words[w]).count_ones() as u64;
            words[w] |= mask;
        });
    }

    pub(crate) fn unset(&mut self, at: usize, n: usize, len: usize) {
        if self.missing == 0 && self.words.is_empty() {
            self.words = vec![!0; len.div_ceil(64)];
        }
        let (words, missing) = (&mut self.words, &mut self.missing);
        each_word(at, n, |w, mask| {
            *missing += (mask & words[w]).count_ones() as u64;
            words[w] &= !mask;
        });
    }

    #[inline]
    pub(crate) fn test(&self, at: usize, n: usize) -> bool {
        if self.missing == 0 {
            return true;
        }
        let bit = at % 64;
        if bit + n <= 64 && n < 64 {
            let mask = ((1u64 << n) - 1) << bit;
            return self.words[at / 64] & mask == mask;
        }
        let mut ok = true;
        each_word(at, n, |w, mask| ok &= self.words[w] & mask == mask);
        ok
    }

    /// First byte of `at..at + n` that is missing.
    pub(crate) fn first_missing(&self, at: usize, n: usize) -> Option<usize> {
        (at..at + n).find(|&i| !self.test(i, 1))
    }
}

/// Memory of one allocation, block or warp.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    pub bytes: Vec<u8>,
    pub init: InitBits,
}

/// Offsets of the lanes.
pub(crate) type Offsets = [usize; 32];

/// Offsets that follow each other without a gap, all lanes active.
#[inline(always)]
pub(crate) fn contiguous(offs: &Offsets, mask: u32, bytes: usize) -> bool {
    if mask != !0 {
        return false;
    }
    let first = offs[0];
    let mut same = true;
    for (l, &o) in offs.iter().enumerate() {
        same &= o == first.wrapping_add(l * bytes);
    }
    same
}

impl Arena {
    pub(crate) fn new(len: usize) -> Self {
        Arena { bytes: vec![0; len], init: InitBits::clear(len) }
    }

    /// First active lane that reads a missing byte.
    #[inline]
    pub(crate) fn uninitialised(&self, offs: &Offsets, mask: u32, bytes: usize) -> Option<u32> {
        if self.init.complete() {
            return None;
        }
        if contiguous(offs, mask, bytes) && self.init.test(offs[0], 32 * bytes) {
            return None;
        }
        (0..32).find(|&l| mask >> l & 1 != 0 && !self.init.test(offs[l as usize], bytes))
    }

    #[inline]
    pub(crate) fn initialise(&mut self, offs: &Offsets, mask: u32, bytes: usize) {
        if self.init.complete() {
            return;
        }
        if contiguous(offs, mask, bytes) {
            return self.init.set(offs[0], 32 * bytes);
        }
        for l in 0..32 {
            if mask >> l & 1 != 0 {
                self.init.set(offs[l], bytes);
            }
        }
    }
}

macro_rules! lanes {
    ($gather:ident, $scatter:ident, $t:ty) => {
        impl Arena {
            /// Reads one element per active lane, `add` bytes behind its offset.
            #[inline]
            pub(crate) fn $gather(&self, offs: &Offsets, add: usize, mask: u32) -> [$t; 32] {
                const N: usize = size_of::<$t>();
                let mut out = [0; 32];
                if add == 0 && contiguous(offs, mask, N) {
                    let src = &self.bytes[offs[0]..offs[0] + 32 * N];
                    for (o, b) in out.iter_mut().zip(src.chunks_exact(N)) {
                        let mut raw = [0; N];
                        raw.copy_from_slice(b);
                        *o = <$t>::from_le_bytes(raw);
                    }
                    return out;
                }
                for l in 0..32 {
                    if mask >> l & 1 != 0 {
                        let at = offs[l] + add;
                        let mut raw = [0; N];
                        raw.copy_from_slice(&self.bytes[at..at + N]);
                        out[l] = <$t>::from_le_bytes(raw);
                    }
                }
                out
            }

            /// Writes one element per active lane; of lanes that write the same place the last one wins.
            #[inline]
            pub(crate) fn $scatter(&mut self, offs: &Offsets, add: usize, mask: u32, v: &[$t; 32]) {
                const N: usize = size_of::<$t>();
                if add == 0 && contiguous(offs, mask, N) {
                    let dst = &mut self.bytes[offs[0]..offs[0] + 32 * N];
                    for (v, b) in v.iter().zip(dst.chunks_exact_mut(N)) {
                        b.copy_from_slice(&v.to_le_bytes());
                    }
                    return;
                }
                for l in 0..32 {
                    if mask >> l & 1 != 0 {
                        let at = offs[l] + add;
                        self.bytes[at..at + N].copy_from_slice(&v[l].to_le_bytes());
                    }
                }
            }
        }
    };
}
lanes!(gather8, scatter8, u8);
lanes!(gather16, scatter16, u16);
lanes!(gather32, scatter32, u32);
lanes!(gather64, scatter64, u64);
