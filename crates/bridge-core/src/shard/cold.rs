//! Rows that are not live: fetched for a command, or written lately.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    message::{Headers, Message},
    store::{Row, RowKey},
};

/// A bounded memory of rows, and of keys that have none.
///
/// *Invariant:* what it says about a key is what the store says once the current step is committed, but for the contents of
/// messages.
#[derive(Debug, Default)]
pub(super) struct Cold {
    rows: BTreeMap<RowKey, Option<Row>>,
    /// Keys in the order they came; one that is gone from `rows` is stale.
    order: VecDeque<RowKey>,
    /// Keys that came since rows were last forgotten: the next step may be about them.
    fresh: usize,
}

impl Cold {
    pub(super) fn contains(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn get(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)?.as_ref()
    }

    /// Of a message all but its content is kept: that can be large, and no rule is about it.
    pub(super) fn insert(&mut self, key: RowKey, row: Option<Row>) {
        let row = match row {
            Some(Row::Message(message)) => {
                let message = Arc::unwrap_or_clone(message);
                Some(Row::Message(Arc::new(Message {
                    headers: Headers::new(),
                    payload: Bytes::new(),
                    ..message
                })))
            }
            row => row,
        };
        if self.rows.insert(key.clone(), row).is_none() {
            self.order.push_back(key);
            self.fresh += 1;
        }
    }

    /// Keeps a row that was just written.
    pub(super) fn keep(&mut self, row: Row) {
        self.insert(row.key(), Some(row));
    }

    /// Forgets nothing the next time: somebody has asked for rows that were forgotten, and must find them all together.
    pub(super) fn hold(&mut self) {
        self.fresh = self.order.len();
    }

    /// Forgets the oldest rows beyond `max`, but none that came since the last time. Only between steps: what a step wrote
    /// is in the store by then.
    pub(super) fn trim(&mut self, max: usize) {
        let most = max.max(self.fresh);
        self.fresh = 0;
        while self.order.len() > most {
            let Some(key) = self.order.pop_front() else { break };
            self.rows.remove(&key);
        }
    }
}
