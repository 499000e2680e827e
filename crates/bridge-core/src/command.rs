//! What goes into a shard and what comes out.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use crate::{
    address::Address,
    delivery::{Delivery, Lease, State},
    id::{DeliveryId, MessageId, Name, SessionId, TaskId},
    log::Seq,
    mailbox::{MailboxError, MailboxSet, MailboxView, Mailboxes, Presence, Purged, SetMailbox},
    publish::{IdempotencyRecord, Publish, PublishError, Published},
    reader::Advance,
    receive::{Receive, ReceiveError, Received},
    retention::RetireSession,
    session::{OpenSession, Session, SessionError},
    settle::{Settle, SettleError, Settled},
    store::RowKey,
    task::{OpenTask, Task, TaskError},
    time::Timestamp,
    why::Why,
};

/// Ties an answer to its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A command and the call that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The call.
    pub call: CallId,
    /// What it wants.
    pub command: Command,
}

/// What a shard can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Begin a conversation.
    OpenSession(OpenSession),
    /// Give a conversation another title.
    RenameSession(SessionId, Option<Arc<str>>),
    /// End a conversation: what it left unsettled is given up.
    CloseSession(SessionId),
    /// End a conversation if nothing has happened in it since, and nothing is left to do for its agent.
    CloseIdleSession(SessionId, Timestamp),
    /// Tell how a conversation stands.
    InspectSession(SessionId),
    /// Accept a message.
    Publish(Publish),
    /// Hand out deliveries.
    Receive(Receive),
    /// Settle or extend a delivery.
    Settle(Settle),
    /// Take note that the person of a conversation has read up to a place.
    Read(SessionId, Seq),
    /// Move a reader's own cursor from one place to another, if it still stands there.
    Advance(Advance),
    /// Withdraw a delivery.
    Cancel(DeliveryId),
    /// Give a dead or cancelled delivery another life, for at most `ttl` if given.
    Redrive(DeliveryId, Option<Duration>),
    /// Tell whether a redrive would be granted, and change nothing.
    JudgeRedrive(DeliveryId),
    /// Make a mailbox, or change something of how it behaves.
    SetMailbox(SetMailbox),
    /// Tell how a mailbox stands.
    InspectMailbox(Address),
    /// Tell how mailboxes stand, in the order of their names: those behind this one, at most so many.
    ListMailboxes(Option<Address>, usize),
    /// Let a mailbox hand out nothing for now.
    PauseMailbox(Address, Name),
    /// Let a mailbox hand out again.
    ResumeMailbox(Address),
    /// Withdraw everything that a mailbox holds now; or tell what that would be.
    PurgeMailbox(Address, Purge),
    /// Remove an empty mailbox.
    DeleteMailbox(Address),
    /// Tell why a delivery does not move.
    Why(DeliveryId),
    /// Give a message so much time from now on, or from when it becomes visible.
    SetTtl(MessageId, Duration),
    /// Tell how a delivery stands.
    InspectDelivery(DeliveryId),
    /// Tell how those of these deliveries stand that are live.
    InspectLive(Vec<DeliveryId>),
    /// Tell which deliveries are leased, the newest first by the event that made them.
    ListLeased {
        /// Of this mailbox alone.
        mailbox: Option<Address>,
        /// Only those made before.
        before: Option<Seq>,
        /// At most so many.
        limit: usize,
    },
    /// Tell how the deliveries of a message stand, rows included that memory does not hold.
    Inspect(MessageId),
    /// Begin a task.
    OpenTask(OpenTask),
    /// Tell what a task waits for.
    InspectTask(TaskId),
    /// Call a task off.
    CancelTask(TaskId),
    /// The caller of a receive is gone: do not wait for it any longer. Not answered.
    Unpark(CallId),
    /// An answer that granted leases, or a part of it, never arrived: those its consumer has not used end. Not answered.
    AnswerLost(LostAnswer),
    /// Forget publishes whose time has passed, if they are still the ones that are remembered. Not answered.
    Forget(Vec<IdempotencyRecord>),
    /// Remove those of these deliveries whose time has passed, with their messages.
    Retire(Vec<DeliveryId>),
    /// Remove some of what a conversation has left that was closed long ago.
    RetireSession(RetireSession),
    /// Remove the beginning of the log, up to the event at this place, which happened at this time. What belongs to a conversation
    /// stays.
    Trim(Seq, Timestamp),
}

