use bridge_core::{
    Address, Delivery, DeliveryId, Event, EventKind, Headers, Message, MessageId, Name, Priority, SessionId,
    ShardId, Timestamp, bytes::Bytes,
};

use super::{
    delivery::{Lasting, read_changing, write_changing},
    shard::Span,
};
use crate::sqlite::{
    bind::{Bind, Take, sum_of},
    columns::{Shown, headers_of, headers_text},
    fault::Fault,
};

pub(in crate::sqlite) const TABLE: &str = "message";

/// What never changes while a row is as it is, and the checksum of that.
pub(in crate::sqlite) const LASTING: &str = "seq, shard, id, logged, sender, verified, recipient, type, priority, session, \
     key, reply_to, correlation_id, created_at, deliver_at, expires_at, headers, size, deliveries, crc";

/// What changes with the first delivery, and the checksum of that.
pub(in crate::sqlite) const CHANGING: &str =
    "live, state, visible_at, attempt, failures, detail, retire_at, state_crc";

/// The content, wherever it lies, and its checksum.
pub(in crate::sqlite) const PAYLOAD: &str =
    "coalesce(payload, (SELECT data FROM payload WHERE payload.seq = message.seq)) AS payload, payload_crc";

/// The longest payload that lies in its message's row: an ack writes the row again.
pub(in crate::sqlite) const INLINE: usize = 2 << 10;

/// A row of messages: what is told by every part of it that is there.
#[derive(Debug)]
pub(in crate::sqlite) struct MessageRow<'a> {
    /// Its place in the table.
    pub(in crate::sqlite) rowid: i64,
    pub(in crate::sqlite) shard: ShardId,
    pub(in crate::sqlite) id: MessageId,
    /// Whether it holds the event that the message was accepted.
    pub(in crate::sqlite) logged: bool,
    sender: Option<&'a str>,
    /// Whether the sender is proven, if it holds the message.
    pub(in crate::sqlite) verified: Option<bool>,
    recipient: &'a str,
    kind: Option<&'a str>,
    priority: Priority,
    session: Option<SessionId>,
    key: Option<&'a str>,
    reply_to: Option<MessageId>,
    correlation_id: Option<&'a str>,
    created_at: Timestamp,
    deliver_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    headers: Option<&'a str>,
    size: u32,
    deliveries: Option<u32>,
}

/// Texts of a message that it does not hold as they lie in a row.
#[derive(Debug)]
pub(in crate::sqlite) struct Texts {
    recipient: Shown,
    headers: Option<String>,
}

impl Texts {
    pub(in crate::sqlite) fn of(message: &Message) -> Self {
        let headers = (!message.headers.is_empty()).then(|| headers_text(&message.headers));
        Self { recipient: Shown::of(&message.to), headers }
    }
}

impl<'a> MessageRow<'a> {
    pub(in crate::sqlite) fn of(
        span: &Span,
        message: &'a Message,
        texts: &'a Texts,
        logged: bool,
    ) -> Result<Self, Fault> {
        let recipient = texts.recipient.as_str();
        let key = message.key.as_ref().map(Name::as_str);
        Ok(Self {
            rowid: span.rowid(message.seq)?,
            shard: span.shard,
            id: message.id,
            logged,
            sender: Some(message.from.as_str()),
            verified: Some(message.verified),
            recipient,
            kind: Some(message.kind.as_str()),
            priority: message.priority,
            session: message.session,
            key: stored_key(recipient, key),
            reply_to: message.reply_to,
            correlation_id: message.correlation_id.as_ref().map(Name::as_str),
            created_at: message.created_at,
            deliver_at: message.deliver_at,
            expires_at: message.expires_at,
            headers: texts.headers.as_deref(),
            size: size(&message.payload),
            deliveries: Some(message.deliveries),
        })
    }

    /// The row without the message, for what is left of it.
    pub(in crate::sqlite) fn without_message(self) -> Self {
        Self { verified: None, reply_to: None, correlation_id: None, deliver_at: None, headers: None, ..self }
    }

    /// The row without its event.
    pub(in crate::sqlite) fn without_event(self) -> Self {
        Self { logged: false, ..self }
    }

    /// Binds all columns: what lasts, the delivery if there is one, the content of the message if there is one.
    pub(in crate::sqlite) fn write(
        &self,
        delivery: Option<&Delivery>,
        payload: Option<&Bytes>,
        to: &mut Bind<'_, '_>,
    ) -> Result<(), Fault> {
        self.write_lasting(to)?;
        match delivery {
            Some(delivery) => {
                write_changing(delivery, Some(Span::seq(self.rowid)), to)?;
                to.seal()?;
            }
            None => to.skip(8)?,
        }
        match payload {
            Some(payload) if payload.len() <= INLINE => to.put(payload)?.put(&sum_of(payload))?,
            Some(payload) => to.put(&None::<u64>)?.put(&sum_of(payload))?,
            None => to.put(&None::<u64>)?.put(&None::<u64>)?,
        };
        Ok(())
    }

