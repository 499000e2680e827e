//! A wait for messages that outlives the call that began it.

use core::time::Duration;

use crate::{address::Address, consumer::Consumer, id::TaskId, time::Timestamp};

/// A consumer's standing wish for messages. It holds no lease; each look at it is a receive whose attempt is the task. The
/// first that gets something completes it: further looks repeat what is still leased, and get nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its identity, and the attempt of its receives.
    pub id: TaskId,
    /// The mailbox it waits for.
    pub mailbox: Address,
    /// Who waits.
    pub consumer: Consumer,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// What became of it.
    pub state: TaskState,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It waits.
    Waiting,
    /// It has got what it waited for.
    Completed,
    /// Its consumer has called it off.
    Cancelled,
}

impl TaskState {
    /// Every state, for parsers and tables.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Completed, Self::Cancelled];

    /// `waiting`, `completed` or `cancelled`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Begins a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTask {
    /// Its identity, made by the caller.
    pub id: TaskId,
    /// The mailbox to wait for.
    pub mailbox: Address,
    /// Who waits.
    pub consumer: Consumer,
    /// How long it is kept.
    pub ttl: Duration,
}

/// Why a verb on a task was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There is no such task, or it has been forgotten.
    #[error("there is no task {0}")]
    Unknown(TaskId),
    /// There is no such mailbox.
    #[error("there is no mailbox {0}")]
    UnknownMailbox(Address),
    /// As many tasks are open as may be.
    #[error("no more tasks may be open than {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}
