//! Values to test with: a simple one of each kind, made from a number, and all kinds with everything they can hold.
//!
//! The same number gives the same value; different numbers give different keys. Times are made up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bridge_core::{
    Address, Attempt, Backoff, Change, Class, Consumer, DeadReason, Delivery, DeliveryId, Event, EventKind,
    Grant, GrantEnd, Handshake, IdempotencyRecord, IdempotencyScope, Identity, Label, Lease, LogId, Made,
    Mailbox, MailboxSettings, Message, MessageId, Name, Order, OutcomeKind, Paused, Presence, PresenceState,
    Priority, Reader, Receipts, ReturnReason, Row, Seq, Session, SessionId, Side, State, Task, TaskId,
    TaskState, Timestamp, bytes::Bytes,
};

/// The version and variant bits of a UUIDv7 and nothing else.
const UUID: u128 = 0x7000_8000_0000_0000_0000;

/// A point in time: `n` ms after a day in 2026.
pub const fn at(n: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + n)
}

/// The id of the `n`-th session.
pub const fn session_id(n: u64) -> SessionId {
    SessionId(UUID | (n as u128) << 80)
}

/// The id of the `n`-th message.
pub const fn message_id(n: u64) -> MessageId {
    MessageId(UUID | (n as u128) << 80 | 1)
}

/// The id of the `n`-th message's first delivery.
pub const fn delivery_id(n: u64) -> DeliveryId {
    DeliveryId::of(message_id(n), 0)
}

/// The id of the `n`-th task.
pub const fn task_id(n: u64) -> TaskId {
    TaskId(UUID | (n as u128) << 80 | 2)
}

/// The agent's side of the `n`-th session.
pub const fn address(n: u64) -> Address {
    Address::Session(session_id(n), Side::Agent)
}

/// A shard's identity.
pub const fn identity() -> Identity {
    // The greatest number: it fits no signed integer.
    Identity { log: LogId(u64::MAX), token_key: [0xa5; 32] }
}

/// The `n`-th session, open; it began `n` ms after [`at`]`(0)`.
pub fn session(n: u64) -> Session {
    Session {
        id: session_id(n),
        title: None,
        owner: Name::from_static("alice"),
        created_at: at(n),
        last_activity: at(n),
        questions: 0,
        closed_at: None,
    }
}

/// The mailbox of the `n`-th session's agent.
pub fn mailbox(n: u64) -> Mailbox {
    Mailbox {
        address: address(n),
        settings: MailboxSettings::new(Class::Agent),
        made: Made::ByHand,
        created_at: at(n),
        used_at: at(n),
        paused: None,
        floor: Seq::ZERO,
        read_to: Seq::ZERO,
        presence: Presence { state: PresenceState::Away, consumer: None, since: at(n) },
    }
}

/// The first delivery of the `n`-th message, waiting for the `n`-th session's agent.
pub fn delivery(n: u64) -> Delivery {
    Delivery {
        id: delivery_id(n),
        message: message_id(n),
        mailbox: address(n),
        from: Name::from_static("alice"),
        kind: Name::from_static("message"),
        key: Some(Name::from_static("key")),
        priority: Priority::NORMAL,
        seq: Seq(n),
        place: Some(Seq(n)),
        size: 5,
        bounce: false,
        expires_at: None,
        state: State::Pending { visible_at: at(n) },
        attempt: 0,
        failures: 0,
        grant: None,
        attempts: Vec::new(),
        receipts: Receipts { accepted: at(n), ..Receipts::default() },
        cancel_requested: false,
        reply: None,
        progress: None,
        last_error: None,
        redrive_of: None,
        redriven_as: None,
        retire_at: None,
        message_gone: false,
    }
}

/// The `n`-th message, at place `n` of the log, in the `n`-th session.
pub fn message(n: u64) -> Message {
    Message {
        id: message_id(n),
        seq: Seq(n),
        from: Name::from_static("alice"),
        verified: false,
        to: address(n),
        kind: Name::from_static("message"),
        priority: Priority::NORMAL,
        session: Some(session_id(n)),
        key: Some(Name::from_static("key")),
        reply_to: None,
        correlation_id: None,
        created_at: at(n),
        deliver_at: None,
        expires_at: None,
        headers: BTreeMap::new(),
        deliveries: 1,
        payload: Bytes::from_static(b"hello"),
    }
}

