//! The changes of the schema, from version to version.

mod date;
mod fold;

use rusqlite::Connection;

use super::{fault::Fault, schema};

/// One change of the schema.
struct Migration {
    sql: &'static str,
    /// What the program does behind the schema's last change, in the same transaction: it knows the tables as they are now.
    then: fn(&Connection) -> Result<(), Fault>,
}

/// The changes, oldest first. Only ever append.
const MIGRATIONS: [Migration; 4] = [
    Migration { sql: include_str!("migrations/0001.sql"), then: nothing },
    Migration { sql: include_str!("migrations/0002.sql"), then: nothing },
    Migration { sql: include_str!("migrations/0003.sql"), then: fold::fold },
    Migration { sql: include_str!("migrations/0004.sql"), then: date::date },
];

/// The version of a schema with every migration applied.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Applies the migrations that the file has not seen, all or none.
pub(super) fn migrate(connection: &Connection) -> Result<(), Fault> {
    let done = schema::version(connection)?;
    let migrations = MIGRATIONS.get(done as usize..).unwrap_or_default();
    if migrations.is_empty() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    migrations.iter().try_for_each(|migration| transaction.execute_batch(migration.sql))?;
    migrations.iter().try_for_each(|migration| (migration.then)(&transaction))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
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
            for migration in &MIGRATIONS[..version as usize] {
                earlier.execute_batch(migration.sql).unwrap();
            }
            if version == 3 {
                // What the program has left behind when it had moved everything.
                earlier
                    .execute_batch("DROP TABLE old_message; DROP TABLE old_delivery; DROP TABLE old_mailbox")
                    .unwrap();
                earlier.execute_batch("DROP INDEX event_by_delivery").unwrap();
            }
            earlier.pragma_update(None, "user_version", version).unwrap();
            drop(earlier);
            let connection = schema::open_writer(&file, &Settings::default()).unwrap();
            assert_eq!(schema::version(&connection).unwrap(), VERSION);
        }
    }
}
