//! What is not needed any more is removed by itself, and nothing else.

mod archive;

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bridge_core::{
    Address, Archive, ArchiveRecord, Cursor, DeliveryError, DeliveryId, Gap, Measure, MessageId, Metrics,
    Policy, Retention, RetentionRule, RowKey, Scope, Seq, SessionError, SessionId, Side, StoreError,
    StoreErrorKind, Timestamp,
};
use bridge_runtime::{Bridge, CallError, Credential, From, NewMessage, NewReply, ReceiveRequest, Settlement};
use bridge_store::MemoryStore;
use bridge_testkit::{
    clock::ManualClock,
    fault::{self, FaultyStore},
};

use super::{House, soon};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An archive in memory, that fails while it is told to.
#[derive(Debug, Clone, Default)]
struct Shelf {
    kept: Arc<Mutex<Vec<ArchiveRecord>>>,
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// The bytes of each batch that came, whether it was kept or not.
    batches: Arc<Mutex<Vec<usize>>>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Full,
    Panics,
    Hangs,
}

impl Shelf {
    fn types(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let mut types: Vec<_> = kept.iter().map(|record| record.message.kind.to_string()).collect();
        types.sort();
        types
    }

    fn set(&self, trouble: impl Into<Option<Trouble>>) {
        *self.trouble.lock().unwrap() = trouble.into();
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

#[async_trait]
impl Archive for Shelf {
    async fn append(&self, records: Vec<ArchiveRecord>, _now: Timestamp) -> Result<(), StoreError> {
        let bytes = records.iter().map(|record| record.message.payload.len()).sum();
        self.batches.lock().unwrap().push(bytes);
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            None => self.kept.lock().unwrap().extend(records),
            Some(Trouble::Full) => {
                let message = "told to fail".to_owned();
                let kind = StoreErrorKind::Full;
                return Err(StoreError { kind, operation: "append", message, source: None });
            }
            Some(Trouble::Panics) => panic!("told to"),
            Some(Trouble::Hangs) => std::future::pending().await,
        }
        Ok(())
    }
}

/// What this thread says in the program's log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let heard = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(heard))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// Counts what went to the archive.
#[derive(Debug, Clone, Default)]
struct Measured(Arc<AtomicUsize>);

impl Measured {
    fn archived(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics for Measured {
    fn record(&self, measure: &Measure) {
        if let Measure::Archived { messages } = measure {
            self.0.fetch_add(*messages, Ordering::Relaxed);
        }
    }
}

struct Yard {
    bridge: Bridge,
    store: FaultyStore<MemoryStore>,
    clock: ManualClock,
    shelf: Shelf,
    measured: Measured,
}

impl Yard {
    async fn open() -> Self {
        Self::open_with(Policy::default()).await
    }

    async fn open_with(policy: Policy) -> Self {
        let (store, clock, shelf) =
            (FaultyStore::new(MemoryStore::new()), ManualClock::new(), Shelf::default());
        let measured = Measured::default();
        let started = Bridge::builder(store.clone()).clock(clock.clone()).archive(shelf.clone());
        let bridge = started.metrics(measured.clone()).policy(policy).start().await.unwrap();
        Self { bridge, store, clock, shelf, measured }
    }

    /// Stops the bridge and starts another on the same data.
    async fn reopen(&mut self) {
        self.bridge.shutdown().await;
        let started = Bridge::builder(self.store.clone()).clock(self.clock.clone());
        self.bridge = started.archive(self.shelf.clone()).start().await.unwrap();
    }

    async fn send(&self, kind: &str) -> MessageId {
        let mut message = NewMessage::new("worker".parse().unwrap(), kind.to_owned());
        message.kind = kind.parse().unwrap();
        self.bridge.publish(message).await.unwrap().message
    }

    /// Sends a message and acknowledges it.
    async fn done(&self, kind: &str) -> MessageId {
        let id = self.send(kind).await;
        let received = self.bridge.receive(ReceiveRequest::new("worker".parse().unwrap())).await.unwrap();
        let token = received.deliveries[0].token.clone();
        received.handover.complete();
        self.bridge.settle(Credential::Token(token), Settlement::Ack).await.unwrap();
        id
    }

    /// A conversation that has one message and is closed.
    async fn closed(&self) -> (SessionId, MessageId) {
        let session = self.bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
        let mut message = NewMessage::new(Address::Session(session, Side::Agent), "hello");
        message.kind = "error".parse().unwrap();
        let message = self.bridge.publish(message).await.unwrap().message;
        self.bridge.close_session(session).await.unwrap();
        (session, message)
    }

    /// Lets whoever cleans up come by.
    async fn swept(&self) {
        let id = self.send("notification").await;
        self.bridge.cancel(DeliveryId::of(id, 0)).await.unwrap();
        self.until(async |yard| !yard.is_there(id).await).await;
    }

    /// Sends a message and answers it. Nobody has sent it, so that the answer goes to nobody.
    async fn answered(&self, kind: &str, reply: NewReply) -> MessageId {
        self.send(kind).await;
        let received = self.bridge.receive(ReceiveRequest::new("worker".parse().unwrap())).await.unwrap();
        let token = received.deliveries[0].token.clone();
        received.handover.complete();
        let answer = Settlement::Answer { reply, covers: Vec::new() };
        let settled = self.bridge.settle(Credential::Token(token), answer).await.unwrap();
        settled.reply.unwrap()
    }

    /// Lets whoever cleans up do it once, a minute later or more.
    async fn sweep(&self, later: Duration, mut condition: impl AsyncFnMut(&Self) -> bool) {
        self.at_rest().await;
        self.clock.advance(later);
        soon(async {
            while !condition(self).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Lets whoever cleans up come to an end, and sleep: nothing here waits for another thread.
    async fn at_rest(&self) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    async fn is_there(&self, id: MessageId) -> bool {
        self.bridge.messages_by_id(&[id]).await.unwrap()[0].is_some()
    }

    /// Moves the clock until something has come to be so; whoever cleans up wakes once a minute.
    async fn until(&self, mut condition: impl AsyncFnMut(&Self) -> bool) {
        soon(async {
            while !condition(self).await {
                self.clock.advance(MINUTE);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_has_had_its_time_is_removed_and_what_waits_is_not() {
    let yard = Yard::open().await;
    let waiting = yard.send("notification").await;
    let cancelled = yard.send("notification").await;
    yard.bridge.cancel(DeliveryId::of(cancelled, 0)).await.unwrap();
    yard.until(async |yard| !yard.is_there(cancelled).await).await;
    assert!(yard.is_there(waiting).await);
    let first = DeliveryId::of(cancelled, 0);
    assert!(yard.bridge.inspect(first).await.unwrap().message_gone);
    let refused = yard.bridge.redrive(first, None).await.unwrap_err();
    assert_eq!(refused, CallError::Refused(DeliveryError::MessageGone(first)));
    yard.clock.advance(DAY);
    yard.until(async |yard| yard.bridge.inspect(first).await.is_err()).await;
    assert!(yard.is_there(waiting).await);
}

#[tokio::test]
async fn a_backlog_is_removed_page_by_page() {
    let yard = Yard::open().await;
    let mut ids = Vec::new();
    for _ in 0..700 {
        let id = yard.send("notification").await;
        yard.bridge.cancel(DeliveryId::of(id, 0)).await.unwrap();
        ids.push(id);
    }
    yard.sweep(MINUTE, async |yard| {
        let left = yard.bridge.messages_by_id(&ids).await.unwrap();
        left.iter().all(Option::is_none)
    })
    .await;
}

#[tokio::test]
async fn a_store_that_fails_loses_nothing() {
    let yard = Yard::open().await;
    let id = yard.done("error").await;
    yard.store.break_down(StoreErrorKind::Unavailable);
    // It is kept before each attempt.
    yard.until(async |yard| yard.shelf.types().len() > 1).await;
    assert!(yard.is_there(id).await);
    yard.store.mend();
    yard.until(async |yard| !yard.is_there(id).await).await;
}

#[tokio::test]
async fn what_is_damaged_keeps_nothing_else_from_being_removed() {
    let mut yard = Yard::open().await;
    let [first, damaged, last] =
        [yard.done("error").await, yard.done("error").await, yard.done("error").await];
    yard.store.damage(RowKey::Message(damaged));
    // The page of what is due does not show that something behind one of them is damaged.
    let given_again = yard.send("notification").await;
    let other = yard.send("notification").await;
    yard.bridge.cancel(DeliveryId::of(given_again, 0)).await.unwrap();
    let redriven = yard.bridge.redrive(DeliveryId::of(given_again, 0), None).await.unwrap();
    yard.bridge.cancel(redriven).await.unwrap();
    yard.bridge.cancel(DeliveryId::of(other, 0)).await.unwrap();
    yard.store.damage(RowKey::Delivery(DeliveryId::of(given_again, 0)));
    yard.reopen().await;
    yard.until(async |yard| !yard.is_there(other).await).await;
    yard.until(async |yard| !yard.is_there(first).await && !yard.is_there(last).await).await;
    assert!(yard.is_there(given_again).await);
    assert_eq!(yard.shelf.types(), ["error", "error"]);
}

#[tokio::test]
async fn what_was_removed_by_a_commit_that_seemed_to_fail_is_not_shown() {
    let yard = Yard::open().await;
    let id = yard.send("notification").await;
    yard.bridge.cancel(DeliveryId::of(id, 0)).await.unwrap();
    yard.store.fail(fault::Fault::After(StoreErrorKind::Unavailable));
    yard.until(async |yard| !yard.is_there(id).await).await;
}

#[tokio::test]
async fn the_log_is_trimmed_over_a_damaged_event() {
    let yard = Yard::open().await;
    for _ in 0..5 {
        yard.send("note").await;
    }
    yard.store.damage_event(Seq(3));
    yard.clock.advance(7 * DAY);
    yard.send("note").await;
    let read = async || yard.bridge.read_log(Scope::All, From::Floor, 1, Duration::ZERO).await;
    yard.until(async |_| read().await.is_ok_and(|page| page.floor.seq == Seq(5))).await;
}

#[tokio::test]
async fn the_log_is_trimmed_and_readers_below_its_floor_are_told() {
    let yard = Yard::open().await;
    for _ in 0..5 {
        yard.send("note").await;
    }
    let old = Cursor { seq: Seq(2), ..yard.bridge.head() };
    yard.clock.advance(7 * DAY);
    yard.send("note").await;
    let read = async |from| yard.bridge.read_log(Scope::All, from, 100, Duration::ZERO).await.unwrap();
    yard.until(async |_| read(From::Floor).await.floor.seq == Seq(5)).await;
    let page = read(From::After(old)).await;
    assert_eq!((page.gap, page.events.len()), (Some(Gap::Trimmed), 0));
    assert_eq!(read(From::After(Cursor { seq: Seq(5), ..old })).await.events.len(), 1);
}

#[tokio::test]
async fn who_reads_while_the_log_is_trimmed_is_told() {
    let yard = Yard::open().await;
    for _ in 0..20 {
        yard.send("note").await;
    }
    let mut follow = yard.bridge.follow(Scope::All, From::Floor).await.unwrap();
    let mut other = yard.bridge.follow(Scope::All, From::Floor).await.unwrap();
    assert_eq!(soon(follow.next_events(3)).await.unwrap().events.len(), 3);
    yard.clock.advance(7 * DAY);
    yard.send("note").await;
    let head = yard.bridge.head();
    yard.until(async |yard| {
        yard.bridge.read_log(Scope::All, From::Floor, 1, Duration::ZERO).await.unwrap().floor.seq == Seq(20)
    })
    .await;
    let told = soon(follow.next_events(3)).await.unwrap();
    assert_eq!((told.gap, told.events.len(), told.next), (Some(Gap::Trimmed), 0, head));
    let told = soon(other.gather(3, MINUTE)).await.and(soon(other.hand_out()).await).unwrap();
    assert_eq!((told.gap, told.events.len(), told.next), (Some(Gap::Trimmed), 0, head));
    // Once: it follows the log from its head now.
    yard.send("note").await;
    let page = soon(follow.next_events(3)).await.unwrap();
    assert_eq!((page.gap, page.events.len()), (None, 1));
    yard.send("note").await;
    soon(follow.gather(3, MINUTE)).await.unwrap();
    let page = follow.hand_out().await.unwrap();
    assert_eq!((page.gap, page.events.len()), (None, 1));
}

#[tokio::test]
async fn a_conversation_goes_a_week_after_it_was_closed() {
    let house = House::open().await;
    house.publish("hello").await;
    house.bridge.close_session(house.session).await.unwrap();
    let other = house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    house.clock.advance(8 * DAY);
    // The last event of the log stays, whoever it belongs to.
    let third = house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    let gone = async || {
        house
            .bridge
            .session(house.session)
            .await
            .is_err_and(|error| matches!(error, CallError::Refused(SessionError::Unknown(_))))
    };
    soon(async {
        while !gone().await {
            house.clock.advance(MINUTE);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    assert_eq!(house.bridge.newest_messages(house.session, 10).await.unwrap(), []);
    let page =
        house.bridge.read_log(Scope::Session(house.session), From::Floor, 100, Duration::ZERO).await.unwrap();
    assert_eq!(page.events.len(), 0);
    assert!(house.bridge.session(other).await.is_ok() && house.bridge.session(third).await.is_ok());
}

#[tokio::test]
async fn who_reads_on_in_a_conversation_that_was_removed_and_opened_again_is_told() {
    let house = House::open().await;
    house.publish("hello").await;
    let old = house.bridge.head();
    house.publish("never seen").await;
    house.bridge.close_session(house.session).await.unwrap();
    house.clock.advance(8 * DAY);
    let other = house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    soon(async {
        while house.bridge.session(house.session).await.is_ok() {
            house.clock.advance(MINUTE);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let read = async |session, from| {
        house.bridge.read_log(Scope::Session(session), from, 100, Duration::ZERO).await.unwrap()
    };
    let page = read(house.session, From::After(old)).await;
    assert_eq!((page.gap, page.events.len()), (Some(Gap::Trimmed), 0));

    house.bridge.open_session_as(house.session, None, "anna".parse().unwrap()).await.unwrap();
    let page = read(house.session, From::After(old)).await;
    assert_eq!((page.gap, page.events.len()), (Some(Gap::Trimmed), 0));
    let page = read(house.session, From::Floor).await;
    assert_eq!((page.gap, page.events[0].0.kind.name()), (None, "session.opened"));
    let begin = Cursor { seq: Seq(page.events[0].0.seq.0 - 1), ..old };
    assert_eq!(read(house.session, From::After(begin)).await.gap, None);
    assert_eq!(read(other, From::After(begin)).await.gap, None);
}

#[tokio::test]
async fn a_damaged_conversation_stays_and_those_behind_it_go() {
    let house = House::open().await;
    let damaged = house.bridge.publish(house.message("hello")).await.unwrap().message;
    house.store.damage(RowKey::Message(damaged));
    house.bridge.close_session(house.session).await.unwrap();
    let other = house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    house.clock.advance(MINUTE);
    house.bridge.close_session(other).await.unwrap();
    house.clock.advance(8 * DAY);
    house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap();
    soon(async {
        while house.bridge.session(other).await.is_ok() {
            house.clock.advance(MINUTE);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    assert!(house.bridge.session(house.session).await.is_ok());
}

#[tokio::test]
async fn as_many_conversations_as_cannot_go_do_not_keep_the_next_from_going() {
    let yard = Yard::open().await;
    yard.shelf.set(Trouble::Full);
    let mut kept = Vec::new();
    for _ in 0..1_000 {
        kept.push(yard.closed().await.0);
    }
    yard.clock.advance(MINUTE);
    let other = yard.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    yard.bridge.close_session(other).await.unwrap();
    yard.clock.advance(8 * DAY);
    yard.send("note").await;
    yard.until(async |yard| yard.bridge.session(other).await.is_err()).await;
    assert!(yard.bridge.session(kept[0]).await.is_ok());
    // Those before it are looked at again.
    yard.shelf.set(None);
    yard.until(async |yard| yard.bridge.session(kept[0]).await.is_err()).await;
}

#[tokio::test]
async fn what_is_damaged_is_told_once() {
    let mut yard = Yard::open().await;
    let (session, message) = yard.closed().await;
    yard.store.damage(RowKey::Message(message));
    let unread = yard.done("error").await;
    yard.store.damage(RowKey::Message(unread));
    let given_again = yard.send("notification").await;
    yard.bridge.cancel(DeliveryId::of(given_again, 0)).await.unwrap();
    let redriven = yard.bridge.redrive(DeliveryId::of(given_again, 0), None).await.unwrap();
    yard.bridge.cancel(redriven).await.unwrap();
    yard.store.damage(RowKey::Delivery(DeliveryId::of(given_again, 0)));
    yard.reopen().await;

    let (log, _heard) = Log::begin();
    yard.clock.advance(8 * DAY);
    for _ in 0..2 {
        yard.swept().await;
    }
    let told = log.lines();
    let kept: Vec<_> = told.iter().filter(|line| line.contains("it is not removed")).collect();
    assert_eq!(kept.len(), 3, "{told:#?}");
    for _ in 0..3 {
        yard.swept().await;
    }
    assert_eq!(log.lines(), told);
    assert!(yard.bridge.session(session).await.is_ok());
}

#[tokio::test]
async fn nobody_waits_for_it_at_the_end() {
    let yard = Yard::open().await;
    for _ in 0..300 {
        let id = yard.send("notification").await;
        yard.bridge.cancel(DeliveryId::of(id, 0)).await.unwrap();
    }
    yard.store.hold();
    yard.clock.advance(MINUTE);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn({
        let bridge = yard.bridge.clone();
        async move { bridge.shutdown().await }
    });
    yard.store.let_go();
    soon(stopping).await.unwrap();
}