/// What is remembered of the `n`-th publish; its time ends `n` ms after [`at`]`(0)`.
pub fn idempotency(n: u64) -> IdempotencyRecord {
    IdempotencyRecord {
        scope: IdempotencyScope {
            from: Name::from_static("alice"),
            to: address(n),
            key: Name::from_static("once"),
        },
        fingerprint: [n.to_le_bytes()[0]; 32],
        message: message_id(n),
        seq: Seq(n),
        expires_at: at(n),
    }
}

/// A reader of the `n`-th session, at place `n`.
pub fn reader(n: u64) -> Reader {
    Reader { session: session_id(n), name: Name::from_static("page"), place: Seq(n) }
}

/// The `n`-th task, waiting for the `n`-th session's agent.
pub fn task(n: u64) -> Task {
    Task {
        id: task_id(n),
        mailbox: address(n),
        consumer: consumer(),
        created_at: at(n),
        expires_at: at(n + 1_000),
        state: TaskState::Waiting,
    }
}

/// The event at place `n`: a message of the `n`-th session was accepted.
pub fn event(n: u64) -> Event {
    Event {
        seq: Seq(n),
        at: at(n),
        session: Some(session_id(n)),
        message: Some(message_id(n)),
        delivery: Some(delivery_id(n)),
        kind: EventKind::Accepted { deliveries: 1 },
    }
}

/// The `n`-th handshake, saved `n` ms after [`at`]`(0)`.
pub fn handshake(n: u64) -> Handshake {
    Handshake {
        id: format!("handshake {n}"),
        principal: Name::from_static("alice"),
        saved_at: at(n),
        data: n.to_le_bytes().to_vec(),
    }
}

/// What a publish changes, as a shard tells it: the event, the message and its delivery, all with the number `n`.
pub fn publish(n: u64) -> Vec<Change> {
    vec![
        Change::Append(event(n)),
        Change::Put(Row::Message(Arc::new(message(n)))),
        Change::Put(Row::Delivery(Arc::new(delivery(n)))),
    ]
}

/// The lease of a delivery that its consumer has acknowledged.
pub fn spent_grant() -> Grant {
    let lease = Lease { epoch: 1, number: 1 };
    let end = GrantEnd::Spent { outcome: OutcomeKind::Ack, reply: None, fingerprint: None };
    Grant {
        lease,
        consumer: consumer(),
        batch: lease,
        attempt_id: Name::from_static("attempt"),
        started: at(1),
        until: at(2),
        end: Some(end),
    }
}

fn consumer() -> Consumer {
    Consumer::named(Name::from_static("agent"), Name::from_static("worker"))
}

/// Text that a careless store would cut, trim, fold or quote.
fn awkward() -> Arc<str> {
    " 'quoted\" \\ %_; ünïcödé 漢字 🌉 e\u{301}\n\ttrailing ".into()
}

/// The longest name, in characters of two bytes and one of one.
fn longest_name() -> Name {
    let text = format!("{}x", "é".repeat(Name::MAX_LEN / 2));
    Name::new(&text).expect("127 times two bytes and one more are 255")
}

/// Rows of every kind, each with another key, in the order of their keys. Every optional part is there in one row and
/// missing in another; every word of every enum occurs.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![Row::Identity(identity())];
    rows.extend(sessions().into_iter().map(Row::Session));
    rows.extend(mailboxes().into_iter().map(Row::Mailbox));
    rows.extend(deliveries().into_iter().map(Arc::new).map(Row::Delivery));
    rows.extend(messages().into_iter().map(Arc::new).map(Row::Message));
    rows.extend([
        Row::Idempotency(idempotency(1)),
        Row::Idempotency(IdempotencyRecord {
            scope: IdempotencyScope { from: longest_name(), to: address(2), key: longest_name() },
            ..idempotency(2)
        }),
        Row::Reader(reader(1)),
        Row::Reader(Reader { name: longest_name(), ..reader(2) }),
        Row::Task(task(1)),
        Row::Task(Task {
            consumer: Consumer::nameless(longest_name(), longest_name()),
            state: TaskState::Cancelled,
            ..task(2)
        }),
    ]);
    rows.sort_by_key(Row::key);
    rows
}

fn sessions() -> [Session; 4] {
    [
        Session { id: SessionId::DEFAULT, ..session(0) },
        session(1),
        Session {
            title: Some(awkward()),
            last_activity: at(9),
            questions: i64::MAX.unsigned_abs(),
            ..session(2)
        },
        Session { title: Some("".into()), owner: longest_name(), closed_at: Some(at(8)), ..session(3) },
    ]
}

