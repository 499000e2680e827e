//! The door over real sockets and a real store.

#![expect(clippy::unwrap_used, reason = "a server that cannot be set up fails its test")]

mod calls;
mod crowds;
mod endings;
mod events;
mod faults;
mod heartbeat;
mod hostile;
mod limits;
mod mailboxes;
mod members;
mod messages;
mod mounting;
mod origins;
mod page;
mod receiving;
mod reference;
mod retention;
mod serving;
mod support;
