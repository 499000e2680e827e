//! The file: how it is made, opened, brought up to date and looked over before anything is believed.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    Durability, Settings,
    fault::Fault,
    migrate::{VERSION, migrate},
    wal,
};

/// Marks a SQLite file as ours: "brdg".
pub(super) const APPLICATION_ID: i32 = 0x6272_6467;

/// How long a writer waits for another process that has the database open, such as an operator's shell.
const BUSY: Duration = Duration::from_secs(2);

/// In a file up to this size every row is looked for in every index at start. How long a start may take bounds this and
/// the two following.
const CHECKED_WHOLE: u64 = 8 << 20;

/// Up to this size the pages are looked at, each by itself.
const CHECKED_BY_PAGE: u64 = 128 << 20;

/// Up to this size the rows that are live are counted, to be compared with the index that finds them.
const COUNTED: u64 = 512 << 20;

/// What the lock file holds once the directory has had a database. Without it a database that is gone looks like one that
/// never was.
const MARK: &[u8] = b"The data is in bridge.db, beside this file.\n";

/// The tables that stay small, and are checked at start however large the file is.
const SMALL_TABLES: [&str; 7] = ["shard", "identity", "session", "mailbox", "reader", "task", "handshake"];

/// A directory that belongs to this process for as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) database: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory, for its owner's eyes only, and takes it.
    pub(super) fn create(path: &Path) -> Result<Self, Fault> {
        if !path.is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        Self::take(path)
    }

    /// Takes a directory that is there.
    pub(super) fn take(path: &Path) -> Result<Self, Fault> {
        let lock = File::options().create(true).truncate(false).write(true).open(lock(path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { database: database(path), lock }),
            Err(TryLockError::WouldBlock) => Err(Fault::Owned),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Notes durably that there is a database, so that it is missed if it goes.
    pub(super) fn mark(&mut self) -> Result<(), Fault> {
        if self.lock.metadata()?.len() == 0 {
            self.lock.write_all(MARK)?;
            self.lock.sync_all()?;
        }
        Ok(())
    }
}

/// The database of a directory.
pub(super) fn database(directory: &Path) -> PathBuf {
    directory.join("bridge.db")
}

pub(super) fn lock(directory: &Path) -> PathBuf {
    directory.join("bridge.lock")
}

/// The database of a directory, if something like one is there.
pub(super) fn existing(directory: &Path) -> Result<PathBuf, Fault> {
    let file = database(directory);
    check_presence(&file)?;
    if file.exists() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "there is no bridge.db").into())
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened; there the file system keeps its entries safe by itself.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Opens the connection that writes. The file is made if there is none, migrated if it is old, and checked.
pub(super) fn open_writer(file: &Path, settings: &Settings) -> Result<Connection, Fault> {
    open(file, settings).map(|(connection, _)| connection)
}

/// Opens the connection that writes after a fault of the medium. What a failed flush left in the log looks whole until the
/// power fails, and would take with it whatever was written behind it: nothing is until all of the log is in its place
/// and the log begins anew.
///
/// # Errors
/// [`Fault::Owned`] while somebody who reads is in the way.
pub(super) fn reopen_writer(file: &Path, settings: &Settings) -> Result<Connection, Fault> {
    match open(file, settings)? {
        (connection, true) => Ok(connection),
        (_, false) => Err(Fault::Owned),
    }
}

