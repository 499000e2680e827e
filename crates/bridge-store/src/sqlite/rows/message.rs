use bridge_core::Message;

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "message",
    key: &["id"],
    rest: &[
        "live",
        "seq",
        "sender",
        "verified",
        "recipient",
        "type",
        "priority",
        "session",
        "key",
        "reply_to",
        "correlation_id",
        "created_at",
        "deliver_at",
        "expires_at",
        "headers",
        "payload",
    ],
    live: Some("message_live"),
};

pub(super) fn write(message: &Message, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let m = message;
    to.put(&m.id)?.put(&live)?.put(&m.seq)?.put(&m.from)?.put(&m.verified)?.put(&m.to)?.put(&m.kind)?;
    to.put(&m.priority)?.put(&m.session)?.put(&m.key)?.put(&m.reply_to)?.put(&m.correlation_id)?;
    to.put(&m.created_at)?.put(&m.deliver_at)?.put(&m.expires_at)?;
    to.put(&m.headers)?.put(&m.payload).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Message, Fault> {
    let id = row.take()?;
    let _live: bool = row.take()?;
    Ok(Message {
        id,
        seq: row.take()?,
        from: row.take()?,
        verified: row.take()?,
        to: row.take()?,
        kind: row.take()?,
        priority: row.take()?,
        session: row.take()?,
        key: row.take()?,
        reply_to: row.take()?,
        correlation_id: row.take()?,
        created_at: row.take()?,
        deliver_at: row.take()?,
        expires_at: row.take()?,
        headers: row.take()?,
        deliveries: 1,
        payload: row.take()?,
    })
}
