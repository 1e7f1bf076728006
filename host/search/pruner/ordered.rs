//! Numbers in order, with cheap insertion anywhere: short sorted blocks, one after the other.
//!
//! With blocks of up to 512 numbers, 100,000 of them are about 300 blocks: an insertion is a binary search among the blocks,
//! one in a block, and a move of at most 4 kB; the k-th number is found by adding up the lengths of the blocks.

/// Most numbers in a block; a full one is split in two.
const BLOCK: usize = 512;

/// Numbers in order; no NaN.
#[derive(Clone, Debug, Default)]
pub(super) struct Ordered {
    /// None empty.
    blocks: Vec<Vec<f64>>,
    len: usize,
}

impl Ordered {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The block that `x` belongs into: the last that starts at or below it.
    fn block(&self, x: f64) -> usize {
        self.blocks.partition_point(|b| b[0] <= x).saturating_sub(1)
    }

    pub(super) fn insert(&mut self, x: f64) {
        self.len += 1;
        if self.blocks.is_empty() {
            return self.blocks.push(vec![x]);
        }
        let i = self.block(x);
        let block = &mut self.blocks[i];
        block.insert(block.partition_point(|y| *y <= x), x);
        if block.len() > BLOCK {
            let upper = block.split_off(BLOCK / 2);
            self.blocks.insert(i + 1, upper);
        }
    }

    /// Takes one number out that equals `x`, if there is one.
    pub(super) fn remove(&mut self, x: f64) {
        let i = self.block(x);
        let Some(block) = self.blocks.get_mut(i) else { return };
        // The last block that starts at or below x holds one, if any does.
        let at = block.partition_point(|y| *y < x);
        if block.get(at) == Some(&x) {
            block.remove(at);
            self.len -= 1;
            if block.is_empty() {
                self.blocks.remove(i);
            }
        }
    }

    /// The `k`-th smallest, from 0.
    pub(super) fn nth(&self, mut k: usize) -> Option<f64> {
        for block in &self.blocks {
            match block.get(k) {
                Some(x) => return Some(*x),
                None => k -= block.len(),
            }
        }
        None
    }

    /// The percentile `p` (0 to 100), linear between its neighbours.
    pub(super) fn percentile(&self, p: f64) -> Option<f64> {
        let place = p / 100.0 * self.len.checked_sub(1)? as f64;
        let (low, part) = (self.nth(place.floor() as usize)?, place.fract());
        if part == 0.0 {
            return Some(low);
        }
        let high = self.nth(place.floor() as usize + 1)?;
        // Equal neighbours may be infinite.
        Some(if high == low { low } else { low + part * (high - low) })
    }

    /// The longest block: what the cost of an insertion depends on.
    #[cfg(test)]
    pub(super) fn longest(&self) -> usize {
        self.blocks.iter().map(Vec::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_sorted_list(steps in proptest::collection::vec((0u8..40, prop::bool::weighted(0.3)), 1..2500), p in 0.0..=100.0f64) {
            let (mut ordered, mut list) = (Ordered::default(), Vec::<f64>::new());
            for (x, remove) in steps {
                let x = f64::from(x);
                if remove {
                    ordered.remove(x);
                    if let Some(at) = list.iter().position(|y| *y == x) {
                        list.remove(at);
                    }
                } else {
                    ordered.insert(x);
                    list.insert(list.partition_point(|y| *y <= x), x);
                }
            }
            prop_assert_eq!(ordered.len(), list.len());
            prop_assert!(ordered.longest() <= BLOCK);
            for k in 0..=list.len() {
                prop_assert_eq!(ordered.nth(k), list.get(k).copied());
            }
            let place = p / 100.0 * (list.len().max(1) - 1) as f64;
            let expected = list.get(place as usize).map(|low| {
                let high = list[(place as usize + 1).min(list.len() - 1)];
                low + (high - low) * place.fract()
            });
            match (ordered.percentile(p), expected) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn blocks_stay_short() {
        let mut ordered = Ordered::default();
        for i in 0..100_000u64 {
            ordered.insert((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64);
        }
        assert!(ordered.longest() <= BLOCK && ordered.blocks.len() < 500, "{}", ordered.blocks.len());
    }
}
