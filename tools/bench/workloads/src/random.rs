//! The one source of randomness: SplitMix64, seeded.

/// A seeded generator; a clone continues with the same numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True `share` of the time, `share` in 0..=1.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.draw() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// In `0..bound`, with a density of 1/(rank + 1): few popular, many rare.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let uniform = (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
        (((bound + 1) as f64).powf(uniform) as u64 - 1).min(bound - 1)
    }

    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}
