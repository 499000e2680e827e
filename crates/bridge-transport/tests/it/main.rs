//! The door over real sockets and a real store.

#![expect(clippy::unwrap_used, reason = "a server that cannot be set up fails its test")]

mod calls;
mod support;
