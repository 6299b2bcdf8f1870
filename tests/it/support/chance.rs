//! Random moments that can be had again: the seed is printed, and `FIELDWAY_SEED` sets it.

/// A small generator (SplitMix64), so that a seed means the same in every version of every crate.
pub struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// From `FIELDWAY_SEED`, else from the clock.
    pub fn seeded_or_new() -> Chance {
        let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = std::env::var("FIELDWAY_SEED").map_or_else(|_| now(), |text| text.parse().expect("a number"));
        println!("FIELDWAY_SEED={seed}");
        Chance { seed, state: seed }
    }

    /// What to set `FIELDWAY_SEED` to.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// From 0.0 up to 1.0.
    pub fn fraction(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }

    /// Any order, each as likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
