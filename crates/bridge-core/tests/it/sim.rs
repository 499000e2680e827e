//! The shard under clients that do anything, crashes and lost answers.

use std::env;

use bridge_testkit::sim;

/// Steps of one seed.
const STEPS: u32 = 80;

/// `BRIDGE_SEED` repeats one seed, `BRIDGE_SEEDS` says how many to try, from `BRIDGE_FIRST_SEED` on.
#[test]
fn the_invariants_hold_over_many_seeds() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
    if let Some(seed) = number("BRIDGE_SEED") {
        return sim::assert_holds(seed, STEPS);
    }
    let first = number("BRIDGE_FIRST_SEED").unwrap_or(0);
    sim::assert_all_hold(first..first + number("BRIDGE_SEEDS").unwrap_or(10_000), STEPS);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        assert_eq!(sim::run(seed, STEPS).trace, sim::run(seed, STEPS).trace, "I14 is broken by seed {seed}");
    }
}

#[test]
fn every_invariant_is_documented() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/testing.md")).unwrap();
    for invariant in 1..=15 {
        assert!(page.contains(&format!("\n| I{invariant} | ")), "I{invariant}");
    }
}
