//! Somebody cleans up: mostly what is due, sometimes too early, and sometimes what is not there.

use bridge_core::{
    Command, Delivery, DeliveryId, RetireSession, Row, Scope, Session, SessionPart, Timestamp,
};

use crate::{disk::Disk, rng::Rng, world::World};

/// Wants something removed.
pub(super) fn clean(rng: &mut Rng, world: &World) -> Command {
    let disk = world.disk();
    match rng.below(10) {
        0..6 => Command::Retire(retiring(rng, world)),
        6..8 => match rng.pick(disk.log()) {
            Some(event) => Command::Trim(event.seq, event.at),
            None => Command::Retire(Vec::new()),
        },
        _ => {
            let closed: Vec<_> = disk.rows().filter_map(closed).collect();
            match rng.pick(&closed) {
                Some((session, closed_at)) => {
                    let (session, closed_at) = (session.id, *closed_at);
                    let part = part(rng, disk, Scope::Session(session));
                    Command::RetireSession(RetireSession { session, closed_at, part })
                }
                None => Command::Retire(retiring(rng, world)),
            }
        }
    }
}

fn closed(row: &Row) -> Option<(&Session, Timestamp)> {
    match row {
        Row::Session(session) => Some((session, session.closed_at?)),
        _ => None,
    }
}

/// Those that are due, or any.
fn retiring(rng: &mut Rng, world: &World) -> Vec<DeliveryId> {
    let any = rng.chance(25);
    let wanted = |delivery: &&Delivery| any || delivery.retire_at.is_some_and(|at| at <= world.now());
    let mut ids: Vec<_> = world.disk().deliveries().filter(wanted).map(|delivery| delivery.id).collect();
    let from = rng.below(ids.len() as u64 + 1);
    ids.rotate_left(usize::try_from(from).unwrap_or(0));
    ids.truncate(1 + usize::try_from(rng.below(6)).unwrap_or(0));
    ids
}

/// What is left of a conversation, itself at last.
fn part(rng: &mut Rng, disk: &Disk, scope: Scope) -> SessionPart {
    let Scope::Session(session) = scope else { unreachable!("a conversation has parts") };
    let (mut messages, mut readers) = (Vec::new(), Vec::new());
    for row in disk.rows() {
        match row {
            Row::Message(message) if message.session == Some(session) => messages.push(message.id),
            Row::Reader(reader) if reader.session == session => readers.push(reader.name.clone()),
            _ => {}
        }
    }
    let events: Vec<_> = disk.log().iter().filter(|event| scope.contains(event)).collect();
    let mut parts = Vec::new();
    if !messages.is_empty() {
        parts.push(SessionPart::Messages(messages));
    }
    if !readers.is_empty() {
        parts.push(SessionPart::Readers(readers));
    }
    if let Some(event) = rng.pick(&events) {
        parts.push(SessionPart::Events(event.seq));
    }
    rng.pick(&parts).cloned().unwrap_or(SessionPart::Itself)
}