/// The connection that writes, and whether its log is empty.
fn open(file: &Path, settings: &Settings) -> Result<(Connection, bool), Fault> {
    check_presence(file)?;
    if !file.exists() {
        create(file)?;
    }
    if settings.durability == Durability::Full {
        wal::check(file)?;
    }
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    check_identity(&connection)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match settings.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -(16 << 10))?;
    if let Some(bytes) = settings.max_size {
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "max_page_count", (bytes / u64::from(page)).max(1).cast_signed())?;
    }
    set_up(&connection)?;
    migrate(&connection)?;
    // What is in the log goes to its place first, so that the file alone can be judged.
    let is_in_place = empty_log(&connection)?;
    check(&connection, file, is_in_place)?;
    Ok((connection, is_in_place))
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(file: &Path) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    check_identity(&connection)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", -(8 << 10))?;
    set_up(&connection)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> Result<(), Fault> {
    connection.set_prepared_statement_cache_capacity(64);
    // The last one to close would remove the log and its index; making them again takes space that may be gone by then.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A query keeps its plan whatever is asked for. Else one whose index is of some rows only is planned anew for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// SQLite takes an empty file for a new database, and drops a log that it finds beside one. Both are damage here: a new
/// database gets its name only when it is whole.
fn check_presence(file: &Path) -> Result<(), Fault> {
    let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let index = file.with_extension("db-shm");
    match length(file) {
        Ok(0) => Err(Fault::Corrupt("the file is empty".to_owned())),
        // Both are there or neither: whoever closes the database for good removes both, and nobody here does.
        Ok(_) if !Path::new(&log).exists() && index.exists() => {
            Err(Fault::Corrupt("its write-ahead log is gone, only the index of that is left".to_owned()))
        }
        Ok(_) => check_header(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_there = |path: &Path| length(path).is_ok_and(|length| length > 0);
            if is_there(log.as_ref()) {
                return Err(Fault::Corrupt("the file is gone, only its write-ahead log is left".to_owned()));
            }
            if is_there(&lock(file.parent().unwrap_or(Path::new("")))) {
                return Err(Fault::Corrupt(
                    "the file is gone. To begin anew, remove bridge.lock, which says that there was one"
                        .to_owned(),
                ));
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn check_header(file: &Path) -> Result<(), Fault> {
    let mut header = [0; 16];
    match File::open(file)?.read_exact(&mut header) {
        Ok(()) if header == *b"SQLite format 3\0" => Ok(()),
        Ok(()) => Err(Fault::Corrupt("it is not a SQLite database".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Fault::Corrupt("it is too short for a database".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the database under another name, and gives it its own when it is whole and durable.
fn create(file: &Path) -> Result<(), Fault> {
    let unfinished = file.with_extension("db.new");
    for leftover in [unfinished.clone(), file.with_extension("db.new-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let connection = Connection::open(&unfinished)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    File::options().write(true).open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, file)?;
    Ok(file.parent().map_or(Ok(()), sync_directory)?)
}

/// Whether the file is ours, and not of a later time.
pub(super) fn check_identity(connection: &Connection) -> Result<(), Fault> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(Fault::Corrupt("it is a database of another program".to_owned()));
    }
    let found = version(connection)?;
    if found > VERSION { Err(Fault::TooNew { found, known: VERSION }) } else { Ok(()) }
}

pub(super) fn version(connection: &Connection) -> Result<u32, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Looks a file over before it is used: whole if it is not too large for that, else its length, its small tables, and
/// the first page of every other one. `verify` looks at everything.
fn check(connection: &Connection, file: &Path, is_in_place: bool) -> Result<(), Fault> {
    let length = fs::metadata(file)?.len();
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let expected = u64::from(pages) * u64::from(page);
    if is_in_place && length < expected {
        return Err(Fault::Corrupt(format!("it has {length} bytes of {expected}")));
    }
    if length <= CHECKED_WHOLE {
        return found_sound(connection, "PRAGMA integrity_check(1)");
    }
    if length <= COUNTED {
        count_live(connection)?;
    }
    if length <= CHECKED_BY_PAGE {
        return found_sound(connection, "PRAGMA quick_check(1)");
    }
    for table in SMALL_TABLES {
        found_sound(connection, &format!("PRAGMA quick_check({table})"))?;
    }
    for table in ["message", "payload", "delivery", "idempotency", "event"] {
        connection
            .query_row(&format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)"), [], |_| Ok(()))?;
    }
    Ok(())
}

/// A row that the index of live ones does not find, or finds out of turn, would be missing after a load.
fn count_live(connection: &Connection) -> Result<(), Fault> {
    let live: i64 =
        connection
            .query_row("SELECT count(*) FROM message NOT INDEXED WHERE live = 1", [], |row| row.get(0))?;
    let mut index =
        connection.prepare("SELECT seq FROM message INDEXED BY message_live WHERE live = 1 ORDER BY seq")?;
    let mut index = index.query([])?;
    let (mut found, mut last) = (0_i64, i64::MIN);
    while let Some(row) = index.next()? {
        let seq = row.get(0)?;
        found += i64::from(last < seq);
        last = seq;
    }
    if found == live {
        Ok(())
    } else {
        Err(Fault::Corrupt(format!("of {live} live rows of table message its index finds {found} in order")))
    }
}

/// Moves what is in the write-ahead log to its place in the file, and tells whether all of it is there now, and the log
/// empty: readers or a full disk may be in the way, which harms nobody.
fn empty_log(connection: &Connection) -> Result<bool, Fault> {
    let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        let busy: bool = row.get(0)?;
        Ok(!busy)
    });
    match moved {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(false),
        moved => Ok(moved?),
    }
}

/// Leaves everything in the file before its connection is closed, so that the file alone is a whole copy.
pub(super) fn tidy(connection: &Connection) -> Result<(), Fault> {
    empty_log(connection).map(drop)
}

fn found_sound(connection: &Connection, check: &str) -> Result<(), Fault> {
    let found: String = connection.query_row(check, [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Fault::Corrupt(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_flushed_by_default_and_left_to_the_system_where_that_is_set() {
        let directory = tempfile::tempdir().unwrap();
        let file = database(directory.path());
        for (settings, expected) in
            [(Settings::default(), 2), (Settings::default().durability(Durability::Normal), 1)]
        {
            let connection = open_writer(&file, &settings).unwrap();
            let pragma =
                |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).unwrap();
            assert_eq!(pragma("synchronous"), expected);
            assert_eq!(pragma("wal_autocheckpoint"), 4_000);
            let journal: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(journal, "wal");
        }
    }

    #[test]
    fn after_a_fault_nothing_is_written_behind_what_the_log_holds() {
        let directory = tempfile::tempdir().unwrap();
        let file = database(directory.path());
        let log = file.with_extension("db-wal");
        let length = || fs::metadata(&log).unwrap().len();
        let writer = open_writer(&file, &Settings::default()).unwrap();
        let reader = open_reader(&file).unwrap();
        let write = |id| writer.execute("INSERT INTO payload VALUES (?, x'00')", [id]).unwrap();
        write(1);
        reader.execute_batch("BEGIN; SELECT count(*) FROM payload").unwrap();
        write(2);
        drop(writer);
        assert!(length() > 0);
        assert!(matches!(reopen_writer(&file, &Settings::default()), Err(Fault::Owned)));

        reader.execute_batch("COMMIT").unwrap();
        drop(reopen_writer(&file, &Settings::default()).unwrap());
        assert_eq!(length(), 0);
    }

    #[test]
    fn a_live_row_that_its_index_does_not_find_is_found_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let file = database(directory.path());
        let writer = open_writer(&file, &Settings::default()).unwrap();
        let insert =
            "INSERT INTO message (seq, shard, id, logged, recipient, priority, created_at, size, crc, live)
                      VALUES (?1, 0, randomblob(16), 1, 'anna', 5, 0, 0, 0, 1)";
        for seq in 1..=3 {
            writer.execute(insert, [seq]).unwrap();
        }
        assert!(count_live(&writer).is_ok());

        // The index is given the pages of one that lacks a row.
        let root = |name| -> i64 {
            let find = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
            writer.query_row(find, [name], |row| row.get(0)).unwrap()
        };
        writer.execute_batch("CREATE INDEX short ON message (seq) WHERE live = 1 AND seq <> 2").unwrap();
        let short = root("short");
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
        writer.execute_batch("PRAGMA writable_schema = ON").unwrap();
        let swap = "UPDATE sqlite_schema SET rootpage = ? WHERE name = 'message_live'";
        writer.execute(swap, [short]).unwrap();
        writer.execute_batch("DELETE FROM sqlite_schema WHERE name = 'short'").unwrap();
        drop(writer);
        let damaged = Connection::open(&file).unwrap();
        assert!(matches!(count_live(&damaged), Err(Fault::Corrupt(_))));
        drop(damaged);
        assert!(matches!(open_writer(&file, &Settings::default()), Err(Fault::Corrupt(_))));
    }

    #[test]
    fn a_reader_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let file = database(directory.path());
        let _writer = open_writer(&file, &Settings::default()).unwrap();
        assert!(open_reader(&file).unwrap().execute_batch("DELETE FROM shard").is_err());
    }
}
