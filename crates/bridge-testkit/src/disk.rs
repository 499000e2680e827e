//! What survives a crash: rows and a log, without any waiting.

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Address, Change, Delivery, DeliveryId, Event, Mailbox, Row, RowKey, Scope, Seq, Timestamp,
};

/// A store reduced to what a simulation needs: it applies whole batches, at once.
#[derive(Debug, Default)]
pub struct Disk {
    rows: BTreeMap<RowKey, Row>,
    /// Deliveries that are not over, by mailbox.
    unsettled: BTreeMap<Address, BTreeSet<DeliveryId>>,
    log: Vec<Event>,
    /// Up to here only events of sessions are left.
    floor: Seq,
    head: Seq,
    epoch: u64,
    /// When it was last acquired.
    since: Timestamp,
}

/// What a batch has replaced and removed.
#[derive(Debug, Default)]
pub struct Replaced {
    /// The rows that it wrote or deleted, as they were.
    pub rows: Vec<(RowKey, Option<Row>)>,
    /// The events that it removed.
    pub trimmed: Vec<Event>,
}

impl Disk {
    /// Applies a batch of the owner with this epoch; gives what it replaced and removed. Nothing changes if another has come since.
    ///
    /// # Panics
    /// If an event does not follow the last one: the shard left a hole in its log.
    pub fn apply(&mut self, epoch: u64, changes: &[Change]) -> Option<Replaced> {
        if epoch < self.epoch {
            return None;
        }
        let Replaced { rows: mut replaced, mut trimmed } = Replaced::default();
        for change in changes {
            match change {
                Change::Put(row) => {
                    self.note(row);
                    let before = self.rows.insert(row.key(), row.clone());
                    replaced.push((row.key(), before));
                }
                Change::Delete(key) => replaced.push((key.clone(), self.rows.remove(key))),
                Change::Trim(scope, up_to) => trimmed.extend(self.trim(*scope, *up_to)),
                Change::Append(event) => {
                    assert_eq!(event.seq, self.head.next(), "the log has a hole before {event:?}");
                    self.head = event.seq;
                    self.log.push(event.clone());
                }
                other => unreachable!("a change that the simulation does not know: {other:?}"),
            }
        }
        Some(Replaced { rows: replaced, trimmed })
    }

    fn trim(&mut self, scope: Scope, up_to: Seq) -> Vec<Event> {
        let goes = |event: &Event| match scope {
            Scope::All => event.session.is_none(),
            Scope::Session(_) => scope.contains(event),
        };
        if scope == Scope::All {
            self.floor = self.floor.max(up_to);
        }
        self.log.extract_if(.., |event| event.seq <= up_to && goes(event)).collect()
    }

    fn note(&mut self, row: &Row) {
        let Row::Delivery(delivery) = row else { return };
        let open = self.unsettled.entry(delivery.mailbox.clone()).or_default();
        if delivery.state.is_terminal() {
            open.remove(&delivery.id);
        } else {
            open.insert(delivery.id);
        }
    }

    /// Begins another life; gives its number, and the time that it begins at: no owner's clock goes back behind what the log
    /// tells, or behind the time of the last one.
    pub fn acquire(&mut self, now: Timestamp) -> (u64, Timestamp) {
        self.epoch += 1;
        let told = self.log.last().map_or(now, |last| last.at);
        self.since = self.since.max(now).max(told);
        (self.epoch, self.since)
    }

    /// The rows a shard is loaded from.
    pub fn live(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows().filter(|row| row.is_live()).cloned()
    }

    /// All rows, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = &Row> + '_ {
        self.rows.values()
    }

    /// One row.
    pub fn get(&self, key: &RowKey) -> Option<Row> {
        self.look(key).cloned()
    }

    /// One row, to look at.
    pub fn look(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// All deliveries, live or not.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> + '_ {
        let all = RowKey::Delivery(DeliveryId(0))..=RowKey::Delivery(DeliveryId(u128::MAX));
        self.rows.range(all).filter_map(|(_, row)| match row {
            Row::Delivery(delivery) => Some(&**delivery),
            _ => None,
        })
    }

    /// The deliveries of a mailbox that are not over.
    pub fn unsettled(&self, mailbox: &Address) -> impl Iterator<Item = &Delivery> + '_ {
        let open = self.unsettled.get(mailbox).into_iter().flatten();
        open.filter_map(|id| match self.look(&RowKey::Delivery(*id)) {
            Some(Row::Delivery(delivery)) => Some(&**delivery),
            _ => None,
        })
    }

    /// A mailbox, if it is there.
    pub fn mailbox(&self, address: &Address) -> Option<&Mailbox> {
        match self.look(&RowKey::Mailbox(address.clone())) {
            Some(Row::Mailbox(mailbox)) => Some(mailbox),
            _ => None,
        }
    }

    /// All mailboxes, in the order of their names.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> + '_ {
        self.rows().filter_map(|row| match row {
            Row::Mailbox(mailbox) => Some(mailbox),
            _ => None,
        })
    }

    /// The log, as far as it is kept.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// Up to here only events of sessions are left of it.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// The last place taken in it.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// A copy that keeps the rows and where the log begins and ends, but not what the log has told.
    pub(crate) fn without_past(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            unsettled: self.unsettled.clone(),
            log: Vec::new(),
            floor: self.floor,
            head: self.head,
            epoch: self.epoch,
            since: self.since,
        }
    }
}
