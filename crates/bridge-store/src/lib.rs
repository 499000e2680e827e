#![doc = include_str!("../README.md")]

mod error;
mod memory;
mod page;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Report, Settings, SqliteStore, Stats, verify};
