//! Random numbers of a search: Philox 4x32-10 keyed by the study's seed, with a counter of its own for every
//! (purpose, trial), so that a number depends on nothing that was drawn before or elsewhere.

use gpu_kernels::philox::philox4x32_10;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    stream: u32,
    index: u64,
    block: u32,
    words: [u32; 4],
    left: usize,
}

impl Rng {
    /// The stream of `purpose` (any constant, one for each use) for trial (or generation, or step) `index`.
    pub fn new(seed: u64, purpose: u32, index: u64) -> Rng {
        Rng {
            key: [seed as u32, (seed >> 32) as u32],
            stream: purpose,
            index,
            block: 0,
            words: [0; 4],
            left: 0,
        }
    }

    /// 32 random bits.
    pub fn u32(&mut self) -> u32 {
        if self.left == 0 {
            let counter = [self.block, self.stream, self.index as u32, (self.index >> 32) as u32];
            self.words = philox4x32_10(counter, self.key);
            self.block = self.block.wrapping_add(1);
            self.left = 4;
        }
        self.left -= 1;
        self.words[self.left]
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// Uniform in [0, 1), on multiples of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n` (bias below n / 2^64); 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller's method.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Fisher and Yates' shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_apart() {
        let draw = |seed, purpose, index| {
            let mut rng = Rng::new(seed, purpose, index);
            (0..8).map(|_| rng.u32()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 2, 3 + (1 << 32))] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(7, 0, 0);
        let n = 40_000;
        let uniform: Vec<f64> = (0..n).map(|_| rng.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = |x: &[f64]| x.iter().sum::<f64>() / n as f64;
        let variance = |x: &[f64]| x.iter().map(|v| (v - mean(x)).powi(2)).sum::<f64>() / n as f64;
        // Five standard errors of each.
        let error = |sd: f64| 5.0 * sd / f64::from(n).sqrt();
        assert!((mean(&uniform) - 0.5).abs() < error(0.29), "{}", mean(&uniform));
        assert!((variance(&uniform) - 1.0 / 12.0).abs() < error(0.075));
        assert!(mean(&normal).abs() < error(1.0), "{}", mean(&normal));
        assert!((variance(&normal) - 1.0).abs() < error(1.5), "{}", variance(&normal));
        assert!(uniform.iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(3, 1, 4).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
