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

/// The page that lists the invariants is complete, and says of each where it is judged.
#[test]
fn every_invariant_is_documented() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = std::fs::read_to_string(format!("{root}/docs/testing.md")).unwrap();
    let judge = format!("{root}/crates/bridge-testkit/src");
    let parts = std::fs::read_dir(format!("{judge}/oracle")).unwrap();
    let parts = parts.map(|file| format!("oracle/{}", file.unwrap().file_name().to_str().unwrap()));
    let parts = parts.chain(["oracle.rs", "twin.rs", "sim.rs"].map(str::to_owned)).collect::<Vec<_>>();
    for invariant in (1..=15).map(|number| format!("I{number}")) {
        let row = page.lines().find(|line| line.starts_with(&format!("| {invariant} | "))).expect(&invariant);
        for part in &parts {
            let code = std::fs::read_to_string(format!("{judge}/{part}")).unwrap();
            let judges =
                code.split("hold!(").any(|call| call.trim_start().starts_with(&format!("\"{invariant}\"")));
            let name = part.trim_end_matches(".rs");
            assert_eq!(row.contains(&format!("`{name}`")), judges, "{invariant} in {part}: {row}");
        }
    }
}
