//! Readers that walk a conversation on their own, each from a place of its own.

use crate::{
    id::{Name, SessionId},
    log::Seq,
};

/// One step of a reader that walks a conversation on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The conversation.
    pub session: SessionId,
    /// Which reader.
    pub reader: Name,
    /// Where it stands.
    pub from: Seq,
    /// Where it goes.
    pub to: Seq,
}

/// A reader's own place in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The conversation.
    pub session: SessionId,
    /// Which reader.
    pub name: Name,
    /// The last place it has seen.
    pub place: Seq,
}