/// Whether a purge is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Only tell what it would take away.
    Try,
    /// Take it away.
    Do,
}

/// The answer of a receive that could not be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostAnswer {
    /// Its number.
    pub answer: u64,
    /// The leases it told of: those it granted, and those its consumer held besides.
    pub leases: Vec<(DeliveryId, Lease)>,
    /// Whether the caller can repeat the attempt: then the leases wait a little for it.
    pub repeatable: bool,
}

/// What a shard wants done. It is done only when the step's changes, and all earlier ones, are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give a call its answer.
    Answer(CallId, Answer),
    /// The command names rows that the shard was not given: fetch and supply them, then ask again in the next step. If there
    /// are none, it waits for work that goes on in the next step.
    Need(Request, Vec<RowKey>),
}

/// The answer to a command: of the kind the command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To the verbs on a session, `InspectSession` among them.
    Session(Result<SessionView, SessionError>),
    /// To `Publish`.
    Published(Result<Published, PublishError>),
    /// To `Receive`.
    Received(Result<Received, ReceiveError>),
    /// To `Settle`.
    Settled(Result<Settled, SettleError>),
    /// To `Read`: how far the mailbox is read now.
    Read(Result<Seq, SessionError>),
    /// To `Advance`: where the reader stands now.
    Advanced(Result<Seq, SessionError>),
    /// To `Cancel`.
    Cancelled(Result<Cancelled, DeliveryError>),
    /// To `Redrive`: the new delivery.
    Redriven(Result<DeliveryId, DeliveryError>),
    /// To `SetTtl`: when the message expires now.
    Ttl(Result<Timestamp, DeliveryError>),
    /// To `InspectDelivery`. To `JudgeRedrive`: what would be redriven, or was, if it names its successor.
    Delivery(Result<Box<Delivery>, DeliveryError>),
    /// To `Inspect`: the first delivery of the message and those that redrives made of it. To `InspectLive` and `ListLeased`:
    /// what they ask for.
    Inspected(Vec<Delivery>),
    /// To `SetMailbox`.
    MailboxSet(Result<MailboxSet, MailboxError>),
    /// To the other verbs on a mailbox.
    Mailbox(Result<MailboxView, MailboxError>),
    /// To `ListMailboxes`.
    Mailboxes(Mailboxes),
    /// To `PurgeMailbox`.
    Purged(Result<Purged, MailboxError>),
    /// To `Why`.
    Why(Result<Why, DeliveryError>),
    /// To the verbs on a task.
    Task(Result<Task, TaskError>),
    /// To `Retire`, `RetireSession` and `Trim`: how many changes it came to. None if it was too early.
    Retired(usize),
}

/// A conversation and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The conversation.
    pub session: Session,
    /// Deliveries that wait for the agent.
    pub pending: u32,
    /// Deliveries in an agent's hands.
    pub leased: u32,
    /// Deliveries that the person has not read.
    pub unread: u32,
    /// Who takes from the agent's side.
    pub presence: Presence,
}

/// What became of a wish to withdraw a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    /// Where the delivery stands.
    pub state: State,
    /// It is leased: its holder is asked, and may still settle it.
    pub requested: bool,
}

/// Why a verb on a delivery was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// There is no such delivery.
    #[error("there is no delivery {0}")]
    Unknown(DeliveryId),
    /// It is not in a state that allows it.
    #[error("the delivery is {}", state.as_str())]
    WrongState {
        /// Where it stands.
        state: State,
    },
    /// Its message was removed.
    #[error("the message of delivery {0} was removed")]
    MessageGone(DeliveryId),
    /// Its conversation has ended.
    #[error("session {0} is closed")]
    SessionClosed(SessionId),
    /// Its mailbox is gone, and cannot be made again.
    #[error("there is no mailbox {0}")]
    UnknownMailbox(Address),
}
