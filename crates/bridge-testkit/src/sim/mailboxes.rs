//! What clients do with mailboxes of their own, besides sending and taking.

use std::time::Duration;

use bridge_core::{Address, Backoff, Class, Command, Label, Name, Order, Purge, SetMailbox};

use super::clients::name;
use crate::{rng::Rng, world::World};

/// A client's mailbox or a group's. Those who send have one too, or get it with their first answer.
pub(super) fn address(rng: &mut Rng) -> Address {
    let label = |text| Label::new(name(text)).unwrap_or_else(|| panic!("{text} is no label"));
    match rng.below(20) {
        0..7 => Address::Client(label("worker")),
        7..11 => Address::Client(label("helper")),
        11..16 => Address::Group(label("resizers")),
        16..18 => Address::Client(label("anna")),
        18 => Address::Client(label("bob")),
        _ => Address::Group(label("late")),
    }
}

/// The only mailbox where all meet.
pub(super) fn narrow() -> Address {
    Address::Client(Label::new(name("worker")).expect("a word is a label"))
}

/// Somebody has that one pass by what pauses, for agents; sometimes otherwise.
pub(super) fn manage_narrow(rng: &mut Rng) -> Command {
    let mut set = set(narrow(), rng);
    if rng.chance(80) {
        set.class = Some(Class::Agent);
        set.order = Some(Order::Keyed);
        set.backoff = Some(Backoff::Skips);
        (set.max_pending, set.max_pending_bytes) = (None, None);
    }
    Command::SetMailbox(set)
}

/// Who sends: one who takes too, one who only sends, one whose name is no address, or nobody in particular.
pub(super) fn sender(rng: &mut Rng) -> Name {
    match rng.below(10) {
        0..4 => name("anna"),
        4..7 => name("bob"),
        7 => name("zoe"),
        8 => name("all"),
        _ => name(Name::NOBODY),
    }
}

/// The types of messages that a receiver wants: mostly all.
pub(super) fn types(rng: &mut Rng) -> Vec<Name> {
    match rng.below(20) {
        0..16 => Vec::new(),
        16 => vec![name("message")],
        17 => vec![name("command")],
        18 => vec![name("command"), name("answer"), name("bounce")],
        _ => vec![name("never")],
    }
}

/// Somebody looks at mailboxes, or changes how they behave.
pub(super) fn manage(rng: &mut Rng, world: &World) -> Command {
    let mailbox = address(rng);
    match rng.below(100) {
        0..30 => Command::SetMailbox(set(mailbox, rng)),
        30..42 => Command::PauseMailbox(or_any(mailbox, rng, world), name("anna")),
        42..60 => Command::ResumeMailbox(or_any(mailbox, rng, world)),
        60..65 => Command::PurgeMailbox(mailbox, Purge::Try),
        65..75 => Command::PurgeMailbox(or_any(mailbox, rng, world), Purge::Do),
        75..83 => Command::DeleteMailbox(mailbox),
        83..93 => Command::InspectMailbox(mailbox),
        _ => Command::ListMailboxes(rng.chance(50).then_some(mailbox), 1 + rng.below(4) as usize),
    }
}

/// This mailbox, or any that is there, a conversation's among them.
fn or_any(mailbox: Address, rng: &mut Rng, world: &World) -> Address {
    let there: Vec<_> = world.disk().mailboxes().map(|mailbox| &mailbox.address).collect();
    rng.pick(&there).filter(|_| rng.chance(20)).map_or(mailbox, |any| (*any).clone())
}

/// Some of what can be said: mostly several things at once, and limits that matter or do not.
fn set(address: Address, rng: &mut Rng) -> SetMailbox {
    let any = rng.pick(&Class::ALL).copied();
    let class = any.filter(|_| rng.chance(70)).or_else(|| rng.chance(70).then_some(Class::Agent));
    let limit = |rng: &mut Rng, percent, small: u64| {
        let below = if rng.chance(60) { small } else { 100 * small };
        // None is that of its class.
        rng.chance(percent).then(|| u32::try_from(rng.below(below + 1)).ok().filter(|limit| *limit > 0))
    };
    SetMailbox {
        class,
        order: rng.chance(70).then(|| if rng.chance(40) { Order::Loose } else { Order::Keyed }),
        backoff: rng.chance(70).then(|| if rng.chance(40) { Backoff::Skips } else { Backoff::Blocks }),
        max_pending: limit(rng, 30, 10),
        max_pending_bytes: limit(rng, 15, 100).map(|bytes| bytes.map(u64::from)),
        lease: limit(rng, 40, 20).map(|secs| secs.map(u64::from).map(Duration::from_secs)),
        max_failures: limit(rng, 40, 4),
        ..SetMailbox::new(address)
    }
}