    /// Binds [`LASTING`].
    pub(in crate::sqlite) fn write_lasting(&self, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
        to.put(&self.rowid)?.put(&self.shard)?.put(&self.id)?.put(&self.logged)?;
        to.put(&self.sender)?.put(&self.verified)?.put(&self.recipient)?.put(&self.kind)?;
        to.put(&self.priority)?.put(&self.session)?.put(&self.key)?.put(&self.reply_to)?;
        to.put(&self.correlation_id)?.put(&self.created_at)?.put(&self.deliver_at)?;
        to.put(&self.expires_at)?.put(&self.headers)?.put(&self.size)?.put(&self.deliveries)?.seal().map(drop)
    }

    /// Takes [`LASTING`].
    pub(in crate::sqlite) fn read(row: &mut Take<'a, '_>) -> Result<Self, Fault> {
        let read = Self {
            rowid: row.take()?,
            shard: row.take()?,
            id: row.take()?,
            logged: row.take()?,
            sender: row.text()?,
            verified: row.take()?,
            recipient: row.text()?.unwrap_or_default(),
            kind: row.text()?,
            priority: row.take()?,
            session: row.take()?,
            key: row.text()?,
            reply_to: row.take()?,
            correlation_id: row.text()?,
            created_at: row.take()?,
            deliver_at: row.take()?,
            expires_at: row.take()?,
            headers: row.text()?,
            size: row.take()?,
            deliveries: row.take()?,
        };
        row.check()?;
        Ok(read)
    }

    /// Takes [`CHANGING`]; the delivery, if the row holds one.
    pub(in crate::sqlite) fn read_delivery(&self, row: &mut Take<'_, '_>) -> Result<Option<Delivery>, Fault> {
        let names = || {
            let known = &mut Known::default();
            let (from, kind) = (known.name(self.sender?)?, known.name(self.kind?)?);
            Some((known.address(self.recipient)?, from, kind, self.key(known)?))
        };
        self.delivery(names, row)
    }

    /// Takes [`CHANGING`]; the delivery of `message`, which the row holds, if it holds that too.
    pub(in crate::sqlite) fn read_delivery_of(
        &self,
        message: &Message,
        row: &mut Take<'_, '_>,
    ) -> Result<Option<Delivery>, Fault> {
        let Message { to, from, kind, key, .. } = message;
        self.delivery(|| Some((to.clone(), from.clone(), kind.clone(), key.clone())), row)
    }

    fn delivery(
        &self,
        names: impl FnOnce() -> Option<(Address, Name, Name, Option<Name>)>,
        row: &mut Take<'_, '_>,
    ) -> Result<Option<Delivery>, Fault> {
        let Some(changing) = read_changing(row, Some(Span::seq(self.rowid)))? else {
            row.pass()?;
            return Ok(None);
        };
        row.check()?;
        let (mailbox, from, kind, key) = names().ok_or_else(|| row.damaged("is no whole delivery"))?;
        let lasting = Lasting {
            id: DeliveryId::of(self.id, 0),
            message: self.id,
            mailbox,
            from,
            kind,
            key,
            priority: self.priority,
            seq: Span::seq(self.rowid),
            size: self.size,
            expires_at: self.expires_at,
            accepted: self.created_at,
            redrive_of: None,
        };
        Ok(Some(lasting.with(changing)))
    }

    /// Takes [`PAYLOAD`]; the message that the row holds.
    pub(in crate::sqlite) fn read_message(
        &self,
        row: &mut Take<'_, '_>,
        known: &mut Known,
    ) -> Result<Message, Fault> {
        let payload = row.take()?;
        row.check()?;
        self.message(payload, known).ok_or_else(|| row.damaged("is no whole message"))
    }

    fn message(&self, payload: Bytes, known: &mut Known) -> Option<Message> {
        Some(Message {
            id: self.id,
            seq: Span::seq(self.rowid),
            from: known.name(self.sender?)?,
            verified: self.verified?,
            to: known.address(self.recipient)?,
            kind: known.name(self.kind?)?,
            priority: self.priority,
            session: self.session,
            key: self.key(known)?,
            reply_to: self.reply_to,
            correlation_id: self.correlation_id.map(Name::new).transpose().ok()?,
            created_at: self.created_at,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            headers: self.headers.map_or_else(|| Some(Headers::new()), headers_of)?,
            deliveries: self.deliveries?,
            payload,
        })
    }

