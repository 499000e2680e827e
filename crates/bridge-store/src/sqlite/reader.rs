//! The threads that read, each on a connection that cannot write, and the queries they run.

mod deliveries;
mod live;
mod log;
mod scan;

use std::sync::{Arc, Mutex, PoisonError};

use bridge_core::{Handshake, Row, RowKey, ShardId};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    bind::{Bind, Take},
    fault::Fault,
    rows::{
        self, Kind, MessageRow, Shard,
        message::{self, CHANGING, Known, LASTING, PAYLOAD},
    },
};

pub(super) use self::{live::load, log::read_log, scan::scan};

/// Queries that wait at most.
const QUEUE: usize = 256;

type Query = Box<dyn FnOnce(&mut Reader) + Send>;

/// The way to the threads that read. They end when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    queries: mpsc::Sender<Query>,
}

/// The end of the queue that the threads share.
pub(super) type Inbox = Arc<Mutex<mpsc::Receiver<Query>>>;

impl Readers {
    pub(super) fn channel() -> (Self, Inbox) {
        let (queries, inbox) = mpsc::channel(QUEUE);
        (Self { queries }, Arc::new(Mutex::new(inbox)))
    }

    /// Runs `query` on one of the threads; all it reads is of one moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |reader| {
            let _gone = answer.send(reader.read(&query));
        });
        self.queries.send(query).await.map_err(|_| Fault::Gone)?;
        answered.await.map_err(|_| Fault::Gone)?
    }
}

/// A connection that is opened again after a fault.
pub(super) struct Reader {
    open: Box<dyn Fn() -> Result<Connection, Fault>>,
    connection: Option<Connection>,
}

impl Reader {
    /// SQLite tells a disk that failed to read like a file that is damaged: what is damaged is so the second time too.
    fn read<T>(&mut self, query: &impl Fn(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        match self.attempt(query) {
            Err(fault) if fault.is_damage_of_pages() => self.attempt(query),
            result => result,
        }
    }

    fn attempt<T>(&mut self, query: &impl Fn(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => (self.open)()?,
        };
        let result = in_transaction(&connection, query);
        if !result.as_ref().is_err_and(Fault::is_of_medium) {
            self.connection = Some(connection);
        }
        result
    }
}

fn in_transaction<T>(
    connection: &Connection,
    query: &impl Fn(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let result = query(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Answers queries until nobody can ask any more.
pub(super) fn run(
    inbox: &Inbox,
    connection: Connection,
    open: impl Fn() -> Result<Connection, Fault> + 'static,
) {
    let mut reader = Reader { open: Box::new(open), connection: Some(connection) };
    loop {
        // The one that waits holds the lock; it lets go before it works.
        let query = inbox.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match query {
            Some(query) => query(&mut reader),
            None => return,
        }
    }
}

/// The shard, if anybody has owned it.
fn shard(connection: &Connection, id: ShardId) -> Result<Option<Shard>, Fault> {
    let mut get = connection.prepare_cached(&rows::SHARD.get())?;
    get.query([id.0])?.next()?.map(rows::read_shard).transpose()
}

pub(super) fn get(
    connection: &Connection,
    shard: ShardId,
    keys: &[RowKey],
) -> Result<Vec<Option<Row>>, Fault> {
    keys.iter().map(|key| find(connection, shard, key)).collect()
}

fn find(connection: &Connection, shard: ShardId, key: &RowKey) -> Result<Option<Row>, Fault> {
    let kind = Kind::of(key)?;
    if let Kind::Message | Kind::Delivery = kind
        && let Some(row) = find_in_message(connection, shard, key)?
    {
        return Ok(Some(row));
    }
    find_apart(connection, shard, key)
}

/// A row that lies in no other's.
fn find_apart(connection: &Connection, shard: ShardId, key: &RowKey) -> Result<Option<Row>, Fault> {
    let kind = Kind::of(key)?;
    let Some(table) = kind.table() else { return Ok(None) };
    let mut get = connection.prepare_cached(&table.get())?;
    let mut query = Bind::new(&mut get);
    rows::write_key(shard, key, &mut query)?;
    query.query().next()?.map(|row| kind.read(row)).transpose()
}

/// A message, or a delivery that lies in its row.
fn find_in_message(connection: &Connection, shard: ShardId, key: &RowKey) -> Result<Option<Row>, Fault> {
    let (columns, part) = match key {
        RowKey::Message(_) => (PAYLOAD, "verified"),
        _ => (CHANGING, "state"),
    };
    let mut get = connection.prepare_cached(&format!(
        "SELECT {LASTING}, {columns} FROM message WHERE shard = ? AND id = ? AND {part} IS NOT NULL"
    ))?;
    let mut query = Bind::new(&mut get);
    rows::write_key(shard, key, &mut query)?;
    let mut found = query.query();
    let Some(row) = found.next()? else { return Ok(None) };
    let row = &mut Take::new(message::TABLE, row);
    let lasting = MessageRow::read(row)?;
    Ok(match key {
        RowKey::Message(_) => Some(Row::Message(Arc::new(lasting.read_message(row, &mut Known::default())?))),
        _ => lasting.read_delivery(row)?.map(Arc::new).map(Row::Delivery),
    })
}

pub(super) fn find_handshake(connection: &Connection, id: &str) -> Result<Option<Handshake>, Fault> {
    let mut find =
        connection.prepare_cached("SELECT id, principal, saved_at, data, crc FROM handshake WHERE id = ?")?;
    let mut found = find.query([id])?;
    found.next()?.map(rows::read_handshake).transpose()
}
