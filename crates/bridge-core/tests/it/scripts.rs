//! The semantics as scripts. `UPDATE=1` rewrites what they say.

use std::{collections::BTreeSet, path::Path};

/// Declares a test for each script.
macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
                bridge_testkit::script::check(&path.join(concat!(stringify!($name), ".txt")));
            }
        )*

        /// A script that no test names would show nothing.
        #[test]
        fn every_script_is_played() {
            let mut played = vec![$(concat!(stringify!($name), ".txt").to_owned()),*];
            played.sort_unstable();
            assert_eq!(found(), played);
        }
    };
}

scripts! {
    answer,
    asking,
    attempts,
    bounce,
    cancel,
    classes,
    close,
    covers,
    directive,
    events,
    expiry,
    extend,
    idempotency,
    kept_longer,
    keys,
    late,
    lease,
    limits,
    lost_answer,
    mailboxes,
    order,
    presence,
    read,
    redrive,
    reload,
    removal,
    retention,
    schedule,
    settle,
    tasks,
    tokens,
    trimming,
    ttl,
    turns,
    waiting,
    why,
}

/// The page with the rules names a script beside each, and every script beside some rule.
#[test]
fn every_rule_names_the_script_that_shows_it() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/semantics.md")).unwrap();
    let rules = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule "));
    let mut named = BTreeSet::new();
    for rule in rules {
        let script = rule.rsplit("| `").next().and_then(|end| end.strip_suffix("` |"));
        named.insert(format!("{}.txt", script.unwrap_or_else(|| panic!("{rule} names no script"))));
    }
    assert_eq!(named, found().into_iter().collect());
}

/// The scripts there are.
fn found() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(path).expect("the folder is part of the crate");
    let names = entries.map(|entry| entry.expect("a folder can be read to its end").file_name());
    let mut found: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    found.sort_unstable();
    found
}
