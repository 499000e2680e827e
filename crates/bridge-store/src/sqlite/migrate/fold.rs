//! From version 2 to 3: each message gets its first delivery and its event into its row, and the delivery its digits.

mod old;

use std::{collections::HashMap, sync::Arc};

use bridge_core::{
    Attempt, Change, Delivery, DeliveryId, Event, EventKind, Lease, Message, MessageId, Name, Row, Seq,
    ShardId, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
    rows::{self, EVENT, Kind, SHARD, Shard, Span},
    writer::Messages,
};

/// Attempts that a delivery remembers, as many as it would by default.
const ATTEMPTS: usize = 32;

/// Events that are looked at together.
const PAGE: u32 = 1_000;

pub(super) fn fold(connection: &Connection) -> Result<(), Fault> {
    renew_events(connection)?;
    renew_mailboxes(connection)?;
    let fold = Fold { connection, spans: give_slots(connection)?, firsts: Firsts::find(connection)? };
    fold.move_messages()?;
    fold.move_other_deliveries()?;
    fold.rename_in_events()?;
    Ok(connection
        .execute_batch("DROP TABLE old_message; DROP TABLE old_delivery; DROP TABLE old_mailbox; DROP INDEX event_by_delivery")?)
}

/// Writes every event with the columns that it has now.
fn renew_events(connection: &Connection) -> Result<(), Fault> {
    let sql = format!(
        "SELECT {} FROM event WHERE (shard, seq) > (?, ?) ORDER BY shard, seq LIMIT {PAGE}",
        old::EVENT
    );
    let mut get = connection.prepare(&sql)?;
    let mut put = connection.prepare(&EVENT.put())?;
    let mut last = (-1, 0);
    loop {
        let mut page = Vec::new();
        let mut found = get.query(params![last.0, last.1])?;
        while let Some(row) = found.next()? {
            last = (row.get(0)?, row.get(1)?);
            page.push((Take::new(EVENT.name, row).shard()?, rows::read_old_event(row)?));
        }
        if page.is_empty() {
            return Ok(());
        }
        for (shard, event) in page {
            let mut put = Bind::new(&mut put);
            rows::write_event(shard, &event, &mut put)?;
            put.run_sealed()?;
        }
    }
}

/// Writes every mailbox with the settings that it has had so far.
fn renew_mailboxes(connection: &Connection) -> Result<(), Fault> {
    let mut find = connection.prepare(&format!("SELECT {} FROM old_mailbox", old::MAILBOX))?;
    let mut found = find.query([])?;
    let table = Kind::Mailbox.table().expect("mailboxes have a table");
    let mut put = connection.prepare(&table.put())?;
    while let Some(row) = found.next()? {
        let (shard, mailbox) = old::read_mailbox(row)?;
        let mut put = Bind::new(&mut put);
        rows::write(shard, &Row::Mailbox(mailbox), &mut put)?;
        put.run_sealed()?;
    }
    Ok(())
}

/// Gives each shard a range of places of its own.
fn give_slots(connection: &Connection) -> Result<HashMap<ShardId, Span>, Fault> {
    let mut find = connection
        .prepare("SELECT shard, epoch, node, owned_until, floor, head, crc FROM shard ORDER BY shard")?;
    let mut found = find.query([])?;
    let mut shards = Vec::new();
    while let Some(row) = found.next()? {
        let row = &mut Take::new(SHARD.name, row);
        let id: ShardId = row.take()?;
        let shard = Shard {
            epoch: row.take()?,
            node: row.take()?,
            owned_until: row.take()?,
            floor: row.take()?,
            head: row.take()?,
            slot: shards.len() as u64,
        };
        row.check()?;
        shards.push((id, shard));
    }
    let mut put = connection.prepare(&SHARD.put())?;
    for (id, shard) in &shards {
        let mut put = Bind::new(&mut put);
        put.put(id)?;
        rows::write_shard(shard, &mut put)?;
        put.run_sealed()?;
    }
    Ok(shards.into_iter().map(|(id, shard)| (id, shard.span(id))).collect())
}

/// The first delivery of each message, as it was called.
struct Firsts {
    of: HashMap<(ShardId, MessageId), DeliveryId>,
    message: HashMap<(ShardId, DeliveryId), MessageId>,
}

