//! Where a message goes.

use core::{fmt, str::FromStr};

use crate::id::{ParseIdError, SessionId};

/// A destination. Each address of a session is also the name of one mailbox.
///
/// # Shape
/// `session:<id>/agent` or `session:<id>/user`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// One side of a conversation.
    Session(SessionId, Side),
}

/// The two ends of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Whoever answers. Its mailbox hands out leases.
    Agent,
    /// The person who asks. Their mailbox is read behind a cursor.
    User,
}

impl Side {
    /// The side that what this one sends goes to.
    pub const fn other(self) -> Self {
        match self {
            Self::Agent => Self::User,
            Self::User => Self::Agent,
        }
    }

    /// `agent` or `user`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

impl Address {
    /// The session this address belongs to.
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session, _) => Some(*session),
        }
    }

    /// Where a message that came to this address came from, as far as the address tells: a session's other side.
    pub const fn origin(&self) -> Self {
        match self {
            Self::Session(session, side) => Self::Session(*session, side.other()),
        }
    }

    /// Whether this mailbox hands out leases; the others are read behind a cursor.
    pub const fn is_work(&self) -> bool {
        matches!(self, Self::Session(_, Side::Agent))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session, side) => write!(f, "session:{session}/{}", side.as_str()),
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let (session, side) =
            text.strip_prefix("session:").and_then(|rest| rest.split_once('/')).ok_or(ParseAddressError)?;
        let side = match side {
            "agent" => Side::Agent,
            "user" => Side::User,
            _ => return Err(ParseAddressError),
        };
        Ok(Self::Session(session.parse().map_err(|ParseIdError| ParseAddressError)?, side))
    }
}

/// A text that is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address reads session:<id>/agent or session:<id>/user")]
pub struct ParseAddressError;
