//! What a store must do: keep rows and a log, durably, under an epoch. It knows no semantics.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{error, fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    address::Address,
    delivery::{Delivery, StateKind},
    event::Event,
    id::{DeliveryId, MessageId, Name, NodeId, SessionId, ShardId, TaskId},
    log::{LogId, LogPage, Scope, Seq},
    mailbox::Mailbox,
    message::Message,
    publish::{IdempotencyRecord, IdempotencyScope},
    reader::Reader,
    session::Session,
    task::Task,
    time::Timestamp,
};

/// Rows, messages and logs of many shards; one writer per shard.
///
/// A batch handed to [`commit`](Store::commit) is applied whole or not at all, and is on stable storage when the call
/// returns. Nothing else changes rows. Timestamps are stored as they come; a store reads no clock.
///
/// # Source
/// The split into a deciding owner and a row log follows S2's lite server and openraft's engine.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Becomes the owner of `shard` for `ttl` from `now`. Every acquisition raises the epoch, and precedes a load. Its time is not
    /// before that of the last one, whatever the caller's clock says.
    ///
    /// # Errors
    /// [`StoreErrorKind::Owned`] while another node's ownership lasts.
    async fn acquire(
        &self,
        shard: ShardId,
        node: NodeId,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Ownership, StoreError>;

    /// Prolongs an ownership to `ttl` from `now`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Fenced`] if a newer epoch exists.
    async fn renew(&self, owner: &Ownership, now: Timestamp, ttl: Duration) -> Result<(), StoreError>;

    /// Gives up an ownership, so that the next owner need not wait. Giving up a lost one is no error.
    async fn release(&self, owner: &Ownership) -> Result<(), StoreError>;

    /// The live rows of the shard ([`Row::is_live`]), a page at a time, in an order that is the store's own and always the
    /// same. `after` is the key of the last row of the page before. An empty page ends it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unavailable`] if the row with the key `after` is gone, and the store cannot tell where it was.
    async fn load(&self, owner: &Ownership, after: Option<RowKey>) -> Result<Vec<Row>, StoreError>;

    /// The rows with these keys, live or not, each in its place; `None` where there is none.
    async fn get(&self, shard: ShardId, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError>;

    /// At most `limit` rows of a named index, for observers; fewer once their payloads have come to [`SCAN_BYTES`]. Only an
    /// empty answer is the end.
    async fn scan(&self, shard: ShardId, index: Index, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Applies all of `changes` in order, or none; durable on return. Applying the same batch twice equals once.
    ///
    /// # Errors
    /// * [`StoreErrorKind::Fenced`] — the epoch is old; nothing was changed.
    /// * [`StoreErrorKind::Full`] — no space; nothing was changed.
    /// * Others — whether the batch was applied is unknown; acquire and load again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the batch applied whole or not at all.
    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError>;

    /// At most `limit` events of `scope` after `after`, in order, with the bounds of the log at that moment. The payload
    /// of what they speak of is fetched by [`get`](Store::get). What lies up to the floor is not whole.
    async fn read_log(
        &self,
        shard: ShardId,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<LogPage, StoreError>;
}

/// Bytes of payload that end a [`scan`](Store::scan), behind the row that reaches them.
pub const SCAN_BYTES: usize = 512 << 10;

/// Proof that a node owns a shard, as long as no newer epoch exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// What is owned.
    pub shard: ShardId,
    /// By whom.
    pub node: NodeId,
    /// The fencing number.
    pub epoch: u64,
    /// Since when: the time of the acquisition, or of the one before it if that was later. The owner's clock goes on from there.
    pub since: Timestamp,
}

/// One thing a store keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// The shard's own identity and secret.
    Identity(Identity),
    /// A conversation.
    Session(Session),
    /// A mailbox.
    Mailbox(Mailbox),
    /// A delivery.
    Delivery(Arc<Delivery>),
    /// A message with its payload. No two of a shard have the same place in its log.
    Message(Arc<Message>),
    /// A remembered publish.
    Idempotency(IdempotencyRecord),
    /// A reader's own place in a conversation.
    Reader(Reader),
    /// A task.
    Task(Task),
}

/// What a shard is given once, at its first load.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The identity of its log.
    pub log: LogId,
    /// The key that tokens are made with.
    pub token_key: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("log", &self.log).field("token_key", &"***").finish()
    }
}

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RowKey {
    /// Of [`Row::Identity`].
    Identity,
    /// Of [`Row::Session`].
    Session(SessionId),
    /// Of [`Row::Mailbox`].
    Mailbox(Address),
    /// Of [`Row::Delivery`].
    Delivery(DeliveryId),
    /// Of [`Row::Message`].
    Message(MessageId),
    /// Of [`Row::Idempotency`].
    Idempotency(IdempotencyScope),
    /// Of [`Row::Reader`].
    Reader(SessionId, Name),
    /// Of [`Row::Task`].
    Task(TaskId),
}

