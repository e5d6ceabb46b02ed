//! The fuzz targets on the seeds in `tests/seeds` and on mutations of them.

use super::targets::TARGETS;
use crate::dice::Dice;
use std::path::Path;

const MUTATIONS: u64 = 1_000;

fn mutated(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let place = dice.below(bytes.len() + 1);
        match dice.below(4) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, dice.below(256) as u8),
            2 if place < bytes.len() => bytes[place] ^= 1 << dice.below(8),
            _ => {
                let from = dice.below(other.len().max(1));
                let piece = &other[from.min(other.len())..(from + dice.below(12)).min(other.len())];
                bytes.splice(place..place, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn fuzz_targets_take_every_seed_and_mutation() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut dice = Dice::seeded_by("CASHBOX_FUZZ_SEED", 1);
    for (name, run) in TARGETS {
        let files = std::fs::read_dir(seeds.join(name)).expect("every target has seeds");
        let mut seeds: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        seeds.sort(); // folders have no order, and a run must be repeatable
        run(b"");
        for seed in &seeds {
            run(seed);
            for _ in 0..MUTATIONS {
                let other = &seeds[dice.below(seeds.len())];
                run(&mutated(seed, other, &mut dice));
            }
        }
    }
}
