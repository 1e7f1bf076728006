//! Matrix descriptors of `wgmma`: where in shared memory the elements of an operand lie.
//!
//! A descriptor holds the start address (bits 0-13), the leading and the stride byte offset (bits 16-29, 32-45), all in units of
//! 16 bytes, a base offset (bits 49-51) and the swizzle (bits 62-63: none, 128, 64, 32 bytes). Memory is made of 16-byte chunks.
//! With `w` the width of the swizzle, T elements in a chunk, `mn` the row of A (the column of B):
//!
//! | | K-major: chunk of `(mn, k / T)` | MN-major (16-bit types): chunk of `(mn / 8, k)` |
//! |---|---|---|
//! | no swizzle | `mn / 8 * stride + mn % 8 * 16 + k / T * leading` | `mn / 8 * stride + k % 8 * 16 + k / 8 * leading` |
//! | swizzle | `mn / 8 * stride + mn % 8 * w + k / T * 16` | `mn % (w / 2) * 2 + mn / (w / 2) * leading + k % 8 * w + k / 8 * stride` |
//!
//! The swizzle then exchanges chunks: of the address, the bits of the chunk within `w` bytes are XORed with the number of the
//! 128-byte line (from bit 7), counted from where the pattern starts, which the base offset gives.

/// A descriptor, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    base: u64,
    /// Width of the swizzle in bytes; 16 without.
    width: u64,
}

impl Descriptor {
    pub(crate) fn new(bits: u64) -> Descriptor {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        Descriptor {
            start: field(0),
            leading: field(16),
            stride: field(32),
            base: bits >> 49 & 7,
            width: [16, 128, 64, 32][(bits >> 62) as usize],
        }
    }

    fn swizzle(&self, address: u64) -> u64 {
        let chunks = self.width / 16 - 1;
        address ^ (((address >> 7).wrapping_sub(self.base) & chunks) << 4)
    }

    /// Address of the chunk that holds row `mn`, elements `16 * chunk` bytes .. of K.
    pub(crate) fn k_major(&self, mn: u64, chunk: u64) -> u64 {
        let (step, row) = if self.width == 16 { (self.leading, 16) } else { (16, self.width) };
        self.swizzle(self.start + mn / 8 * self.stride + mn % 8 * row + chunk * step)
    }

    /// Address of the chunk that holds rows `8 * block ..` of column `k`, for 16-bit elements.
    pub(crate) fn mn_major(&self, block: u64, k: u64) -> u64 {
        if self.width == 16 {
            return self.start + block * self.stride + k % 8 * 16 + k / 8 * self.leading;
        }
        let across = self.width / 16;
        let at =
            block % across * 16 + block / across * self.leading + k % 8 * self.width + k / 8 * self.stride;
        self.swizzle(self.start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swizzles_permute_the_chunks_of_a_line() {
        for (code, width) in [(1u64, 128), (2, 64), (3, 32)] {
            let d = Descriptor::new(code << 62 | (8 * width / 16) << 32 | 1024 >> 4);
            let mut seen: Vec<u64> =
                (0..16).flat_map(|mn| (0..width / 16).map(move |c| d.k_major(mn, c))).collect();
            // Rows of `width` bytes: line 0 is as it is, the next line has neighbours exchanged.
            assert_eq!(seen[..2], [1024, 1040]);
            assert_eq!(d.k_major(128 / width, 0), 1024 + 128 + 16);
            seen.sort_unstable();
            let all: Vec<u64> = (0..16 * width / 16).map(|i| 1024 + 16 * i).collect();
            assert_eq!(seen, all);
        }
    }

    /// A pattern that does not start at a multiple of its size: the base offset moves its phase along.
    #[test]
    fn the_base_offset_moves_the_pattern() {
        let (aligned, shifted) = (
            Descriptor::new(1 << 62 | 64 << 32 | 2048 >> 4),
            Descriptor::new(1 << 62 | 3 << 49 | 64 << 32 | 2432 >> 4),
        );
        for mn in 0..8 {
            for chunk in 0..8 {
                assert_eq!(shifted.k_major(mn, chunk) - 2432, aligned.k_major(mn, chunk) - 2048);
            }
        }
    }
}
