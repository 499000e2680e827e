#![doc = include_str!("../README.md")]

mod error;
mod memory;

pub use memory::MemoryStore;
