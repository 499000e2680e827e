//! Which kind of row lies in which table. Each kind's columns stand in a file of their own, as a pair of functions that
//! name them in one order.

mod delivery;
mod detail;
mod event;
mod handshake;
mod idempotency;
mod identity;
mod json;
mod mailbox;
pub(super) mod message;
mod reader;
mod session;
mod shard;
mod task;

use std::sync::Arc;

use bridge_core::{Delivery, Row, RowKey, ShardId};

use super::{
    bind::{Bind, Take},
    fault::Fault,
};

/// One table and the order its columns are written and read in: the shard, the key, the rest, the checksum.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What names a row within its shard.
    pub(super) key: &'static [&'static str],
    /// Everything else. In a table of rows one of them is `live`.
    pub(super) rest: &'static [&'static str],
    /// The index of the live rows, in a table where not all are. It is named in the query, for SQLite prefers the key.
    pub(super) live: Option<&'static str>,
}

impl Table {
    pub(super) fn columns(&self) -> String {
        ["shard"]
            .iter()
            .chain(self.key)
            .chain(self.rest)
            .chain(&["crc"])
            .copied()
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn insert(&self, or: &str) -> String {
        let count = self.key.len() + self.rest.len() + 2;
        let values = vec!["?"; count].join(", ");
        format!("INSERT OR {or} INTO {} ({}) VALUES ({values})", self.name, self.columns())
    }

    /// Inserts a row, or replaces the one with its key.
    pub(super) fn put(&self) -> String {
        self.insert("REPLACE")
    }

    /// Inserts a row unless there is one with its key.
    pub(super) fn add(&self) -> String {
        self.insert("IGNORE")
    }

    fn by_key(&self) -> String {
        ["shard"]
            .iter()
            .chain(self.key)
            .map(|column| format!("{column} = ?"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    pub(super) fn get(&self) -> String {
        format!("SELECT {} FROM {} WHERE {}", self.columns(), self.name, self.by_key())
    }

    pub(super) fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.name, self.by_key())
    }

    /// Live rows, always in one order.
    pub(super) fn load(&self) -> String {
        self.load_where("")
    }

    /// Live rows behind a key.
    pub(super) fn load_after(&self) -> String {
        let key = self.key.join(", ");
        let places = vec!["?"; self.key.len()].join(", ");
        self.load_where(&format!("AND ({key}) > ({places})"))
    }

    fn load_where(&self, condition: &str) -> String {
        let Self { name, key, live, .. } = self;
        let index = live.map_or_else(String::new, |live| format!("INDEXED BY {live}"));
        let order = ["shard"].iter().chain(*key).copied().collect::<Vec<_>>().join(", ");
        let columns = self.columns();
        format!(
            "SELECT {columns} FROM {name} {index} WHERE shard = ? AND live = 1 {condition} ORDER BY {order} LIMIT ?"
        )
    }
}

/// The kinds of rows, in the order they are loaded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Identity,
    Session,
    Mailbox,
    Delivery,
    Message,
    Idempotency,
    Reader,
    Task,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Identity,
        Self::Session,
        Self::Mailbox,
        Self::Delivery,
        Self::Message,
        Self::Idempotency,
        Self::Reader,
        Self::Task,
    ];

    pub(super) fn of(key: &RowKey) -> Result<Self, Fault> {
        Ok(match key {
            RowKey::Identity => Self::Identity,
            RowKey::Session(_) => Self::Session,
            RowKey::Mailbox(_) => Self::Mailbox,
            RowKey::Delivery(_) => Self::Delivery,
            RowKey::Message(_) => Self::Message,
            RowKey::Idempotency(_) => Self::Idempotency,
            RowKey::Reader(..) => Self::Reader,
            RowKey::Task(_) => Self::Task,
            _ => return Err(Fault::Unknown("this kind of key")),
        })
    }

    pub(super) fn of_row(row: &Row) -> Result<Self, Fault> {
        Ok(match row {
            Row::Identity(_) => Self::Identity,
            Row::Session(_) => Self::Session,
            Row::Mailbox(_) => Self::Mailbox,
            Row::Delivery(_) => Self::Delivery,
            Row::Message(_) => Self::Message,
            Row::Idempotency(_) => Self::Idempotency,
            Row::Reader(_) => Self::Reader,
            Row::Task(_) => Self::Task,
            _ => return Err(Fault::Unknown("this kind of row")),
        })
    }

