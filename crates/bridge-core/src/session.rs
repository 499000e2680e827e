//! A conversation and the verbs that begin, rename and end it.

use alloc::sync::Arc;

use crate::{
    id::{Name, SessionId},
    time::Timestamp,
};

/// A conversation between a person's side and an agent's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its identity.
    pub id: SessionId,
    /// What people call it.
    pub title: Option<Arc<str>>,
    /// Who began it.
    pub owner: Name,
    /// When it began.
    pub created_at: Timestamp,
    /// When a message was last sent or settled in it.
    pub last_activity: Timestamp,
    /// Messages sent to the agent's side so far, bounces not counted.
    pub questions: u64,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

/// Begins a conversation. Asking again with the same id gives the one that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Its identity, made by the caller.
    pub id: SessionId,
    /// What people call it.
    pub title: Option<Arc<str>>,
    /// Who begins it.
    pub owner: Name,
}

/// Why a verb on a session was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session.
    #[error("there is no session {0}")]
    Unknown(SessionId),
    /// It has ended.
    #[error("session {0} is closed")]
    Closed(SessionId),
    /// As many sessions are open as may be.
    #[error("no more sessions may be open than {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The title is too long, or is not plain text.
    #[error("a title has no more characters than {most}, none of them a control character")]
    InvalidTitle {
        /// The limit.
        most: usize,
    },
}
