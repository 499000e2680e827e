//! The one handle that doors and embedders call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bridge_core::{
    Address, Advance, Answer, CallId, Cancelled, Clock, Command, Consumer, Cursor, Delivery, DeliveryError,
    DeliveryId, Directive, Event, Granted, Idempotency, Index, LogId, Message, MessageId, Metrics, Name,
    OpenSession, OpenTask, Outcome, Policy, Proof, Publish, PublishError, Published, Receive, ReceiveError,
    Reply, Row, RowKey, Scope, Seq, SessionError, SessionId, SessionView, Settle, SettleError, Settled,
    ShardId, Store, StoreError, Task, TaskError, TaskId, Timestamp,
};
use tokio::sync::watch;

use crate::{
    actor::{Actor, Parts},
    clock::SystemClock,
    fault::{CallError, Fault, Health},
    id::Ids,
    inbox::{Answered, HandOver, Inlet},
    request::{Credential, NewMessage, NewReply, ReceiveRequest, Settlement},
    tail::Tail,
    token::{Tokens, same_handle},
};

/// Commands that may wait to be handled; who sends more waits.
const INBOX: usize = 4_096;

/// How often rows that nobody will ask for again are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// Rows removed at once.
const SWEEP_ROWS: usize = 1_000;

/// Chooses the parts of a [`Bridge`].
#[derive(Debug)]
pub struct Builder {
    store: Arc<dyn Store>,
    clock: Option<Arc<dyn Clock>>,
    metrics: Arc<dyn Metrics>,
    policy: Policy,
}

impl Builder {
    /// Keeps time by `clock` instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Reports what is measured to `metrics`.
    #[must_use]
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Replaces the documented numbers.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Becomes the owner of the store's data, loads it and begins to work, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// What the store says: that another process has the data, that it is damaged, that it is of a newer version.
    pub async fn start(self) -> Result<Bridge, StoreError> {
        let Self { store, clock, metrics, policy } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let ids = Ids::new(Arc::clone(&clock));
        let parts = Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            metrics,
            policy,
            shard: SHARD,
            node: ids.node(),
        };
        let life = parts.begin().await?;
        let (inlet, inbox) = Inlet::channel(INBOX);
        let tail = Arc::new(Tail::new(life.head));
        let (health, observed) = watch::channel(Health::Ready);
        let shared = Shared {
            inlet,
            store,
            clock,
            ids,
            tail: Arc::clone(&tail),
            log: life.identity.log,
            tokens: Tokens::new(life.identity.token_key),
            health: observed,
            calls: AtomicU64::new(0),
        };
        let actor = Actor::new(parts, inbox, shared.inlet.downgrade(), tail, health);
        tokio::spawn(actor.run(life));
        let bridge = Bridge { shared: Arc::new(shared) };
        tokio::spawn(sweep(Arc::downgrade(&bridge.shared)));
        Ok(bridge)
    }
}

/// The one shard of a data directory.
const SHARD: ShardId = ShardId(0);

/// A running bridge.
///
/// It is a handle: cloning it is cheap, and the bridge works until [`shutdown`](Bridge::shutdown) is called or the last
/// handle is dropped. Every method that changes something returns after the change is on stable storage.
#[derive(Debug, Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inlet: Inlet,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    tail: Arc<Tail>,
    log: LogId,
    tokens: Tokens,
    health: watch::Receiver<Health>,
    calls: AtomicU64,
}

/// What a receive got.
#[derive(Debug)]
pub struct Received {
    /// The deliveries, in order.
    pub deliveries: Vec<Leased>,
    /// What a named consumer holds besides, so that nothing is forgotten.
    pub held: Vec<Leased>,
    /// What to do next.
    pub directive: Directive,
    /// How many deliveries still wait in the mailbox.
    pub depth: u32,
    /// To be completed once the answer has reached its consumer.
    pub handover: HandOver,
}

/// A delivery in a consumer's hands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Leased {
    /// The delivery.
    pub id: DeliveryId,
    /// The message's id.
    pub message_id: MessageId,
    /// What is delivered; none if its content was removed.
    pub message: Option<Arc<Message>>,
    /// What to settle it with.
    pub token: String,
    /// The short form of the token, valid together with the message's id.
    pub handle: String,
    /// Ordinal of the hand-over, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub until: Timestamp,
    /// The sender has asked for it back.
    pub cancel_requested: bool,
}

