//! The MCP door over real sockets, in both eras of the protocol.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod eras;
mod leases;
mod operator;
mod proxy;
mod support;
mod tasks;
mod texts;
mod tools;
mod waiting;
