//! How a value lies in a column.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::Arc,
};

use bridge_core::{
    Address, Class, DeadReason, DeliveryId, Headers, LogId, MessageId, Name, NodeId, OutcomeKind,
    PresenceState, Priority, ReturnReason, Seq, SessionId, ShardId, TaskId, TaskState, Timestamp,
    bytes::Bytes,
};
use rusqlite::types::ValueRef;

use super::fault::Fault;

/// A type that fits one column.
pub(super) trait Column: Sized {
    /// Hands the value to `to` as SQLite takes it.
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault>;
    /// The value from what SQLite has, if it is one.
    fn take(value: ValueRef<'_>) -> Option<Self>;
}

fn give_text<R>(text: &str, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
    Ok(to(ValueRef::Text(text.as_bytes())))
}

/// What a value's `Display` says: a short text in place.
#[derive(Debug)]
pub(super) enum Shown {
    Short(Short),
    Long(String),
}

impl Shown {
    pub(super) fn of(value: &impl fmt::Display) -> Self {
        let mut short = Short { bytes: [0; Short::MOST], filled: 0 };
        match write!(short, "{value}") {
            Ok(()) => Self::Short(short),
            Err(_) => Self::Long(value.to_string()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(Short { bytes, filled }) => {
                str::from_utf8(&bytes[..*filled]).expect("only texts were written into it")
            }
            Self::Long(text) => text,
        }
    }
}

#[derive(Debug)]
pub(super) struct Short {
    bytes: [u8; Self::MOST],
    filled: usize,
}

impl Short {
    const MOST: usize = 96;
}

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.filled + part.len();
        let room = self.bytes.get_mut(self.filled..end).ok_or(fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.filled = end;
        Ok(())
    }
}

/// A JSON object of strings.
pub(super) fn headers_text(headers: &Headers) -> String {
    let map: serde_json::Map<String, serde_json::Value> =
        headers.iter().map(|(name, value)| (name.to_string(), (&**value).into())).collect();
    serde_json::Value::Object(map).to_string()
}

pub(super) fn headers_of(text: &str) -> Option<Headers> {
    let map: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

impl Column for i64 {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        Ok(to(ValueRef::Integer(*self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()
    }
}

impl Column for u64 {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        i64::try_from(*self).map(|it| to(ValueRef::Integer(it))).map_err(|_| Fault::TooLarge(*self))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Self::try_from(value.as_i64().ok()?).ok()
    }
}

impl Column for u128 {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        Ok(to(ValueRef::Blob(&self.to_be_bytes())))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Some(Self::from_be_bytes(value.as_blob().ok()?.try_into().ok()?))
    }
}

impl Column for [u8; 32] {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        Ok(to(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok()?.try_into().ok()
    }
}

impl Column for Bytes {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        Ok(to(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok().map(Self::copy_from_slice)
    }
}

impl Column for Vec<u8> {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        Ok(to(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok().map(<[u8]>::to_vec)
    }
}

impl Column for String {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(self.as_str(), to)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok().map(str::to_owned)
    }
}

impl Column for Arc<str> {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(self, to)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok().map(Self::from)
    }
}

impl Column for Name {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(self.as_str(), to)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Self::new(value.as_str().ok()?).ok()
    }
}

impl Column for Address {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(Shown::of(self).as_str(), to)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok()?.parse().ok()
    }
}

/// Sixteen hexadecimal digits, as in a cursor: half of all numbers are beyond SQL's integers.
impl Column for LogId {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(Shown::of(&format_args!("{:016x}", self.0)).as_str(), to)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        u64::from_str_radix(value.as_str().ok()?, 16).ok().map(Self)
    }
}

impl<C: Column> Column for Option<C> {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        match self {
            Some(value) => value.give(to),
            None => Ok(to(ValueRef::Null)),
        }
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        if matches!(value, ValueRef::Null) { Some(None) } else { C::take(value).map(Some) }
    }
}

/// Types that lie in a column as another type does.
macro_rules! as_column {
    ($($type:ty: $as:ty, |$it:ident| $into:expr, $from:expr;)*) => {$(
        impl Column for $type {
            fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
                let $it = *self;
                let value: $as = $into;
                value.give(to)
            }

            fn take(value: ValueRef<'_>) -> Option<Self> {
                let from: fn($as) -> Option<Self> = $from;
                from(<$as>::take(value)?)
            }
        }
    )*};
}

as_column! {
    u32: u64, |it| it.into(), |it| it.try_into().ok();
    bool: u64, |it| it.into(), |it| match it { 0 => Some(false), 1 => Some(true), _ => None };
    Seq: u64, |it| it.0, |it| Some(Seq(it));
    Timestamp: u64, |it| it.as_millis(), |it| Some(Timestamp::from_millis(it));
    Priority: u64, |it| it.level().into(), |it| Priority::new(it.try_into().ok()?);
    ShardId: u32, |it| it.0, |it| Some(ShardId(it));
    MessageId: u128, |it| it.0, |it| Some(MessageId(it));
    DeliveryId: u128, |it| it.0, |it| Some(DeliveryId(it));
    SessionId: u128, |it| it.0, |it| Some(SessionId(it));
    TaskId: u128, |it| it.0, |it| Some(TaskId(it));
    NodeId: u128, |it| it.0, |it| Some(NodeId(it));
}

/// Enums that are stored as their words.
macro_rules! word_column {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
                give_text(self.as_str(), to)
            }

            fn take(value: ValueRef<'_>) -> Option<Self> {
                let word = value.as_str().ok()?;
                Self::ALL.into_iter().find(|it| it.as_str() == word)
            }
        }
    )*};
}

word_column!(Class, DeadReason, OutcomeKind, PresenceState, ReturnReason, TaskState);

/// A text that is taken as it lies, by [`Take::text`](super::bind::Take::text).
impl Column for &str {
    fn give<R>(&self, to: impl FnOnce(ValueRef<'_>) -> R) -> Result<R, Fault> {
        give_text(self, to)
    }

    fn take(_value: ValueRef<'_>) -> Option<Self> {
        None
    }
}