impl Row {
    /// The row's name.
    pub fn key(&self) -> RowKey {
        match self {
            Self::Identity(_) => RowKey::Identity,
            Self::Session(session) => RowKey::Session(session.id),
            Self::Mailbox(mailbox) => RowKey::Mailbox(mailbox.address.clone()),
            Self::Delivery(delivery) => RowKey::Delivery(delivery.id),
            Self::Message(message) => RowKey::Message(message.id),
            Self::Idempotency(record) => RowKey::Idempotency(record.scope.clone()),
            Self::Reader(reader) => RowKey::Reader(reader.session, reader.name.clone()),
            Self::Task(task) => RowKey::Task(task.id),
        }
    }

    /// Whether a shard needs the row in memory: the others are fetched when a command names them.
    pub fn is_live(&self) -> bool {
        match self {
            Self::Identity(_) | Self::Mailbox(_) | Self::Task(_) => true,
            Self::Session(session) => session.closed_at.is_none(),
            Self::Delivery(delivery) => delivery.is_live(),
            Self::Message(_) | Self::Idempotency(_) | Self::Reader(_) => false,
        }
    }
}

/// One line of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Insert the row, or put it in the place of the one with its key.
    Put(Row),
    /// Remove the row with this key, if there is one.
    Delete(RowKey),
    /// Append to the log. An event whose place is taken is the same event again.
    Append(Event),
    /// Remove events up to a place. Of [`Scope::All`] those that belong to no session go, and the log's floor is there from then
    /// on, unless it was higher; of a session its own go.
    Trim(Scope, Seq),
}

/// A named order of rows for observers. Which rows it has, and in which order, [`place`](Index::place) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Index {
    /// Sessions by their beginning, newest first.
    Sessions {
        /// Only those before this one's beginning, the last of the page before; of equal beginnings those with a smaller id.
        before: Option<(Timestamp, SessionId)>,
    },
    /// Messages of a session, newest first, each followed by its first delivery if there is one. The limit is of messages.
    Messages {
        /// The session.
        session: SessionId,
        /// Only those before this place.
        before: Option<Seq>,
    },
    /// Deliveries in one state, by [`seq`](Delivery::seq).
    Deliveries {
        /// The state, as it is recorded.
        state: StateKind,
        /// Of this mailbox alone.
        mailbox: Option<Address>,
        /// Only those made from here on.
        from: Seq,
        /// Only those made before.
        to: Seq,
        /// Which come first.
        first: First,
    },
    /// Remembered publishes whose time has passed, soonest first, and those that end together by sender, address and key as
    /// texts. Damaged ones are left out, as wherever it is told what is to be removed: they must not keep the rest from it.
    IdempotencyBefore(Timestamp),
    /// Deliveries that are to be looked at up to a time, by [`retire_at`](Delivery::retire_at), and then by their
    /// [`seq`](Delivery::seq). Damaged ones are left out.
    Retiring {
        /// Only those behind this one's time and place, the last of the page before.
        after: Option<(Timestamp, Seq)>,
        /// The time, itself included.
        until: Timestamp,
    },
    /// Sessions that were closed up to a time, those that were closed first before all others. Damaged ones are left out.
    ClosedSessions {
        /// Only those behind this one's end, the last of the page before; of equal ends those with a greater id.
        after: Option<(Timestamp, SessionId)>,
        /// The time, itself included.
        until: Timestamp,
    },
    /// Readers of a session, by their names.
    Readers {
        /// The session.
        session: SessionId,
    },
    /// The live rows as [`load`](Store::load) gives them, for those who do not own the shard. Consumers wait for it: what it costs
    /// is not to depend on rows that are not live.
    Live {
        /// Only those after this one, the last of the page before.
        after: Option<RowKey>,
    },
}

/// Where a row stands in an index. Places of one index are in its order, or in the reverse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(At);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Session(Timestamp, SessionId),
    Event(Seq),
    Due(Timestamp, Seq),
    /// The sender, the address as text and the key: a database knows no other order of addresses.
    Forgotten(Timestamp, Name, String, Name),
    Row(RowKey),
}

