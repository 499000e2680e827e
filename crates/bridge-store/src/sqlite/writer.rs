//! The one thread that writes. It blocks on the first request, takes what has queued meanwhile, makes one transaction of
//! it, and answers all when that is durable. Which messages, deliveries and events lie together is decided in `messages`.

mod messages;
mod trim;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bridge_core::{
    Change, Handshake, NodeId, Ownership, Row, RowKey, Scope, Seq, ShardId, StoreError, Timestamp,
};
use rusqlite::{Connection, PrepFlags, Statement};
use tokio::sync::{mpsc, oneshot};

use super::{
    bind::Bind,
    fault::Fault,
    rows::{self, Kind, Shard},
    schema,
};

pub(super) use self::messages::Messages;

/// Requests that one transaction takes at most, and that wait at most.
const GROUP: usize = 1_024;

/// Something to be written, whole or not at all.
#[derive(Debug)]
pub(super) enum Write {
    Acquire { shard: ShardId, node: NodeId, now: Timestamp, ttl: Duration },
    Renew { owner: Ownership, until: Timestamp },
    Release { owner: Ownership },
    Commit { owner: Ownership, changes: Vec<Change> },
    SaveHandshake(Handshake),
    DeleteHandshake(String),
    ForgetHandshakes(Timestamp),
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// What an acquisition began.
    Owner(Ownership),
}

#[derive(Debug)]
pub(super) struct Request {
    write: Write,
    answer: oneshot::Sender<Result<Written, Fault>>,
}

impl Request {
    fn answer(self, result: Result<Written, Fault>) {
        // A caller that is gone does not want to know; its write is as durable as any.
        let _gone = self.answer.send(result);
    }
}

/// The way to the writer thread. The thread ends when the last one is dropped and what was queued is written.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// A way to a writer and the end that [`run`] takes.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(GROUP);
        (Self { requests }, inbox)
    }

    /// Has `write` written and waits until it is durable.
    ///
    /// Dropped before the request is queued, nothing is written; dropped later, all of it.
    pub(super) async fn write(
        &self,
        operation: &'static str,
        file: &Path,
        write: Write,
    ) -> Result<Written, StoreError> {
        let (answer, answered) = oneshot::channel();
        let told = |fault: Fault| fault.told(operation, file);
        self.requests.send(Request { write, answer }).await.map_err(|_| told(Fault::Gone))?;
        answered.await.map_err(|_| told(Fault::Gone))?.map_err(told)
    }
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) changes: AtomicU64,
}

/// Writes what comes in until nobody can send any more.
///
/// After a fault of the medium the connection is closed. Nothing is written then until a shard is acquired: only an owner
/// that loads again knows what the last transaction came to.
pub(super) fn run(
    mut inbox: mpsc::Receiver<Request>,
    connection: Connection,
    open: impl Fn() -> Result<Connection, Fault>,
    counters: &Counters,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut connection = Some(connection);
    while inbox.blocking_recv_many(&mut group, GROUP) > 0 {
        if connection.is_none() {
            connection = reopen(&mut group, &open);
        }
        if let Some(open) = connection.take()
            && serve(&open, &mut group, &mut inbox, counters).is_ok()
        {
            connection = Some(open);
            break;
        }
    }
    // What could not be moved stays in the log, and is found there at the next start.
    let _left_in_the_log = connection.as_ref().map(schema::tidy);
}

/// Opens the database again for the acquisitions in `group`, and turns everything else away.
fn reopen(group: &mut Vec<Request>, open: impl Fn() -> Result<Connection, Fault>) -> Option<Connection> {
    for request in group.extract_if(.., |request| !matches!(request.write, Write::Acquire { .. })) {
        request.answer(Err(Fault::Closed));
    }
    if group.is_empty() {
        return None;
    }
    match open() {
        Ok(connection) => Some(connection),
        Err(fault) => {
            group.drain(..).for_each(|request| request.answer(Err(fault.clone())));
            None
        }
    }
}

/// The connection cannot be trusted any more.
struct Spoiled;

/// Writes `group`, and then one group after the other until nobody can send any more.
fn serve(
    connection: &Connection,
    group: &mut Vec<Request>,
    inbox: &mut mpsc::Receiver<Request>,
    counters: &Counters,
) -> Result<(), Spoiled> {
    let mut transaction = match Transaction::new(connection) {
        Ok(transaction) => transaction,
        Err(fault) => {
            group.drain(..).for_each(|request| request.answer(Err(fault.clone())));
            return Err(Spoiled);
        }
    };
    loop {
        transaction.write_group(group, counters)?;
        if inbox.blocking_recv_many(group, GROUP) == 0 {
            return Ok(());
        }
    }
}

