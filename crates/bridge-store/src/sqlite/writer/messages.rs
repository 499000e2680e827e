//! Messages, deliveries and events: what a publish changes lies in one row, if it all says the same. Whether it does is
//! told by comparing values; what any of them means is not known here.

use bridge_core::{Change, Delivery, DeliveryId, Event, Message, MessageId, Row, Seq, bytes::Bytes};
use rusqlite::{Connection, Statement};

use crate::sqlite::{
    bind::{Bind, Take},
    fault::{Fault, if_sound},
    rows::{
        self, EVENT, Kind, MessageRow, Span,
        message::{self, CHANGING, INLINE, LASTING, Texts, goes_with, is_first, tells_of},
    },
};

/// The statements that write messages, deliveries and events.
#[derive(Debug)]
pub(in crate::sqlite) struct Messages<'c> {
    /// Whether a message's first delivery lies elsewhere than in its row. Hardly ever does one.
    some_apart: bool,
    apart: Statement<'c>,
    add: Statement<'c>,
    add_payload: Statement<'c>,
    update: Statement<'c>,
    find: Statement<'c>,
    find_place: Statement<'c>,
    clear: Statement<'c>,
    remove: Statement<'c>,
    remove_empty: Statement<'c>,
    remove_payload: Statement<'c>,
    put_delivery: Statement<'c>,
    delete_delivery: Statement<'c>,
    logged: Statement<'c>,
    append: Statement<'c>,
    event: Statement<'c>,
}

/// What a row of messages held besides its message.
struct Rest {
    delivery: Option<Delivery>,
    event: Option<Event>,
}

