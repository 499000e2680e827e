//! The threads that read, each on a connection that cannot write, and the queries they run.

use std::sync::{Arc, Mutex, PoisonError};

use bridge_core::{
    DeliveryId, Handshake, Index, LogPage, Ownership, Row, RowKey, Scope, Seq, SessionId, ShardId,
};
use rusqlite::{Connection, ToSql, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    bind::Bind,
    fault::Fault,
    rows::{self, EVENT, Kind, Shard, Table},
};
use crate::page;

/// Queries that wait at most.
const QUEUE: usize = 256;

/// Rows of one page of a load.
const PAGE: usize = 1_000;

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
        query: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |reader| {
            let _gone = answer.send(reader.read(query));
        });
        self.queries.send(query).await.map_err(|_| Fault::Gone)?;
        answered.await.map_err(|_| Fault::Gone)?
    }
}

/// A connection that is opened when it is needed, and again after a fault.
pub(super) struct Reader {
    open: Box<dyn Fn() -> Result<Connection, Fault>>,
    connection: Option<Connection>,
}

impl Reader {
    fn read<T>(&mut self, query: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
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
    query: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let result = query(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Answers queries until nobody can ask any more.
pub(super) fn run(inbox: &Inbox, open: impl Fn() -> Result<Connection, Fault> + 'static) {
    let mut reader = Reader { open: Box::new(open), connection: None };
    loop {
        // The one that waits holds the lock; it lets go before it works.
        let query = inbox.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match query {
            Some(query) => query(&mut reader),
            None => return,
        }
    }
}

pub(super) fn load(
    connection: &Connection,
    owner: &Ownership,
    after: Option<&RowKey>,
) -> Result<Vec<Row>, Fault> {
    shard(connection, owner.shard)?.of(owner)?;
    live(connection, owner.shard, after, PAGE)
}

/// Live rows in the order of their keys.
fn live(
    connection: &Connection,
    shard: ShardId,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let begun = after.map(Kind::of).transpose()?;
    let mut page = Vec::new();
    for kind in Kind::ALL {
        let left = limit - page.len();
        let table = kind.table();
        // Behind the only row of its kind there is none.
        if left == 0 || begun > Some(kind) || (begun == Some(kind) && table.key.is_empty()) {
            continue;
        }
        let after = after.filter(|_| begun == Some(kind));
        let sql = if after.is_some() { table.load_after() } else { table.load() };
        let mut load = connection.prepare_cached(&sql)?;
        let mut query = Bind::new(&mut load);
        match after {
            Some(key) => rows::write_key(shard, key, &mut query)?,
            None => query.put(&shard).map(drop)?,
        }
        query.put(&(left as u64))?;
        read_rows(kind, query.query(), &mut page)?;
    }
    Ok(page)
}

/// The shard, as new if nobody has owned it.
fn shard(connection: &Connection, id: ShardId) -> Result<Shard, Fault> {
    let mut get = connection.prepare_cached(&rows::SHARD.get())?;
    get.query([id.0])?.next()?.map_or_else(|| Ok(Shard::default()), rows::read_shard)
}

pub(super) fn get(
    connection: &Connection,
    shard: ShardId,
    keys: &[RowKey],
) -> Result<Vec<Option<Row>>, Fault> {
    let mut statements = Kind::ALL.map(|_| None);
    let mut find = |key| {
        let kind = Kind::of(key)?;
        let get = match &mut statements[kind as usize] {
            Some(get) => get,
            none => none.insert(connection.prepare_cached(&kind.table().get())?),
        };
        let mut query = Bind::new(get);
        rows::write_key(shard, key, &mut query)?;
        query.query().next()?.map(|row| kind.read(row)).transpose()
    };
    keys.iter().map(&mut find).collect()
}

pub(super) fn scan(
    connection: &Connection,
    shard: ShardId,
    index: &Index,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    if let Index::Live { after } = index {
        return live(connection, shard, after.as_ref(), limit);
    }
    let limit = bound(limit as u64);
    let select = |kind, condition, values: &[&dyn ToSql]| {
        let shard: &dyn ToSql = &shard.0;
        let all: Vec<_> = [shard, &limit].into_iter().chain(values.iter().copied()).collect();
        select(connection, kind, condition, &all)
    };
    match index {
        Index::Sessions { before: None } => {
            select(Kind::Session, "TRUE ORDER BY created_at DESC, id DESC", &[])
        }
        Index::Sessions { before: Some(session) } => select(
            Kind::Session,
            "(created_at, id) < (SELECT created_at, id FROM session WHERE shard = ?1 AND id = ?3)
             ORDER BY created_at DESC, id DESC",
            &[&session.0.to_be_bytes()],
        ),
        Index::Messages { session, before } => select(
            Kind::Message,
            "session = ?3 AND seq < ?4 ORDER BY seq DESC",
            &[&session.0.to_be_bytes(), &before.map_or(i64::MAX, |Seq(before)| bound(before))],
        ),
        Index::IdempotencyBefore(time) => select(
            Kind::Idempotency,
            "expires_at < ?3 ORDER BY expires_at, sender, recipient, key",
            &[&bound(time.as_millis())],
        ),
        _ => Err(Fault::Unknown("this index")),
    }
}

/// Rows of the shard `?1`, at most `?2`.
fn select(
    connection: &Connection,
    kind: Kind,
    condition: &str,
    values: &[&dyn ToSql],
) -> Result<Vec<Row>, Fault> {
    let Table { name, .. } = kind.table();
    let columns = kind.table().columns();
    let sql = format!("SELECT {columns} FROM {name} WHERE shard = ?1 AND {condition} LIMIT ?2");
    let mut select = connection.prepare_cached(&sql)?;
    let mut found = select.query(values)?;
    page::fill(std::iter::from_fn(|| match found.next() {
        Ok(row) => row.map(|row| kind.read(row)),
        Err(error) => Some(Err(error.into())),
    }))
}

fn read_rows(kind: Kind, mut found: rusqlite::Rows<'_>, into: &mut Vec<Row>) -> Result<(), Fault> {
    while let Some(row) = found.next()? {
        into.push(kind.read(row)?);
    }
    Ok(())
}

/// A bound of a search. No row is beyond SQL's integers, so neither need a bound be.
fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn read_log(
    connection: &Connection,
    shard: ShardId,
    scope: Scope,
    after: Seq,
    limit: usize,
) -> Result<LogPage, Fault> {
    let Shard { floor, head, .. } = self::shard(connection, shard)?;
    let (condition, id) = match scope {
        Scope::All => ("?4 IS NULL", None),
        Scope::Session(SessionId(id)) => ("session = ?4", Some(id.to_be_bytes())),
        Scope::Delivery(DeliveryId(id)) => ("delivery = ?4", Some(id.to_be_bytes())),
    };
    let columns = EVENT.columns();
    let mut select = connection.prepare_cached(&format!(
        "SELECT {columns} FROM event WHERE shard = ?1 AND seq > ?2 AND {condition} ORDER BY seq LIMIT ?3"
    ))?;
    let mut found = select.query(params![shard.0, bound(after.0), bound(limit as u64), id])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(rows::read_event(row)?);
    }
    Ok(LogPage { events, floor, head })
}

pub(super) fn find_handshake(connection: &Connection, id: &str) -> Result<Option<Handshake>, Fault> {
    let mut find =
        connection.prepare_cached("SELECT id, principal, saved_at, data, crc FROM handshake WHERE id = ?")?;
    let mut found = find.query([id])?;
    found.next()?.map(rows::read_handshake).transpose()
}
