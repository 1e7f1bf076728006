//! Bytes with one "initialised" bit each, and the lane-wise gather and scatter over them.
//!
//! Every space ends here: a global allocation is one arena, the shared memory of a block is one, the local memory of a warp
//! is one with its lanes side by side. Callers have checked bounds; offsets are trusted to be inside only in that a
//! wrong one panics in a slice index rather than touching other memory.

use crate::alias::Alias;

/// Which bytes were written. Costs nothing once nothing is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct InitBits {
    words: Vec<u64>,
    /// Bytes not yet written.
    missing: u64,
}

/// Calls `f(word index, mask)` for the bits `at..at + n`.
#[inline(always)]
pub(crate) fn each_word(at: usize, n: usize, mut f: impl FnMut(usize, u64)) {
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

    /// The bits, for a time in which they are only set.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        if self.missing == 0 { &mut [] } else { &mut self.words }
    }

    /// Counts anew what is missing of `len` bytes, after that time.
    pub(crate) fn recount(&mut self, len: usize) {
        if self.missing > 0 {
            self.missing = len as u64;
            each_word(0, len, |w, mask| self.missing -= (self.words[w] & mask).count_ones() as u64);
        }
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
    /// In place of both: what other threads access, too. Only global memory, only while blocks run in parallel.
    pub alias: Option<Alias>,
}

/// How the lanes of one half of a warp lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No pattern known.
    #[default]
    Mixed,
    /// All at one place.
    Same,
    /// One behind the other without a gap.
    Unit,
}

/// Offsets of the lanes in an arena. Halves of a warp that read one element, or a run of them, are known as such: tiles of 16
/// columns make them as common as whole warps that do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offsets {
    at: [usize; 32],
    shape: [Shape; 2],
    /// Bytes of a lane's access.
    pitch: usize,
}

impl std::ops::Deref for Offsets {
    type Target = [usize; 32];
    #[inline(always)]
    fn deref(&self) -> &[usize; 32] {
        &self.at
    }
}

/// Elements of `bytes` one behind the other without a gap, all lanes active.
#[inline(always)]
pub(crate) fn contiguous(offs: &Offsets, mask: u32, bytes: usize) -> bool {
    offs.run(mask, bytes).is_some()
}

impl From<[usize; 32]> for Offsets {
    /// Offsets without a known pattern.
    fn from(at: [usize; 32]) -> Self {
        Offsets { at, ..Offsets::default() }
    }
}

impl Offsets {
    /// Becomes the offsets of 32 addresses, if all lie in `start..=start + room` and have offsets that are multiples of `align`;
    /// the first such address has offset `first`.
    #[inline(always)]
    pub(crate) fn all_inside(
        &mut self,
        addrs: &[u64; 32],
        start: u64,
        room: u64,
        first: u64,
        bytes: u32,
        align: usize,
    ) -> bool {
        // Beyond the room, one of these two has its top bit set: no room is that large.
        let (mut beyond, mut low) = (0, 0);
        for l in 0..32 {
            let o = addrs[l].wrapping_sub(start);
            beyond |= o | room.wrapping_sub(o);
            self.at[l] = o.wrapping_add(first) as usize;
            low |= self.at[l];
        }
        self.pitch = bytes as usize;
        self.shape = shapes(&self.at, bytes as usize);
        beyond >> 63 == 0 && low & (align - 1) == 0
    }

    /// Becomes the offsets of the lanes of `mask` whose addresses lie in `start..=start + room`, and says which these are. The
    /// first such address has offset `first`; lanes outside have it, too.
    pub(crate) fn inside(
        &mut self,
        addrs: &[u64; 32],
        start: u64,
        room: u64,
        first: u64,
        mask: u32,
        bytes: u32,
    ) -> u32 {
        if mask == !0 && self.all_inside(addrs, start, room, first, bytes, 1) {
            return mask;
        }
        let mut part = 0;
        for l in 0..32 {
            let o = addrs[l].wrapping_sub(start);
            let inside = o <= room;
            self.at[l] = (if inside { o } else { 0 }).wrapping_add(first) as usize;
            part |= (inside as u32) << l;
        }
        self.pitch = bytes as usize;
        self.shape = [Shape::Mixed; 2];
        part & mask
    }

    /// Gives every lane a memory of its own of `stride` bytes.
    #[inline]
    pub(crate) fn spread(&mut self, stride: usize) {
        for (l, o) in self.at.iter_mut().enumerate() {
            *o += l * stride;
        }
        self.shape = [Shape::Mixed; 2];
    }

