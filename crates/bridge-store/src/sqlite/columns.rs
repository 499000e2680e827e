//! How a value lies in a column, and the checksum that guards a row.
//!
//! SQLite notices damage to the structure of its file, not to what a cell holds. So each row ends in a CRC-32 over its
//! other columns, made when it is written and compared when it is read.

use std::{collections::BTreeMap, sync::Arc};

use bridge_core::{
    Address, DeadReason, DeliveryId, Headers, LogId, MessageId, Name, NodeId, OutcomeKind, PresenceState,
    Priority, ReturnReason, Seq, SessionId, ShardId, TaskId, TaskState, Timestamp, bytes::Bytes,
};
use rusqlite::{
    Row, Statement, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::fault::Fault;

/// A type that fits one column.
pub(super) trait Column: Sized {
    /// The value as SQLite takes it.
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault>;
    /// The value from what SQLite has, if it is one.
    fn take(value: ValueRef<'_>) -> Option<Self>;
}

/// Fills the parameters of a statement, one after the other.
#[derive(Debug)]
pub(super) struct Bind<'s, 'c> {
    statement: &'s mut Statement<'c>,
    filled: usize,
    sum: Checksum,
}

impl<'s, 'c> Bind<'s, 'c> {
    pub(super) fn new(statement: &'s mut Statement<'c>) -> Self {
        Self { statement, filled: 0, sum: Checksum::new() }
    }

    pub(super) fn put<C: Column>(&mut self, value: &C) -> Result<&mut Self, Fault> {
        let value = value.give()?;
        self.sum.add(referenced(&value)?);
        self.filled += 1;
        self.statement.raw_bind_parameter(self.filled, Given(value))?;
        Ok(self)
    }

    /// Runs a statement whose last parameter is the checksum of the others; the number of rows it changed.
    pub(super) fn run_guarded(mut self) -> Result<usize, Fault> {
        let sum = self.sum.finish();
        self.put(&sum)?;
        self.run()
    }

    /// Runs the statement; the number of rows it changed.
    pub(super) fn run(self) -> Result<usize, Fault> {
        Ok(self.statement.raw_execute()?)
    }

    /// Runs the statement and hands out the rows it gives.
    pub(super) fn query(self) -> rusqlite::Rows<'s> {
        self.statement.raw_query()
    }
}

/// What is bound is given by reference, so that a payload is not copied on its way.
struct Given<'a>(ToSqlOutput<'a>);

impl ToSql for Given<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            ToSqlOutput::Borrowed(value) => ToSqlOutput::Borrowed(*value),
            ToSqlOutput::Owned(value) => ToSqlOutput::Borrowed(ValueRef::from(value)),
            _ => return Err(rusqlite::Error::InvalidQuery),
        })
    }
}

fn referenced<'a>(value: &'a ToSqlOutput<'a>) -> Result<ValueRef<'a>, Fault> {
    match value {
        ToSqlOutput::Borrowed(value) => Ok(*value),
        ToSqlOutput::Owned(value) => Ok(ValueRef::from(value)),
        _ => Err(Fault::Unknown("this form of a value")),
    }
}

/// Takes the columns of a row, one after the other. The last is the checksum of the others.
#[derive(Debug)]
pub(super) struct Take<'r, 's> {
    table: &'static str,
    row: &'r Row<'s>,
    taken: usize,
    sum: Checksum,
}

impl<'r, 's> Take<'r, 's> {
    pub(super) fn new(table: &'static str, row: &'r Row<'s>) -> Self {
        Self { table, row, taken: 0, sum: Checksum::new() }
    }

    pub(super) fn take<C: Column>(&mut self) -> Result<C, Fault> {
        let value = self.row.get_ref(self.taken)?;
        self.sum.add(value);
        self.taken += 1;
        C::take(value).ok_or_else(|| {
            let name = self.row.as_ref().column_name(self.taken - 1).unwrap_or("?");
            self.damaged(&format!("makes no sense in column {name}"))
        })
    }

    /// Takes the checksum. What was taken may be believed only then.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        let sum = self.sum.finish();
        if self.take::<u32>()? == sum { Ok(()) } else { Err(self.damaged("does not match its checksum")) }
    }

    /// The fault of this row, by the name of its table and the columns it begins with: shard and key.
    pub(super) fn damaged(&self, how: &str) -> Fault {
        let shown = |column| {
            let name = self.row.as_ref().column_name(column).unwrap_or("?");
            match self.row.get_ref(column) {
                Ok(ValueRef::Integer(number)) => format!("{name} {number}"),
                Ok(ValueRef::Text(text)) => format!("{name} {}", String::from_utf8_lossy(text)),
                Ok(ValueRef::Blob(bytes)) => {
                    let digits: String = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                    format!("{name} {digits}")
                }
                Ok(ValueRef::Null | ValueRef::Real(_)) | Err(_) => format!("{name} ?"),
            }
        };
        Fault::Corrupt(format!("table {}, {}, {}: the row {how}", self.table, shown(0), shown(1)))
    }
}