impl<'c> Messages<'c> {
    pub(in crate::sqlite) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let deliveries = Kind::Delivery.table().expect("deliveries have a table");
        let places = vec!["?"; 30].join(", ");
        let prepare = |sql: &str| super::prepare(connection, sql);
        let some_apart =
            "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_first WHERE id = message)";
        Ok(Self {
            some_apart: connection.query_row(some_apart, [], |row| row.get(0))?,
            apart: prepare("SELECT 1 FROM delivery WHERE shard = ? AND id = ?")?,
            add: prepare(&format!(
                "INSERT OR IGNORE INTO message ({LASTING}, {CHANGING}, payload, payload_crc) VALUES ({places})"
            ))?,
            add_payload: prepare("INSERT OR REPLACE INTO payload (seq, data) VALUES (?, ?)")?,
            update: prepare(message::UPDATE)?,
            find: prepare(&format!("SELECT {LASTING}, {CHANGING} FROM message WHERE id = ? AND shard = ?"))?,
            find_place: prepare("SELECT seq FROM message WHERE id = ? AND shard = ? AND state IS NOT NULL")?,
            clear: prepare(
                "UPDATE message SET live = NULL, state = NULL, visible_at = NULL, attempt = NULL, failures = NULL,
                     detail = NULL, retire_at = NULL, state_crc = NULL
                 WHERE seq = ?",
            )?,
            remove: prepare("DELETE FROM message WHERE seq = ?")?,
            remove_empty: prepare(
                "DELETE FROM message WHERE seq = ? AND logged = 0 AND verified IS NULL AND state IS NULL",
            )?,
            remove_payload: prepare("DELETE FROM payload WHERE seq = ?")?,
            put_delivery: prepare(&deliveries.put())?,
            delete_delivery: prepare(&deliveries.delete())?,
            logged: prepare(&format!("SELECT {LASTING} FROM message WHERE seq = ? AND logged = 1"))?,
            append: prepare(&EVENT.add())?,
            event: prepare(&EVENT.get())?,
        })
    }

    /// Appends an event to the log that ended at `head`, and with it the message and the delivery behind it that say the same.
    /// Gives what is left of the changes behind it.
    pub(in crate::sqlite) fn append<'a>(
        &mut self,
        span: &Span,
        event: &Event,
        head: Seq,
        behind: &'a [Change],
    ) -> Result<&'a [Change], Fault> {
        if event.seq <= head && self.has_logged(span, event)? {
            return Ok(behind);
        }
        if event.seq > head
            && let [Change::Put(Row::Message(message)), rest @ ..] = behind
            && tells_of(event, message)
        {
            let (delivery, rest) = match rest {
                [Change::Put(Row::Delivery(delivery)), rest @ ..] if goes_with(delivery, message) => {
                    (Some(&**delivery), rest)
                }
                _ => (None, rest),
            };
            if self.add(span, message, delivery, true)? {
                return Ok(rest);
            }
        }
        self.put_event(span, event)?;
        Ok(behind)
    }

    /// Whether a message's row holds the event in this place; another one than this it must not hold.
    fn has_logged(&mut self, span: &Span, event: &Event) -> Result<bool, Fault> {
        let mut logged = Bind::new(&mut self.logged);
        logged.put(&span.rowid(event.seq)?)?;
        let mut found = logged.query();
        let Some(row) = found.next()? else { return Ok(false) };
        let row = MessageRow::read(&mut Take::new(message::TABLE, row))?;
        if row.event().as_ref() == Some(event) { Ok(true) } else { Err(Fault::Taken(event.seq)) }
    }

    fn put_event(&mut self, span: &Span, event: &Event) -> Result<(), Fault> {
        let mut append = Bind::new(&mut self.append);
        rows::write_event(span.shard, event, &mut append)?;
        if append.run_sealed()? > 0 {
            return Ok(());
        }
        let mut get = Bind::new(&mut self.event);
        get.put(&span.shard)?.put(&event.seq)?;
        let mut found = get.query();
        match found.next()? {
            Some(row) if rows::read_event(row)? == *event => Ok(()),
            _ => Err(Fault::Taken(event.seq)),
        }
    }

    pub(in crate::sqlite) fn put_message(&mut self, span: &Span, message: &Message) -> Result<(), Fault> {
        if self.add(span, message, None, false)? {
            return Ok(());
        }
        let Some(rest) = self.take(span, message.id)? else { return Err(Fault::Occupied(message.seq)) };
        let delivery = rest.delivery.as_ref().filter(|delivery| goes_with(delivery, message));
        let event = rest.event.as_ref().filter(|event| tells_of(event, message));
        if !self.add(span, message, delivery, event.is_some())? {
            return Err(Fault::Occupied(message.seq));
        }
        // What does not go with the message any more lies by itself.
        if let (Some(delivery), None) = (&rest.delivery, delivery) {
            self.put_apart(span, delivery)?;
        }
        if let (Some(event), None) = (&rest.event, event) {
            self.put_event(span, event)?;
        }
        Ok(())
    }

    pub(in crate::sqlite) fn put_delivery(&mut self, span: &Span, delivery: &Delivery) -> Result<(), Fault> {
        if is_first(delivery)
            && let Ok(rowid) = span.rowid(delivery.seq)
            && self.update(rowid, delivery)?
        {
            return Ok(());
        }
        if let Some(rowid) = self.find_place(span, delivery.id)? {
            self.clear(rowid)?;
        }
        self.put_apart(span, delivery)
    }

    pub(in crate::sqlite) fn delete_delivery(&mut self, span: &Span, id: DeliveryId) -> Result<(), Fault> {
        if let Some(rowid) = self.find_place(span, id)? {
            self.clear(rowid)?;
        }
        let mut delete = Bind::new(&mut self.delete_delivery);
        delete.put(&span.shard)?.put(&id)?;
        delete.run().map(drop)
    }

    /// Takes a message out of its row. A damaged row stays: it cannot be told what else is in it.
    pub(in crate::sqlite) fn delete_message(&mut self, span: &Span, id: MessageId) -> Result<(), Fault> {
        let mut find = Bind::new(&mut self.find);
        find.put(&id)?.put(&span.shard)?;
        let mut found = find.query();
        let Some(row) = found.next()? else { return Ok(()) };
        let row = &mut Take::new(message::TABLE, row);
        let read = MessageRow::read(row).and_then(|old| Ok((old.read_delivery(row)?, old)));
        let Some((delivery, old)) = if_sound(read)? else { return Ok(()) };
        remove(&mut self.remove, &mut self.remove_payload, old.rowid)?;
        let is_empty = !old.logged && delivery.is_none();
        if is_empty || insert(&mut self.add, &old.without_message(), delivery.as_ref(), None)? {
            Ok(())
        } else {
            Err(row.damaged("cannot be without its message"))
        }
    }

    /// Adds a row as [`insert`] does, unless the delivery lies elsewhere, and the payload where that lies by itself.
    fn add(
        &mut self,
        span: &Span,
        message: &Message,
        delivery: Option<&Delivery>,
        logged: bool,
    ) -> Result<bool, Fault> {
        if self.some_apart && delivery.is_some() && self.is_apart(span, message.id)? {
            return Ok(false);
        }
        let texts = Texts::of(message);
        let row = MessageRow::of(span, message, &texts, logged)?;
        let added = insert(&mut self.add, &row, delivery, Some(&message.payload))?;
        if added && message.payload.len() > INLINE {
            let mut add = Bind::new(&mut self.add_payload);
            add.put(&row.rowid)?.put(&message.payload)?;
            add.run()?;
        }
        Ok(added)
    }

    fn is_apart(&mut self, span: &Span, id: MessageId) -> Result<bool, Fault> {
        let mut find = Bind::new(&mut self.apart);
        find.put(&span.shard)?.put(&id)?;
        Ok(find.query().next()?.is_some())
    }

    /// Removes the row with this id; what it held but the message.
    fn take(&mut self, span: &Span, id: MessageId) -> Result<Option<Rest>, Fault> {
        let mut find = Bind::new(&mut self.find);
        find.put(&id)?.put(&span.shard)?;
        let mut found = find.query();
        let Some(row) = found.next()? else { return Ok(None) };
        let row = &mut Take::new(message::TABLE, row);
        let old = MessageRow::read(row)?;
        remove(&mut self.remove, &mut self.remove_payload, old.rowid)?;
        Ok(Some(Rest { delivery: old.read_delivery(row)?, event: old.event() }))
    }

    /// Writes what changes of a delivery into a row that says the rest of it; whether there is such a row.
    fn update(&mut self, rowid: i64, delivery: &Delivery) -> Result<bool, Fault> {
        let mut update = Bind::new(&mut self.update);
        message::write_update(rowid, delivery, &mut update)?;
        Ok(update.run()? > 0)
    }

    fn find_place(&mut self, span: &Span, id: DeliveryId) -> Result<Option<i64>, Fault> {
        let mut find = Bind::new(&mut self.find_place);
        find.put(&id)?.put(&span.shard)?;
        Ok(find.query().next()?.map(|row| row.get(0)).transpose()?)
    }

    /// Takes a delivery out of a row, and the row away if nothing else is in it.
    fn clear(&mut self, rowid: i64) -> Result<(), Fault> {
        for statement in [&mut self.clear, &mut self.remove_empty] {
            let mut run = Bind::new(statement);
            run.put(&rowid)?;
            run.run()?;
        }
        Ok(())
    }

    fn put_apart(&mut self, span: &Span, delivery: &Delivery) -> Result<(), Fault> {
        self.some_apart |= delivery.id == DeliveryId::of(delivery.message, 0);
        let mut put = Bind::new(&mut self.put_delivery);
        rows::write_delivery(span.shard, delivery, &mut put)?;
        put.run_sealed().map(drop)
    }
}

/// Adds a row unless there is one in its place, or with its id. Whether it was added.
fn insert(
    add: &mut Statement<'_>,
    row: &MessageRow<'_>,
    delivery: Option<&Delivery>,
    payload: Option<&Bytes>,
) -> Result<bool, Fault> {
    let mut add = Bind::new(add);
    row.write(delivery, payload, &mut add)?;
    Ok(add.run()? > 0)
}

/// Removes a row with its payload.
fn remove<'c>(row: &mut Statement<'c>, payload: &mut Statement<'c>, rowid: i64) -> Result<(), Fault> {
    for statement in [row, payload] {
        let mut remove = Bind::new(statement);
        remove.put(&rowid)?;
        remove.run()?;
    }
    Ok(())
}
