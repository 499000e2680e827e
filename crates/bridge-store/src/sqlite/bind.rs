//! Fills and takes the columns of a row, and the checksums that guard them.
//!
//! SQLite notices damage to the structure of its file, not to what a cell holds. So the columns of a row are followed by a
//! CRC-32 over them, made when they are written and compared when they are read. A row whose parts are written at
//! different times has one for each part.

use bridge_core::ShardId;
use rusqlite::{
    Row, Statement, ToSql,
    types::{ToSqlOutput, ValueRef},
};

use super::{columns::Column, fault::Fault};

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
        self.filled += 1;
        value.give(|value| {
            self.sum.add(value);
            self.statement.raw_bind_parameter(self.filled, Given(value))
        })??;
        Ok(self)
    }

    /// Fills in a column that tables did not have from the beginning: where it is empty the checksum is as it was without it.
    pub(super) fn put_later<C: Column>(&mut self, value: &Option<C>) -> Result<&mut Self, Fault> {
        match value {
            Some(_) => self.put(value),
            None => self.skip(1).map(|()| self),
        }
    }

    /// Fills in the checksum of what was put since the last one.
    pub(super) fn seal(&mut self) -> Result<&mut Self, Fault> {
        let sum = self.sum.finish();
        self.put(&sum)?;
        self.sum.begin();
        Ok(self)
    }

    /// Leaves the next `count` parameters empty: a part with its checksum that is not there.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            self.filled += 1;
            self.statement.raw_bind_parameter(self.filled, Given(ValueRef::Null))?;
        }
        Ok(())
    }

    /// Runs a statement whose last parameter is the checksum of the others; the number of rows it changed.
    pub(super) fn run_sealed(mut self) -> Result<usize, Fault> {
        self.seal()?;
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

/// What is bound is given by reference, so that it is copied by SQLite alone.
struct Given<'a>(ValueRef<'a>);

impl ToSql for Given<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// Takes the columns of a row, one after the other, each part followed by its checksum.
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
        let value = self.value()?;
        C::take(value).ok_or_else(|| self.makes_no_sense())
    }

    /// Takes a column that tables did not have from the beginning.
    pub(super) fn take_later<C: Column>(&mut self) -> Result<Option<C>, Fault> {
        if self.row.get_ref(self.taken)? == ValueRef::Null {
            self.taken += 1;
            return Ok(None);
        }
        self.take().map(Some)
    }

    /// Takes a text without copying it.
    pub(super) fn text(&mut self) -> Result<Option<&'r str>, Fault> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            value => value.as_str().map(Some).map_err(|_| self.makes_no_sense()),
        }
    }

    fn value(&mut self) -> Result<ValueRef<'r>, Fault> {
        let value = self.row.get_ref(self.taken)?;
        self.sum.add(value);
        self.taken += 1;
        Ok(value)
    }

    /// Takes the shard that the row names.
    pub(super) fn shard(&mut self) -> Result<ShardId, Fault> {
        self.take()
    }

    /// Takes the checksum of a part. What was taken may be believed only then.
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        let sum = self.sum.finish();
        if self.take::<u32>()? != sum {
            return Err(self.damaged("does not match its checksum"));
        }
        self.sum.begin();
        Ok(())
    }

    /// Takes the checksum of a part that is not there: it must not be there either.
    pub(super) fn pass(&mut self) -> Result<(), Fault> {
        let sum: Option<u32> = self.take()?;
        self.sum.begin();
        if sum.is_none() { Ok(()) } else { Err(self.damaged("has lost what its checksum is of")) }
    }

    fn makes_no_sense(&self) -> Fault {
        let name = self.row.as_ref().column_name(self.taken - 1).unwrap_or("?");
        self.damaged(&format!("makes no sense in column {name}"))
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

/// The checksum of a part that is one value.
pub(super) fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = Checksum::new();
    sum.add(ValueRef::Blob(bytes));
    sum.finish()
}

/// A CRC-32 over values. Small ones are gathered first: the sum is fast over many bytes at once.
#[derive(Debug)]
struct Checksum {
    crc: crc32fast::Hasher,
    gathered: [u8; Self::GATHERED],
    filled: usize,
}

impl Checksum {
    /// Bytes that are gathered at most; more than most rows have.
    const GATHERED: usize = 512;

    fn new() -> Self {
        Self { crc: crc32fast::Hasher::new(), gathered: [0; Self::GATHERED], filled: 0 }
    }

    /// Begins anew, in place: the bytes that are gathered need not be cleared.
    fn begin(&mut self) {
        self.crc.reset();
        self.filled = 0;
    }

    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.add_bytes(&[0]),
            ValueRef::Integer(number) => self.add_number(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.add_number(2, number.to_le_bytes()),
            ValueRef::Text(bytes) => self.add_long(3, bytes),
            ValueRef::Blob(bytes) => self.add_long(4, bytes),
        }
    }

    fn add_number(&mut self, kind: u8, number: [u8; 8]) {
        let [a, b, c, d, e, f, g, h] = number;
        self.add_bytes(&[kind, a, b, c, d, e, f, g, h]);
    }

    fn add_long(&mut self, kind: u8, bytes: &[u8]) {
        self.add_number(kind, (bytes.len() as u64).to_le_bytes());
        self.add_bytes(bytes);
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        if self.filled + bytes.len() > Self::GATHERED {
            self.flush();
        }
        if bytes.len() > Self::GATHERED {
            self.crc.update(bytes);
        } else {
            self.gathered[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
            self.filled += bytes.len();
        }
    }

    fn flush(&mut self) {
        self.crc.update(&self.gathered[..self.filled]);
        self.filled = 0;
    }

    fn finish(&mut self) -> u32 {
        self.flush();
        self.crc.clone().finalize()
    }
}