impl Index {
    /// Where a row stands in this index; none if it has no place there.
    ///
    /// A store that looks through its rows needs no more than this. One with indexes of its own says the same in its own
    /// words, and the conformance suite compares.
    ///
    /// # Example
    /// ```
    /// use bridge_core::{First, Index, Name, Reader, Row, Seq, SessionId};
    ///
    /// let reader = |name| {
    ///     Row::Reader(Reader { session: SessionId(1), name: Name::from_static(name), place: Seq(7) })
    /// };
    /// let index = Index::Readers { session: SessionId(1) };
    /// assert_eq!(index.first(), First::Oldest);
    /// assert!(index.place(&reader("phone")) < index.place(&reader("tab")));
    /// assert_eq!(Index::Readers { session: SessionId(2) }.place(&reader("tab")), None);
    /// ```
    pub fn place(&self, row: &Row) -> Option<Place> {
        let (at, is_in) = match (self, row) {
            (Self::Sessions { before }, Row::Session(session)) => {
                let at = (session.created_at, session.id);
                (At::Session(at.0, at.1), before.is_none_or(|before| at < before))
            }
            (Self::Messages { session, before }, Row::Message(message)) => {
                let is_earlier = before.is_none_or(|before| message.seq < before);
                (At::Event(message.seq), message.session == Some(*session) && is_earlier)
            }
            (Self::Deliveries { state, mailbox, from, to, .. }, Row::Delivery(delivery)) => {
                let is_of = mailbox.as_ref().is_none_or(|mailbox| delivery.mailbox == *mailbox);
                let is_meant = delivery.state.kind() == *state && is_of;
                (At::Event(delivery.seq), is_meant && (*from..*to).contains(&delivery.seq))
            }
            (Self::IdempotencyBefore(time), Row::Idempotency(record)) => {
                let IdempotencyScope { from, to, key } = &record.scope;
                let at = At::Forgotten(record.expires_at, from.clone(), to.to_string(), key.clone());
                (at, record.expires_at < *time)
            }
            (Self::Retiring { after, until }, Row::Delivery(delivery)) => {
                let at = (delivery.retire_at?, delivery.seq);
                (At::Due(at.0, at.1), Some(at) > *after && at.0 <= *until)
            }
            (Self::ClosedSessions { after, until }, Row::Session(session)) => {
                let at = (session.closed_at?, session.id);
                (At::Session(at.0, at.1), Some(at) > *after && at.0 <= *until)
            }
            (Self::Readers { session }, Row::Reader(reader)) => {
                (At::Row(row.key()), reader.session == *session)
            }
            (Self::Live { after }, row) => {
                let key = row.key();
                let is_in = row.is_live() && Some(&key) > after.as_ref();
                (At::Row(key), is_in)
            }
            _ => return None,
        };
        is_in.then_some(Place(at))
    }

    /// Which of its rows come first.
    pub const fn first(&self) -> First {
        match self {
            Self::Sessions { .. } | Self::Messages { .. } => First::Newest,
            Self::Deliveries { first, .. } => *first,
            _ => First::Oldest,
        }
    }
}

/// Which end of an index comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The oldest.
    Oldest,
    /// The newest.
    Newest,
}

/// A fault of a store.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct StoreError {
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What was being done.
    pub operation: &'static str,
    /// What went wrong, for an operator.
    pub message: String,
    /// Where it came from.
    #[source]
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What a fault calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// A newer owner exists: stop.
    Fenced,
    /// Another node or process owns it: try later.
    Owned,
    /// No space is left: what was there is there.
    Full,
    /// The medium failed: nothing is sure until it was opened again.
    Unavailable,
    /// What was read makes no sense.
    Corrupt,
    /// The data was written by a newer version.
    TooNew,
}

/// What clients of the older protocol agreed on when they connected, kept so that a restart does not cut them off.
///
/// Conversations are not in here: they live in the shard.
#[async_trait]
pub trait HandshakeStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps `record` under its id.
    async fn save(&self, record: Handshake) -> Result<(), StoreError>;
    /// The record with this id.
    async fn find(&self, id: &str) -> Result<Option<Handshake>, StoreError>;
    /// Forgets the record with this id.
    async fn delete(&self, id: &str) -> Result<(), StoreError>;
    /// Forgets the records last saved before `before`.
    async fn forget(&self, before: Timestamp) -> Result<(), StoreError>;
}

/// One client's agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The id the client was given.
    pub id: String,
    /// Who the client is.
    pub principal: Name,
    /// When it was last saved.
    pub saved_at: Timestamp,
    /// What was agreed, as the protocol's own library wrote it.
    pub data: Vec<u8>,
}