/// A CRC-32 over values. Small ones are gathered first: the sum is fast over many bytes at once.
#[derive(Debug)]
struct Checksum {
    crc: crc32fast::Hasher,
    gathered: Vec<u8>,
}

impl Checksum {
    /// Bytes that are gathered at most; more than most rows have.
    const GATHERED: usize = 1_024;

    fn new() -> Self {
        Self { crc: crc32fast::Hasher::new(), gathered: Vec::with_capacity(Self::GATHERED) }
    }

    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.add_bytes(&[0]),
            ValueRef::Integer(number) => {
                self.add_bytes(&[1]);
                self.add_bytes(&number.to_le_bytes());
            }
            ValueRef::Real(number) => {
                self.add_bytes(&[2]);
                self.add_bytes(&number.to_le_bytes());
            }
            ValueRef::Text(bytes) => self.add_long(3, bytes),
            ValueRef::Blob(bytes) => self.add_long(4, bytes),
        }
    }

    fn add_long(&mut self, kind: u8, bytes: &[u8]) {
        self.add_bytes(&[kind]);
        self.add_bytes(&(bytes.len() as u64).to_le_bytes());
        self.add_bytes(bytes);
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > Self::GATHERED {
            self.crc.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > Self::GATHERED {
            self.crc.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self) -> u32 {
        self.crc.update(&self.gathered);
        self.gathered.clear();
        self.crc.clone().finalize()
    }
}

impl Column for u64 {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        i64::try_from(*self).map(ToSqlOutput::from).map_err(|_| Fault::TooLarge(*self))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Self::try_from(value.as_i64().ok()?).ok()
    }
}

impl Column for u128 {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::Owned(Value::Blob(self.to_be_bytes().to_vec())))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Some(Self::from_be_bytes(value.as_blob().ok()?.try_into().ok()?))
    }
}

impl Column for [u8; 32] {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok()?.try_into().ok()
    }
}

impl Column for Bytes {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok().map(Self::copy_from_slice)
    }
}

impl Column for Vec<u8> {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok().map(<[u8]>::to_vec)
    }
}

impl Column for String {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(self.as_str()))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok().map(str::to_owned)
    }
}

impl Column for Arc<str> {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(&**self))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok().map(Self::from)
    }
}

impl Column for Name {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(self.as_str()))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        Self::new(value.as_str().ok()?).ok()
    }
}

impl Column for Address {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(self.to_string()))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok()?.parse().ok()
    }
}

/// A JSON object of strings.
impl Column for Headers {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        let map: serde_json::Map<String, serde_json::Value> =
            self.iter().map(|(name, value)| (name.to_string(), (&**value).into())).collect();
        Ok(ToSqlOutput::from(serde_json::Value::Object(map).to_string()))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        let map: BTreeMap<String, String> = serde_json::from_str(value.as_str().ok()?).ok()?;
        Some(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Sixteen hexadecimal digits, as in a cursor: half of all numbers are beyond SQL's integers.
impl Column for LogId {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(format!("{:016x}", self.0)))
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        u64::from_str_radix(value.as_str().ok()?, 16).ok().map(Self)
    }
}

impl<C: Column> Column for Option<C> {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        self.as_ref().map_or(Ok(ToSqlOutput::Borrowed(ValueRef::Null)), C::give)
    }

    fn take(value: ValueRef<'_>) -> Option<Self> {
        if matches!(value, ValueRef::Null) { Some(None) } else { C::take(value).map(Some) }
    }
}

/// Types that lie in a column as another type does.
macro_rules! as_column {
    ($($type:ty: $as:ty, |$it:ident| $into:expr, $from:expr;)*) => {$(
        impl Column for $type {
            fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
                let $it = *self;
                let value: $as = $into;
                Ok(match value.give()? {
                    ToSqlOutput::Owned(value) => ToSqlOutput::Owned(value),
                    _ => unreachable!("numbers are given by value"),
                })
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
            fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
                Ok(ToSqlOutput::from(self.as_str()))
            }

            fn take(value: ValueRef<'_>) -> Option<Self> {
                let word = value.as_str().ok()?;
                Self::ALL.into_iter().find(|it| it.as_str() == word)
            }
        }
    )*};
}

word_column!(DeadReason, OutcomeKind, PresenceState, ReturnReason, TaskState);

/// A word that the table's own code knows the meaning of.
impl Column for &'static str {
    fn give(&self) -> Result<ToSqlOutput<'_>, Fault> {
        Ok(ToSqlOutput::from(*self))
    }

    fn take(_value: ValueRef<'_>) -> Option<Self> {
        None
    }
}