    /// The table of these rows alone. Messages have none: they lie with their deliveries and events.
    pub(super) const fn table(self) -> Option<&'static Table> {
        Some(match self {
            Self::Identity => &identity::TABLE,
            Self::Session => &session::TABLE,
            Self::Mailbox => &mailbox::TABLE,
            Self::Delivery => &delivery::TABLE,
            Self::Message => return None,
            Self::Idempotency => &idempotency::TABLE,
            Self::Reader => &reader::TABLE,
            Self::Task => &task::TABLE,
        })
    }

    /// The name of this kind's table, and the columns that [`read`](Self::read) wants.
    pub(super) fn source(self) -> (&'static str, String) {
        let table = self.table().unwrap_or_else(|| unreachable!("messages have no table of their own"));
        (table.name, table.columns())
    }

    /// Reads a row of this kind's table.
    pub(super) fn read(self, row: &rusqlite::Row<'_>) -> Result<Row, Fault> {
        let table = self.table().unwrap_or_else(|| unreachable!("messages have no table of their own"));
        let take = &mut Take::new(table.name, row);
        take.shard()?;
        let row = match self {
            Self::Identity => Row::Identity(identity::read(take)?),
            Self::Session => Row::Session(session::read(take)?),
            Self::Mailbox => Row::Mailbox(mailbox::read(take)?),
            Self::Delivery => Row::Delivery(Arc::new(delivery::read(take)?)),
            Self::Message => unreachable!("messages have no table of their own"),
            Self::Idempotency => Row::Idempotency(idempotency::read(take)?),
            Self::Reader => Row::Reader(reader::read(take)?),
            Self::Task => Row::Task(task::read(take)?),
        };
        take.check()?;
        Ok(row)
    }
}

/// Binds the columns of `row`, the checksum left out.
pub(super) fn write(shard: ShardId, row: &Row, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    to.put(&shard)?;
    let live = row.is_live();
    match row {
        Row::Identity(identity) => identity::write(identity, live, to),
        Row::Session(session) => session::write(session, live, to),
        Row::Mailbox(mailbox) => mailbox::write(mailbox, live, to),
        Row::Delivery(delivery) => delivery::write(delivery, to),
        Row::Message(_) => unreachable!("messages have no table of their own"),
        Row::Idempotency(record) => idempotency::write(record, live, to),
        Row::Reader(reader) => reader::write(reader, live, to),
        Row::Task(task) => task::write(task, live, to),
        _ => Err(Fault::Unknown("this kind of row")),
    }
}

/// Binds the columns of a delivery that lies by itself, the checksum left out.
pub(super) fn write_delivery(
    shard: ShardId,
    delivery: &Delivery,
    to: &mut Bind<'_, '_>,
) -> Result<(), Fault> {
    to.put(&shard)?;
    delivery::write(delivery, to)
}

/// Binds the columns that name a row.
pub(super) fn write_key(shard: ShardId, key: &RowKey, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    to.put(&shard)?;
    match key {
        RowKey::Identity => Ok(()),
        RowKey::Session(id) => to.put(id).map(drop),
        RowKey::Mailbox(address) => to.put(address).map(drop),
        RowKey::Delivery(id) => to.put(id).map(drop),
        RowKey::Message(id) => to.put(id).map(drop),
        RowKey::Idempotency(scope) => to.put(&scope.from)?.put(&scope.to)?.put(&scope.key).map(drop),
        RowKey::Reader(session, name) => to.put(session)?.put(name).map(drop),
        RowKey::Task(id) => to.put(id).map(drop),
        _ => Err(Fault::Unknown("this kind of key")),
    }
}

pub(super) use event::{
    TABLE as EVENT, read as read_event, read_old as read_old_event, write as write_event,
};
pub(super) use handshake::{TABLE as HANDSHAKE, read as read_handshake, write as write_handshake};
pub(super) use message::MessageRow;
pub(super) use shard::{Shard, Span, TABLE as SHARD, read as read_shard, write as write_shard};