fn mailboxes() -> Vec<Mailbox> {
    let user = |session| Mailbox { address: Address::Session(session, Side::User), ..mailbox(0) };
    let mut mailboxes = vec![user(SessionId::DEFAULT), user(session_id(1))];
    mailboxes.extend(PresenceState::ALL.into_iter().zip(1..).map(|(state, n)| Mailbox {
        read_to: Seq(n),
        presence: Presence { state, consumer: Some(longest_name()), since: at(n) },
        ..mailbox(n)
    }));
    let label = |name: Name| Label::new(name).expect("the name is plain");
    let addresses = [
        Address::Client(label(Name::from_static("worker"))),
        Address::Client(label(longest_name())),
        Address::Group(label(Name::from_static("worker"))),
        Address::Group(label(longest_name())),
    ];
    mailboxes.extend(addresses.into_iter().zip(Class::ALL).zip(1..).map(|((address, class), n)| Mailbox {
        address,
        settings: MailboxSettings {
            class,
            order: if n % 2 == 0 { Order::Keyed } else { Order::Loose },
            backoff: if n < 3 { Backoff::Blocks } else { Backoff::Skips },
            max_pending: Some(u32::MAX),
            max_pending_bytes: Some(i64::MAX.unsigned_abs()),
            lease: Some(Duration::from_millis(n)),
            max_failures: Some(u32::MAX),
        },
        made: if n < 3 { Made::ByUse } else { Made::ByHand },
        used_at: at(n + 1),
        paused: (n > 1).then(|| Paused { by: longest_name(), since: at(n + 2) }),
        floor: Seq(n),
        ..mailbox(n)
    }));
    mailboxes
}

fn deliveries() -> Vec<Delivery> {
    let mut states = vec![
        State::Pending { visible_at: Timestamp::default() },
        State::Pending { visible_at: Timestamp::MAX },
        State::Leased,
        State::Done,
        State::Cancelled,
    ];
    states.extend(DeadReason::ALL.map(State::Dead));
    let mut ends = vec![None, Some(GrantEnd::Lapsed)];
    ends.extend(
        OutcomeKind::ALL.map(|outcome| Some(GrantEnd::Spent { outcome, reply: None, fingerprint: None })),
    );
    ends.push(Some(GrantEnd::Spent {
        outcome: OutcomeKind::Answer,
        reply: Some(message_id(7)),
        fingerprint: Some([7; 32]),
    }));

    let states = states.into_iter().map(|state| Delivery { state, ..delivery(0) });
    let ends = ends.into_iter().map(|end| Delivery { grant: Some(grant(end)), ..delivery(0) });
    let all = states.chain(ends).chain([full_delivery()]);
    all.zip(1..).map(|(delivery, n)| Delivery { id: delivery_id(n), ..delivery }).collect()
}

/// The `n`-th delivery in every state, with everything that can become of it.
pub fn delivery_forms(n: u64) -> Vec<Delivery> {
    let being = delivery(n);
    let forms = deliveries().into_iter().map(|form| Delivery {
        id: being.id,
        message: being.message,
        mailbox: being.mailbox.clone(),
        receipts: Receipts { accepted: at(n), ..form.receipts },
        ..form
    });
    let full = full_delivery();
    let full = Delivery {
        state: State::Leased,
        place: full.place,
        bounce: full.bounce,
        attempt: full.attempt,
        failures: full.failures,
        grant: full.grant,
        attempts: full.attempts,
        receipts: Receipts { accepted: at(n), ..full.receipts },
        cancel_requested: full.cancel_requested,
        reply: full.reply,
        progress: full.progress,
        last_error: full.last_error,
        redriven_as: full.redriven_as,
        retire_at: full.retire_at,
        message_gone: full.message_gone,
        ..being.clone()
    };
    forms.chain([full]).collect()
}

fn grant(end: Option<GrantEnd>) -> Grant {
    Grant {
        lease: Lease { epoch: 3, number: i64::MAX.unsigned_abs() },
        consumer: Consumer::nameless(Name::from_static("agent"), longest_name()),
        batch: Lease { epoch: 3, number: 1 },
        attempt_id: longest_name(),
        started: at(1),
        until: at(2),
        end,
    }
}

