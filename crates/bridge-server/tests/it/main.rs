//! Tests of the program itself, and of how the crates depend on each other.

#![expect(clippy::unwrap_used, reason = "a server that cannot be set up fails its test")]

mod agents;
mod arrows;
mod bridge;
mod cli;
mod crash;
mod faults;
mod operate;
mod serve;
