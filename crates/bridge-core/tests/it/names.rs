//! What events are called.

use std::collections::BTreeSet;

use bridge_core::EventKind;
use bridge_testkit::samples;

#[test]
fn the_list_of_names_has_each_event() {
    let names: BTreeSet<_> = samples::events().iter().map(|event| event.kind.name()).collect();
    assert_eq!(names, EventKind::NAMES.into());
}
