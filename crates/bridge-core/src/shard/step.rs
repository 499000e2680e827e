//! What one step of a shard wants made durable, and then done.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    command::Effect,
    event::Event,
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
    /// Where each row stands in `changes`.
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

    fn write(&mut self, key: RowKey, change: Change) {
        match self.written.get(&key) {
            Some(&at) => self.changes[at] = change,
            None => {
                self.written.insert(key, self.changes.len());
                self.changes.push(change);
            }
        }
    }
}
