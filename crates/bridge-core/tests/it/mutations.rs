//! Each planted fault is found by the simulation, and named by the invariant it breaks.

use std::panic::catch_unwind;

use bridge_core::fault::Fault;
use bridge_testkit::sim;

/// Steps of one seed, and seeds in which a fault must show itself.
const STEPS: u32 = 80;
const SEEDS: u64 = 2_000;

/// Whether a seed sees this invariant broken.
fn is_broken(invariant: &str, seed: u64) -> bool {
    match catch_unwind(|| sim::judge(seed, STEPS)) {
        Ok(held) => held.is_err_and(|broken| broken.invariant == invariant),
        // The disk of the simulation takes no log with a hole.
        Err(panic) => {
            invariant == "I10"
                && panic.downcast_ref::<String>().is_some_and(|text| text.contains("has a hole"))
        }
    }
}

#[test]
fn every_planted_fault_is_found() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        fault.plant();
        match (0..SEEDS).find(|seed| is_broken(fault.breaks(), *seed)) {
            Some(seed) => println!("{fault:?}: seed {seed} finds that {} is broken", fault.breaks()),
            None => missed.push(format!("nothing finds that {fault:?} breaks {}", fault.breaks())),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The page that lists the faults is complete, and lists nothing else.
#[test]
fn every_mutation_is_documented() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/testing.md")).unwrap();
    let listed: Vec<_> =
        page.lines().filter(|line| line.starts_with("| `") && line.contains("` | I")).collect();
    assert_eq!(listed.len(), Fault::ALL.len());
    for fault in Fault::ALL {
        let row = format!("| `{fault:?}` | {} | ", fault.breaks());
        assert!(listed.iter().any(|line| line.starts_with(&row)), "{row}");
    }
}
