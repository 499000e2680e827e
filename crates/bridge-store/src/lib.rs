#![doc = include_str!("../README.md")]

#[cfg(feature = "archive")]
mod archive;
mod error;
mod memory;
mod page;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "archive")]
pub use archive::FileArchive;
pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Report, Settings, SqliteStore, Stats, verify};
