//! The log: every accepted message and every receipt, in one growing order, and the cursors that resume in it.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use crate::{event::Event, id::SessionId};

/// A position in a shard's log. The first event has 1; 0 is before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// Behind every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which log a position belongs to. It changes when data is restored or imported, never by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

/// Where a reader resumes: everything up to it has been read.
///
/// # Shape
/// Opaque to clients; written `{log}.{seq}`, the log in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The log it was made for.
    pub log: LogId,
    /// The last event read.
    pub seq: Seq,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.log.0, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (log, seq) = text.split_once('.').ok_or(ParseCursorError)?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if log.len() != 16 || !plain(log) || !plain(seq) {
            return Err(ParseCursorError);
        }
        let log = u64::from_str_radix(log, 16).map_err(|_| ParseCursorError)?;
        let seq = seq.parse().map_err(|_| ParseCursorError)?;
        Ok(Self { log: LogId(log), seq: Seq(seq) })
    }
}

/// A text that is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is taken unchanged from an earlier answer")]
pub struct ParseCursorError;

impl Cursor {
    /// Whether reading can go on from here in a log with these bounds.
    ///
    /// # Errors
    /// The [`Gap`] that makes it impossible; the reader loads a snapshot and goes on from its cursor.
    ///
    /// # Example
    /// ```
    /// use bridge_core::{Cursor, Gap, LogId, Seq};
    /// let cursor = Cursor { log: LogId(7), seq: Seq(12) };
    /// assert_eq!(cursor.resume(LogId(7), Seq(3), Seq(40)), Ok(Seq(12)));
    /// assert_eq!(cursor.resume(LogId(8), Seq(3), Seq(40)), Err(Gap::OtherLog));
    /// assert_eq!(cursor.resume(LogId(7), Seq(13), Seq(40)), Err(Gap::Trimmed));
    /// assert_eq!(cursor.resume(LogId(7), Seq(3), Seq(11)), Err(Gap::Ahead));
    /// ```
    pub fn resume(self, log: LogId, floor: Seq, head: Seq) -> Result<Seq, Gap> {
        if self.log != log {
            Err(Gap::OtherLog)
        } else if self.seq < floor {
            Err(Gap::Trimmed)
        } else if self.seq > head {
            Err(Gap::Ahead)
        } else {
            Ok(self.seq)
        }
    }
}

/// Why a reader cannot simply go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The data was restored or imported since.
    OtherLog,
    /// What follows the cursor has been trimmed.
    Trimmed,
    /// The cursor lies beyond the end: the data is older than the reader.
    Ahead,
}

impl Gap {
    /// `other_log`, `trimmed` or `ahead`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherLog => "other_log",
            Self::Trimmed => "trimmed",
            Self::Ahead => "ahead",
        }
    }
}

/// Which events a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of one conversation.
    Session(SessionId),
}

impl Scope {
    /// Whether `event` is one of them.
    pub fn contains(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Session(session) => event.session == Some(*session),
        }
    }
}

/// Some events and the bounds of the log they were read from, both seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// The events, in order.
    pub events: Vec<Event>,
    /// What lies up to here may have been trimmed; [`Seq::ZERO`] if nothing was. Of a session it is the place before its first
    /// event, but never beyond the floor of the whole log: that is what it has if no event is left, or none was there.
    pub floor: Seq,
    /// The last event of the log, of any scope.
    pub head: Seq,
}
