//! FNV-1a in 64 bits (Fowler, Noll, Vo): what identifies architectures, spaces, points and data. A hash is the same on every
//! machine and in every run, so it may stand in files; it is no defence against somebody who wants two things to have one.

/// The hash of nothing.
pub(crate) const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of `words`: of a text its bytes. Words of 32 bits are taken whole, which is another hash than that of their bytes.
pub(crate) fn fnv1a<W: Into<u64>>(words: impl IntoIterator<Item = W>) -> u64 {
    extend(EMPTY, words)
}

/// The hash of what has the hash `before`, followed by `words`.
pub(crate) fn extend<W: Into<u64>>(before: u64, words: impl IntoIterator<Item = W>) -> u64 {
    words.into_iter().fold(before, |h, word| (h ^ word.into()).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_authors() {
        assert_eq!(fnv1a("".bytes()), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a".bytes()), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar".bytes()), 0x8594_4171_f739_67e8);
        assert_eq!(extend(fnv1a("foo".bytes()), "bar".bytes()), fnv1a("foobar".bytes()));
    }
}
