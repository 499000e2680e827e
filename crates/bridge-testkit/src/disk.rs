//! What survives a crash: rows and a log, without any waiting.

use std::collections::BTreeMap;

use bridge_core::{Change, Delivery, Event, Row, RowKey, Seq};

/// A store reduced to what a simulation needs: it applies whole batches, at once.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    rows: BTreeMap<RowKey, Row>,
    log: Vec<Event>,
    epoch: u64,
}

impl Disk {
    /// Applies a batch.
    ///
    /// # Panics
    /// If an event does not follow the last one: the shard left a hole in its log.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(row) => {
                    self.rows.insert(row.key(), row.clone());
                }
                Change::Delete(key) => {
                    self.rows.remove(key);
                }
                Change::Append(event) => {
                    assert_eq!(event.seq, self.head().next(), "the log has a hole before {event:?}");
                    self.log.push(event.clone());
                }
                other => unreachable!("a change that the simulation does not know: {other:?}"),
            }
        }
    }

    /// Begins another life; gives its number.
    pub fn acquire(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// The rows a shard is loaded from.
    pub fn live(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.values().filter(|row| row.is_live()).cloned()
    }

    /// One row.
    pub fn get(&self, key: &RowKey) -> Option<Row> {
        self.rows.get(key).cloned()
    }

    /// All deliveries, live or not.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> + '_ {
        self.rows.values().filter_map(|row| match row {
            Row::Delivery(delivery) => Some(&**delivery),
            _ => None,
        })
    }

    /// The whole log.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// The last place taken in it.
    pub fn head(&self) -> Seq {
        self.log.last().map_or(Seq::ZERO, |event| event.seq)
    }
}
