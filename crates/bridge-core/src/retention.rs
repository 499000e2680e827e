//! How long messages are kept once nobody waits for them any more.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::{
    id::{MessageId, Name, SessionId},
    log::Seq,
    time::Timestamp,
};

/// How long a message is kept after all its deliveries have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Retention {
    /// Not at all.
    Immediate,
    /// For an hour.
    Short,
    /// For a day.
    #[default]
    Medium,
    /// For a week.
    Long,
    /// For ever.
    Permanent,
}

impl Retention {
    /// Every retention, for parsers and tables.
    pub const ALL: [Self; 5] = [Self::Immediate, Self::Short, Self::Medium, Self::Long, Self::Permanent];

    /// Its name in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Short => "short",
            Self::Medium => "medium",
            Self::Long => "long",
            Self::Permanent => "permanent",
        }
    }

    /// The time itself; none if it has no end.
    pub const fn time(self) -> Option<Duration> {
        match self {
            Self::Immediate => Some(Duration::ZERO),
            Self::Short => Some(Duration::from_secs(3_600)),
            Self::Medium => Some(Duration::from_secs(86_400)),
            Self::Long => Some(Duration::from_secs(604_800)),
            Self::Permanent => None,
        }
    }
}

/// What becomes of messages of one type when they have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionRule {
    /// How long they are kept.
    pub retention: Retention,
    /// Whether they go to the archive before they are removed, if there is one.
    pub archive: bool,
}

/// What becomes of messages by their type.
///
/// # Example
/// ```
/// use bridge_core::{Name, Retention, RetentionRule, Retentions};
///
/// let mut retentions = Retentions::default();
/// let order = Name::from_static("order");
/// assert_eq!(retentions.of(&order).retention, Retention::Medium);
/// retentions.set(order.clone(), RetentionRule { retention: Retention::Long, archive: true });
/// assert_eq!(retentions.of(&order).retention, Retention::Long);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retentions {
    other: RetentionRule,
    types: BTreeMap<Name, RetentionRule>,
}

impl Retentions {
    /// The same for all types.
    pub const fn all(rule: RetentionRule) -> Self {
        Self { other: rule, types: BTreeMap::new() }
    }

    /// Sets what becomes of messages of one type.
    pub fn set(&mut self, kind: Name, rule: RetentionRule) {
        self.types.insert(kind, rule);
    }

    /// Sets what becomes of messages of types that are not named.
    pub const fn set_other(&mut self, rule: RetentionRule) {
        self.other = rule;
    }

    /// What becomes of messages of a type.
    pub fn of(&self, kind: &Name) -> RetentionRule {
        self.types.get(kind).copied().unwrap_or(self.other)
    }
}

impl Default for Retentions {
    fn default() -> Self {
        let mut retentions = Self::all(RetentionRule::default());
        for (kind, retention, archive) in [
            ("error", Retention::Short, true),
            ("log", Retention::Medium, false),
            ("command", Retention::Long, true),
            ("notification", Retention::Immediate, false),
            ("audit", Retention::Permanent, false),
        ] {
            retentions.set(Name::from_static(kind), RetentionRule { retention, archive });
        }
        retentions
    }
}

/// Removes some of what a conversation has left that was closed long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetireSession {
    /// The conversation.
    pub session: SessionId,
    /// When it was closed: if it was opened and closed again since, nothing goes.
    pub closed_at: Timestamp,
    /// What of it goes.
    pub part: SessionPart,
}

/// A part of a conversation, in the order in which they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionPart {
    /// These messages, with their deliveries.
    Messages(Vec<MessageId>),
    /// The places of these readers.
    Readers(Vec<Name>),
    /// Its events up to this place.
    Events(Seq),
    /// The conversation itself: nothing else is left of it.
    Itself,
}
