//! Randomness for the models.

/// Random choices that a seed repeats; a failing run says which seed it was.
pub struct Dice {
    seed: u64,
    state: u64,
    /// The environment variable that repeats the run.
    variable: &'static str,
}

impl Dice {
    /// These seeds, or the one that `CASHBOX_SEED` names.
    pub fn runs(seeds: std::ops::Range<u64>) -> Vec<Dice> {
        let chosen = std::env::var("CASHBOX_SEED").ok().and_then(|seed| seed.parse().ok());
        let seeds = chosen.map_or(seeds, |seed| seed..seed + 1);
        seeds.map(|seed| Dice { seed, state: seed, variable: "CASHBOX_SEED" }).collect()
    }

    /// The seed that this variable names, or this one.
    pub fn seeded_by(variable: &'static str, usual: u64) -> Dice {
        let seed = std::env::var(variable).ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual);
        Dice { seed, state: seed, variable }
    }

    /// Other dice of the same run, for another thread.
    pub fn branch(&mut self) -> Dice {
        let state = self.below(usize::MAX) as u64;
        Dice { state, ..*self }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this run again: {}={}", self.variable, self.seed);
        }
    }
}
