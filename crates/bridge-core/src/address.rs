//! Where a message goes.

use core::{fmt, str::FromStr};

use crate::id::{Name, ParseIdError, SessionId};

/// A destination. Each of these is also the name of one mailbox.
///
/// # Shape
/// `<client>`, `group:<name>`, `session:<id>/agent` or `session:<id>/user`.
///
/// # Example
/// ```
/// use bridge_core::{Address, Side};
///
/// let group: Address = "group:resizers".parse()?;
/// assert_eq!(group.to_string(), "group:resizers");
/// assert!(matches!("browser".parse()?, Address::Client(_)));
/// assert!("group:".parse::<Address>().is_err());
/// # Ok::<(), bridge_core::ParseAddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// One client.
    Client(Label),
    /// Whoever of a group comes first.
    Group(Label),
    /// One side of a conversation.
    Session(SessionId, Side),
}

/// A name that stands in an address.
///
/// # Shape
/// A [`Name`] without a colon, and not `all`, which is everybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Name);

impl Label {
    /// Takes a name into an address; nothing if it would read as another kind of address.
    pub fn new(name: Name) -> Option<Self> {
        let is_plain = !name.as_str().contains(':') && name.as_str() != "all";
        is_plain.then_some(Self(name))
    }

    /// The name by itself.
    pub const fn name(&self) -> &Name {
        &self.0
    }
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
            Self::Client(_) | Self::Group(_) => None,
        }
    }

    /// Where an answer to a message goes that `from` sent to this address: to a session's other side, else to the sender.
    /// Nowhere if the sender's name is no address.
    pub fn origin(&self, from: &Name) -> Option<Self> {
        match self {
            Self::Session(session, side) => Some(Self::Session(*session, side.other())),
            Self::Client(_) | Self::Group(_) => Label::new(from.clone()).map(Self::Client),
        }
    }

    /// Whether this mailbox hands out leases; the others are read behind a cursor.
    pub const fn is_work(&self) -> bool {
        !matches!(self, Self::Session(_, Side::User))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => fmt::Display::fmt(client.name(), f),
            Self::Group(group) => write!(f, "group:{}", group.name()),
            Self::Session(session, side) => write!(f, "session:{session}/{}", side.as_str()),
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let label = |name: &str| Name::new(name).ok().and_then(Label::new).ok_or(ParseAddressError);
        if let Some(group) = text.strip_prefix("group:") {
            return label(group).map(Self::Group);
        }
        let Some(session) = text.strip_prefix("session:") else { return label(text).map(Self::Client) };
        let (session, side) = session.split_once('/').ok_or(ParseAddressError)?;
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
#[error("an address reads <client>, group:<name>, session:<id>/agent or session:<id>/user")]
pub struct ParseAddressError;
