#![doc = include_str!("../README.md")]

mod cli;
mod client;
mod compose;
mod config;
mod descriptors;
mod metrics;
mod page;
mod signal;
mod telemetry;

pub use cli::run;
