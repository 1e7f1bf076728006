//! Lanes of one store that write equal values to one address.
//!
//! The ISA does not say whose value stays when lanes of a warp store to one place together; where they store the same, nobody can tell.
//! Compilers count on it: Triton lets all lanes of a warp store the warp's partial result. [`crate::access::Memory::store`] hides such
//! repetitions from the race detector: the first lane of each address stands for the others.

/// Lanes of `mask` whose address is that of an earlier lane, and whose values equal that lane's.
pub(crate) fn repeats(addrs: &[u64; 32], mask: u32, equal: impl Fn(usize, usize) -> bool) -> u32 {
    let lanes = || (0..32).filter(|l| mask >> l & 1 != 0);
    // Nearly always addresses ascend.
    let mut ascending = true;
    let mut last = None;
    for l in lanes() {
        ascending &= last.is_none_or(|a| addrs[l] > a);
        last = Some(addrs[l]);
    }
    if ascending {
        return 0;
    }
    let mut out = 0;
    for l in lanes() {
        // Of several earlier lanes at this address the first decides: the others repeat it or are findings themselves.
        if let Some(f) = lanes().take_while(|&f| f < l).find(|&f| addrs[f] == addrs[l]) {
            out |= (equal(f, l) as u32) << l;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_at_one_address_repeat() {
        let mut addrs = std::array::from_fn(|l| 64 - 4 * l as u64);
        assert_eq!(repeats(&addrs, !0, |_, _| true), 0);
        (addrs[3], addrs[7], addrs[9]) = (400, 400, 400);
        assert_eq!(repeats(&addrs, !0, |_, _| true), 1 << 7 | 1 << 9);
        assert_eq!(repeats(&addrs, !0, |a, b| (a, b) != (3, 9)), 1 << 7);
        assert_eq!(repeats(&addrs, !(1 << 3), |_, _| true), 1 << 9);
    }
}