    /// How many sectors of 32 bytes the lanes touch, where that is quickly told: in runs of bytes, and where the lanes of each
    /// half go upwards and the halves keep apart or do the same.
    #[inline(always)]
    pub(crate) fn sectors(&self, mask: u32, bytes: usize) -> Option<usize> {
        if mask != !0 {
            return None;
        }
        let (low, high) = (self.half(0, bytes)?, self.half(1, bytes)?);
        let [(a, b, n), (c, d, m)] = [low, high];
        if b < c || d < a {
            return Some(n + m);
        }
        if n == b - a + 1 && m == d - c + 1 {
            // Both without holes: the sectors they share count once.
            return Some(n + m - (b.min(d) - a.max(c) + 1));
        }
        let same = (0..16).fold(0, |x, l| x | self.at[l] ^ self.at[16 + l]) == 0;
        same.then_some(n)
    }

    /// First sector, last sector and number of sectors of a half of the warp.
    #[inline(always)]
    fn half(&self, h: usize, bytes: usize) -> Option<(usize, usize, usize)> {
        let at = &self.at[16 * h..16 * h + 16];
        let run = |len: usize| (at[0] / 32, (at[0] + len - 1) / 32);
        let (first, last) = match self.shape[h] {
            Shape::Same => run(bytes),
            Shape::Unit => run(16 * bytes),
            Shape::Mixed => {
                let (mut down, mut across, mut n) = (0, 0, 1);
                for l in 0..15 {
                    let (a, b) = (at[l] / 32, at[l + 1] / 32);
                    down |= b.wrapping_sub(a);
                    n += (a != b) as usize;
                }
                at.iter().for_each(|o| across |= (o % 32 + bytes - 1) / 32);
                let upwards = down >> (usize::BITS - 1) == 0 && across == 0;
                return upwards.then_some((at[0] / 32, at[15] / 32, n));
            }
        };
        Some((first, last, last - first + 1))
    }

    /// First byte of a warp that touches its elements one behind the other, all lanes active.
    #[inline]
    fn run(&self, mask: u32, bytes: usize) -> Option<usize> {
        let whole = self.shape == [Shape::Unit; 2]
            && self.pitch == bytes
            && self.at[16] == self.at[0] + 16 * bytes
            && mask == !0;
        whole.then_some(self.at[0])
    }
}

#[inline(always)]
fn shapes(at: &[usize; 32], bytes: usize) -> [Shape; 2] {
    let mut shape = [Shape::Mixed; 2];
    for (h, shape) in shape.iter_mut().enumerate() {
        let first = at[16 * h];
        let (mut same, mut unit) = (0, 0);
        for l in 0..16 {
            same |= at[16 * h + l] ^ first;
            unit |= at[16 * h + l] ^ first.wrapping_add(l * bytes);
        }
        *shape = match (same, unit) {
            (0, _) => Shape::Same,
            (_, 0) => Shape::Unit,
            _ => Shape::Mixed,
        };
    }
    shape
}

impl Arena {
    pub(crate) fn new(len: usize) -> Self {
        Arena { bytes: vec![0; len], init: InitBits::clear(len), alias: None }
    }

    /// First active lane that reads a missing byte.
    #[inline]
    pub(crate) fn uninitialised(&self, offs: &Offsets, mask: u32, bytes: usize) -> Option<u32> {
        if self.init.complete() {
            return None;
        }
        if let Some(from) = offs.run(mask, bytes)
            && self.init.test(from, 32 * bytes)
        {
            return None;
        }
        (0..32).find(|&l| mask >> l & 1 != 0 && !self.init.test(offs[l as usize], bytes))
    }

    #[inline]
    pub(crate) fn initialise(&mut self, offs: &Offsets, mask: u32, bytes: usize) {
        if self.init.complete() {
            if let Some(alias) = &self.alias {
                (0..32).filter(|l| mask >> l & 1 != 0).for_each(|l| alias.initialise(offs[l], bytes));
            }
            return;
        }
        if let Some(from) = offs.run(mask, bytes) {
            return self.init.set(from, 32 * bytes);
        }
        for l in 0..32 {
            if mask >> l & 1 != 0 {
                self.init.set(offs[l], bytes);
            }
        }
    }
}

impl Arena {
    /// Copies bytes out.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) {
        match &self.alias {
            Some(alias) => alias.read(at, out),
            None => out.copy_from_slice(&self.bytes[at..at + out.len()]),
        }
    }

    /// Copies bytes in.
    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        match &self.alias {
            Some(alias) => alias.write(at, data),
            None => self.bytes[at..at + data.len()].copy_from_slice(data),
        }
    }

    /// Replaces the element of `bytes` (2, 4 or 8) at `at` by `f` of it; the element before.
    #[inline]
    pub(crate) fn update(&mut self, at: usize, bytes: usize, f: impl Fn(u64) -> u64) -> u64 {
        if let Some(alias) = &self.alias {
            return alias.update(at, bytes, f);
        }
        let slot = &mut self.bytes[at..at + bytes];
        let mut raw = [0; 8];
        raw[..bytes].copy_from_slice(slot);
        let old = u64::from_le_bytes(raw);
        slot.copy_from_slice(&f(old).to_le_bytes()[..bytes]);
        old
    }
}