    /// The event that the row holds.
    pub(in crate::sqlite) fn event(&self) -> Option<Event> {
        Some(Event {
            seq: Span::seq(self.rowid),
            at: self.created_at,
            session: self.session,
            message: Some(self.id),
            delivery: Some(DeliveryId::of(self.id, 0)),
            kind: EventKind::Accepted { deliveries: self.deliveries.filter(|_| self.logged)? },
        })
    }

    fn key(&self, known: &mut Known) -> Option<Option<Name>> {
        match self.key {
            Some("") => Some(None),
            Some(key) => known.name(key).map(Some),
            None => known.name(session_of(self.recipient)?).map(Some),
        }
    }
}

/// Names and addresses that were read before, by their texts: in a conversation few occur, each again and again.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Known {
    most: usize,
    names: Vec<Name>,
    addresses: Vec<(String, Address)>,
}

impl Known {
    /// For the rows of a page. Looking through more would cost what it saves.
    pub(in crate::sqlite) fn of_page() -> Self {
        Self { most: 8, ..Self::default() }
    }

    fn name(&mut self, text: &str) -> Option<Name> {
        if let Some(known) = self.names.iter().find(|name| name.as_str() == text) {
            return Some(known.clone());
        }
        let name = Name::new(text).ok()?;
        if self.names.len() < self.most {
            self.names.push(name.clone());
        }
        Some(name)
    }

    fn address(&mut self, text: &str) -> Option<Address> {
        if let Some((_, known)) = self.addresses.iter().find(|(of, _)| of == text) {
            return Some(known.clone());
        }
        let address: Address = text.parse().ok()?;
        if self.addresses.len() < self.most {
            self.addresses.push((text.to_owned(), address.clone()));
        }
        Some(address)
    }
}

/// Whether the event tells what the row of `message` tells of it anyway.
pub(in crate::sqlite) fn tells_of(event: &Event, message: &Message) -> bool {
    event.seq == message.seq
        && event.at == message.created_at
        && event.session == message.session
        && event.message == Some(message.id)
        && event.delivery == Some(DeliveryId::of(message.id, 0))
        && event.kind == EventKind::Accepted { deliveries: message.deliveries }
}

/// Whether what never changes of `delivery` is what the row of `message` tells of it anyway.
pub(in crate::sqlite) fn goes_with(delivery: &Delivery, message: &Message) -> bool {
    is_first(delivery)
        && delivery.message == message.id
        && delivery.mailbox == message.to
        && delivery.from == message.from
        && delivery.kind == message.kind
        && delivery.seq == message.seq
        && delivery.key == message.key
        && delivery.priority == message.priority
        && delivery.size == size(&message.payload)
        && delivery.expires_at == message.expires_at
        && delivery.receipts.accepted == message.created_at
}

/// What [`update`] sets, and the row it must be for the delivery to lie there.
pub(in crate::sqlite) const UPDATE: &str =
    "UPDATE message SET live = ?, state = ?, visible_at = ?, attempt = ?, failures = ?, detail = ?,
         retire_at = ?, state_crc = ?
     WHERE seq = ? AND id = ? AND state IS NOT NULL AND recipient = ? AND sender = ? AND type = ? AND key IS ?
         AND priority = ? AND size = ? AND expires_at IS ? AND created_at = ?";

/// Binds the parameters of [`UPDATE`].
pub(in crate::sqlite) fn write_update(
    rowid: i64,
    delivery: &Delivery,
    to: &mut Bind<'_, '_>,
) -> Result<(), Fault> {
    let mailbox = Shown::of(&delivery.mailbox);
    let mailbox = mailbox.as_str();
    write_changing(delivery, Some(Span::seq(rowid)), to)?;
    to.seal()?.put(&rowid)?.put(&delivery.id)?.put(&mailbox)?.put(&delivery.from)?.put(&delivery.kind)?;
    to.put(&stored_key(mailbox, delivery.key.as_ref().map(Name::as_str)))?
        .put(&delivery.priority)?
        .put(&delivery.size)?;
    to.put(&delivery.expires_at)?.put(&delivery.receipts.accepted).map(drop)
}

/// Whether a delivery is of the kind that can lie in its message's row.
pub(in crate::sqlite) fn is_first(delivery: &Delivery) -> bool {
    delivery.id == DeliveryId::of(delivery.message, 0) && delivery.redrive_of.is_none()
}

fn size(payload: &Bytes) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

/// A key as it is stored: not at all where it is the recipient's session, and empty where there is none.
fn stored_key<'a>(recipient: &str, key: Option<&'a str>) -> Option<&'a str> {
    if key.is_some() && session_of(recipient) == key { None } else { Some(key.unwrap_or_default()) }
}

/// The session in an address, as text.
fn session_of(recipient: &str) -> Option<&str> {
    recipient.strip_prefix("session:")?.split_once('/').map(|(session, _)| session)
}
