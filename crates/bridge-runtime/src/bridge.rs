//! The one handle that doors and embedders call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bridge_core::{
    Address, Advance, CallId, Cancelled, Clock, Command, Consumer, Cursor, DeliveryError, DeliveryId,
    Idempotency, LogId, Name, OpenSession, OpenTask, Publish, PublishError, Published, Seq, SessionError,
    SessionId, SessionView, ShardId, Store, Task, TaskError, TaskId, Timestamp,
};
use tokio::sync::{Mutex, watch};

use crate::{
    builder::Builder,
    fault::{CallError, Fault, Health},
    id::Ids,
    inbox::{Answered, Inlet},
    request::NewMessage,
    tail::Tail,
    token::Tokens,
};

/// The one shard of a data directory.
pub(crate) const SHARD: ShardId = ShardId(0);

/// A running bridge.
///
/// It is a handle: cloning it is cheap, and the bridge works until [`shutdown`](Bridge::shutdown) is called or the last
/// handle is dropped. Every method that changes something returns after the change is on stable storage.
#[derive(Debug, Clone)]
pub struct Bridge {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inlet: Inlet,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) tail: Arc<Tail>,
    pub(crate) log: LogId,
    pub(crate) tokens: Tokens,
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) calls: AtomicU64,
    /// Held by whoever reads ahead: one at a time is enough.
    pub(crate) reads_ahead: Arc<Mutex<()>>,
}

/// Takes the expected kind out of an answer.
macro_rules! answer_of {
    ($answered:expr, $kind:ident) => {
        match $answered.answer {
            bridge_core::Answer::$kind(result) => result,
            other => unreachable!("a shard answers in kind, not with {other:?}"),
        }
    };
}

pub(crate) use answer_of;

impl Bridge {
    /// Begins to choose the parts of a bridge over `store`.
    ///
    /// # Example
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use bridge_runtime::{Bridge, NewMessage, ReceiveRequest, Address, Side};
    ///
    /// let bridge = Bridge::builder(bridge_store::MemoryStore::new()).start().await.unwrap();
    /// let session = bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
    /// let agent = Address::Session(session, Side::Agent);
    ///
    /// bridge.publish(NewMessage::new(agent.clone(), "\"hello\"")).await.unwrap();
    /// let received = bridge.receive(ReceiveRequest::new(agent)).await.unwrap();
    /// assert_eq!(received.deliveries[0].message.as_ref().unwrap().payload, "\"hello\"");
    /// received.handover.complete();
    /// # });
    /// ```
    pub fn builder(store: impl Store) -> Builder {
        Self::builder_from(Arc::new(store))
    }

    /// Begins a conversation.
    ///
    /// # Errors
    /// [`SessionError::TooMany`].
    pub async fn open_session(
        &self,
        title: Option<&str>,
        owner: Name,
    ) -> Result<SessionView, CallError<SessionError>> {
        self.open_session_as(self.shared.ids.session(), title, owner).await
    }

    /// Begins the conversation with this id, or gives the one that is there.
    ///
    /// # Errors
    /// [`SessionError::TooMany`].
    pub async fn open_session_as(
        &self,
        id: SessionId,
        title: Option<&str>,
        owner: Name,
    ) -> Result<SessionView, CallError<SessionError>> {
        let open = OpenSession { id, title: title.map(Into::into), owner };
        answer_of!(self.call(Command::OpenSession(open)).await?, Session).map_err(CallError::Refused)
    }

    /// Gives a conversation another title.
    ///
    /// # Errors
    /// [`SessionError::Unknown`] or [`SessionError::Closed`].
    pub async fn rename_session(
        &self,
        id: SessionId,
        title: Option<&str>,
    ) -> Result<SessionView, CallError<SessionError>> {
        let command = Command::RenameSession(id, title.map(Into::into));
        answer_of!(self.call(command).await?, Session).map_err(CallError::Refused)
    }