fn full_delivery() -> Delivery {
    Delivery {
        from: longest_name(),
        kind: longest_name(),
        key: None,
        priority: Priority::new(9).expect("nine is a priority"),
        place: None,
        size: u32::MAX,
        bounce: true,
        expires_at: Some(at(1)),
        attempt: u32::MAX,
        failures: u32::MAX,
        grant: Some(Grant { consumer: consumer(), ..grant(None) }),
        attempts: attempts(),
        receipts: Receipts {
            accepted: at(1),
            presented: Some(at(2)),
            seen: Some(at(3)),
            progressed: Some(at(4)),
            answered: Some(at(5)),
            settled: Some(at(6)),
            read: Some(at(7)),
            dead: Some(at(8)),
        },
        cancel_requested: true,
        reply: Some(message_id(8)),
        progress: Some(awkward()),
        last_error: Some("".into()),
        redrive_of: Some(delivery_id(9)),
        redriven_as: Some(delivery_id(9).redriven()),
        retire_at: Some(at(9)),
        message_gone: true,
        ..delivery(0)
    }
}

/// An attempt of each end, with and without words.
fn attempts() -> Vec<Attempt> {
    let errors = [None, Some("".into()), Some(awkward())];
    let ends = ReturnReason::ALL.into_iter().flat_map(|reason| errors.clone().map(|error| (reason, error)));
    ends.zip(1..)
        .map(|((reason, error), number)| Attempt {
            number,
            lease: Lease { epoch: 3, number: i64::MAX.unsigned_abs() },
            consumer: longest_name(),
            started: at(1),
            ended: Timestamp::MAX,
            reason,
            error,
        })
        .collect()
}

fn messages() -> [Message; 2] {
    let full = Message {
        from: longest_name(),
        verified: true,
        kind: longest_name(),
        priority: Priority::new(1).expect("one is a priority"),
        key: Some(longest_name()),
        reply_to: Some(message_id(1)),
        correlation_id: Some(longest_name()),
        deliver_at: Some(at(3)),
        expires_at: Some(Timestamp::MAX),
        headers: [("".into(), "".into()), ("trace\"parent".into(), awkward())].into(),
        deliveries: u32::MAX,
        payload: Bytes::from_static(&[0, 0xff, 0xfe, b'\'', 0]),
        ..message(2)
    };
    [Message { session: None, key: None, ..message(1) }, full]
}

/// Events of every kind at the places from 1 on. Every optional part is there in one event and missing in another; every
/// word of every enum occurs.
pub fn events() -> Vec<Event> {
    let lease = Lease { epoch: 3, number: i64::MAX.unsigned_abs() };
    let texts = [None, Some("".into()), Some(awkward())];
    let mut kinds = vec![
        EventKind::Accepted { deliveries: 0 },
        EventKind::Accepted { deliveries: u32::MAX },
        EventKind::Visible,
        EventKind::Presented { lease, attempt: u32::MAX, consumer: longest_name(), until: Timestamp::MAX },
        EventKind::Seen,
        EventKind::Answered { reply: message_id(2) },
        EventKind::Settled,
        EventKind::Cancelled,
        EventKind::Read,
        EventKind::Redriven { successor: delivery_id(1).redriven() },
        EventKind::TtlChanged { expires_at: Timestamp::MAX },
        EventKind::MessageDeleted,
        EventKind::MailboxPurged { mailbox: address(4), floor: Seq(7) },
        EventKind::MailboxPaused { mailbox: address(4), by: longest_name() },
        EventKind::MailboxResumed { mailbox: address(4) },
        EventKind::SessionClosed { unsettled: u32::MAX },
    ];
    for text in texts {
        kinds.push(EventKind::Progressed { text: text.clone(), until: at(1) });
        kinds.push(EventKind::SessionOpened { title: text.clone() });
        kinds.push(EventKind::SessionRenamed { title: text.clone() });
        for reason in ReturnReason::ALL {
            let error = text.clone();
            kinds.push(EventKind::Returned { reason, failures: u32::MAX, visible_at: at(2), error });
        }
        for reason in DeadReason::ALL {
            kinds.push(EventKind::Dead { reason, error: text.clone() });
        }
    }
    for state in PresenceState::ALL {
        for consumer in [None, Some(longest_name())] {
            let presence = Presence { state, consumer, since: at(3) };
            kinds.push(EventKind::PresenceChanged { mailbox: address(3), presence });
        }
    }

    let bare = Event { session: None, message: None, delivery: None, ..event(1) };
    let events = kinds.into_iter().map(|kind| Event { kind, ..event(1) }).chain([bare]);
    events.zip(1..).map(|(event, n)| Event { seq: Seq(n), ..event }).collect()
}
