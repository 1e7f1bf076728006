//! What one request of a warp costs the memory system, from the offsets of its lanes.
//!
//! Global memory moves 32-byte *sectors*. Shared memory has 32 *banks* of 4 bytes: a *wavefront* serves any number of lanes
//! whose words lie in different banks or are the same word. Accesses of 8 bytes are served per half warp, of 16 bytes
//! per quarter, so that a wavefront never carries more than 128 bytes of different lanes.

use crate::arena::Offsets;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 32;
const BANKS: usize = 32;

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

/// How many different offsets there are, and how many lanes share the most popular one.
pub(crate) fn distinct(offs: &Offsets, mask: u32) -> (u64, u64) {
    let mut sorted: Vec<usize> = lanes(mask).map(|l| offs[l]).collect();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).fold((0, 0), |(n, most), run| (n + 1, most.max(run.len() as u64)))
}

/// Sectors a request touches and the fewest that could hold the different bytes it asks for; calls `touch` with each sector.
pub(crate) fn sectors(offs: &Offsets, mask: u32, bytes: usize, mut touch: impl FnMut(usize)) -> (u64, u64) {
    let bytes = bytes.max(1);
    let mut seen: Vec<usize> =
        lanes(mask).flat_map(|l| offs[l] / SECTOR..=(offs[l] + bytes - 1) / SECTOR).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.iter().for_each(|&s| touch(s));
    let different = distinct(offs, mask).0 * bytes as u64;
    (seen.len() as u64, different.div_ceil(SECTOR as u64))
}

/// Wavefronts a request to shared memory takes, and the wavefronts it would take without conflicts.
pub(crate) fn wavefronts(offs: &Offsets, mask: u32, bytes: usize) -> (u64, u64) {
    let bytes = bytes.max(1);
    let group = (4 * BANKS / bytes.max(4)).max(1);
    let (mut took, mut ideal) = (0, 0);
    for first in (0..32).step_by(group) {
        let here = (0..32).filter(|l| *l >= first && *l < first + group && mask >> l & 1 != 0);
        let mut words: Vec<usize> = here.flat_map(|l| offs[l] / 4..=(offs[l] + bytes - 1) / 4).collect();
        if words.is_empty() {
            continue;
        }
        words.sort_unstable();
        words.dedup();
        let mut banks = [0u64; BANKS];
        words.iter().for_each(|w| banks[w % BANKS] += 1);
        took += banks.iter().max().copied().unwrap_or(0);
        ideal += (bytes as u64).div_ceil(4 * BANKS as u64);
    }
    (took, ideal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(f: impl Fn(usize) -> usize) -> Offsets {
        Offsets::from(std::array::from_fn(f))
    }

    #[test]
    fn sectors_of_strides() {
        let count = |f: &dyn Fn(usize) -> usize, bytes| sectors(&offsets(f), !0, bytes, |_| {});
        assert_eq!(count(&|l| 4 * l, 4), (4, 4));
        assert_eq!(count(&|l| 8 * l, 4), (8, 4));
        assert_eq!(count(&|l| 32 * l, 4), (32, 4));
        assert_eq!(count(&|l| 16 * l, 16), (16, 16));
        assert_eq!(count(&|l| 4 * l + 4, 4), (5, 4), "one word off its sector");
        assert_eq!(count(&|_| 12, 4), (1, 1), "a broadcast");
        assert_eq!(count(&|l| l, 1), (1, 1));
        let mut seen = vec![];
        sectors(&offsets(|l| 64 * (31 - l)), 0b1011, 8, |s| seen.push(s));
        assert_eq!(seen, [56, 60, 62]);
    }

    #[test]
    fn wavefronts_of_strides() {
        let count = |f: &dyn Fn(usize) -> usize, bytes| wavefronts(&offsets(f), !0, bytes);
        assert_eq!(count(&|l| 4 * l, 4), (1, 1));
        assert_eq!(count(&|l| 4 * (l ^ 5), 4), (1, 1), "any permutation");
        assert_eq!(count(&|_| 64, 4), (1, 1), "a broadcast");
        assert_eq!(count(&|l| 8 * l, 4), (2, 1), "stride 2");
        assert_eq!(count(&|l| 128 * l, 4), (32, 1), "a column");
        assert_eq!(count(&|l| 132 * l, 4), (1, 1), "a padded column");
        assert_eq!(count(&|l| l, 1), (1, 1), "bytes of the same words");
        assert_eq!(count(&|l| 8 * l, 8), (2, 2), "64 bits, half warps");
        assert_eq!(count(&|l| 16 * l, 16), (4, 4), "128 bits, quarter warps");
        assert_eq!(count(&|l| 32 * l, 16), (8, 4));
        assert_eq!(wavefronts(&offsets(|l| 128 * l), 0b111, 4), (3, 1), "active lanes alone count");
    }

    #[test]
    fn equal_addresses() {
        assert_eq!(distinct(&offsets(|l| 4 * (l % 3)), !0), (3, 11));
        assert_eq!(distinct(&offsets(|l| l), 0), (0, 0));
    }
}
