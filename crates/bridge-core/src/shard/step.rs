//! What one step of a shard wants made durable, and then done.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    vec::Vec,
};

use crate::{
    command::Effect,
    event::Event,
    id::MessageId,
    log::{Scope, Seq},
    store::{Change, Row, RowKey},
};

/// What handling some commands came to: changes to commit first, effects to perform then.
///
/// *Invariant:* a row is written at most once in a step, in its last form.
#[derive(Debug, Default)]
pub struct Step {
    /// What must be durable before any effect is performed.
    pub changes: Vec<Change>,
    /// What to do then, in order.
    pub effects: Vec<Effect>,
    /// Where each row that can change stands in `changes`.
    written: BTreeMap<RowKey, usize>,
}

impl Step {
    /// An empty step.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing came of it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.effects.is_empty()
    }

    pub(super) fn put(&mut self, row: Row) {
        self.write(row.key(), Change::Put(row));
    }

    pub(super) fn delete(&mut self, key: RowKey) {
        self.write(key.clone(), Change::Delete(key));
    }

    pub(super) fn append(&mut self, event: Event) {
        self.changes.push(Change::Append(event));
    }

    pub(super) fn trim(&mut self, scope: Scope, up_to: Seq) {
        self.changes.push(Change::Trim(scope, up_to));
    }

    fn write(&mut self, key: RowKey, change: Change) {
        let before = match &key {
            // It never changes, and is hardly ever removed in the step that wrote it.
            RowKey::Message(id) => match change {
                Change::Put(_) => None,
                _ => self.changes.iter().position(|change| is_message(change, *id)),
            },
            _ => match self.written.entry(key) {
                Entry::Occupied(written) => Some(*written.get()),
                Entry::Vacant(written) => {
                    written.insert(self.changes.len());
                    None
                }
            },
        };
        match before {
            Some(at) => self.changes[at] = change,
            None => self.changes.push(change),
        }
    }
}

/// Whether a change writes a message.
fn is_message(change: &Change, id: MessageId) -> bool {
    matches!(change, Change::Put(Row::Message(message)) if message.id == id)
}