macro_rules! lanes {
    ($gather:ident, $scatter:ident, $gather_shared:ident, $scatter_shared:ident, $load:ident, $store:ident, $t:ty) => {
        impl Arena {
            #[inline(never)]
            fn $gather_shared(alias: &Alias, offs: &Offsets, add: usize, mask: u32, out: &mut [$t; 32]) {
                for l in (0..32).filter(|l| mask >> l & 1 != 0) {
                    out[l] = alias.$load(offs[l] + add);
                }
            }

            #[inline(never)]
            fn $scatter_shared(alias: &Alias, offs: &Offsets, add: usize, mask: u32, v: &[$t; 32]) {
                for l in (0..32).filter(|l| mask >> l & 1 != 0) {
                    alias.$store(offs[l] + add, v[l]);
                }
            }

            /// Reads one element per active lane, `add` bytes behind its offset. Other lanes of `out` stay.
            #[inline(always)]
            pub(crate) fn $gather(&self, offs: &Offsets, add: usize, mask: u32, out: &mut [$t; 32]) {
                const N: usize = size_of::<$t>();
                if let Some(alias) = &self.alias {
                    return Self::$gather_shared(alias, offs, add, mask, out);
                }
                let (halves, _) = out.as_chunks_mut::<16>();
                for (h, out) in halves.iter_mut().enumerate() {
                    let from = offs[16 * h] + add;
                    match offs.shape[h] {
                        Shape::Same => {
                            let mut raw = [0; N];
                            raw.copy_from_slice(&self.bytes[from..from + N]);
                            *out = [<$t>::from_le_bytes(raw); 16];
                        }
                        Shape::Unit if offs.pitch == N => {
                            let (src, _) = self.bytes[from..from + 16 * N].as_chunks::<N>();
                            for (o, raw) in out.iter_mut().zip(src) {
                                *o = <$t>::from_le_bytes(*raw);
                            }
                        }
                        _ if mask == !0 => {
                            for (l, o) in out.iter_mut().enumerate() {
                                let at = offs[16 * h + l] + add;
                                let mut raw = [0; N];
                                raw.copy_from_slice(&self.bytes[at..at + N]);
                                *o = <$t>::from_le_bytes(raw);
                            }
                        }
                        _ => {
                            for l in 0..16 {
                                if mask >> (16 * h + l) & 1 != 0 {
                                    let at = offs[16 * h + l] + add;
                                    let mut raw = [0; N];
                                    raw.copy_from_slice(&self.bytes[at..at + N]);
                                    out[l] = <$t>::from_le_bytes(raw);
                                }
                            }
                        }
                    }
                }
            }

            /// Writes one element per active lane; of lanes that write the same place the last one wins.
            #[inline(always)]
            pub(crate) fn $scatter(&mut self, offs: &Offsets, add: usize, mask: u32, v: &[$t; 32]) {
                const N: usize = size_of::<$t>();
                if let Some(alias) = &self.alias {
                    return Self::$scatter_shared(alias, offs, add, mask, v);
                }
                for h in 0..2 {
                    let Some(v) = v.as_chunks::<16>().0.get(h) else { return };
                    if mask == !0 && offs.shape[h] == Shape::Unit && offs.pitch == N {
                        let from = offs[16 * h] + add;
                        let (dst, _) = self.bytes[from..from + 16 * N].as_chunks_mut::<N>();
                        for (v, b) in v.iter().zip(dst) {
                            *b = v.to_le_bytes();
                        }
                        continue;
                    }
                    for l in 0..16 {
                        if mask >> (16 * h + l) & 1 != 0 {
                            let at = offs[16 * h + l] + add;
                            self.bytes[at..at + N].copy_from_slice(&v[l].to_le_bytes());
                        }
                    }
                }
            }
        }
    };
}
lanes!(gather8, scatter8, gather_shared8, scatter_shared8, load8, store8, u8);
lanes!(gather16, scatter16, gather_shared16, scatter_shared16, load16, store16, u16);
lanes!(gather32, scatter32, gather_shared32, scatter_shared32, load32, store32, u32);
lanes!(gather64, scatter64, gather_shared64, scatter_shared64, load64, store64, u64);