impl Firsts {
    fn find(connection: &Connection) -> Result<Self, Fault> {
        let mut find = connection.prepare(
            "SELECT shard, message, id FROM old_delivery WHERE redrive_of IS NULL ORDER BY shard, id",
        )?;
        let mut found = find.query([])?;
        let mut firsts = Self { of: HashMap::new(), message: HashMap::new() };
        while let Some(row) = found.next()? {
            let row = &mut Take::new("delivery", row);
            let (shard, message, id) = (row.take()?, row.take()?, row.take()?);
            firsts.of.entry((shard, message)).or_insert_with(|| {
                firsts.message.insert((shard, id), message);
                id
            });
        }
        Ok(firsts)
    }

    /// What a delivery is called now.
    fn name(&self, shard: ShardId, id: DeliveryId) -> DeliveryId {
        self.message.get(&(shard, id)).map_or(id, |message| DeliveryId::of(*message, 0))
    }
}

struct Fold<'c> {
    connection: &'c Connection,
    spans: HashMap<ShardId, Span>,
    firsts: Firsts,
}

impl Fold<'_> {
    fn span(&self, shard: ShardId) -> Result<&Span, Fault> {
        self.spans.get(&shard).ok_or_else(|| Fault::Corrupt(format!("nobody has owned shard {}", shard.0)))
    }

    fn move_messages(&self) -> Result<(), Fault> {
        let mut writer = Messages::new(self.connection)?;
        let mut find = self.connection.prepare(&format!("SELECT {} FROM old_message", old::MESSAGE))?;
        let mut found = find.query([])?;
        while let Some(row) = found.next()? {
            let (shard, mut message) = old::read_message(row)?;
            let span = self.span(shard)?;
            let accepted = self.accepted(shard, &message)?;
            if let Some(Event { kind: EventKind::Accepted { deliveries }, .. }) = accepted {
                message.deliveries = deliveries;
            }
            let id = self.firsts.of.get(&(shard, message.id));
            let delivery = id.map(|id| self.delivery(shard, *id)).transpose()?.flatten();
            let mut changes = vec![Change::Put(Row::Message(Arc::new(message)))];
            changes.extend(delivery.map(|delivery| Change::Put(Row::Delivery(Arc::new(delivery)))));
            let left = match accepted {
                Some(event) => {
                    let delete = &format!("DELETE FROM {} WHERE shard = ? AND seq = ?", EVENT.name);
                    let mut delete = self.connection.prepare_cached(delete)?;
                    delete.execute(params![shard.0, event.seq.0.cast_signed()])?;
                    writer.append(span, &event, Seq::ZERO, &changes)?
                }
                None => &changes,
            };
            for change in left {
                match change {
                    Change::Put(Row::Message(message)) => writer.put_message(span, message)?,
                    Change::Put(Row::Delivery(delivery)) => writer.put_delivery(span, delivery)?,
                    other => unreachable!("{other:?} is not moved"),
                }
            }
        }
        Ok(())
    }

    /// The event that says that a message was accepted.
    fn accepted(&self, shard: ShardId, message: &Message) -> Result<Option<Event>, Fault> {
        let mut get = self.connection.prepare_cached(&EVENT.get())?;
        let mut get = Bind::new(&mut get);
        get.put(&shard)?.put(&message.seq)?;
        let mut found = get.query();
        let event = found.next()?.map(rows::read_event).transpose()?;
        let event = event.map(|event| self.renamed(shard, event));
        Ok(event.filter(|event| matches!(event.kind, EventKind::Accepted { .. })))
    }

    /// A delivery by the id that it had.
    fn delivery(&self, shard: ShardId, id: DeliveryId) -> Result<Option<Delivery>, Fault> {
        let sql = &format!("SELECT {} FROM old_delivery WHERE shard = ? AND id = ?", old::DELIVERY);
        let mut get = self.connection.prepare_cached(sql)?;
        let mut found = get.query(params![shard.0, id.0.to_be_bytes()])?;
        let found = found.next()?.map(old::read_delivery).transpose()?;
        found.map(|(shard, delivery)| self.complete(shard, delivery)).transpose()
    }

    /// A delivery under its new name, with what the log tells of its attempts.
    fn complete(&self, shard: ShardId, delivery: Delivery) -> Result<Delivery, Fault> {
        let attempts =
            if delivery.attempt > 0 { self.attempts(shard, delivery.id)? } else { delivery.attempts };
        let name = |id| self.firsts.name(shard, id);
        let (from, kind, accepted) = self.sent(shard, delivery.message)?;
        // What a redrive made was made by the event in its place.
        let seq = if delivery.redrive_of.is_some() { delivery.place.unwrap_or(accepted) } else { accepted };
        Ok(Delivery {
            id: name(delivery.id),
            from: from.unwrap_or(delivery.from),
            kind: kind.unwrap_or(delivery.kind),
            seq,
            attempts,
            redrive_of: delivery.redrive_of.map(name),
            redriven_as: delivery.redriven_as.map(name),
            ..delivery
        })
    }

    /// Who sent a message, as what, and where that stands in the log.
    fn sent(&self, shard: ShardId, id: MessageId) -> Result<(Option<Name>, Option<Name>, Seq), Fault> {
        let sql = "SELECT sender, type, seq FROM old_message WHERE shard = ? AND id = ?";
        let mut get = self.connection.prepare_cached(sql)?;
        let mut found = get.query(params![shard.0, id.0.to_be_bytes()])?;
        let Some(row) = found.next()? else { return Ok((None, None, Seq::ZERO)) };
        let row = &mut Take::new("message", row);
        Ok((row.take()?, row.take()?, row.take()?))
    }

    fn attempts(&self, shard: ShardId, id: DeliveryId) -> Result<Vec<Attempt>, Fault> {
        let sql =
            &format!("SELECT {} FROM event WHERE shard = ? AND delivery = ? ORDER BY seq", EVENT.columns());
        let mut get = self.connection.prepare_cached(sql)?;
        let mut found = get.query(params![shard.0, id.0.to_be_bytes()])?;
        let mut attempts = Vec::new();
        let mut begun: Option<(u32, Lease, Name, Timestamp)> = None;
        while let Some(row) = found.next()? {
            let event = rows::read_event(row)?;
            match event.kind {
                EventKind::Presented { lease, attempt, consumer, .. } => {
                    begun = Some((attempt, lease, consumer, event.at));
                }
                EventKind::Returned { reason, error, .. } => {
                    attempts.extend(begun.take().map(|(number, lease, consumer, started)| Attempt {
                        number,
                        lease,
                        consumer,
                        started,
                        ended: event.at,
                        reason,
                        error,
                    }));
                }
                _ => {}
            }
        }
        attempts.drain(..attempts.len().saturating_sub(ATTEMPTS));
        Ok(attempts)
    }

    /// Moves the deliveries that were made by a redrive, or whose message is gone.
    fn move_other_deliveries(&self) -> Result<(), Fault> {
        let mut writer = Messages::new(self.connection)?;
        let mut find = self.connection.prepare(&format!("SELECT {} FROM old_delivery", old::DELIVERY))?;
        let mut message = self.connection.prepare("SELECT 1 FROM old_message WHERE shard = ? AND id = ?")?;
        let mut found = find.query([])?;
        while let Some(row) = found.next()? {
            let (shard, delivery) = old::read_delivery(row)?;
            if let Some(first) = self.firsts.message.get(&(shard, delivery.id)) {
                let moved =
                    message.query_row(params![shard.0, first.0.to_be_bytes()], |_| Ok(())).optional()?;
                if moved.is_some() {
                    continue;
                }
            }
            writer.put_delivery(self.span(shard)?, &self.complete(shard, delivery)?)?;
        }
        Ok(())
    }

    fn renamed(&self, shard: ShardId, event: Event) -> Event {
        let kind = match event.kind {
            EventKind::Redriven { successor } => {
                EventKind::Redriven { successor: self.firsts.name(shard, successor) }
            }
            kind => kind,
        };
        Event { delivery: event.delivery.map(|id| self.firsts.name(shard, id)), kind, ..event }
    }

    fn rename_in_events(&self) -> Result<(), Fault> {
        let mut put = self.connection.prepare(&EVENT.put())?;
        for &shard in self.spans.keys() {
            let mut last = Seq::ZERO;
            loop {
                let page = self.events(shard, last)?;
                let Some(end) = page.last() else { break };
                last = end.seq;
                for event in page {
                    let renamed = self.renamed(shard, event.clone());
                    if renamed != event {
                        let mut put = Bind::new(&mut put);
                        rows::write_event(shard, &renamed, &mut put)?;
                        put.run_sealed()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn events(&self, shard: ShardId, after: Seq) -> Result<Vec<Event>, Fault> {
        let sql = &format!(
            "SELECT {} FROM event WHERE shard = ? AND seq > ? AND delivery IS NOT NULL ORDER BY seq LIMIT {PAGE}",
            EVENT.columns()
        );
        let mut get = self.connection.prepare_cached(sql)?;
        let mut found = get.query(params![shard.0, after.0.cast_signed()])?;
        let mut page = Vec::new();
        while let Some(row) = found.next()? {
            page.push(rows::read_event(row)?);
        }
        Ok(page)
    }
}
