//! The stores against the conformance suite, and what only a file can get wrong.

mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
