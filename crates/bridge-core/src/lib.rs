#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

/// Whether a fault is planted here.
#[cfg(bridge_fault)]
macro_rules! fault {
    ($name:ident) => {
        $crate::fault::Fault::$name.is_planted()
    };
}
#[cfg(not(bridge_fault))]
macro_rules! fault {
    ($name:ident) => {
        false
    };
}

mod address;
mod archive;
mod clock;
mod command;
mod consumer;
mod delivery;
mod event;
#[cfg(bridge_fault)]
pub mod fault;
mod id;
mod log;
mod mailbox;
mod message;
mod metrics;
mod policy;
mod publish;
mod queue;
mod reader;
mod receive;
mod retention;
mod session;
mod settle;
mod shard;
mod store;
mod task;
mod time;
mod why;

pub use address::{Address, Label, ParseAddressError, Side};
pub use archive::{Archive, ArchiveRecord};
pub use clock::Clock;
pub use command::{
    Answer, CallId, Cancelled, Command, DeliveryError, Effect, LostAnswer, Purge, Request, SessionView,
};
pub use consumer::Consumer;
pub use delivery::{
    Attempt, DeadReason, Delivery, Grant, GrantEnd, Lease, OutcomeKind, Receipts, ReturnReason, State,
    StateKind,
};
pub use event::{Event, EventKind};
pub use id::{DeliveryId, InvalidName, MessageId, Name, NodeId, ParseIdError, SessionId, ShardId, TaskId};
pub use log::{Cursor, Gap, LogId, LogPage, ParseCursorError, Scope, Seq};
pub use mailbox::{
    Backoff, Class, Limits, Made, Mailbox, MailboxError, MailboxSet, MailboxSettings, MailboxView, Mailboxes,
    Order, Paused, Presence, PresenceState, Purged, Retry, SetMailbox,
};
pub use message::{Headers, Message, Priority};
pub use metrics::{Measure, Metrics};
pub use policy::{LateAck, MakeMailboxes, Policy};
pub use publish::{
    Idempotency, IdempotencyRecord, IdempotencyScope, Publish, PublishError, Published, Routed,
};
pub use queue::{Queue, QueueDelivery, Trouble};
pub use reader::{Advance, Reader};
pub use receive::{Action, Directive, DirectiveReason, Granted, Receive, ReceiveError, Received};
pub use retention::{Retention, RetentionRule, Retentions, RetireSession, SessionPart};
pub use session::{OpenSession, Session, SessionError};
pub use settle::{NotCovered, Outcome, Proof, Reply, Settle, SettleError, Settled};
pub use shard::{Shard, Step};
pub use store::{
    Change, First, Handshake, HandshakeStore, Identity, Index, Ownership, Row, RowKey, SCAN_BYTES, Store,
    StoreError, StoreErrorKind,
};
pub use task::{OpenTask, Task, TaskError, TaskState};
pub use time::Timestamp;
pub use why::{Blocked, Head, Why};

#[doc(no_inline)]
pub use bytes;