/// A delivery and its part of the log.
#[derive(Debug, Clone)]
pub struct DeliveryHistory {
    /// The delivery.
    pub delivery: Delivery,
    /// Its events, oldest first.
    pub events: Vec<Event>,
}

/// A page of a conversation.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The conversation.
    pub session: SessionView,
    /// A page of messages, oldest first, each with its deliveries.
    pub messages: Vec<(Arc<Message>, Vec<Delivery>)>,
    /// Whether there are older ones.
    pub older: bool,
    /// Where to read on from, to get everything that this page does not show.
    pub cursor: Cursor,
}

/// Takes the expected kind out of an answer.
macro_rules! expect {
    ($answered:expr, $kind:ident) => {
        match $answered.answer {
            Answer::$kind(result) => result,
            other => unreachable!("a shard answers in kind, not with {other:?}"),
        }
    };
}

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

    /// Like [`builder`](Bridge::builder), over a store that is shared with others.
    pub fn builder_from(store: Arc<dyn Store>) -> Builder {
        Builder { store, clock: None, metrics: Arc::new(()), policy: Policy::default() }
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
        expect!(self.call(Command::OpenSession(open)).await?, Session).map_err(CallError::Refused)
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
        expect!(self.call(command).await?, Session).map_err(CallError::Refused)
    }

    /// Ends a conversation; what it leaves unsettled is given up. Ending an ended one changes nothing.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub async fn close_session(&self, id: SessionId) -> Result<SessionView, CallError<SessionError>> {
        expect!(self.call(Command::CloseSession(id)).await?, Session).map_err(CallError::Refused)
    }

    /// Tells how a conversation stands.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub async fn session(&self, id: SessionId) -> Result<SessionView, CallError<SessionError>> {
        expect!(self.call(Command::InspectSession(id)).await?, Session).map_err(CallError::Refused)
    }

    /// Conversations, newest first: at most `limit` that began before `before`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn sessions(&self, before: Option<SessionId>, limit: usize) -> Result<Vec<SessionView>, Fault> {
        let rows = self.scan(Index::Sessions { before }, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            if let Row::Session(session) = row {
                match self.session(session.id).await {
                    Ok(view) => views.push(view),
                    Err(CallError::Refused(_)) => {}
                    Err(CallError::Fault(fault)) => return Err(fault),
                }
            }
        }
        Ok(views)
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
        expect!(self.call(Command::Publish(publish)).await?, Published).map_err(CallError::Refused)
    }

    /// Hands out deliveries under leases, waiting for some if asked to.
    ///
    /// # Errors
    /// [`ReceiveError`], or a [`Fault`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what was granted to it is handed out again.
    pub async fn receive(&self, request: ReceiveRequest) -> Result<Received, CallError<ReceiveError>> {
        let repeatable = request.attempt_id.is_some();
        let attempt_id = request.attempt_id.unwrap_or_else(|| {
            Name::new(&self.shared.ids.attempt()).expect("an attempt's id is a short name")
        });
        let consumer = match request.consumer {
            Some(name) => Consumer::named(request.principal, name),
            None => Consumer::nameless(request.principal, attempt_id.clone()),
        };
        let receive = Receive {
            consumer,
            mailbox: request.mailbox,
            max: request.max,
            max_bytes: request.max_bytes,
            wait: request.wait,
            lease: request.lease,
            attempt_id,
            repeatable,
        };
        let Answered { answer, handover } = self.call(Command::Receive(receive)).await?;
        let Answer::Received(received) = answer else {
            unreachable!("a shard answers in kind, not with {answer:?}")
        };
        let received = received.map_err(CallError::Refused)?;
        Ok(Received {
            deliveries: self.leased(&received.granted).await?,
            held: self.leased(&received.held).await?,
            directive: received.directive,
            depth: received.depth,
            handover,
        })
    }

    async fn leased(&self, granted: &[Granted]) -> Result<Vec<Leased>, Fault> {
        let ids: Vec<_> = granted.iter().map(|granted| granted.message).collect();
        let messages = self.messages_by_id(&ids).await?;
        let leased = granted.iter().zip(messages).map(|(granted, message)| Leased {
            id: granted.delivery,
            message_id: granted.message,
            message,
            token: self.shared.tokens.token(granted),
            handle: self.shared.tokens.handle(granted.delivery, granted.lease, &granted.consumer.name),
            attempt: granted.attempt,
            until: granted.until,
            cancel_requested: granted.cancel_requested,
        });
        Ok(leased.collect())
    }

    /// Settles or extends a delivery.
    ///
    /// # Errors
    /// * [`SettleError`] — refused, nothing was changed.
    /// * [`Fault::OutcomeUnknown`] — say the same again: if it was heard, the answer says so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether it was heard; saying it again is harmless.
    pub async fn settle(
        &self,
        credential: Credential,
        settlement: Settlement,
    ) -> Result<Settled, CallError<SettleError>> {
        let proof = self.prove(&credential).await?;
        let mut uncovered = Vec::new();
        let mut positions = Vec::new();
        let outcome = match settlement {
            Settlement::Ack => Outcome::Ack,
            Settlement::Answer { reply, covers } => {
                let mut proofs = Vec::with_capacity(covers.len());
                for (position, covered) in covers.iter().enumerate() {
                    match self.prove(covered).await {
                        Ok(proof) => {
                            positions.push(position);
                            proofs.push(proof);
                        }
                        Err(CallError::Refused(error)) => {
                            uncovered.push(bridge_core::NotCovered { position, error });
                        }
                        Err(CallError::Fault(fault)) => return Err(fault.into()),
                    }
                }
                Outcome::Answer { reply: self.reply(reply, &credential), covers: proofs }
            }
            Settlement::Extend { by, progress } => Outcome::Extend { by, progress: progress.map(Into::into) },
            Settlement::Release { delay } => Outcome::Release { delay },
            Settlement::Nack { delay, error } => Outcome::Nack { delay, error: error.map(Into::into) },
            Settlement::Reject { reason } => Outcome::Reject { reason: reason.map(Into::into) },
        };
        let mut settled = self.settle_proven(proof, outcome).await?;
        for not_covered in &mut settled.not_covered {
            not_covered.position = positions[not_covered.position];
        }
        settled.not_covered.append(&mut uncovered);
        settled.not_covered.sort_by_key(|not_covered| not_covered.position);
        Ok(settled)
    }

    pub(crate) async fn settle_proven(
        &self,
        proof: Proof,
        outcome: Outcome,
    ) -> Result<Settled, CallError<SettleError>> {
        let settle = Settle { proof, outcome };
        expect!(self.call(Command::Settle(settle)).await?, Settled).map_err(CallError::Refused)
    }

    fn reply(&self, reply: NewReply, credential: &Credential) -> Reply {
        let fingerprint = reply.fingerprint();
        let consumer = match credential {
            Credential::Message { consumer, .. } => consumer.clone(),
            _ => None,
        };
        Reply {
            id: self.shared.ids.message(),
            from: reply.from.or(consumer).unwrap_or_else(|| Name::from_static("agent")),
            verified: reply.verified,
            kind: reply.kind,
            payload: reply.payload,
            headers: reply.headers,
            fingerprint,
        }
    }

    /// What a credential proves.
    pub(crate) async fn prove(&self, credential: &Credential) -> Result<Proof, CallError<SettleError>> {
        let unknown = CallError::Refused(SettleError::UnknownToken);
        match credential {
            Credential::Token(token) => {
                let (delivery, lease) = self.shared.tokens.check(token).ok_or(unknown)?;
                Ok(Proof::Lease(delivery, lease))
            }
            Credential::Handle(message, handle) => self.prove_handle(*message, handle).await,
            Credential::Message { message, principal, consumer } => {
                let nobody = || Consumer::nameless(principal.clone(), principal.clone());
                let consumer =
                    consumer.clone().map_or_else(nobody, |name| Consumer::named(principal.clone(), name));
                Ok(Proof::Message(*message, consumer))
            }
        }
    }

    /// The lease a handle stands for: the newest of its message, or an earlier one, which is worth knowing too.
    async fn prove_handle(&self, message: MessageId, handle: &str) -> Result<Proof, CallError<SettleError>> {
        let tokens = &self.shared.tokens;
        let deliveries = expect!(self.call(Command::Inspect(message)).await?, Inspected);
        for delivery in &deliveries {
            if let Some(grant) = &delivery.grant
                && same_handle(handle, &tokens.handle(delivery.id, grant.lease, &grant.consumer.name))
            {
                return Ok(Proof::Lease(delivery.id, grant.lease));
            }
        }
        for delivery in deliveries {
            for event in self.history(delivery.id).await? {
                if let bridge_core::EventKind::Presented { lease, consumer, .. } = event.kind
                    && same_handle(handle, &tokens.handle(delivery.id, lease, &consumer))
                {
                    return Ok(Proof::Lease(delivery.id, lease));
                }
            }
        }
        Err(CallError::Refused(SettleError::UnknownToken))
    }

    /// Notes that the reader of a mailbox has seen everything up to a place.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn read(&self, mailbox: Address, up_to: Seq) -> Result<Seq, CallError<SessionError>> {
        expect!(self.call(Command::Read(mailbox, up_to)).await?, Read).map_err(CallError::Refused)
    }

    /// Moves a reader's own cursor if it stands where the caller believes; tells where it stands.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn advance(&self, advance: Advance) -> Result<Seq, CallError<SessionError>> {
        expect!(self.call(Command::Advance(advance)).await?, Advanced).map_err(CallError::Refused)
    }

    /// Withdraws a delivery; of one that is leased, its holder is asked.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn cancel(&self, delivery: DeliveryId) -> Result<Cancelled, CallError<DeliveryError>> {
        expect!(self.call(Command::Cancel(delivery)).await?, Cancelled).map_err(CallError::Refused)
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
        expect!(self.call(Command::Redrive(delivery, ttl)).await?, Redriven).map_err(CallError::Refused)
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
        expect!(self.call(Command::OpenTask(open)).await?, Task).map_err(CallError::Refused)
    }

    /// Tells what a task waits for.
    ///
    /// # Errors
    /// [`TaskError::Unknown`].
    pub async fn task(&self, id: TaskId) -> Result<Task, CallError<TaskError>> {
        expect!(self.call(Command::InspectTask(id)).await?, Task).map_err(CallError::Refused)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// [`TaskError::Unknown`].
    pub async fn cancel_task(&self, id: TaskId) -> Result<Task, CallError<TaskError>> {
        expect!(self.call(Command::CancelTask(id)).await?, Task).map_err(CallError::Refused)
    }

    /// A delivery as it stands in the store, with its history.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryHistory>, Fault> {
        match self.rows(&[RowKey::Delivery(id)]).await?.pop().flatten() {
            Some(Row::Delivery(delivery)) => {
                let events = self.history(id).await?;
                Ok(Some(DeliveryHistory { delivery: *delivery, events }))
            }
            _ => Ok(None),
        }
    }

    async fn history(&self, id: DeliveryId) -> Result<Vec<Event>, Fault> {
        let page = self.shared.store.read_log(SHARD, Scope::Delivery(id), Seq::ZERO, SWEEP_ROWS);
        Ok(page.await.map_err(|error| fault(&error))?.events)
    }

    /// A page of a conversation: at most `limit` messages before `before`, the newest if absent.
    ///
    /// # Errors
    /// [`SessionError::Unknown`], or a [`Fault`].
    pub async fn snapshot(
        &self,
        session: SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Snapshot, CallError<SessionError>> {
        // Taken first: what happens while the rows are read is told again by the events behind it.
        let cursor = self.head();
        let view = self.session(session).await?;
        let mut rows = self.scan(Index::Messages { session, before }, limit + 1).await?;
        let older = rows.len() > limit;
        rows.truncate(limit);
        let messages: Vec<_> = rows
            .into_iter()
            .rev()
            .filter_map(|row| match row {
                Row::Message(message) => Some(Arc::new(*message)),
                _ => None,
            })
            .collect();
        let deliveries = self.deliveries_of(&messages).await?;
        let messages = messages.into_iter().zip(deliveries).collect();
        Ok(Snapshot { session: view, messages, older, cursor })
    }

    /// Messages of a conversation after a place, oldest first.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn messages_after(
        &self,
        session: SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, Fault> {
        let rows = self.scan(Index::MessagesAfter { session, after }, limit).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| match row {
                Row::Message(message) => Some(*message),
                _ => None,
            })
            .collect())
    }

    async fn deliveries_of(&self, messages: &[Arc<Message>]) -> Result<Vec<Vec<Delivery>>, Fault> {
        let mut found: Vec<Vec<Delivery>> = vec![Vec::new(); messages.len()];
        let mut wanted: Vec<_> =
            messages.iter().enumerate().map(|(at, message)| (at, DeliveryId::of(message.id, 0))).collect();
        while !wanted.is_empty() {
            let keys: Vec<_> = wanted.iter().map(|(_, id)| RowKey::Delivery(*id)).collect();
            let rows = self.rows(&keys).await?;
            let mut next = Vec::new();
            for ((at, _), row) in wanted.into_iter().zip(rows) {
                if let Some(Row::Delivery(delivery)) = row {
                    next.extend(delivery.redriven_as.map(|id| (at, id)));
                    found[at].push(*delivery);
                }
            }
            wanted = next;
        }
        Ok(found)
    }

    /// Messages by id, each in its place; none where the content was removed.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Option<Arc<Message>>>, Fault> {
        let mut messages: Vec<_> = ids.iter().map(|id| self.shared.tail.recall(*id)).collect();
        let missing: Vec<usize> = (0..ids.len()).filter(|at| messages[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(messages);
        }
        let keys: Vec<_> = missing.iter().map(|at| RowKey::Message(ids[*at])).collect();
        for (at, row) in missing.into_iter().zip(self.rows(&keys).await?) {
            if let Some(Row::Message(message)) = row {
                let message = Arc::new(*message);
                self.shared.tail.remember(Arc::clone(&message));
                messages[at] = Some(message);
            }
        }
        Ok(messages)
    }

    /// A reader's own place in a conversation.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn reader_place(&self, session: SessionId, reader: &Name) -> Result<Seq, Fault> {
        match self.rows(&[RowKey::Reader(session, reader.clone())]).await?.pop().flatten() {
            Some(Row::Reader(reader)) => Ok(reader.place),
            _ => Ok(Seq::ZERO),
        }
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
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.shared.tail
    }

    pub(crate) async fn log_page(
        &self,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<bridge_core::LogPage, Fault> {
        self.shared.store.read_log(SHARD, scope, after, limit).await.map_err(|error| fault(&error))
    }

    async fn call(&self, command: Command) -> Result<Answered, Fault> {
        let id = CallId(self.shared.calls.fetch_add(1, Ordering::Relaxed));
        self.shared.inlet.call(id, command).await
    }

    async fn rows(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, Fault> {
        self.shared.store.get(SHARD, keys).await.map_err(|error| fault(&error))
    }

    async fn scan(&self, index: Index, limit: usize) -> Result<Vec<Row>, Fault> {
        self.shared.store.scan(SHARD, index, limit).await.map_err(|error| fault(&error))
    }
}

fn fault(error: &StoreError) -> Fault {
    tracing::error!(%error, "the store could not be read");
    Fault::of(error.kind)
}

/// Now and then removes remembered publishes whose time has passed, as long as the bridge lives.
async fn sweep(bridge: std::sync::Weak<Shared>) {
    while let Some(clock) = bridge.upgrade().map(|shared| Arc::clone(&shared.clock)) {
        clock.sleep_until(clock.now() + SWEEP).await;
        let Some(shared) = bridge.upgrade() else { return };
        let index = Index::IdempotencyBefore(shared.clock.now());
        match shared.store.scan(SHARD, index, SWEEP_ROWS).await {
            Ok(rows) if !rows.is_empty() => {
                shared.inlet.notify(Command::Forget(rows.iter().map(Row::key).collect()));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old keys could not be looked for"),
        }
    }
}
