//! The thorough look at a database that nobody has open.

use std::path::Path;

use bridge_core::StoreError;
use rusqlite::{Connection, params};

use super::{
    bind::Take,
    fault::Fault,
    rows::{
        self, EVENT, HANDSHAKE, Kind, MessageRow, SHARD,
        message::{self, CHANGING, Known, LASTING, PAYLOAD},
    },
    schema::{self, Directory},
    wal,
};

/// Findings that a report holds at most: one damaged page can spoil thousands of rows.
const MAX_FINDINGS: usize = 100;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The version of the schema.
    pub schema: u32,
    /// The rows of each table.
    pub rows: Vec<(&'static str, u64)>,
    /// What is damaged, the first 100; empty if nothing is.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, fault: &Fault) {
        let finding = match fault {
            Fault::Corrupt(what) => what.clone(),
            Fault::Sqlite(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        self.add(finding);
    }

    fn add(&mut self, finding: String) {
        if self.findings.len() < MAX_FINDINGS && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

/// Checks the database in `directory` from end to end, without changing it.
///
/// The structure of the file (`PRAGMA integrity_check`), its write-ahead log, every row against its checksum and its
/// meaning, the log for gaps, and what live deliveries refer to. Blocks, for minutes where there are gigabytes. Under
/// [`Durability::Normal`](super::Durability::Normal) a power failure can leave a log that looks damaged.
///
/// # Errors
/// As of [`SqliteStore::open`](super::SqliteStore::open), where a check is not possible at all; in particular
/// [`StoreErrorKind::Owned`](bridge_core::StoreErrorKind::Owned) while a store has the directory. Damage that it can
/// look past is in the report.
pub fn verify(directory: &Path) -> Result<Report, StoreError> {
    let file = schema::database(directory);
    check(directory).map_err(|fault| {
        let blamed = if matches!(fault, Fault::Owned | Fault::Io(_)) { directory } else { &file };
        fault.told("verify", blamed)
    })
}

fn check(directory: &Path) -> Result<Report, Fault> {
    let file = schema::existing(directory)?;
    // A copy that nobody has ever run on has no lock, and is given none.
    let _owned = schema::lock(directory).exists().then(|| Directory::take(directory)).transpose()?;
    let log = wal::check(&file);
    let connection = schema::open_reader(&file)?;
    let mut report = Report { schema: schema::version(&connection)?, rows: Vec::new(), findings: Vec::new() };
    if let Err(fault) = log {
        report.find(&fault);
    }
    for check in [check_structure, check_rows, check_log, check_references] {
        if let Err(fault) = check(&connection, &mut report) {
            report.find(&fault);
        }
    }
    Ok(report)
}

fn check_structure(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_FINDINGS})"))?;
    let mut found = check.query([])?;
    while let Some(row) = found.next()? {
        let finding: String = row.get(0)?;
        if finding != "ok" {
            report.add(finding);
        }
    }
    Ok(())
}

/// Reads every row as the store would.
fn check_rows(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    each(connection, report, SHARD.name, &SHARD.columns(), |row| rows::read_shard(row).map(drop));
    each(connection, report, message::TABLE, &format!("{LASTING}, {CHANGING}, {PAYLOAD}"), read_message_row);
    each(connection, report, "payload", "seq", |_| Ok(()));
    for kind in Kind::ALL {
        let Some(table) = kind.table() else { continue };
        each(connection, report, table.name, &table.columns(), |row| {
            let live = row.get_ref("live")?.as_i64().is_ok_and(|live| live == 1);
            if kind.read(row)?.is_live() == live {
                Ok(())
            } else {
                Err(Fault::Corrupt(format!("table {}: a row is marked as what it is not", table.name)))
            }
        });
    }
    each(connection, report, EVENT.name, &EVENT.columns(), |row| rows::read_event(row).map(drop));
    each(connection, report, HANDSHAKE, "*", |row| rows::read_handshake(row).map(drop));
    Ok(())
}

/// Reads all that a row of messages holds.
fn read_message_row(row: &rusqlite::Row<'_>) -> Result<(), Fault> {
    let live: Option<bool> = row.get("live")?;
    let row = &mut Take::new(message::TABLE, row);
    let lasting = MessageRow::read(row)?;
    let delivery = lasting.read_delivery(row)?;
    if delivery.as_ref().map(bridge_core::Delivery::is_live) != live {
        return Err(row.damaged("is marked as what it is not"));
    }
    if lasting.verified.is_some() {
        lasting.read_message(row, &mut Known::default())?;
    }
    if lasting.logged && lasting.event().is_none() {
        return Err(row.damaged("is no whole event"));
    }
    if lasting.verified.is_none() && delivery.is_none() && !lasting.logged {
        return Err(row.damaged("holds nothing"));
    }
    Ok(())
}

/// Reads and counts the rows of a table, as far as that is possible.
fn each(
    connection: &Connection,
    report: &mut Report,
    table: &'static str,
    columns: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<(), Fault>,
) {
    let mut count = 0;
    let result = (|| {
        let mut all = connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let mut found = all.query([])?;
        while let Some(row) = found.next()? {
            count += 1;
            if let Err(fault) = read(row) {
                report.find(&fault);
            }
        }
        Ok(())
    })();
    if let Err(fault) = result {
        report.find(&fault);
    }
    report.rows.push((table, count));
}

/// Each log goes from its floor to its head, without a gap.
fn check_log(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    let mut shards = connection.prepare("SELECT shard, floor, head FROM shard")?;
    let mut shards = shards.query([])?;
    let mut log = connection.prepare(
        "SELECT seq FROM event WHERE shard = ?1
         UNION ALL SELECT seq % (1 << 48) FROM message WHERE shard = ?1 AND logged = 1 ORDER BY 1",
    )?;
    while let Some(row) = shards.next()? {
        let (shard, floor, head): (u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut last = floor;
        let mut events = log.query(params![shard])?;
        while let Some(event) = events.next()? {
            let seq: i64 = event.get(0)?;
            // What is left below the floor are events of sessions.
            if seq <= floor {
                continue;
            }
            if seq != last + 1 {
                report.add(format!("the log of shard {shard}: seq {seq} follows {last}"));
            }
            last = seq;
        }
        if last != head {
            report.add(format!("the log of shard {shard}: the last seq is {last}, the shard's head {head}"));
        }
    }
    Ok(())
}

/// What a shard has still to deliver is there, and no row lies where another shard's, or another row's, is looked for.
fn check_references(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    for (table, lost, how) in [
        (
            "delivery",
            "SELECT shard, hex(id) FROM delivery WHERE live = 1 AND NOT EXISTS (
                 SELECT 1 FROM message
                 WHERE message.shard = delivery.shard AND message.id = delivery.message AND verified IS NOT NULL)",
            "its message is missing",
        ),
        (
            "message",
            "SELECT shard, hex(id) FROM message WHERE live = 1 AND verified IS NULL",
            "the message is missing",
        ),
        (
            "delivery",
            "SELECT shard, hex(id) FROM delivery WHERE EXISTS (
                 SELECT 1 FROM message
                 WHERE message.shard = delivery.shard AND message.id = delivery.id AND state IS NOT NULL)",
            "it lies with its message too",
        ),
        (
            "event",
            "SELECT shard, seq FROM event WHERE EXISTS (
                 SELECT 1 FROM message JOIN shard USING (shard)
                 WHERE shard.shard = event.shard AND message.seq = event.seq + (slot << 48) AND logged = 1)",
            "it lies with its message too",
        ),
        (
            "message",
            "SELECT shard, hex(id) FROM message WHERE NOT EXISTS (
                 SELECT 1 FROM shard WHERE shard.shard = message.shard AND slot = message.seq >> 48)",
            "it lies among another shard's",
        ),
        (
            "payload",
            "SELECT 'of any', seq FROM payload WHERE NOT EXISTS (
                 SELECT 1 FROM message
                 WHERE message.seq = payload.seq AND verified IS NOT NULL AND message.payload IS NULL)",
            "it is no message's",
        ),
    ] {
        let mut find = connection.prepare(lost)?;
        let mut found = find.query([])?;
        while let Some(row) = found.next()? {
            let shown = |column| -> Result<String, Fault> {
                let value: rusqlite::types::Value = row.get(column)?;
                Ok(match value {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
            };
            report.add(format!("table {table}, shard {}, {}: {how}", shown(0)?, shown(1)?));
        }
    }
    Ok(())
}
