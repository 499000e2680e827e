//! The semantics as scripts. `UPDATE=1` rewrites what they say.

use std::path::Path;

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
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            let mut found: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort_unstable();
            let mut played = vec![$(concat!(stringify!($name), ".txt").to_owned()),*];
            played.sort_unstable();
            assert_eq!(found, played);
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
    expiry,
    extend,
    idempotency,
    keys,
    late,
    lease,
    lost_answer,
    mailboxes,
    order,
    presence,
    read,
    redrive,
    reload,
    schedule,
    settle,
    tasks,
    tokens,
    turns,
    waiting,
    why,
}