/// Where an attempt to write a group ended.
enum End {
    Committed(Vec<Result<Written, Fault>>),
    /// One request cannot be written, and the others should be without it.
    Refused(usize, Fault),
    Failed(Fault),
}

/// One transaction after the other on one connection, with its statements ready.
struct Transaction<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    shard: Statement<'c>,
    put_shard: Statement<'c>,
    new_slot: Statement<'c>,
    put: Vec<Option<Statement<'c>>>,
    delete: Vec<Option<Statement<'c>>>,
    messages: Messages<'c>,
}

/// Prepares a statement that stays. SQLite keeps some memory at hand for each connection's short needs: one that stays must
/// not live in it, or all others would have to ask the system for theirs.
fn prepare<'c>(connection: &'c Connection, sql: &str) -> rusqlite::Result<Statement<'c>> {
    connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)
}

impl<'c> Transaction<'c> {
    fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let for_each = |sql: fn(&rows::Table) -> String| {
            let prepare = |table| prepare(connection, &sql(table));
            Kind::ALL.iter().map(|kind| kind.table().map(prepare).transpose()).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            connection,
            begin: prepare(connection, "BEGIN IMMEDIATE")?,
            commit: prepare(connection, "COMMIT")?,
            shard: prepare(connection, &rows::SHARD.get())?,
            put_shard: prepare(connection, &rows::SHARD.put())?,
            put: for_each(rows::Table::put)?,
            delete: for_each(rows::Table::delete)?,
            new_slot: prepare(connection, "SELECT coalesce(max(slot) + 1, 0) FROM shard")?,
            messages: Messages::new(connection)?,
        })
    }

    /// Writes all of `group` and answers it.
    fn write_group(&mut self, group: &mut Vec<Request>, counters: &Counters) -> Result<(), Spoiled> {
        while !group.is_empty() {
            match self.attempt(group) {
                End::Committed(results) => {
                    count(group, counters);
                    for (request, result) in group.drain(..).zip(results) {
                        request.answer(result);
                    }
                }
                End::Refused(at, fault) => {
                    let request = group.remove(at);
                    let rolled_back = self.roll_back();
                    request.answer(Err(fault));
                    rolled_back?;
                }
                End::Failed(fault) => {
                    let rolled_back = self.roll_back();
                    group.drain(..).for_each(|request| request.answer(Err(fault.clone())));
                    rolled_back?;
                    return if fault.is_of_medium() { Err(Spoiled) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }

    fn attempt(&mut self, group: &[Request]) -> End {
        if let Err(error) = self.begin.raw_execute() {
            return End::Failed(error.into());
        }
        let mut results = Vec::with_capacity(group.len());
        for (at, request) in group.iter().enumerate() {
            match self.write(&request.write) {
                // The epoch is looked at before the first change: nothing is there to be undone.
                result @ (Ok(_) | Err(Fault::Fenced { .. })) => results.push(result),
                Err(fault) if fault.is_of_request() => return End::Refused(at, fault),
                Err(fault) => return End::Failed(fault),
            }
        }
        match self.commit.raw_execute() {
            Ok(_) => End::Committed(results),
            Err(error) => End::Failed(error.into()),
        }
    }

    /// Some faults make SQLite roll back by itself; the others are rolled back here.
    fn roll_back(&self) -> Result<(), Spoiled> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").map_err(|_| Spoiled)
    }

    fn write(&mut self, write: &Write) -> Result<Written, Fault> {
        match write {
            Write::Acquire { shard, node, now, ttl } => return self.acquire(*shard, *node, *now, *ttl),
            Write::Renew { owner, until } => {
                let shard = self.shard(owner.shard)?.of(owner)?;
                self.put_shard(owner.shard, &Shard { owned_until: Some(*until), ..shard })?;
            }
            Write::Release { owner } => {
                if let Ok(shard) = self.shard(owner.shard)?.of(owner) {
                    self.put_shard(owner.shard, &Shard { node: None, ..shard })?;
                }
            }
            Write::Commit { owner, changes } => self.change(owner, changes)?,
            Write::SaveHandshake(record) => {
                let mut save = self
                    .connection
                    .prepare_cached("INSERT OR REPLACE INTO handshake VALUES (?, ?, ?, ?, ?)")?;
                let mut row = Bind::new(&mut save);
                rows::write_handshake(record, &mut row)?;
                row.run_sealed()?;
            }
            Write::DeleteHandshake(id) => {
                self.connection.prepare_cached("DELETE FROM handshake WHERE id = ?")?.execute([id])?;
            }
            Write::ForgetHandshakes(before) => {
                let mut forget =
                    self.connection.prepare_cached("DELETE FROM handshake WHERE saved_at < ?")?;
                forget.execute([before.as_millis().cast_signed()])?;
            }
        }
        Ok(Written::Done)
    }

    fn acquire(
        &mut self,
        id: ShardId,
        node: NodeId,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Written, Fault> {
        let shard = self.shard(id)?;
        let epoch = shard.epoch + 1;
        let since = shard.owned_until.map_or(now, |until| now.max(until - ttl));
        self.put_shard(id, &Shard { epoch, node: Some(node), owned_until: Some(since + ttl), ..shard })?;
        Ok(Written::Owner(Ownership { shard: id, node, epoch, since }))
    }

    /// The shard, as new if nobody has owned it.
    fn shard(&mut self, id: ShardId) -> Result<Shard, Fault> {
        let mut get = Bind::new(&mut self.shard);
        get.put(&id)?;
        if let Some(row) = get.query().next()? {
            return rows::read_shard(row);
        }
        let slot = self.new_slot.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned();
        Ok(Shard { slot, ..Shard::default() })
    }

    fn put_shard(&mut self, id: ShardId, shard: &Shard) -> Result<(), Fault> {
        let mut put = Bind::new(&mut self.put_shard);
        put.put(&id)?;
        rows::write_shard(shard, &mut put)?;
        put.run_sealed().map(drop)
    }

    fn change(&mut self, owner: &Ownership, changes: &[Change]) -> Result<(), Fault> {
        let shard = self.shard(owner.shard)?.of(owner)?;
        let span = shard.span(owner.shard);
        let (mut floor, mut head) = (shard.floor, shard.head);
        let mut left = changes;
        while let [change, rest @ ..] = left {
            left = rest;
            match change {
                // What was trimmed comes back no more, if its batch does.
                Change::Append(event) if event.seq <= floor && event.session.is_none() => {}
                Change::Append(event) => {
                    left = self.messages.append(&span, event, head, rest)?;
                    head = head.max(event.seq);
                }
                Change::Put(Row::Message(message)) => self.messages.put_message(&span, message)?,
                Change::Put(Row::Delivery(delivery)) => self.messages.put_delivery(&span, delivery)?,
                Change::Delete(RowKey::Message(id)) => self.messages.delete_message(&span, *id)?,
                Change::Delete(RowKey::Delivery(id)) => self.messages.delete_delivery(&span, *id)?,
                Change::Trim(scope, up_to) => {
                    let is_all = *scope == Scope::All;
                    let after = if is_all { floor } else { Seq::ZERO };
                    trim::trim(self.connection, &span, *scope, after, *up_to)?;
                    floor = if is_all { floor.max(*up_to) } else { floor };
                }
                Change::Put(row) => {
                    let mut put = Bind::new(statement(&mut self.put, Kind::of_row(row)?)?);
                    rows::write(owner.shard, row, &mut put)?;
                    put.run_sealed()?;
                }
                Change::Delete(key) => {
                    let mut delete = Bind::new(statement(&mut self.delete, Kind::of(key)?)?);
                    rows::write_key(owner.shard, key, &mut delete)?;
                    delete.run()?;
                }
                _ => return Err(Fault::Unknown("this kind of change")),
            }
        }
        if (floor, head) != (shard.floor, shard.head) {
            self.put_shard(owner.shard, &Shard { floor, head, ..shard })?;
        }
        Ok(())
    }
}

fn statement<'s, 'c>(
    statements: &'s mut [Option<Statement<'c>>],
    kind: Kind,
) -> Result<&'s mut Statement<'c>, Fault> {
    statements[kind as usize].as_mut().ok_or(Fault::Unknown("a table for this kind of row"))
}

fn count(group: &[Request], counters: &Counters) {
    let changes = group.iter().map(|request| match &request.write {
        Write::Commit { changes, .. } => changes.len(),
        _ => 1,
    });
    counters.changes.fetch_add(changes.sum::<usize>() as u64, Ordering::Relaxed);
    counters.requests.fetch_add(group.len() as u64, Ordering::Relaxed);
    counters.commits.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
