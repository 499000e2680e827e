//! What can go wrong inside, and what it is called outside.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bridge_core::{Ownership, Seq, StoreError, StoreErrorKind};
use rusqlite::ErrorCode;

use crate::error;

/// A fault that has not been told to anyone yet. One that ends a transaction is told to all who shared it.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// The owner's epoch is not the newest.
    Fenced {
        owner: Ownership,
        newest: u64,
    },
    /// The place in the log has another event.
    Taken(Seq),
    /// The place in the log is another message's.
    Occupied(Seq),
    /// A number is beyond SQL's signed 64 bits.
    TooLarge(u64),
    /// Another process has the directory, or the database.
    Owned,
    /// What was read makes no sense.
    Corrupt(String),
    /// The data was written by a newer version.
    TooNew {
        found: u32,
        known: u32,
    },
    /// The row after which a page was to begin is gone.
    Moved,
    /// An earlier fault closed the database, and no shard was acquired since.
    Closed,
    /// The thread that answers is gone.
    Gone,
    /// The core has a kind of row, change or index that this version has not.
    Unknown(&'static str),
    Sqlite(Arc<rusqlite::Error>),
    Io(Arc<io::Error>),
}

impl Fault {
    /// Whether the fault is its request's own, so that others of the same transaction need not suffer.
    pub(super) fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::Fenced { .. } | Self::Taken(_) | Self::Occupied(_) | Self::TooLarge(_) | Self::Unknown(_)
        )
    }

    /// Whether nothing may be written, or believed, until the database was opened again.
    ///
    /// A full disk and a busy database are no damage: SQLite has rolled back, and says so reliably.
    pub(super) fn is_of_medium(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                !matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
            }
            Self::Io(_) | Self::Corrupt(_) => true,
            _ => false,
        }
    }

    /// Whether SQLite says that the file makes no sense.
    pub(super) fn is_damage_of_pages(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
    }

    /// The fault as a caller of the store sees it: `operation` failed on `file`.
    pub(super) fn told(self, operation: &'static str, file: &Path) -> StoreError {
        let name = file.display();
        let say = |kind, message| error::fault(kind, operation, message);
        match self {
            Self::Fenced { owner, newest } => error::fenced(operation, &owner, newest),
            Self::Taken(seq) => error::taken(operation, seq),
            Self::Occupied(seq) => {
                say(StoreErrorKind::Corrupt, format!("another message has the place {seq}"))
            }
            Self::TooLarge(number) => {
                say(StoreErrorKind::Corrupt, format!("{number} is more than a database can hold"))
            }
            Self::Owned => say(StoreErrorKind::Owned, format!("{name} is in use by another process")),
            Self::Corrupt(what) => say(StoreErrorKind::Corrupt, format!("{name} is damaged: {what}")),
            Self::TooNew { found, known } => say(
                StoreErrorKind::TooNew,
                format!("{name} has schema version {found}, this program knows {known} at most"),
            ),
            Self::Moved => say(
                StoreErrorKind::Unavailable,
                format!("a row of {name} that ended a page is gone: begin anew"),
            ),
            Self::Closed => say(
                StoreErrorKind::Unavailable,
                format!("{name} was closed after a fault: acquire the shard again"),
            ),
            Self::Gone => {
                say(StoreErrorKind::Unavailable, format!("the thread that serves {name} has ended"))
            }
            Self::Unknown(what) => say(StoreErrorKind::TooNew, format!("this store does not know {what}")),
            Self::Sqlite(error) => {
                let (kind, message) = match error.sqlite_error_code() {
                    Some(ErrorCode::DiskFull) => {
                        (StoreErrorKind::Full, format!("no space is left for {name}"))
                    }
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                        (StoreErrorKind::Corrupt, format!("{name} is damaged"))
                    }
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        (StoreErrorKind::Owned, format!("{name} is in use by another process"))
                    }
                    _ => (StoreErrorKind::Unavailable, format!("{name} cannot be used")),
                };
                StoreError { kind, operation, message, source: Some(Box::new(error)) }
            }
            Self::Io(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
                    _ => StoreErrorKind::Unavailable,
                };
                let message = format!("{name} cannot be used");
                StoreError { kind, operation, message, source: Some(Box::new(error)) }
            }
        }
    }
}

/// Damaged rows that are told. Of very many the first ones say enough; a check names them all.
const TOLD: usize = 1_024;

/// Whether a damaged row is to be told: once in the life of the process, for what is left as it is is met again and again.
fn is_news(what: &str) -> bool {
    static TELLING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TELLING.lock().unwrap_or_else(PoisonError::into_inner);
    told.len() < TOLD && told.insert(what.to_owned())
}

/// What was read of a row; nothing where the row is damaged, which is said once, and then nobody else suffers from it.
pub(super) fn if_sound<T>(read: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match read {
        Err(Fault::Corrupt(what)) => {
            if is_news(&what) {
                tracing::error!(%what, "a damaged row is left as it is");
            }
            Ok(None)
        }
        read => read.map(Some),
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
