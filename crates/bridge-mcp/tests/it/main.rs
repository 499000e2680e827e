//! The MCP door over real sockets, in both eras of the protocol.

mod eras;
mod leases;
mod support;
mod tasks;
mod texts;
mod tools;
mod waiting;
