#![doc = include_str!("../README.md")]

mod actor;
mod bridge;
mod builder;
mod clock;
mod consume;
mod deliveries;
mod fault;
mod id;
mod inbox;
mod lease;
mod life;
mod log;
mod mailbox;
mod observe;
mod queue;
mod request;
mod retention;
mod tail;
mod task;
mod token;

pub use bridge::Bridge;
#[doc(no_inline)]
pub use bridge_core::{
    self as core, Address, Class, Clock, Name, Policy, Purge, Queue, SessionId, SetMailbox, Side, StateKind,
    Timestamp,
};
pub use builder::Builder;
pub use clock::SystemClock;
#[cfg(feature = "json")]
pub use consume::json;
pub use consume::{Consume, Handled};
pub use deliveries::{DeadLetters, DeliveryPage, Redriven};
pub use fault::{CallError, Fault, Health};
pub use inbox::HandOver;
pub use lease::{Leased, Received};
pub use log::{EventFilter, Events, Follow, From};
pub use observe::Snapshot;
pub use queue::{LocalQueue, QueueError};
pub use request::{Credential, NewMessage, NewReply, ReceiveRequest, Settlement};
