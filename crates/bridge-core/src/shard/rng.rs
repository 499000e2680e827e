//! Jitter that a seed decides.

use core::time::Duration;

/// The generator `SplitMix64`: small, and the same everywhere.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        #[cfg(bridge_fault)]
        if fault!(Dice) {
            self.0 = crate::fault::throw();
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `span`, up to a fifth shorter or longer.
    pub(super) fn jitter(&mut self, span: Duration) -> Duration {
        let thousandths = 800 + u32::try_from(self.next() % 401).expect("below 401");
        span * thousandths / 1_000
    }
}
