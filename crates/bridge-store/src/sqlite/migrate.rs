//! The changes of the schema, from version to version.

mod fold;

use rusqlite::Connection;

use super::{fault::Fault, schema};

/// One change of the schema.
struct Migration {
    sql: &'static str,
    /// What the program does behind it, in the same transaction.
    then: fn(&Connection) -> Result<(), Fault>,
}

/// The changes, oldest first. Only ever append.
const MIGRATIONS: [Migration; 3] = [
    Migration { sql: include_str!("migrations/0001.sql"), then: nothing },
    Migration { sql: include_str!("migrations/0002.sql"), then: nothing },
    Migration { sql: include_str!("migrations/0003.sql"), then: fold::fold },
];

/// The version of a schema with every migration applied.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Applies the migrations that the file has not seen, each in a transaction of its own.
pub(super) fn migrate(connection: &Connection) -> Result<(), Fault> {
    migrate_to(connection, VERSION)
}

fn migrate_to(connection: &Connection, last: u32) -> Result<(), Fault> {
    let done = schema::version(connection)?;
    for (migration, version) in MIGRATIONS.iter().zip(1..=last).skip(done as usize) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(migration.sql)?;
        (migration.then)(&transaction)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn nothing(_connection: &Connection) -> Result<(), Fault> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Settings, schema::APPLICATION_ID};

    #[test]
    fn a_database_of_every_earlier_schema_opens() {
        for version in 1..VERSION {
            let directory = tempfile::tempdir().unwrap();
            let file = schema::database(directory.path());
            let earlier = Connection::open(&file).unwrap();
            earlier.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            migrate_to(&earlier, version).unwrap();
            drop(earlier);
            let connection = schema::open_writer(&file, &Settings::default()).unwrap();
            assert_eq!(schema::version(&connection).unwrap(), VERSION);
        }
    }
}