    /// Ends a conversation; what it leaves unsettled is given up. Ending an ended one changes nothing.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub async fn close_session(&self, id: SessionId) -> Result<SessionView, CallError<SessionError>> {
        answer_of!(self.call(Command::CloseSession(id)).await?, Session).map_err(CallError::Refused)
    }

    /// Ends a conversation in which nothing has happened after `since`, unless something waits or is worked on for its
    /// agent. The answer says whether it is closed.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub async fn close_idle_session(
        &self,
        id: SessionId,
        since: Timestamp,
    ) -> Result<SessionView, CallError<SessionError>> {
        let command = Command::CloseIdleSession(id, since);
        answer_of!(self.call(command).await?, Session).map_err(CallError::Refused)
    }

    /// Tells how a conversation stands.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub async fn session(&self, id: SessionId) -> Result<SessionView, CallError<SessionError>> {
        answer_of!(self.call(Command::InspectSession(id)).await?, Session).map_err(CallError::Refused)
    }

    /// Accepts a message: durable on return.
    ///
    /// # Errors
    /// * [`PublishError`] — refused, nothing was stored.
    /// * [`Fault::OutcomeUnknown`] — repeat it with its idempotency key.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether the message was accepted.
    pub async fn publish(&self, message: NewMessage) -> Result<Published, CallError<PublishError>> {
        let idempotency = message
            .idempotency_key
            .clone()
            .map(|key| Idempotency { key, fingerprint: message.fingerprint() });
        let publish = Publish {
            id: self.shared.ids.message(),
            from: message.from,
            verified: message.verified,
            to: message.to,
            kind: message.kind,
            priority: message.priority,
            payload: message.payload,
            key: message.key,
            reply_to: message.reply_to,
            correlation_id: message.correlation_id,
            headers: message.headers,
            delay: message.delay,
            ttl: message.ttl,
            idempotency,
        };
        answer_of!(self.call(Command::Publish(publish)).await?, Published).map_err(CallError::Refused)
    }

    /// Notes that the person of a conversation has seen everything up to a place.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn read(&self, session: SessionId, up_to: Seq) -> Result<Seq, CallError<SessionError>> {
        answer_of!(self.call(Command::Read(session, up_to)).await?, Read).map_err(CallError::Refused)
    }

    /// Moves a reader's own cursor if it stands where the caller believes; tells where it stands.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn advance(&self, advance: Advance) -> Result<Seq, CallError<SessionError>> {
        answer_of!(self.call(Command::Advance(advance)).await?, Advanced).map_err(CallError::Refused)
    }

    /// Withdraws a delivery; of one that is leased, its holder is asked.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn cancel(&self, delivery: DeliveryId) -> Result<Cancelled, CallError<DeliveryError>> {
        answer_of!(self.call(Command::Cancel(delivery)).await?, Cancelled).map_err(CallError::Refused)
    }

    /// Gives a dead or cancelled delivery another life; asking again gives the first result.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn redrive(
        &self,
        delivery: DeliveryId,
        ttl: Option<Duration>,
    ) -> Result<DeliveryId, CallError<DeliveryError>> {
        answer_of!(self.call(Command::Redrive(delivery, ttl)).await?, Redriven).map_err(CallError::Refused)
    }

    /// Begins a task: a standing wish for messages.
    ///
    /// # Errors
    /// [`TaskError`].
    pub async fn open_task(
        &self,
        mailbox: Address,
        consumer: Consumer,
        ttl: Duration,
    ) -> Result<Task, CallError<TaskError>> {
        let open = OpenTask { id: self.shared.ids.task(), mailbox, consumer, ttl };
        answer_of!(self.call(Command::OpenTask(open)).await?, Task).map_err(CallError::Refused)
    }

    /// Tells what a task waits for.
    ///
    /// # Errors
    /// [`TaskError::Unknown`].
    pub async fn task(&self, id: TaskId) -> Result<Task, CallError<TaskError>> {
        answer_of!(self.call(Command::InspectTask(id)).await?, Task).map_err(CallError::Refused)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// [`TaskError::Unknown`].
    pub async fn cancel_task(&self, id: TaskId) -> Result<Task, CallError<TaskError>> {
        answer_of!(self.call(Command::CancelTask(id)).await?, Task).map_err(CallError::Refused)
    }

    /// The end of the log.
    pub fn head(&self) -> Cursor {
        Cursor { log: self.shared.log, seq: self.shared.tail.head() }
    }

    /// The identity of the log.
    pub fn log_id(&self) -> LogId {
        self.shared.log
    }

    /// The time by the bridge's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The bridge's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// How the bridge fares now.
    pub fn health(&self) -> Health {
        *self.shared.health.borrow()
    }

    /// How the bridge fares, followed as it changes.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.clone()
    }

    /// Stops: what was sent so far is answered, receives that wait are sent home, the data is given up. Returns when it
    /// is done; calls after it fail with [`Fault::ShuttingDown`].
    pub async fn shutdown(&self) {
        self.shared.inlet.shut_down().await;
        // The actor lets go of this when it has told everybody and given the data up.
        let mut health = self.shared.health.clone();
        while health.changed().await.is_ok() {}
        // Whoever reads ahead still has the store.
        drop(self.shared.reads_ahead.lock().await);
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.shared.tail
    }

    pub(crate) async fn call(&self, command: Command) -> Result<Answered, Fault> {
        let id = CallId(self.shared.calls.fetch_add(1, Ordering::Relaxed));
        self.shared.inlet.call(id, command).await
    }
}
